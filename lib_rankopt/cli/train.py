"""``train``: a LoRA from feedback."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib_rankopt.cli.context import check_writable, data_dir, lora_dir, make_host, option, print_json, progress_bar
from lib_rankopt.cli.studies import chosen
from lib_rankopt.errors import NotFoundError
from lib_rankopt.training import config as config_module
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.records import Feedback
from lib_rankopt.training.folder import RunFolder


def run(arguments: Namespace) -> int:
    """Train, tell each update, and end with the files."""
    from lib_rankopt.diffusion.memory import release
    from lib_rankopt.hosts.library import ModelLibrary
    from lib_rankopt.training.run import Run, check_objective

    folder = _folder(arguments)
    config = folder.config()
    check_objective(config)
    check_writable(arguments.output)
    device = make_host(arguments).device
    base = ModelLibrary(arguments.models_dir, config.base).path(None)
    folder.order("run")
    with progress_bar("training", config.steps, arguments.json) as advance:

        def told(line: dict[str, Any]) -> None:
            advance(line["step"])
            if arguments.json:
                print_json(line)

        cache = data_dir(arguments) / "training" / "cache"
        work = Run(folder, base, _feedback(config, arguments), arguments.output, cache, told)
        status = work.start(device)
    release(device)
    outcome = {"state": status.state, "run": str(folder.path), "best": status.best, "outputs": list(status.outputs)}
    if arguments.json:
        print_json({**outcome, "alarms": list(status.alarms), "summary": list(status.summary)})
        return 0
    for sentence in (*status.summary, *status.alarms):
        print(sentence)
    print(f"{status.state}: {status.step} of {status.steps} steps. Run: {folder.path}")
    if status.best:
        best = Path(status.best)
        home = lora_dir(arguments)
        put = "" if home.resolve() in best.resolve().parents else f"Put it into {home}, or into the webui's models/Lora, and w"
        print(f"LoRA: {best}\n{put or 'W'}rite <lora:{best.stem}:1> into the prompt.")
    return 0


def _folder(arguments: Namespace) -> RunFolder:
    from lib_rankopt.store.records import new_id

    if arguments.resume is not None:
        folder = RunFolder(arguments.resume)
        if not folder.exists:
            raise NotFoundError(f"--resume {arguments.resume}: there is no training run here.")
        return folder
    values = config_module.read(arguments.config) if arguments.config else {}
    for one in fields(TrainingConfig):
        given = getattr(arguments, one.name, None)
        if one.name != "options" and given is not None:
            values[one.name] = given
    if arguments.set:
        values["options"] = {**values.get("options", {}), **dict(option("--set", text) for text in arguments.set)}
    return RunFolder.create(data_dir(arguments) / "training" / new_id(), config_module.from_dict(values))


def _feedback(config: TrainingConfig, arguments: Namespace) -> Feedback:
    """All that the data say together.

    Raises:
        InvalidInputError, NotFoundError: which of the data cannot be read.
    """
    from lib_rankopt.training.data import files

    paths = [Path(name) for name in config.data if Path(name).exists()]
    studies = [name for name in config.data if not Path(name).exists()]
    found = [files.read(path) for path in paths]
    if studies or not paths:
        found.append(_of_studies(studies, arguments))
    return Feedback(
        tuple(one for part in found for one in part.rankings),
        tuple(one for part in found for one in part.labels),
        tuple(one for part in found for one in part.problems),
    )


def _of_studies(wanted: list[str], arguments: Namespace) -> Feedback:
    from lib_rankopt.store import BlobStore, open_store
    from lib_rankopt.training.data import from_store

    store = open_store(data_dir(arguments), arguments.database_url)
    try:
        every = store.studies()
        named = [chosen(every, name) for name in wanted] if wanted else every
        return from_store.read(store, BlobStore(data_dir(arguments)), [study.id for study in named])
    finally:
        store.close()
