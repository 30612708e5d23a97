"""ImageReward (Xu et al. 2023, arXiv 2304.05977): a BLIP that learnt people's rankings of pictures of one prompt.

The first token of the prompt, having looked at the picture, goes through linear layers without activations, which are multiplied out when
they are loaded; the outcome is standardised with the authors' mean and deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_rankopt.diffusion.checkpoint import read_tensors
from lib_rankopt.errors import ModelError
from lib_rankopt.scorers.aesthetic import affine
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.batched import BatchedScorer
from lib_rankopt.scorers.blip import Blip, sizes
from lib_rankopt.scorers.images import cropped, normalized
from lib_rankopt.scorers.network import Network
from lib_rankopt.scorers.weights import WeightFile, load_strictly, version_of, warning_of

if TYPE_CHECKING:
    from PIL import Image

    from lib_rankopt.scorers.shelf import ScorerShelf

FILES = {
    "imagereward": (
        WeightFile(("ImageReward.safetensors", "ImageReward.pt"), 1790, "THUDM/ImageReward", "ImageReward.pt"),
        WeightFile(("bert-base-uncased/vocab.txt", "bert-base-uncased-vocab.txt"), 0.2, "google-bert/bert-base-uncased", "vocab.txt"),
    )
}
_LAYERS = tuple(f"mlp.layers.{place}." for place in (0, 2, 4, 6, 7))
# In the published file, but of no use to the score: what BLIP was trained with, and a buffer of plain numbers.
_UNUSED = frozenset(
    [
        *(f"blip.{tower}_proj.{part}" for tower in ("vision", "text") for part in ("weight", "bias")),
        "blip.text_encoder.embeddings.position_ids",
    ]
)
_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # of rewards, as the authors publish them
_LENGTH = 35  # tokens of a prompt, with the one at its beginning and the one at its end
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ADDED = ["[DEC]", "[ENC]"]  # BLIP's own words, after those of BERT


class ImageRewardScorer(BatchedScorer):
    """``(w · h + b − mean) / std`` of the last state ``h`` of [CLS]. On the CPU in float32, elsewhere in float16.

    Args:
        size: side of the pictures, in pixels.
        tokenizer: of the package tokenizers, cutting and filling up to one length.
        weight, bias: of the head, float32 ``[width]`` and ``[]``.
    """

    def __init__(self, info: ScorerInfo, network: Blip, size: int, tokenizer: Any, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.info = info
        self._size, self._tokenizer, self._weight, self._bias = size, tokenizer, weight, bias
        self._network = Network(network)

    def prepare(self, image: Image.Image) -> Tensor:
        return normalized(cropped(image, self._size))

    def ask(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        texts = [self._tokenizer.encode(text) for text in prompts]
        tokens = torch.tensor([one.ids for one in texts], device=pixels.device)
        mask = torch.tensor([one.attention_mask for one in texts], device=pixels.device).bool()
        state = self._network.module(pixels.to(self._network.dtype), tokens, mask).float().cpu()
        return (state @ self._weight + self._bias - _MEAN) / _STD

    def place(self, device: torch.device) -> None:
        self._network.to(device)


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load it."""
    file, vocabulary = (shelf.weights.require(wanted, name) for wanted in FILES[name])
    where = str(file)
    tensors = {key: tensor for key, tensor in read_tensors(file).items() if key not in _UNUSED}
    head = {key: tensor for key, tensor in tensors.items() if key.startswith("mlp.")}
    body = {key: tensor for key, tensor in tensors.items() if key not in head}
    known = sizes(body, "blip.", where)
    weight, bias = affine(head, _LAYERS, where)
    if len(weight) != known.text_width:
        raise ModelError(f"{where}: '{_LAYERS[0]}weight' takes {len(weight)} numbers, and the text encoder gives {known.text_width}.")
    tokenizer = _tokenizer(vocabulary, known.words)
    with torch.device("meta"):
        network = Blip(known)
    network = network.to_empty(device="cpu")
    load_strictly(torch.nn.ModuleDict({"blip": network}), body, where)
    info = ScorerInfo(
        name, f"1-{version_of(file)}", "about −2 to 2 (standardised)",
        f"shorter side to {known.image} px (bicubic), centre crop", warning=warning_of(file),
    )  # fmt: skip
    return ImageRewardScorer(info, network, known.image, tokenizer, weight, bias)


def _tokenizer(vocabulary: Path, words: int) -> Any:
    """BERT's WordPiece, lower-cased, of a file with one word a line.

    Raises:
        ModelError: the file is broken, or not the one that the model learnt with.
    """
    from tokenizers import BertWordPieceTokenizer

    try:
        lines = vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{vocabulary}: cannot be read as a list of words ({error}); download it again.") from error
    numbers = {word: number for number, word in enumerate(lines)}
    if missing := [word for word in _SPECIAL if word not in numbers]:
        raise ModelError(f"{vocabulary}: has no '{missing[0]}'; it is not the vocabulary of bert-base-uncased.")
    if len(lines) + len(_ADDED) != words:
        raise ModelError(f"{vocabulary}: has {len(lines)} words, and the model learnt with {words - len(_ADDED)}: it is another one.")
    tokenizer = BertWordPieceTokenizer(numbers, lowercase=True)
    tokenizer.add_special_tokens(_ADDED)
    tokenizer.enable_truncation(_LENGTH)
    tokenizer.enable_padding(length=_LENGTH, pad_id=numbers["[PAD]"])
    return tokenizer
