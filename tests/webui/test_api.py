"""The real webui without a browser: images to the last bit, jobs, accounts."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.webui.conftest import Webui

pytestmark = pytest.mark.timeout(600)
SETTINGS = {"prompt": "a 3d fox on a blue background", "width": 64, "height": 64, "steps": 8, "seed": 5, "candidates": 4}


def new_study(webui: Webui, headers: dict[str, str] | None = None, **changes: Any) -> str:
    made = webui.call("POST", "rankopt/v1/studies", {"settings": {**SETTINGS, **changes}}, headers)
    return str(made["id"])


def next_round(webui: Webui, study: str, headers: dict[str, str] | None = None, seconds: float = 120) -> dict[str, Any]:
    """Start a round and wait for it."""
    index = webui.call("POST", f"rankopt/v1/studies/{study}/rounds", {}, headers)["index"]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        view: dict[str, Any] = webui.call("GET", f"rankopt/v1/studies/{study}/rounds/{index}", headers=headers)
        if view["status"] not in ("queued", "generating"):
            return view
        time.sleep(0.1)
    raise AssertionError("the round was not made")


def rank(webui: Webui, study: str, view: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    ids = [one["id"] for one in view["candidates"]]
    body = {"kind": "ranking", "tiers": [[ids[1]], [ids[0]]], "shown": ids, "token": f"{study}{view['index']}"}
    webui.call("POST", f"rankopt/v1/studies/{study}/rounds/{view['index']}/feedback", body, headers)


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "DDIM", "LCM", "UniPC"])
@pytest.mark.parametrize("given", [True, False])
def test_images_are_those_of_txt2img_to_the_last_bit(webui: Webui, sampler: str, given: bool) -> None:
    body = {"prompt": "a (sticker:1.2) owl", "negative_prompt": "blue", "seed": 41, "count": 3, "steps": 6}
    body |= {"sampler": sampler, "given": given}
    found = webui.call("POST", "rankopt-test/compare", body)
    assert len(found["plain"]) == 3
    assert found["ours"] == found["plain"]
    assert len(set(found["ours"])) == 3


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "DDIM"])
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_images_from_an_image_are_those_of_img2img_to_the_last_bit(webui: Webui, sampler: str, strength: float) -> None:
    body = {"prompt": "a 3d owl", "seed": 41, "count": 3, "steps": 6, "sampler": sampler, "given": True, "strength": strength}
    found = webui.call("POST", "rankopt-test/compare", body)
    assert found["ours"] == found["plain"]
    assert len(set(found["ours"])) == 3


def checkpoint_width(webui: Webui) -> int:
    """Width of the checkpoint's first attention: the pocket's, or that of a checkpoint given in its place."""
    (path,) = (webui.data / "models/Stable-diffusion").glob("*.safetensors")
    with safe_open(path, "pt") as file:
        return int(file.get_slice("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q.weight").get_shape()[0])


PROMPTS = ["a 3d fox <lora:strange:1>", "a [3d:sticker:0.5] fox", "a 3d fox AND a sticker owl", "a 3d fox BREAK on blue"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_webuis_prompt_syntax_works(webui: Webui, prompt: str) -> None:
    folder = webui.data / "models/Lora"
    folder.mkdir(exist_ok=True)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
    dice = torch.Generator().manual_seed(1)
    width = checkpoint_width(webui)
    down, up = torch.randn(4, width, generator=dice), torch.randn(width, 4, generator=dice)
    lora = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(4.0)}
    save_file(lora, folder / "strange.safetensors")
    body = {"seed": 41, "count": 2, "steps": 6, "sampler": "Euler a", "given": True}
    plain = webui.call("POST", "rankopt-test/compare", {**body, "prompt": "a 3d fox"})
    found = webui.call("POST", "rankopt-test/compare", {**body, "prompt": prompt})
    assert found["ours"] == found["plain"]
    assert found["ours"] != plain["ours"]


def test_rounds_are_ranked_and_saved_where_the_webui_saves(webui: Webui) -> None:
    outputs = webui.data / "outputs/txt2img-images"
    before = set(outputs.rglob("*.png"))
    study = new_study(webui)
    for index in range(3):
        view = next_round(webui, study)
        assert (view["index"], view["status"]) == (index, "ready")
        rank(webui, study, view)
    saved = set(outputs.rglob("*.png")) - before
    assert len(saved) >= 11
    with Image.open(saved.pop()) as image:
        assert image.size == (64, 64)
        assert "Sampler: DPM++ 2M" in image.info["parameters"]
    assert (webui.data / "rankopt/rankopt.sqlite3").is_file()


def test_rounds_start_from_an_image(webui: Webui) -> None:
    file = io.BytesIO()
    Image.new("RGB", (80, 64), (240, 230, 20)).save(file, "PNG")
    request = urllib.request.Request(webui.url + "rankopt/v1/images", file.getvalue(), {"Content-Type": "image/png"})
    with urllib.request.urlopen(request) as answer:
        image = json.load(answer)["image"]
    outputs = webui.data / "outputs/img2img-images"
    before = set(outputs.rglob("*.png"))
    # five images, two at once: the last batch is smaller than the others
    study = new_study(webui, init_image=image, denoising_strength=0.3, candidates=5, batch_size=2)
    view = next_round(webui, study)
    assert view["status"] == "ready", view["error"]
    rank(webui, study, view)
    assert next_round(webui, study)["status"] == "ready"
    saved = set(outputs.rglob("*.png")) - before
    assert len(saved) >= 9
    for path in saved:
        with Image.open(path) as made:
            if not os.environ.get("RANKOPT_WEBUI_CHECKPOINT"):  # random weights know no colours
                assert np.abs(np.asarray(made.convert("RGB"), dtype=int).mean((0, 1)) - (240, 230, 20)).max() < 80
            assert "Denoising strength: 0.3" in made.info["parameters"]
            assert f"[{study}]" in made.info["parameters"]
            assert "rankopt-latent" in made.info


def test_a_saved_png_reproduces_its_image_in_txt2img(webui: Webui) -> None:
    study = new_study(webui, prompt="a sticker cactus on a white background", seed=77, sampler="Euler a", candidates=2)
    next_round(webui, study)
    newest = max((webui.data / "outputs/txt2img-images").rglob("*.png"), key=lambda path: path.stat().st_mtime_ns)
    with Image.open(newest) as image:
        wanted, parameters = np.asarray(image.convert("RGB"), dtype=int), image.info["parameters"]
    seed = int(re.search(r"Seed: (\d+)", parameters)[1])
    cfg = float(re.search(r"CFG scale: ([\d.]+)", parameters)[1])
    body = {
        "prompt": "a sticker cactus on a white background", "seed": seed, "steps": 8, "width": 64, "height": 64, "cfg_scale": cfg,
        "sampler_name": "Euler a", "scheduler": re.search(r"Schedule type: (\w+)", parameters)[1],
    }  # fmt: skip

    def picture(**more: Any) -> np.ndarray:
        (data,) = webui.call("POST", "sdapi/v1/txt2img", {**body, **more})["images"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), dtype=int)

    start = {"Rank-Optimize": {"args": [True, base64.b64encode(newest.read_bytes()).decode()]}}
    assert np.abs(picture(alwayson_scripts=start) - wanted).max() <= 4  # half precision
    assert np.abs(picture() - wanted).max() > 30
    other = picture(alwayson_scripts=start, prompt="a 3d cactus on a white background")
    assert np.abs(other - wanted).max() > 30


def test_progress_is_the_webuis_own_and_its_interrupt_stops_a_round(webui: Webui) -> None:
    study = new_study(webui, steps=150, sampler="Euler")
    webui.call("POST", f"rankopt/v1/studies/{study}/rounds", {})
    seen = 0.0
    while seen <= 0.0:
        seen = webui.call("GET", "sdapi/v1/progress?skip_current_image=true")["progress"]
        time.sleep(0.05)
    webui.call("POST", "sdapi/v1/interrupt", {})
    until = time.monotonic() + 30
    while time.monotonic() < until:
        view = webui.call("GET", f"rankopt/v1/studies/{study}/rounds/0")
        if view["status"] not in ("queued", "generating"):
            break
        time.sleep(0.1)
    assert view["status"] == "interrupted"
    assert all(one["image"] is None for one in view["candidates"])
    body = {"prompt": "x", "steps": 2, "width": 64, "height": 64}
    assert len(webui.call("POST", "sdapi/v1/txt2img", body)["images"]) == 1
    assert next_round(webui, study)["status"] == "ready"


def test_a_running_txt2img_is_waited_for(webui: Webui) -> None:
    import threading

    body = {"prompt": "x", "steps": 150, "width": 64, "height": 64, "sampler_name": "Euler"}
    done: list[float] = []
    thread = threading.Thread(target=lambda: (webui.call("POST", "sdapi/v1/txt2img", body), done.append(time.monotonic())))
    thread.start()
    time.sleep(0.5)
    view = next_round(webui, new_study(webui))
    ended = time.monotonic()
    thread.join()
    assert view["status"] == "ready"
    assert done[0] < ended


def test_bad_settings_are_refused_with_a_sentence(webui: Webui) -> None:
    for changes, words in (({"sampler": "Eular"}, "Euler"), ({"width": 65}, "multiple of 8"), ({"model": "none"}, "'none'")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            new_study(webui, **changes)
        assert words in json.load(refused.value)["message"]


def test_without_the_page_and_with_an_account(start_webui: Callable[..., Webui]) -> None:
    webui = start_webui("--nowebui", "--api-auth", "ann:secret,bob:x")
    headers = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
    assert webui.status("rankopt/v1/studies") == 401
    assert webui.status("rankopt/v1/studies", {"Authorization": "Basic " + base64.b64encode(b"ann:wrong").decode()}) == 401
    study = new_study(webui, headers)
    assert next_round(webui, study, headers)["status"] == "ready"
    webui.stop()


def test_gradios_login_opens_the_api_too(start_webui: Callable[..., Webui]) -> None:
    webui = start_webui("--gradio-auth", "ann:secret")
    assert webui.status("rankopt/v1/studies") == 401
    import http.cookiejar
    import urllib.parse
    import urllib.request

    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.open(webui.url + "login", urllib.parse.urlencode({"username": "ann", "password": "secret"}).encode(), timeout=30).read()
    with opener.open(webui.url + "rankopt/v1/studies", timeout=30) as answer:
        assert json.load(answer) == []
    webui.stop()


def test_nothing_is_written_into_the_extension(webui: Webui) -> None:
    root = Path(__file__).resolve().parents[2]
    assert not list(root.glob("*.sqlite3"))
    assert not (root / "outputs").exists()
