"""Prompts as scorers read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from lib_rankopt.scorers.base import ScorerInfo

_TAG = re.compile(r"<\w+:[^<>]+>")  # as the webui finds them, modules/extra_networks.py


def without_tags(prompt: str) -> str:
    """Strip extra-network tags such as ``<lora:name:1>``, which no scorer knows; emphasis such as ``(fox:1.2)`` stays."""
    plain = prompt.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _TAG.sub("", plain).strip()


def prompt_of_each(info: ScorerInfo, count: int, prompts: str | Sequence[str]) -> list[str]:
    """Return one prompt for each of ``count`` images, without tags.

    Raises:
        InvalidInputError: neither one prompt nor as many as images, or an empty one where prompts matter.
    """
    texts = [without_tags(text) for text in ([prompts] * count if isinstance(prompts, str) else prompts)]
    if len(texts) == 1:
        texts *= count
    if len(texts) != count:
        raise InvalidInputError(f"{len(texts)} prompts for {count} images: give one prompt, or one for each image.")
    empty = [place for place, text in enumerate(texts) if not text.strip()]
    if info.uses_prompt and empty:
        raise InvalidInputError(f"The scorer '{info.name}' compares an image with its prompt, and prompt {empty[0] + 1} is empty.")
    return texts
