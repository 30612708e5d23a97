"""LoRA files: safetensors with ``lora_down``, ``lora_up`` and ``alpha`` of every module, in half precision.

The change of a weight is ``alpha / rank · up · down``. Files of others are read with distrust: nothing of what the header says is
believed before it was checked against the file's size.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib_rankopt.diffusion.lora.names import kohya_name, names_of
from lib_rankopt.errors import InvalidInputError, ModelError

DOWN, UP, ALPHA = PARAMETERS = ("lora_down.weight", "lora_up.weight", "alpha")
_WIDTHS = {"F16": 2, "BF16": 2, "F32": 4}
_CHUNK = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class LoraModule:
    """What a LoRA adds to one layer.

    Attributes:
        down: ``[r, in]`` of a linear layer, ``[r, in, k, k]`` of a convolution.
        up: ``[out, r]`` or ``[out, r, 1, 1]``.
        alpha: the change is scaled by ``alpha / r``.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """The inner width r."""
        return int(self.down.shape[0])

    def delta(self) -> Tensor:
        """Return the change of the weight in float32, ``[out, in]`` or ``[out, in, k, k]``."""
        product = self.up.detach().float().flatten(1) @ self.down.detach().float().flatten(1)
        return (product * (self.alpha / self.rank)).reshape(self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True)
class Limits:
    """How large a LoRA file of unknown origin may be."""

    file_bytes: int = 4 << 30
    header_bytes: int = 16 << 20
    modules: int = 10_000


LIMITS = Limits()


@dataclass(frozen=True)
class Header:
    """What a file says before its values.

    Attributes:
        metadata: all text.
        shapes: of the tensors, by name; checked against the size of the file.
        end: where the values begin, in bytes.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    end: int


def to_state(modules: Mapping[str, LoraModule], family: str) -> dict[str, Tensor]:
    """Return a file's tensors: float16, contiguous, on the CPU, in the order of their names.

    Args:
        modules: by diffusers' module path.

    Raises:
        InvalidInputError: no modules, shapes that do not fit each other, a value that is not finite or too large for float16, or an
            alpha that is not positive; the message names the module.
    """
    if not modules:
        raise InvalidInputError("A LoRA without modules would change nothing; there is nothing to write.")
    names_of(modules, family)  # refuses two modules of one name
    state: dict[str, Tensor] = {}
    for path, module in modules.items():
        wrong = _shapes_wrong(tuple(module.down.shape), tuple(module.up.shape))
        if wrong:
            raise InvalidInputError(f"The LoRA module {path} cannot be written: {wrong}.")
        name = kohya_name(path, family)
        state[f"{name}.{DOWN}"] = _half(module.down, path, "down")
        state[f"{name}.{UP}"] = _half(module.up, path, "up")
        state[f"{name}.{ALPHA}"] = alpha = _half(torch.tensor(float(module.alpha)), path, "alpha")
        # 0 means "no change" to the webui and "alpha = rank" to kohya's trainer.
        if not float(alpha) > 0:
            raise InvalidInputError(f"The LoRA module {path} has alpha {module.alpha}; it must be a positive number.")
    return {key: state[key] for key in sorted(state)}


def from_state(state: Mapping[str, Tensor], module_paths: Iterable[str], family: str) -> dict[str, LoraModule]:
    """Return the modules of a file by diffusers' module path.

    Args:
        module_paths: those of the base model that may have a LoRA.

    Raises:
        InvalidInputError: an unknown family. ModelError: a name that the base does not have, a module twice or incomplete.
    """
    known = names_of(module_paths, family)
    found: dict[str, LoraModule] = {}
    for name, module in named(state).items():
        path = known.get(name)
        if path is None:
            raise ModelError(f"The LoRA changes '{name[:120]}', which the base model ({family}) does not have; it is for another one.")
        if path in found:
            raise ModelError(f"The LoRA holds the module {path} twice, under two names.")
        found[path] = module
    return found


def named(state: Mapping[str, Tensor]) -> dict[str, LoraModule]:
    """Return the modules of a file by the names that it uses.

    Raises:
        ModelError: a module is incomplete, of shapes that do not fit each other, or has values that are not finite.
    """
    return {name: LoraModule(parts[DOWN], parts[UP], float(parts[ALPHA])) for name, parts in _grouped(state).items()}


def read_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the shapes of ``lora_down`` and ``lora_up`` by module, from a file's header alone.

    Raises:
        ModelError: as :func:`read_header`, a module that is incomplete, or shapes that do not fit each other.
    """
    header, found = read_header(path), {}
    try:
        for name, parts in _parts(header.shapes).items():
            wrong = _shapes_wrong(parts[DOWN], parts[UP])
            if wrong:
                raise ModelError(f"in the module '{name[:120]}' {wrong}")
            found[name] = (parts[DOWN], parts[UP])
    except ModelError as error:
        raise _broken(path, str(error)) from error
    return found


def serialise(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a file; those after the header depend on ``state`` only.

    Raises:
        InvalidInputError: a metadata key or value that is not text, which the webui could not read.
    """
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInputError(f"The metadata entry {str(key)[:80]!r} must be text, not {type(value).__name__}.")
    return save({key: state[key] for key in sorted(state)}, metadata=dict(metadata) if metadata else None)


def data_hash(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of all bytes after the header, 64 digits: the same whatever the metadata say."""
    blob = serialise(state)
    return sha256(memoryview(blob)[8 + int.from_bytes(blob[:8], "little") :]).hexdigest()


def read(path: Path, limits: Limits = LIMITS) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a LoRA file: its tensors on the CPU, and its metadata.

    Raises:
        ModelError: no file, not safetensors, larger than allowed, not a plain LoRA, incomplete, or with values that are not finite.
    """
    metadata = read_header(path, limits).metadata
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            # Cloned, so that they do not hang on a file that may be replaced.
            state = {key: file.get_tensor(key).clone() for key in sorted(file.keys())}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise _broken(path, str(error)) from error
    try:
        _grouped(state)
    except ModelError as error:
        raise _broken(path, str(error).rstrip(".")) from error
    return state, metadata


def digest_of(path: Path) -> str:
    """Return the sha256 of all bytes after the header, 64 digits, as the webui computes it.

    Raises:
        ModelError: as :func:`read_header`, or the file is gone.
    """
    end = read_header(path).end
    found = sha256()
    try:
        with path.open("rb") as file:
            file.seek(end)
            while piece := file.read(_CHUNK):
                found.update(piece)
    except OSError as error:
        raise _broken(path, f"it cannot be read ({error.strerror or error})") from error
    return found.hexdigest()


# -- checks
def _broken(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} cannot be used as a LoRA: {why[:300]}.")


def _half(tensor: Tensor, path: str, what: str) -> Tensor:
    plain = tensor.detach()
    if not bool(torch.isfinite(plain).all()):
        raise InvalidInputError(f"The LoRA module {path} ({what}) holds values that are not finite; the training has diverged.")
    half = plain.to("cpu", torch.float16, copy=True).contiguous()
    if not bool(torch.isfinite(half).all()):
        raise InvalidInputError(
            f"The LoRA module {path} ({what}) holds {float(plain.abs().max()):.3g}, too large for half precision (65504)."
        )
    return half


def _shapes_wrong(down: tuple[int, ...], up: tuple[int, ...]) -> str | None:
    seen = f"lora_down {list(down)}, lora_up {list(up)}"
    if len(down) not in (2, 4) or len(up) not in (2, 4) or not math.prod(down) or not math.prod(up):
        return f"two or four dimensions are expected, none empty, not {seen}"
    if up[1] != down[0]:
        return f"the ranks differ ({seen})"
    return f"lora_up must be 1×1 ({seen})" if up[2:] not in ((), (1, 1)) else None


def _parts(entries: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """What stands for tensors, by module and parameter; ModelError where a module is not whole."""
    modules: defaultdict[str, dict[str, T]] = defaultdict(dict)
    for key, entry in entries.items():
        name, _, parameter = key.partition(".")  # the webui too splits at the first dot
        if parameter not in PARAMETERS:
            raise ModelError(f"'{key[:120]}' is not part of a plain LoRA, which has {', '.join(PARAMETERS)}")
        modules[name][parameter] = entry
    if not modules:
        raise ModelError("it holds no modules")
    for name, parts in modules.items():
        missing = [parameter for parameter in PARAMETERS if parameter not in parts]
        if missing:
            raise ModelError(f"the module '{name[:120]}' lacks {', '.join(missing)}")
    return dict(modules)


def _grouped(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by module and parameter; ModelError where they are not whole, fitting, finite LoRA modules."""
    modules = _parts(state)
    for name, parts in modules.items():
        wrong = _shapes_wrong(tuple(parts[DOWN].shape), tuple(parts[UP].shape))
        if wrong or parts[ALPHA].numel() != 1:
            raise ModelError(f"in the module '{name[:120]}' {wrong or 'alpha is not one number'}")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in parts.values()):
            raise ModelError(f"the module '{name[:120]}' holds values that are not finite")
    return modules


def read_header(path: Path, limits: Limits = LIMITS) -> Header:
    """Read what a file says of itself, checked against its size before anything is allocated by it.

    Raises:
        ModelError: no file, not safetensors, or larger than allowed.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or size > limits.file_bytes or not 2 <= length <= min(limits.header_bytes, size - 8):
                raise _broken(path, f"it has {size} bytes and announces a header of {length}; it is damaged, too large or no safetensors")
            text = file.read(length)
    except OSError as error:
        raise _broken(path, f"it cannot be read ({error.strerror or error})") from error
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 and huge numbers are ValueErrors too
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is no table of tensors")
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "its metadata are not all text")
    if len(header) > len(PARAMETERS) * limits.modules:
        raise _broken(path, f"it names {len(header)} tensors, more than {limits.modules} modules have")
    for key, entry in header.items():
        if not _entry_fits(entry, size - 8 - length):
            raise _broken(path, f"its header describes '{key[:120]}' in a way that does not fit the file")
    return Header(metadata, {key: tuple(entry["shape"]) for key, entry in header.items()}, 8 + length)


def _entry_fits(entry: Any, data_bytes: int) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _WIDTHS:
        return False
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not _counts(shape) or not _counts(offsets) or len(shape) > 4 or len(offsets) != 2:
        return False
    begin, end = offsets
    return begin <= end <= data_bytes and end - begin == math.prod(shape) * _WIDTHS[entry["dtype"]]


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
