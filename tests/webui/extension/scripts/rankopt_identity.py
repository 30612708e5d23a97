"""Test extension: makes the same images by the webui itself and by Rank-Optimize's host, inside the running webui."""

import contextlib
import hashlib

from fastapi import Body
from modules import call_queue, processing, script_callbacks, scripts, shared

from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.ui import webui


def digest(image):
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def plain(values):
    """As txt2img does: integer seed, one prompt, all scripts."""
    kind = processing.StableDiffusionProcessingTxt2Img
    p = kind(
        sd_model=shared.sd_model, prompt=values["prompt"], negative_prompt=values.get("negative_prompt", ""), seed=values["seed"],
        sampler_name=values["sampler"], scheduler="Automatic", batch_size=values["count"], n_iter=1, steps=values["steps"],
        cfg_scale=4.0, width=64, height=64, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    p.is_api = True
    p.scripts, p.script_args = scripts.scripts_txt2img, webui.script_args()
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
        latents=host.initial_noise(seeds, (4, 8, 8)) if values["given"] else None,
    )  # fmt: skip
    return {"plain": plain(values), "ours": [digest(image.image) for image in host.generate(request)]}


script_callbacks.on_app_started(lambda _demo, app: app.add_api_route("/rankopt-test/compare", compare, methods=["POST"]))
