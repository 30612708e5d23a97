"""A data set in memory, small and full of edges, to write formats from and to compare with what comes back."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from PIL import Image

from lib_rankopt.errors import NotFoundError
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry

# far apart, so that an image is known again after a lossy JPEG
_COLOURS = (
    (220, 30, 30),
    (30, 200, 40),
    (30, 50, 220),
    (230, 220, 40),
    (40, 220, 220),
    (220, 50, 220),
    (240, 240, 240),
    (20, 20, 20),
    (128, 128, 128),
    (250, 130, 20),
    (110, 60, 10),
    (120, 10, 120),
)
_FAR = 20  # sum of differences of the mean colour over three channels, in steps of 255


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (24, 16)) -> bytes:
    """A small image file, different for each number from 0 to 11."""
    file = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.new("RGB", size, _COLOURS[number]).save(file, kind, **options)
    return file.getvalue()


def key_of(number: int) -> str:
    """Images are named by a hash, as the store does."""
    return sha256(f"picture {number}".encode()).hexdigest()


def recognise(data: bytes) -> str:
    """The key of the picture that these bytes show, also after lossy compression.

    Raises:
        AssertionError: none of ours.
    """
    with Image.open(io.BytesIO(data)) as image:
        shown = image.convert("RGB").resize((1, 1), Image.BOX).getpixel((0, 0))
    far, number = min((sum(abs(a - b) for a, b in zip(shown, colour, strict=True)), i) for i, colour in enumerate(_COLOURS))
    assert far <= _FAR, f"an image that is none of ours: {shown}"
    return key_of(number)


@dataclass
class MemoryDataset:
    """A :class:`~lib_rankopt.store.formats.base.Dataset` in memory. Images without bytes in ``files`` are gone."""

    name: str = "small"
    entries: list[ImageEntry] = field(default_factory=list)
    answers: list[FeedbackEntry] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    strengths: dict[str, tuple[float, float]] = field(default_factory=dict)

    def images(self) -> Iterator[ImageEntry]:
        return iter(self.entries)

    def feedback(self) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        known = {entry.key: entry for entry in self.entries}
        for answer in self.answers:
            yield answer, tuple(known[key] for key in answer.images)

    def read(self, image: ImageEntry) -> bytes:
        if image.key not in self.files:
            raise NotFoundError(f"There is no image '{image.key}'.")
        return self.files[image.key]

    def ratings(self) -> Mapping[str, tuple[float, float]]:
        return self.strengths


FOX = "ein Fuchs 🦊, \"quoted\", 'single'; tab\tand\nline"
KINDS = ("PNG", "JPEG", "PNG", "WEBP", "PNG", "JPEG", "PNG", "PNG", "PNG", "JPEG")


def small() -> MemoryDataset:
    """Ten images (PNG, JPEG, WebP; one is in no answer, one is gone) and answers of every kind, with ties, by two raters."""
    prompts = ["", FOX, FOX, "a red house", "a red house", "a red house", FOX, "nobody rated this", "a red house", "gone"]
    entries = [
        ImageEntry(key_of(n), prompts[n], width=24, height=16, model=f"model-{n % 2}", about={"seed": 2**53 - n, "steps": 20})
        for n in range(10)
    ]
    files = {key_of(n): picture(n, KINDS[n]) for n in range(9)}
    return MemoryDataset(entries=entries, answers=_answers(), files=files, strengths={key_of(n): (n - 4.5, 0.5) for n in range(9)})


def _answers() -> list[FeedbackEntry]:
    def said(kind: str, numbers: tuple[int, ...], tiers: tuple[tuple[int, ...], ...], n: int, **more: str) -> FeedbackEntry:
        at = f"2024-03-0{n % 9 + 1}T12:00:0{n % 10}+00:00"
        made = FeedbackEntry(kind, tuple(key_of(i) for i in numbers), tiers, f"token-{n}", rater="me", created_at=at)  # type: ignore[arg-type]
        return replace(made, **more)  # type: ignore[arg-type]

    return [
        said("pair", (1, 2), ((0,), (1,)), 1),
        said("pair", (1, 6), ((1,), (0,)), 2, rater="Zoë"),
        said("pair", (2, 6), ((0, 1),), 3),
        said("ranking", (3, 4, 5, 8), ((2,), (0, 3), (1,)), 4),
        said("ranking", (5, 3, 4), ((0,), (1, 2)), 5, rater="Zoë"),
        said("like", (0,), ((0,),), 6),
        said("dislike", (4,), ((0,),), 7),
        said("like", (1,), ((0,),), 8, source="saved"),
        said("pair", (1, 9), ((0,), (1,)), 9),
        said("like", (9,), ((0,),), 10),
    ]
