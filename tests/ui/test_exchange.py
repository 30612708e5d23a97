"""*Send to* both ways, over a stand-in for the webui's page. The real one is in tests/webui."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.errors import NotFoundError
from lib_rankopt.ui.tab import build_tab
from tests.api.fake_service import HOST_INFO
from tests.hosts.standin_webui import standin

FORM = {
    "prompt": ("a fox", gr.Textbox), "neg_prompt": ("blue", gr.Textbox), "styles": (["oil"], gr.Textbox), "steps": (13, gr.Number),
    "sampling": ("Euler a", gr.Textbox), "scheduler": ("Karras", gr.Textbox), "cfg_scale": (3.5, gr.Number), "width": (72, gr.Number),
    "height": (64, gr.Number),
}  # fmt: skip
HIRES = {
    "denoising_strength": 0.6, "hr_scale": 1.5, "hires_steps": 0, "hr_upscaler": "Model: fine, slow", "hr_resize_x": 0, "hr_resize_y": 0,
}  # fmt: skip
REFINER = {"enable-checkbox": True, "checkpoint": "refiner.safetensors", "switch_at": 0.7}


@pytest.fixture
def modules() -> Iterator[Any]:
    with standin("infotext_utils", "ui_components", "sd_samplers") as found:
        yield found


@pytest.fixture
def page(modules: Any, tmp_path: Path) -> Any:
    """The webui's page with our tab in it; ``sent`` is what our three buttons do."""
    from lib_rankopt.ui.exchange import Exchange

    chunks = PngInfo()
    chunks.add_text("parameters", "a fox\nSteps: 3")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "image.png", pnginfo=chunks)

    class Service:
        def image_path(self, image: str) -> Path:
            if image != "there":
                raise NotFoundError(f"There is no image '{image}'.")
            return tmp_path / "image.png"

    exchange: Any = Exchange(lambda: Service())  # type: ignore[arg-type, return-value]
    with gr.Blocks() as whole:
        for end, (_, kind) in FORM.items():
            exchange.after_component(kind(value=None, label=end), elem_id=f"txt2img_{end}")
        for end in (*HIRES, *REFINER):
            exchange.after_component(gr.Textbox(), elem_id=f"txt2img_{end}")
        exchange.after_component(gr.Button(), elem_id="txt2img_send_to_extras")
        exchange.after_component(gr.Textbox(), elem_id="pnginfo_generation_info")
        for name in ("extras_tab", "txt2img_tab", None):
            exchange.after_component(gr.Button(), elem_id=name)
    ours = [one.elem_id for one in whole.blocks.values() if "rankopt" in str(getattr(one, "elem_id", ""))]
    assert ours == ["txt2img_send_to_rankopt", "pnginfo_send_to_rankopt"]
    forms: list[Any] = []

    def connect(form: Any, paste: Any) -> None:
        forms.append(form)
        exchange.connect(form, paste)

    with whole:
        info = SimpleNamespace(**{**vars(HOST_INFO), "styles": ("oil",)})
        tab = build_tab(info, extend=connect)
    return SimpleNamespace(whole=whole, tab=tab, form=forms[0], exchange=exchange)


def received(page: Any, modules: Any, source: str, *values: Any) -> dict[str, Any]:
    """What our button in that tab puts into the form, by the component's id."""
    fields = modules.infotext_utils.paste_fields["rankopt"]["fields"]
    inputs, send = page.exchange.sending_in(source, fields)
    assert len(inputs) == len(values)
    updates = send(*values)
    return {component.elem_id: one["value"] for (component, _), one in zip(fields, updates, strict=True) if "value" in one}


def test_the_form_of_txt2img_comes_in(page: Any, modules: Any) -> None:
    assert received(page, modules, "txt2img", *(value for value, _ in FORM.values())) == {
        "rankopt_prompt": "a fox", "rankopt_neg_prompt": "blue", "rankopt_styles": ["oil"], "rankopt_steps": 13,
        "rankopt_sampler": "Euler a", "rankopt_scheduler": "Karras", "rankopt_cfg_scale": 3.5, "rankopt_width": 72,
        "rankopt_height": 64, "rankopt_init_image": None,
    }  # fmt: skip


def test_parameters_of_png_info_come_in(page: Any, modules: Any) -> None:
    text = "a fox\nSteps: 9, Sampler: Euler, CFG scale: 4, Seed: 5, Size: 72x80, Rank-Optimize study: x, Rank-Optimize optimizer: sep_cma"
    found = received(page, modules, "pnginfo", text)
    assert found["rankopt_steps"] == 9
    assert (found["rankopt_width"], found["rankopt_height"], found["rankopt_cfg_scale"]) == (72, 80, 4.0)
    assert (found["rankopt_seed"], found["rankopt_optimizer"]) == (5, "sep_cma")
    assert "rankopt_seed" not in received(page, modules, "pnginfo", text.replace("Rank-Optimize study", "Study"))


def test_a_webui_with_other_components_keeps_its_tab(modules: Any, caplog: pytest.LogCaptureFixture) -> None:
    from lib_rankopt.ui.exchange import Exchange

    exchange = Exchange(lambda: None)  # type: ignore[arg-type, return-value]
    with gr.Blocks():
        for name in ("extras_tab", "txt2img_send_to_extras"):
            exchange.after_component(gr.Button(), elem_id=name)
        build_tab(HOST_INFO, extend=exchange.connect)
    assert [record.args for record in caplog.records] == [("pnginfo",), ("txt2img",)]
    assert exchange.finishing()[0] == []


def test_an_image_goes_out(page: Any, modules: Any) -> None:
    image, text = page.exchange._read("there")
    assert (image.size, text) == ((8, 8), "a fox\nSteps: 3")
    with pytest.raises(gr.Error, match="no image 'gone'"):
        page.exchange._read("gone")
    bindings = modules.infotext_utils.registered_param_bindings
    assert [one.tabname for one in bindings] == ["txt2img", "img2img", "inpaint", "extras", "rankopt"]
    assert modules.infotext_utils.paste_fields["rankopt"]["fields"][0] == (page.form.components["settings.prompt"], "Prompt")


@pytest.mark.parametrize(
    ("refiner", "end"),
    [
        (REFINER, ", Refiner: refiner.safetensors, Refiner switch at: 0.7"),
        ({**REFINER, "enable-checkbox": False}, ""),
        ({**REFINER, "checkpoint": ""}, ""),
    ],
)
def test_an_image_is_finished_as_txt2img_is_set(page: Any, refiner: dict[str, Any], end: str) -> None:
    inputs, finishing = page.exchange.finishing()
    assert len(inputs) == len(HIRES) + len(refiner)
    enabled, *rest = refiner.values()
    assert finishing("a fox\nSteps: 3", enabled, *HIRES.values(), *rest) == (
        "a fox\nSteps: 3, Denoising strength: 0.6, Hires upscale: 1.5, Hires steps: 0, "
        'Hires upscaler: "Model: fine, slow", Hires resize-1: 0, Hires resize-2: 0' + end
    )
