"""Where the board's scripts and style sheet lie: in the checkout, as the webui wants them."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def assets() -> dict[str, Path]:
    """Files by name, in the order in which a page loads them (the webui's: alphabetical)."""
    files = [ROOT / "style.css", *sorted((ROOT / "javascript").glob("rankopt_*.js"))]
    return {path.name: path for path in files if path.is_file()}


def page_head(prefix: str) -> str:
    """The ``<link>`` and ``<script>`` tags that put the board on a page; ``prefix`` is relative to the page."""
    tags = []
    for name, path in assets().items():
        address = f"{prefix}/static/{name}?{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        if name.endswith(".css"):
            tags.append(f'<link rel="stylesheet" href="{address}">')
        else:
            tags.append(f'<script defer src="{address}"></script>')
    return "".join(tags)
