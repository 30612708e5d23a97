"""What differs between the webui's releases and its forks, asked of the code that is running and never of its name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def optional(name: str) -> Any:
    """Return a module of the webui, or ``None`` where this one has none of that name."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def accepted(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Keep the values that a processing class takes: releases before 1.9 know no ``scheduler``."""
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    return {name: value for name, value in values.items() if name in known}


def scheduler_labels() -> tuple[str, ...]:
    """Names of the noise schedules, ``Automatic`` first; older releases have them in the samplers' names."""
    module = optional("modules.sd_schedulers")
    labels = [one.label for one in module.schedulers] if module else []
    return ("Automatic", *(label for label in labels if label != "Automatic"))


def parameter_of_each(values: list[str]) -> Any:
    """Return an entry of ``extra_generation_params`` that differs between the images of a batch; ``None`` where this webui has none.

    Releases before 1.9 know only one text for all images.
    """
    if len(set(values)) == 1:
        return values[0]
    return values if optional("modules.sd_schedulers") else None


def sampler_function(name: str) -> str | None:
    """Name of the function behind a sampler; ``None`` where this webui keeps it otherwise."""
    constructor = optional("modules.sd_samplers").all_samplers_map[name].constructor
    found = inspect.signature(constructor).parameters.get("funcname")
    default = None if found is None else found.default
    return default if isinstance(default, str) else getattr(default, "__name__", None)


def waiting_checkpoint(model_data: Any) -> Any:
    """The checkpoint that Forge's menu shows: its next run loads it, and until then another one is in memory. ``None`` in the original."""
    return (getattr(model_data, "forge_loading_parameters", None) or {}).get("checkpoint_info")


def latent_channels(model: Any) -> int:
    """Channels of a model's latents; Forge says them at its VAE. Without a model they are those of Stable Diffusion."""
    vae = getattr(getattr(model, "forge_objects", None), "vae", None)
    return int(getattr(vae, "latent_channels", None) or getattr(model, "latent_channels", None) or 4)


def predicts_v(model: Any) -> bool:
    """Whether a model predicts the velocity; Forge says so at its UNet."""
    unet = getattr(getattr(model, "forge_objects", None), "unet", None)
    kind = getattr(getattr(getattr(unet, "model", None), "predictor", None), "prediction_type", None)
    return (kind or getattr(model, "parameterization", "eps")) in ("v", "v_prediction")


def on_host_thread(work: Callable[[], T]) -> T:
    """Run model work where this host wants it: on Forge's main thread, anywhere in the original.

    Raises:
        Whatever ``work`` raises (Forge's own loop would print and swallow it).
    """
    main_thread = optional("modules_forge.main_thread")
    if main_thread is None:
        return work()
    box: dict[str, Any] = {}

    def boxed() -> None:
        try:
            box["value"] = work()
        except BaseException as error:
            box["error"] = error

    main_thread.run_and_wait_result(boxed)
    if "error" in box:
        raise box["error"]
    return box["value"]  # type: ignore[no-any-return]
