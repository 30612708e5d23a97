"""Generation parameters, as the webui and its kin write them, taken apart. Any text gives something, in time linear in its length."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_NEGATIVE, _SETTINGS = "\nNegative prompt:", "\nSteps:"
_MOST_SETTINGS = 200
_SIGNS = re.compile(r'[",\\]')


@dataclass(frozen=True)
class Infotext:
    """Generation parameters in parts.

    Attributes:
        settings: as they are spelled, such as ``{"Steps": "20", "CFG scale": "7"}``, quotes taken off.
    """

    prompt: str
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Infotext:
    """Take apart ``prompt``, ``Negative prompt: …`` and the line ``Steps: …, Sampler: …``, which is the last that begins so.

    Text that has neither is a prompt as a whole. A JSON object, as some programs write under the same name, gives its ``prompt``, its
    ``negative_prompt`` and its other plain values.
    """
    if (found := _of_json(text)) is not None:
        return found
    text = "\n" + text.replace("\r\n", "\n").strip()
    settings: Mapping[str, str] = {}
    if _SETTINGS in text:
        at = text.rindex(_SETTINGS)
        settings = dict(_pairs(text[at + 1 :].partition("\n")[0]))
        text = text[:at]
    prompt, _, negative = text.partition(_NEGATIVE)
    return Infotext(prompt.strip(), negative.strip(), settings)


def prompt_of(text: str) -> str:
    """Return the prompt alone of generation parameters."""
    return parse(text).prompt


def _number(kind: Callable[[str], float]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError
        return value

    return read


_KNOWN: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "steps": ("steps", _number(int)),
    "sampler": ("sampler", str),
    "schedule type": ("scheduler", str),
    "cfg scale": ("cfg_scale", _number(float)),
    "seed": ("seed", _number(int)),
    "size": ("size", str),
    "model": ("model", str),
    "model hash": ("model_hash", str),
    "denoising strength": ("denoising_strength", _number(float)),
    "clip skip": ("clip_skip", _number(int)),
    "vae": ("vae", str),
    "version": ("version", str),
}


def about(info: Infotext) -> dict[str, Any]:
    """Return all but the prompt as plain values under our names; settings that we have no name for as text under ``parameters``."""
    found: dict[str, Any] = {"negative_prompt": info.negative_prompt} if info.negative_prompt else {}
    others: dict[str, str] = {}
    for key, value in info.settings.items():
        name, kind = _KNOWN.get(key.lower().replace("_", " "), ("", str))
        try:
            if not name or name in found:
                raise ValueError
            found[name] = kind(value)
        except (ValueError, OverflowError):
            others[key] = value
    return {**found, "parameters": others} if others else found


def _of_json(text: str) -> Infotext | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None  # {red|blue}, the syntax of random prompts
    if not isinstance(found, dict):
        return None
    plain = {str(k): str(v) for k, v in list(found.items())[:_MOST_SETTINGS] if isinstance(v, (str, int, float))}
    prompt, negative = plain.pop("prompt", ""), plain.pop("negative_prompt", "")
    return Infotext(prompt.strip(), negative.strip(), plain)


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    for number, piece in enumerate(_pieces(line)):
        key, colon, value = piece.partition(":")
        if number < _MOST_SETTINGS and colon and key.strip():
            yield key.strip(), _unquoted(value.strip())


def _pieces(line: str) -> Iterator[str]:
    """Cut at commas that stand outside quotes; a quote opens only as the first sign of a value."""
    start, skip, quoted = 0, -1, False
    for match in _SIGNS.finditer(line):
        at, sign = match.start(), match.group()
        if at == skip:
            continue
        if quoted:
            skip = at + 1 if sign == "\\" else skip
            quoted = sign != '"'
        elif sign == ",":
            yield line[start:at]
            start = at + 1
        elif sign == '"':
            quoted = line[max(start, at - 8) : at].rstrip().endswith(":")  # not all before it, which may be much
    yield line[start:]


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, str) else value
    return value
