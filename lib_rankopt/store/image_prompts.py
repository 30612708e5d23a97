"""What is written in and beside image files: generation parameters in PNG and EXIF, captions. No pixels are decoded here."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image

CAPTIONS = (".txt", ".caption")
_MOST_TEXT = 1 << 20  # bytes that are read of a caption
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_CODES = {b"ASCII\0\0\0": "utf-8", b"\0\0\0\0\0\0\0\0": "utf-8"}
# Pillow reads what strangers' tools wrote with whatever its parsers happen to raise.
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, struct.error)


def texts_in(image: Image.Image) -> Iterator[str]:
    """Yield the generation parameters of an opened image: the PNG text ``parameters``, then EXIF's UserComment.

    A PNG that has its texts behind the pixels shows them only once it is loaded.
    """
    text = image.info.get("parameters")
    if isinstance(text, str) and text.strip():
        yield text
    # Pillow would decode all pixels of a PNG to look for EXIF behind them.
    if image.format != "PNG" or "exif" in image.info:
        text = _user_comment(image)
        if text.strip():
            yield text


def captions_beside(path: Path | str) -> Iterator[str]:
    """Yield the texts of ``name.txt`` and ``name.caption`` beside an image, at most 1 MiB of each, where there is something in them.

    Raises:
        InvalidInputError: a caption cannot be read, or is not UTF-8.
    """
    # as text: a Path for each of very many files costs time, and a place in Python's table of names
    stem = os.path.splitext(path)[0]  # noqa: PTH122
    for suffix in CAPTIONS:
        raw = caption_bytes(stem + suffix)
        if raw and (text := caption_text(raw, os.path.basename(stem) + suffix)):  # noqa: PTH119
            yield text


def caption_bytes(path: str) -> bytes | None:
    """Return the first MiB of a caption's file, ``None`` where there is none.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        if not os.path.isfile(path):  # noqa: PTH113  (a pipe would let us wait for ever)
            return None
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(_MOST_TEXT)
    except OSError as error:
        raise InvalidInputError(f"the caption {os.path.basename(path)} cannot be read ({error.strerror or error})") from error  # noqa: PTH119


def caption_text(raw: bytes, name: str) -> str:
    """Return what a caption's bytes say.

    Raises:
        InvalidInputError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig").replace("\0", "").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"the caption {name} is not UTF-8 ({error.reason} at byte {error.start})") from error


def _user_comment(image: Image.Image) -> str:
    try:
        raw = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    except _BROKEN_EXIF:
        return ""
    return _decoded(raw) if isinstance(raw, bytes) else str(raw)


def _decoded(raw: bytes) -> str:
    """EXIF's UserComment: eight bytes that name the encoding, then text."""
    code, body = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        # The standard leaves the order of bytes open. The webui writes the high one first, other programs the low one, some with a mark.
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return body.decode("utf-16", "replace")
        return body.decode("utf-16-le" if body[1::2].count(0) > body[::2].count(0) else "utf-16-be", "replace")
    return body.decode(_CODES[code], "replace").rstrip("\0") if code in _CODES else raw.decode("utf-8", "replace")
