"""Which weights of a model a LoRA file may change, by the names that files use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from lib_rankopt.diffusion.lora.names import names_of, text_names_of
from lib_rankopt.errors import ModelError

Shape = tuple[int, ...]
T = TypeVar("T")

_SHOWN = {"sd1": "SD1.x", "sd2": "SD2.x", "sdxl": "SDXL"}
_SDXL_ONLY = ("lora_te2_", "lora_unet_input_blocks_", "lora_unet_middle_block_", "lora_unet_output_blocks_")
_CONTEXT = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # width of the text that the published families' UNets read


@dataclass(frozen=True)
class Target:
    """One weight.

    Attributes:
        part: 0 is the UNet, from 1 on the text encoders.
        path: of its layer in that part.
        shape: ``(out, in)`` of a linear layer, ``(out, in, k, k)`` of a convolution.
    """

    part: int
    path: str
    shape: Shape


def targets_of(unet: nn.Module, text_encoders: Sequence[nn.Module], family: str) -> dict[str, Target]:
    """Return all linear layers and convolutions by every name that a file may use for them.

    Args:
        unet, text_encoders: loaded, or on the meta device.

    Raises:
        InvalidInputError: an unknown family, or a UNet that is not built as the family's.
    """
    shapes = _shapes(unet)
    found = {name: Target(0, path, shapes[path]) for name, path in names_of(shapes, family).items()}
    for number, encoder in enumerate(text_encoders):
        shapes = _shapes(encoder)
        names = text_names_of(shapes, family, number)
        found.update((name, Target(number + 1, path, shapes[path])) for name, path in names.items())
    return found


def matched(
    found: Mapping[str, T], shapes: Mapping[str, tuple[Shape, Shape]], targets: Mapping[str, Target], family: str, file: str
) -> dict[Target, T]:
    """Return what a file holds by the weights that it changes.

    Args:
        found: anything, by module name.
        shapes: of ``lora_down`` and ``lora_up``, by the same names.
        targets: of the model.
        family: of the model, for the message. file: likewise.

    Raises:
        ModelError: a name that the model does not have, a weight of another shape, or one that is changed twice.
    """
    by_target: dict[Target, T] = {}
    for name, value in found.items():
        target, (down, up) = targets.get(name), shapes[name]
        if target is None:
            raise _unfit(file, family, shapes, f"it changes '{name[:120]}', which the model does not have")
        if not _fits(target.shape, down, up):
            said = f"its '{name[:120]}' has lora_down {list(down)} and lora_up {list(up)} for a weight {list(target.shape)}"
            raise _unfit(file, family, shapes, said)
        if target in by_target:
            raise ModelError(f"{file} cannot be used as a LoRA: it changes {target.path} twice, under two names.")
        by_target[target] = value
    return by_target


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {path: tuple(layer.weight.shape) for path, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def _fits(weight: Shape, down: Shape, up: Shape) -> bool:
    """Whether up · down has the weight's shape; factors of 1×1 convolutions and of linear layers stand for each other, as in the webui."""
    inside = down[1:] if len(weight) == len(down) else down[1:2] + (1,) * (len(weight) - 2)
    kernel_lost = len(weight) < len(down) and math.prod(down[2:]) != 1
    return inside == weight[1:] and up[0] == weight[0] and not kernel_lost


def _unfit(file: str, family: str, shapes: Mapping[str, tuple[Shape, Shape]], why: str) -> ModelError:
    origin = _origin(shapes)
    looks = f"; it looks like one for {_SHOWN[origin]}" if origin not in (None, family) else ""
    return ModelError(f"{file} is a LoRA for another model than this one, which is of the family {_SHOWN[family]}: {why}{looks}.")


def _origin(shapes: Mapping[str, tuple[Shape, Shape]]) -> str | None:
    if any(name.startswith(_SDXL_ONLY) for name in shapes):
        return "sdxl"
    widths = {down[1] for name, (down, _) in shapes.items() if name.endswith("attn2_to_k")}
    return _CONTEXT.get(widths.pop()) if len(widths) == 1 else None
