"""From prompt text to weighted chunks of tokens, in the webui's syntax.

``(word)`` weighs 1.1, ``[word]`` 1/1.1, ``(word:1.3)`` 1.3; they nest and multiply; a backslash makes a
bracket literal; ``BREAK`` starts a new chunk. Prompt editing (``[a:b:0.5]``), alternation (``[a|b]``) and
``AND`` are not read: their signs stay text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from lib_rankopt.diffusion.tokenizer import ClipTokenizer
from lib_rankopt.errors import InvalidInputError

CHUNK = 75  # tokens of text between a start and an end token
_COMMA_BACKTRACK = 20  # the webui's default: a phrase of up to so many tokens moves whole into the next chunk
_STEP = 1.1
MAX_WEIGHT = 1000.0  # far more than any picture survives
_TOKENS = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|\)|\]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True)
class Span:
    """A piece of text and its weight; ``text=None`` is a chunk break."""

    text: str | None
    weight: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """77 token ids (start, 75 of text, end and padding) with a weight each."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


def parse(prompt: str, field: str = "prompt") -> list[Span]:
    """Split a prompt into weighted spans; unclosed brackets reach to the end.

    Raises:
        InvalidInputError: a weight beyond :data:`MAX_WEIGHT`, naming the field.
    """
    reader = _Reader()
    for match in _TOKENS.finditer(prompt):
        reader.read(match.group(0), match.group(1))
    spans = reader.finished()
    for span in spans:
        if not math.isfinite(span.weight) or abs(span.weight) > MAX_WEIGHT:
            raise InvalidInputError(
                f"{field}: the emphasis of {(span.text or '')[:40]!r} comes to {span.weight:g}, but must be from "
                f"{-MAX_WEIGHT:g} to {MAX_WEIGHT:g}; take brackets away or lower the number"
            )
    return spans


class _Reader:
    """Collects ``[text or None, weight]`` and remembers where each open bracket began."""

    def __init__(self) -> None:
        self.parts: list[list[Any]] = []
        self.open: dict[str, list[int]] = {"(": [], "[": []}

    def read(self, sign: str, weight: str | None) -> None:
        """Take in one match: a bracket, a ``:weight)``, an escape or text."""
        if sign in self.open:
            self.open[sign].append(len(self.parts))
        elif weight is not None and self.open["("]:
            self._close("(", float(weight))
        elif sign == ")" and self.open["("]:
            self._close("(", _STEP)
        elif sign == "]" and self.open["["]:
            self._close("[", 1 / _STEP)
        else:
            self._append(sign[1:] if len(sign) > 1 and sign[0] == "\\" else sign)

    def finished(self) -> list[Span]:
        """Close what is open and return the spans."""
        for bracket, factor in (("(", _STEP), ("[", 1 / _STEP)):
            while self.open[bracket]:
                self._close(bracket, factor)
        return _joined(self.parts)

    def _close(self, bracket: str, factor: float) -> None:
        for part in self.parts[self.open[bracket].pop() :]:
            part[1] *= factor

    def _append(self, text: str) -> None:
        for i, piece in enumerate(_BREAK.split(text)):
            if i:
                self.parts.append([None, 1.0])
            self.parts.append([piece, 1.0])


def _joined(parts: list[list[Any]]) -> list[Span]:
    """Merge neighbours of equal weight, so that a bracket that weighs nothing does not cut a word in two."""
    spans: list[Span] = []
    for text, weight in parts:
        last = spans[-1] if spans else None
        if text is None:
            spans.append(Span(None))
        elif last is not None and last.text is not None and last.weight == weight:
            spans[-1] = Span(last.text + text, weight)
        else:
            spans.append(Span(text, weight))
    return spans or [Span("")]


class _Builder:
    """Fills chunks token by token."""

    def __init__(self, tokenizer: ClipTokenizer) -> None:
        self.tokenizer = tokenizer
        self.chunks: list[Chunk] = []
        self.tokens: list[tuple[int, float]] = []
        self.last_comma = -1

    def add(self, token: int, weight: float) -> None:
        if token == self.tokenizer.comma_id:
            self.last_comma = len(self.tokens)
        elif (
            len(self.tokens) == CHUNK and self.last_comma >= 0 and CHUNK - self.last_comma <= _COMMA_BACKTRACK
        ):
            cut = self.last_comma + 1
            moved, self.tokens = self.tokens[cut:], self.tokens[:cut]
            self.close()
            self.tokens = moved
        if len(self.tokens) == CHUNK:
            self.close()
        self.tokens.append((token, weight))

    def close(self) -> None:
        start, end, pad = self.tokenizer.start_id, self.tokenizer.end_id, self.tokenizer.pad_id
        filler = CHUNK - len(self.tokens)
        ids = (start, *(token for token, _ in self.tokens), end, *[pad] * filler)
        self.chunks.append(Chunk(ids, (1.0, *(weight for _, weight in self.tokens), *[1.0] * (filler + 1))))
        self.tokens = []
        self.last_comma = -1


def chunks(prompt: str, tokenizer: ClipTokenizer) -> list[Chunk]:
    """Cut a prompt into chunks, at least one."""
    builder = _Builder(tokenizer)
    for span in parse(prompt):
        if span.text is None:
            builder.close()
            continue
        for token in tokenizer.encode(span.text):
            builder.add(token, span.weight)
    if builder.tokens or not builder.chunks:
        builder.close()
    return builder.chunks


def empty_chunk(tokenizer: ClipTokenizer) -> Chunk:
    """The chunk of an empty prompt, which fills the shorter of two prompts."""
    return chunks("", tokenizer)[0]
