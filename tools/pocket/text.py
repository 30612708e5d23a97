"""Builds the reduced CLIP tokenizer and trains the text encoder.

As in SD1 the text encoder is trained first and frozen while the UNet learns. It learns to say, at the end of the text
and at every padding token behind it, what the prompt asks for: the UNet's cross-attention reads all of these tokens.
"""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lib_rankopt.diffusion.pocket.architecture import CONTEXT, TOKENS, text_config
from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES
from tools.pocket.captions import Wanted, drop_words, varied_caption
from tools.pocket.plan import Plan
from tools.pocket.training import Average, train

log = logging.getLogger("rankopt.pocket.text")

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
KINDS = (len(CONCEPTS), len(STYLES), len(BACKGROUNDS))


def make_tokenizer(folder: Path, merges: int) -> None:
    """Writes a CLIPTokenizer folder with CLIP's first `merges` BPE merges; every byte stays a token of its own."""
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    kept = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")[1 : merges + 1]
    symbols = list(open_clip.tokenizer.bytes_to_unicode().values())
    vocabulary = [*symbols, *(s + "</w>" for s in symbols), *("".join(m.split()) for m in kept), BOS, EOS]
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    extra = {
        "model_max_length": TOKENS,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        "tokenizer_class": "CLIPTokenizer",
    }
    _json(folder / "vocab.json", {token: i for i, token in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *kept]) + "\n", encoding="utf-8")
    _json(folder / "special_tokens_map.json", special)
    _json(folder / "tokenizer_config.json", {**special, **extra})
    config = {**text_config(len(vocabulary)), "architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    _json(folder / "config.json", {**config, "torch_dtype": "float32"})


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def new_text_model(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A fresh text encoder whose final LayerNorm has a bias well away from zero.

    The webui's "Original" emphasis divides by the mean of the output, which a zero bias would make zero.
    """
    model = CLIPTextModel(CLIPTextConfig(**text_config(len(tokenizer))))
    with torch.no_grad():
        _inner(model).final_layer_norm.bias.normal_(0.3, 0.1)
    return model


def _inner(model: CLIPTextModel) -> nn.Module:
    """The module that holds `final_layer_norm`, which moved between transformers' versions."""
    return getattr(model, "text_model", model)


def sample_texts(count: int, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Captions and what they ask for, (count, 3) rows of the vocabularies, -1 for nothing."""
    texts, wanted = [], []
    for _ in range(count):
        want = drop_words(tuple(int(rng.integers(n)) for n in KINDS), rng)
        texts.append(varied_caption(want, rng))
        wanted.append([-1 if w is None else w for w in want])
    return texts, torch.tensor(wanted)


def train_text(plan: Plan, tokenizer: CLIPTokenizer) -> None:
    """Writes text.safetensors (transformers' names)."""
    torch.manual_seed(plan.seed)
    model = new_text_model(tokenizer).to(plan.device)
    heads = nn.ModuleList(nn.Linear(CONTEXT, n + 1) for n in KINDS).to(plan.device)
    both = nn.ModuleList([model, heads])
    average = Average(model, 0.99)
    rng = np.random.default_rng(plan.seed)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        whole = step % 6 == 5
        texts, wanted = sample_texts(24 if whole else 96, rng)
        ids = tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt").input_ids
        room = TOKENS if whole else min(TOKENS, ids.shape[1] + 4)
        ids = F.pad(ids, (0, room - ids.shape[1]), value=tokenizer.eos_token_id).to(plan.device)
        output = model(ids).last_hidden_state
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        behind = torch.from_numpy(rng.integers(end.cpu().numpy(), room)).to(plan.device)
        rows = torch.arange(len(ids), device=plan.device)
        total, right = torch.zeros((), device=plan.device), []
        for place in (end, behind):
            for head, want in zip(heads, (wanted + 1).to(plan.device).unbind(1), strict=True):
                answer = head(output[rows, place])
                total = total + F.cross_entropy(answer, want)
                right.append((answer.argmax(1) == want).float().mean().item())
        return total, {"right": float(np.mean(right))}

    train(both, loss, plan.text_steps, 1.5e-3, name="text", average=None, after=lambda _: average.update(model))
    save_file({k: v.contiguous() for k, v in average.model.state_dict().items()}, plan.file("text.safetensors"))


def load_text(path: Path, tokenizer: CLIPTokenizer, device: str = "cpu") -> CLIPTextModel:
    """The text encoder saved at `path`."""
    model = CLIPTextModel(CLIPTextConfig(**text_config(len(tokenizer))))
    model.load_state_dict(load_file(path), strict=False)
    return model.to(device).eval().requires_grad_(False)


@torch.no_grad()
def encode_texts(model: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str], device: str = "cpu") -> Tensor:
    """The UNet's context of each text: float16 (N, TOKENS, CONTEXT), on the CPU."""
    parts = []
    for start in range(0, len(texts), 64):
        ids = tokenizer(
            texts[start : start + 64], padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).input_ids
        parts.append(model(ids.to(device)).last_hidden_state.half().cpu())
    return torch.cat(parts)


def caption_pool(variants: int, seed: int) -> dict[Wanted, list[str]]:
    """For everything that a caption can ask for, `variants` ways to say it."""
    rng = np.random.default_rng(seed)
    wholes = [(None, *range(n)) for n in KINDS]
    pool = {}
    for wanted in ((c, s, g) for c in wholes[0] for s in wholes[1] for g in wholes[2]):
        if wanted[0] is None and (wanted[1] is None) != (wanted[2] is None):
            continue
        named = wanted != (None, None, None)
        pool[wanted] = [varied_caption(wanted, rng) for _ in range(variants)] if named else [""]
    return pool
