"""ImageRewardDB's records of single images, from ``metadata-*.parquet`` or JSON files beside the images, put together by prompt.

Records of one prompt may stand anywhere, so all are first written to a temporary database. ``done`` counts records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, text
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry, Row
from lib_rankopt.store.formats.grouping import Groups
from lib_rankopt.store.formats.parquet import Parquet
from lib_rankopt.store.formats.shapes import MOST_IMAGES, Occurrences, about, compared, numbers, plain, tiers_of
from lib_rankopt.store.formats.sources import Source

_OF_IMAGE = ("rank", "overall_rating", "image_text_alignment_rating", "fidelity_rating")
_OF_PROMPT = ("prompt_id", "classification", "image_amount_in_total")
_COLUMNS = ("image_path", "prompt", *_OF_IMAGE, *_OF_PROMPT)
_NEEDED = ("image_path", "prompt_id", "rank")


def size(found: Sequence[Source]) -> int:
    """Records of parquet files; 0, not known, of JSON files."""
    total = 0
    for source in found:
        if source.path.suffix.lower() != ".parquet":
            return 0
        try:
            with Parquet(source.path) as file:
                total += file.rows
        except InvalidInputError:
            if len(found) == 1:
                raise
            total += 1
    return total


def rows(found: Sequence[Source], root: Path, after: int) -> Iterator[Row]:
    """Rows by prompt, bad records before them; see :meth:`~.base.Format.rows`."""
    with Groups() as groups, Groups() as problems:
        for source in found:
            try:
                _collect(source, root, groups, problems)
            except InvalidInputError as error:
                if len(found) == 1:
                    raise
                problems.add(str(len(problems)), json.dumps([1, source.name, str(error)]))
        done, tokens = 0, Occurrences()
        for _, _, (one,) in problems.items(1):
            count, place, problem = json.loads(one)
            done += count
            if done > after:
                yield Row(done, place, problem=problem)
        for key, count, members in groups.items(MOST_IMAGES + 1):
            row = _row(done + count, key, [json.loads(member) for member in members], tokens)
            done += count
            if done > after:
                yield row


def _collect(source: Source, root: Path, groups: Groups, problems: Groups) -> None:
    for number, (record, count, problem) in enumerate(_records(source), 1):
        place = f"{source.name}, record {number}"
        if not problem:
            try:
                value, key = _checked(record, source, root)
                groups.add(key, json.dumps([place, value]))
                continue
            except InvalidInputError as error:
                problem = str(error)
        problems.add(str(len(problems)), json.dumps([count, place, problem]))


def _records(source: Source) -> Iterator[tuple[Any, int, str]]:
    """Records, how many rows each counts for, and what is wrong with it."""
    if source.path.suffix.lower() == ".parquet":
        yield from _parquet(source)
        return
    try:
        for line in text.json_list(source.path):
            yield line.value, 1, line.problem
    except InvalidInputError:
        yield text.one_json(source.path), 1, ""  # of one image


def _parquet(source: Source) -> Iterator[tuple[Any, int, str]]:
    with Parquet(source.path) as file:
        if missing := [name for name in _NEEDED if name not in file.columns]:
            raise InvalidInputError(f"{source.path} has no column '{missing[0]}'; its columns are {', '.join(file.columns)[:300]}.")
        columns = [name for name in _COLUMNS if name in file.columns]
        for group, count in enumerate(file.groups):
            given = 0
            try:
                for piece in file.pieces(group, columns):
                    given += len(piece)
                    yield from ((values, 1, "") for values in piece)
            except InvalidInputError as error:
                if given < count:
                    yield None, count - given, str(error)


def _checked(record: Any, source: Source, root: Path) -> tuple[dict[str, Any], str]:
    """A record as plain JSON, and what its prompt is known by.

    Raises:
        InvalidInputError: it has no image or prompt, or no number for its rank.
    """
    if not isinstance(record, dict):
        raise InvalidInputError(f"{str(record)[:80]!r} is no object with named values")
    prompt_id = record.get("prompt_id")
    if not isinstance(prompt_id, (str, int)) or isinstance(prompt_id, bool) or prompt_id == "":
        raise InvalidInputError(f"prompt_id is {str(prompt_id)[:80]!r}, no identity")
    numbers([record.get("rank")], "rank")
    value = {name: plain(record.get(name)) for name in _COLUMNS}
    value["prompt"] = text.word(record, "prompt")
    value["image_path"] = _where(files.relative(record.get("image_path")), source, root)
    return value, text.clean(str(prompt_id))


def _where(path: str, source: Source, root: Path) -> str:
    """Where an image is: as its record says, or beside the file with the record."""
    beside = "/".join((*source.name.split("/")[:-1], path.rsplit("/", 1)[-1]))
    return beside if beside != path and not files.is_there(root, path) and files.is_there(root, beside) else path


def _row(done: int, key: str, members: list[Any], tokens: Occurrences) -> Row:
    place = members[0][0]
    if len(members) > MOST_IMAGES:
        return Row(done, place, problem=f"the prompt_id {key[:80]!r} has more than {MOST_IMAGES} images")
    records: dict[str, Mapping[str, Any]] = {}
    problem = ""
    for at, record in members:
        if record["image_path"] in records:
            problem = f"{at}: {record['image_path'][:200]!r} is there twice"
        records.setdefault(record["image_path"], record)
    first = next(iter(records.values()))
    images = tuple(ImageEntry(path, record["prompt"], path, about=about(record, *_OF_IMAGE)) for path, record in records.items())
    if len(images) < 2:
        return Row(done, place, images, problem=problem)
    ranks = [record["rank"] for record in records.values()]
    token = tokens.token(key, *map(repr, ranks), *records)
    more = {**about(first, *_OF_PROMPT), "id": key}
    return Row(
        done,
        place,
        images,
        (FeedbackEntry(compared(len(images)), tuple(records), tiers_of(ranks), token, first["prompt"], about=more),),
        problem,
    )
