"""Questions to a person: asked in one thread, answered in another."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from PIL import Image

from lib_rankopt.errors import GenerationInterrupted, InvalidInputError, NotFoundError
from lib_rankopt.hosts.picks import PickBoard, PickView

PICTURES = {0: Image.new("RGB", (8, 8), "red"), 3: Image.new("RGBA", (8, 8), "blue")}


class Asked:
    """A question in a thread of its own."""

    def __init__(self, board: PickBoard, seconds: float = 30.0) -> None:
        self.result: Any = None
        self.stop = threading.Event()
        self._board, self._seconds = board, seconds
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.result = self._board.ask(
                PICTURES, prompt="a fox", step=5, steps=20, seconds=self._seconds, default="all go on", stopped=self.stop.is_set
            )
        except GenerationInterrupted as error:
            self.result = error

    def ended(self) -> Any:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.result


def opened(board: PickBoard) -> PickView:
    version, views = board.wait(None, 0)
    while not views:
        version, views = board.wait(version, 5)
    return views[0]


def test_an_answer_arrives() -> None:
    board = PickBoard()
    asked = Asked(board)
    view = opened(board)
    assert (view.prompt, view.step, view.steps, view.rows, view.default) == ("a fox", 5, 20, (0, 3), "all go on")
    assert 0 < view.seconds_left <= 30
    assert board.picture(view.id, 3)[:2] == b"\xff\xd8"
    board.answer(view.id, (3, 3))
    assert asked.ended() == (3,)
    assert board.wait(None, 0)[1] == []
    with pytest.raises(NotFoundError, match="no longer open"):
        board.answer(view.id, (0,))


def test_no_rows_are_all() -> None:
    board = PickBoard()
    asked = Asked(board)
    board.answer(opened(board).id, ())
    assert asked.ended() == (0, 3)


def test_what_is_not_there_is_refused() -> None:
    board = PickBoard()
    asked = Asked(board)
    view = opened(board)
    with pytest.raises(InvalidInputError, match="no candidate 1; it has 0, 3"):
        board.answer(view.id, (0, 1))
    with pytest.raises(NotFoundError, match="no candidate 1"):
        board.picture(view.id, 1)
    with pytest.raises(NotFoundError):
        board.picture("other", 0)
    asked.stop.set()
    assert isinstance(asked.ended(), GenerationInterrupted)


def test_nobody_answers() -> None:
    assert Asked(PickBoard(), seconds=0.3).ended() is None


def test_waiting_ends_when_something_changes() -> None:
    board = PickBoard()
    version, views = board.wait(None, 0)
    assert views == []
    assert board.wait(version, 0.05) == (version, [])
    asked = Asked(board)
    assert board.wait(version, 10)[0] > version
    board.answer(opened(board).id, (0,))
    asked.ended()


def test_two_runs_may_ask_at_once() -> None:
    board = PickBoard()
    first, second = Asked(board), Asked(board)
    while len(board.wait(None, 0)[1]) < 2:
        pass
    for view, row in zip(board.wait(None, 0)[1], (0, 3), strict=True):
        board.answer(view.id, (row,))
    assert sorted([first.ended(), second.ended()]) == [(0,), (3,)]
