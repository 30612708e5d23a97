"""JSON lines: a ``metadata.jsonl`` as Hugging Face's image folders have it, and the lines that our own trainer reads.

An export is a folder with ``images/`` and one ``metadata.jsonl``. Every line names a file in ``file_name`` and has the same columns with
the same types, so that ``datasets.load_dataset("imagefolder", data_dir=…)`` reads it: one row for each line. ``kind`` tells the rows apart:
``image`` for each image once, then ``ranking``, ``pair``, ``like`` and ``dislike``, whose ``file_name`` is (one of) the best. (Versions of
the loader before 3 give one row for each image instead, of the last line that names it.)
``python -m lib_rankopt train --data FOLDER`` reads it as it is.

===================  =================================================================================================
``file_name``        an image, relative to the folder
``kind``             see above
``prompt``           of the image, or as the rater saw it
``images``           lists of files, best first; files of one list are equal. The file alone where ``kind`` is about one image
``label``            ``like``, ``dislike`` or empty
``shown``            positions among the files in ``images``, in the order in which they stood on screen
``prompts``          of the files in ``images``, as a text that holds a JSON list; empty where all are ``prompt``
rater …              ``rater, created_at, source, token`` of what was said
``sha256`` …         ``sha256, model, width, height`` of an image
``rating``           an image's strength over all comparisons (natural logarithm of the odds), and ``rating_std``; both 0 where unknown
``about``            all else, as a text that holds a JSON object
===================  =================================================================================================

No column is ever null: the loader takes the type of a column from the first lines alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, folders, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, FeedbackKind, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.shapes import Occurrences, caption, ending, moment, plain, written_token
from lib_rankopt.store.formats.writing import GONE, read_image

INDEX = "metadata.jsonl"
_FOLDER = "images"
_CAPTIONS = ("prompt", "text", "caption")
_LABELS = {1: "like", "like": "like", 0: "dislike", -1: "dislike", "dislike": "dislike"}  # true and false are found as 1 and 0
_KINDS = ("image", "ranking", "pair", "like", "dislike")
_COLUMNS: Mapping[str, Any] = {
    "file_name": "", "kind": "image", "prompt": "", "images": [], "label": "", "shown": [0], "prompts": "", "rater": "", "created_at": "",
    "source": "", "token": "", "sha256": "", "model": "", "width": 0, "height": 0, "rating": 0.0, "rating_std": 0.0, "about": "{}",
}  # fmt: skip
_LARGEST_SIDE = 1 << 24


class MetadataJsonl(Format):
    """See the module's text. Lines of strangers: ``{"file_name", "text" | "caption" | "prompt", …}``, ``{"win", "lose", "prompt"}``,
    ``{"image" | "file_name", "prompt", "label"}``, ``{"images": [best first], "prompt"}``; other columns go to ``about``."""

    name = "jsonl"
    title = "JSON lines (Hugging Face image folder, lib_rankopt train)"
    loses = ("images whose file is gone, and what was said about them", "the names of images in the data set that it was written from")

    def size(self, path: Path) -> int:
        return _index(path).stat().st_size

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        index, seen = _index(path), Occurrences()
        rows = (_row(line, f"{index.name}, line {line.number}", seen) for line in text.json_lines(index))
        return (row for row in ending(rows, self.size(path)) if row.done > after)

    # -- writing
    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        done = 0
        with folders.new_folder(path) as target, (target / INDEX).open("xb") as index:
            for done in chain(_write_images(dataset, target, index, report), _write_feedback(dataset, target, index, report)):
                yield done
            if not report.images:
                raise InvalidInputError("There is no image to write.")
            report.wrote(INDEX)
        yield done


def _write_images(dataset: Dataset, target: Path, index: IO[bytes], report: WriteReport) -> Iterator[int]:
    ratings = dataset.ratings()
    for image in dataset.images():
        if (data := read_image(dataset, image, report)) is None:
            continue
        name = f"{_FOLDER}/{files.file_name(image.key)}{files.suffix_of(data)}"
        mean, deviation = ratings.get(image.key, (0.0, 0.0))
        columns = {
            "file_name": name, "prompt": image.prompt, "images": [[name]], "sha256": image.sha256 or "", "model": image.model,
            "width": image.width, "height": image.height, "rating": float(mean), "rating_std": float(deviation),
            "about": folders.dumped(dict(image.about)),
        }  # fmt: skip
        folders.put(target, name, data, report)
        index.write(folders.line({**_COLUMNS, **columns}))
        report.images += 1
        yield report.images


def _write_feedback(dataset: Dataset, target: Path, index: IO[bytes], report: WriteReport) -> Iterator[int]:
    for answer, images in dataset.feedback():
        names = [folders.find_written(target / _FOLDER, files.file_name(image.key)) for image in images]
        if None in names:
            report.leave_out(f"an answer about an image that is left out: {GONE}", answer.token)
            continue
        index.write(folders.line(_answer_columns(answer, images, [f"{_FOLDER}/{name}" for name in names])))
        report.feedback += 1
        yield report.images + report.feedback


def _answer_columns(answer: FeedbackEntry, images: Sequence[ImageEntry], names: Sequence[str]) -> dict[str, Any]:
    order = [position for tier in answer.tiers for position in tier]
    prompt = caption(answer, images[0])
    columns: dict[str, Any] = {
        "file_name": names[order[0]], "kind": answer.kind, "prompt": prompt, "rater": answer.rater, "created_at": answer.created_at,
        "source": answer.source, "token": answer.token, "about": folders.dumped(dict(answer.about)),
        "images": [[names[position] for position in tier] for tier in answer.tiers],
        "shown": [order.index(position) for position in range(len(order))],
        "label": answer.kind if len(images) == 1 else "",
    }  # fmt: skip
    if any(image.prompt != prompt for image in images):
        columns["prompts"] = folders.dumped([images[position].prompt for position in order])
    return {**_COLUMNS, **columns}


# -- reading


def _index(path: Path) -> Path:
    """Return the file itself.

    Raises:
        InvalidInputError: there is none.
    """
    index = path / INDEX if path.is_dir() else path
    if not index.is_file():
        raise InvalidInputError(f"There is no file {index}." if index == path else f"The folder {path} holds no {INDEX}.")
    return index


def _row(line: text.Line, place: str, seen: Occurrences) -> Row:
    if line.problem:
        return Row(line.done, place, problem=line.problem)
    try:
        if not isinstance(line.value, dict):
            raise InvalidInputError("no JSON object")
        value = plain(line.value)
        if isinstance(value.get("kind"), str) and value["kind"] in _KINDS and isinstance(value.get("about"), str):
            value = {**value, "about": _about(value["about"])}
            images, said = _ours(value)
        else:
            images, said = _strangers(value, seen)
        return Row(line.done, place, images, said)
    except InvalidInputError as error:
        return Row(line.done, place, problem=str(error))


def _about(written: str) -> dict[str, Any]:
    found = _json_in("about", written or "{}")
    if not isinstance(found, dict):
        raise InvalidInputError(f"about is {written[:80]!r}, no JSON object")
    return found


def _json_in(column: str, written: str) -> Any:
    try:
        return plain(json.loads(written))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{column} is no JSON ({error})") from error


_Found = tuple[tuple[ImageEntry, ...], tuple[FeedbackEntry, ...]]


def _ours(row: Mapping[str, Any]) -> _Found:
    kind, prompt = row["kind"], text.word(row, "prompt")
    if kind == "image":
        name = files.relative(row.get("file_name"))
        ratings = {key: row[key] for key in ("rating", "rating_std") if isinstance(row.get(key), float) and row.get("rating_std")}
        sha256 = text.word(row, "sha256") or None
        sides = (_side(row, "width"), _side(row, "height"))
        return (ImageEntry(name, prompt, name, None, sha256, *sides, text.word(row, "model"), {**row["about"], **ratings}),), ()
    tiers = _tiers(row.get("images")) if kind in ("ranking", "pair") else ((files.relative(row.get("file_name")),),)
    names = [name for tier in tiers for name in tier]
    written = text.word(row, "prompts")
    prompts = (_same_length(_json_in("prompts", written), str, len(names)) if written else None) or [prompt] * len(names)
    images = tuple(ImageEntry(name, of, name) for name, of in zip(names, prompts, strict=True))
    more = {name: text.word(row, name) for name in ("rater", "source")} | {"created_at": moment(row.get("created_at"))}
    said = _answer(kind, tiers, written_token(row), {**more, "prompt": prompt, "about": row["about"]})
    return images, (_in_order_shown(said, row.get("shown")),)


def _strangers(row: dict[str, Any], seen: Occurrences) -> _Found:
    column = next((name for name in _CAPTIONS if isinstance(row.get(name), str)), "")
    prompt = row.pop(column, "")
    kind: str | None = None
    if "win" in row and "lose" in row:
        kind, tiers = "pair", _tiers([row.pop("win"), row.pop("lose")])
    elif isinstance(row.get("images"), list) and not (row["images"] == [] and "file_name" in row):
        kind, tiers = "ranking", _tiers(row.pop("images"))
    else:
        name = row.pop("image", None) or row.pop("file_name", None)
        if name is None:
            raise InvalidInputError("neither file_name, nor win and lose, nor images, nor image and label")
        tiers = ((files.relative(name),),)
        if row.get("label") not in (None, ""):
            kind = _label(row.pop("label"))
    entries = tuple(ImageEntry(name, prompt, name, about={} if kind else row) for tier in tiers for name in tier)
    rater = text.word(row, "rater") if kind else ""
    more = {"rater": rater, "about": {key: value for key, value in row.items() if key != "rater" and value is not None}}
    if kind is None:
        return entries, ()
    token = seen.token(kind, prompt, rater, folders.dumped(tiers))
    return entries, (_answer(kind, tiers, token, {**more, "prompt": prompt}),)


def _label(value: Any) -> str:
    if not isinstance(value, (bool, int, str)) or value not in _LABELS:
        raise InvalidInputError(f"label is {str(value)[:80]!r}; true or false is expected")
    return _LABELS[value]


def _answer(kind: str, tiers: Sequence[Sequence[str]], token: str, more: Mapping[str, Any]) -> FeedbackEntry:
    names = tuple(name for tier in tiers for name in tier)
    least, most = {"ranking": (2, len(names)), "pair": (2, 2)}.get(kind, (1, 1))
    if not least <= len(names) <= most:
        raise InvalidInputError(f"a {kind} has {'one image' if least == 1 else 'two images'}{' or more' * (most > 2)}, not {len(names)}")
    counter = iter(range(len(names)))
    positions = tuple(tuple(next(counter) for _ in tier) for tier in tiers)
    return FeedbackEntry(cast("FeedbackKind", kind), names, positions, token, **more)


def _tiers(value: Any) -> tuple[tuple[str, ...], ...]:
    """Names in tiers, of a list of names and lists of names."""
    if not isinstance(value, list):
        raise InvalidInputError(f"images is {str(value)[:80]!r}, no list")
    tiers = tuple(tuple(files.relative(name) for name in (one if isinstance(one, list) else [one])) for one in value)
    names = [name for tier in tiers for name in tier]
    if not all(tiers):
        raise InvalidInputError("a tier in images is empty")
    if len(set(names)) < len(names):
        raise InvalidInputError("an image stands in the line twice")
    return tiers


def _in_order_shown(said: FeedbackEntry, shown: Any) -> FeedbackEntry:
    """Bring the images of an answer into the order in which they stood on screen; ``shown[i]`` is where the i-th of them is now."""
    order = _same_length(shown, int, len(said.images))
    if order is None or order == list(range(len(order))):
        return said
    if sorted(order) != list(range(len(order))):
        raise InvalidInputError(f"shown is {str(shown)[:80]}, no order of {len(said.images)} images")
    place = {now: at for at, now in enumerate(order)}
    tiers = tuple(tuple(sorted(place[position] for position in tier)) for tier in said.tiers)
    images = tuple(said.images[position] for position in order)
    return replace(said, images=images, tiers=tiers)


def _same_length(value: Any, kind: type, length: int) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != length or not all(type(one) is kind for one in value):
        raise InvalidInputError(f"{str(value)[:80]} is no list of {length}")
    return value


def _side(row: Mapping[str, Any], name: str) -> int:
    value = text.whole(row, name)
    if not 0 <= value <= _LARGEST_SIDE:
        raise InvalidInputError(f"{name} is {str(value)[:80]}, no number of pixels")
    return value
