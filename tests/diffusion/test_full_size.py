"""A checkpoint of SD1.5's real size, with random weights: 2 GB on disk, about 5 GB in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.hosts.standalone import StandaloneHost
from tests.diffusion import ldm_layout


@pytest.mark.slow
def test_a_whole_sd15_sized_file_loads_and_generates(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in ldm_layout.full("sd1").items():
        if name.endswith("position_ids"):
            state[name] = torch.arange(77)[None]
        elif len(shape) == 1:
            state[name] = torch.full(shape, float(name.endswith("weight"))).half()
        else:
            scale = torch.Size(shape[1:]).numel() ** -0.5
            state[name] = (torch.randn(shape, generator=generator) * scale).half()
    save_file(state, str(tmp_path / "full.safetensors"))
    del state
    host = StandaloneHost(tmp_path, "full.safetensors", device="cpu")
    defaults = host.defaults()
    assert (defaults.width, defaults.height) == (512, 512)
    assert host.latent_shape(512, 768) == (4, 96, 64)
    request = GenerationRequest("a fox", (1, 2), width=64, height=64, steps=2, sampler="Euler a", cfg_scale=2.0)
    images = list(host.generate(request))
    assert [np.asarray(image.image).shape for image in images] == [(64, 64, 3)] * 2
    assert all(np.asarray(image.image).std() > 1 for image in images)
    model = host._library._loaded
    assert model is not None
    assert sum(p.numel() for p in model[2].unet.parameters()) == 859_520_964
