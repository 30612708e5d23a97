"""What is said of images in a host's own gallery: where it goes, and which file a page means by an image's address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote

from lib_rankopt.errors import InvalidInputError, NotFoundError

Kind = Literal["like", "dislike", "unlike"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})
_MOST_NAME = 4096
_ROUTE = re.compile(r"(?:^|/)file=")
_GRID = re.compile(r"(?:xyz_)?grid-\d{4}|prompt_matrix-\d{4}")


@dataclass(frozen=True)
class Said:
    """What a person said of an image: ``label`` is ``""``, ``like`` or ``dislike``; or why nothing can be said of it (``refused``)."""

    label: str = ""
    refused: str = ""


@dataclass(frozen=True)
class SaidOfAll:
    """In the order of what was asked."""

    labels: tuple[Said, ...]


@dataclass(frozen=True)
class Noted:
    """Whether it was kept: what is said always, what is done where the person's settings allow it."""

    noted: bool


class FeedbackSink(Protocol):
    """Where feedback on single images goes."""

    def note(self, file: Path, kind: Kind, source: str = "", rater: str = "me", prompt: str | None = None) -> None:
        """Keep that an image is liked, disliked or neither any more; an unknown image is taken in first.

        Args:
            source: empty for what a person said; otherwise what he did, from which it is concluded.
            prompt: what the image should show; ``None`` for what its parameters say.

        Raises:
            RankOptError: the file cannot be read or the store not written.
        """

    def label_of(self, files: Sequence[Path], rater: str = "me") -> list[str]:
        """What a person said of each file: ``""``, ``"like"`` or ``"dislike"``."""


def named_file(name: str, folders: Sequence[Path], grids: Sequence[Path] = ()) -> Path:
    """Find the file that a page shows.

    Args:
        name: an image's address as gradio makes it, ``http://host/file=/folder/image.png?17`` or a part of it.
        folders: the file must lie in one of these, links followed.
        grids: folders of images that are put together of several.

    Returns:
        The file with all links followed.

    Raises:
        InvalidInputError: no such address, not an image, a grid, or outside the folders, where nothing is looked up.
        NotFoundError: it is gone.
    """
    path = _path(name)
    allowed = [folder.resolve() for folder in folders]
    asked = Path(os.path.normpath(path))
    as_named = (Path(os.path.normpath(folder.absolute())) for folder in folders)
    if not _is_within(asked, [*allowed, *as_named]):  # before the disk is asked anything about it
        raise InvalidInputError("The image is in none of the webui's folders of images.")
    try:
        found = asked.resolve(strict=True)
    except FileNotFoundError as error:
        raise NotFoundError(f"The image {asked.name} is not there any more.") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInputError(f"The image {asked.name} cannot be read.") from error
    if not _is_within(found, allowed) or found.suffix.lower() not in SUFFIXES:
        raise InvalidInputError(f"The image {asked.name} leads out of the webui's folders of images.")
    if not found.is_file():
        raise NotFoundError(f"The image {asked.name} is not there any more.")
    apart = [folder for folder in (one.resolve() for one in grids) if folder not in allowed]
    if _is_within(found, apart) or _GRID.match(found.name):
        raise InvalidInputError("This is a grid of several images; choose one of them.")
    return found


def _path(name: str) -> Path:
    """The path in an address of gradio's.

    Raises:
        InvalidInputError: there is none, or it is no image's.
    """
    if len(name) > _MOST_NAME:
        raise InvalidInputError(f"The image's address has {len(name)} characters; it is none of a file.")
    _, *rest = _ROUTE.split(name, maxsplit=1)
    if not rest or name.startswith("data:"):
        raise InvalidInputError("The image is not a file yet.")
    text = unquote(rest[0].partition("?")[0].partition("#")[0])
    if "\0" in text or not Path(text).is_absolute():
        raise InvalidInputError("The image's address holds no whole path.")
    if Path(text).suffix.lower() not in SUFFIXES:
        raise InvalidInputError(f"'{Path(text).suffix}' is no image that can be liked; known are {', '.join(sorted(SUFFIXES))}.")
    return Path(text)


def _is_within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
