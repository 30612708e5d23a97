"""The files of collected images as pages show them: whole, or as bounded thumbnails."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.store.formats import files

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.store.collected.base import CollectionStore
    from lib_rankopt.store.collected.files import HeldFiles

SMALLEST, LARGEST = 16, 2048  # pixels of a thumbnail's longer side
_MOST_PIXELS = 1 << 27  # of an image that is made smaller: 400 MB once decoded
_KEPT_BYTES = 64 << 20
_AT_ONCE = 3
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".bmp": "image/bmp", ".tif": "image/tiff", ".webp": "image/webp"}
_KINDS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF")  # and no other: Pillow would start a program for some
# What Pillow raises at files that are damaged, cut off, huge or made to do harm is of no one family.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, AssertionError, MemoryError,
           RuntimeError, struct.error, zlib.error)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """Bytes of an image file with their kind, and a name for this state of the file."""

    data: bytes
    media_type: str
    etag: str


class Pictures:
    """Reads files of collected images, and nothing outside their collections' folders. Thread-safe."""

    def __init__(self, store: CollectionStore, held: HeldFiles) -> None:
        self._store = store
        self._held = held
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(_AT_ONCE)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0

    def etag(self, number: int, size: int = 0) -> str:
        """Return the name of the present state of an image's file, or of its thumbnail of this size.

        Raises:
            NotFoundError: there is no such image, or no file. InvalidInputError: the file is outside of its collection's folder.
        """
        return self._named(number, size)[1]

    def file(self, number: int) -> Picture:
        """Return an image's file, its kind told by its first bytes.

        Raises:
            NotFoundError: there is no such image, or no file. StoreError: it cannot be read. InvalidInputError: it is no image.
        """
        path, etag = self._named(number, 0)
        data = files.read(path)
        return Picture(data, _TYPES[files.suffix_of(data)], etag)

    def thumbnail(self, number: int, size: int) -> Picture:
        """Return an image scaled down to ``size`` pixels, 16 … 2048, of its longer side, as JPEG, or as WebP where it is transparent.

        The newest 64 MiB of them are kept in memory.

        Raises:
            As :meth:`file`; InvalidInputError also for another size, or an image that cannot be decoded.
        """
        if not SMALLEST <= size <= LARGEST:
            raise InvalidInputError(f"A thumbnail of {size} pixels; it must be {SMALLEST} to {LARGEST}.")
        path, etag = self._named(number, size)
        with self._lock:
            if etag in self._kept:
                self._kept.move_to_end(etag)
                return self._kept[etag]
        with self._turn:  # a page asks for a hundred at once; decoded together they would fill the memory
            made = _thumbnail(files.read(path), size, etag)
        with self._lock:
            if etag not in self._kept:
                self._kept[etag] = made
                self._bytes += len(made.data)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].data)
        return made

    def _named(self, number: int, size: int) -> tuple[Path, str]:
        image = self._store.image(number)
        path = self._held.locate(image, self._store.collection(image.collection))
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError(f"The file of image {number} is gone: {path.name}.") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
        return path, f"{number}-{found.st_size:x}-{found.st_mtime_ns:x}-{size}"


def _thumbnail(data: bytes, size: int, etag: str) -> Picture:
    from PIL import Image, ImageOps

    files.suffix_of(data)
    try:
        with Image.open(io.BytesIO(data), formats=_KINDS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise InvalidInputError(f"An image of {opened.width}×{opened.height} pixels is too large for a thumbnail.")
            opened.draft("RGB", (size, size))
            small = ImageOps.exif_transpose(_eight_bits(opened))
            small.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
            out = io.BytesIO()
            if small.mode == "RGBA":
                small.save(out, "WEBP", quality=88)
                return Picture(out.getvalue(), "image/webp", etag)
            small.save(out, "JPEG", quality=88)
            return Picture(out.getvalue(), "image/jpeg", etag)
    except InvalidInputError:
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise InvalidInputError(f"The image cannot be read ({error or type(error).__name__}).") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where anything is transparent; 16-bit greys are scaled rather than clipped."""
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    is_clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if is_clear else "RGB")
