"""Images and latents as files that are named by what they hold.

Identity is the sha256 of the *content*, not of the file: of mode, size and pixels for an image, of shape and little-endian float32
values for a latent. So a picture keeps its identity when a tool rewrites its metadata or packs it tighter, and a file that no
longer holds what its name says is found out.

``<root>/images/ab/<hash>.png`` carries the generation parameters in the PNG text chunk ``parameters`` and, where it was chosen among
candidates, how that went in ``rankopt_selection`` (the first writer's, if the same pixels are made twice).
``<root>/latents/ab/<hash>.safetensors`` holds one tensor ``latent``. Files are written under another name, synced, then renamed: what
has its name is whole. Thread-safe, and safe for several processes on one folder.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.selection import record_text

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.selection.record import SelectionRecord

_SYNCING = 8
_HASH = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Files below ``root``, which is created when the first one is written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The data folder."""
        return self._root

    # -- images
    def put_image(self, image: Image.Image, parameters: str, selection: SelectionRecord | None = None) -> str:
        """Keep an image as PNG; return its hash. Alpha is dropped.

        Args:
            selection: how it was chosen; large thumbnails are left out, see :mod:`lib_rankopt.selection.record_text`.

        Raises:
            StoreError: the disk is full or the folder is not writable; nothing is left behind.
        """
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        name = image_hash(rgb)
        self._write(self.image_path(name), lambda file: _write_png(file, rgb, parameters, selection))
        return name

    def take_image(self, data: bytes) -> str:
        """Keep an image's PNG file as it is, with all that it says besides its pixels; return its hash.

        Raises:
            InvalidInputError: see :meth:`image_in`.
            StoreError: the disk is full or the folder is not writable; nothing is left behind.
        """
        name = self.image_in(data)
        self._write(self.image_path(name), lambda file: file.write(data))
        return name

    @staticmethod
    def image_in(data: bytes) -> str:
        """Return the hash of the image in a PNG file.

        Raises:
            InvalidInputError: no PNG in RGB that can be read.
        """
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
                opened.load()
                name, mode = image_hash(opened), opened.mode
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InvalidInputError(f"no PNG that can be read ({error})") from error
        if mode != "RGB":
            raise InvalidInputError(f"a PNG in {mode}; images of studies are in RGB")
        return name

    def image_path(self, image: str) -> Path:
        """Return where an image lies, whether or not it exists.

        Raises:
            InvalidInputError: not 64 hexadecimal digits.
        """
        return self._path("images", image, ".png")

    def load_image(self, image: str) -> Image.Image:
        """Read an image, checked against its hash; the parameters are in ``.info["parameters"]``.

        Raises:
            NotFoundError: it does not exist. StoreError: the file is damaged.
        """
        from PIL import Image

        path = self.image_path(image)
        try:
            with Image.open(io.BytesIO(self._read(path, "image"))) as opened:
                opened.load()
                found = opened.copy()
        except (OSError, SyntaxError, ValueError) as error:
            raise StoreError(f"The image file {path} is damaged ({error}). Restore it, or delete the study.") from error
        if image_hash(found) != image:
            raise StoreError(f"The image file {path} no longer holds what its name says; restore it from a backup.")
        return found

    def has_selection(self, image: str) -> bool:
        """Whether an image says how it was chosen among candidates; false of what is not there. Reads a few bytes only."""
        return record_text.find(self.image_path(image)) is not None

    def load_selection(self, image: str) -> SelectionRecord | None:
        """Read how an image was chosen among candidates, ``None`` where its file does not say.

        Raises:
            InvalidInputError: no hash. NotFoundError: there is no such image. StoreError: what the file says cannot be read.
        """
        path = self.image_path(image)
        if not path.is_file():
            raise NotFoundError(f"There is no image '{image}' in the data folder.")
        return record_text.read(path)

    # -- latents
    def put_latent(self, latent: Tensor) -> str:
        """Keep a latent ``[C, h, w]`` as float32; return its hash.

        Raises:
            InvalidInputError: not three dimensions, or a value that is not a finite number.
            StoreError: the disk is full or the folder is not writable; nothing is left behind.
        """
        import torch

        if latent.dim() != 3 or not bool(torch.isfinite(latent).all()):
            raise InvalidInputError(f"A latent {tuple(latent.shape)} with not-a-number values cannot be kept.")
        plain = latent.detach().to("cpu", torch.float32).contiguous()
        name = latent_hash(plain)
        self._write(self.latent_path(name), lambda file: file.write(_safetensors(plain)))
        return name

    def take_latent(self, data: bytes) -> str:
        """Keep a latent's file as it is; return its hash.

        Raises:
            InvalidInputError: see :meth:`latent_in`.
            StoreError: the disk is full or the folder is not writable; nothing is left behind.
        """
        name = self.latent_in(data)
        self._write(self.latent_path(name), lambda file: file.write(data))
        return name

    @staticmethod
    def latent_in(data: bytes) -> str:
        """Return the hash of the latent in a file.

        Raises:
            InvalidInputError: no safetensors file with one float32 tensor ``latent`` of three dimensions.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            found = load(data)["latent"]
        except (SafetensorError, KeyError, ValueError) as error:
            raise InvalidInputError(f"no latent that can be read ({error})") from error
        if found.dim() != 3 or found.dtype != torch.float32:
            raise InvalidInputError(f"a tensor {tuple(found.shape)} of {found.dtype} is no latent")
        return latent_hash(found)

    def latent_path(self, latent: str) -> Path:
        """Return where a latent lies, whether or not it exists.

        Raises:
            InvalidInputError: not 64 hexadecimal digits.
        """
        return self._path("latents", latent, ".safetensors")

    def load_latent(self, latent: str) -> Tensor:
        """Read a latent, checked against its hash.

        Raises:
            NotFoundError: it does not exist. StoreError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.latent_path(latent)
        try:
            found = load(self._read(path, "latent"))["latent"]
        except (SafetensorError, KeyError, ValueError) as error:
            raise StoreError(f"The latent file {path} is damaged ({error}); restore it from a backup.") from error
        if latent_hash(found) != latent:
            raise StoreError(f"The latent file {path} no longer holds what its name says; restore it from a backup.")
        return found

    # -- both
    def exists(self, path: Path) -> bool:
        """Whether a file that :meth:`image_path` or :meth:`latent_path` named is there."""
        return path.is_file()

    def delete(self, images: set[str], latents: set[str]) -> None:
        """Delete files; those that are gone already are no error. Folders stay: another process may be about to write into them.

        Raises:
            StoreError: a file cannot be deleted (the others are, as far as possible).
        """
        paths = [self.image_path(name) for name in images] + [self.latent_path(name) for name in latents]
        refused: OSError | None = None
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                refused = error
        if refused is not None:
            raise StoreError(f"A file of the study could not be deleted: {refused}") from refused

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        if not isinstance(name, str) or not _HASH.fullmatch(name):
            raise InvalidInputError(f"{str(name)[:80]!r} is no hash: 64 digits from 0-9 and a-f are expected.")
        return self._root / kind / name[:2] / f"{name}{suffix}"

    def _read(self, path: Path, what: str) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no {what} '{path.stem}' in the data folder.") from error
        except OSError as error:
            raise StoreError(f"The {what} file {path} cannot be read: {error}") from error

    def _write(self, path: Path, content: Callable[[IO[bytes]], object]) -> None:
        if path.is_file():
            return
        try:
            write_atomically(path, content)
        except OSError as error:
            raise StoreError(_why_not_written(path, error)) from error


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a file, which is there whole or not at all, also after a power cut.

    Raises:
        OSError: as the system says; no temporary file is left behind. What ``write`` raises comes through.
    """
    with atomic_file(path) as file:
        write(file)


@contextmanager
def atomic_file(path: Path, synced: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that is there whole when the block ends, and not at all when it ends in an error.

    Args:
        synced: also after a power cut; without, :func:`sync_files` has to follow.

    Raises:
        OSError: as the system says; no temporary file is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if synced:
        sync_folder(path.parent)


def sync_files(paths: Collection[Path]) -> None:
    """Make files, and that they are in their folders, survive a power cut: several at a time, as the disk then does many in one go.

    Raises:
        OSError: as the system says.
    """
    with ThreadPoolExecutor(_SYNCING) as pool:
        list(pool.map(_sync_file, paths))
        list(pool.map(sync_folder, {path.parent for path in paths}))


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    # Windows cannot open folders and needs no sync of them.
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def image_hash(image: Image.Image) -> str:
    """Return the identity of an RGB image: the sha256 of mode, size and pixels."""
    head = f"rankopt image {image.mode} {image.width}x{image.height}\n".encode()
    return sha256(head + image.tobytes()).hexdigest()


def latent_hash(latent: Tensor) -> str:
    """Return the identity of a float32 CPU latent: the sha256 of its shape and little-endian values."""
    head = f"rankopt latent {'x'.join(map(str, latent.shape))}\n".encode()
    return sha256(head + latent.detach().contiguous().numpy().astype("<f4", copy=False).tobytes()).hexdigest()


def _write_png(file: IO[bytes], image: Image.Image, parameters: str, selection: SelectionRecord | None) -> None:
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    if selection is not None:  # first, where it is found at once
        chunks.add_text(record_text.CHUNK, record_text.write(selection), zip=True)
    chunks.add_text("parameters", parameters)
    image.save(file, "PNG", pnginfo=chunks, compress_level=4)


def _safetensors(latent: Tensor) -> bytes:
    from safetensors.torch import save

    shape = "x".join(map(str, latent.shape))
    return save({"latent": latent}, metadata={"format": "pt", "rankopt": "latent-1", "shape": shape})


def _why_not_written(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"The disk is full: {path.parent} took no more. Free some space and try again; all answers are kept."
    return f"{path.parent} cannot be written: {error.strerror or error}. Check the permissions of the data folder."
