"""Scorers in the real webui: scores in the parameters, a study ranked by weights in its folders, a folder scored on the page."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from lib_rankopt import scorers
from lib_rankopt.scorers.weights import RANDOM
from tests.scorers import checkpoints
from tests.webui.conftest import Webui
from tests.webui.test_api import new_study

pytestmark = pytest.mark.timeout(600)
PROMPT = "a 3d fox on a blue background"


@pytest.fixture
def chosen(webui: Webui) -> Iterator[Any]:
    """Chooses the scorers whose scores are written."""

    def choose(*names: str) -> None:
        webui.call("POST", "sdapi/v1/options", {"rankopt_scores": list(names)})

    yield choose
    choose()


@pytest.fixture
def hps(webui: Webui) -> None:
    """Small random weights of HPSv2.1 in the data folder."""
    path = webui.data / "rankopt" / "scorers" / "HPS_v2.1_compressed.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(checkpoints.tensors_of(checkpoints.open_clip_model(1)), path, {RANDOM: "1"})


def make(webui: Webui, **changes: Any) -> tuple[list[Image.Image], list[str]]:
    body = {"prompt": PROMPT, "seed": 5, "steps": 4, "width": 64, "height": 64, "cfg_scale": 4.0, "sampler_name": "Euler a", **changes}
    answer = webui.call("POST", "sdapi/v1/txt2img", body)
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in answer["images"]]
    return images, json.loads(answer["info"])["infotexts"]


def test_every_image_has_its_own_score_in_its_parameters(webui: Webui, chosen: Any) -> None:
    chosen("clip")
    images, texts = make(webui, batch_size=2, n_iter=2)
    found = [float(re.search(r"Score clip: (-?[\d.]+)", text)[1]) for text in texts]  # type: ignore[index]
    expected = scorers.create("clip").score(images, PROMPT).tolist()
    assert found == pytest.approx(expected, abs=0.01)
    assert len(set(found)) == 4
    assert "Score clip" in images[1].info["parameters"]


def test_a_prompts_networks_are_not_part_of_what_is_scored(webui: Webui, chosen: Any) -> None:
    chosen("clip")
    (image,), (text,) = make(webui, prompt=f"{PROMPT}<lora:nothing:1>")
    score = float(re.search(r"Score clip: (-?[\d.]+)", text)[1])  # type: ignore[index]
    assert score == pytest.approx(float(scorers.create("clip").score([image], PROMPT)[0]), abs=0.01)


def test_without_names_the_parameters_are_the_webuis(webui: Webui, chosen: Any) -> None:
    chosen()
    _, (text,) = make(webui)
    assert "Score" not in text


def test_missing_weights_cost_no_image(webui: Webui, chosen: Any) -> None:
    chosen("pickscore", "clip")
    before = len(webui.text())
    _, (text,) = make(webui)
    assert "Score clip" in text
    assert "pickscore" not in text
    assert "no score of 'pickscore': The scorer 'pickscore' needs the file" in webui.text()[before:]


def test_a_study_is_ranked_by_weights_in_the_data_folder(webui: Webui, hps: None) -> None:
    known = {one["name"]: one for one in webui.call("GET", "rankopt/v1/scorers")}
    assert known["hpsv2.1"]["ready"]
    assert not known["pickscore"]["ready"]
    study = new_study(webui, candidates=3)
    webui.call("POST", f"rankopt/v1/studies/{study}/auto", {"scorer": "hpsv2.1", "rounds": 2})
    until = time.monotonic() + 120
    while webui.call("GET", f"rankopt/v1/studies/{study}").get("auto") and time.monotonic() < until:
        time.sleep(0.5)
    rounds = webui.call("GET", f"rankopt/v1/studies/{study}/rounds")
    ranked = [one for one in (rounds["rounds"] if isinstance(rounds, dict) else rounds) if one["status"] == "answered"]
    assert len(ranked) == 2
    assert all("hpsv2.1" in candidate["scores"] for candidate in ranked[0]["candidates"])
    known = {one["name"]: one for one in webui.call("GET", "rankopt/v1/scorers")}
    assert "random" in known["hpsv2.1"]["warning"]


@pytest.mark.browser
def test_a_folder_is_scored_on_the_page(webui: Webui, browser: Any) -> None:
    images, texts = make(webui, batch_size=2)
    folder = webui.data / "to_score"
    folder.mkdir(exist_ok=True)
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(text.split("\n")[0])
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    try:
        page.goto(webui.url)
        page.click("#tabs > .tab-nav > button:has-text('Rank-Optimize')")
        page.click("#rankopt_score_folder > .label-wrap")
        page.fill("#rankopt_score_path textarea", str(folder))
        page.click("#rankopt_score_go")
        page.wait_for_selector("#rankopt_score_said:has-text('2 images. The scores of each image are in')", timeout=60_000)
        assert page.locator("#rankopt_score_table td:has-text('clip')").count()
    finally:
        page.close()
