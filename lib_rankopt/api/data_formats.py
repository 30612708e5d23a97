"""Formats of data sets as a page offers them."""

from __future__ import annotations

from dataclasses import dataclass

from lib_rankopt.store import formats


@dataclass(frozen=True)
class FormatInfo:
    """A format; ``loses`` says in words what it cannot hold."""

    name: str
    title: str
    reads: bool
    writes: bool
    loses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Formats:
    """All formats; ``paths`` tells whether this server lets pages name files and folders, without which nothing can be moved."""

    formats: tuple[FormatInfo, ...]
    paths: bool


def describe_formats(paths: bool) -> Formats:
    """All formats by title."""
    found = [(name, formats.find(name)) for name in formats.names()]
    infos = [FormatInfo(name, kind.title, kind.reads, kind.writes, tuple(kind.loses)) for name, kind in found]
    return Formats(tuple(sorted(infos, key=lambda one: one.title.lower())), paths)
