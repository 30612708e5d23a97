"""The settings of a new study as gradio components, built from what the host offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import gradio as gr

from lib_rankopt.api.host_info import HostInfo, OptimizerInfo, OptionInfo
from lib_rankopt.errors import RankOptError
from lib_rankopt.hosts.base import HostDefaults
from lib_rankopt.studies.views import StudySettings
from lib_rankopt.ui.form import Form
from lib_rankopt.ui.selection_form import build_selection

HELP = {item.name: item.metadata.get("help", "") for item in fields(StudySettings)}
NOBODY = "nobody: I rank"
DefaultsOf = Callable[[str], HostDefaults]
SUITED = ("width", "height", "steps", "sampler", "scheduler", "cfg_scale")


def build_form(info: HostInfo, buttons: Callable[[], None], defaults_of: DefaultsOf | None = None) -> Form:
    """Lay out all settings in the open gradio context; ``buttons`` lays out what stands below the prompt.

    Where ``defaults_of`` is given, choosing a model sets size, guidance and sampler to what suits it.
    """
    form = Form()
    examples = info.defaults.example_prompts
    hint = f"{HELP['prompt']} For example: {examples[0]}" if examples else HELP["prompt"]
    prompt = gr.Textbox("", label="Prompt", lines=3, elem_id="rankopt_prompt", elem_classes=["prompt"], placeholder=hint)
    form.add("settings.prompt", prompt)
    buttons()
    if examples:
        known = "This model knows only certain things, such as"
        gr.Examples([[one] for one in examples], [prompt], label=known, elem_id="rankopt_examples")
    with gr.Accordion("Image", open=True, elem_id="rankopt_image_settings"):
        _prompts(form, info)
        _sampling(form, info)
        if defaults_of is not None:
            _follow_model(form, defaults_of)
    _start_image(form)
    build_selection(form, info.scorers)
    _optimizer(form, info)
    with gr.Accordion("Let a scorer rank", open=False, elem_id="rankopt_auto_settings"), gr.Row():
        form.add(
            "auto.scorer",
            gr.Dropdown(
                [NOBODY, *info.scorers], value=NOBODY, label="Who ranks", elem_id="rankopt_scorer",
                info="A scorer can rank the first rounds by itself; you can take over at any time.",
            ),
        )  # fmt: skip
        form.add(
            "auto.rounds",
            gr.Slider(1, 50, value=10, step=1, label="Rounds ranked by the scorer", elem_id="rankopt_auto_rounds"),
        )
    return form


def _prompts(form: Form, info: HostInfo) -> None:
    form.add(
        "settings.negative_prompt",
        gr.Textbox(
            "", label="Negative prompt", lines=1, elem_id="rankopt_neg_prompt", elem_classes=["prompt"],
            placeholder=HELP["negative_prompt"],
        ),
    )  # fmt: skip
    if info.styles:
        form.add("host.styles", gr.Dropdown(list(info.styles), value=[], multiselect=True, label="Styles", elem_id="rankopt_styles"))
    form.add(
        "name",
        gr.Textbox(label="Study name", lines=1, elem_id="rankopt_study_name", placeholder="Taken from the prompt"),
    )


def _sampling(form: Form, info: HostInfo) -> None:
    start = info.defaults
    with gr.Row():
        form.add("settings.sampler", _choice("Sampling method", info.samplers, start.sampler, "rankopt_sampler"))
        form.add("settings.scheduler", _choice("Schedule type", info.schedulers, start.scheduler, "rankopt_scheduler"))
    form.add(
        "settings.steps",
        gr.Slider(1, 150, value=start.steps, step=1, label="Sampling steps", elem_id="rankopt_steps"),
    )
    with gr.Row():
        width = gr.Slider(64, 2048, value=start.width, step=8, label="Width", elem_id="rankopt_width")
        form.add("settings.width", width)
        height = gr.Slider(64, 2048, value=start.height, step=8, label="Height", elem_id="rankopt_height")
        form.add("settings.height", height)
    with gr.Row():
        cfg = gr.Slider(1.0, 30.0, value=start.cfg_scale, step=0.5, label="CFG Scale", elem_id="rankopt_cfg_scale")
        form.add("settings.cfg_scale", cfg)
        number = gr.Slider(2, 16, value=8, step=1, label="Images per round", elem_id="rankopt_candidates")
        form.add("settings.candidates", number)
    with gr.Row():
        batch = gr.Slider(1, 16, value=8, step=1, label="Batch size", elem_id="rankopt_batch_size")
        form.add("settings.batch_size", batch)
        seed = gr.Number(value=-1, precision=0, label="Seed", elem_id="rankopt_seed", info="-1 draws one")
        form.add("settings.seed", seed)
        if info.models:  # none where the host has a menu of its own; the loaded one is taken then
            form.add("settings.model", _choice("Model", info.models, info.models[0], "rankopt_model"))


def _start_image(form: Form) -> None:
    with gr.Accordion("Start from an image (img2img)", open=False, elem_id="rankopt_init_image_settings"):
        image = gr.Image(type="pil", label="Image to start from", elem_id="rankopt_init_image")
        form.add("settings.init_image", image)
        strength = gr.Slider(
            0.05, 1.0, value=0.75, step=0.01, label="Denoising strength", elem_id="rankopt_denoising_strength",
            info="How much of the image is made anew. Without an image it has no effect.",
        )  # fmt: skip
        form.add("settings.denoising_strength", strength)


def _follow_model(form: Form, defaults_of: DefaultsOf) -> None:
    model = form.components["settings.model"]
    outputs = [form.components[f"settings.{name}"] for name in SUITED]
    model.change(
        fn=lambda name: suited(defaults_of, name), inputs=[model], outputs=outputs, queue=False, show_progress=False
    )


def suited(defaults_of: DefaultsOf, model: str) -> list[Any]:
    """Return gradio updates of the settings :data:`SUITED` for a model; none where its file cannot be used, which starting a study says."""
    try:
        own = defaults_of(model)
    except RankOptError:
        return [gr.update() for _ in SUITED]
    return [gr.update(value=getattr(own, name)) for name in SUITED]


def _optimizer(form: Form, info: HostInfo) -> None:
    with gr.Accordion("How rankings become the next round", open=False, elem_id="rankopt_optimizer_settings"):
        names = tuple(one.name for one in info.optimizers)
        chosen = form.add("settings.optimizer", _choice("Optimizer", names, names[0], "rankopt_optimizer"))
        groups = [_optimizer_group(form, one, one.name == names[0]) for one in info.optimizers]
        chosen.change(
            fn=lambda name: [gr.update(visible=name == one) for one in names],
            inputs=[chosen], outputs=groups, queue=False, show_progress=False,
        )  # fmt: skip


def _optimizer_group(form: Form, one: OptimizerInfo, visible: bool) -> Any:
    with gr.Column(visible=visible, elem_id=f"rankopt_options_{one.name}") as group:
        if one.help:
            gr.Markdown(one.help)
        for option in one.settings:
            form.add(f"optimizer.{one.name}.{option.name}", _option(one.name, option))
    return group


def _option(optimizer: str, option: OptionInfo) -> Any:
    shown: dict[str, Any] = {
        "label": f"{optimizer}: {option.name.replace('_', ' ')}",
        "info": option.help or None,
        "elem_id": f"rankopt_{optimizer}_{option.name}",
        "value": option.default,
    }
    if option.kind == "bool":
        return gr.Checkbox(**shown)
    if option.kind == "choice":
        return gr.Dropdown(list(option.choices), **shown)
    if option.kind in ("int", "float") and option.default is None:
        return gr.Textbox(lines=1, placeholder="automatic", **{**shown, "value": ""})
    if option.kind == "int":
        return gr.Number(precision=0, **shown)
    if option.kind == "float":
        return gr.Number(**shown)
    return gr.Textbox(lines=1, **shown)


def _choice(label: str, choices: tuple[str, ...], value: str, elem_id: str) -> Any:
    return gr.Dropdown(list(choices), value=value, label=label, elem_id=elem_id)
