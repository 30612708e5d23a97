"""What several commands need: the data folder, the host, the service, output as text or JSON."""

from __future__ import annotations

import json
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TextIO

from lib_rankopt.errors import InvalidInputError, StoreError

if TYPE_CHECKING:
    from lib_rankopt.hosts.standalone import StandaloneHost
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.selection.settings import Selection
    from lib_rankopt.studies.service import StudyService


_WORDS = {"True": True, "False": False}


def default_data_dir() -> Path:
    """``$RANKOPT_DATA``, or the platform's folder for application data."""
    if configured := os.environ.get("RANKOPT_DATA"):
        return Path(configured)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rank-optimize"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "rank-optimize"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rank-optimize"


def data_dir(arguments: Namespace) -> Path:
    """The folder of this call."""
    return Path(arguments.data_dir) if arguments.data_dir else default_data_dir()


def make_host(arguments: Namespace) -> StandaloneHost:
    """The standalone host; no weights are read before the first image."""
    from lib_rankopt.hosts.standalone import StandaloneHost

    model = getattr(arguments, "model", "")
    extra = {"default_model": model} if model else {}
    return StandaloneHost(
        models_dir=arguments.models_dir,
        device=arguments.device,
        weights=weight_folders(arguments),
        lora_dir=lora_dir(arguments),
        **extra,
    )


def lora_dir(arguments: Namespace) -> Path:
    """Where the LoRAs of prompts lie; need not exist."""
    return Path(arguments.lora_dir) if arguments.lora_dir else data_dir(arguments) / "loras"


def weight_folders(arguments: Namespace) -> tuple[Path, ...]:
    """Where weights of scorers are looked for; downloads go to the first one."""
    return (data_dir(arguments), *([arguments.models_dir] if arguments.models_dir else []))


def open_shelf(arguments: Namespace, device: str | None = None) -> ScorerShelf:
    """The scorers of this call; ``device`` in place of ``--device``.

    Raises:
        InvalidInputError: torch knows no such device.
    """
    import torch

    from lib_rankopt.scorers.shelf import ScorerShelf

    wanted = device or arguments.device
    try:
        chosen = torch.device(wanted) if wanted else None
    except RuntimeError as error:
        raise InvalidInputError(f"--device {wanted}: there is no such device; for example cuda, mps or cpu.") from error
    return ScorerShelf(weight_folders(arguments), chosen)


def comparable(shelf: ScorerShelf, name: str) -> Scorer:
    """Load a scorer whose scores of different calls compare.

    Raises:
        InvalidInputError: it only ranks the images of one call. As :meth:`~lib_rankopt.scorers.shelf.ScorerShelf.get`.
    """
    from lib_rankopt.evaluation.score_files import relative

    scorer = shelf.get(name)
    if scorer.info.is_relative:
        raise relative(name)
    return scorer


@contextmanager
def open_service(arguments: Namespace, resume: bool = False) -> Iterator[StudyService]:
    """The studies service on the data folder, closed at the end; ``resume``: take up what a killed process left unfinished."""
    from lib_rankopt.studies.service import StudyService

    service = StudyService(data_dir(arguments), make_host(arguments), arguments.database_url, resume=resume)
    try:
        yield service
    finally:
        service.close()


def chosen_seed(seed: int) -> int:
    """Return ``seed``, or a fresh one for −1 (below 2³², as the webui has them)."""
    if seed < -1 or seed >= 2**32:
        raise InvalidInputError(f"--seed {seed}: seeds are 0 to {2**32 - 1}, or -1 to draw one.")
    return secrets.randbelow(2**32 - 1) if seed == -1 else seed


def read_picture(path: Path | None) -> bytes | None:
    """Read the file of ``--init-image``; ``None`` where there is none.

    Raises:
        InvalidInputError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"--init-image {path}: {error.strerror or error}.") from error


def option(name: str, text: str) -> tuple[str, Any]:
    """Read ``key=value`` as the command line's option ``name`` takes it; numbers, words and JSON are what they look like.

    Raises:
        InvalidInputError: no ``=`` in it.
    """
    key, separator, value = text.partition("=")
    if not separator:
        raise InvalidInputError(f"{name} {text}: write it as name=value.")
    try:
        return key, _WORDS[value] if value in _WORDS else json.loads(value)
    except json.JSONDecodeError:
        return key, value


def selection_of(arguments: Namespace, scorer: str) -> Selection | None:
    """What ``--select`` and its companions ask for, by this scorer; ``None`` without them.

    Raises:
        InvalidInputError: a value that no selection has, or a person, who is not here.
    """
    from lib_rankopt.selection.settings import from_dict, shares_of

    if not arguments.select:
        return None
    if arguments.select == "human":
        raise InvalidInputError("--select human needs somebody at the board: start 'serve' and choose it in the form of a study.")
    options = dict(option("--select-set", text) for text in arguments.select_set)
    at = {"at": shares_of(arguments.select_at)} if arguments.select_at else {}
    named = {"policy": arguments.select, "pool": arguments.pool, "scorer": scorer, "path": arguments.select_path}
    return from_dict({**named, **at, **options})


def check_writable(folder: Path) -> None:
    """Try to write in ``folder``, or, where that is still to be made, in the first folder above it that is there.

    Raises:
        StoreError: no permission, a full or read-only disk, or a file of that name.
    """
    with writing(folder), TemporaryFile(dir=next(path for path in (folder, *folder.absolute().parents) if path.exists())):
        pass


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about writing ``path`` into a :class:`StoreError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot write to {path}: {error.strerror or error}.") from error


def print_json(value: Any) -> None:
    """One JSON object on one line, in ASCII, flushed, so that a pipe sees it at once and reads it in any encoding."""
    print(json.dumps(value, allow_nan=False), flush=True)


@contextmanager
def progress_bar(description: str, total: int, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield ``advance_to(done)``. Draws on stderr with rich, and nothing when quiet, piped, or without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        quiet = True
    if quiet or not sys.stderr.isatty():
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


def table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]], stream: TextIO | None = None) -> None:
    """Print aligned columns to ``stream``, or to stdout; plain text, so that grep and cut work."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    for row in [headers, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=stream)
