"""Any folder of images, with what their files say of themselves; folders of favourites and of rejects can become likes and dislikes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import infotext
from lib_rankopt.store.formats import files, folders
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, FeedbackKind, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.labels import DISLIKED, LIKED, Labels
from lib_rankopt.store.formats.shapes import plain
from lib_rankopt.store.formats.text import clean
from lib_rankopt.store.formats.writing import GONE, read_image
from lib_rankopt.store.image_prompts import CAPTIONS, captions_beside, texts_in

_MOST_PIXELS = 1 << 28


class ImageFolder(Format):
    """See the module's text. Keys are paths below the folder. Only the heads of files are read."""

    name = "folder"
    title = "Folder of images"
    loses = (
        "rankings and pairs; without the options also likes and dislikes",
        "who said something, and when",
        "everything about an image that does not stand in its file, but its prompt",
    )
    options: ClassVar[Mapping[str, str]] = {
        "likes": "names of sub-folders whose images are liked, with commas between: favourites,best",
        "dislikes": "names of sub-folders whose images are disliked",
    }

    def __init__(self, likes: str = "", dislikes: str = "") -> None:
        self._likes, self._dislikes = _names("likes", likes), _names("dislikes", dislikes)
        if both := sorted(set(self._likes) & set(self._dislikes)):
            raise InvalidInputError(f"The folder '{both[0]}' stands in likes and in dislikes; it can mean one of them.")

    def size(self, path: Path) -> int:
        return sum(1 for _ in self._found(path))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        for done, found in enumerate(self._found(path), 1):
            if done > after:
                yield self._row(path, found, done)

    def _found(self, path: Path) -> Iterator[folders.Found]:
        is_empty = True
        for found in folders.walk(folders.checked_folder(path, self.title)):
            is_empty = False
            yield found
        if is_empty:
            raise InvalidInputError(f"{path} holds no images ({', '.join(files.SUFFIXES)}), and neither do its sub-folders.")

    def _row(self, root: Path, found: folders.Found, done: int) -> Row:
        place = clean(found.path)
        try:
            if found.problem:
                raise InvalidInputError(found.problem)
            entry, trouble = image_entry(root, found.path)
            kind, contradiction = self._kind(found.path)
        except InvalidInputError as error:
            return Row(done, place, problem=str(error))
        said = (FeedbackEntry(kind, (entry.key,), ((0,),), token_of(kind, entry.key)),) if kind else ()
        return Row(done, place, (entry,), said, trouble or contradiction)

    def _kind(self, name: str) -> tuple[FeedbackKind | None, str]:
        parents = {part.casefold() for part in name.split("/")[:-1]}
        liked, disliked = parents.intersection(self._likes), parents.intersection(self._dislikes)
        if liked and disliked:
            return None, "it lies in a folder of liked images and in one of disliked ones"
        return ("like" if liked else "dislike" if disliked else None), ""

    # -- writing
    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        names = {LIKED: self._likes[:1], DISLIKED: self._dislikes[:1]}
        with folders.new_folder(path) as target, Labels() as labels:
            labels.collect(dataset, report, [side for side, name in names.items() if name])
            for number, image in enumerate(dataset.images(), 1):
                side = labels.of(image.key, report)
                data = read_image(dataset, image, report)
                if data is not None:
                    stem = "/".join((*names.get(side, ()), files.file_name(image.key)))
                    folders.put(target, stem + files.suffix_of(data), data, report)
                    if image.prompt:
                        folders.put(target, stem + CAPTIONS[0], folders.plain_text(image.prompt), report)
                    report.images += 1
                    report.feedback += abs(side)
                elif side:
                    report.leave_out(f"answer about an image of which {GONE}", image.key)
                yield number
            if not report.images:
                raise InvalidInputError("There is no image to write.")


def image_entry(root: Path, name: str) -> tuple[ImageEntry, str]:
    """Read what an image's file says of itself and what stands beside it; also what was wrong with that, empty where nothing was.

    Raises:
        InvalidInputError: no name that can be kept, a link that leads out of ``root``, no image, unreadable, far too large.
    """
    checked = relative_name(name)
    head = head_of(files.inside_text(root, checked))
    trouble = ""
    texts = list(head.texts)
    try:
        texts += captions_beside(_without_links(root, checked))
    except InvalidInputError as error:
        trouble = str(error)
    info = next((found for text in texts if (found := infotext.parse(text)).prompt or found.settings), infotext.Infotext(""))
    about: dict[str, Any] = plain(infotext.about(info))
    model = str(about.get("model") or about.get("model_hash") or "")
    return ImageEntry(checked, clean(info.prompt), checked, None, None, head.width, head.height, model, about), trouble


def relative_name(name: str) -> str:
    """Return the path of a found file as a key.

    Raises:
        InvalidInputError: it is no UTF-8, or is spelled such that another system would take it for another file.
    """
    if clean(name) != name or files.relative(name) != name:
        raise InvalidInputError("its name holds signs that other systems do not take; give it another one")
    return name


def token_of(kind: str, key: str) -> str:
    """Return the identity of what is said about one image at most once."""
    return f"{kind}-{files.file_hash(key.encode())[:32]}"


@dataclass(frozen=True)
class Head:
    """What the head of an image's file says: its size in pixels, generation parameters."""

    width: int
    height: int
    texts: tuple[str, ...] = ()


def head_of(path: str) -> Head:
    """Read the head of an image's file.

    Raises:
        InvalidInputError: no image in a format that we read, empty, unreadable, or with more than 2²⁸ pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        about = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(about.st_mode):  # a pipe would let us wait for ever
            raise InvalidInputError("no file")
        with Image.open(path, formats=folders.KINDS) as opened:
            head = Head(opened.width, opened.height, tuple(texts_in(opened)))
    except UnidentifiedImageError:
        raise InvalidInputError("no image that can be read" if about.st_size else "the file is empty") from None
    except InvalidInputError:
        raise
    except folders.broken() as error:
        raise InvalidInputError(f"the image cannot be read ({_reason(error)})") from error
    if head.width * head.height > _MOST_PIXELS:
        raise InvalidInputError(f"{head.width}×{head.height} pixels are more than an image may have ({_MOST_PIXELS >> 20} million)")
    return head


def _reason(error: BaseException) -> str:
    return clean(str(getattr(error, "strerror", None) or error or type(error).__name__))[:200]


def _without_links(root: Path, name: str) -> str:
    """Where captions are looked for: beside the name, not beside what it may link to; a caption that leads out is refused."""
    stem = name.rsplit(".", 1)[0]
    for suffix in CAPTIONS:
        if os.path.islink(f"{root}/{stem}{suffix}"):  # noqa: PTH114
            files.inside_text(root, stem + suffix)
    return f"{root}/{name}"


def _names(option: str, text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip().casefold() for part in text.split(",") if part.strip()))
    for name in found:
        if files.relative(name) != name or "/" in name or name.startswith("."):
            raise InvalidInputError(f"{option}: '{name[:80]}' is no name of a folder; give names alone, with commas between.")
    return found
