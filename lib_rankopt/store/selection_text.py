"""How an image was chosen, as the compressed text chunk ``rankopt_selection`` of its PNG.

A file may come from anywhere, so a chunk is read only up to a size, and unpacked only up to another.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.selection.record import SelectionRecord, from_json

CHUNK = "rankopt_selection"
# Pillow, and so every tool built on it, refuses a PNG with a text of more than 1 MiB.
MOST_TEXT = 1_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BEGINNING = CHUNK.encode() + b"\0\0"  # the name, and the one method of compression that there is
_MOST_CHUNKS = 64


def write(record: SelectionRecord) -> str:
    """Return a record as text of at most :data:`MOST_TEXT` characters: of very many candidates some thumbnails are left out, or all."""
    text = record.to_json()
    for fewer in (_of_those_who_went_on, _without):
        if len(text) <= MOST_TEXT:
            break
        text = fewer(record).to_json()
    return text


def find(path: Path) -> tuple[int, int] | None:
    """Return where in a PNG the packed record begins and how long it is, ``None`` where there is none or the file cannot be read."""
    try:
        with path.open("rb") as file:
            return _find(file)
    except OSError:
        return None


def read(path: Path) -> SelectionRecord | None:
    """Read the record of a PNG, ``None`` where it has none.

    Raises:
        StoreError: it is damaged or too large to be one of ours.
    """
    place = find(path)
    if place is None:
        return None
    try:
        with path.open("rb") as file:
            file.seek(place[0])
            packed = file.read(min(place[1], MOST_TEXT))
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MOST_TEXT)
        if not unpacker.eof:
            raise InvalidInputError("It is cut off or too large.")
        return from_json(text.decode("latin-1"))
    except (OSError, zlib.error, InvalidInputError) as error:
        raise StoreError(f"How the image {path.stem[:12]}… was chosen cannot be read: {error}") from error


def _find(file: IO[bytes]) -> tuple[int, int] | None:
    if file.read(8) != _SIGNATURE:
        return None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return None
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):  # a record stands before the pixels
            return None
        at = file.tell()
        if kind == b"zTXt" and length > len(_BEGINNING) and file.read(len(_BEGINNING)) == _BEGINNING:
            return at + len(_BEGINNING), length - len(_BEGINNING)
        file.seek(at + length + 4)
    return None


def _of_those_who_went_on(record: SelectionRecord) -> SelectionRecord:
    if not record.thumbnails:
        return record
    kept = [
        tuple(name if alive else None for name, alive in zip(names, look.alive, strict=True))
        for names, look in zip(record.thumbnails, record.looks, strict=True)
    ]
    return replace(record, thumbnails=tuple(kept))


def _without(record: SelectionRecord) -> SelectionRecord:
    return replace(record, thumbnails=())
