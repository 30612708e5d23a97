"""Scores in the parameters of the webui's images (``Score hpsv2.1: 0.2871``), by the scorers that its settings name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from modules import shared

from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.webui import surroundings
from lib_rankopt.scorers.prompts import without_tags

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("rankopt.hosts")

LABEL = "Score"
_TOLD = "rankopt_scores_told"


def names() -> list[str]:
    """Scorers that the settings name."""
    chosen = shared.opts.data.get(surroundings.SCORES) or []
    return [str(name) for name in chosen]


def image_is_done(p: Any, image: Image.Image) -> None:
    """Write the scores of the batch's next image into its parameters; what cannot be scored is saved without, and a comment says why."""
    entries = p.extra_generation_params
    for name in [name for name in entries if name.startswith(f"{LABEL} ")]:
        del entries[name]  # of the image before
    for name in names():
        try:
            value = _score(name, image, without_tags(p.prompts[getattr(p, "batch_index", 0)]))
        except Exception as error:  # a hook of the webui: whatever it is, the image is worth more than its score
            _tell(p, name, error)
            continue
        if value is not None:
            entries[f"{LABEL} {name}"] = _entry(value)


def _score(name: str, image: Image.Image, prompt: str) -> float | None:
    shelf = surroundings.scorers()
    info = shelf.get(name).info
    if info.is_relative or (info.uses_prompt and not prompt.strip()):
        return None
    with shelf.lent(name) as scorer:
        return float(scorer.score([image], prompt)[0])


def _entry(value: float) -> Any:
    """An entry of one image's parameters, which a grid of several has not."""

    def entry(use_main_prompt: bool = False, **_: Any) -> str | None:
        return None if use_main_prompt else f"{value:.4f}"

    return entry


def _tell(p: Any, name: str, error: Exception) -> None:
    """Once a run and scorer."""
    told = vars(p).setdefault(_TOLD, set())
    if name in told:
        return
    told.add(name)
    is_known = isinstance(error, RankOptError)
    log.warning("no score of '%s': %s", name, error, exc_info=None if is_known else error)
    p.comment(f"No score of '{name}': {error if is_known else f'{type(error).__name__}: {error}'}")
