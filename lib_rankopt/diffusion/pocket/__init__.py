"""The pocket Stable Diffusion that ships with Rank-Optimize: SD1's topology, small, on two CPU cores.

Files are float16 safetensors under `POCKET_DIR`; nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_rankopt.diffusion.pocket.paths import POCKET_DIR, checkpoint_path, existing, tokenizer_dir
from lib_rankopt.diffusion.pocket.words import BACKGROUNDS, CONCEPTS, STYLES, caption, parse_caption
from lib_rankopt.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

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


def load_clip(device: str | torch.device = "cpu", folder: Path = POCKET_DIR) -> tuple[Any, Preprocess, Tokenize]:
    """The pocket CLIP of a pocket model's folder: (model, preprocess, tokenize).

    `model` is an open_clip `CLIP` in evaluation mode (`encode_image`, `encode_text`); `preprocess` takes a picture,
    pictures or a tensor in 0..1; `tokenize` texts. Both answer on the CPU.

    Raises:
        ModelError: the files are missing, broken or of another architecture.
        MissingDependencyError: open_clip is not installed.
    """
    from lib_rankopt.diffusion.config import read_json
    from lib_rankopt.diffusion.pocket import clip

    path = existing(folder / "clip_config.json")
    config = read_json(path)
    try:
        length = int(config["model_cfg"]["text_cfg"]["context_length"])
        model = clip.new_clip(config["model_cfg"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: the pocket CLIP cannot be built from it: {error!r}") from error
    model = clip.load_weights(model, existing(folder / "clip.safetensors"))
    model = model.to(device).eval().requires_grad_(False)
    return model, clip.preprocess, clip.tokenizer_of(existing(folder / "tokenizer"), length)


def load_judges(device: str | torch.device = "cpu", folder: Path = POCKET_DIR) -> Judges:
    """The judges of concept, style and background of a pocket model's folder.

    Raises:
        ModelError: the files are missing or broken, or the judges learnt other words.
    """
    from lib_rankopt.diffusion.pocket.judges import Judges

    return Judges.load(existing(folder / "judges.safetensors"), device)
