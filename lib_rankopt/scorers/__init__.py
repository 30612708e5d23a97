"""Scorers: image and prompt in, one number out.

A scorer is one file and one line in :mod:`~lib_rankopt.scorers.registry`; other packages add theirs with an entry point in the group
``rankopt.scorers`` whose value is a callable ``(device: str) -> Scorer``.
"""

from __future__ import annotations

from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.registry import check, files, names
from lib_rankopt.scorers.shelf import ScorerShelf


def create(name: str, device: str = "cpu") -> Scorer:
    """Load a scorer that needs no files of this installation, onto a device; a :class:`ScorerShelf` knows folders and keeps what it loads.

    Raises:
        NotFoundError: no scorer of that name.
        MissingDependencyError: the scorer needs a package that is not installed.
        ModelError: its weights are missing or broken.
    """
    scorer = ScorerShelf().get(name)
    scorer.to(device)
    return scorer


__all__ = ["Scorer", "ScorerInfo", "ScorerShelf", "check", "create", "files", "names"]
