"""Which scorers there are, and numbers for rounds and for images by their hashes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from lib_rankopt.api import build_app, schemas


def images_of(round_):
    return [one["image"] for one in round_["candidates"]]


def put(api, shade, size=(64, 48)):
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, "PNG")
    return api("POST", "/images", content=file.getvalue(), headers={"Content-Type": "image/png"}).json()["image"]


# -- over the stand-in and the real service
def test_scorers_are_listed_and_say_more_once_they_are_loaded(api):
    listed = api("GET", "/scorers").json()
    clip = next(one for one in listed if one["name"] == "clip")
    assert schemas.Scorer(**clip).ready is True
    assert (clip["missing"], clip["problem"], clip["version"], clip["scale"]) == ([], "", None, None)
    api("POST", "/scores", json={"images": [put(api, 90)], "prompt": "grey", "scorer": "clip"})
    clip = next(one for one in api("GET", "/scorers").json() if one["name"] == "clip")
    assert (clip["version"], clip["relative"], clip["warning"]) == ("1", False, "")
    assert clip["scale"].startswith("0 to ")


def test_images_are_scored_by_their_hashes(api):
    names = [*images_of(api.ready_round(api.new_study(candidates=3))), put(api, 200)]
    answer = api("POST", "/scores", json={"images": [*names, names[0]], "prompt": "a valley", "scorer": "clip"})
    assert answer.status_code == 200
    scores = schemas.Scores(**answer.json())
    assert list(scores.scores) == names
    assert all(isinstance(value, float) for value in scores.scores.values())
    assert (scores.scorer, scores.version, scores.relative, scores.warning) == ("clip", "1", False, "")
    again = api("POST", "/scores", json={"images": names, "prompt": "a valley", "scorer": "clip"})
    assert again.json() == answer.json()


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"images": []}, 422, "0 images"),
        ({"images": [f"{number:064x}" for number in range(257)]}, 422, "257 images are named; 1 to 256"),
        ({"images": ["0" * 64]}, 404, "There is no image"),
        ({"images": ["../../etc/passwd"]}, (404, 422), ""),
        ({"scorer": "beauty"}, 404, "no scorer 'beauty'"),
        ({"scorer": None}, 422, "scorer"),
        ({"images": "all"}, 422, "images"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(api, change, status, said):
    body = {"images": [put(api, 40)], "prompt": "grey", "scorer": "clip", **change}
    answer = api("POST", "/scores", json={name: value for name, value in body.items() if value is not None})
    assert answer.status_code in (status if isinstance(status, tuple) else (status,))
    assert said in answer.json()["message"]


def test_others_are_kept_out(make_api):
    api = make_api(auth={"ann": "secret"})
    assert api("GET", "/scorers").status_code == 401
    assert api("POST", "/scores", json={"images": [], "scorer": "clip"}).status_code == 401
    foreign = make_api()("POST", "/scores", json={"images": [], "scorer": "clip"}, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_both_routes_are_described(service):
    paths = build_app(service).openapi()["paths"]
    for path, method in (("/rankopt/v1/scorers", "get"), ("/rankopt/v1/scores", "post")):
        route = paths[path][method]
        assert route["description"]
        assert "application/json" in route["responses"]["200"]["content"]
        assert "422" in route["responses"]


# -- the real service only
@pytest.fixture
def serve(tmp_path):
    """An API over the real service with these scorers: ``serve(names)``, or with the registry's: ``serve(None)``."""
    pytest.importorskip("torch", reason="the real service needs torch")
    pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")
    from fastapi.testclient import TestClient

    from lib_rankopt.scorers.shelf import ScorerShelf
    from lib_rankopt.studies.service import StudyService
    from tests.api.conftest import Api
    from tests.studies.fakes import FakeHost

    opened = []

    def start(scorers, folders=()):
        host = FakeHost()
        host.scorers = ScorerShelf(folders)
        service = StudyService(tmp_path / "data", host, scorers=scorers)
        opened.append(service)
        return Api(TestClient(build_app(service), base_url="http://localhost:7861", raise_server_exceptions=False))

    yield start
    for service in opened:
        service.close()


@pytest.fixture
def brightness():
    """A scorer that keeps count, with what may be said about it: ``brightness(warning=…)``."""
    pytest.importorskip("torch", reason="the real service needs torch")
    from dataclasses import replace

    from tests.studies.fakes import Brightness

    def make(**changes):
        scorer = Brightness()
        scorer.info = replace(scorer.info, **changes)
        return scorer

    return make


def test_a_scorer_whose_weights_are_not_here_says_which_file_belongs_where(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    api = serve(None, [tmp_path / "weights"])
    found = {one["name"]: one for one in api("GET", "/scorers").json()}
    assert (found["clip"]["ready"], found["clip"]["missing"]) == (True, [])
    pick = schemas.Scorer(**found["pickscore"])
    (file,) = pick.missing
    assert (pick.ready, file.folder) == (False, str(tmp_path / "weights" / "scorers"))
    assert file.file.startswith("PickScore")
    assert file.megabytes > 1000
    assert file.source.startswith("https://")
    assert file.file in pick.problem
    answer = api("POST", "/scores", json={"images": [put(api, 7)], "prompt": "grey", "scorer": "pickscore"})
    assert (answer.status_code, answer.json()) == (422, {"error": "ModelError", "message": pick.problem})


def test_listing_loads_nothing(serve):
    def load():
        raise AssertionError("the list loaded a scorer")

    api = serve({"heavy": load})
    assert [one["name"] for one in api("GET", "/scorers").json()] == ["heavy"]


def test_a_warning_goes_with_the_numbers(serve, brightness):
    api = serve({"odd": lambda: brightness(warning="random weights: the scores mean nothing")})
    answer = api("POST", "/scores", json={"images": [put(api, 7)], "scorer": "odd"}).json()
    assert answer["warning"] == "random weights: the scores mean nothing"
    assert api("GET", "/scorers").json()[0]["warning"] == answer["warning"]


def test_many_images_are_read_a_few_at_a_time_and_scored_once(serve, brightness):
    scorer = brightness()
    api = serve({"clip": lambda: scorer})
    names = [put(api, shade, (8, 8)) for shade in range(40)]
    answer = api("POST", "/scores", json={"images": names, "prompt": "grey", "scorer": "clip"}).json()
    assert list(answer["scores"].values()) == [float(shade) for shade in range(40)]
    assert (max(scorer.batches), sum(scorer.batches)) == (16, 40)
    api("POST", "/scores", json={"images": names, "prompt": "grey", "scorer": "clip"})
    assert sum(scorer.batches) == 40
    api("POST", "/scores", json={"images": names[:1], "prompt": "another", "scorer": "clip"})
    assert sum(scorer.batches) == 41


def test_numbers_that_hold_among_a_rounds_images_are_in_the_answer_alone(serve, brightness):
    scorer = brightness(is_relative=True)
    api = serve({"a+b": lambda: scorer})
    study = api.new_study(candidates=3)
    api.ready_round(study)
    for _ in range(2):
        scored = api("POST", f"/studies/{study}/rounds/0/scores", json={"scorer": "a+b"}).json()
        assert all(set(one["scores"]) == {"a+b"} for one in scored["candidates"])
    assert scorer.batches == [3, 3]
    assert all(one["scores"] == {} for one in api("GET", f"/studies/{study}/rounds/0").json()["candidates"])
    answer = api("POST", "/scores", json={"images": images_of(scored), "prompt": "a valley", "scorer": "a+b"}).json()
    assert (answer["relative"], scorer.batches[2:]) == (True, [3])
    assert answer["scores"] == {one["image"]: one["scores"]["a+b"] for one in scored["candidates"]}


def test_the_answer_has_the_numbers_of_the_version_that_was_asked(serve, brightness):
    """Kept ones of other weights may be newer: weights are replaced, and put back."""
    scorers = {"1": brightness(), "2": brightness(version="2")}
    second = scorers["2"].score
    scorers["2"].score = lambda images, prompts: second(images, prompts) + 1000
    now = "1"
    api = serve({"clip": lambda: scorers[now]})
    study = api.new_study(candidates=2)
    api.ready_round(study)

    def ask():
        scored = api("POST", f"/studies/{study}/rounds/0/scores", json={"scorer": "clip"}).json()
        return [one["scores"]["clip"] for one in scored["candidates"]]

    shelf = api.client.app.state.rankopt.service._judge._shelf
    old = ask()
    now = "2"
    shelf.release()
    assert ask() == pytest.approx([value + 1000 for value in old])
    now = "1"
    shelf.release()
    assert ask() == old
    assert scorers["1"].batches == [2]
