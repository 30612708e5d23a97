from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from lib_rankopt.store import open_store
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.turns import Turns


def queued(turns: Turns, works: Sequence[Callable[[], object]]) -> list[threading.Thread]:
    """Start threads one after the other, each when the one before stands in the queue; somebody has the turn meanwhile."""
    threads = []
    for place, work in enumerate(works, 2):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        end = time.monotonic() + 20
        while len(turns._waiting) < place and time.monotonic() < end:
            time.sleep(0.001)
    return threads


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(), []

    def later(number: int) -> None:
        with turns.turn():
            order.append(number)

    with turns.turn():
        threads = queued(turns, [partial(later, number) for number in range(5)])
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def test_a_turn_ends_with_an_error_and_is_not_taken_twice() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns.turn():
        raise KeyError
    with turns.turn(), pytest.raises(RuntimeError, match="again"), turns.turn():
        pass
    with turns.turn():
        pass


def test_threads_write_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    database = store.collected._db  # type: ignore[attr-defined]
    with database.write():
        threads = queued(database._turns, [partial(store.collected.create, Collection(name)) for name in "dacbe"])
    for thread in threads:
        thread.join(20)
    assert [one.name for one in reversed(store.collected.collections())] == list("dacbe")
    store.close()
