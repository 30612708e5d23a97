"""Looking through collected images over HTTP, and correcting them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_rankopt.api import build_app, schemas
from tests.api.conftest import Api

pytest.importorskip("torch", reason="the real service needs torch")
pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")

from lib_rankopt.studies.service import StudyService
from tests.studies.data.filled import fill, label, pair

pytestmark = pytest.mark.parametrize("service", ["real"], indirect=True)  # the stand-in has no collections


@pytest.fixture
def images(service: StudyService, tmp_path: Path) -> list[int]:
    """Six images of collection 1; the first three have feedback."""
    store = service._room.store.collected
    number, found = fill(store, tmp_path / "foxes", 6)
    a, b, c = found[:3]
    for draft in (pair(a, c, "1"), label(a, "2", source="saved"), label(b, "3", "dislike", rater="ann")):
        store.append(number, draft)
    return found


def numbers(api: Api, query: str) -> list[int]:
    answer = api("GET", f"/data/images?{query}")
    assert answer.status_code == 200, answer.text
    return [one.number for one in schemas.DataPage(**answer.json()).images]


def refused(answer: Any, status: int, says: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "message"}
    assert says in answer.json()["message"]


def test_overview(api: Api, images: list[int]) -> None:
    answer = api("GET", "/data/overview")
    assert answer.headers["cache-control"] == "no-store"
    (foxes,) = schemas.DataOverview(**answer.json()).sources
    assert (foxes.id, foxes.kind, foxes.images, foxes.pairs, foxes.likes, foxes.dislikes) == ("c1", "folder", 6, 1, 1, 1)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", (0, 1, 2, 3, 4, 5)),
        ("collection=1", (0, 1, 2, 3, 4, 5)),
        ("collection=2", ()),
        ("text=RED", (1, 3, 5)),
        ("text=%25", ()),
        ("label=like", (0,)),
        ("label=dislike", (1,)),
        ("label=compared", (0, 2)),
        ("label=unrated", (3, 4, 5)),
        ("rater=ann", (1,)),
        ("rater=nobody", ()),
        ("source=saved", (0,)),
        ("model=deliberate&text=fox&label=rated", (0, 2)),
        ("model=other", ()),
        ("state=unseen", (0, 1, 2, 3, 4, 5)),
        ("state=removed", ()),
        ("limit=2", (0, 1)),
        ("after=9223372036854775807", ()),
    ],
)
def test_filters(api: Api, images: list[int], query: str, wanted: tuple[int, ...]) -> None:
    assert numbers(api, query) == [images[place] for place in wanted]


@pytest.mark.parametrize(
    "query",
    ["label=maybe", "state=lost", "limit=0", "limit=501", "after=-1", "collection=0", f"after={2**63}", f"rater={'x' * 201}"],
)
def test_filters_that_there_are_not(api: Api, images: list[int], query: str) -> None:
    refused(api("GET", f"/data/images?{query}"), 422)


def test_the_whole_gallery_in_pages(api: Api, images: list[int]) -> None:
    first = api("GET", "/data/images?limit=4").json()
    assert [one["number"] for one in first["images"]] == images[:4]
    assert first["next"] == images[3]
    second = api("GET", f"/data/images?limit=4&after={first['next']}").json()
    assert ([one["number"] for one in second["images"]], second["next"]) == (images[4:], None)


def test_labels_and_taking_them_back(api: Api, images: list[int]) -> None:
    body = {"images": images[3:5], "kind": "like", "rater": "Ann", "token": "one"}
    for _ in range(2):
        liked = api("POST", "/data/images/labels", json=body).json()
        assert [one["labels"] for one in liked] == [[{"rater": "Ann", "value": 1.0, "sources": []}]] * 2
    refused(api("POST", "/data/images/labels", json={**body, "kind": "dislike"}), 409, "token")
    detail = schemas.DataDetail(**api("GET", f"/data/images/{images[3]}").json())
    (event,) = detail.events
    assert (detail.image.number, event.kind, event.rater) == (images[3], "like", "Ann")
    path = f"/data/images/{images[3]}/retractions"
    refused(api("POST", path, json={"event": event.number, "token": "x"}), 409, "Ann")
    refused(api("POST", path, json={"event": 999, "token": "x"}), 404, "no answer 999")
    back = api("POST", path, json={"event": event.number, "rater": "Ann", "token": "x"}).json()
    assert (back["events"], back["image"]["labels"]) == ([], [])


def test_captions_and_removing(api: Api, images: list[int]) -> None:
    changed = api("PATCH", "/data/images", json={"images": images[:2], "prompt": "ein Fuchs 🦊"}).json()
    assert [one["prompt"] for one in changed] == ["ein Fuchs 🦊"] * 2
    assert api("POST", "/data/images/remove", json={"images": images[:1]}).json()[0]["state"] == "removed"
    assert numbers(api, "") == images[1:]
    assert numbers(api, "state=removed") == images[:1]
    assert api("POST", "/data/images/restore", json={"images": images[:1]}).json()[0]["state"] == "unseen"
    assert numbers(api, "") == images


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/data/images/labels", {"images": [1], "kind": "adore", "token": "t"}, 422),
        ("POST", "/data/images/labels", {"images": [1], "kind": "like"}, 422),
        ("POST", "/data/images/labels", {"images": [], "kind": "like", "token": "t"}, 422),
        ("POST", "/data/images/labels", {"images": [1] * 501, "kind": "like", "token": "t"}, 422),
        ("POST", "/data/images/labels", {"images": [1], "kind": "like", "token": "t", "rater": ""}, 422),
        ("POST", "/data/images/labels", {"images": [10**30], "kind": "like", "token": "t"}, 404),
        ("PATCH", "/data/images", {"images": ["x"], "prompt": ""}, 422),
        ("PATCH", "/data/images", {"images": [-5], "prompt": ""}, 404),
        ("POST", "/data/images/remove", {"images": [99]}, 404),
        ("POST", "/data/images/restore", {}, 422),
        ("GET", "/data/images/99", None, 404),
        ("GET", f"/data/images/{10**30}", None, 404),
        ("GET", "/data/images/x", None, 422),
        ("PATCH", "/data/collections/99", {"name": "x"}, 404),
        ("PATCH", "/data/collections/1", {"name": " "}, 422),
        ("DELETE", "/data/collections/99", None, 404),
        ("DELETE", f"/data/collections/{10**30}", None, 404),
        ("POST", "/data/collections/99/look", {}, 404),
        ("GET", "/data/objectives?data=c99", None, 404),
        ("GET", "/data/duplicates?collection=99", None, 404),
        ("GET", "/data/duplicates?kind=odd", None, 422),
        ("GET", "/data/duplicates?distance=9", None, 422),
        ("POST", "/data/jobs/none/stop", {}, 404),
    ],
)
def test_what_cannot_be_done_changes_nothing(api: Api, images: list[int], method: str, path: str, body: Any, status: int) -> None:
    before = api("GET", "/data/overview").json()
    refused(api(method, path, **({} if body is None else {"json": body})), status)
    assert api("GET", "/data/overview").json() == before


def test_collections_are_renamed_looked_at_and_deleted(api: Api, service: StudyService, images: list[int], tmp_path: Path) -> None:
    assert api("PATCH", "/data/collections/1", json={"name": "Red foxes"}).json()["name"] == "Red foxes"
    (tmp_path / "foxes" / "1.png").write_bytes((tmp_path / "foxes" / "0.png").read_bytes())
    started = api("POST", "/data/collections/1/look", json={})
    assert started.status_code == 202
    job = schemas.Job(**started.json())
    service.data.jobs.wait(job.id, 60)
    (now,) = api("GET", "/data/jobs").json()
    assert (now["state"], now["done"], now["outcome"]["here"], now["collection"]) == ("done", 6, 6, 1)
    assert api("POST", f"/data/jobs/{job.id}/stop", json={}).json()["state"] == "done"
    (group,) = schemas.DataDuplicates(**api("GET", "/data/duplicates").json()).groups
    assert ([one.number for one in group.images], group.keep) == (images[:2], images[0])
    assert api("GET", "/data/duplicates?kind=near&collection=1").json()["groups"] == []
    assert api("DELETE", "/data/collections/1").status_code == 204
    assert api("GET", "/data/overview").json()["sources"] == []
    assert (tmp_path / "foxes" / "0.png").is_file()


def test_formats(make_api: Callable[..., Api]) -> None:
    found = schemas.DataFormats(**make_api(takes_paths=True)("GET", "/data/formats").json())
    by_name = {one.name: one for one in found.formats}
    assert found.paths
    assert (by_name["kto"].reads, by_name["kto"].writes) == (True, True)
    assert all(one.title for one in found.formats)
    assert not make_api()("GET", "/data/formats").json()["paths"]


def test_data_go_out_and_come_in(make_api: Callable[..., Api], service: StudyService, images: list[int], tmp_path: Path) -> None:
    api = make_api(takes_paths=True)
    target = tmp_path / "out"
    started = api("POST", "/data/exports", json={"path": str(target), "format": "jsonl", "sources": ["c1"]})
    assert started.status_code == 202, started.text
    done = service.data.jobs.wait(schemas.Job(**started.json()).id, 60)
    assert (done.state, done.outcome["feedback"]) == ("done", 3), done.error
    refused(api("POST", "/data/exports", json={"path": str(target), "format": "jsonl"}), 422, "already")
    started = api("POST", "/data/imports", json={"path": str(target), "name": "again"})
    done = service.data.jobs.wait(started.json()["id"], 60)
    assert (done.state, done.outcome["feedback"], done.outcome["problems"]) == ("done", 3, 0), done.error
    again = next(one for one in api("GET", "/data/overview").json()["sources"] if one["name"] == "again")
    assert (again["images"], again["pairs"], again["likes"], again["dislikes"]) == (6, 1, 1, 1)


@pytest.mark.parametrize("path", ["", "relative", "../..", "/nowhere/at/all", "a\0b", "/" + "x" * 5000, "~nobody-of-that-name/x"])
def test_paths_that_cannot_be_used(make_api: Callable[..., Api], images: list[int], path: str) -> None:
    api = make_api(takes_paths=True)
    refused(api("POST", "/data/imports", json={"path": path}), 422)
    refused(api("POST", "/data/exports", json={"path": path, "format": "jsonl"}), 422)
    assert api("GET", "/data/jobs").json() == []


def test_servers_that_take_no_paths_read_and_write_nothing(api: Api, images: list[int], tmp_path: Path) -> None:
    refused(api("POST", "/data/imports", json={"path": str(tmp_path / "foxes")}), 422, "does not let pages name")
    refused(api("POST", "/data/exports", json={"path": str(tmp_path / "out"), "format": "jsonl"}), 422, "does not let pages name")
    assert not (tmp_path / "out").exists()


def test_what_objectives_would_get(api: Api, images: list[int]) -> None:
    found = schemas.DataReach(**api("GET", "/data/objectives?data=c1").json())
    by_name = {one.name: one for one in found.objectives}
    assert (found.built, by_name["dpo"].items, by_name["kto"].items) == (True, 1, 3)
    assert api("GET", "/data/objectives").json()["objectives"][0]["name"] == "sft"


def test_collections_are_offered_for_training(make_api: Callable[..., Api], images: list[int]) -> None:
    api = make_api()
    (choice,) = schemas.TrainingForm(**api("GET", "/training/form").json()).collections
    assert (choice.id, choice.name, choice.images, choice.answered) == ("c1", "foxes", 6, 3)
    reach = api("POST", "/training/check", json={"data": ["c1"], "objective": "dpo"})
    assert (reach.status_code, reach.json()["counts"]["pairs"]) == (200, 1), reach.text
    refused(api("POST", "/training/check", json={"data": ["c2"], "objective": "dpo"}), 422, "is no study")


def test_others_are_kept_out(make_api: Callable[..., Api], images: list[int]) -> None:
    closed, open_ = make_api(auth={"ann": "secret"}), make_api()
    body = {"images": images[:1]}
    routes = (("GET", "/data/overview"), ("GET", "/data/images"), ("POST", "/data/images/remove"), ("DELETE", "/data/collections/1"))
    for method, path in routes:
        sent = {"json": body} if method == "POST" else {}
        assert closed(method, path, **sent).status_code == 401
        if method != "GET":
            assert open_(method, path, headers={"origin": "http://evil.example"}, **sent).status_code == 403
    assert numbers(open_, "") == images


def test_every_route_is_described(service: StudyService) -> None:
    paths = {path: routes for path, routes in build_app(service).openapi()["paths"].items() if "/data/" in path}
    assert len(paths) >= 14
    for routes in paths.values():
        for route in routes.values():
            assert route["description"]
            assert {"404", "409", "422"} <= set(route["responses"])
