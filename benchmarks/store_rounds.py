"""Vote to acknowledgement at a store of some thousand rounds, against a bare ``sqlite3`` insert with the same durability.

    python benchmarks/store_rounds.py [--rounds 2000] [--candidates 8] [--votes 200] [--postgres URL]

Prints milliseconds (median and 95th percentile) and ratios to the bare insert measured in the same run, one line a figure, and the
process's peak memory. Latents and images are not made: their files play no part in a vote.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib_rankopt.store import Store, open_store
from lib_rankopt.store.records import CandidateRecord, EventDraft, History, RoundRecord, StudyRecord, new_id
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer, StudySettings
from tests.studies.fakes import FakeHost

TARGET_MS = 100.0


def timed(call: Callable[[int], object], times: int) -> tuple[float, float]:
    """Return median and 95th percentile in milliseconds."""
    taken = []
    for i in range(times):
        start = time.perf_counter()
        call(i)
        taken.append(1000 * (time.perf_counter() - start))
    return summary(taken)


def summary(taken: list[float]) -> tuple[float, float]:
    """Return median and 95th percentile."""
    ordered = sorted(taken)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def alternating(
    first: Callable[[int], object], second: Callable[[int], object], times: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Time two calls that undo each other."""
    taken: tuple[list[float], list[float]] = ([], [])
    for i in range(times):
        for call, kept in zip((first, second), taken, strict=True):
            kept.append(timed(lambda _, call=call, i=i: call(i), 1)[0])
    return summary(taken[0]), summary(taken[1])


def bare_insert(folder: Path, times: int) -> tuple[float, float]:
    """The limit: one row, one synced commit, no SQLAlchemy, no checks."""
    connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT)")

    def insert(i: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO events (payload) VALUES (?)", (f'{{"tiers":[[{i}]]}}',))
        connection.execute("COMMIT")

    found = timed(insert, times)
    connection.close()
    return found


def fill(store: Store, study: StudyRecord, rounds: int, candidates: int) -> StudyRecord:
    """Add a study with so many answered rounds and a last unanswered one; return it."""
    records, shown, events = [], [], []
    for index in range(rounds):
        record = RoundRecord(new_id(), study.id, index, candidates, "r" * 64, "ready")
        records.append(record)
        for position in range(candidates):
            name = f"{index * candidates + position:064x}"
            shown.append(CandidateRecord(record.id, position, "explore", name, 1, name))
        if index < rounds - 1:
            payload = {"tiers": [[index % candidates], [(index + 1) % candidates]]}
            events.append(EventDraft(study.id, "ranking", record.id, payload, tuple(range(candidates))))
    return store.create_study(study, History(tuple(records), tuple(shown), tuple(events)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--votes", type=int, default=200)
    parser.add_argument("--postgres", help="measure this database as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = bare_insert(Path(folder), arguments.votes)
        print(f"bare sqlite3 insert, synced   {base[0]:8.2f} ms   95 % {base[1]:8.2f} ms")
        measure("sqlite", Path(folder) / "sqlite", None, arguments, base[0])
        if arguments.postgres:
            measure("postgresql", Path(folder) / "postgresql", arguments.postgres, arguments, base[0])
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"peak memory                   {peak:8.0f} MiB")


def measure(label: str, data: Path, url: str | None, arguments: argparse.Namespace, base: float) -> None:
    host = FakeHost()
    service = StudyService(data, host, url, resume=False)
    template = service.create(StudySettings(prompt="a fox", seed=1, candidates=arguments.candidates))
    store = open_store(data, url)
    record = replace(store.study(template.id), id=new_id(), settings=asdict(template.settings))
    study = fill(store, record, arguments.rounds, arguments.candidates).id
    last = service.round(study, arguments.rounds - 1)
    ids = [candidate.id for candidate in last.candidates]

    def vote(i: int) -> None:
        service.answer(study, last.index, Answer("ranking", ((ids[i % len(ids)],),), tuple(ids), "me", f"vote {i}"))

    votes, undos = alternating(vote, lambda _: service.undo(study), arguments.votes)
    figures = {
        "vote to acknowledgement": votes,
        "undo": undos,
        "one round": timed(lambda i: service.round(study, i), 100),
        "page of 20 rounds": timed(lambda i: service.rounds(study, 20 * i, 20), 20),
        "all rounds": timed(lambda _: service.rounds(study), 3),
        "study with its figures": timed(lambda _: service.get(study), 10),
    }
    for name, (median, slow) in figures.items():
        print(f"{label + ' ' + name:<34}{median:8.2f} ms   95 % {slow:8.2f} ms   {median / base:7.1f} x bare insert")
    verdict = "within" if figures["vote to acknowledgement"][1] < TARGET_MS else "OVER"
    print(f"{label}: 95 % of votes are {verdict} the target of {TARGET_MS:.0f} ms, {arguments.rounds} rounds in the store")
    store.close()
    service.close()


if __name__ == "__main__":
    main()
