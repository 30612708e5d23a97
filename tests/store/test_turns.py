from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lib_rankopt.store import open_store
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.turns import Turns


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order, inside = Turns(), [], threading.Event()
    go_on = threading.Event()

    def first() -> None:
        with turns.turn():
            inside.set()
            go_on.wait(20)

    def later(number: int) -> None:
        with turns.turn():
            order.append(number)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    inside.wait(20)
    for number in range(5):
        threads.append(threading.Thread(target=later, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) < number + 2:  # until it stands in the queue
            pass
    go_on.set()
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


def test_beside_a_writer_that_never_rests_others_get_their_turn(tmp_path: Path) -> None:
    """Each waits for one transaction at most, not for luck."""
    store = open_store(tmp_path)
    collection = store.collected.create(Collection("a")).number
    done, written = threading.Event(), [0]

    def restless() -> None:
        while not done.is_set():
            store.collected.change(collection, position=written[0])
            written[0] += 1

    writer = threading.Thread(target=restless)
    writer.start()
    try:
        while not written[0]:
            pass
        for number in range(10):
            before = written[0]
            store.collected.create(Collection(f"b{number}"))
            # the one under way, the next one that had asked before, and what is counted while this thread is not running
            assert written[0] - before <= 4
    finally:
        done.set()
        writer.join(20)
        store.close()
