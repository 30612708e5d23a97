"""Which weights a file changes: every name of every family, and files that are for another model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest

from lib_rankopt.diffusion import config
from lib_rankopt.diffusion.loading import StableDiffusion, outlines
from lib_rankopt.diffusion.lora.targets import Target, matched, targets_of
from lib_rankopt.errors import ModelError
from tests.diffusion.lora.samples import layer_paths

Q = "transformer_blocks_0_attn1_to_q"


@cache
def targets(family: str) -> Mapping[str, Target]:
    return targets_of(*outlines(config.bundled(family)), family)


def shapes_for(family: str, *names: str) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    found = {name: targets(family)[name].shape for name in names}
    return {name: ((4, *shape[1:]), (shape[0], 4)) for name, shape in found.items()}


@pytest.mark.parametrize(("family", "text"), [("sd1", [72]), ("sd2", [138]), ("sdxl", [72, 193])])
def test_every_layer_has_a_name(family: str, text: list[int]) -> None:
    counts = [len({target for target in targets(family).values() if target.part == part}) for part in range(len(text) + 1)]
    assert counts == [len(layer_paths(family, "all")), *text]


@pytest.mark.parametrize(
    ("family", "name", "part", "shape"),
    [
        ("sd1", f"lora_unet_down_blocks_0_attentions_0_{Q}", 0, (320, 320)),
        ("sd1", "lora_unet_down_blocks_0_attentions_0_proj_in", 0, (320, 320, 1, 1)),
        ("sd1", "lora_unet_mid_block_resnets_0_conv1", 0, (1280, 1280, 3, 3)),
        ("sd1", "lora_te_text_model_encoder_layers_11_self_attn_out_proj", 1, (768, 768)),
        ("sd1", "lora_te1_text_model_encoder_layers_0_mlp_fc1", 1, (3072, 768)),
        ("sd2", "lora_te_text_model_encoder_layers_22_mlp_fc2", 1, (1024, 4096)),
        ("sdxl", f"lora_unet_input_blocks_4_1_{Q}", 0, (640, 640)),
        ("sdxl", f"lora_unet_down_blocks_1_attentions_0_{Q}", 0, (640, 640)),
        ("sdxl", "lora_te1_text_model_encoder_layers_0_mlp_fc1", 1, (3072, 768)),
        ("sdxl", "lora_te2_text_model_encoder_layers_31_self_attn_q_proj", 2, (1280, 1280)),
        ("sdxl", "lora_te2_text_projection", 2, (1280, 1280)),
    ],
)
def test_names_as_published_files_have_them(family: str, name: str, part: int, shape: tuple[int, ...]) -> None:
    assert (targets(family)[name].part, targets(family)[name].shape) == (part, shape)


def test_an_outline_is_the_loaded_model(tiny_model: StableDiffusion) -> None:
    loaded = targets_of(tiny_model.unet, tiny_model.text_encoders, "sd1")
    assert targets_of(*outlines(tiny_model.config), "sd1") == loaded
    assert {weight.device.type for weight in outlines(tiny_model.config)[0].parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("family", "of", "name", "said"),
    [
        ("sd1", "sdxl", f"lora_unet_input_blocks_4_1_{Q}", "family SD1.x.*does not have; it looks like one for SDXL"),
        ("sd2", "sdxl", "lora_te2_text_model_encoder_layers_0_mlp_fc1", "family SD2.x.*does not have; it looks like one for SDXL"),
        ("sdxl", "sd1", "lora_unet_down_blocks_3_resnets_0_conv1", "family SDXL.*does not have[.]"),
        ("sd1", "sd2", f"lora_unet_down_blocks_0_attentions_0_{Q.replace('attn1_to_q', 'attn2_to_k')}", "lora_down .4, 1024.*for SD2.x"),
    ],
)
def test_a_file_for_another_family_is_named_with_it(family: str, of: str, name: str, said: str) -> None:
    shapes = shapes_for(of, name)
    with pytest.raises(ModelError, match=f"^some.safetensors is a LoRA for another model.*{said}"):
        matched(shapes, shapes, targets(family), family, "some.safetensors")


@pytest.mark.parametrize(
    ("name", "down", "up", "fits"),
    [
        ("mid_block_resnets_0_conv1", (2, 1280, 3, 3), (1280, 2, 1, 1), True),
        ("mid_block_resnets_0_conv1", (2, 1280, 3, 3), (1280, 2), True),
        ("mid_block_resnets_0_conv1", (2, 1280, 1, 1), (1280, 2, 1, 1), False),
        ("mid_block_resnets_0_conv1", (2, 1280 * 9), (1280, 2), False),
        ("down_blocks_0_attentions_0_proj_in", (2, 320, 1, 1), (320, 2, 1, 1), True),
        ("down_blocks_0_attentions_0_proj_in", (2, 320), (320, 2), True),
        ("down_blocks_0_attentions_0_proj_in", (2, 320), (321, 2), False),
        (f"down_blocks_0_attentions_0_{Q}", (2, 320, 1, 1), (320, 2, 1, 1), True),
        (f"down_blocks_0_attentions_0_{Q}", (2, 320, 3, 3), (320, 2, 1, 1), False),
        (f"down_blocks_0_attentions_0_{Q}", (2, 321), (320, 2), False),
    ],
)
def test_shapes_that_fit_and_that_do_not(name: str, down: tuple[int, ...], up: tuple[int, ...], fits: bool) -> None:
    shapes = {f"lora_unet_{name}": (down, up)}
    if fits:
        assert len(matched(shapes, shapes, targets("sd1"), "sd1", "f")) == 1
        return
    with pytest.raises(ModelError, match="for a weight"):
        matched(shapes, shapes, targets("sd1"), "sd1", "f")


def test_one_weight_under_two_names_is_refused() -> None:
    shapes = shapes_for("sdxl", f"lora_unet_input_blocks_4_1_{Q}", f"lora_unet_down_blocks_1_attentions_0_{Q}")
    with pytest.raises(ModelError, match="twice, under two names"):
        matched(shapes, shapes, targets("sdxl"), "sdxl", "f")
