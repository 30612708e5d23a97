"""Our own archive of a data set: one file ``NAME.rankopt.zip`` with everything in it, that any zip program opens.

``manifest.json`` says what it is and has the hashes of the other texts; ``images.jsonl`` and ``feedback.jsonl`` hold one entry a line;
``images/ab/<sha256>.png`` … are the images' files as they were, named by the hash of their bytes. What is said about images names them
by key, and repeats their prompts and hashes, so that every line can be read by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import folders, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, FeedbackKind, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.shapes import moment, plain, written_token
from lib_rankopt.store.formats.writing import read_image
from lib_rankopt.store.formats.zip_files import ArchiveReader, ArchiveWriter, new_archive

KIND = "dataset"
_IMAGES, _FEEDBACK = "images.jsonl", "feedback.jsonl"
_SHAPES = {"ranking": (2, 1 << 20), "pair": (2, 2), "like": (1, 1), "dislike": (1, 1)}
_DEEP = 30


class Archive(Format):
    """See the module's text. Rows are counted: first the images, then what was said. Memory grows with the number of members only."""

    name = "archive"
    title = "Archive of Rank-Optimize"
    loses = ("images whose file is gone: they are named, without a file",)

    def size(self, path: Path) -> int:
        with ArchiveReader(path, KIND) as archive:
            return sum(_counts(archive))

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        with ArchiveReader(path, KIND) as archive:
            try:
                for name in (_IMAGES, _FEEDBACK):
                    archive.check(name)
            except InvalidInputError as error:
                raise InvalidInputError(f"{path}: {error}.") from error
            images = 0
            for line in archive.lines(_IMAGES):
                images = line.number
                if line.done > after:
                    yield _image_row(line, archive)
            for line in archive.lines(_FEEDBACK):
                if images + line.done > after:
                    yield _answer_row(line, images + line.done)

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        with new_archive(path) as archive, archive.spool() as images, archive.spool() as feedback:
            counts = {"images": 0, "files": 0, "feedback": 0}
            yield from chain(_write_images(dataset, archive, images, report, counts), _write_feedback(dataset, feedback, report, counts))
            if not counts["images"]:
                raise InvalidInputError("There is nothing to write: the data set is empty.")
            archive.put_spool(_IMAGES, images)
            archive.put_spool(_FEEDBACK, feedback)
            archive.finish(KIND, {"name": dataset.name, "counts": counts})
        report.wrote(path.name)


def _write_images(
    dataset: Dataset, archive: ArchiveWriter, out: IO[bytes], report: WriteReport, counts: dict[str, int]
) -> Iterator[int]:
    for image in dataset.images():
        data = read_image(dataset, image, report)
        row = {
            "key": image.key, "prompt": image.prompt, "file": archive.put_image(data) if data is not None else None, "sha256": image.sha256,
            "width": image.width, "height": image.height, "model": image.model, "about": dict(image.about),
        }  # fmt: skip
        out.write(folders.line(row))
        counts["images"] += 1
        counts["files"] += data is not None
        report.images += data is not None
        yield counts["images"]


def _write_feedback(dataset: Dataset, out: IO[bytes], report: WriteReport, counts: dict[str, int]) -> Iterator[int]:
    for answer, images in dataset.feedback():
        row = {
            "kind": answer.kind, "images": answer.images, "tiers": answer.tiers, "token": answer.token, "prompt": answer.prompt,
            "rater": answer.rater, "created_at": answer.created_at, "source": answer.source, "about": dict(answer.about),
            "prompts": _short([image.prompt for image in images]), "hashes": _short([image.sha256 for image in images]),
        }  # fmt: skip
        out.write(folders.line(row))
        counts["feedback"] += 1
        report.feedback += 1
        yield counts["images"] + counts["feedback"]


def _short(values: Sequence[str | None]) -> Any:
    """The value where all are equal, otherwise all of them."""
    return values[0] if len(set(values)) == 1 else values


# -- reading


def _counts(archive: ArchiveReader) -> tuple[int, int]:
    counts = archive.manifest.get("counts")
    found = [counts.get(name) if isinstance(counts, dict) else None for name in ("images", "feedback")]
    if not all(type(count) is int and 0 <= count < 1 << 40 for count in found):
        raise InvalidInputError(f"the archive's manifest says {str(counts)[:80]} of how much there is.")
    return cast("tuple[int, int]", tuple(found))


def _image_row(line: text.Line, archive: ArchiveReader) -> Row:
    place = f"{_IMAGES}, line {line.number}"
    try:
        entry, file = _image(_object(line))
    except InvalidInputError as error:
        return Row(line.done, place, problem=str(error))
    if file is None:
        return Row(line.done, place, (entry,))
    try:
        if not file.startswith("images/"):
            raise InvalidInputError(f"file is {file[:80]!r}, no image in the archive")
        return Row(line.done, place, (replace(entry, data=archive.read(file)),))
    except InvalidInputError as error:
        return Row(line.done, place, (entry,), problem=str(error))


def _image(row: Mapping[str, Any]) -> tuple[ImageEntry, str | None]:
    key = text.word(row, "key")
    if not key:
        raise InvalidInputError("an image has no key")
    sides = [text.whole(row, name) for name in ("width", "height")]
    if not all(0 <= side < 1 << 31 for side in sides):
        raise InvalidInputError(f"{str(sides)[:80]} is no size of an image")
    model, sha256 = text.word(row, "model"), text.word(row, "sha256") or None
    file = text.word(row, "file") or None
    return ImageEntry(key, text.word(row, "prompt"), None, None, sha256, sides[0], sides[1], model, _about(row)), file


def _answer_row(line: text.Line, done: int) -> Row:
    place = f"{_FEEDBACK}, line {line.number}"
    try:
        row = _object(line)
        keys = [text.clean(key) if isinstance(key, str) else "" for key in _list(row, "images")]
        kind, token = text.word(row, "kind"), written_token(row)
        least, most = _SHAPES.get(kind, (1, 0))
        if not least <= len(keys) <= most or not all(keys) or len(set(keys)) < len(keys):
            raise InvalidInputError(f"{kind[:20]!r} of {len(keys)} images is nothing that can be said")
        prompts, hashes = (_long(row, name, len(keys)) for name in ("prompts", "hashes"))
        prompt = None if row.get("prompt") is None else text.word(row, "prompt")
        said = FeedbackEntry(
            cast("FeedbackKind", kind), tuple(keys), _tiers(row, len(keys)), token, prompt, text.word(row, "rater"),
            moment(row.get("created_at")), text.word(row, "source"), _about(row),
        )  # fmt: skip
        images = (ImageEntry(key, of or "", sha256=sha256 or None) for key, of, sha256 in zip(keys, prompts, hashes, strict=True))
        return Row(done, place, tuple(images), (said,))
    except InvalidInputError as error:
        return Row(done, place, problem=str(error))


def _object(line: text.Line) -> Mapping[str, Any]:
    if line.problem or not isinstance(line.value, dict):
        raise InvalidInputError(line.problem or "no JSON object")
    return line.value


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    about = plain(row.get("about"), _DEEP)
    if not isinstance(about, dict):
        raise InvalidInputError(f"about is {str(about)[:80]!r}, no JSON object")
    return about


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise InvalidInputError(f"{name} is {str(value)[:80]!r}, no list")
    return value


def _long(row: Mapping[str, Any], name: str, length: int) -> list[str]:
    value = row.get(name)
    every = value if isinstance(value, list) else [value] * length
    if len(every) != length or not all(one is None or isinstance(one, str) for one in every):
        raise InvalidInputError(f"{name} is {str(value)[:80]!r}; one text or {length} are expected")
    return [text.clean(one or "") for one in every]


def _tiers(row: Mapping[str, Any], length: int) -> tuple[tuple[int, ...], ...]:
    tiers = tuple(tuple(tier) if isinstance(tier, list) else () for tier in _list(row, "tiers"))
    positions = [position for tier in tiers for position in tier]
    if not all(tiers) or not all(type(one) is int for one in positions) or sorted(positions) != list(range(length)):
        raise InvalidInputError(f"tiers is {str(row['tiers'])[:80]}, no order of {length} images")
    return tiers
