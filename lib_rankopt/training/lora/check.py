"""What is left of a LoRA when the webui has loaded it: half precision swallows small changes, unknown names are skipped in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lib_rankopt.diffusion.lora.file import PARAMETERS, LoraModule
from lib_rankopt.diffusion.lora.names import names_of
from lib_rankopt.errors import InvalidInputError


def realised_gain(weight: Tensor, module: LoraModule, dtype: torch.dtype = torch.float16) -> float:
    """Say which part of a module's change survives being added in ``dtype``, as the webui does.

    Args:
        weight: the base's, ``[out, in]`` or ``[out, in, k, k]``.

    Returns:
        Slope of the realised on the wanted change; 1 where no change is wanted. Below about 0.95 pictures differ from the preview's.

    Raises:
        InvalidInputError: the module does not fit the weight.
    """
    return _slope(*_products(weight, module, dtype))


def gain(modules: Mapping[str, LoraModule], weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float16) -> float:
    """Return the slope over all modules together; both are keyed by module path.

    Raises:
        InvalidInputError: a module without weight, or of another shape.
    """
    shared, squared = 0.0, 0.0
    for path, module in modules.items():
        if path not in weights:
            raise InvalidInputError(f"The base model has no weight for the LoRA module {path}.")
        of_both, of_wanted = _products(weights[path], module, dtype)
        shared, squared = shared + of_both, squared + of_wanted
    return _slope(shared, squared)


def unmatched(keys: Iterable[str], module_paths: Iterable[str], family: str) -> list[str]:
    """Return a file's keys that the webui would not apply to this base, sorted.

    Raises:
        InvalidInputError: an unknown family.
    """
    known = names_of(module_paths, family)
    parts = ((key, *key.partition(".")[::2]) for key in keys)
    return sorted(key for key, name, parameter in parts if name not in known or parameter not in PARAMETERS)


def _slope(shared: float, squared: float) -> float:
    return shared / squared if squared > 0 else 1.0


@torch.no_grad()
def _products(weight: Tensor, module: LoraModule, dtype: torch.dtype) -> tuple[float, float]:
    """Sums of realised·wanted and wanted² over a weight's elements."""
    wanted = module.delta().flatten(1)
    if wanted.numel() != weight.numel() or wanted.shape[0] != weight.shape[0]:
        raise InvalidInputError(f"A LoRA module of shape {list(wanted.shape)} does not fit a weight {list(weight.shape)}.")
    # Sums in float32, each result rounded: what hardware does, and torch 2.1 multiplies no half-precision matrices on CPUs.
    product = (module.up.to(dtype).float().flatten(1) @ module.down.to(dtype).float().flatten(1)).to(dtype)
    change = (product.float() * (module.alpha / module.rank)).to(dtype).float()
    base = weight.detach().to(wanted.device, dtype).float().reshape(wanted.shape)
    realised = (base + change).to(dtype).float() - base
    return float((realised.double() * wanted.double()).sum()), float(wanted.double().square().sum())
