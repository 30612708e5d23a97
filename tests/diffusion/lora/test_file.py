"""LoRA files: what is written is what was meant, other programs find every module, hostile files are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.lora.file import Limits, LoraModule
from lib_rankopt.diffusion.lora.names import kohya_name, names_of
from lib_rankopt.errors import InvalidInputError, ModelError
from lib_rankopt.training.lora import check, output
from tests.diffusion.lora.samples import BLOCK, CONV, LINEAR, layer_paths, some_modules, unet_config


# -- round trip
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_change_of_the_weights_survives_the_file(tmp_path: Path, family: str) -> None:
    modules = {path.replace("down_blocks.0", "down_blocks.1"): module for path, module in some_modules().items()}
    path = tmp_path / "x.safetensors"
    output.write(path, file.to_state(modules, family), {"ss_v2": "False"})
    state, said = file.read(path)
    found = file.from_state(state, [*modules, "conv_in"], family)
    assert said == {"ss_v2": "False"}
    assert list(state) == sorted(state)
    assert all(tensor.dtype == torch.float16 and tensor.is_contiguous() for tensor in state.values())
    for name, module in modules.items():
        wanted = 6 / 4 * torch.einsum("or,ri->oi", module.up.flatten(1), module.down.flatten(1)).reshape(module.delta().shape)
        torch.testing.assert_close(found[name].delta(), wanted, rtol=2e-3, atol=1e-4)
        assert found[name].alpha == 6.0
        assert found[name].down.shape == module.down.shape


def test_the_change_of_a_3x3_convolution() -> None:
    module = LoraModule(torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1), 1.0)
    image = torch.randn(1, 3, 8, 8)
    wanted = 0.5 * nn.functional.conv2d(nn.functional.conv2d(image, module.down, padding=1), module.up)
    torch.testing.assert_close(nn.functional.conv2d(image, module.delta(), padding=1), wanted, rtol=1e-4, atol=1e-4)


def test_tensors_of_training_are_not_shared_or_changed() -> None:
    down = torch.ones(4, 6, dtype=torch.float16).t().contiguous().t().requires_grad_()
    state = file.to_state({LINEAR: LoraModule(down, torch.ones(3, 4), 4.0)}, "sd1")
    key = f"{kohya_name(LINEAR, 'sd1')}.lora_down.weight"
    state[key].zero_()
    assert bool((down == 1).all())
    assert not state[key].requires_grad


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("where", ["down", "up"])
def test_values_that_cannot_be_written_are_refused_with_the_module(bad: float, where: str) -> None:
    modules = some_modules()
    getattr(modules[CONV], where).view(-1)[3] = bad
    with pytest.raises(InvalidInputError, match=CONV.replace(".", r"\.")):
        file.to_state(modules, "sd1")


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), 1e9, 1e-12])
def test_alpha_must_be_a_positive_half(alpha: float) -> None:
    with pytest.raises(InvalidInputError, match="alpha"):
        file.to_state({LINEAR: LoraModule(torch.ones(4, 6), torch.ones(3, 4), alpha)}, "sd1")


def test_ranks_that_differ_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="ranks"):
        file.to_state({LINEAR: LoraModule(torch.ones(4, 6), torch.ones(3, 5), 4.0)}, "sd1")
    with pytest.raises(InvalidInputError, match="without modules"):
        file.to_state({}, "sd1")


# -- names
@pytest.mark.parametrize(
    ("family", "kind", "count"), [("sd1", "attention", 128), ("sd1", "full", 192), ("sdxl", "attention", 560), ("sdxl", "full", 722)]
)
def test_every_module_has_a_name_of_its_own(family: str, kind: str, count: int) -> None:
    paths = layer_paths(family, kind)
    names = {kohya_name(path, family) for path in paths}
    assert len(paths) == len(names) == count
    keys = [f"{name}.{parameter}" for name in names for parameter in file.PARAMETERS]
    assert check.unmatched(keys, layer_paths(family, "all"), family) == []


def _ldm_layout(config: dict[str, Any]) -> dict[str, str]:
    """Original block → diffusers' block, counted off as the original UNet's constructor does."""
    layers, stages = config["layers_per_block"], len(config["down_block_types"])
    found, number = {}, 1
    for stage, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            found[f"input_blocks_{number}_0"] = f"down_blocks.{stage}.resnets.{layer}"
            if "CrossAttn" in kind:
                found[f"input_blocks_{number}_1"] = f"down_blocks.{stage}.attentions.{layer}"
            number += 1
        if stage < stages - 1:
            found[f"input_blocks_{number}_0_op"] = f"down_blocks.{stage}.downsamplers.0.conv"
            number += 1
    for place, block in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        found[f"middle_block_{place}"] = f"mid_block.{block}"
    number = 0
    for stage, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            found[f"output_blocks_{number}_0"] = f"up_blocks.{stage}.resnets.{layer}"
            if "CrossAttn" in kind:
                found[f"output_blocks_{number}_1"] = f"up_blocks.{stage}.attentions.{layer}"
            if layer == layers and stage < stages - 1:
                found[f"output_blocks_{number}_{2 if 'CrossAttn' in kind else 1}_conv"] = f"up_blocks.{stage}.upsamplers.0.conv"
            number += 1
    return found


def test_sdxl_names_lie_where_the_original_unet_has_them() -> None:
    layout = _ldm_layout(unet_config("sdxl"))
    parts = {"in_layers_2": "conv1", "out_layers_3": "conv2", "emb_layers_1": "time_emb_proj", "skip_connection": "conv_shortcut"}
    outside = {"conv_in", "conv_out"} | {f"{kind}_embedding.linear_{n}" for kind in ("time", "add") for n in (1, 2)}
    seen = set()
    for path in set(layer_paths("sdxl", "all")) - outside:
        name = kohya_name(path, "sdxl").removeprefix("lora_unet_")
        block = max((block for block in layout if name == block or name.startswith(block + "_")), key=len)
        inner = name.removeprefix(block).removeprefix("_")
        inner = parts[inner] if ".resnets." in path else inner
        assert f"{layout[block]}.{inner}".strip(".").replace(".", "_") == path.replace(".", "_")
        seen.add(block)
    assert seen == set(layout)
    assert {kohya_name(path, "sdxl") for path in outside} == {
        f"lora_unet_{end}"
        for end in ("input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2")
    }


def test_names_as_published_files_have_them() -> None:
    assert kohya_name(f"{BLOCK}.attn1.to_out.0", "sd1") == "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert kohya_name("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "sdxl") == (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    )
    assert kohya_name("mid_block.attentions.0.proj_in", "sdxl") == "lora_unet_middle_block_1_proj_in"
    assert kohya_name("up_blocks.1.attentions.2.proj_out", "sdxl") == "lora_unet_output_blocks_5_1_proj_out"


@pytest.mark.parametrize(("path", "family"), [("conv_in", "sd3"), ("", "sd1"), ("text_model.layers.0", "sdxl")])
def test_names_that_do_not_exist(path: str, family: str) -> None:
    with pytest.raises(InvalidInputError):
        kohya_name(path, family)


def test_two_modules_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="share the name"):
        names_of(["a.b_c", "a_b.c"], "sd1")


def test_files_for_another_base_are_told_apart() -> None:
    state = file.to_state(some_modules(), "sd1")
    assert check.unmatched([*state, "unet.down.weight", "lora_te_x.alpha"], [LINEAR], "sd1") == sorted(
        [key for key in state if "proj_in" in key] + ["unet.down.weight", "lora_te_x.alpha"]
    )
    with pytest.raises(ModelError, match="does not have"):
        file.from_state(state, [LINEAR], "sd1")


def test_sdxl_files_in_diffusers_naming_are_read_too() -> None:
    path = "down_blocks.1.attentions.0.proj_in"
    state = file.to_state({path: some_modules()[LINEAR]}, "sd1")
    assert list(file.from_state(state, [path], "sdxl")) == [path]


# -- hostile files
def _raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _entry(shape: Any = (2,), offsets: Any = (0, 4), dtype: Any = "F16") -> bytes:
    return json.dumps({"a.alpha": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


HOSTILE = {
    "empty": b"",
    "short": b"\x01\x02",
    "huge length": _raw(b"{}", length=2**63),
    "length beyond the file": _raw(b"{}", length=100),
    "not json": _raw(b"{not json}"),
    "not utf-8": _raw(b'{"\xff\xfe": 1}'),
    "deep": _raw(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "list": _raw(b"[1, 2]"),
    "no tensors": _raw(b"{}"),
    "metadata a number": _raw(b'{"__metadata__": {"a": 1}}'),
    "metadata a list": _raw(b'{"__metadata__": []}'),
    "entry a number": _raw(b'{"a.alpha": 3}'),
    "offsets beyond": _raw(_entry(offsets=(0, 4)), b""),
    "offsets reversed": _raw(_entry(offsets=(4, 0)), b"1234"),
    "offsets negative": _raw(_entry(offsets=(-4, 0)), b"1234"),
    "offsets text": _raw(_entry(offsets="04"), b"1234"),
    "one offset": _raw(_entry(offsets=(4,)), b"1234"),
    "shape too large": _raw(_entry(shape=(2**40, 2**40)), b"1234"),
    "shape missing": _raw(_entry(shape=None), b"1234"),
    "shape of truths": _raw(_entry(shape=(True, 2)), b"1234"),
    "dtype unknown": _raw(_entry(dtype="X9"), b"1234"),
    "dtype a list": _raw(_entry(dtype=[]), b"1234"),
    "holes": _raw(_entry(offsets=(4, 8)), b"12345678"),
    "pickle": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("blob", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(tmp_path: Path, blob: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(blob)
    with pytest.raises(ModelError, match="cannot be used as a LoRA"):
        file.read(path)


WRONG: dict[str, dict[str, Tensor]] = {
    "no down": {"m.lora_up.weight": torch.ones(3, 2), "m.alpha": torch.tensor(1.0)},
    "no alpha": {"m.lora_up.weight": torch.ones(3, 2), "m.lora_down.weight": torch.ones(2, 3)},
    "ranks": {"m.lora_up.weight": torch.ones(3, 2), "m.lora_down.weight": torch.ones(4, 3), "m.alpha": torch.tensor(1.0)},
    "dimensions": {"m.lora_up.weight": torch.ones(3), "m.lora_down.weight": torch.ones(2, 3), "m.alpha": torch.tensor(1.0)},
    "alphas": {"m.lora_up.weight": torch.ones(3, 2), "m.lora_down.weight": torch.ones(2, 3), "m.alpha": torch.ones(2)},
    "not finite": {
        "m.lora_up.weight": torch.ones(3, 2), "m.lora_down.weight": torch.full((2, 3), float("nan")), "m.alpha": torch.tensor(1.0),
    },
    "other kinds": {"m.hada_w1_a": torch.ones(3, 2)},
}  # fmt: skip


@pytest.mark.parametrize("state", WRONG.values(), ids=WRONG.keys())
def test_incomplete_files_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(state))
    with pytest.raises(ModelError, match="cannot be used as a LoRA"):
        file.read(path)


def test_limits_and_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    output.write(path, file.to_state(some_modules(), "sd1"), {})
    for limits in (Limits(file_bytes=100), Limits(header_bytes=100), Limits(modules=1)):
        with pytest.raises(ModelError):
            file.read(path, limits)
    with pytest.raises(ModelError, match="cannot be read"):
        file.read(tmp_path / "none.safetensors")
