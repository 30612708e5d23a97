"""Which format a file or folder has, by its extension, its columns and its layout. A few files are opened, and of each only the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from lib_rankopt.errors import RankOptError
from lib_rankopt.store.formats import names, text
from lib_rankopt.store.formats.files import SUFFIXES
from lib_rankopt.store.formats.parquet import Parquet
from lib_rankopt.store.formats.wl_folders import SIDES

_SOME = 200  # entries of a folder that are looked at
_DEEP = 6  # folders in folders that a first image is looked for in


def guess(path: Path) -> str | None:
    """Return the name of the format that a file or folder most likely has, ``None`` where it is of none that can be read."""
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    return found if found in names() else None


# -- files


def _of_file(path: Path) -> str | None:
    kinds = {
        ".csv": _of_csv, ".tsv": _of_csv, ".json": _of_json, ".jsonl": _of_lines, ".ndjson": _of_lines, ".parquet": _of_parquet,
        ".zip": _of_zip,
    }  # fmt: skip
    look = kinds.get(path.suffix.lower())
    with suppress(RankOptError, OSError):
        return look(path) if look else None
    return None


def _of_csv(path: Path) -> str | None:
    for delimiter in (",", ";", "\t"):
        head = {name.lower() for name in text.csv_head(path, delimiter)}
        if len(head) > 1:
            return _of_columns(head)
    return None


def _of_columns(head: set[str]) -> str | None:
    """What a table with these columns is."""
    if {"image_0_uid", "image_1_uid"} <= head or {"jpg_0", "jpg_1"} <= head:
        return "pickapic"
    if {"ranking_id", "image_1_uid", "image_2_uid"} <= head:
        return "pickapic-rankings"
    if head & {"file_name", "file_path"} and head & {"split", "label"}:
        return "kto"
    if {"prompt_id", "image_path"} <= head or {"prompt_id", "rank"} <= head:
        return "imagereward"
    if {"winner", "loser"} <= head or {"image", "elo", "uncertainty"} <= head:
        return "image-ranker"
    return None


def _of_json(path: Path) -> str | None:
    with suppress(RankOptError):
        return _of_elements([line.value for line in islice(text.json_list(path), 3) if isinstance(line.value, dict)])
    values = text.one_json(path)
    return _of_elements([values]) if isinstance(values, dict) else None


def _of_elements(elements: Sequence[Mapping[str, Any]]) -> str | None:
    for one in elements:
        if "human_preference" in one:
            return "hpd2" if isinstance(one["human_preference"], list) else "hpd1"
        if "generations" in one or "overall_rating" in one or {"prompt_id", "rank"} <= set(one):
            return "imagereward"
        if isinstance(one.get("rank"), list):
            return "hpd2"
        if "trainset_idx" in one or set(one) == {"caption"}:
            return "spo-prompts"
    return None


def _of_lines(path: Path) -> str | None:
    for line in islice(text.json_lines(path), 20):
        if isinstance(line.value, dict) and not {"file_name", "image", "images", "win"}.isdisjoint(line.value):
            return "jsonl"
    return None


def _of_parquet(path: Path) -> str | None:
    with Parquet(path) as file:
        return _of_columns(set(file.columns))


def _of_zip(path: Path) -> str | None:
    with path.open("rb") as file:
        return "archive" if file.read(2) == b"PK" else None


# -- folders


def _of_folder(path: Path) -> str | None:
    try:
        entries = sorted(islice(path.iterdir(), 10 * _SOME), key=lambda entry: entry.name)[:_SOME]
    except OSError:
        return None
    files = [entry for entry in entries if entry.is_file()]
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if (path / "metadata.jsonl").is_file():
        return "jsonl"
    for file in _tables(files):
        if found := _of_file(file):
            return found
    if any((folder / "caption.txt").is_file() for folder in folders):
        return "dro"
    if any(_has_sides(folder) for folder in [path, *folders]):
        return "wl-folders"
    for folder in folders:
        if folder.name.lower() in ("data", "train", "validation", "test") and (inner := _tables(_files(folder))):
            return next(filter(None, map(_of_file, inner)), None) or "folder"
    return "folder" if _first_image(path) else None


def _files(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(entry for entry in islice(folder.iterdir(), _SOME) if entry.is_file())
    return []


def _tables(files: Iterable[Path]) -> list[Path]:
    """Those that may be a data set's list, Parquet first."""
    found = [file for file in files if file.suffix.lower() in (".parquet", ".csv", ".json")]
    return sorted(found, key=lambda file: (file.suffix.lower() != ".parquet", file.suffix.lower() != ".csv", file.name))[:20]


def _has_sides(folder: Path) -> bool:
    return any((folder / win).is_dir() and (folder / lose).is_dir() for win, lose in SIDES)


def _first_image(folder: Path, depth: int = 0) -> Path | None:
    inner: list[Path] = []
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                return entry
            if depth < _DEEP and entry.is_dir() and not entry.is_symlink():
                inner.append(entry)
    return next(filter(None, (_first_image(one, depth + 1) for one in inner)), None)

