"""How an image was chosen, and the choices that a person is asked for."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from lib_rankopt.api import schemas
from lib_rankopt.errors import GenerationInterrupted
from lib_rankopt.hosts.picks import PickBoard

HALVING = {"policy": "halving", "pool": 4, "scorer": "clip"}


@pytest.fixture
def ask(service):
    """Open a choice as a run would; the result is a future. Whatever is open at the end is stopped."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(4)

    def opened(rows=3, step=5, steps=20, seconds=30.0):
        pictures = {row: Image.new("RGB", (32, 24), (40 * row, 9, 9)) for row in range(rows)}
        board = service.host.picks
        version, _ = board.wait(None, 0)
        future = pool.submit(
            board.ask, pictures, prompt="a valley", step=step, steps=steps, seconds=seconds, default="all go on", stopped=stop.is_set
        )
        board.wait(version, 10)
        return future

    yield opened
    stop.set()
    pool.shutdown()


def test_how_an_image_was_chosen(api):
    round_ = api.ready_round(api.new_study(candidates=2, selection=HALVING))
    candidate = round_["candidates"][0]
    assert candidate["selected"] is True
    answer = api("GET", f"/images/{candidate['image']}/selection")
    record = schemas.Selection(**answer.json())
    assert (record.policy, record.scorer, len(record.looks)) == ("halving", "clip", 3)
    assert answer.json()["looks"][0]["alive"] == [False, False, True, True]
    assert record.thumbnails == []
    answer = api("GET", f"/images/{candidate['image']}/selection.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size[0] >= 360


def test_an_image_that_was_not_chosen(api):
    round_ = api.ready_round(api.new_study(candidates=2))
    assert round_["candidates"][0]["selected"] is False
    for name in (round_["candidates"][0]["image"], "0" * 64, "g" * 64, "..%2f..%2fx"):
        assert api("GET", f"/images/{name}/selection").status_code == 404
        assert api("GET", f"/images/{name}/selection.png").status_code == 404


def test_a_wrong_selection_is_named(api):
    answer = api("POST", "/studies", json={"settings": {"prompt": "x", "selection": {"policy": "magic"}}})
    assert answer.status_code == 422
    assert "'magic'" in answer.json()["message"]


def test_a_choice_is_seen_and_answered(api, ask):
    assert api("GET", "/picks").json() == {"version": 0, "questions": []}
    future = ask()
    state = api("GET", "/picks?since=0&timeout=5").json()
    (question,) = schemas.PickState(**state).questions
    assert (question.step, question.steps, question.rows, question.default) == (5, 20, [0, 1, 2], "all go on")
    assert 20 < question.seconds_left <= 30
    picture = api("GET", f"/picks/{question.id}/2.jpg")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (32, 24)
    assert api("GET", f"/picks/{question.id}/7.jpg").status_code == 404
    assert api("POST", f"/picks/{question.id}", json={"rows": [9]}).status_code == 422
    assert api("POST", f"/picks/{question.id}", json={"rows": [2, 0, 2]}).status_code == 204
    assert future.result(10) == (2, 0)
    again = api("POST", f"/picks/{question.id}", json={"rows": [1]})
    assert (again.status_code, again.json()["error"]) == (404, "NotFoundError")
    assert api("GET", f"/picks/{question.id}/2.jpg").status_code == 404
    assert api("GET", "/picks").json()["questions"] == []


def test_no_rows_are_all_of_them(api, ask):
    future = ask()
    (question,) = api("GET", "/picks").json()["questions"]
    assert api("POST", f"/picks/{question['id']}", json={"rows": []}).status_code == 204
    assert future.result(10) == (0, 1, 2)


@pytest.mark.parametrize("rows", [[], [0, 1]])
def test_of_finished_images_one_is_taken(api, ask, rows):
    future = ask(step=20)
    (question,) = api("GET", "/picks").json()["questions"]
    answer = api("POST", f"/picks/{question['id']}", json={"rows": rows})
    assert (answer.status_code, "exactly one" in answer.json()["message"]) == (422, True)
    assert api("POST", f"/picks/{question['id']}", json={"rows": [1]}).status_code == 204
    assert future.result(10) == (1,)


def test_a_long_poll_ends_when_a_choice_is_asked_for_or_answered(api, ask):
    version = api("GET", "/picks").json()["version"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api, "GET", f"/picks?since={version}&timeout=20")
        time.sleep(0.2)
        assert not waiting.done()
        started = time.monotonic()
        ask(seconds=1.2)
        state = waiting.result(10).json()
        assert time.monotonic() - started < 2
        assert len(state["questions"]) == 1
        later = api("GET", f"/picks?since={state['version']}&timeout=20").json()
        assert later["questions"] == []
        assert time.monotonic() - started < 6


def test_a_host_that_asks_nobody(api, service, monkeypatch):
    monkeypatch.delattr(service.host, "picks")
    assert api("GET", "/picks").json() == {"version": 0, "questions": []}
    assert api("GET", "/picks/x/0.jpg").status_code == 404
    assert api("POST", "/picks/x", json={"rows": []}).status_code == 404


def test_others_are_kept_out(make_api):
    api = make_api(auth={"ann": "secret"})
    for method, path in (("GET", "/picks"), ("GET", "/picks/x/0.jpg"), ("POST", "/picks/x"), ("GET", f"/images/{'0' * 64}/selection.png")):
        assert api(method, path, json={"rows": []} if method == "POST" else None).status_code == 401
    foreign = make_api()("POST", "/picks/x", json={"rows": []}, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_two_answers_at_once_count_as_one():
    board, taken, refused = PickBoard(), [], []
    pictures = {row: Image.new("RGB", (8, 8)) for row in range(8)}

    def run():
        options = {"prompt": "", "step": 1, "steps": 2, "seconds": 20, "default": "", "stopped": lambda: False}
        try:
            taken.append(board.ask(pictures, **options))
        except GenerationInterrupted:
            taken.append("interrupted")

    def answer(row):
        try:
            board.answer(question.id, (row,))
        except LookupError:
            refused.append(row)

    asking = threading.Thread(target=run)
    asking.start()
    (question,) = board.wait(0, 10)[1]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answer, range(8)))
    asking.join(10)
    assert len(refused) == 7
    assert {*refused, *taken[0]} == set(range(8))
