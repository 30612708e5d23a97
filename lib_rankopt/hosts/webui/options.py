"""The webui's own settings that decide about an image: kept with a study, and in force again in each of its rounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from modules import shared

from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.hosts.validation import check_name
from lib_rankopt.hosts.webui import probes

EXTRA = ("styles", "options")
CLIP_SKIP = "CLIP_stop_at_last_layers"
# A study has its own words for these two.
_APART = ("sd_model_checkpoint", CLIP_SKIP)
_NO_VAE_FILE = ("Automatic", "None")
# Forge's VAE and text encoders, a list of files: not marked as an option of an image, as all others are.
_MODULES = "forge_additional_modules"


def check(extra: dict[str, Any]) -> None:
    """Check the part of a request that only this host knows: names of styles, and values of options.

    Raises:
        InvalidInputError: an unknown entry, or an option that is none of an image's.
    """
    if unknown := sorted(set(extra) - set(EXTRA)):
        raise InvalidInputError(f"extra holds {', '.join(unknown)}, but the webui's host knows {', '.join(EXTRA)}")
    styles, options = extra.get("styles", []), extra.get("options", {})
    if not isinstance(styles, list) or not isinstance(options, dict):
        raise InvalidInputError(f"styles is a list of names and options are names with values, not {styles!r} and {options!r}")
    for style in styles:
        check_name("style", style, tuple(shared.prompt_styles.styles))
    # An option that does not exist any more belonged to an extension that is gone; any other must be one of an image.
    if foreign := sorted(set(options) & set(shared.opts.data_labels) - set(_names())):
        raise InvalidInputError(f"options holds {', '.join(foreign)}, which decides nothing about an image")


def pinned(request: GenerationRequest) -> GenerationRequest:
    """Write styles into the prompts, and clip skip and all options that decide about an image into ``extra``."""
    styles, given = request.extra.get("styles", []), request.extra.get("options", {})
    own = {name: value for name in _names() if isinstance(value := getattr(shared.opts, name), (str, int, float, list))}
    return dataclasses.replace(
        request,
        prompt=shared.prompt_styles.apply_styles_to_prompt(request.prompt, styles),
        negative_prompt=shared.prompt_styles.apply_negative_styles_to_prompt(request.negative_prompt, styles),
        clip_skip=request.clip_skip or int(getattr(shared.opts, CLIP_SKIP)),
        extra={"options": {**own, **given}},
    )


def overrides(request: GenerationRequest) -> dict[str, Any]:
    """Return those of the request's options that the webui is set to otherwise now.

    Raises:
        ModelError: the study's VAE, or one of its text encoders, is not there any more.
    """
    wanted = dict(request.extra.get("options", {}))
    if request.clip_skip is not None:
        wanted[CLIP_SKIP] = request.clip_skip
    found = {
        name: value
        for name, value in wanted.items()
        if name in shared.opts.data_labels and getattr(shared.opts, name) != value
    }
    vae, module = found.get("sd_vae", "Automatic"), probes.optional("modules.sd_vae")
    if module is not None and vae not in _NO_VAE_FILE and vae not in module.vae_dict:
        raise ModelError(f"This study was made with the VAE {vae}, which is not there any more. Put it back, or start a new study.")
    forge = probes.optional("modules_forge.main_entry")
    files = [Path(file).name for file in found.get(_MODULES, ())] if forge is not None else []
    if lost := [file for file in files if file not in forge.module_list]:  # Forge would go on without them
        raise ModelError(f"This study was made with {', '.join(lost)}, which is not there any more. Put it back, or start a new study.")
    return found


def _names() -> list[str]:
    """Names of the options that the webui writes into an image's parameters, because they decide about it."""
    labels = shared.opts.data_labels
    decide = (name for name, info in labels.items() if getattr(info, "infotext", None) or name == _MODULES)
    return [name for name in decide if name not in _APART]
