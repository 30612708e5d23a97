"""Candidate selection in the real webui, through its own API."""

from __future__ import annotations

import base64
import io
import json
import re
import urllib.error
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lib_rankopt.selection.record import from_json
from tests.webui.conftest import Webui
from tests.webui.test_api import checkpoint_width, new_study, next_round, rank

pytestmark = pytest.mark.timeout(600)
# candidates of one batch and an image alone differ by the rounding of products of other sizes; img2img's encoder draws noise besides
ROUNDING = 2
GREEDY = {"policy": "greedy", "every": 2, "start": 0.1}
HALVING = {"policy": "halving"}
RESAMPLE = {"policy": "resample", "every": 2, "start": 0.1}
STOCHASTIC = ["Euler a", "DPM++ 2M SDE"]
# Forge's API fails without the first, and its second pass has a guidance of its own; the original passes over both
FORGES_HIRES = {"hr_additional_modules": ["Use same choices"], "hr_cfg": 4.0}


class Made:
    """What one call of the API made."""

    def __init__(self, answer: dict[str, Any]) -> None:
        opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in answer["images"]]
        self.images = [np.asarray(image.convert("RGB"), dtype=int) for image in opened]
        self.texts: list[str] = json.loads(answer["info"])["infotexts"]
        self.seeds: list[int] = json.loads(answer["info"])["all_seeds"]

    @property
    def image(self) -> np.ndarray:
        (image,) = self.images
        return image

    def entry(self, name: str, place: int = 0) -> str | None:
        found = re.search(rf"\b{name}: ([^,\n]*)", self.texts[place])
        return found and found[1]

    @property
    def path(self) -> str | None:
        return self.entry("Selection path")


def make(webui: Webui, selection: dict[str, Any] | None = None, repaint: bool = False, show: bool = False, **changes: Any) -> Made:
    body: dict[str, Any] = {"prompt": "a 3d fox on a blue background", "seed": 5, "steps": 8, "width": 64, "height": 64, "cfg_scale": 4.0}
    body |= {"sampler_name": "Euler a", "scheduler": "Automatic", **changes}
    if selection is not None:
        body["alwayson_scripts"] = {"Candidate selection": {"args": [{**selection, "show": show}]}}
    if repaint:
        ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3)
        body |= {"init_images": [encoded(Image.fromarray(ramp.astype(np.uint8)))], "denoising_strength": 0.75}
    return Made(webui.call("POST", f"sdapi/v1/{'img' if repaint else 'txt'}2img", body))


def encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def again(webui: Webui, made: Made, selection: dict[str, Any], **values: Any) -> Made:
    """Make the image of its parameters: its seed and its path."""
    return make(webui, {**selection, "path": made.path}, **{**values, "seed": made.seeds[0]})


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


# -- one image of many
def test_switched_off_nothing_is_touched(webui: Webui, start_webui: Callable[..., Webui]) -> None:
    without = start_webui("--api", "--disable-extra-extensions")
    for sampler in STOCHASTIC:
        for repaint in (False, True):
            values = {"sampler_name": sampler, "batch_size": 2, "repaint": repaint}
            bare, off = make(without, **values), make(webui, {**GREEDY, "enabled": False}, **values)
            assert bare.texts == make(webui, **values).texts == off.texts
            for one, other in zip(bare.images, off.images, strict=True):
                assert apart(one, other) <= (ROUNDING if repaint else 0)  # two encodings of a picture in one webui differ as much
    without.stop()


@pytest.mark.parametrize("repaint", [False, True])
@pytest.mark.parametrize("sampler", STOCHASTIC)
@pytest.mark.parametrize("selection", [HALVING, GREEDY, RESAMPLE], ids=lambda one: str(one["policy"]))
def test_an_image_is_made_again_from_its_path(webui: Webui, sampler: str, selection: dict[str, Any], repaint: bool) -> None:
    values = {"sampler_name": sampler, "repaint": repaint}
    whole = make(webui, selection, **values)
    assert whole.path is not None
    assert whole.path.split()[0] == whole.entry("Seed") == str(whole.seeds[0])
    assert whole.entry("Selection") == selection["policy"]
    assert whole.entry("Selection pool") == "4"
    assert re.fullmatch(r"-?\d+\.\d\d", whole.entry("Selection score") or "")
    path = again(webui, whole, selection, **values)
    assert apart(path.image, whole.image) <= ROUNDING
    assert path.path == whole.path
    assert path.entry("Selection score") is None  # nothing was judged
    plain = make(webui, seed=whole.seeds[0], **values)
    if " " not in whole.path:
        assert apart(plain.image, path.image) <= (ROUNDING if repaint else 0)
    else:
        assert apart(plain.image, whole.image) > 20


@pytest.mark.parametrize("sampler", [*STOCHASTIC, "DPM++ SDE", "LCM", "DDIM CFG++"])
def test_one_candidate_at_a_time_is_exact(webui: Webui, sampler: str) -> None:
    """Nothing but the size of a batch may tell a candidate in a pool from an image alone."""
    values = {"sampler_name": sampler, "eta": 1.0, "prompt": "a [3d:sticker:0.5] fox"}
    alone = make(webui, {**GREEDY, "at_once": 1}, **values)
    assert alone.path is not None
    assert apart(again(webui, alone, {**GREEDY, "at_once": 1}, **values).image, alone.image) == 0
    halved = make(webui, {**HALVING, "at_once": 1}, **values)
    assert apart(make(webui, seed=halved.seeds[0], **values).image, halved.image) == 0
    whole = make(webui, GREEDY, **values)
    if whole.path == alone.path:  # rounding may turn a choice between equals
        assert apart(whole.image, alone.image) <= ROUNDING


def test_images_of_a_batch_are_those_of_their_seeds(webui: Webui) -> None:
    made = make(webui, GREEDY, batch_size=2, n_iter=2)
    assert len(made.images) == 4
    assert [made.entry("Seed", i) for i in range(4)] == [str(seed) for seed in made.seeds]
    assert len({made.entry("Selection path", i) for i in range(4)}) == 4
    third = make(webui, GREEDY, seed=7)
    assert third.texts[0] == made.texts[2]
    assert apart(third.image, made.images[2]) == 0


PROMPTS = ["a 3d fox <lora:strange2:1>", "a 3d fox AND a sticker owl", "a 3d fox BREAK on blue", "a 3d fox " + "on a blue background " * 20]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda one: one[8:22])
def test_the_webuis_prompt_syntax_works(webui: Webui, prompt: str) -> None:
    folder = webui.data / "models/Lora"
    folder.mkdir(exist_ok=True)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
    dice, width = torch.Generator().manual_seed(1), checkpoint_width(webui)
    down, up = torch.randn(4, width, generator=dice), torch.randn(width, 4, generator=dice)
    lora = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(4.0)}
    save_file(lora, folder / "strange2.safetensors")
    made = make(webui, GREEDY, prompt=prompt)
    assert apart(again(webui, made, GREEDY, prompt=prompt).image, made.image) <= ROUNDING
    assert apart(again(webui, made, GREEDY).image, made.image) > 20


@pytest.mark.parametrize("values", [{"sampler_name": "DDIM", "eta": 1.0}, {"inpaint_full_res": True}, {"inpainting_fill": 2}])
def test_masks_are_kept(webui: Webui, values: dict[str, Any]) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    values = {"mask": encoded(mask), "mask_blur": 0, "inpaint_full_res": False, "repaint": True, **values}
    made, plain = make(webui, GREEDY, **values), make(webui, **values)
    assert made.path is not None
    assert apart(made.image[:12], plain.image[:12]) <= 8
    assert apart(made.image[16:48, 16:48], plain.image[16:48, 16:48]) > 20
    assert apart(again(webui, made, GREEDY, **values).image, made.image) <= 20  # two plain images are as far apart: the encoder's noise


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_the_second_pass_goes_on_from_the_chosen_image(webui: Webui, upscaler: str) -> None:
    values = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": upscaler, "denoising_strength": 0.6, **FORGES_HIRES}
    first = make(webui, {**HALVING, "at_once": 1}, **values)
    assert first.image.shape == (128, 128, 3)
    assert apart(make(webui, seed=first.seeds[0], **values).image, first.image) == 0
    both = make(webui, {**HALVING, "hires": True}, **values)
    assert both.entry("Selection path") == first.path
    assert both.entry("Selection hires path")
    assert both.entry("Selection options") == "hires=True"


# -- what is shown and kept
def test_how_it_was_chosen_is_shown_and_saved(webui: Webui) -> None:
    made = make(webui, GREEDY, show=True, n_iter=2, save_images=True)
    grid, *_, tree, _ = made.images
    assert len(made.images) == 1 + 2 + 2
    assert made.texts[3:] == made.texts[1:3]
    assert "Selection: greedy" in made.texts[0]
    assert "Selection path" not in made.texts[0]
    assert grid.shape[0] < tree.shape[0] > 200
    newest = sorted((webui.data / "outputs/txt2img-images").rglob("*.png"), key=lambda path: path.stat().st_mtime_ns)[-2:]
    for place, path in enumerate(newest):
        with Image.open(path) as image:
            record = from_json(image.info["rankopt_selection"])
            assert image.info["parameters"] == made.texts[1 + place]
        assert record.path_text() == made.entry("Selection path", 1 + place)
        assert record.evaluated == 4 * 8


def test_the_webui_reads_its_own_parameters_back(webui: Webui) -> None:
    made = make(webui, GREEDY, sampler_name="DPM++ 2M SDE")
    body = {"infotext": made.texts[0], "save_images": False}
    try:
        copy = Made(webui.call("POST", "sdapi/v1/txt2img", body))
    except urllib.error.HTTPError:
        with pytest.raises(urllib.error.HTTPError):  # Forge's API fails at any parameters
            webui.call("POST", "sdapi/v1/txt2img", {**body, "infotext": make(webui).texts[0]})
        pytest.skip("this webui's API reads no parameters")
    if copy.path is None:  # the API takes from parameters only fields that have a name in it
        pytest.skip("this webui's API reads no scripts' parameters")
    assert apart(copy.images[0], made.image) <= ROUNDING


def test_axes_of_the_plot(webui: Webui) -> None:
    options = {one["name"]: one for one in webui.call("GET", "sdapi/v1/script-info") if not one["is_img2img"]}
    labels = options["x/y/z plot"]["args"][0]["choices"]
    x, y = labels.index("[Selection] Policy"), labels.index("[Selection] Pool")
    args = [x, "off, greedy, halving", [], y, "2, 4", [], 0, "", [], False, True, False, False, False, False, False, 0, True]
    plot = make(webui, script_name="X/Y/Z plot", script_args=args)
    texts = plot.texts[1:]
    assert len(texts) == 6
    assert ["Selection: greedy" in text for text in texts] == [False, True, False] * 2
    assert ["Selection: halving" in text for text in texts] == [False, False, True] * 2
    assert sum("Selection pool: 2" in text for text in texts) == 2
    plain = make(webui)
    assert apart(plot.images[1], plain.image) == 0
    assert apart(plot.images[2], make(webui, {"policy": "greedy", "pool": 2}).image) == 0
    assert "Selection" not in make(webui).texts[0]


# -- what goes wrong
@pytest.mark.parametrize(
    ("selection", "values", "said"),
    [
        (GREEDY, {"sampler_name": "DPM++ 2M"}, "draws no noise"),
        (GREEDY, {"sampler_name": "DDIM"}, "set eta above 0"),
        (HALVING, {"sampler_name": "DPM adaptive"}, "error control"),
        (HALVING, {"subseed_strength": 0.4, "subseed": 9}, "variation strength"),
        ({"policy": "greedy", "scorer": "nobody"}, {}, "no scorer 'nobody'"),
        ({"polcy": "greedy"}, {}, "selection knows no polcy"),
        ({"pool": 1}, {}, "selection pool is 1"),
        ({**GREEDY, "path": "5 x"}, {}, "is no path"),
        ({**GREEDY, "decoder": "taesd"}, {}, "taesd_decoder.pth"),
        ({**GREEDY, "every": 150, "start": 1.0}, {}, "8 steps leave no decision"),
    ],
)
def test_what_cannot_be_selected_is_said_and_made_plainly(
    webui: Webui, selection: dict[str, Any], values: dict[str, Any], said: str
) -> None:
    before = len(webui.text())
    made, plain = make(webui, selection, batch_size=2, **values), make(webui, batch_size=2, **values)
    assert "Selection" not in made.texts[0]
    assert made.texts == plain.texts
    assert max(apart(*pair) for pair in zip(made.images, plain.images, strict=True)) <= ROUNDING
    assert re.search(f"left out: .*{said}", webui.text()[before:])


@pytest.mark.parametrize("repaint", [False, True])
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("trouble", ["nan", "broken"])
def test_a_scorer_in_trouble_leaves_a_plain_image(webui: Webui, trouble: str, at: int, repaint: bool) -> None:
    webui.call("POST", "rankopt-test/trouble", {"trouble": trouble, "at": at})
    strange = {**GREEDY, "scorer": "strange"}
    made, plain = make(webui, strange, repaint=repaint, n_iter=2), make(webui, repaint=repaint, n_iter=1)
    assert "Selection" not in made.texts[0]
    assert apart(made.images[0], plain.image) <= (ROUNDING if repaint else 0)
    assert "Selection path" in made.texts[1]  # the sampler of img2img serves both
    assert "strange" not in make(webui).texts[0]


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_memory_that_runs_out_makes_the_parts_smaller(webui: Webui, sampler: str, at: int) -> None:
    strange = {**GREEDY, "scorer": "strange"}
    webui.call("POST", "rankopt-test/trouble", {"trouble": "", "at": 0})
    whole = make(webui, strange, sampler_name=sampler)
    webui.call("POST", "rankopt-test/trouble", {"trouble": "CUDA out of memory. Tried to allocate 2.00 GiB", "at": at})
    made = make(webui, strange, sampler_name=sampler)
    assert made.path == whole.path
    assert apart(made.image, whole.image) <= ROUNDING


def test_equal_scores_take_the_first(webui: Webui) -> None:
    webui.call("POST", "rankopt-test/trouble", {"trouble": "equal", "at": 1})
    made = make(webui, {"policy": "best-of-n", "scorer": "strange"})
    assert (made.path, made.entry("Selection score")) == ("5", "1.00")


@pytest.mark.parametrize("parts", [0, 1])
@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_the_webuis_buttons_work(webui: Webui, button: str, parts: int) -> None:
    strange = {**GREEDY, "scorer": "strange", "at_once": parts}
    webui.call("POST", "rankopt-test/trouble", {"trouble": button, "at": 2})
    made = make(webui, strange, n_iter=2)
    assert "Selection" not in made.texts[0]
    assert len(made.images) == (1 if button == "interrupt" else 2)
    if button == "skip":
        assert "Selection path" in made.texts[1]
    assert make(webui, strange).path is not None


# -- rounds of ours
def test_rounds_choose_inside_the_sampler(webui: Webui) -> None:
    selection = {"policy": "greedy", "pool": 2, "every": 2, "start": 0.1}
    study = new_study(webui, sampler="Euler a", candidates=2, selection=selection)
    for _ in range(2):
        view = next_round(webui, study)
        assert view["status"] == "ready", view["error"]
        rank(webui, study, view)
    saved = sorted((webui.data / "outputs/txt2img-images").rglob("*.png"), key=lambda path: path.stat().st_mtime_ns)[-1]
    with Image.open(saved) as image:
        text = image.info["parameters"]
        record = from_json(image.info["rankopt_selection"])
        assert "rankopt-latent" in image.info
    assert f"Selection path: {record.path_text()}" in text
    assert f"Seed: {record.path_text().split()[0]}," in text


def test_a_round_that_cannot_be_selected_fails_with_a_sentence(webui: Webui) -> None:
    webui.call("POST", "rankopt-test/trouble", {"trouble": "nan", "at": 1})
    selection = {"policy": "greedy", "pool": 2, "every": 2, "start": 0.1, "scorer": "strange"}
    study = new_study(webui, sampler="Euler a", candidates=2, selection=selection)
    view = next_round(webui, study)
    assert view["status"] == "failed"
    assert "The scorer gave candidate 1 the score nan" in view["error"]
