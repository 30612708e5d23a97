"""The prompt's ``<lora:name:weight>`` tags, in the webui's syntax (``modules/extra_networks.py`` and its built-in Lora extension).

``<lora:name>`` weighs 1, ``<lora:name:0.8>`` both parts, ``<lora:name:0.5:0.8>`` the text encoders and the UNet, and
``<lora:name:te=0.5:unet=0.8>`` says which is which; ``lyco`` is another word for ``lora``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lib_rankopt.errors import InvalidInputError

MAX_WEIGHT = 100.0  # far more than any picture survives
_TAG = re.compile(r"<(lora|lyco|hypernet):([^>]*)>", re.IGNORECASE)
_LORA = ("lora", "lyco")
_NAMED = ("te", "unet")


@dataclass(frozen=True)
class LoraTag:
    """What one tag asks for.

    Attributes:
        text: the tag as written.
        name: of the file, or its alias.
        te, unet: weights of its change of the text encoders and of the UNet, within ±:data:`MAX_WEIGHT`.
    """

    text: str
    name: str
    te: float = 1.0
    unet: float = 1.0


def split(prompt: str, field: str = "prompt") -> tuple[str, tuple[LoraTag, ...]]:
    """Return the text without its tags, and the tags in order.

    Raises:
        InvalidInputError: a tag of another extra network, without a name, or with a weight that cannot be used; it names field and tag.
    """
    tags = tuple(_read(match, field) for match in _TAG.finditer(prompt))
    return (_TAG.sub("", prompt) if tags else prompt), tags


def refuse(prompt: str, field: str) -> None:
    """Refuse tags where the webui would take them for words, so that nobody ranks images without the LoRA they asked for.

    Raises:
        InvalidInputError: naming field and tag.
    """
    match = _TAG.search(prompt)
    if match is not None:
        raise InvalidInputError(
            f"{field}: {match.group(0)[:120]} would be read as words here; write it into the prompt, with a weight below 0 to turn away "
            "from what it shows"
        )


def _read(match: re.Match[str], field: str) -> LoraTag:
    text, kind = match.group(0)[:120], match.group(1)
    if kind not in _LORA:
        raise InvalidInputError(
            f"{field}: {text} asks for an extra network that the standalone host cannot load; it knows <lora:name:weight>. Remove the "
            "tag, or generate in the webui"
        )
    name, *arguments = match.group(2).split(":")
    if not name.strip():
        raise InvalidInputError(f"{field}: {text} names no LoRA; write <lora:name:1>")
    plain = [argument for argument in arguments if "=" not in argument]
    named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    unknown = [key for key in named if key not in _NAMED]
    if unknown or len(plain) > 2:
        raise InvalidInputError(
            f"{field}: {text} says {f'{unknown[0]}=' if unknown else 'a third number'}, which the standalone host does not know; write "
            "<lora:name:te=0.5:unet=0.8>"
        )
    # the webui's order of defaults: the UNet takes the text encoders' weight where it has none of its own
    te = _weight(named.get("te", plain[0] if plain else "1"), text, field)
    unet = _weight(named.get("unet", plain[1] if len(plain) > 1 else str(te)), text, field)
    return LoraTag(match.group(0), name, te, unet)


def _weight(value: str, text: str, field: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= MAX_WEIGHT:
        allowed = f"a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}"
        raise InvalidInputError(f"{field}: {text} has the weight {value[:40]!r}, but it must be {allowed}")
    return weight
