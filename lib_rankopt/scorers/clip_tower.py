"""A CLIP with two transformers, loaded once and asked by as many scorers as share its weights."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lib_rankopt.diffusion.checkpoint import read_tensors
from lib_rankopt.errors import MissingDependencyError
from lib_rankopt.scorers import clip_layouts
from lib_rankopt.scorers.network import Network
from lib_rankopt.scorers.weights import load_strictly, version_of, warning_of

_TEXTS = 512  # prompts whose embeddings are kept


class ClipTower:
    """Both towers of a CLIP. On the CPU in float32, elsewhere in float16. Thread-safe.

    Args:
        path: weights in open_clip's, OpenAI's or transformers' layout; the sizes are read off them.
        quick_gelu: whether the model learnt with OpenAI's approximation of GELU, as theirs did and open_clip's large ones did not.

    Attributes:
        version: of the weights. warning: what they say against themselves.
        size: side of the pictures, in pixels.

    Raises:
        ModelError: the file is missing, broken, or holds another model. MissingDependencyError: open_clip.
    """

    def __init__(self, path: Path, quick_gelu: bool) -> None:
        try:
            from open_clip import get_tokenizer
            from open_clip.model import CLIP
        except ImportError as error:
            raise MissingDependencyError(
                f"This scorer needs open_clip, which cannot be imported ({error}); install it with: pip install open_clip_torch"
            ) from error
        tensors = clip_layouts.unified(read_tensors(path), str(path))
        config = clip_layouts.config(tensors, quick_gelu)
        self._length: int = config["text_cfg"]["context_length"]
        with torch.device("meta"):  # initial weights would be made for nothing, which takes longer than reading the right ones
            empty = CLIP(**config)
        model = empty.to_empty(device="cpu")
        mask = torch.full((self._length, self._length), -torch.inf).triu_(1)
        model.register_buffer("attn_mask", mask, persistent=False)  # is in no file
        load_strictly(model, tensors, str(path))
        self._network = Network(model)
        self._tokenize = get_tokenizer("ViT-B-32")  # CLIP's own, which all of the family have
        self._lock = threading.RLock()  # several scorers may share it
        self._texts: dict[str, Tensor] = {}  # the oldest first
        self.size: int = config["vision_cfg"]["image_size"]
        self.version, self.warning = version_of(path), warning_of(path)

    @property
    def scale(self) -> float:
        """``exp(logit_scale)``, by which the model learnt to multiply cosines."""
        return float(self._network.module.logit_scale.float().exp())

    @property
    def width(self) -> int:
        """Of the embeddings."""
        return int(self._network.module.text_projection.shape[1])

    def images(self, pixels: Tensor) -> Tensor:
        """Embed prepared pictures ``[n, 3, S, S]``: float32 ``[n, width]`` of length 1, on the CPU."""
        with self._lock:
            network = self._network
            found: Tensor = network.module.encode_image(pixels.to(network.device, network.dtype))
            return torch.nn.functional.normalize(found.float(), dim=-1).cpu()

    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts: float32 ``[n, width]`` of length 1, on the CPU. Long ones are cut; known ones are not asked again."""
        with self._lock:
            known = self._texts
            if missing := [text for text in dict.fromkeys(prompts) if text not in known]:
                tokens = self._tokenize(missing, context_length=self._length).to(self._network.device)
                found = torch.nn.functional.normalize(self._network.module.encode_text(tokens).float(), dim=-1).cpu()
                known.update(zip(missing, found, strict=True))
            answer = torch.stack([known[text] for text in prompts])
            while len(known) > _TEXTS:
                del known[next(iter(known))]
            return answer

    def to(self, device: torch.device) -> None:
        """Bring the weights to a device."""
        with self._lock:
            if device != self._network.device:
                self._texts.clear()
                self._network.to(device)
