"""What the standalone host adds to the bare work: one round of eight images, 20 steps, with guidance.

Named peers, in the same process and with the same weights: the round's own UNet evaluations in a bare loop, those with the text encoder
and the VAE, and diffusers' StableDiffusionPipeline with its DPM++ 2M. All are run in turns and the best time of each is taken, so that
another load on the machine hits them alike. On a machine that is busy all the same, `OMP_NUM_THREADS=1` and `--clock cpu` count the
processor time of one thread.

    python -m benchmarks.standalone_round [--model PATH] [--repeats 5] [--tasks unet_only,host] [--json]

Without the pocket model's weights, random ones of its shape are used; the times are the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks._memory import peak_mib
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.decode import decode
from lib_rankopt.diffusion.loading import StableDiffusion, load
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.hosts.library import pocket_path
from lib_rankopt.hosts.standalone import StandaloneHost

PROMPT, NEGATIVE = "a 3d fox on a blue background", "a cat"
STEPS, CFG = 20, 5.0


def random_pocket(folder: Path) -> Path:
    """A diffusers folder of the pocket model's shape with random weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lib_rankopt.diffusion.pocket import architecture, tokenizer_dir

    tokenizer = tokenizer_dir()
    vocabulary = json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))
    UNet2DConditionModel(**architecture.UNET_CONFIG).save_pretrained(folder / "unet")
    AutoencoderKL(**architecture.VAE_CONFIG).save_pretrained(folder / "vae")
    text = CLIPTextModel(CLIPTextConfig(**architecture.text_config(len(vocabulary))))
    text.save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").symlink_to(tokenizer)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(architecture.SCHEDULER_CONFIG))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def request(count: int, size: int, batch_size: int) -> GenerationRequest:
    return GenerationRequest(
        PROMPT,
        tuple(range(count)),
        negative_prompt=NEGATIVE,
        width=size,
        height=size,
        steps=STEPS,
        sampler="DPM++ 2M",
        scheduler="Karras",
        cfg_scale=CFG,
        batch_size=batch_size,
    )


@torch.inference_mode()
def unet_only(model: StableDiffusion, count: int, size: int) -> None:
    """The UNet evaluations of the round and nothing else."""
    cells = size // model.config.downscale
    x = torch.randn(
        2 * count, model.config.latent_channels, cells, cells, device=model.device, dtype=model.dtype
    )
    width = int(model.config.unet["cross_attention_dim"])
    context = torch.randn(2 * count, 77, width, device=model.device, dtype=model.dtype)
    t = torch.full((2 * count,), 500.0, device=model.device)
    for _ in range(STEPS):
        model.unet(x, t, context, return_dict=False)
    finish(model.device)


@torch.inference_mode()
def all_networks(model: StableDiffusion, count: int, size: int) -> None:
    """Text encoder, UNet and VAE as often as the round needs them."""
    encode_prompts(model, PROMPT, NEGATIVE, (size, size))
    unet_only(model, count, size)
    cells = size // model.config.downscale
    for _ in range(count):
        decode(model, torch.randn(model.config.latent_channels, cells, cells))
    finish(model.device)


def pipeline(model: StableDiffusion) -> Any:
    """diffusers' own pipeline around the same modules."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    betas = model.config.betas
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=betas.count,
        beta_start=betas.start,
        beta_end=betas.end,
        beta_schedule=betas.schedule,
        use_karras_sigmas=True,
    )
    pipe = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoders[0],
        tokenizer=CLIPTokenizer.from_pretrained(str(model.config.text_encoders[0].tokenizer)),
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_times(
    tasks: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of the fastest run of each, after one to warm up, in turns."""
    best = dict.fromkeys(tasks, float("inf"))
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            started = clock()
            task()
            if turn:
                best[name] = min(best[name], clock() - started)
    return best


def peak_memory(device: torch.device) -> float:
    """MiB: the device's high-water mark, or the process's on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_mib()


def tasks_for(host: StandaloneHost, model: StableDiffusion, count: int) -> dict[str, Callable[[], object]]:
    """What can be timed for this model, by name."""
    size = model.config.image_size

    def round_of(batch_size: int, previews: int = 0) -> Callable[[], object]:
        wanted = replace(request(count, size, batch_size), preview_every=previews)
        return lambda: list(host.generate(wanted))

    tasks = {
        "unet_only": lambda: unet_only(model, count, size),
        "all_networks": lambda: all_networks(model, count, size),
        "host": round_of(count),
        "host_previews_every_5": round_of(count, 5),
        "host_batch_4": round_of(4),
        "host_batch_1": round_of(1),
    }
    if model.config.family == "sd1":
        pipe = pipeline(model)
        tasks["diffusers_pipeline"] = lambda: pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            num_images_per_prompt=count,
            num_inference_steps=STEPS,
            guidance_scale=CFG,
            width=size,
            height=size,
        )
    return tasks


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    host = StandaloneHost(default_model=path)
    model = load(path, host.device, host.dtype)
    tasks = tasks_for(host, model, options.images)
    if options.tasks:
        tasks = {name: tasks[name] for name in options.tasks.split(",")}
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    seconds = best_times(tasks, options.repeats, clock)
    peers = [name for name in ("unet_only", "all_networks", "diffusers_pipeline") if name in seconds]
    return {
        "model": path.name,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "clock": options.clock,
        "images": options.images,
        "size": model.config.image_size,
        "steps": STEPS,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "host_over": {name: round(seconds["host"] / seconds[name], 3) for name in peers if "host" in seconds},
        "peak_memory_mib": round(peak_memory(model.device), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model", type=Path, help="single file or diffusers folder; the pocket model by default"
    )
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", help="only these, with commas between")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = options.model or pocket_path() or random_pocket(Path(scratch) / "random-pocket")
        result = measure(path.resolve(), options)
    if options.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        if isinstance(value, dict):
            for name, number in value.items():
                print(f"  {key:10}{name:24}{number:9.3f}")
        else:
            print(f"{key:26}{value}")


if __name__ == "__main__":
    main()
