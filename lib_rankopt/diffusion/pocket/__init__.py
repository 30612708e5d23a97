"""The pocket Stable Diffusion that ships with Rank-Optimize: SD1's topology, small, on two CPU cores.

Files are float16 safetensors under `POCKET_DIR`; nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lib_rankopt.diffusion.pocket.paths import POCKET_DIR, checkpoint_path, existing, tokenizer_dir
from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES, caption, parse_caption

if TYPE_CHECKING:
    import torch

    from lib_rankopt.diffusion.pocket.clip import Preprocess, Tokenize
    from lib_rankopt.diffusion.pocket.judges import Judges

__all__ = [
    "BACKGROUNDS",
    "CONCEPTS",
    "POCKET_DIR",
    "STYLES",
    "caption",
    "checkpoint_path",
    "load_clip",
    "load_judges",
    "parse_caption",
    "tokenizer_dir",
]


def load_clip(device: str | torch.device = "cpu") -> tuple[Any, Preprocess, Tokenize]:
    """The pocket CLIP: (model, preprocess, tokenize).

    `model` is an open_clip `CLIP` in evaluation mode (`encode_image`, `encode_text`); `preprocess` takes a picture,
    pictures or a tensor in 0..1; `tokenize` texts. Both answer on the CPU.

    Raises:
        ModelError: the files are missing.
    """
    from lib_rankopt.diffusion.pocket import clip

    config = json.loads(existing(POCKET_DIR / "clip_config.json").read_text(encoding="utf-8"))
    model = clip.load_weights(clip.new_clip(config["model_cfg"]), existing(POCKET_DIR / "clip.safetensors"))
    model = model.to(device).eval().requires_grad_(False)
    length = config["model_cfg"]["text_cfg"]["context_length"]
    return model, clip.preprocess, clip.tokenizer_of(tokenizer_dir(), length)


def load_judges(device: str | torch.device = "cpu") -> Judges:
    """The judges of concept, style and background.

    Raises:
        ModelError: the files are missing.
    """
    from lib_rankopt.diffusion.pocket.judges import Judges

    return Judges.load(existing(POCKET_DIR / "judges.safetensors"), device)
