"""Sample sheets: the same seeds without the LoRA, with half of it and with all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from lib_rankopt.diffusion import decode
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import CFGDenoiser, Denoiser
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.noise import start_noise
from lib_rankopt.diffusion.samplers import plan
from lib_rankopt.diffusion.sampling import sample
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.precompute import Size

WEIGHTS = (0.0, 0.5, 1.0)
_SAMPLER, _SCHEDULER, _STEPS, _GUIDANCE = "DPM++ 2M", "Karras", 20, 6.0
_LEAST_SIDE = 192  # small pictures are enlarged, or nobody could see them


class SampleSheets:
    """Draws sheets of one row per prompt and one column per weight.

    Prompts are encoded at once; afterwards only the VAE is needed, which waits on the CPU between sheets.

    Args:
        model: whole, with text encoders and VAE.
        size: width and height of each picture.
    """

    def __init__(self, model: StableDiffusion, prompts: Sequence[str], negative: str, size: Size, seed: int) -> None:
        self.prompts = tuple(prompts)
        self._vae = model.vae
        self._told = [encode_prompts(model, prompt, negative, size) for prompt in self.prompts]
        shape = (model.config.latent_channels, size[1] // model.config.downscale, size[0] // model.config.downscale)
        self._seeds = [seed + number for number in range(len(self.prompts))]
        self._noise = start_noise(self._seeds, shape)
        self._plain: list[Image.Image] | None = None
        self._vae.cpu()

    def draw(self, network: LoraNetwork, weights: Sequence[Tensor]) -> tuple[Image.Image, Image.Image]:
        """The sheet of LoRA weights as :attr:`LoraNetwork.parameters` has them, and its first picture at weight 1 (the card's)."""
        columns = []
        for weight in WEIGHTS:
            if weight == 0.0 and self._plain is not None:
                columns.append(self._plain)
                continue
            # down and up alternate; the change is their product
            scaled = [part if number % 2 == 0 else part * weight for number, part in enumerate(weights)]
            with network.weights(scaled):
                columns.append(self._pictures(network.model))
        self._plain = columns[0]
        return _sheet(columns), columns[-1][0]

    @torch.inference_mode()
    def _pictures(self, model: StableDiffusion) -> list[Image.Image]:
        """One by one, because a card that trains has little memory left."""
        steps = plan(_SAMPLER, _SCHEDULER, _STEPS, model.schedule, family=model.config.family)
        latents = []
        for row, (positive, negative) in enumerate(self._told):
            denoiser = Denoiser(model.predict, model.schedule, model.config.prediction_type or "epsilon")
            guided = CFGDenoiser(denoiser, positive, negative, _GUIDANCE)
            latents.append(sample(steps, guided, self._noise[row : row + 1], self._seeds[row : row + 1], device=model.device))
        whole = replace(model, vae=self._vae.to(model.device))
        try:
            return [decode.decode(whole, latent[0]) for latent in latents]
        finally:
            self._vae.cpu()


def _sheet(columns: Sequence[Sequence[Image.Image]]) -> Image.Image:
    width, height = columns[0][0].size
    factor = max(1, -(-_LEAST_SIDE // min(width, height)))
    width, height = width * factor, height * factor
    sheet = Image.new("RGB", (width * len(columns), height * len(columns[0])))
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (x * width, y * height))
    return sheet
