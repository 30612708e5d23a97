"""Noise by seed."""

import torch


class ImageRNG:
    """One generator per image; the first noise, then the following ones."""

    def __init__(self, shape, seeds):
        self.shape, self.seeds = tuple(shape), seeds
        self.generators = [torch.Generator().manual_seed(int(seed) % 2**63) for seed in seeds]
        self.is_first = True

    def next(self):
        self.is_first = False
        return torch.stack([torch.randn(self.shape, generator=one) for one in self.generators])
