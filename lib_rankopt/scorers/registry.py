"""Names of scorers, and what makes them."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import NotFoundError
from lib_rankopt.scorers.base import CALIBRATED, JOINED, Scorer

if TYPE_CHECKING:
    from lib_rankopt.scorers.weights import WeightFile

GROUP = "rankopt.scorers"
_OPEN_CLIP = "open_clip:"

# Module and function (name, shelf) -> Scorer. The function's module says in FILES which weights each name needs.
_REGISTRY = {
    "clip": "pocket_clip:create",
    "hpsv2.1": "hps:create",
    "hpsv2": "hps:create",
    "hpsv1": "hps:create",
    "pickscore": "pickscore:create",
    "imagereward": "image_reward:create",
    "aesthetic2": "aesthetic:create",
    "aesthetic1": "aesthetic:create",
    "clip-l": "clip_score:create",
    "clip-h": "clip_score:create",
}
# The same, for those that another package brings; listed where it is installed.
_OPTIONAL = {"hpsv2:package": ("hpsv2", "hpsv2_package:create"), "hpsv2.1:package": ("hpsv2", "hpsv2_package:create")}
# The same, for names that begin so, of which there are too many to list.
_FAMILIES = {CALIBRATED: "calibration:create", _OPEN_CLIP: "open_clip_score:create"}


def names() -> tuple[str, ...]:
    """Names of single scorers, the built-in ones first. Several joined by ``+`` are a scorer too."""
    optional = [name for name, (package, _) in _OPTIONAL.items() if find_spec(package)]
    extra = sorted({point.name for point in entry_points(group=GROUP)} - set(_REGISTRY))
    return (*_REGISTRY, *optional, *extra)


def check(name: str) -> None:
    """Check that there is a scorer, or an ensemble of scorers, of that name.

    Raises:
        NotFoundError: there is none; names close ones.
    """
    for one in name.split(JOINED):
        bare = one.removeprefix(CALIBRATED)
        if bare not in (*names(), *_OPTIONAL) and not bare.startswith(_OPEN_CLIP):
            close = get_close_matches(bare, names(), n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise NotFoundError(
                f"There is no scorer '{bare}'.{hint} Known: {', '.join(names())}, open_clip:MODEL/WEIGHTS; join several with {JOINED}."
            )


def files(name: str) -> tuple[WeightFile, ...]:
    """Files of weights that a scorer needs, or an ensemble of them; none for the embedded one and for those of other packages.

    Raises:
        NotFoundError: no scorer of that name.
    """
    check(name)
    found: dict[WeightFile, None] = {}
    for one in name.split(JOINED):
        bare = one.removeprefix(CALIBRATED)
        place = _place(bare)
        if place:
            module = import_module(f"lib_rankopt.scorers.{place.partition(':')[0]}")
            own = (module.file_of(bare),) if hasattr(module, "file_of") else getattr(module, "FILES", {}).get(bare, ())
            found.update(dict.fromkeys(own))
    return tuple(found)


def factory(name: str) -> Callable[[str, Any], Scorer]:
    """Return what makes a single scorer: ``(name, shelf) -> Scorer``, where the shelf has the weights.

    Raises:
        NotFoundError: no scorer of that name. ImportError: it needs a package that is not installed.
    """
    check(name)
    if place := _place(name):
        module, _, function = place.partition(":")
        create: Callable[[str, Any], Scorer] = getattr(import_module(f"lib_rankopt.scorers.{module}"), function)
        return create
    point: Any = next(one for one in entry_points(group=GROUP) if one.name == name)
    made: Callable[[str], Scorer] = point.load()
    return lambda _name, _shelf: made("cpu")


def _place(name: str) -> str:
    """Module and function that make a scorer of ours; empty for those of other packages."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    if name in _OPTIONAL:
        return _OPTIONAL[name][1]
    return next((place for beginning, place in _FAMILIES.items() if name.startswith(beginning)), "")
