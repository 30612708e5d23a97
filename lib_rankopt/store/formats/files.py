"""Names and bytes of image files as strangers' data sets give them: nothing outside the chosen folder is read or written."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError

MOST_BYTES = 256 << 20  # of one image file; more is not read
_DRIVE = re.compile(r"[A-Za-z]:")
_PLAIN = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)  # what most names are; nothing in it needs a closer look
_NO_SIGN = re.compile("[\0-\x1f\ud800-\udfff]")  # control signs and halves of pairs, which no file system takes
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def relative(name: object) -> str:
    """Return a path that a data set gives for an image, as a relative one with ``/``, its dots resolved; nothing on disk is touched.

    Raises:
        InvalidInputError: no text, empty, absolute, with a drive or not-printable signs, or one that leaves the folder.
    """
    if isinstance(name, str) and len(name) <= 1024 and _PLAIN.fullmatch(name):
        return name
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError(f"{str(name)[:80]!r} is no file name")
    text = name.replace("\\", "/")
    if text.startswith(("/", "~")) or _DRIVE.match(text) or "://" in text:
        raise InvalidInputError(f"{name[:200]!r} is an absolute path or address; only files inside the data set's folder are read")
    if len(text) > 1024 or _NO_SIGN.search(text):
        raise InvalidInputError(f"{name[:80]!r} is no file name")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise InvalidInputError(f"{name[:200]!r} leads out of the data set's folder")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts:
        raise InvalidInputError(f"{name[:200]!r} is no file name")
    return "/".join(parts)


def inside(root: Path, name: str) -> Path:
    """Return the file that a checked relative path means below ``root``, links followed.

    Raises:
        InvalidInputError: a link leads out of ``root``.
    """
    return Path(inside_text(root, name))


def inside_text(root: Path, name: str) -> str:
    """As :func:`inside`, for very many files: a ``Path`` costs time, and a place in Python's table of names."""
    base = os.path.realpath(root)
    found = os.path.realpath(f"{base}/{name}")
    if not found.startswith(base.rstrip(os.sep) + os.sep):
        raise InvalidInputError(f"{name[:200]!r} is a link that leads out of the data set's folder")
    return found


def is_there(root: Path, name: str) -> bool:
    """Whether a checked relative path is a file below ``root``; false of names that the system does not take (too long, say)."""
    return os.path.isfile(f"{root}/{name}")  # noqa: PTH113 - Path raises for such names, and interns the parts of a million of them


def read(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        NotFoundError: there is none. StoreError: it cannot be read, or has more than 256 MiB.
    """
    try:
        if not path.is_file():
            raise NotFoundError(f"There is no file {path}.")
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"{path} has {path.stat().st_size >> 20} MiB, more than an image may have ({MOST_BYTES >> 20}).")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error


def suffix_of(data: bytes) -> str:
    """Return the suffix that fits an image file's first bytes, such as ``.png``.

    Raises:
        InvalidInputError: no kind of image that we read (PNG, JPEG, WebP, GIF, BMP, TIFF).
    """
    for start, suffix in _KINDS:
        if data.startswith(start):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    raise InvalidInputError("the bytes are no image in PNG, JPEG, WebP, GIF, BMP or TIFF")


def file_hash(data: bytes) -> str:
    """Return the sha256 of a file's bytes, in 64 hex digits. Not the image's identity, which its pixels are."""
    return sha256(data).hexdigest()


_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(key: str) -> str:
    """Return a name without suffix that every system takes for an image with this key, different for different keys."""
    plain = _UNSAFE.sub("_", key.rsplit("/", 1)[-1]).strip("._")
    stem = plain.rsplit(".", 1)[0] if plain.lower().endswith(SUFFIXES) else plain
    if stem == key and 0 < len(stem) <= 64:
        return stem
    return f"{stem[:40]}-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}".lstrip("-")
