"""The conformance suite over SQLite and a real PostgreSQL server, and what only databases have."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from lib_rankopt.store import Store, open_store
from lib_rankopt.store.collected import _bulk, _search
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft, ImageQuery
from tests.store.collected import model
from tests.store.collected.conformance import CollectionConformance, filled, image, label


class TestSqlCollections(CollectionConformance):
    """``store`` comes from ``conftest.py``, once for each database."""


def _rate(folder: Path, url: str | None, collection: int, name: str, count: int) -> None:
    """One rater, in a process of their own."""
    store = open_store(folder, url)
    pick = random.Random(name)
    numbers = [one.number for one in store.collected.page(ImageQuery(collection, limit=1000))]
    for at in range(count):
        a, b = pick.sample(numbers, 2)
        said = store.collected.append(collection, FeedbackDraft("pair", (a, b), ((0,), (1,)), f"{name} {at}", rater=name))
        if at % 10 == 9:
            store.collected.append(collection, FeedbackDraft("retraction", token=f"{name} back {at}", retracts=said.number, rater=name))
    store.close()


@contextmanager
def heard(store: Store, word: str, found: list[str]) -> Iterator[None]:
    """Note statements that begin with a word."""

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.extend([statement] if statement.startswith(word) else [])

    engine = store.collected._db._engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", hear)
    yield
    event.remove(engine, "before_cursor_execute", hear)


def _take_in(folder: Path, url: str | None, collection: int, start: int, end: int, batch: int) -> None:
    """One import, in a process of its own."""
    store = open_store(folder, url)
    for at in range(start, end, batch):
        images = [ImageDraft(f"i{n}", f"prompt {n % 97}") for n in range(at, at + batch)]
        said = [label("like", f"i{n}", token=f"like {n}", rater=f"r{n % 3}") for n in range(at, at + batch)]
        store.collected.add(collection, images, said)
    store.close()


def _all(target: object, arguments: list[tuple[object, ...]]) -> None:
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=target, args=each) for each in arguments]  # type: ignore[arg-type]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
    assert [process.exitcode for process in running] == [0] * len(running)


def test_raters_in_processes_of_their_own(tmp_path: Path, url: str | None, store: Store) -> None:
    collection, _ = filled(store.collected, 30)
    _all(_rate, [(tmp_path, url, collection, name, 30) for name in ("anna", "ben")])
    said = store.collected.feedback(collection)
    assert len(said) == 66
    assert len({one.token for one in said}) == 66
    assert store.collected.tallies(collection) == model.recount(store.collected, collection)


def test_the_same_import_in_two_processes(tmp_path: Path, url: str | None, store: Store) -> None:
    collection = store.collected.create(Collection("a")).number
    _all(_take_in, [(tmp_path, url, collection, 0, 1000, 250)] * 2)
    assert store.collected.tallies(collection) == {
        "images": 1000, "prompts": 97, "state:unseen": 1000, "kind:like": 1000, "rater:r0": 334, "rater:r1": 333, "rater:r2": 333,
    }  # fmt: skip


@pytest.mark.slow
def test_four_processes_and_200_000_answers(tmp_path: Path, url: str | None, store: Store) -> None:
    """Two imports that overlap, and two raters, into one collection at once."""
    collection, _ = filled(store.collected, 500)
    context = multiprocessing.get_context("spawn")
    spans = ((0, 150_000), (50_000, 200_000))
    running = [context.Process(target=_take_in, args=(tmp_path, url, collection, *span, 2000)) for span in spans]
    running += [context.Process(target=_rate, args=(tmp_path, url, collection, name, 500)) for name in ("anna", "ben")]
    for process in running:
        process.start()
    for process in running:
        process.join(280)
    assert [process.exitcode for process in running] == [0] * 4
    tally = store.collected.tallies(collection)
    assert (tally["kind:like"], tally["kind:pair"], tally["kind:retraction"]) == (200_000, 900, 100)
    assert (tally["rater:anna"], tally["rater:ben"], tally["images"]) == (450, 450, 200_000)
    seen, after = 0, 0
    numbers = set()
    while page := store.collected.feedback(collection, after, 20_000):
        seen, after = seen + len(page), page[-1].number
        numbers.update(one.number for one in page)
    assert seen == len(numbers) == 200_000 + 1000 + 100


def test_a_text_is_looked_for_among_new_prompts_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_search, "_LATE", 2)
    collected = store.collected
    collection = collected.create(Collection("a")).number
    for at in range(5):
        collected.add(collection, [image(f"{at}", prompt=f"a red fox {at}"), image(f"x{at}", prompt=f"a wolf {at}")])
        for _ in range(2):
            assert [one.key for one in collected.page(ImageQuery(prompt="RED fox"))] == [f"{n}" for n in range(at + 1)]
            assert collected.page(ImageQuery(prompt="badger")) == []
    monkeypatch.setattr(_search, "MANY", 3)
    assert len(collected.page(ImageQuery(prompt="RED fox"))) == 5 == len(collected.page(ImageQuery(prompt="wolf")))


def test_what_was_found_is_forgotten_in_turn() -> None:
    found = _search.Found()
    for at in range(200):
        found.put(f"{at}", at, [at])
    assert (found.get("0"), found.get("199")) == ((0, ()), (199, (199,)))


def test_statistics_are_renewed_when_a_collection_doubles_and_is_not_small_beside_others(
    store: Store, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is None:
        pytest.skip("SQLite is not asked for statistics")
    monkeypatch.setattr(_bulk, "_ANALYZED", 10)
    renewed: list[str] = []
    with heard(store, "ANALYZE", renewed):
        large = store.collected.create(Collection("large")).number
        for at in range(0, 640, 5):
            store.collected.add(large, [ImageDraft(f"{n}") for n in range(at, at + 5)])
        assert renewed.count("ANALYZE collected_images") == 7  # at 10, 20, 40 … 640
        renewed.clear()
        small = store.collected.create(Collection("small")).number
        for at in range(0, 40, 5):
            store.collected.add(small, [ImageDraft(f"{n}") for n in range(at, at + 5)])
        assert renewed == []
        store.collected.add(small, [ImageDraft(f"{n}") for n in range(40, 90)])  # 90 of 730
    assert renewed.count("ANALYZE collected_images") == 1


def test_numbers_are_seen_in_the_order_in_which_they_were_given(store: Store) -> None:
    """Whoever reads on from the last number misses nothing, though others write meanwhile."""
    collected = store.collected
    collection, images = filled(collected)
    done = threading.Event()

    def write(name: str) -> None:
        for at in range(20):
            collected.append(collection, label("like", images[at % 6].number, token=f"{name} {at}", rater=f"{name} {at}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    threading.Thread(target=lambda: ([thread.join() for thread in threads], done.set())).start()
    seen: list[int] = []
    while True:
        last = done.is_set()
        seen += [one.number for one in collected.feedback(collection, seen[-1] if seen else 0)]
        if last:
            break
        time.sleep(0.002)  # a thread that never rests takes the interpreter from the writers for 5 ms at each of their statements
    assert seen == [one.number for one in collected.feedback(collection)]
    assert len(seen) == 60
