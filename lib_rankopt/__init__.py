"""Rank-Optimize: rankings of generated images improve the latent, pick the sampler's path and train a LoRA."""

__version__ = "0.1.0"
