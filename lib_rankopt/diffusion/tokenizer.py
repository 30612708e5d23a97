"""CLIP's byte-pair tokenizer, over CLIP's own vocabulary (from open_clip's bundled file) or one in a folder.

Own code, because transformers' class wants other files in every version and open_clip's knows only its own
vocabulary; tests hold it equal to both. The text is cleaned as transformers' fast tokenizer does: canonical
composition (NFC), one space for any white space, lower case.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from lib_rankopt.errors import MissingDependencyError, ModelError

START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_CLIP_MERGES = 49152 - 256 - 2


def _bytes_to_unicode() -> dict[int, str]:
    """GPT-2's stand-in for every byte: itself where it prints, otherwise the next code point from 256."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {byte: chr(byte) for byte in kept}
    others = [byte for byte in range(256) if byte not in table]
    return {**table, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


class ClipTokenizer:
    """Text to token ids, without start, end and padding.

    Args:
        vocabulary: piece to id; must hold every byte's stand-in, alone and with ``</w>``, or unknown pieces
            become the end token.
        merges: pairs of pieces, most frequent first.
        pad_token: piece that fills a chunk.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], pad_token: str = END
    ) -> None:
        import regex

        self.vocabulary = dict(vocabulary)
        self.start_id, self.end_id = self.vocabulary[START], self.vocabulary[END]
        self.pad_id = self.vocabulary.get(pad_token, self.end_id)
        self.comma_id = self.vocabulary.get(",</w>")
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._bytes = _bytes_to_unicode()
        self._pattern = regex.compile(_WORDS, regex.IGNORECASE)
        self._word = functools.lru_cache(maxsize=4096)(self._encode_word)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text of any length."""
        clean = " ".join(unicodedata.normalize("NFC", text).split()).lower()
        return [token for word in self._pattern.findall(clean) for token in self._word(word)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word in (START, END):
            return (self.vocabulary[word],)
        pieces = [self._bytes[byte] for byte in word.encode("utf-8")]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            pieces = _merged(pieces, best)
        return tuple(self.vocabulary.get(piece, self.end_id) for piece in pieces)


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and merged[-1] == pair[0] and piece == pair[1]:
            merged[-1] = pair[0] + pair[1]
        else:
            merged.append(piece)
    return merged


@functools.lru_cache(maxsize=8)
def clip_tokenizer(pad_token: str = END) -> ClipTokenizer:
    """CLIP's own 49,408 pieces, rebuilt from the merges that open_clip carries.

    Raises:
        MissingDependencyError: open_clip is not installed.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "CLIP's vocabulary comes with open_clip, which is not installed; install it with: pip install open_clip_torch"
        )
    packed = (Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _CLIP_MERGES + 1]
    merges = [_pair(line) for line in lines]
    letters = list(_bytes_to_unicode().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return ClipTokenizer({piece: i for i, piece in enumerate(pieces)}, merges, pad_token)


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def tokenizer_from(folder: Path, pad_token: str = END) -> ClipTokenizer:
    """Read ``vocab.json`` with ``merges.txt``, or a ``tokenizer.json``.

    Raises:
        ModelError: neither is there, or they cannot be used.
    """
    try:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
        elif (folder / "tokenizer.json").is_file():
            model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
            vocabulary = model["vocab"]
            merges = [_pair(m) if isinstance(m, str) else (m[0], m[1]) for m in model["merges"]]
        else:
            raise ModelError(f"{folder}: no tokenizer here (vocab.json with merges.txt, or tokenizer.json)")
        return ClipTokenizer(vocabulary, merges, pad_token)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: the tokenizer cannot be read: {error!r}") from error
