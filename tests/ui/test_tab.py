"""The tab under whatever gradio is installed."""

from __future__ import annotations

import dataclasses
import json
import socket
from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.selection.settings import Selection, from_dict
from lib_rankopt.studies.views import StudySettings
from lib_rankopt.ui import compat
from lib_rankopt.ui.settings import SUITED, suited
from lib_rankopt.ui.standalone import build_page, free_socket
from lib_rankopt.ui.tab import build_tab
from tests.api.fake_service import HOST_INFO, FakeService

FIELDS = (gr.Textbox, gr.Slider, gr.Dropdown, gr.Number, gr.Checkbox)


@pytest.fixture(scope="module")
def tab():
    return build_tab(HOST_INFO)


def components(tab, kinds):
    return [block for block in tab.blocks.values() if isinstance(block, kinds)]


def test_labels_and_ids_are_unique(tab):
    """The webui keeps settings by label and finds buttons by id."""
    labels = [one.label for one in components(tab, FIELDS)]
    ids = [one.elem_id for one in tab.blocks.values() if getattr(one, "elem_id", None)]
    assert len(set(labels)) == len(labels) >= 15
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("rankopt_") for name in ids)
    assert {"rankopt_generate", "rankopt_interrupt", "rankopt_skip"} <= {one.elem_id for one in components(tab, gr.Button)}


def test_the_host_gives_choices_and_defaults(tab):
    by_id = {one.elem_id: one for one in components(tab, FIELDS)}
    assert by_id["rankopt_sampler"].value == "DPM++ 2M"
    assert by_id["rankopt_steps"].value == 20
    assert by_id["rankopt_seed"].value == -1
    assert by_id["rankopt_rank_step_spread"].value == 0.3
    assert by_id["rankopt_rank_step_line_search"].value is True
    choices = [one[0] if isinstance(one, tuple) else one for one in by_id["rankopt_optimizer"].choices]
    assert choices == ["rank_step", "random_search"]


def test_example_prompts_are_offered_where_a_model_has_some(tab):
    assert not components(tab, gr.Dataset)
    defaults = dataclasses.replace(HOST_INFO.defaults, example_prompts=("a 3d fox", "a sticker owl"))
    tab = build_tab(dataclasses.replace(HOST_INFO, defaults=defaults))
    assert [one.samples for one in components(tab, gr.Dataset)] == [[["a 3d fox"], ["a sticker owl"]]]
    prompt = next(one for one in components(tab, gr.Textbox) if one.elem_id == "rankopt_prompt")
    assert "a 3d fox" in prompt.placeholder


def test_text_that_a_webui_pastes_into_is_text_from_the_start(tab):
    """Forge gives a pasted value the type of the component's own, and gradio's default is no text."""
    own = {one["props"].get("elem_id"): one["props"].get("value") for one in tab.get_config_file()["components"]}
    assert (own["rankopt_prompt"], own["rankopt_neg_prompt"]) == ("", "")


def test_every_path_of_the_form_is_a_setting(tab):
    """What the start button sends has a field in the request."""
    config = json.dumps(tab.get_config_file(), default=str)
    start = config.index("startStudy(")
    names = [name for name in StudySettings.__dataclass_fields__ if f"settings.{name}\\" in config[start:]]
    assert set(names) == set(StudySettings.__dataclass_fields__) - {"optimizer_settings", "host_settings", "selection"}
    chosen = {name for name in Selection.__dataclass_fields__ if f"settings.selection.{name}\\" in config[start:]}
    assert chosen == set(Selection.__dataclass_fields__) - {"hires", "path"}


def test_selection_is_off_until_a_policy_is_chosen(tab):
    by_id = {one.elem_id: one for one in components(tab, FIELDS)}
    assert by_id["rankopt_selection_policy"].value == "none"
    assert by_id["rankopt_selection_scorer"].value == "clip"
    values = {name: by_id[f"rankopt_selection_{name}"].value for name in Selection.__dataclass_fields__ if name not in ("hires", "path")}
    assert from_dict({**values, "policy": "halving", "at": ()}) == Selection()
    (outer,) = [one for one in components(tab, gr.Accordion) if one.elem_id == "rankopt_selection"]
    assert outer.open is False


def test_without_a_scorer_selection_has_nobody_to_name():
    tab = build_tab(dataclasses.replace(HOST_INFO, scorers=()))
    assert next(one for one in components(tab, gr.Dropdown) if one.elem_id == "rankopt_selection_scorer").value == "none"


def test_a_host_with_a_menu_of_models_gets_none_here():
    ids = [one.elem_id for one in components(build_tab(dataclasses.replace(HOST_INFO, models=())), gr.Dropdown)]
    assert "rankopt_sampler" in ids
    assert "rankopt_model" not in ids


def test_scripts_run_in_the_browser_and_not_on_the_server(tab):
    dependencies = tab.get_config_file()["dependencies"]
    scripts = [one for one in dependencies if one.get("js") and "rankopt" in str(one["js"])]
    assert len(scripts) == 3
    assert all(not one["backend_fn"] for one in scripts)


def test_the_board_container_tells_where_the_api_is():
    tab = build_tab(HOST_INFO, api="somewhere/v1")
    (html,) = components(tab, gr.HTML)
    assert 'id="rankopt_board"' in html.value
    assert 'data-api="somewhere/v1"' in html.value


def test_the_page_loads_the_board_and_nothing_from_afar(tmp_path):
    service = FakeService(tmp_path)
    client = TestClient(build_page(service, info=HOST_INFO), base_url="http://localhost:7861")
    page = client.get("/")
    assert page.status_code == 200
    scripts = [name for name in page.text.split('"') if "rankopt/v1/static/rankopt_" in name]
    assert [name.rpartition("/")[2].partition("?")[0] for name in scripts] == sorted(
        name.rpartition("/")[2].partition("?")[0] for name in scripts
    )
    assert len(scripts) >= 10
    for address in [*scripts, next(name for name in page.text.split('"') if "static/style.css" in name)]:
        assert client.get(f"/{address}").status_code == 200
    assert int(page.headers["content-length"]) == len(page.content)
    assert "fonts.googleapis.com/css" not in page.text
    assert client.get("/rankopt/v1/version").json()["api"] == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("gradio_api/upload", {"origin": "http://evil.example"}), ("upload", {"sec-fetch-site": "cross-site"}),
        ("queue/join", {"origin": "http://evil.example"}),
        ("gradio_api/queue/join", {"sec-fetch-site": "cross-site"}), ("queue/join", {"host": "evil.example"}),
    ],
)  # fmt: skip
def test_gradios_routes_take_nothing_from_other_sites(tmp_path, path, headers):
    client = TestClient(build_page(FakeService(tmp_path), info=HOST_INFO), base_url="http://localhost:7861")
    answer = client.post(f"/{path}", files={"files": b"x" * 1000}, headers=headers)
    assert answer.status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403


def test_uploads_are_pictures_in_size(tmp_path):
    client = TestClient(build_page(FakeService(tmp_path), info=HOST_INFO), base_url="http://localhost:7861")
    paths = ("upload", "gradio_api/upload")
    assert 200 in {client.post(f"/{path}", files={"files": b"x" * 1000}).status_code for path in paths}
    for path in paths:
        assert client.post(f"/{path}", content=b"", headers={"content-length": str(2**26)}).status_code == 413
        assert client.post(f"/{path}", content=iter([b"x"])).status_code == 411


def test_a_chosen_model_brings_its_own_size_and_guidance():
    own = dataclasses.replace(HOST_INFO.defaults, width=1024, height=768, cfg_scale=7.0)

    def defaults(model):
        if model == "broken":
            raise ModelError("no checkpoint")
        return own

    values = [one["value"] for one in suited(defaults, "sdxl")]
    assert dict(zip(SUITED, values, strict=True)) == {name: getattr(own, name) for name in SUITED}
    assert all("value" not in one for one in suited(defaults, "broken"))
    plain, follows = build_tab(HOST_INFO), build_tab(HOST_INFO, defaults_of=defaults)
    count = [len(tab.get_config_file()["dependencies"]) for tab in (plain, follows)]
    assert count[1] == count[0] + 1


def test_a_taken_port_is_replaced_by_a_free_one():
    first = free_socket("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = free_socket("127.0.0.1", port)
    assert port < second.getsockname()[1] <= port + 20
    for one in (first, second):
        one.close()


def test_bad_addresses_are_said():
    with pytest.raises(InvalidInputError, match="70000"):
        free_socket("127.0.0.1", 70000)
    with pytest.raises(InvalidInputError, match=r"192\.0\.2\.1"):
        free_socket("192.0.2.1", 7861)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        with pytest.raises(InvalidInputError, match="taken"):
            free_socket("127.0.0.1", one.getsockname()[1], tries=1)


def test_scripts_are_given_under_the_name_that_this_gradio_has():
    seen = {}

    def event(**options):
        seen.update(options)

    compat.run_script(event, "() => []", [])
    assert seen["_js" if compat.MAJOR < 4 else "js"] == "() => []"
    assert seen["fn"] is None


@pytest.mark.parametrize("name", ["access-token", "access-token-unsecure", "access-token-abc"])
def test_gradios_login_is_known_by_its_cookie(name):
    logged_in = compat.logged_in(SimpleNamespace(tokens={"secret": "ann"}, cookie_id="abc"))
    assert logged_in(SimpleNamespace(cookies={name: "secret"}))
    assert not logged_in(SimpleNamespace(cookies={name: "guess"}))
    assert not compat.logged_in(SimpleNamespace())(SimpleNamespace(cookies={}))
