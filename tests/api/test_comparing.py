"""Ranking a folder over HTTP."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.api import build_app, schemas
from tests.api.conftest import Api

pytest.importorskip("torch", reason="the real service needs torch")
pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")

from lib_rankopt.studies.service import StudyService
from tests.studies.data.test_comparing import paint

JSON = {"Content-Type": "application/json"}


pytestmark = pytest.mark.parametrize("service", ["real"], indirect=True)  # the stand-in has no collections


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(takes_paths=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        paint(tmp_path / "mine" / f"{number:02}.png", number * 20, "a fox" if number < 3 else "a crow")
    return tmp_path / "mine"


@pytest.fixture
def number(api: Api, folder: Path, service: StudyService) -> int:
    answer = api("POST", "/data/folders", json={"path": str(folder), "settings": {"repeats": 0}})
    assert answer.status_code == 201, answer.text
    assert schemas.RankedCollection(**answer.json()).name == "mine"
    for job in service.data.jobs.views():
        assert service.data.jobs.wait(job.id, 30).state == "done"
    return int(answer.json()["number"])


def following(api: Api, number: int, **query: Any) -> list[dict[str, Any]]:
    answer = api("GET", f"/data/collections/{number}/next", params=query)
    assert answer.status_code == 200, answer.text
    return [schemas.Comparison(**one) and one for one in answer.json()]


def reply_to(api: Api, number: int, shown: dict[str, Any], **more: Any) -> Any:
    images = [one["number"] for one in shown["images"]]
    tiers = sorted(([place] for place in range(len(images))), key=lambda tier: shown["images"][tier[0]]["name"], reverse=True)
    return api("POST", f"/data/collections/{number}/answers", json={"token": shown["token"], "images": images, "tiers": tiers, **more})


def test_from_a_folder_to_results(api: Api, number: int, service: StudyService) -> None:
    listed = api("GET", "/data/folders").json()
    assert listed["takes_paths"] is True
    assert [(one["name"], one["within"], one["progress"]["images"]) for one in listed["folders"]] == [("mine", "prompt", 6)]
    ahead = following(api, number, count=2)
    assert len(ahead) == 2
    assert {image["prompt"] for image in ahead[0]["images"]} in ({"a fox"}, {"a crow"})
    assert (ahead[0]["images"][0]["width"], ahead[0]["images"][0]["label"]) == (8, "")
    image = ahead[0]["images"][0]["number"]
    assert api("GET", f"/data/images/{image}/file").headers["content-type"] == "image/png"
    answered = reply_to(api, number, ahead[0], latency_ms=700)
    assert answered.status_code == 201, answered.text
    assert answered.json()["progress"]["comparisons"] == 1
    assert reply_to(api, number, ahead[0], latency_ms=700).json()["number"] == answered.json()["number"]
    reply_to(api, number, ahead[1])
    while shown := following(api, number):
        assert reply_to(api, number, shown[0]).status_code == 201
    job = api("POST", f"/data/collections/{number}/rebuild", json={})
    assert job.status_code == 202
    assert service.data.jobs.wait(job.json()["id"], 30).state == "done"
    results = schemas.Results(**api("GET", f"/data/collections/{number}/results").json())
    assert results.total == 6
    assert results.collection.fitted
    assert {results.images[0].name, results.images[1].name} == {"02.png", "05.png"}
    table = api("GET", f"/data/collections/{number}/results.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in table.headers["content-disposition"]
    assert [row[1] for row in csv.reader(io.StringIO(table.text))][1:] == [one.name for one in results.images]


def test_skip_label_and_undo(api: Api, number: int) -> None:
    (shown,) = following(api, number, rater="ann")
    images = [one["number"] for one in shown["images"]]
    skipped = {"token": shown["token"], "images": images, "skip": True, "rater": "ann"}
    assert api("POST", f"/data/collections/{number}/answers", json=skipped).json()["progress"]["comparisons"] == 0
    label = {"token": "l", "image": images[0], "label": "like", "rater": "ann"}
    assert api("POST", f"/data/collections/{number}/labels", json=label).status_code == 201
    first = api("POST", f"/data/collections/{number}/undo", json={"rater": "ann", "token": "u1"}).json()
    assert (first["kind"], first["image"], first["comparison"]) == ("like", images[0], None)
    second = api("POST", f"/data/collections/{number}/undo", json={"rater": "ann", "token": "u2"}).json()
    assert schemas.Undone(**second).kind == "skip"
    assert [one["number"] for one in second["comparison"]["images"]] == images
    nothing = api("POST", f"/data/collections/{number}/undo", json={"rater": "ann", "token": "u3"})
    assert (nothing.status_code, nothing.json()["error"]) == (409, "ConflictError")


def test_settings_are_changed_and_checked(api: Api, number: int) -> None:
    changed = api("PATCH", f"/data/collections/{number}/ranking", json={"layout": "list", "size": 3, "within": "any"})
    assert (changed.json()["settings"]["layout"], changed.json()["within"]) == ("list", "any")
    assert len(following(api, number)[0]["images"]) == 3
    for wrong in ({"layout": "six"}, {"size": 99}, {"nonsense": 1}, {"within": None}):
        refused = api("PATCH", f"/data/collections/{number}/ranking", json=wrong)
        assert refused.status_code == 422, wrong
    assert api("GET", f"/data/collections/{number}/ranking").json()["settings"]["size"] == 3


@pytest.mark.parametrize(("body", "status"), [
    ({"token": "t", "images": [1]}, 422), ({"token": "t", "images": [1, 1], "tiers": [[0], [1]]}, 422),
    ({"token": "t", "images": [1, 2], "tiers": [[0]]}, 422), ({"token": "", "images": [1, 2], "tiers": [[0], [1]]}, 422),
    ({"token": "t", "images": [1, 2**70], "tiers": [[0], [1]]}, 404), ({"token": "t", "images": [1, -5], "tiers": [[0], [1]]}, 404),
    ({"token": "t", "images": [1, 999], "tiers": [[0], [1]]}, 404), ({"token": "t", "images": "all"}, 422), ({}, 422),
    ({"token": "t", "images": [1, 2], "tiers": [[0], [1]], "rater": " "}, 422),
    ({"token": "t", "images": [1, 2], "tiers": [[0], [1]], "rater": "x" * 201}, 422),
])  # fmt: skip
def test_answers_that_make_no_sense_are_refused(api: Api, number: int, body: dict[str, Any], status: int) -> None:
    assert api("POST", f"/data/collections/{number}/answers", json=body).status_code == status
    assert api("GET", f"/data/collections/{number}/ranking").json()["progress"]["comparisons"] == 0


def test_odd_but_harmless_values_are_taken(api: Api, number: int) -> None:
    (shown,) = following(api, number)
    images = [one["number"] for one in shown["images"]]
    body = {"token": "\ud800", "images": images, "tiers": [[1], [0]], "rater": "x\0y \ud83d", "latency_ms": 10**15}
    for _ in range(2):
        answered = api("POST", f"/data/collections/{number}/answers", content=json.dumps(body), headers=JSON)
        assert (answered.status_code, answered.json()["progress"]["comparisons"]) == (201, 1)
    undone = api("POST", f"/data/collections/{number}/undo", content=json.dumps({"rater": body["rater"]}), headers=JSON)
    assert undone.json()["progress"]["comparisons"] == 0


def test_folders_that_cannot_be_ranked_are_refused(make_api: Callable[..., Api], api: Api, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (str(tmp_path / "never"), str(tmp_path / "empty"), "mine", "", "a\0b", str(folder / "00.png"), "/\ud800"):
        refused = api("POST", "/data/folders", content=json.dumps({"path": path}), headers=JSON)
        assert refused.status_code == 422, path
    closed = make_api()
    assert closed("GET", "/data/folders").json() == {"folders": [], "takes_paths": False}
    refused = closed("POST", "/data/folders", json={"path": str(folder)})
    assert (refused.status_code, "does not let pages name its folders" in refused.json()["message"]) == (422, True)


def test_what_is_not_there(api: Api) -> None:
    for number in (77, -1, 2**70):
        for path in ("ranking", "next", "results", "results.csv"):
            assert api("GET", f"/data/collections/{number}/{path}").status_code == 404, (number, path)
        for path, body in (("undo", {}), ("rebuild", {}), ("labels", {"token": "t", "image": 1, "label": "like"})):
            assert api("POST", f"/data/collections/{number}/{path}", json=body).status_code == 404, (number, path)


def test_counts_out_of_range_are_refused(api: Api, number: int) -> None:
    for path in ("next?count=0", "next?count=5", "next?rater=", "results?limit=0", "results?limit=501", "results?offset=-1"):
        assert api("GET", f"/data/collections/{number}/{path}").status_code == 422, path


def test_routes_are_in_the_description_and_have_the_guard(make_api: Callable[..., Api], service: StudyService) -> None:
    paths = {path for path in build_app(service).openapi()["paths"] if "/data/" in path}
    assert len(paths) >= 11
    guarded = make_api(auth={"ann": "secret"}, takes_paths=True)
    for method, path in (("GET", "/data/folders"), ("POST", "/data/folders"), ("GET", "/data/collections/1/results.csv")):
        assert guarded(method, path).status_code == 401
