"""LoRAs merged into a loaded model, and the model's own weights back, bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.lora.file import LoraModule
from lib_rankopt.diffusion.lora.targets import Target

Change = tuple[float, LoraModule]


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A file as it was read: two readings are two files, whatever their names, so that a changed one counts as another.

    Attributes:
        modules: by the file's names, on the CPU.
        digest: sha256 of what follows the header, 64 digits.
    """

    path: Path
    modules: Mapping[str, LoraModule]
    digest: str


@dataclass(frozen=True)
class Lora:
    """A file, how strongly it is wanted, and what it changes in the model in question.

    Attributes:
        te, unet: weights of its change of the text encoders and of the UNet.
        changes: the file's modules by the model's weights.
    """

    file: LoraFile
    te: float
    unet: float
    changes: Mapping[Target, LoraModule] = field(compare=False, repr=False)


def summed(loras: Iterable[Lora]) -> tuple[Lora, ...]:
    """Return the set that these amount to: one entry a file with its weights added up, in an order of their own, none that weighs 0."""
    found: dict[LoraFile, Lora] = {}
    for one in loras:
        had = found.get(one.file)
        found[one.file] = one if had is None else Lora(one.file, had.te + one.te, had.unet + one.unet, one.changes)
    return tuple(sorted((one for one in found.values() if one.te or one.unet), key=lambda one: str(one.file.path)))


def merged(original: Tensor, changes: Sequence[Change], device: torch.device) -> Tensor:
    """Return W + Σ weight · alpha / rank · up · down in float32 on ``device``, in the shape of ``original`` (``[out, in, …]``)."""
    total = original.to(device, torch.float32, copy=True).flatten(1)
    for weight, module in changes:
        up, down = (factor.to(device, torch.float32).flatten(1) for factor in (module.up, module.down))
        total.addmm_(up, down, alpha=weight * module.alpha / module.rank)
    return total.view(original.shape)


class AppliedLoras:
    """What is merged into one model. The weights that LoRAs have changed are kept on the CPU as they were, and no others.

    It holds no reference to the model; hand it the same one each time, in one thread at a time.
    """

    def __init__(self) -> None:
        self._originals: dict[Target, Tensor] = {}
        self._used: tuple[Lora, ...] | None = ()

    def use(self, model: StableDiffusion, loras: tuple[Lora, ...]) -> None:
        """Let the model be itself plus these LoRAs and nothing else. Costs nothing where it is so already.

        Args:
            loras: as :func:`summed` returns them; none for the plain model, whose weights come back exactly.

        Raises:
            RuntimeError: out of memory; the next call puts everything right.
        """
        if loras == self._used:
            return
        self._used = None  # until all is done, nothing is known of the weights
        wanted: defaultdict[Target, list[Change]] = defaultdict(list)
        for one in loras:
            for target, module in one.changes.items():
                weight = one.te if target.part else one.unet
                if weight:
                    wanted[target].append((weight, module))
        # plain weights even where a caller runs in inference mode: they may be trained or probed later
        with torch.inference_mode(False), torch.no_grad():
            for target in [target for target in self._originals if target not in wanted]:
                _weight(model, target).copy_(self._originals[target])
                del self._originals[target]
            for target, changes in wanted.items():
                weight = _weight(model, target)
                # from the original each time, so that no rounding adds up
                original = self._originals.get(target)
                if original is None:
                    self._originals[target] = weight.to("cpu", copy=True)
                    original = weight
                weight.copy_(merged(original, changes, weight.device))
        self._used = loras


def _weight(model: StableDiffusion, target: Target) -> Tensor:
    part = model.unet if target.part == 0 else model.text_encoders[target.part - 1]
    weight: Tensor = part.get_submodule(target.path).weight
    return weight.detach()
