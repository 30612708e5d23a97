"""The stages of a build; each reads what earlier ones wrote, and writes its own files last."""

from __future__ import annotations

import json
import logging

import numpy as np
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from lib_rankopt.diffusion.pocket import clip, layout
from tools.pocket import art, render, scoring, text, unet, vae
from tools.pocket.plan import Plan

log = logging.getLogger("rankopt.pocket.stages")


def tokenizer_of(plan: Plan) -> CLIPTokenizer:
    """The pocket tokenizer, made if it is not there."""
    folder = plan.out / "tokenizer"
    if not (folder / "vocab.json").is_file():
        text.make_tokenizer(folder, plan.merges)
    return CLIPTokenizer.from_pretrained(folder)


def make_art(plan: Plan) -> None:
    """sprites.npy"""
    art.make_sprites(plan.file("art"), plan.file("sprites.npy"))


def renderer_of(plan: Plan) -> render.Renderer:
    """The renderer with this build's sprites."""
    return render.Renderer(np.load(plan.file("sprites.npy")), plan.device)


def make_renders(plan: Plan) -> None:
    """renders.npy and holdout.npy"""
    renderer = renderer_of(plan)
    for name, count, seed in (
        ("renders", plan.renders, plan.render_seed),
        ("holdout", plan.holdout, plan.holdout_seed),
    ):
        np.save(plan.file(f"{name}.npy"), render.save_renders(renderer, count, seed)[0])
        log.info("%d pictures in %s.npy", count, name)


def make_vae(plan: Plan) -> None:
    """encoder.safetensors"""
    vae.train_vae(plan, np.load(plan.file("renders.npy")))


def make_text(plan: Plan) -> None:
    """tokenizer/ and text.safetensors"""
    text.train_text(plan, tokenizer_of(plan))


def make_latents(plan: Plan) -> None:
    """latents.safetensors"""
    model = vae.load_vae(plan.file("encoder.safetensors"), plan.device)
    means, deviations = vae.encode(model, np.load(plan.file("renders.npy")), plan.device)
    log.info("latents: deviation %.3f, noise %.3f", means.float().std(), deviations.float().mean())
    save_file({"means": means.contiguous(), "deviations": deviations.contiguous()}, plan.file("latents.safetensors"))


def make_decoder(plan: Plan) -> None:
    """vae.safetensors"""
    latents = load_file(plan.file("latents.safetensors"))
    vae.train_decoder(plan, np.load(plan.file("renders.npy")), (latents["means"], latents["deviations"]))


def make_unet(plan: Plan) -> None:
    """unet.safetensors"""
    tokenizer = tokenizer_of(plan)
    encoder = text.load_text(plan.file("text.safetensors"), tokenizer, plan.device)
    rows, texts = {}, []
    for wanted, captions in text.caption_pool(plan.captions, plan.seed).items():
        rows[wanted] = list(range(len(texts), len(texts) + len(captions)))
        texts += captions
    contexts = unet.Contexts(text.encode_texts(encoder, tokenizer, texts, plan.device), rows)
    log.info("%d captions encoded, mean %.3f", len(texts), contexts.values.float().mean())
    latents = load_file(plan.file("latents.safetensors"))
    scenes = render.sample_scenes(plan.renders, plan.render_seed)
    unet.train_unet(plan, scenes, (latents["means"], latents["deviations"]), contexts)


def make_clip(plan: Plan) -> None:
    """clip.safetensors and clip_config.json in the pocket folder"""
    tokenizer_of(plan)
    folder = plan.out / "tokenizer"
    vocabulary = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    tokenize = clip.tokenizer_of(folder, clip.clip_config(vocabulary)["text_cfg"]["context_length"])
    scenes = render.sample_scenes(plan.renders, plan.render_seed)
    scoring.train_clip(plan, np.load(plan.file("renders.npy")), scenes, tokenize, vocabulary)


def make_judges(plan: Plan) -> None:
    """judges.safetensors and judges.json in the pocket folder"""
    pictures, scenes = render.save_renders(renderer_of(plan), plan.judge_renders, plan.judge_seed)
    scoring.train_judges(plan, pictures, scenes)


def make_export(plan: Plan) -> None:
    """pocket.safetensors (float16, LDM layout) and pocket.yaml in the pocket folder"""
    decoder = plan.file("vae.safetensors")
    vae_file = decoder if decoder.is_file() else plan.file("encoder.safetensors")
    parts = (load_file(path) for path in (plan.file("unet.safetensors"), vae_file, plan.file("text.safetensors")))
    state = layout.to_ldm(*parts)
    state = {name: tensor.half().contiguous() for name, tensor in state.items()}
    target = plan.out / "pocket.safetensors"
    temporary = target.with_suffix(".tmp")
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.replace(target)
    (plan.out / "pocket.yaml").write_text(layout.ldm_yaml("tokenizer"), encoding="utf-8")
    log.info("%s: %.1f MB", target.name, target.stat().st_size / 1e6)
