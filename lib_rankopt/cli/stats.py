"""``stats``: how much there is, at once however much that is."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from lib_rankopt.cli.context import print_json, table
from lib_rankopt.cli.stores import open_stores
from lib_rankopt.store.derive import CLOSING
from lib_rankopt.studies.data.sources import find_sources

if TYPE_CHECKING:
    from lib_rankopt.store import Store
    from lib_rankopt.store.collected.records import Collection
    from lib_rankopt.store.records import StudyRecord

_GROUPS = {"kind": "feedback", "rater": "raters", "model": "models", "source": "sources", "state": "files"}
_SAID = 8


def run(arguments: Namespace) -> int:
    """Counts of collections and studies."""
    with open_stores(arguments) as stores:
        found = find_sources(stores.store, arguments.sources)
        collections = [_of_collection(stores.store, one) for one in found.collections]
        studies = [_of_study(stores.store, one) for one in found.studies]
    total = _total(collections)
    if arguments.json:
        print_json({"collections": collections, "studies": studies, "collected": total})
        return 0
    if not collections and not studies:
        print("Nothing yet. Start with: python -m lib_rankopt serve, or: python -m lib_rankopt import auto PATH")
    if collections:
        rows = [_row(one) for one in collections]
        everything = [("", "all together", "", *_row(total)[3:])] if len(rows) > 1 else []
        heads = ("number", "collection", "format", "images", "prompts", "rankings", "pairs", "likes", "dislikes", "raters")
        table(heads, [*rows, *everything])
        for group in ("raters", "models", "files", "sources"):
            _tell(group, total[group])
    if studies:
        print(end="\n" if collections else "")
        rows = [(one["id"][:8], one["name"], f"{one['answered']}/{one['rounds']}", str(one["images"])) for one in studies]
        table(("id", "study", "rounds", "images"), rows)
    return 0


def _of_collection(store: Store, one: Collection) -> dict[str, Any]:
    about = {"number": one.number, "name": one.name, "kind": one.kind, "format": one.format, "root": one.root, "created_at": one.created_at}
    return {**about, **_grouped(store.collected.tallies(one.number))}


def _grouped(tally: dict[str, int]) -> dict[str, Any]:
    """Tallies as a tree: ``kind:like`` in ``feedback``, ``rater:me`` in ``raters`` …"""
    found: dict[str, Any] = {name: tally.get(name, 0) for name in ("images", "prompts", "removed")}
    groups: dict[str, dict[str, int]] = {group: {} for group in _GROUPS.values()}
    for name, value in tally.items():
        kind, separator, what = name.partition(":")
        if separator and kind in _GROUPS:
            groups[_GROUPS[kind]][what] = value
    return {**found, **groups}


def _of_study(store: Store, one: StudyRecord) -> dict[str, Any]:
    rounds, answered, images = store.counts(one.id, CLOSING)
    return {"id": one.id, "name": one.name, "created_at": one.created_at, "rounds": rounds, "answered": answered, "images": images}


def _total(collections: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {"images": 0, "prompts": 0, "removed": 0, **{group: {} for group in _GROUPS.values()}}
    for one in collections:
        for name in ("images", "prompts", "removed"):
            total[name] += one[name]
        for group in _GROUPS.values():
            for what, value in one[group].items():
                total[group][what] = total[group].get(what, 0) + value
    return total


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    kinds = [f"{one['feedback'].get(kind, 0):,}" for kind in ("ranking", "pair", "like", "dislike")]
    about = (str(one.get("number", "")), str(one.get("name", "")), str(one.get("format", "") or one.get("kind", "")))
    return (*about, f"{one['images']:,}", f"{one['prompts']:,}", *kinds, f"{len(one['raters']):,}")


def _tell(group: str, counts: dict[str, int]) -> None:
    named = sorted(((value, name) for name, value in counts.items() if name), reverse=True)
    if named:
        rest = f", and {len(named) - _SAID} more" if len(named) > _SAID else ""
        print(f"{group}: {', '.join(f'{name} {value:,}' for value, name in named[:_SAID])}{rest}")
