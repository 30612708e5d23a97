"""What samplers share."""

import numpy as np
import torch
from PIL import Image


class InterruptedException(BaseException):
    """Ends sampling."""


class TorchHijack:
    """Stands in for torch in k-diffusion: noise comes by seed."""

    def __init__(self, p):
        self.rng = p.rng

    def __getattr__(self, item):
        return getattr(torch, item)

    def randn_like(self, _x):
        return self.rng.next()


def single_sample_to_image(sample, approximation=None):
    assert approximation in (1, 2, 3)
    values = ((sample[:3].float().clamp(-2, 2) + 2) * 63.75).to(torch.uint8)
    return Image.fromarray(np.moveaxis(values.numpy(), 0, 2))
