"""What the border lets in, and how failures go out."""

from __future__ import annotations

import base64
import logging
import threading
import time

import pytest

from lib_rankopt import errors
from tests.api.fake_service import FakeService


@pytest.fixture
def service(tmp_path):
    """The stand-in is enough here: nothing gets past the border."""
    return FakeService(tmp_path, image_seconds=0.004)


CASES = [
    (errors.InvalidInputError, 422), (errors.NotFoundError, 404), (errors.ConflictError, 409), (errors.ModelError, 422),
    (errors.NotReadyError, 409),
    (errors.GenerationError, 500), (errors.GenerationInterrupted, 409), (errors.StoreError, 507),
    (errors.MissingDependencyError, 501), (errors.RankOptError, 500),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status"), CASES)
def test_errors_keep_their_sentence_and_get_their_status(api, service, monkeypatch, kind, status):
    def fail():
        raise kind("Width 63: take a multiple of 8.")

    monkeypatch.setattr(service, "list", fail)
    answer = api("GET", "/studies")
    assert answer.status_code == status
    assert answer.json() == {"error": kind.__name__, "message": "Width 63: take a multiple of 8."}


def test_every_error_class_has_a_status():
    kinds = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RankOptError)}
    assert {kind for kind, _ in CASES} == kinds


def test_an_unexpected_exception_is_logged_and_not_shown(api, service, monkeypatch, caplog):
    def fail():
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(service, "list", fail)
    with caplog.at_level(logging.ERROR, logger="rankopt.api"):
        answer = api("GET", "/studies")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "/secret/path" in caplog.text


def test_unknown_and_wrong_settings_are_named(api):
    unknown = api("POST", "/studies", json={"settings": {"prompt": "x", "stepz": 3}})
    wrong = api("POST", "/studies", json={"settings": {"prompt": "x", "steps": "many"}})
    assert (unknown.status_code, wrong.status_code) == (422, 422)
    assert "settings.stepz" in unknown.json()["message"]
    assert "settings.steps" in wrong.json()["message"]
    assert api("POST", "/studies", content=b"{", headers={"content-type": "application/json"}).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/studies"), ("DELETE", "/studies/x"), ("PATCH", "/studies/x")])
def test_pages_of_other_sites_are_refused(api, headers, method, path):
    options = {} if method == "DELETE" else {"json": {}}
    answer = api(method, path, headers=headers, **options)
    assert answer.status_code == 403
    assert api("GET", "/studies").json() == []


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://localhost:7861"}, {"origin": "https://me.example", "x-forwarded-host": "me.example"}, {},
     {"origin": "https://me.example", "sec-fetch-site": "same-origin"}],
)
def test_own_pages_and_programs_are_let_in(api, headers):
    assert api("POST", "/studies", json={"settings": {"prompt": "x"}}, headers=headers).status_code == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_only_json_is_taken(api, kind):
    answer = api("POST", "/studies", content=b'{"settings": {"prompt": "x"}}', headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_login_of_the_page_stands_for_credentials(make_api):
    api = make_api(auth={"ann": "x"}, session=lambda request: request.cookies.get("access-token") == "t")
    assert api("GET", "/studies").status_code == 401
    assert api("GET", "/studies", headers={"cookie": "access-token=other"}).status_code == 401
    assert api("GET", "/studies", headers={"cookie": "access-token=t"}).status_code == 200


def test_the_body_is_limited(api):
    huge = api("POST", "/studies", json={"settings": {"prompt": "x" * 300_000}})
    assert huge.status_code == 413
    chunked = api("POST", "/studies", content=iter([b"{}"]), headers={"content-type": "application/json"})
    assert chunked.status_code == 411


def test_credentials(make_api):
    api = make_api(auth={"ann": "wörd:1", "bob": "x"})

    def status(user, password):
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return api("GET", "/studies", headers={"authorization": f"Basic {token}"}).status_code

    refused = api("GET", "/studies")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert (status("ann", "wörd:1"), status("bob", "x")) == (200, 200)
    assert (status("ann", "x"), status("", ""), status("eve", "")) == (401, 401, 401)
    assert api("GET", "/studies", headers={"authorization": "Basic %%%"}).status_code == 401
    assert api("GET", "/images/" + "0" * 64).status_code == 401


def test_other_host_names_are_refused_where_the_server_is_local(make_api):
    api = make_api(allowed_hosts=("localhost",))
    for host, status in (("localhost:7861", 200), ("127.0.0.1:1", 200), ("[::1]:1", 200), ("rebound.example", 403)):
        assert api("GET", "/studies", headers={"host": host}).status_code == status


def test_nothing_changes_by_get(api):
    study = api.new_study()
    for path in ("undo", "interrupt", "auto", "branch", "blind"):
        assert api("GET", f"/studies/{study}/{path}").status_code in (404, 405)


def test_progress_answers_at_once_when_something_changed(api):
    study = api.new_study(candidates=2)
    version = api("GET", f"/studies/{study}/progress").json()["version"]
    begun = time.monotonic()
    threading.Timer(0.15, lambda: api("PATCH", f"/studies/{study}", json={"name": "new"})).start()
    answer = api("GET", f"/studies/{study}/progress", params={"since": version, "timeout": 10}).json()
    assert answer["version"] != version
    assert time.monotonic() - begun < 5
    stale = time.monotonic()
    api("GET", f"/studies/{study}/progress", params={"since": 999_999, "timeout": 10})
    assert time.monotonic() - stale < 5


def test_progress_gives_up_after_the_timeout(api):
    study = api.new_study()
    version = api("GET", f"/studies/{study}/progress").json()["version"]
    begun = time.monotonic()
    api("GET", f"/studies/{study}/progress", params={"since": version, "timeout": 0.3})
    assert time.monotonic() - begun >= 0.3
    assert api("GET", "/studies/none/progress", params={"since": 1, "timeout": 5}).status_code == 404


def test_waiting_pages_do_not_hold_up_quick_requests(api):
    study = api.new_study()
    version = api("GET", f"/studies/{study}/progress").json()["version"]
    params = {"since": version, "timeout": 3}
    waiting = [threading.Thread(target=api, args=("GET", f"/studies/{study}/progress"), kwargs={"params": params}) for _ in range(50)]
    for thread in waiting:
        thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    assert api("GET", "/version").status_code == 200
    assert api("GET", f"/studies/{study}").status_code == 200
    assert time.monotonic() - begun < 2
    api("PATCH", f"/studies/{study}", json={"name": "done"})
    for thread in waiting:
        thread.join(10)
    assert not any(thread.is_alive() for thread in waiting)
