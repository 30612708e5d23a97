"""What suits the embedded pocket model, on every host."""

from __future__ import annotations

from lib_rankopt.hosts.base import HostDefaults

_CFG = 2.0  # more makes all seeds alike, and the ranking would have nothing to choose from
_SHOWN = (("fox", "blue"), ("hamburger", "yellow"), ("owl", "pink"), ("rocket", "black"), ("cactus", "white"), ("panda", "green"))


def pocket_defaults() -> HostDefaults:
    """Size, sampler and guidance of the pocket model, and example prompts in its own words, some of each style."""
    from lib_rankopt.diffusion.pocket.words import caption

    prompts = tuple(caption(concept, ("3d", "sticker")[i % 2], ground) for i, (concept, ground) in enumerate(_SHOWN))
    return HostDefaults(64, 64, 20, "DPM++ 2M", "Karras", _CFG, prompts)
