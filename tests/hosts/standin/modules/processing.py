"""The pipeline: a toy sampler between the real hooks."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules import rng, sd_samplers_common, shared

runs = []  # every processing object that was run


@dataclass
class StableDiffusionProcessingTxt2Img:
    """What is asked for."""

    sd_model: Any = None
    outpath_samples: str | None = None
    outpath_grids: str | None = None
    prompt: Any = ""
    negative_prompt: Any = ""
    styles: list = field(default_factory=list)
    seed: Any = -1
    sampler_name: str = "Euler"
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    eta: float | None = None
    do_not_save_grid: bool = False
    do_not_save_samples: bool = False
    override_settings: dict = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True
    enable_hr: bool = False
    iteration: int = 0
    rng: Any = field(init=False, default=None)
    sampler: Any = field(init=False, default=None)

    def __post_init__(self):
        self.comments, self.extra_generation_params = [], {}

    def comment(self, text):
        self.comments.append(text)

    def close(self):
        self.sampler = None


@dataclass
class StableDiffusionProcessingImg2Img(StableDiffusionProcessingTxt2Img):
    """What is asked for, from an image; its one sampler serves all batches."""

    init_images: list | None = None
    denoising_strength: float = 0.75

    def init(self):
        pixels = torch.from_numpy(np.asarray(self.init_images[0], dtype=np.float32).copy()).permute(2, 0, 1)[None] / 63.75 - 2
        latent = torch.nn.functional.avg_pool2d(pixels, 8)
        self.init_latent = torch.cat([latent, latent[:, :1]], dim=1).repeat(self.batch_size, 1, 1, 1)
        self.sampler = Sampler()
        self.extra_generation_params["Denoising strength"] = self.denoising_strength


class Sampler:
    """Moves the noise towards a picture that hangs on the prompt, adding noise where the sampler's name ends in " a"."""

    def callback_state(self, values):
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException

    def sample(self, p, x):
        word = torch.Generator().manual_seed(zlib.crc32(f"{p.prompts[0]}|{p.negative_prompt}|{p.scheduler}|{shared.opts.sd_vae}".encode()))
        target = torch.randn(x.shape[1:], generator=word)
        last, steps = x, p.steps
        if (init := getattr(p, "init_latent", None)) is not None:
            steps = int(min(p.denoising_strength, 0.999) * p.steps) + 1
            assert len(init) == len(x), "the image was encoded for another batch"
            last = init + x * p.denoising_strength * 0.8 ** (p.steps - steps)
        shared.state.sampling_steps = steps
        try:
            for i in range(steps):
                denoised = 0.6 * target * min(p.cfg_scale, 10.0) / 10.0 + 0.6 * last
                self.callback_state({"x": x, "i": i, "denoised": denoised})
                last = last + (denoised - last) * 0.2
                if p.sampler_name.endswith(" a"):
                    last = last + 0.3 * (1.0 if p.eta is None else p.eta) * p.rng.next()
        except sd_samplers_common.InterruptedException:
            pass
        return last


def process_images(p):
    """Run all batches."""
    if not getattr(p, "is_api", False):  # the scripts behind txt2img's controls
        p.steps, p.seed, p.sampler_name = 7, [-1] * len(p.seed), "Euler"
    p.all_prompts, p.all_seeds = list(p.prompt), list(p.seed)
    runs.append(p)
    before = {name: getattr(shared.opts, name) for name in p.override_settings}
    for name, value in p.override_settings.items():
        setattr(shared.opts, name, value)
    try:
        process_images_inner(p)
    finally:
        for name, value in before.items():
            setattr(shared.opts, name, value)


def process_images_inner(p):
    """Run them under the options that hold now."""
    if hasattr(p, "init"):
        p.init()
    for n in range(p.n_iter):
        p.iteration = n
        shared.state.skipped = False
        if shared.state.interrupted:
            break
        here = slice(n * p.batch_size, (n + 1) * p.batch_size)
        p.prompts, p.seeds = p.all_prompts[here], p.all_seeds[here]
        p.subseeds, p.negative_prompts = p.seeds, [p.negative_prompt] * len(p.prompts)
        p.rng = rng.ImageRNG((shared.sd_model.latent_channels, p.height // 8, p.width // 8), p.seeds)
        p.scripts.call("before_process_batch", p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
        x = p.rng.next()
        p.sampler = p.sampler or Sampler()
        p.scripts.call("process_before_every_sampling", p, x=x, noise=x, c=None, uc=None)
        samples = p.sampler.sample(p, x)
        p.scripts.call("post_sample", p, samples)
        for sample in samples:
            pixels = torch.nn.functional.interpolate(sample[None, :3], scale_factor=8)[0].clamp(-2, 2)
            image = Image.fromarray(np.moveaxis(((pixels + 2) * 63.75).to(torch.uint8).numpy(), 0, 2))
            p.scripts.call("postprocess_image_after_composite", p, type("Args", (), {"image": image})())
            save_image(p, image)


def save_image(_p, _image):
    """Write a file."""


def create_infotext(p, all_prompts, all_seeds, all_subseeds, index=0, all_negative_prompts=None):
    negative = f"\nNegative prompt: {all_negative_prompts[index]}" if all_negative_prompts[index] else ""
    fields = {
        "Steps": p.steps, "Sampler": p.sampler_name, "Schedule type": p.scheduler, "CFG scale": p.cfg_scale,
        "Seed": all_seeds[index], "Size": f"{p.width}x{p.height}",
        "Model hash": shared.sd_model.sd_checkpoint_info.sha256[:10],
        **{name: value[index] if isinstance(value, list) else value for name, value in p.extra_generation_params.items()},
    }  # fmt: skip
    return f"{all_prompts[index]}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())
