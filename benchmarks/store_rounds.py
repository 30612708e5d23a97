"""Vote to acknowledgement at a store of some thousand rounds, against a bare ``sqlite3`` insert with the same durability.

    python benchmarks/store_rounds.py [--rounds 2000] [--candidates 8] [--votes 200] [--postgres URL]

Prints milliseconds (median, 95th percentile, and the processor time of the median call, which other work on the machine does not
change) with ratios to the bare insert measured in the same run, one line a figure, and the process's peak memory. Latents and images are
not made: their files play no part in a vote.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._memory import peak_mib
from lib_rankopt.store import Store, open_store
from lib_rankopt.store.records import CandidateRecord, EventDraft, History, RoundRecord, StudyRecord, new_id
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer, StudySettings
from tests.studies.fakes import FakeHost

TARGET_MS = 100.0


@dataclass(frozen=True)
class Taken:
    """Milliseconds of one kind of call."""

    median: float
    slow: float
    processor: float


def clock(call: Callable[[int], object], i: int) -> tuple[float, float]:
    """Return wall and processor milliseconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    call(i)
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor)


def timed(call: Callable[[int], object], times: int) -> Taken:
    """Time a call so many times."""
    return summary([clock(call, i) for i in range(times)])


def summary(taken: list[tuple[float, float]]) -> Taken:
    """Sum up pairs of wall and processor time."""
    wall, processor = sorted(w for w, _ in taken), [p for _, p in taken]
    return Taken(statistics.median(wall), wall[min(len(wall) - 1, int(0.95 * len(wall)))], statistics.median(processor))


def alternating(
    first: Callable[[int], object], second: Callable[[int], object], times: int
) -> tuple[Taken, Taken]:
    """Time two calls that undo each other."""
    taken: list[list[tuple[float, float]]] = [[], []]
    for i in range(times):
        taken[0].append(clock(first, i))
        taken[1].append(clock(second, i))
    return summary(taken[0]), summary(taken[1])


def bare_insert(folder: Path, times: int) -> Taken:
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
        line("bare sqlite3 insert, synced", base, base)
        measure("sqlite", Path(folder) / "sqlite", None, arguments, base)
        if arguments.postgres:
            measure("postgresql", Path(folder) / "postgresql", arguments.postgres, arguments, base)
    print(f"peak memory                   {peak_mib():8.0f} MiB")


def line(name: str, taken: Taken, base: Taken) -> None:
    """Print one figure."""
    times = f"{taken.median:9.2f} ms   95 % {taken.slow:9.2f} ms   processor {taken.processor:8.2f} ms"
    print(f"{name:<34}{times}   {taken.median / base.median:7.1f} x bare insert")


def measure(label: str, data: Path, url: str | None, arguments: argparse.Namespace, base: Taken) -> None:
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
        "one round": timed(lambda i: service.round(study, i % arguments.rounds), 100),
        "page of 20 rounds": timed(lambda i: service.rounds(study, 20 * i, 20), 20),
        "all rounds": timed(lambda _: service.rounds(study), 3),
        "study with its figures": timed(lambda _: service.get(study), 10),
    }
    for name, taken in figures.items():
        line(f"{label} {name}", taken, base)
    verdict = "within" if votes.slow < TARGET_MS else "OVER"
    print(f"{label}: 95 % of votes are {verdict} the target of {TARGET_MS:.0f} ms, {arguments.rounds} rounds in the store")
    store.close()
    service.close()


if __name__ == "__main__":
    main()
