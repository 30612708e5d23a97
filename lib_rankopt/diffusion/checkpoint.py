"""Read tensors from files that a stranger wrote, without running what is in them."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.errors import ModelError

SAFETENSORS = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SUFFIXES = (SAFETENSORS, *PICKLES)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU, memory-mapped where the format allows it.

    Raises:
        ModelError: missing, empty, truncated, not a checkpoint, or a pickle that wants to run code.
    """
    _require_file(path)
    tensors = _read_safetensors(path) if path.suffix == SAFETENSORS else _read_pickle(path)
    if not tensors:
        raise ModelError(f"{path}: holds no tensors")
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors; for safetensors only the header is read.

    Raises:
        ModelError: as :func:`read_tensors`.
    """
    _require_file(path)
    if path.suffix != SAFETENSORS:
        return {name: tuple(tensor.shape) for name, tensor in read_tensors(path).items()}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}){_hint(path)}") from error


def _require_file(path: Path) -> None:
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if size is None:
        raise ModelError(f"{path}: there is no such file")
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path}: unknown file type {path.suffix!r}; supported are {', '.join(SUFFIXES)}")
    if size == 0:
        raise ModelError(f"{path}: the file is empty; download it again")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}){_hint(path)}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: refused, because this pickle is damaged or holds more than tensors and could run code{_hint(path)}; "
            "use a .safetensors file"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise ModelError(f"{path}: not a readable checkpoint ({error}){_hint(path)}") from error
    state: Any = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _hint(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError:
        return ""  # the caller's message already says that it cannot be read
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; it is a web page, saved in place of the model: download it again while signed in"
    if start.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer: run `git lfs pull`"
    return ""


def sha256_of(path: Path) -> str:
    """Hash of a model: of the file, or for a folder of the names and hashes of its weight and configuration
    files.

    Raises:
        ModelError: cannot be read.
    """
    try:
        if path.is_file():
            return _sha256_of_file(path)
        digest = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.suffix in (*SUFFIXES, ".json", ".txt") and file.is_file():
                digest.update(f"{file.relative_to(path).as_posix()}\0{_sha256_of_file(file)}\n".encode())
        return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
