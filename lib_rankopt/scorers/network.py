"""A scorer's network on the device where it is wanted."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Network:
    """In float32 on the CPU; elsewhere a copy in float16. The CPU's weights stay as they were read, so that scores there never change.

    Attributes:
        module: as it is to be asked now. dtype: of its weights. device: where they are.
    """

    def __init__(self, module: nn.Module) -> None:
        self._read: Any = module.float().eval().requires_grad_(False)
        self.module: Any = self._read
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def to(self, device: torch.device) -> None:
        """Bring it to a device; what was on another one is let go."""
        if device == self.device:
            return
        on_cpu = device.type == "cpu"
        dtype = torch.float32 if on_cpu else torch.float16
        self.module = self._read
        if not on_cpu:
            self.module = _copied(self._read, device, dtype)
        self.device, self.dtype = device, dtype


def _copied(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Copy straight to the device: a copy on the CPU first would take the memory of a large network twice."""
    there: dict[int, Any] = {id(one): nn.Parameter(one.to(device, dtype), requires_grad=False) for one in module.parameters()}
    there.update({id(one): one.to(device, dtype if one.is_floating_point() else None) for one in module.buffers()})
    return copy.deepcopy(module, there)
