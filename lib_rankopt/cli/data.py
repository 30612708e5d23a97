"""``import``, ``export`` and ``look``: collected images and feedback in and out, and their files."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from lib_rankopt.cli.context import print_json, progress_bar
from lib_rankopt.cli.stores import format_options, open_stores
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import formats
from lib_rankopt.studies.data import moving
from lib_rankopt.studies.data.jobs import Step
from lib_rankopt.studies.data.sources import find_sources

_SECONDS = 0.5  # between two lines of progress
_SAID = 10


def run_import(arguments: Namespace) -> int:
    """List the formats, or read a data set into the store."""
    if arguments.list:
        return _list_formats(arguments)
    if not arguments.format or arguments.path is None:
        raise InvalidInputError("What is to be read? Write: import FORMAT PATH; 'auto' guesses, 'import --list' shows all.")
    fmt = moving.chosen_format(arguments.format, arguments.path, format_options(arguments))
    with open_stores(arguments) as stores:
        collection = moving.collection_for(stores.store.collected, fmt, arguments.path, arguments.name)
        if not arguments.json:
            print(f"Reading {arguments.path} as {fmt.name} ({fmt.title}) into collection {collection.number}, '{collection.name}'.")
        steps = moving.import_steps(stores.store.collected, stores.held, fmt, arguments.path, collection, not arguments.no_look)
        outcome = follow(steps, arguments)
    if arguments.json:
        print_json({"report": outcome})
    else:
        _tell_import(outcome)
    return 1 if outcome["problems"] or outcome.get("look", {}).get("problems") else 0


def run_export(arguments: Namespace) -> int:
    """Write collections and studies in a format."""
    fmt = formats.get(arguments.format, **format_options(arguments))
    moving.check_target(fmt, arguments.path)
    with open_stores(arguments) as stores:
        sources = find_sources(stores.store, arguments.sources)
        if not sources.names:
            raise InvalidInputError("There is nothing to write yet: no study, and no collection.")
        steps = moving.export_steps(stores.dataset(sources), fmt, arguments.path, moving.size_of(stores.store, sources))
        outcome = follow(steps, arguments)
    if arguments.json:
        print_json({"report": outcome})
        return 0
    print(f"{arguments.path}: {outcome['images']:,} images and {outcome['feedback']:,} answers in {fmt.title}.")
    _reasons("Not written, as the format or the files allow no more:", outcome["left_out"], outcome["examples"])
    return 0


def run_look(arguments: Namespace) -> int:
    """Look at the files of collections."""
    code = 0
    with open_stores(arguments) as stores:
        found = find_sources(stores.store, arguments.sources)
        if arguments.sources and found.studies:
            raise InvalidInputError(f"'{found.studies[0].name}' is a study, whose images the data folder holds; name collections.")
        if missing := [folder for folder in arguments.search if not folder.is_dir()]:
            raise InvalidInputError(f"--search {missing[0]}: there is no such folder.")
        for collection in found.collections:
            outcome = follow(moving.look_steps(stores.store.collected, stores.held, collection, arguments.search), arguments)
            code |= bool(outcome["gone"] or outcome["changed"] or outcome["problems"])
            if arguments.json:
                print_json({"report": {"collection": collection.number, "name": collection.name, **outcome}})
            else:
                print(f"{collection.name}: {_looked(outcome)}")
                _lines(outcome["problems"])
    if not found.collections and not arguments.json:
        print("No collections yet. Read one in with: python -m lib_rankopt import auto PATH")
    return code


def follow(steps: Iterator[Step], arguments: Namespace) -> dict[str, Any]:
    """Go through a job's steps, tell how far it is, and return its last outcome."""
    outcome: dict[str, Any] = {}
    unit, said, began, first = "", 0.0, time.monotonic(), 0
    advance: Callable[[float], None] | None = None
    with ExitStack() as stack:
        for step in steps:
            outcome = step.outcome
            if advance is None or step.unit != unit:
                stack.close()
                unit, began, first = step.unit, time.monotonic(), step.done
                advance = stack.enter_context(progress_bar(unit, step.total, arguments.json))
            advance(step.done)
            if arguments.json and time.monotonic() - said >= _SECONDS:
                said = time.monotonic()
                print_json({"progress": {"done": step.done, "total": step.total, "unit": unit, "eta": _eta(step, first, said - began)}})
    return outcome


def _eta(step: Step, first: int, seconds: float) -> float | None:
    rate = (step.done - first) / seconds if seconds > 0 else 0.0
    return round((step.total - step.done) / rate, 1) if rate and step.total else None


def _tell_import(outcome: Mapping[str, Any]) -> None:
    known = f"; {outcome['known_images']:,} and {outcome['known_feedback']:,} were there already"
    print(
        f"{outcome['rows']:,} rows: {outcome['images']:,} new images, {outcome['feedback']:,} new answers"
        f"{known if outcome['known_images'] or outcome['known_feedback'] else ''}."
    )
    if outcome["problems"]:
        _reasons(f"{outcome['problems']:,} rows had problems:", outcome["by_reason"], {})
        _lines(outcome["first_problems"])
    if "look" in outcome:
        print(f"Files: {_looked(outcome['look'])}")
        _lines(outcome["look"]["problems"])


def _looked(outcome: Mapping[str, Any]) -> str:
    parts = [f"{outcome['here']:,} here", f"{outcome['gone']:,} gone", f"{outcome['changed']:,} changed"]
    return ", ".join([*parts, *([f"{outcome['found']:,} found again elsewhere"] if outcome["found"] else [])]) + "."


def _reasons(head: str, counts: Mapping[str, int], examples: Mapping[str, str]) -> None:
    if not counts:
        return
    print(head, file=sys.stderr)
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    for reason, count in ordered[:_SAID]:
        example = f" (first: {examples[reason]})" if examples.get(reason) else ""
        print(f"  {count:,} × {reason}{example}", file=sys.stderr)
    if len(ordered) > _SAID:
        print(f"  and {len(ordered) - _SAID} more reasons; --json tells all", file=sys.stderr)


def _lines(problems: list[str]) -> None:
    for line in problems[:_SAID]:
        print(f"  {line}", file=sys.stderr)
    if len(problems) > _SAID:
        print(f"  and {len(problems) - _SAID}{'' if len(problems) < 100 else ' or'} more; --json tells the first hundred", file=sys.stderr)


def _list_formats(arguments: Namespace) -> int:
    for name in formats.names():
        kind = formats.find(name)
        if arguments.json:
            facts = {"name": name, "title": kind.title, "reads": kind.reads, "writes": kind.writes}
            print_json({**facts, "loses": list(kind.loses), "options": dict(kind.options)})
            continue
        can = " and ".join(word for word, able in (("reads", kind.reads), ("writes", kind.writes)) if able)
        print(f"{name}: {kind.title}; {can}")
        for option, meaning in kind.options.items():
            print(f"    --set {option}=…  {meaning}")
        for lost in kind.loses:
            print(f"    cannot hold: {lost}")
    return 0


