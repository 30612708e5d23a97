"""Every route, what it answers and what it refuses."""

from __future__ import annotations

import io
import time
import uuid

import pytest
from PIL import Image

from lib_rankopt.api import schemas
from lib_rankopt.api.resources import answers
from lib_rankopt.hosts import latent_text
from tests.api.fake_service import FakeService


def rank(api, study, round_, tiers, **extra):
    body = {"kind": "ranking", "tiers": tiers, "shown": round_["order"], "token": uuid.uuid4().hex, **extra}
    return api("POST", f"/studies/{study}/rounds/{round_['index']}/feedback", json=body)


def test_version_and_host(api):
    version = api("GET", "/version").json()
    assert schemas.Version(**version).api == 1
    host = schemas.Host(**api("GET", "/host").json())
    assert "Euler a" in host.samplers
    assert host.schedulers[0] == "Automatic"
    assert host.defaults.steps == 20
    assert host.optimizers[0].name == "rank_step"
    assert host.optimizers[0].help
    assert all(option.help for one in host.optimizers for option in one.settings)
    assert "clip" in host.scorers


def test_studies_are_created_listed_renamed_and_deleted(api):
    study = api.new_study(width=64, height=64)
    assert [one["id"] for one in api("GET", "/studies").json()] == [study]
    assert api("PATCH", f"/studies/{study}", json={"name": "Ålesund"}).json()["name"] == "Ålesund"
    assert api("GET", f"/studies/{study}").json()["settings"]["width"] == 64
    assert api("DELETE", f"/studies/{study}").status_code == 204
    assert api("GET", f"/studies/{study}").status_code == 404
    assert api("GET", "/studies").json() == []


def test_a_round_from_start_to_answer(api):
    study = api.new_study(candidates=4)
    round_ = api.ready_round(study)
    assert sorted(round_["order"]) == sorted(one["id"] for one in round_["candidates"])
    ids = round_["order"]
    answered = rank(api, study, round_, [[ids[2]], [ids[0], ids[1]]], latency_ms=1234).json()
    assert answered["status"] == "answered"
    assert answered["tiers"][0] == [ids[2]]
    assert len(api("GET", f"/studies/{study}/rounds").json()) == 1


def test_the_same_token_counts_once(api):
    study = api.new_study(candidates=3)
    round_ = api.ready_round(study)
    body = {"kind": "ranking", "tiers": [[round_["order"][0]]], "token": "one"}
    path = f"/studies/{study}/rounds/0/feedback"
    first, second = api("POST", path, json=body), api("POST", path, json=body)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    other = api("POST", path, json={**body, "token": "two"})
    assert other.status_code == 409
    assert other.json()["error"] == "ConflictError"


def test_a_ranker_may_send_the_numbers_behind_its_ranking(api, monkeypatch):
    heard, given = [], answers.answer_of
    monkeypatch.setattr(answers, "answer_of", lambda body: heard.append(given(body)) or heard[-1])
    study = api.new_study(candidates=3)
    round_ = api.ready_round(study)
    tiers = [[one] for one in round_["order"]]
    assert rank(api, study, round_, tiers, scores=["many"], scale="mine").status_code == 422
    assert rank(api, study, round_, tiers, scores=[3, 2.5, -1e-3], scale="my judge 2").status_code == 200
    assert [(one.scores, one.scale) for one in heard] == [((3.0, 2.5, -0.001), "my judge 2")]


def test_undo_branch_and_interrupt(api):
    study = api.new_study(candidates=3)
    round_ = api.ready_round(study)
    rank(api, study, round_, [[round_["order"][0]]])
    child = api("POST", f"/studies/{study}/branch", json={"after_round": 0, "name": "side", "changes": {"steps": 9}})
    assert child.status_code == 201
    assert (child.json()["parent"], child.json()["settings"]["steps"]) == (study, 9)
    assert api("POST", f"/studies/{study}/undo", json={}).json()["status"] == "ready"
    assert api("POST", f"/studies/{study}/undo", json={}).status_code == 409
    assert api("POST", f"/studies/{study}/interrupt", json={}).json()["id"] == study


def test_scores_and_automatic_mode(api):
    study = api.new_study(candidates=3)
    api.ready_round(study)
    scored = api("POST", f"/studies/{study}/rounds/0/scores", json={"scorer": "clip"}).json()
    assert all("clip" in one["scores"] for one in scored["candidates"])
    assert api("POST", f"/studies/{study}/auto", json={"scorer": "nobody"}).status_code == 404
    assert api("POST", f"/studies/{study}/auto", json={"scorer": "clip", "rounds": 0}).status_code == 422
    assert api("POST", f"/studies/{study}/auto", json={"scorer": "clip", "rounds": 2}).json()["auto"] == "clip"
    assert api("DELETE", f"/studies/{study}/auto").json()["auto"] is None


def test_blind_test_from_start_to_result(api):
    study = api.new_study(candidates=3)
    assert api("POST", f"/studies/{study}/blind", json={}).status_code == 409
    for place in (0, 1):
        round_ = api.ready_round(study)
        rank(api, study, round_, [[round_["order"][place]]])
    trial = api("POST", f"/studies/{study}/blind", json={"trials": 2}).json()
    test = trial["test"]
    state = api("GET", f"/blind/{test}").json()
    assert state["trial"] == trial
    assert state["result"]["finished"] is False
    api("POST", f"/blind/{test}/trials/0", json={"choice": "tie"})
    assert api("POST", f"/blind/{test}/trials/1", json={"choice": "middle"}).status_code == 422
    last = api("POST", f"/blind/{test}/trials/1", json={"choice": "left"}).json()
    assert last["trial"] is None
    assert last["result"]["finished"] is True
    assert last["result"]["sentence"]


def test_images_are_pngs_that_a_browser_may_keep(api):
    round_ = api.ready_round(api.new_study(candidates=2))
    name = round_["candidates"][0]["image"]
    answer = api("GET", f"/images/{name}")
    assert answer.headers["etag"] == f'"{name}"'
    assert Image.open(io.BytesIO(answer.content)).format == "PNG"
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    again = api("GET", f"/images/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_downloaded_png_can_carry_its_latent(api):
    round_ = api.ready_round(api.new_study(candidates=2))
    name, latent = round_["candidates"][0]["image"], round_["candidates"][0]["latent"]
    plain, answer = api("GET", f"/images/{name}"), api("GET", f"/images/{name}?latent={latent}")
    first, second = Image.open(io.BytesIO(plain.content)), Image.open(io.BytesIO(answer.content))
    assert first.tobytes() == second.tobytes()
    assert second.info[latent_text.CHUNK].startswith("rankopt-latent 1 4x8x8 f16 ")
    assert {key: value for key, value in second.info.items() if key != latent_text.CHUNK} == first.info
    assert answer.headers["etag"] != plain.headers["etag"]
    assert api("GET", f"/images/{name}?latent=other").status_code in (404, 422)


def upload(api, data, kind="image/png"):
    return api("POST", "/images", content=data, headers={"Content-Type": kind})


def picture(kind, **options):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 90)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_uploaded_picture_can_be_started_from(api, kind):
    answer = upload(api, picture(kind), f"image/{kind.lower()}")
    assert answer.status_code == 201
    name = answer.json()["image"]
    with Image.open(io.BytesIO(api("GET", f"/images/{name}").content)) as image:
        assert (image.format, image.size) == ("PNG", (64, 48))
    study = api.new_study(candidates=2, init_image=name, denoising_strength=0.5)
    assert api("GET", f"/studies/{study}").json()["settings"]["denoising_strength"] == 0.5
    assert api.ready_round(study)["status"] == "ready"


def test_uploads_that_are_no_pictures_are_refused(api):
    assert upload(api, picture("PNG"), "application/json").status_code == 415
    assert upload(api, picture("GIF"), "image/png").status_code == 422
    assert upload(api, b"", "image/png").status_code == 422
    assert upload(api, picture("PNG")[:60], "image/png").status_code == 422
    bomb = picture("PNG").replace((64).to_bytes(4, "big") + (48).to_bytes(4, "big"), (60_000).to_bytes(4, "big") * 2)
    answer = upload(api, bomb, "image/png")
    assert answer.status_code == 422
    assert "picture" in answer.json()["message"]
    missing = api("POST", "/studies", json={"settings": {"prompt": "x", "init_image": "0" * 64}})
    assert missing.status_code == 404


@pytest.mark.parametrize("name", ["0" * 64, "g" * 64, "A" * 64, "..%2f..%2fetc%2fpasswd", "abc"])
def test_no_other_file_can_be_had(api, name):
    answer = api("GET", f"/images/{name}")
    assert answer.status_code == 404
    assert "message" in answer.json() or "detail" in answer.json()


def test_static_files_are_the_boards_and_no_others(api):
    assert "rankopt" in api("GET", "/static/rankopt_90_board.js").text
    assert api("GET", "/static/style.css").headers["content-type"].startswith("text/css")
    assert api("GET", "/static/install.py").status_code == 404
    assert api("GET", "/static/..%2fpyproject.toml").status_code == 404


def test_previews_come_while_an_image_is_made(api, service):
    if isinstance(service, FakeService):
        service.image_seconds = 0.4
    else:
        service.host.seconds = 0.4
    study = api.new_study(candidates=2)
    round_ = api("POST", f"/studies/{study}/rounds", json={}).json()
    path = f"/studies/{study}/previews/{round_['candidates'][0]['id']}"
    until = time.monotonic() + 20
    answer = api("GET", path)
    while answer.status_code == 404 and time.monotonic() < until:
        time.sleep(0.02)
        answer = api("GET", path)
    assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).size[0] > 0
    assert api("GET", f"/studies/{study}/previews/nothing").status_code == 404


def test_answers_fit_the_documented_models(api):
    study = api.new_study(candidates=2)
    round_ = api.ready_round(study)
    assert schemas.Round(**round_).index == 0
    assert schemas.Study(**api("GET", f"/studies/{study}").json()).rounds == 1
    assert schemas.Progress(**api("GET", f"/studies/{study}/progress").json()).job == "idle"


def test_openapi_names_every_route(api):
    schema = api.client.get("/openapi.json").json()
    routes = {(method, path) for path, item in schema["paths"].items() for method in item}
    expected = """get /version|get /host|get /studies|post /studies|get /studies/{study}|patch /studies/{study}
        delete /studies/{study}|post /studies/{study}/branch|get /studies/{study}/rounds|post /studies/{study}/rounds
        get /studies/{study}/rounds/{index}|post /studies/{study}/rounds/{index}/feedback
        post /studies/{study}/rounds/{index}/scores|post /studies/{study}/undo|post /studies/{study}/interrupt
        get /studies/{study}/progress|get /studies/{study}/previews/{candidate}|post /studies/{study}/auto
        delete /studies/{study}/auto|post /studies/{study}/blind|get /blind/{test}|post /blind/{test}/trials/{index}
        post /images|get /images/{image}|get /images/{image}/selection|get /images/{image}/selection.png|get /static/{name}
        post /gallery/labels|post /gallery/label
        get /picks|get /picks/{pick}/{row}.jpg|post /picks/{pick}|get /scorers|post /scores
        get /training/form|post /training/check|get /training/runs|post /training/runs|get /training/runs/{run}
        delete /training/runs/{run}|post /training/runs/{run}/tries|post /training/runs/{run}/{command}
        get /training/runs/{run}/samples/{step}|get /training/tries/{name}|post /training/tries/{name}/trials/{index}
        get /training/tries/{name}/{index}/{side}.png|delete /training/tries/{name}
        get /data/images/{number}/file|get /data/images/{number}/thumb|get /data/folders|post /data/folders
        get /data/collections/{number}/ranking|patch /data/collections/{number}/ranking|get /data/collections/{number}/next
        post /data/collections/{number}/answers|post /data/collections/{number}/labels|post /data/collections/{number}/undo
        post /data/collections/{number}/rebuild|get /data/collections/{number}/results
        get /data/collections/{number}/results.csv
        delete /data/collections/{number}|patch /data/collections/{number}|post /data/collections/{number}/look
        get /data/duplicates|post /data/exports|get /data/formats|get /data/images|patch /data/images
        post /data/images/labels|post /data/images/remove|post /data/images/restore|get /data/images/{number}
        post /data/images/{number}/retractions|post /data/imports|get /data/jobs|post /data/jobs/{job}/stop
        get /data/objectives|get /data/overview"""
    wanted = [line.split() for line in expected.replace("\n", "|").split("|") if line.strip()]
    assert routes == {(method, f"/rankopt/v1{path}") for method, path in wanted}
    assert not any(method == "get" and "requestBody" in item[method] for item in schema["paths"].values() for method in item)
    prompt = schema["components"]["schemas"]["NewStudySettings"]["properties"]["prompt"]
    assert prompt["description"] == "What the images should show."
