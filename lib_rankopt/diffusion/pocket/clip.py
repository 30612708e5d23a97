"""The pocket CLIP: an open_clip architecture by configuration, for scoring pictures against captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lib_rankopt.diffusion import checkpoint
from lib_rankopt.diffusion.pocket.architecture import IMAGE_SIZE
from lib_rankopt.diffusion.pocket.judges import as_batch
from lib_rankopt.diffusion.tokenizer import tokenizer_from
from lib_rankopt.errors import MissingDependencyError, ModelError

MEAN, STD = 0.5, 0.3  # of the pixels, for every channel

Preprocess = Callable[[Tensor | Image.Image | Sequence[Image.Image]], Tensor]
Tokenize = Callable[[str | Sequence[str]], Tensor]


def clip_config(vocabulary: int) -> dict[str, Any]:
    """open_clip's configuration: a small modified ResNet and a small text transformer."""
    return {
        "embed_dim": 96,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 12, "head_width": 64},
        "text_cfg": {"context_length": 32, "vocab_size": vocabulary, "width": 64, "heads": 4, "layers": 3},
    }


def new_clip(config: dict[str, Any]) -> nn.Module:
    """An open_clip CLIP of `config`, with fresh weights.

    Raises:
        MissingDependencyError: open_clip is not installed.
    """
    try:
        from open_clip.model import CLIP
    except ImportError as error:
        raise MissingDependencyError(
            f"the pocket CLIP needs open_clip, which cannot be imported ({error}); install it with: pip install open_clip_torch"
        ) from error
    return CLIP(**{k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")})


def preprocess(images: Tensor | Image.Image | Sequence[Image.Image]) -> Tensor:
    """What the image tower takes of a picture, of pictures, or of (B, 3, H, W) or (3, H, W) in 0..1.

    One picture (as open_clip's own preprocessing takes it) gives (3, 64, 64), several (B, 3, 64, 64).
    """
    single = isinstance(images, Image.Image) or (isinstance(images, Tensor) and images.ndim == 3)
    if isinstance(images, Image.Image):
        images = [images]
    elif isinstance(images, Tensor) and images.ndim == 3:
        images = images[None]
    batch = (as_batch(images) - MEAN) / STD
    return batch[0] if single else batch


def tokenizer_of(folder: Path, length: int) -> Tokenize:
    """A function from texts to ids (B, length), padded with 0 and cut as open_clip does."""
    tokenizer = tokenizer_from(folder)

    def tokenize(texts: str | Sequence[str]) -> Tensor:
        texts = [texts] if isinstance(texts, str) else list(texts)
        result = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(result, texts, strict=True):
            ids = [tokenizer.start_id, *tokenizer.encode(text)[: length - 2], tokenizer.end_id]
            row[: len(ids)] = torch.tensor(ids)
        return result

    return tokenize


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights saved at `path`, in float32.

    Raises:
        ModelError: the file is missing or broken, or its tensors are not the model's.
    """
    state = {name: t.float() if t.is_floating_point() else t for name, t in checkpoint.read_tensors(path).items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit: {' '.join(str(error).split())}") from error
    lost = [name for name in missing if not name.endswith(("attn_mask", "num_batches_tracked"))]
    if lost or unexpected:
        raise ModelError(f"{path} does not fit: it lacks {lost[:3]} and has unknown {list(unexpected)[:3]}")
    return model
