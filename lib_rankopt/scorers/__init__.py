"""Scorers: image and prompt in, one number out.

A scorer is one file and one line in ``_REGISTRY``; other packages add theirs with an entry point in the group ``rankopt.scorers``
whose value is a callable ``(device: str) -> Scorer``.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lib_rankopt.errors import MissingDependencyError, NotFoundError
from lib_rankopt.scorers.base import Scorer, ScorerInfo

if TYPE_CHECKING:
    from collections.abc import Callable

_REGISTRY = {
    "clip": "lib_rankopt.scorers.pocket_clip:PocketClipScorer",
}


def names() -> tuple[str, ...]:
    """Names that :func:`create` takes, the built-in ones first."""
    extra = sorted(point.name for point in entry_points(group="rankopt.scorers") if point.name not in _REGISTRY)
    return (*_REGISTRY, *extra)


def create(name: str, device: str = "cpu") -> Scorer:
    """Load a scorer onto a device.

    Raises:
        NotFoundError: no scorer of that name.
        MissingDependencyError: the scorer needs a package that is not installed.
        ModelError: its weights are missing or broken.
    """
    try:
        return _factory(name)(device)
    except MissingDependencyError:
        raise
    except ImportError as error:
        package = (error.name or "the package").partition(".")[0]
        raise MissingDependencyError(
            f"The scorer '{name}' needs a package that is not installed ({error}); install it with: pip install {package}"
        ) from error


def _factory(name: str) -> Callable[[str], Scorer]:
    if name in _REGISTRY:
        module, _, attribute = _REGISTRY[name].partition(":")
        factory: Callable[[str], Scorer] = getattr(import_module(module), attribute)
        return factory
    for point in entry_points(group="rankopt.scorers"):
        if point.name == name:
            loaded: Callable[[str], Scorer] = point.load()
            return loaded
    close = get_close_matches(name, names(), n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise NotFoundError(f"There is no scorer '{name}'.{hint} Known: {', '.join(names())}.")


__all__ = ["Scorer", "ScorerInfo", "create", "names"]
