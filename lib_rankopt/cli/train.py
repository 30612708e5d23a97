"""``train``: a LoRA from feedback."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.cli.context import check_writable, data_dir, lora_dir, make_host, option, print_json, progress_bar
from lib_rankopt.errors import NotFoundError
from lib_rankopt.training import config as config_module
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.folder import RunFolder, RunStatus

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.training.processes import Processes


def run(arguments: Namespace) -> int:
    """Train, tell each update, and end with the files."""
    from lib_rankopt.diffusion.memory import release
    from lib_rankopt.hosts import library
    from lib_rankopt.training import processes
    from lib_rankopt.training.data.gather import gather
    from lib_rankopt.training.run import Run, check_objective

    together = processes.here()
    folder = RunFolder(together.said(_folder(arguments, together)))
    config = folder.config()
    check_objective(config)
    output = _output(arguments)
    check_writable(output)
    device = together.device or make_host(arguments).device
    base = library.ModelLibrary(arguments.models_dir, config.base).path(None)
    claim = folder.claimed() if together.is_main else contextlib.nullcontext()
    with contextlib.ExitStack() as stack:
        stack.enter_context(claim)
        if together.is_main and not arguments.pause_with_stdin:  # who started this one has ordered, and may have thought better of it
            folder.order("run")
        together.wait()
        advance = stack.enter_context(progress_bar("training", config.steps, arguments.json))
        stack.enter_context(_stopping(folder, arguments.pause_with_stdin))

        def told(line: dict[str, Any]) -> None:
            advance(line["step"])
            if arguments.json:
                print_json(line)

        cache = data_dir(arguments) / "training" / "cache"
        feedback = gather(config.data, lambda: _store(arguments), config.label_weights)
        status = Run(folder, base, feedback, output, cache, told, together).start(device)
    release(device)
    if together.is_main:
        _tell(status, folder, arguments)
    return 0


def _output(arguments: Namespace) -> Path:
    """Folder of the files; of ``--output NAME.safetensors`` the one that it names."""
    given: Path | None = arguments.output
    return lora_dir(arguments) if given is None else given.parent if given.suffix == ".safetensors" else given


def _tell(status: RunStatus, folder: RunFolder, arguments: Namespace) -> None:
    if arguments.json:
        outcome = {"state": status.state, "run": str(folder.path), "best": status.best, "outputs": list(status.outputs)}
        print_json({**outcome, "alarms": list(status.alarms), "summary": list(status.summary)})
        return
    for sentence in (*status.summary, *status.alarms):
        print(sentence)
    print(f"{status.state}: {status.step} of {status.steps} steps. Run: {folder.path}")
    if status.best:
        best = Path(status.best)
        home = lora_dir(arguments)
        put = "" if home.resolve() in best.resolve().parents else f"Put it into {home}, or into the webui's models/Lora, and w"
        print(f"LoRA: {best}\n{put or 'W'}rite <lora:{best.stem}:1> into the prompt.")


def _folder(arguments: Namespace, together: Processes) -> Path:
    """The run's folder, which the first process makes."""
    from lib_rankopt.store.records import new_id

    if arguments.resume is not None:
        if not RunFolder(arguments.resume).exists:
            raise NotFoundError(f"--resume {arguments.resume}: there is no training run here.")
        return Path(arguments.resume)
    values = config_module.read(arguments.config) if arguments.config else {}
    for one in fields(TrainingConfig):
        given = getattr(arguments, one.name, None)
        if one.name not in ("options", "label_weights") and given is not None:
            values[one.name] = given
    if arguments.output is not None and arguments.output.suffix == ".safetensors":
        values.setdefault("name", arguments.output.stem)
    for flag, name, texts in (("--set", "options", arguments.set), ("--label-weight", "label_weights", arguments.label_weight)):
        if texts:
            values[name] = {**values.get(name, {}), **dict(option(flag, text) for text in texts)}
    config, path = config_module.from_dict(values), data_dir(arguments) / "training" / new_id()
    if together.is_main:
        RunFolder.create(path, config)
    return path


@contextlib.contextmanager
def _stopping(folder: RunFolder, with_stdin: bool) -> Iterator[None]:
    """Pause at a first Ctrl-C or a request to end, so that nothing is lost; a second Ctrl-C ends at once."""

    def pause(number: int, _frame: Any) -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        sys.stderr.write("\nPausing after this update; once more ends at once.\n")
        folder.order("pause")

    def follow() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        folder.order("pause")  # who started this run is gone, and with it whoever could stop it

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, pause) for number in (signal.SIGINT, signal.SIGTERM)}
    if with_stdin:
        threading.Thread(target=follow, name="rankopt-stdin", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _store(arguments: Namespace) -> Iterator[tuple[Store, BlobStore]]:
    from lib_rankopt.store import BlobStore, open_store

    store = open_store(data_dir(arguments), arguments.database_url)
    try:
        yield store, BlobStore(data_dir(arguments))
    finally:
        store.close()
