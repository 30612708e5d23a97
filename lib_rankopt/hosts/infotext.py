"""Generation parameters as the webui writes them into images, so that its own readers understand them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def infotext(prompt: str, negative_prompt: str, parameters: Mapping[str, Any]) -> str:
    """``prompt``, ``Negative prompt: …`` and one line ``key: value, …``; values of ``None`` are left out.

    Values with a comma, colon or line break are quoted as JSON, as the webui does
    (``modules/infotext_utils.py``).
    """
    line = ", ".join(f"{key}: {_quoted(value)}" for key, value in parameters.items() if value is not None)
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{line}".strip()


def _quoted(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text
