"""Writing LoRA files and what lies beside them: whole or not at all, and never over something that is there."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lib_rankopt.diffusion.lora.file import serialise
from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.store.blobs import write_atomically

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:,"/\\|?*]+')
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


def write(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a new file, which is there whole or not at all.

    Raises:
        InvalidInputError: the name is taken, or metadata are not text. StoreError: the disk is full or the folder not writable.
    """
    blob = serialise(state, metadata)
    write_new(path, blob)


def write_new(path: Path, content: bytes) -> None:
    """Write bytes under a name that is free.

    Raises:
        InvalidInputError: the name is taken. StoreError: the disk is full or the folder not writable; nothing is left behind.
    """
    try:
        # A running webui keeps what it has applied while the name stays, so an old name would silently show the old LoRA.
        if path.exists() or path.is_symlink():
            raise InvalidInputError(f"{path} exists already and is not overwritten; choose another name.")
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
        why = "the disk is full; free some space" if full else f"{error.strerror or error}; check the folder's permissions"
        raise StoreError(f"{path} could not be written: {why}.") from error


def new_path(folder: Path, name: str) -> Path:
    """Return the first free path of ``name``, ``name-2``, ``name-3`` …, without the signs that file names and prompts reserve.

    A name also counts as taken where only its sidecar exists.
    """
    stem = clean_name(name)
    number = 1
    while True:
        path = folder / f"{stem if number == 1 else f'{stem}-{number}'}.safetensors"
        if not any(taken.exists() or taken.is_symlink() for taken in (path, path.with_suffix(".json"))):
            return path
        number += 1


def clean_name(name: str) -> str:
    """Return a name fit for a file and for ``<lora:name:1>``; ``lora`` where nothing is left of it."""
    plain = _UNSAFE.sub("_", name).strip(" ._")
    plain = plain.encode("utf-8", "ignore")[:180].decode("utf-8", "ignore").rstrip(" .")  # file systems stop at 255 bytes
    if plain.split(".")[0].upper() in _DEVICES:  # Windows opens a device instead
        plain = f"lora_{plain}"
    return plain or "lora"
