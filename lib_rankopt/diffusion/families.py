"""Tell from tensor names and shapes which model family a single file belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from lib_rankopt.errors import ModelError

UNET = "model.diffusion_model."
SUPPORTED = "supported are whole SD1.x, SD2.x and SDXL base checkpoints in the original (LDM) layout and diffusers folders"
_KEY_WIDTHS = ("input_blocks.1.1", "input_blocks.4.1")
_FAMILY_OF_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}

# a name that gives a foreign family away -> what it is
_FOREIGN = {
    "joint_blocks.": "Stable Diffusion 3",
    "double_blocks.": "Flux",
    "double_stream_blocks.": "HiDream",
    "caption_projection.": "PixArt",
    "transformer_blocks.0.attn.add_q_proj": "a diffusion transformer (Flux or SD3 in diffusers layout)",
    "control_model.": "a ControlNet",
    "input_hint_block.": "a ControlNet",
    "lora_unet_": "a LoRA",
    ".lora_down.": "a LoRA",
    ".lora_A.": "a LoRA",
    "string_to_param": "a textual inversion embedding",
    "emb_params": "a textual inversion embedding",
    "down_blocks.0.resnets.": "a UNet in diffusers layout, without its folder",
    "encoder.down.": "a VAE on its own",
    "encoder.down_blocks.": "a VAE on its own",
}


def detect(shapes: Mapping[str, tuple[int, ...]], where: str) -> str:
    """Return ``sd1``, ``sd2`` or ``sdxl``.

    Args:
        shapes: tensor names and shapes of the file.
        where: file name for messages.

    Raises:
        ModelError: another family, named where it is known, or a checkpoint that lacks a part.
    """
    if f"{UNET}input_blocks.0.0.weight" not in shapes:
        raise ModelError(f"{where}: this is {_foreign(shapes)}; {SUPPORTED}")
    family = _family(shapes, where)
    require_plain_input(shapes, where)
    require_parts(shapes, where)
    return family


def require_plain_input(shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse UNets that take an image beside the latent.

    Raises:
        ModelError: inpainting and the like.
    """
    channels = shapes.get(f"{UNET}input_blocks.0.0.weight", (0, 4))[1]
    kinds = {
        9: "an inpainting model",
        8: "an image-editing model (pix2pix)",
        7: "an upscaler",
        5: "a depth-to-image model",
    }
    if channels != 4:
        kind = kinds.get(channels, "a model for another input")
        raise ModelError(f"{where}: this is {kind} (its UNet takes {channels} channels, not 4); {SUPPORTED}")


def require_parts(shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse pruned files without VAE or text encoder.

    Raises:
        ModelError: naming what is missing.
    """
    parts = {"a VAE": ("first_stage_model.",), "a text encoder": ("cond_stage_model.", "conditioner.")}
    missing = [
        part for part, prefixes in parts.items() if not any(name.startswith(prefixes) for name in shapes)
    ]
    if missing:
        raise ModelError(f"{where}: the file lacks {' and '.join(missing)}; {SUPPORTED}")


def _family(shapes: Mapping[str, tuple[int, ...]], where: str) -> str:
    for block in _KEY_WIDTHS:
        key = shapes.get(f"{UNET}{block}.transformer_blocks.0.attn2.to_k.weight")
        if key is not None:
            break
    else:
        raise ModelError(
            f"{where}: its UNet has no text cross-attention where Stable Diffusion has it; {SUPPORTED}"
        )
    width = key[1]
    if width == 1280:
        raise ModelError(
            f"{where}: this is the SDXL refiner, which only finishes other models' images; {SUPPORTED}"
        )
    if width not in _FAMILY_OF_WIDTH:
        raise ModelError(
            f"{where}: text width {width} belongs to no known family ({', '.join(map(str, _FAMILY_OF_WIDTH))} are); "
            "a model of another size needs its .yaml configuration beside it, with the same name"
        )
    return _FAMILY_OF_WIDTH[width]


def _foreign(shapes: Mapping[str, tuple[int, ...]]) -> str:
    for mark, kind in _FOREIGN.items():
        if any(mark in name for name in shapes):
            return kind
    return f"no Stable Diffusion checkpoint (its first tensors are {', '.join(sorted(shapes)[:3])})"
