"""Test extension: makes the same images by the webui itself and by Rank-Optimize's host, inside the running webui."""

import contextlib
import hashlib

import numpy as np
import torch
from fastapi import Body
from modules import call_queue, processing, script_callbacks, scripts, shared
from PIL import Image

from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.ui import webui


def digest(image):
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def picture(values):
    """A picture to start from, where a strength is given."""
    if not values.get("strength"):
        return None
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def plain(values):
    """As txt2img or img2img does: integer seed, one prompt, all scripts."""
    start = picture(values)
    kind, runner, more = processing.StableDiffusionProcessingTxt2Img, scripts.scripts_txt2img, {}
    if start is not None:
        kind, runner = processing.StableDiffusionProcessingImg2Img, scripts.scripts_img2img
        more = {"init_images": [start], "denoising_strength": values["strength"]}
    p = kind(
        **more,
        sd_model=shared.sd_model, prompt=values["prompt"], negative_prompt=values.get("negative_prompt", ""), seed=values["seed"],
        sampler_name=values["sampler"], scheduler="Automatic", batch_size=values["count"], n_iter=1, steps=values["steps"],
        cfg_scale=4.0, width=64, height=64, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    p.is_api = True
    p.scripts, p.script_args = runner, webui.script_args(start is not None)
    torch.manual_seed(1)  # the webui draws the init latent from the global generator
    with call_queue.queue_lock, contextlib.closing(p):
        shared.state.begin(job="identity")
        processed = processing.process_images(p)
        shared.state.end()
    return [digest(image) for image in processed.images]


def compare(values: dict = Body(...)):  # noqa: B008 (the webui FastAPI is too old for Annotated)
    host = webui.service().host
    seeds = tuple(values["seed"] + i for i in range(values["count"]))
    request = GenerationRequest(
        values["prompt"], seeds, values.get("negative_prompt", ""), width=64, height=64, steps=values["steps"], sampler=values["sampler"],
        cfg_scale=4.0, batch_size=values["count"],
        latents=host.initial_noise(seeds, (4, 8, 8)) if values["given"] else None, init_image=picture(values),
        denoising_strength=values.get("strength", 0.75),
    )  # fmt: skip
    expected = plain(values)
    torch.manual_seed(1)
    return {"plain": expected, "ours": [digest(image.image) for image in host.generate(request)]}


script_callbacks.on_app_started(lambda _demo, app: app.add_api_route("/rankopt-test/compare", compare, methods=["POST"]))
