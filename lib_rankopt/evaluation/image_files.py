"""Images in files and folders: finds them and reads them with their prompts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.evaluation.image_prompts import CAPTIONS, prompt_beside, prompt_in
from lib_rankopt.scorers.prompts import without_tags
from lib_rankopt.store.formats.folders import KINDS, broken, listing

_BROKEN = broken()
_NO_PROMPT = f"no prompt: neither in the image nor in a {' or '.join(CAPTIONS)} file beside it"


@dataclass(frozen=True)
class Source:
    """A file to score.

    Attributes:
        path: where it lies, or, with ``data``, a name only.
        error: why a folder could not be listed.
        name: what its scores are kept under; the path if empty.
        prompt: its caption, where that is known beforehand; ``None`` looks for it in the file and beside it.
        data: gives the bytes of an image that is no file of its own; raises NotFoundError or StoreError.
    """

    path: Path
    error: str = ""
    name: str = ""
    prompt: str | None = None
    data: Callable[[], bytes] | None = None

    @property
    def file(self) -> str:
        """What its scores are kept under."""
        return self.name or str(self.path)


@dataclass(frozen=True)
class ScoredFile:
    """What became of one file.

    Attributes:
        file: its path as it was given.
        size: in bytes; −1 where that is not known.
        modified: seconds since 1970, to the millisecond.
        prompt: that it was scored with, without extra-network tags; empty where it has none.
        scores: by scorer. errors: by scorer, why it gave none.
        is_known: the scores are those of an earlier run.
    """

    file: str
    size: int = -1
    modified: float = 0.0
    prompt: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    is_known: bool = False


@dataclass(frozen=True)
class Picture:
    """A file as it was read: with its image, or with the reason why there is none. ``no_prompt`` is why the record has no prompt."""

    record: ScoredFile
    image: Image.Image | None = None
    error: str = ""
    no_prompt: str = _NO_PROMPT


def find_images(paths: Sequence[Path]) -> Iterator[Source]:
    """Yield the images of folders and their sub-folders, and files as they are named, each once.

    A folder's images come sorted, then its sub-folders; one folder's names are in memory at a time, and no file is touched. Hidden files
    and folders are left out, and so are links to folders, which may go round in circles.

    Raises:
        InvalidInputError: there is no such file or folder, raised before the first image.
    """
    if missing := next((path for path in paths if not path.exists()), None):
        raise InvalidInputError(f"There is no file or folder {missing}.")
    found = (source for path in paths for source in (_in_folder(path) if path.is_dir() else (Source(path),)))
    return found if len(paths) == 1 else _once(found)


def _once(sources: Iterable[Source]) -> Iterator[Source]:
    seen: set[str] = set()
    for source in sources:
        name = os.path.abspath(source.path)  # noqa: PTH100  (pathlib's leaves '..' in)
        if name not in seen:
            seen.add(name)
            yield source


def _in_folder(folder: Path) -> Iterator[Source]:
    files, folders, problems = listing(folder)
    yield from (Source(folder, why) for name, why in problems if not name)  # the others are links
    yield from (Source(folder / name) for name in files)
    for name in folders:
        yield from _in_folder(folder / name)


def read(source: Source, prompt: str = "") -> Picture:
    """Read a file, and its prompt where ``prompt`` and the source give none."""
    record = ScoredFile(source.file)
    if source.error:
        return Picture(record, error=source.error)
    try:
        data = source.data() if source.data else None
        record = _stated(record, source.path, data)
        if not record.size:
            return Picture(record, error="the file is empty")
        with Image.open(source.path if data is None else io.BytesIO(data), formats=KINDS) as opened:
            opened.load()
            image = opened.copy()
            try:
                return Picture(replace(record, prompt=prompt or _prompt_of(source, opened)), image)
            except InvalidInputError as error:
                return Picture(record, image, no_prompt=f"no prompt: {error}")
    except (NotFoundError, StoreError) as error:
        return Picture(record, error=str(error))
    except UnidentifiedImageError:
        return Picture(record, error="the file is no picture in PNG, JPEG, WebP, BMP, GIF or TIFF")
    except _BROKEN as error:
        return Picture(record, error=f"the file cannot be read ({getattr(error, 'strerror', None) or error or type(error).__name__})")


def _stated(record: ScoredFile, path: Path, data: bytes | None) -> ScoredFile:
    if data is not None:
        return replace(record, size=len(data))
    about = path.stat()
    return replace(record, size=about.st_size, modified=round(about.st_mtime, 3))


def _prompt_of(source: Source, opened: Image.Image) -> str:
    if source.prompt is not None:
        return without_tags(source.prompt)
    return prompt_in(opened) or prompt_beside(source.path)


def pixels_of(source: Source) -> int:
    """How many it has, from its head; 0 where the reader will say what is wrong with it, and where there is no file."""
    if source.data is not None:
        return 0
    try:
        with Image.open(source.path, formats=KINDS) as opened:
            return int(opened.width * opened.height)
    except _BROKEN:
        return 0


def is_current(known: ScoredFile, source: Source, prompt: str, by_prompt: bool) -> bool:
    """Whether a file, and where ``by_prompt`` its prompt, are still those that were scored. Bytes are taken for what their name says."""
    if source.data is None:
        try:
            about = source.path.stat()
        except OSError:
            return False
        if known.size >= 0 and (known.size, known.modified) != (about.st_size, round(about.st_mtime, 3)):
            return False
    if not by_prompt:
        return True
    given = prompt or (None if source.prompt is None else without_tags(source.prompt))
    return known.prompt == (_prompt_now(source.path) if given is None else given)


def _prompt_now(path: Path) -> str:
    try:
        with Image.open(path, formats=KINDS) as opened:
            found = prompt_in(opened)
            if not found and opened.format == "PNG":
                opened.load()
                found = prompt_in(opened)
            return found or prompt_beside(path)
    except _BROKEN:
        return ""
