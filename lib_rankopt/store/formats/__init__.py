"""Preference data in the field's formats: see :mod:`.base` for the contract. A new format is one file and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lib_rankopt.store.formats.base import Format

# name → module and class; imported when asked for, as some need packages that not everybody has
_FORMATS: Mapping[str, tuple[str, str]] = {
    "archive": ("archive", "Archive"),
    "dro": ("dro_folders", "DroFolders"),
    "folder": ("image_folder", "ImageFolder"),
    "hpd1": ("hpd1", "Hpd1"),
    "hpd2": ("hpd2", "Hpd2"),
    "image-ranker": ("image_ranker", "ImageRanker"),
    "imagereward": ("imagereward", "ImageReward"),
    "jsonl": ("metadata_jsonl", "MetadataJsonl"),
    "kto": ("kto_csv", "DiffusionKto"),
    "pickapic": ("pickapic", "PickAPic"),
    "pickapic-rankings": ("pickapic_rankings", "PickAPicRankings"),
    "spo-prompts": ("spo_prompts", "SpoPrompts"),
    "wl-folders": ("wl_folders", "WinLoseFolders"),
}


def names() -> tuple[str, ...]:
    """All formats, by name."""
    return tuple(sorted(_FORMATS))


def get(name: str, **options: str) -> Format:
    """Make a format by its name.

    Raises:
        InvalidInputError: there is none of that name, or it has no such option.
    """
    made = find(name)(**_checked(name, options))
    made.given = dict(options)
    return made


def find(name: str) -> type[Format]:
    """Return the class of a format.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if name not in _FORMATS:
        raise InvalidInputError(f"There is no format '{name[:80]}'; there are {', '.join(names())}.")
    module, kind = _FORMATS[name]
    return cast("type[Format]", getattr(import_module(f"{__name__}.{module}"), kind))


def _checked(name: str, options: Mapping[str, str]) -> Mapping[str, str]:
    known = find(name).options
    if unknown := sorted(set(options) - set(known)):
        said = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise InvalidInputError(f"The format '{name}' has no option '{unknown[0][:80]}'; {said}.")
    return options
