"""Training over the API, on the real service: runs, samples and comparisons, and what is refused."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

pytest.importorskip("torch", reason="the real service needs torch")
pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")

from lib_rankopt.api import build_app, schemas
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft
from lib_rankopt.studies.service import StudyService
from lib_rankopt.training import objectives
from tests.api.conftest import Api
from tests.studies.trained import SMALL, TrainerHost, calls, finished_run, pairs, stub, until

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the stand-in for the trainer is a shell script")
HOSTILE = ("../x", "..%2f", "..%2fdata", "%2e%2e", "a.b", "a%00b", "ü", "a" * 300, "a" * 5000, "f" * 16)


@pytest.fixture
def host(tmp_path: Path) -> TrainerHost:
    return TrainerHost(tmp_path / "loras")


@pytest.fixture
def service(tmp_path: Path, host: TrainerHost) -> Iterator[StudyService]:
    opened = StudyService(tmp_path / "data", host)
    yield opened
    (tmp_path / "stub").mkdir(exist_ok=True)
    (tmp_path / "stub" / "go").touch()
    opened.close()


@pytest.fixture
def make_api(service: StudyService) -> Iterator[Callable[..., Api]]:
    clients: list[TestClient] = []

    def make(**options: Any) -> Api:
        clients.append(TestClient(build_app(service, **options), base_url="http://localhost:7861", raise_server_exceptions=False))
        return Api(clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(takes_paths=True)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return {**SMALL, "data": [str(pairs(tmp_path / "pictures"))], "steps": 3, "name": "taste"}


@pytest.fixture
def run(tmp_path: Path) -> str:
    return finished_run(tmp_path / "data")


def refused(answer: Any, status: int, said: str = "") -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "message"}
    assert said in body["message"]


# -- the form, and what data reach
def test_the_form_has_all_there_is_to_choose(api: Api, tmp_path: Path) -> None:
    study = api.new_study()
    form = api("GET", "/training/form").json()
    assert schemas.TrainingForm(**form).models == ["fake-model"]
    assert [one["name"] for one in form["objectives"]] == list(objectives.names())
    assert all(one["explanation"] and one["title"] for one in form["objectives"])
    settings = {one["name"]: one for one in form["settings"]}
    assert settings["rank"]["default"] == 16
    assert settings["precision"]["kind"] == "choice"
    assert (settings["rank"]["least"], settings["rank"]["most"], settings["flip"]["least"]) == (1, 1024, None)
    assert not {"base", "data", "objective"} & set(settings)
    assert set(form["presets"]) == {"6gb", "8gb", "12gb", "24gb"}
    assert [one["id"] for one in form["studies"]] == [study]
    assert (form["folders"], form["lora_dir"], form["missing"]) == (True, str(tmp_path / "loras"), "")


def test_collections_of_which_something_was_said_can_be_learnt_from(
    api: Api, service: StudyService, values: dict[str, Any], tmp_path: Path
) -> None:
    store = service.data.store
    made = store.create(Collection("favourites", root=str(tmp_path / "pictures")))
    store.create(Collection("empty"))
    names = sorted(path.name for path in (tmp_path / "pictures").glob("*.png"))[:2]
    store.add(made.number, [ImageDraft(name, "a fox", name) for name in names], [FeedbackDraft("pair", tuple(names), ((0,), (1,)), "t")])
    form = api("GET", "/training/form").json()
    assert form["collections"] == [{"id": made.id, "name": "favourites", "answered": 1, "images": 2}]
    reach = api("POST", "/training/check", json={**values, "data": [made.id]}).json()
    assert reach["counts"]["pairs"] == 1


def test_the_form_says_why_nothing_can_be_trained(make_api: Callable[..., Api], host: TrainerHost) -> None:
    host.loras = None
    form = make_api()("GET", "/training/form").json()
    assert "no folder for LoRAs" in form["missing"]
    assert form["folders"] is False


def test_a_check_says_how_far_data_reach(api: Api, values: dict[str, Any]) -> None:
    reach = api("POST", "/training/check", json=values)
    assert reach.status_code == 200
    assert schemas.Reach(**reach.json()).counts["pairs"] == 4
    assert api("GET", "/training/runs").json() == []


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"stepz": 1}, 422, "stepz"),
        ({"alpha": float("nan")}, 422, "alpha"),
        ({"learning_rate": float("inf")}, 422, "learning_rate"),
        ({"rank": 10**400}, 422, "rank"),
        ({"rank": "4"}, 422, "rank"),
        ({"options": {"beta": float("nan")}}, 422, "beta"),
        ({"options": 5}, 422, "options"),
        ({"options": {"gamma": 1}}, 422, "gamma"),
        ({"data": 5}, 422, "data"),
        ({"data": [5]}, 422, "data"),
        ({"data": [None]}, 422, "data"),
        ({"data": [[]]}, 422, "data"),
        ({"options": {"beta": 10**400}}, 422, "beta"),
        ({"data": ["a" * 5000]}, 404, "no study"),
        ({"data": ["a\0b"]}, 404, "no study"),
        ({"sample_prompts": [5]}, 422, "sample_prompts"),
        ({"base": 5}, 422, "base"),
        ({"objective": "spo"}, 422, "not built yet"),
        ({"objective": "nonsense"}, 404, "no objective"),
        ({"objective": ["dpo"]}, 422, "objective"),
        ({"preset": "1gb"}, 422, "preset"),
        ({"preset": ["8gb"]}, 422, "preset"),
        ({"data": []}, 422, "no feedback"),
        ({"data": ["gone"]}, 404, "no study 'gone'"),
        ({"data": ["/gone/data.jsonl"]}, 404, "no such file"),
    ],
)
@pytest.mark.parametrize("route", ["check", "runs"])
def test_configurations_that_cannot_be_used_are_refused(
    api: Api, values: dict[str, Any], route: str, change: dict[str, Any], status: int, said: str
) -> None:
    body = json.dumps({**values, **change})  # NaN as JavaScript would not send it, but a script may
    answer = api("POST", f"/training/{route}", content=body, headers={"Content-Type": "application/json"})
    refused(answer, status, said)
    assert api("GET", "/training/runs").json() == []


@pytest.mark.parametrize("body", ["[]", "5", "null", "{", '{"a": ' * 5000])
def test_what_is_no_configuration_is_refused(api: Api, body: str) -> None:
    answer = api("POST", "/training/check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code)


def test_a_server_that_takes_no_paths_takes_studies(make_api: Callable[..., Api], values: dict[str, Any], tmp_path: Path) -> None:
    api = make_api()
    for data in (values["data"], [str(tmp_path)], ["/etc/passwd"], ["."], ["gone"], "pairs.jsonl", 5, [5], [{}]):
        for route in ("check", "runs"):
            answer = api("POST", f"/training/{route}", json={**values, "data": data})
            assert answer.status_code == 422, answer.text
    refused(api("POST", "/training/check", json=values), 422, "does not let pages name its folders")
    study = api.new_study(candidates=3)
    refused(api("POST", "/training/check", json={**values, "data": [study]}), 422, "no feedback")
    ids = api.ready_round(study)["order"]
    answer = api("POST", f"/studies/{study}/rounds/0/feedback", json={"kind": "ranking", "tiers": [[ids[0]]], "token": "one"})
    assert answer.status_code == 200
    reach = api("POST", "/training/check", json={**values, "data": [study]})
    assert reach.json()["counts"]["pairs"] == 2


# -- runs
@posix
def test_a_run_is_started_paused_resumed_and_deleted(api: Api, host: TrainerHost, values: dict[str, Any], tmp_path: Path) -> None:
    host.python = str(stub(tmp_path / "stub"))
    started = api("POST", "/training/runs", json=values)
    assert started.status_code == 201
    view = schemas.TrainingRun(**started.json())
    assert (view.state, view.running, view.objective, view.steps, view.name) == ("queued", True, "dpo", 3, "taste")
    second = api("POST", "/training/runs", json=values).json()["id"]
    until(lambda: calls(tmp_path / "stub"))
    assert {one["id"] for one in api("GET", "/training/runs").json()} == {view.id, second}
    refused(api("POST", f"/training/runs/{view.id}/resume", json={}), 409, "being trained")
    refused(api("DELETE", f"/training/runs/{view.id}"), 409, "being trained")
    assert api("POST", f"/training/runs/{second}/pause", json={}).json()["state"] == "paused"
    assert api("POST", f"/training/runs/{second}/resume", json={}).json()["state"] == "queued"
    assert api("POST", f"/training/runs/{second}/cancel", json={}).json()["state"] == "cancelled"
    assert api("DELETE", f"/training/runs/{second}").status_code == 204
    refused(api("GET", f"/training/runs/{second}"), 404, "no training run")
    (tmp_path / "stub" / "go").touch()
    until(lambda: not api("GET", f"/training/runs/{view.id}").json()["run"]["running"])
    failed = api("GET", f"/training/runs/{view.id}").json()["run"]
    assert (failed["state"], failed["error"].startswith("The trainer ended with code 3.")) == ("failed", True)


def test_a_host_that_cannot_train_says_so(api: Api, host: TrainerHost, values: dict[str, Any]) -> None:
    host.python = "/nope"
    refused(api("POST", "/training/runs", json=values), 422, "/nope")


def test_a_run_shows_its_metrics_and_samples(api: Api, run: str) -> None:
    state = api("GET", f"/training/runs/{run}")
    assert state.headers["cache-control"] == "no-store"
    assert schemas.TrainingState(**state.json()).run.outputs == ["taste-dpo-0010", "taste-dpo-0020"]
    assert [line["step"] for line in state.json()["metrics"]] == [1, 2]
    assert [line["step"] for line in api("GET", f"/training/runs/{run}?after=1").json()["metrics"]] == [2]
    refused(api("GET", f"/training/runs/{run}?after=x"), 422, "after")
    assert state.json()["run"]["samples"] == [20]
    sheet = api("GET", f"/training/runs/{run}/samples/20")
    assert (sheet.headers["content-type"], sheet.headers["x-content-type-options"]) == ("image/png", "nosniff")
    assert Image.open(io.BytesIO(sheet.content)).size == (12, 8)
    for step, status in ((19, 404), (-1, 404), (10**30, 404), ("x", 422)):
        refused(api("GET", f"/training/runs/{run}/samples/{step}"), status)


def test_a_finished_run_takes_no_orders(api: Api, run: str) -> None:
    for command in ("pause", "cancel", "resume"):
        refused(api("POST", f"/training/runs/{run}/{command}", json={}), 409, "finished")
    refused(api("POST", f"/training/runs/{run}/explode", json={}), 404, "it takes pause, cancel, resume")
    assert api("DELETE", f"/training/runs/{run}").status_code == 204


@pytest.mark.parametrize("name", HOSTILE)
def test_ids_that_are_none_are_not_found(api: Api, run: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / "config.json").write_text("{}")  # what ".." would find
    answers = [
        api("GET", f"/training/runs/{name}"),
        api("DELETE", f"/training/runs/{name}"),
        api("POST", f"/training/runs/{name}/pause", json={}),
        api("POST", f"/training/runs/{name}/tries", json={}),
        api("GET", f"/training/runs/{name}/samples/20"),
        api("GET", f"/training/tries/{name}"),
        api("POST", f"/training/tries/{name}/trials/0", json={"choice": "left"}),
        api("GET", f"/training/tries/{name}/0/left.png"),
    ]
    # with a stroke it is another route, or none of this method
    assert {answer.status_code for answer in answers} <= ({404, 405} if "/" in name or "%2f" in name else {404})
    assert (tmp_path / "data" / "training" / run / "config.json").is_file()


# -- comparisons
def ready(api: Api, name: str) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: (state := api("GET", f"/training/tries/{name}").json())["state"] != "making" and state, 60)
    return found


def test_a_comparison_from_start_to_result(api: Api, run: str) -> None:
    started = api("POST", f"/training/runs/{run}/tries", json={"trials": 2, "prompts": ["a fox"]})
    assert started.status_code == 201
    name = schemas.Try(**started.json()).id
    state = ready(api, name)
    assert (state["state"], state["made"], state["result"], state["trial"]) == ("ready", 4, None, {"index": 0, "prompt": "a fox"})
    answered = api("POST", f"/training/tries/{name}/trials/0", json={"choice": "tie"}).json()
    assert (answered["answered"], answered["result"], answered["trial"]["index"]) == (1, None, 1)
    refused(api("POST", f"/training/tries/{name}/trials/0", json={"choice": "left"}), 409, "has been answered")
    refused(api("POST", f"/training/tries/{name}/trials/1", json={"choice": "middle"}), 422, "choice")
    refused(api("POST", f"/training/tries/{name}/trials/2", json={"choice": "left"}), 404, "no trial")
    last = api("POST", f"/training/tries/{name}/trials/1", json={"choice": "tie"}).json()
    assert (last["result"]["wins"], last["trial"]) == (1.0, None)
    assert "1 of 2 times" in last["result"]["sentence"]


def test_pictures_of_a_trial_do_not_tell_their_side(api: Api, host: TrainerHost, run: str) -> None:
    host.seconds = 0.6  # two pictures of a trial are not made in one second
    name = api("POST", f"/training/runs/{run}/tries", json={"trials": 2}).json()["id"]
    refused(api("GET", f"/training/tries/{name}/1/left.png"), 404, "not made yet")
    ready(api, name)
    pictures = [api("GET", f"/training/tries/{name}/0/{side}.png") for side in ("left", "right")]
    assert [one.headers["content-type"] for one in pictures] == ["image/png"] * 2
    assert pictures[0].content != pictures[1].content
    assert all(Image.open(io.BytesIO(one.content)).info == {} for one in pictures)
    plain = [{key: value for key, value in one.headers.items() if key != "content-length"} for one in pictures]
    assert plain[0] == plain[1]
    for place in ("0/base.png", "2/left.png", "-1/left.png"):
        refused(api("GET", f"/training/tries/{name}/{place}"), 404)
    refused(api("GET", f"/training/tries/{name}/x/left.png"), 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"lora": "beauty"}, 404), ({"trials": 0}, 422), ({"trials": "many"}, 422), ({"weight": 3}, 422), ({"prompts": 5}, 422)],
)
def test_comparisons_that_cannot_be_made_are_refused(api: Api, run: str, body: dict[str, Any], status: int) -> None:
    refused(api("POST", f"/training/runs/{run}/tries", json=body), status)


def test_runs_without_loras_cannot_be_tried(api: Api, tmp_path: Path) -> None:
    refused(api("POST", f"/training/runs/{finished_run(tmp_path / 'data', outputs=())}/tries", json={}), 409, "no LoRA yet")


# -- who may come in, and what is described
def test_others_are_kept_out(make_api: Callable[..., Api], values: dict[str, Any], run: str) -> None:
    closed, open_ = make_api(auth={"ann": "secret"}, takes_paths=True), make_api(takes_paths=True)
    foreign = {"origin": "http://evil.example"}
    routes = (("GET", "/training/form"), ("GET", "/training/runs"), ("POST", "/training/runs"), ("DELETE", f"/training/runs/{run}"))
    for method, path in routes:
        sent = {"json": values} if method == "POST" else {}
        assert closed(method, path, **sent).status_code == 401
        if method != "GET":
            assert open_(method, path, headers=foreign, **sent).status_code == 403
    assert [one["id"] for one in open_("GET", "/training/runs").json()] == [run]


def test_every_route_is_described(service: StudyService) -> None:
    paths = {path: routes for path, routes in build_app(service).openapi()["paths"].items() if "/training" in path}
    assert len(paths) == 10
    for routes in paths.values():
        for route in routes.values():
            assert route["description"]
            assert {"404", "409", "422"} <= set(route["responses"])

