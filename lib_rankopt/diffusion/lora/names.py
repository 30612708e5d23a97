"""From a module's path in diffusers' UNet or in a text encoder to its name in a LoRA file, as kohya's trainer and the webui know it.

SD1 and SD2 files carry diffusers' own path with underscores; SDXL files carry the path of the original (LDM) UNet, which every tool
understands, where diffusers' form is not known to all and misleads the webui for three modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lib_rankopt.errors import InvalidInputError

FAMILIES = ("sd1", "sd2", "sdxl")
PREFIX = "lora_unet_"
# one set a text encoder; some files for SD1 have SDXL's name, which the webui takes too
TEXT_PREFIXES = {"sd1": (("lora_te_", "lora_te1_"),), "sd2": (("lora_te_", "lora_te1_"),), "sdxl": (("lora_te1_",), ("lora_te2_",))}
_TEXT_MODEL = "text_model."

_BLOCK = re.compile(r"(down|up)_blocks_(\d+)_(attentions|resnets)_(\d+)(?:_(.+))?")
_MID = re.compile(r"mid_block_(attentions|resnets)_(\d+)(?:_(.+))?")
_SAMPLER = re.compile(r"(down|up)_blocks_(\d+)_(?:down|up)samplers_0_conv")
_EMBEDDING = re.compile(r"(time|add)_embedding_linear_([12])")
_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_ENDS = {"conv_in": "input_blocks_0_0", "conv_out": "out_2"}


def check_family(family: str) -> None:
    """Accept ``sd1``, ``sd2`` and ``sdxl``.

    Raises:
        InvalidInputError: anything else.
    """
    if family not in FAMILIES:
        raise InvalidInputError(f"There is no model family {str(family)[:40]!r} for LoRA files: use one of {', '.join(FAMILIES)}.")


def kohya_name(module_path: str, family: str) -> str:
    """Name a UNet module as LoRA files do.

    Args:
        module_path: as ``UNet2DConditionModel.named_modules()`` says, with dots.
        family: ``sd1``, ``sd2`` or ``sdxl``.

    Returns:
        ``lora_unet_…`` without the parameter's part (``.lora_down.weight``).

    Raises:
        InvalidInputError: an unknown family, an empty path, or one that SDXL's UNet does not have.
    """
    check_family(family)
    flat = module_path.replace(".", "_")
    if not flat:
        raise InvalidInputError("A LoRA module needs a path in the UNet; the empty one is the UNet itself.")
    return PREFIX + (_ldm(flat) if family == "sdxl" else flat)


def names_of(module_paths: Iterable[str], family: str) -> dict[str, str]:
    """Map every name that a file may use to the path of its module; SDXL's are known in both forms.

    Raises:
        InvalidInputError: an unknown family or path, or two modules that share a name.
    """
    known: dict[str, str] = {}
    for path in module_paths:
        for name in {kohya_name(path, family), PREFIX + path.replace(".", "_")}:
            if known.setdefault(name, path) != path:
                raise InvalidInputError(f"The modules {known[name]} and {path} would share the name {name} in a LoRA file.")
    return known


def text_names_of(module_paths: Iterable[str], family: str, encoder: int) -> dict[str, str]:
    """Map every name that a file may use for a text encoder's modules to the path of its module.

    Args:
        module_paths: of transformers' ``CLIPTextModel``, with or without the ``text_model.`` that its versions differ in.
        encoder: 0 for the first, 1 for SDXL's second.

    Raises:
        InvalidInputError: an unknown family.
    """
    check_family(family)
    inner = {path: _text_path(path).replace(".", "_") for path in module_paths}
    return {prefix + name: path for prefix in TEXT_PREFIXES[family][encoder] for path, name in inner.items()}


def _text_path(path: str) -> str:
    return path if path.startswith((_TEXT_MODEL, "text_projection")) else _TEXT_MODEL + path


def _ldm(flat: str) -> str:
    """Say where diffusers' module lies in SDXL's original UNet: two resnets a stage, three in the upward half."""
    if flat in _ENDS:
        return _ENDS[flat]
    if found := _BLOCK.fullmatch(flat):
        way, stage, kind, layer, inner = found.groups()
        place = f"input_blocks_{1 + 3 * int(stage) + int(layer)}" if way == "down" else f"output_blocks_{3 * int(stage) + int(layer)}"
        return f"{place}_{_inside(kind, inner)}"
    if found := _MID.fullmatch(flat):
        kind, layer, inner = found.groups()
        number = 1 + 2 * int(layer) if kind == "attentions" else 2 * int(layer)
        return "_".join(("middle_block", str(number), *([_inner(kind, inner)] if inner else [])))
    if found := _SAMPLER.fullmatch(flat):
        way, stage = found.group(1), int(found.group(2))
        # SDXL's first upward stage has attention, so its upsampler is third, where SD1's is second.
        return f"input_blocks_{3 + 3 * stage}_0_op" if way == "down" else f"output_blocks_{2 + 3 * stage}_2_conv"
    if found := _EMBEDDING.fullmatch(flat):
        return f"{'time_embed' if found.group(1) == 'time' else 'label_emb_0'}_{2 * int(found.group(2)) - 2}"
    raise InvalidInputError(f"SDXL's UNet has no module {flat[:120]!r} that a LoRA file could name.")


def _inside(kind: str, inner: str | None) -> str:
    place = "1" if kind == "attentions" else "0"
    return f"{place}_{_inner(kind, inner)}" if inner else place


def _inner(kind: str, inner: str) -> str:
    return _RESNET.get(inner, inner) if kind == "resnets" else inner
