"""*Send to* both ways between our tab and the webui's: settings come in, a chosen image goes out, to be finished for instance."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.webui import exchange as webui
from lib_rankopt.ui import compat
from lib_rankopt.ui.form import Form

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService

log = logging.getLogger("rankopt.ui")

TAB = "rankopt"
# Names of the parameters, and the ends of the ids that the webui's own tabs give to the components that hold them.
_TXT2IMG = {
    "Prompt": "prompt",
    "Negative prompt": "neg_prompt",
    "Styles array": "styles",
    "Steps": "steps",
    "Sampler": "sampling",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Size-1": "width",
    "Size-2": "height",
}
_FORMS = {"txt2img": _TXT2IMG, "img2img": {**_TXT2IMG, "Init image": "image", "Denoising strength": "denoising_strength"}}
# What txt2img's *Hires. fix* and *Refiner* are set to, and whether there is a refiner: what finishing adds to an image's parameters.
_HIRES = {
    "Denoising strength": "denoising_strength",
    "Hires upscale": "hr_scale",
    "Hires steps": "hires_steps",
    "Hires upscaler": "hr_upscaler",
    "Hires resize-1": "hr_resize_x",
    "Hires resize-2": "hr_resize_y",
}
_REFINES = "enable-checkbox"
_REFINER = {"Refiner": "checkpoint", "Refiner switch at": "switch_at"}
_READ = {
    "txt2img": {*_TXT2IMG.values(), *_HIRES.values(), _REFINES, *_REFINER.values()},
    "img2img": set(_FORMS["img2img"].values()),
}
_INFOTEXT = "pnginfo_generation_info"
# Our button stands behind the last of the webui's own.
_AFTER = {"txt2img_send_to_extras": "txt2img", "img2img_send_to_extras": "img2img", "extras_tab": "pnginfo"}
Fields = list[tuple[Any, webui.Source]]
_GO = f"() => {{ switch_to_{TAB}(); return []; }}"


class Exchange:
    """The components of the webui's tabs that we meet while it builds its page; one for every page that is built.

    Args:
        service: makes the studies service; called when somebody sends an image.
    """

    def __init__(self, service: Callable[[], StudyService]) -> None:
        self._service = service
        self._met: dict[str, Any] = {}
        self._buttons: dict[str, Any] = {}

    def after_component(self, component: Any, **values: Any) -> None:
        """Remember the components that we send from, and put our button where the webui has its own."""
        name = values.get("elem_id") or ""
        source, _, end = name.partition("_")
        if name == _INFOTEXT or end in _READ.get(source, ()):
            self._met[name] = component
        elif name in _AFTER and _AFTER[name] not in self._buttons:
            self._buttons[_AFTER[name]] = self._button(_AFTER[name])

    @staticmethod
    def _button(source: str) -> Any:
        if source == "pnginfo":
            return gr.Button("Send to Rank-Optimize", elem_id=f"{source}_send_to_{TAB}")
        return webui.tool_button("🏆", f"{source}_send_to_{TAB}", "Send the settings to the Rank-Optimize tab.")

    def connect(self, form: Form, paste: gr.Button) -> None:
        """Wire everything up; called while our tab is built, the last of those that we exchange with.

        Args:
            paste: the ↙ button, which reads parameters from the prompt box, or those of the last generation where that is empty.
        """
        fields = _fields(form)
        with gr.Row(elem_id="rankopt_exchange", elem_classes=["rankopt-hotkey"]):
            self._connect_out()
        webui.register_tab(TAB, form.components["settings.init_image"], fields, paste, form.components["settings.prompt"])
        for source, button in self._buttons.items():
            inputs, send = self.sending_in(source, fields)
            if not inputs:  # a webui that calls its components otherwise: the rest of the tab must not suffer
                log.warning("the settings of %s cannot be sent to Rank-Optimize: this webui has other components", source)
                continue
            outputs = [component for component, _ in fields]
            event = button.click(fn=send, inputs=inputs, outputs=outputs, show_progress=False)
            compat.run_script(event.then, _GO, [])

    def sending_in(self, source: str, fields: Fields) -> tuple[list[Any], Callable[..., list[Any]]]:
        """Return what our button in a tab of the webui reads, and what makes of it updates of ``fields``.

        Args:
            source: ``txt2img`` or ``img2img``, whose form is read, or ``pnginfo``, whose infotext is.
        """
        if source == "pnginfo":
            met = [self._met[_INFOTEXT]] if _INFOTEXT in self._met else []
            return met, lambda text: _updates(fields, _numbers(webui.parse(text)))
        form = _FORMS[source]
        names = [name for name, end in form.items() if f"{source}_{end}" in self._met]
        inputs = [self._met[f"{source}_{form[name]}"] for name in names]
        return inputs, lambda *values: _updates(fields, {"Init image": None, **dict(zip(names, values, strict=True))})

    def _connect_out(self) -> None:
        """Hidden components that the board's *Send to* works: it names an image, which is read here, and presses a target's button."""
        name = gr.Textbox(visible=False, label="Image to send", elem_id="rankopt_send_name")
        image = gr.Image(visible=False, type="pil", label="Sent image", elem_id="rankopt_send_image")
        text = gr.Textbox(visible=False, label="Sent parameters", elem_id="rankopt_send_text")
        for one in (name, text):
            one.do_not_save_to_config = True
        load = gr.Button("Read", elem_id="rankopt_send_read")
        keyword = {compat.SCRIPT: "() => [window.rankopt.sending.image]"}
        event = load.click(fn=self._read, inputs=[name], outputs=[image, text], show_progress=False, **keyword)
        compat.run_script(event.then, "() => { window.rankopt.sent(); return []; }", [])
        for target in webui.TARGETS:
            webui.register_send(gr.Button(target, elem_id=f"rankopt_send_{target}"), target, text, image)
        self._connect_finish(text)

    def _connect_finish(self, text: Any) -> None:
        """*Finish* is *Send to txt2img* with *Hires. fix* switched on, and the refiner where one is: both as they are set there."""
        inputs, finishing = self.finishing()
        if not inputs:
            return
        button = gr.Button("finish", elem_id="rankopt_send_finish")
        event = button.click(fn=finishing, inputs=[text, *inputs], outputs=[text], show_progress=False)
        compat.run_script(event.then, "() => { window.rankopt.sent('txt2img'); return []; }", [])

    def finishing(self) -> tuple[list[Any], Callable[..., str]]:
        """Return the components of txt2img that say how to finish, and what adds their values to an infotext; none where it has others."""
        names = {**_HIRES, **_REFINER}
        inputs = [self._met.get(f"txt2img_{end}") for end in (_REFINES, *names.values())]

        def add(text: str, refines: bool, *values: Any) -> str:
            found = dict(zip(names, values, strict=True))
            refined = refines and found["Refiner"]
            return webui.with_parameters(text, {name: value for name, value in found.items() if refined or name not in _REFINER})

        return [] if None in inputs else inputs, add

    def _read(self, name: str) -> tuple[Any, str]:
        try:
            with Image.open(self._service().image_path(name)) as opened:
                return opened.convert("RGB"), opened.info.get("parameters", "")
        except RankOptError as error:
            raise gr.Error(str(error)) from error


def _fields(form: Form) -> Fields:
    """Which parameter belongs into which component of the form."""
    sources: dict[str, webui.Source] = {
        "settings.prompt": "Prompt",
        "settings.negative_prompt": "Negative prompt",
        "settings.steps": "Steps",
        "settings.sampler": webui.sampler_of,
        "settings.scheduler": webui.scheduler_of,
        "settings.width": "Size-1",
        "settings.height": "Size-2",
        "settings.cfg_scale": "CFG scale",
        "settings.init_image": "Init image",
        "settings.denoising_strength": "Denoising strength",
        # An image's seed says nothing about a study, unless it is an image of one.
        "settings.seed": lambda found: int(found["Seed"]) if "Rank-Optimize study" in found else None,
        "settings.optimizer": lambda found: found.get("Rank-Optimize optimizer"),
        "host.styles": lambda found: found.get("Styles array"),
    }
    return [(form.components[path], source) for path, source in sources.items() if path in form.components]


def _updates(fields: Fields, parameters: dict[str, Any]) -> list[Any]:
    updates = []
    for _, source in fields:
        value = parameters.get(source) if isinstance(source, str) else source(parameters)
        empties = isinstance(source, str) and source in parameters  # a form without an image takes ours away
        updates.append(gr.update(value=value) if value is not None or empties else gr.update())
    return updates


def _numbers(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the form takes them: an infotext has only texts."""
    kinds = {"Steps": int, "Size-1": int, "Size-2": int, "CFG scale": float, "Denoising strength": float}
    return {**parameters, **{name: kind(parameters[name]) for name, kind in kinds.items() if name in parameters}}
