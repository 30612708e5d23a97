"""The settings of feedback on the webui's own images: ♥ and ✗ below its galleries, and what may be concluded from what a person does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import shared

LIKES = "rankopt_gallery_likes"
LIKE_KEY, DISLIKE_KEY = "rankopt_gallery_like_key", "rankopt_gallery_dislike_key"
FOLDER, SECONDS = "rankopt_favourites_folder", "rankopt_regenerated_seconds"
MOST_SECONDS = 120


@dataclass(frozen=True)
class Source:
    """Something that a person does with an image, and what it may count as.

    Attributes:
        kind: ``like`` or ``dislike``.
        label: of the switch.
        weight: to begin with, 0 to 1 of what is said by ♥ or ✗.
        info: what exactly counts.
    """

    kind: str
    label: str
    weight: float
    info: str


SOURCES = {
    "saved": Source(
        "like", "Saved with the Save button", 0.5,
        "the chosen image, or the only one; saving a whole gallery at once says nothing about one of them",
    ),
    "sent": Source("like", "Sent to img2img, inpaint or Extras", 0.4, "by the buttons below the galleries"),
    "upscaled": Source(
        "like", "Upscaled", 0.6,
        "by ✨ below txt2img's gallery, or in Extras where the image was made since the webui was started",
    ),
    "favourite": Source(
        "like", "Put into the folder of favourites", 0.8, "every image in the folder below counts once, wherever it was made",
    ),
    "deleted": Source(
        "dislike", "Deleted", 0.5,
        "an image of txt2img or img2img that is gone within 14 days from a folder that is still there. While this is on, Rank-Optimize "
        "holds on to such images by a second name (a hard link), and KEEPS the image that you delete, to learn from it. What is moved "
        "on the same disk is not deleted; a trash counts when it is emptied. Nothing is noticed where the data folder is on another "
        "disk than the images",
    ),
    "interrupted": Source(
        "dislike", "Interrupted", 0.2,
        "only where a whole image is there: of the batch under way that the webui still finishes, or the image before Hires. fix, "
        "where it is saved. A half-made image is never kept",
    ),
    "regenerated": Source(
        "dislike", "Regenerated at once", 0.2,
        "Generate is pressed again with the same prompts and another seed, soon after the images were there, and nothing good was done "
        "with any of them. Within 3 seconds nobody has looked, so Generate forever does not count",
    ),
}  # fmt: skip

_ABOUT = (
    "<b>Implicit feedback</b>: what you do with the webui's images may count as a weak like or dislike. Everything below is off until "
    "you switch it on. What you say by ♥ or ✗, or in a ranking, always goes before. The weight is how much one such act counts against "
    "what you say: 0 nothing, 1 as much."
)


def switch(source: str) -> str:
    """Name of the option that switches a source on."""
    return f"rankopt_implicit_{source}"


def weight(source: str) -> str:
    """Name of the option that weighs a source."""
    return f"{switch(source)}_weight"


def is_on(source: str) -> bool:
    """Whether the person lets this count."""
    return source in SOURCES and bool(shared.opts.data.get(switch(source), False))


def weights() -> dict[str, float]:
    """How much each source counts, 0 to 1, whether or not it is switched on: what was kept earlier is weighed too."""
    return {source: _number(weight(source), one.weight, 1.0) for source, one in SOURCES.items()}


def favourites() -> Path | None:
    """The folder of favourites, where one is named."""
    text = str(shared.opts.data.get(FOLDER) or "").strip()
    return Path(text) if text else None


def seconds() -> float:
    """How long after a run another one is one *at once*."""
    return _number(SECONDS, 20.0, float(MOST_SECONDS))


def add(section: tuple[str, str], slider: Any, changed: Callable[[], None]) -> None:
    """Add them to the webui's settings.

    Args:
        slider: gradio's.
        changed: called when what is watched on the disk has been switched.
    """
    likes = shared.OptionInfo(True, "♥ and ✗ below the galleries of txt2img, img2img and Extras", section=section)
    shared.opts.add_option(LIKES, likes.info("what you say there is kept for training and statistics"))
    for name, key, sign in ((LIKE_KEY, "l", "♥"), (DISLIKE_KEY, "d", "✗")):
        option = shared.OptionInfo(key, f"Key for {sign}", section=section)
        shared.opts.add_option(name, option.info("one letter or digit, empty for none; not while you write, also in the full-size view"))
    about = shared.OptionHTML(_ABOUT)
    about.section = section
    shared.opts.add_option("rankopt_implicit_explanation", about)
    for source, one in SOURCES.items():
        means = f"{one.label}: a weak {one.kind}"
        on_disk = {"onchange": changed} if source in ("favourite", "deleted") else {}
        shared.opts.add_option(switch(source), shared.OptionInfo(False, means, section=section, **on_disk).info(one.info))
        slide = {"minimum": 0.0, "maximum": 1.0, "step": 0.05}
        shared.opts.add_option(weight(source), shared.OptionInfo(one.weight, f"{one.label}: weight", slider, slide, section=section))
        if source == "favourite":
            shared.opts.add_option(FOLDER, _folder(section, changed))
        if source == "regenerated":
            limits = {"minimum": 5, "maximum": MOST_SECONDS, "step": 1}
            shared.opts.add_option(SECONDS, shared.OptionInfo(20, "Regenerated at once: within seconds", slider, limits, section=section))


def _folder(section: tuple[str, str], changed: Callable[[], None]) -> Any:
    """The folder's option; as the webui's own folders, it is nobody's to set where these are hidden."""
    hidden = {"visible": not getattr(shared.cmd_opts, "hide_ui_dir_config", False)}
    option = shared.OptionInfo("", "Folder of favourites", None, hidden, onchange=changed, section=section)
    return option.info("with its sub-folders; checked when images are made or shown, at most once a minute")


def _number(name: str, default: float, most: float) -> float:
    """A number of the settings between 0 and ``most``; the default where a config file holds something else."""
    try:
        value = float(shared.opts.data.get(name, default))
    except (TypeError, ValueError):
        return default
    return min(max(value, 0.0), most) if math.isfinite(value) else default
