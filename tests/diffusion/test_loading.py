"""Reading checkpoints: every family's key layout, folders, and files that cannot be used."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import checkpoint, config, convert, families, loading
from lib_rankopt.diffusion.config import ModelConfig
from lib_rankopt.diffusion.loading import StableDiffusion, States, assemble, load, read_config
from lib_rankopt.errors import ModelError
from tests.diffusion import ldm_layout, tiny
from tests.diffusion.ldm_layout import Shapes, UNetLayout

FAMILIES = ("sd1", "sd2", "sdxl")


def on_meta(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_size_file_converts_key_for_key(family: str) -> None:
    """Names and shapes of a whole published checkpoint: nothing is missing and nothing left over."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    shapes = ldm_layout.full(family)
    assert families.detect(shapes, "file") == family
    shape = config.bundled(family)
    tensors = on_meta(shapes)
    with torch.device("meta"):
        modules = [UNet2DConditionModel(**shape.unet), AutoencoderKL(**shape.vae)]
        encoders = [
            CLIPTextModelWithProjection(CLIPTextConfig.from_dict(dict(e.config))) for e in shape.text_encoders
        ]
    states = [convert.unet_state(tensors, shape), convert.vae_state(tensors, shape)]
    states += [convert.text_state(tensors, shape, i) for i in range(len(encoders))]
    # only SDXL's second encoder projects; older files also carry CLIP's position numbers
    unused = {"text_model.embeddings.position_ids"}
    for module, state in zip([*modules, *encoders], states, strict=True):
        projected = family == "sdxl" and module is encoders[-1]
        ignored = unused if projected else unused | {"text_projection.weight"}
        expected = {n: tuple(t.shape) for n, t in module.state_dict().items() if n not in ignored}
        found = {n: tuple(t.shape) for n, t in state.items() if n not in ignored}
        assert found == expected


SMALL_LAYOUTS = {
    "sd2": UNetLayout(channels=32, mults=(1, 2, 2, 2), context=64, linear=True),
    "sdxl": UNetLayout(
        channels=32,
        mults=(1, 2, 2),
        depth=(0, 1, 2),
        middle_depth=2,
        context=96,
        linear=True,
        label_width=6 * 256 + 64,
    ),
}


def small_config(family: str) -> ModelConfig:
    """A family's configuration with every width shrunk."""
    shape = config.bundled(family)
    layout = SMALL_LAYOUTS[family]
    channels = [layout.channels * mult for mult in layout.mults]
    unet = {
        **shape.unet,
        "block_out_channels": channels,
        "cross_attention_dim": layout.context,
        "sample_size": 8,
    }
    unet["attention_head_dim"] = [c // 16 for c in channels]
    if family == "sdxl":
        unet |= {
            "transformer_layers_per_block": [1, 1, 2],
            "projection_class_embeddings_input_dim": layout.label_width,
        }
    vae = {**shape.vae, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    widths = {"sd2": (64,), "sdxl": (32, 64)}[family]
    encoders = tuple(
        replace(
            e,
            config={
                **e.config,
                "hidden_size": w,
                "intermediate_size": 4 * w,
                "num_attention_heads": 2,
                "num_hidden_layers": 3,
                "projection_dim": w,
            },
        )
        for e, w in zip(shape.text_encoders, widths, strict=True)
    )
    return replace(shape, unet=unet, vae=vae, text_encoders=encoders, image_size=64)


def small_tensors(family: str) -> dict[str, Tensor]:
    shapes = ldm_layout.unet(SMALL_LAYOUTS[family]) | ldm_layout.vae(32, (1, 1, 1, 1), 1)
    if family == "sd2":
        shapes |= ldm_layout.open_clip_text(64, 4)
    else:
        shapes |= ldm_layout.clip_text(32, 3, prefix="conditioner.embedders.0.transformer.")
        shapes |= ldm_layout.open_clip_text(64, 3, prefix="conditioner.embedders.1.model.")
    return tiny.random_state(shapes)


def small_model(family: str) -> StableDiffusion:
    shape, tensors = small_config(family), small_tensors(family)
    texts = [convert.text_state(tensors, shape, i) for i in range(len(shape.text_encoders))]
    return assemble(
        shape, States(convert.unet_state(tensors, shape), convert.vae_state(tensors, shape), texts)
    )


def test_open_clips_text_tower_gives_open_clips_output() -> None:
    """SD2's converted encoder against open_clip's own tower, at the last layer but one."""
    from open_clip.transformer import TextTransformer

    tensors = small_tensors("sd2")
    tower = TextTransformer(context_length=77, vocab_size=49408, width=64, heads=2, layers=4, output_dim=64)
    prefix = "cond_stage_model.model."
    state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    del state["logit_scale"]
    missing, unexpected = tower.load_state_dict(state, strict=False)
    assert set(missing) <= {"attn_mask"}
    assert not unexpected
    tokens = torch.tensor([[49406, 320, 1125, 539, 320, 2368, 49407, *[0] * 70]])
    mask = torch.full((77, 77), -torch.inf).triu(1)
    x = tower.token_embedding(tokens) + tower.positional_embedding
    with torch.no_grad():
        for block in tower.transformer.resblocks[:3]:
            y = block.ln_1(x) if block.attn.batch_first else block.ln_1(x).transpose(0, 1)
            attended = block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
            x = x + (attended if block.attn.batch_first else attended.transpose(0, 1))
            x = x + block.mlp(block.ln_2(x))
        expected = tower.ln_final(x)
        ours = small_model("sd2").text_encoders[0](input_ids=tokens).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_the_vaes_attention_survives_as_convolutions_of_one_pixel() -> None:
    """A converted q projection acts on the channels as the original 1×1 convolution did."""
    tensors = small_tensors("sd2")
    state = convert.vae_state(tensors, small_config("sd2"))
    kernel = tensors["first_stage_model.decoder.mid.attn_1.q.weight"]
    x = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    as_conv = torch.nn.functional.conv2d(x, kernel)
    as_linear = x.permute(0, 2, 3, 1) @ state["decoder.mid_block.attentions.0.to_q.weight"].T
    torch.testing.assert_close(as_conv.permute(0, 2, 3, 1), as_linear)


def test_a_tiny_file_with_its_yaml_loads(tiny_model: StableDiffusion) -> None:
    assert tiny_model.config.family == "sd1"
    assert tiny_model.config.prediction_type == "epsilon"
    assert tiny_model.config.image_size == 64
    assert tiny_model.config.downscale == 8
    assert not any(p.requires_grad for p in tiny_model.unet.parameters())
    assert not any(b.is_meta for b in tiny_model.text_encoders[0].buffers())


def test_loading_leaves_the_global_generator_alone(tiny_path: Path) -> None:
    before = torch.random.get_rng_state()
    load(tiny_path)
    assert torch.equal(before, torch.random.get_rng_state())


def save_folder(model: StableDiffusion, folder: Path) -> Path:
    """What diffusers' pipelines write, from the loaded modules."""
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    model.text_encoders[0].save_pretrained(folder / "text_encoder")
    tiny.write_tokenizer(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    noise = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
    }
    (folder / "scheduler/scheduler_config.json").write_text(
        json.dumps({**noise, "prediction_type": "epsilon"})
    )
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def test_a_diffusers_folder_equals_the_file_it_came_from(tiny_model: StableDiffusion, tmp_path: Path) -> None:
    folder = load(save_folder(tiny_model, tmp_path / "tiny"))
    for ours, theirs in ((tiny_model.unet, folder.unet), (tiny_model.vae, folder.vae)):
        expected = ours.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in theirs.state_dict().items())
    tokens = torch.tensor([[49406, 320, 2368, *[49407] * 74]])
    outputs = [m.text_encoders[0](input_ids=tokens).last_hidden_state for m in (tiny_model, folder)]
    assert torch.equal(*outputs)
    assert folder.config.scaling_factor == tiny_model.config.scaling_factor
    torch.testing.assert_close(folder.schedule.sigmas, tiny_model.schedule.sigmas)


def test_a_folder_without_weights_or_of_another_pipeline_is_named(
    tiny_model: StableDiffusion, tmp_path: Path
) -> None:
    folder = save_folder(tiny_model, tmp_path / "tiny")
    next((folder / "vae").glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="vae: no weights here"):
        load(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="FluxPipeline"):
        read_config(folder)


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_options_of_newer_versions_are_passed_over(tiny_model: StableDiffusion, tmp_path: Path) -> None:
    folder = save_folder(tiny_model, tmp_path / "tiny")
    for part in ("unet", "vae", "text_encoder"):
        change(folder / part / "config.json", an_option_of_tomorrow=None, _private=1)
    change(folder / "scheduler/scheduler_config.json", an_option_of_tomorrow=[1])
    assert torch.equal(load(folder).unet.conv_in.weight, tiny_model.unet.conv_in.weight)


BROKEN = [
    ("unet/config.json", {"block_out_channels": [32]}, "UNet: its configuration cannot be built"),
    ("unet/config.json", {"block_out_channels": [32, 33, 64, 64]}, "UNet: its configuration cannot be built"),
    ("unet/config.json", {"down_block_types": ["Tomorrow2D"] * 4}, "UNet: its configuration cannot be built.*Tomorrow2D"),
    ("unet/config.json", {"attention_head_dim": "x"}, "UNet: its configuration cannot be built"),
    ("unet/config.json", {"layers_per_block": []}, "UNet: its configuration cannot be built"),
    ("unet/config.json", {"sample_size": "x"}, "broken"),
    ("unet/config.json", {"sample_size": -1}, "-8 pixels"),
    ("unet/config.json", {"in_channels": "4"}, "the UNet takes 4 channels"),
    ("vae/config.json", {"block_out_channels": 3}, "broken"),
    ("vae/config.json", {"norm_num_groups": 0}, "VAE: its configuration cannot be built"),
    ("vae/config.json", {"scaling_factor": None}, "broken"),
    ("vae/config.json", {"scaling_factor": 0}, "scale factor is 0"),
    ("text_encoder/config.json", {"num_attention_heads": 0}, "text encoder: its configuration cannot be built"),
    ("text_encoder/config.json", {"hidden_size": "wide"}, "text encoder: its configuration cannot be built"),
    ("text_encoder/config.json", {"hidden_act": "tomorrow"}, "text encoder: its configuration cannot be built"),
    ("text_encoder/config.json", {"text_config": [1]}, "text encoder: its configuration cannot be built"),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "0 noise levels"),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": None}, "broken"),
    ("scheduler/scheduler_config.json", {"beta_start": "low"}, "broken"),
    ("scheduler/scheduler_config.json", {"beta_end": 1.5}, "rise between 0 and 1"),
    ("tokenizer/special_tokens_map.json", {"pad_token": {"text": "x"}}, "broken"),
]


@pytest.mark.parametrize(("file", "values", "message"), BROKEN)
def test_a_folder_with_a_broken_configuration_is_a_model_error(
    file: str, values: dict[str, object], message: str, tiny_model: StableDiffusion, tmp_path: Path
) -> None:
    folder = save_folder(tiny_model, tmp_path / "tiny")
    change(folder / file, **values)
    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_without_a_prediction_type_predicts_noise(tiny_model: StableDiffusion, tmp_path: Path) -> None:
    folder = save_folder(tiny_model, tmp_path / "tiny")
    change(folder / "scheduler/scheduler_config.json", prediction_type=None)
    assert read_config(folder).prediction_type == "epsilon"


def test_files_that_may_not_be_read_are_model_errors(
    tiny_model: StableDiffusion, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may be listed and yet be closed to this user; the tests may run as one to whom nothing is."""
    folder = save_folder(tiny_model, tmp_path / "tiny")
    file = tmp_path / "closed.safetensors"
    file.write_bytes(tiny_path.read_bytes()[:5000])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        for act in (load, read_config):
            with pytest.raises(ModelError, match=r"closed\.safetensors: not a whole"):
                act(file)
    for path in (file, folder):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "is_file", refuse)
            with pytest.raises(ModelError, match="cannot be read"):
                load(path)


def refuse(path: Path, *args: object, **kwargs: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_old_text_encoders_without_the_inner_name_load(tiny_path: Path) -> None:
    tensors = checkpoint.read_tensors(tiny_path)
    old = {n.replace("transformer.text_model.", "transformer."): t for n, t in tensors.items()}
    shape = read_config(tiny_path)
    assert convert.text_state(old, shape, 0).keys() == convert.text_state(tensors, shape, 0).keys()


def test_a_ckpt_loads_through_the_safe_unpickler(tiny_path: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": checkpoint.read_tensors(tiny_path), "epoch": 3}, tmp_path / "tiny.ckpt")
    yaml = tiny_path.with_suffix(".yaml").read_text()
    (tmp_path / "tiny.yaml").write_text(
        yaml.replace("version: tokenizer", f"version: {tiny_path.parent / 'tokenizer'}")
    )
    model = load(tmp_path / "tiny.ckpt")
    assert torch.equal(model.unet.conv_in.weight, load(tiny_path).unet.conv_in.weight)


class Exploit:
    def __reduce__(self) -> tuple:
        return print, ("this code came from a checkpoint",)


def test_a_pickle_with_code_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"state_dict": Exploit()}))
    with pytest.raises(ModelError, match="could run code"):
        load(tmp_path / "evil.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hook": Exploit()}, tmp_path / "zip.ckpt")
    with pytest.raises(ModelError, match="could run code"):
        load(tmp_path / "zip.ckpt")
    assert "came from a checkpoint" not in capfd.readouterr().out


HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.ckpt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (HTML, "web page"),
        (LFS, "Git LFS"),
        (b"\x08\0\0\0\0\0\0\0{}", "broken"),
        (b"\xff" * 64, "broken"),
    ],
)
def test_a_broken_file_gets_a_clear_message(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for act in (load, read_config):
        with pytest.raises(ModelError, match=message) as caught:
            act(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("share", [0.0005, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_truncated_file_is_refused(share: float, suffix: str, tiny_path: Path, tmp_path: Path) -> None:
    whole = tiny_path
    if suffix == ".ckpt":
        whole = tmp_path / "whole.ckpt"
        torch.save(checkpoint.read_tensors(tiny_path), whole)
    data = whole.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=f"cut{suffix}"):
        load(tmp_path / f"cut{suffix}")


def test_a_missing_file_and_a_strange_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"unknown file type '\.gguf'"):
        load(tmp_path / "model.gguf")


def with_tensors(**changes: tuple[int, ...] | None) -> Shapes:
    shapes = dict(ldm_layout.full("sd1"))
    for name, shape in changes.items():
        key = name.replace("__", ".")
        if shape is None:
            shapes = {n: s for n, s in shapes.items() if not n.startswith(key)}
        else:
            shapes[key] = shape
    return shapes


UNET = "model.diffusion_model."
FOREIGN = {
    "inpainting": (
        with_tensors(model__diffusion_model__input_blocks__0__0__weight=(320, 9, 3, 3)),
        "inpainting.*9 channels",
    ),
    "pix2pix": (with_tensors(model__diffusion_model__input_blocks__0__0__weight=(320, 8, 3, 3)), "pix2pix"),
    "no text": (with_tensors(cond_stage_model=None), "lacks a text encoder"),
    "no vae": (with_tensors(first_stage_model=None), "lacks a VAE"),
    "refiner": (
        ldm_layout.unet(UNetLayout(channels=384, mults=(1, 2, 4, 4), depth=(0, 4, 4, 0), context=1280)),
        "SDXL refiner",
    ),
    "sd3": ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (1, 1)}, "Stable Diffusion 3"),
    "flux": ({"double_blocks.0.img_attn.qkv.weight": (1, 1)}, "Flux"),
    "lora": ({"lora_unet_down_blocks_0.lora_down.weight": (1, 1)}, "a LoRA"),
    "controlnet": ({"control_model.input_hint_block.0.weight": (1, 1)}, "ControlNet"),
    "vae": ({"encoder.down.0.block.0.conv1.weight": (1, 1)}, "a VAE on its own"),
    "nothing": ({"some.weight": (1, 1)}, "no Stable Diffusion checkpoint.*some.weight"),
    "tiny without yaml": (tiny.tiny_shapes(), r"text width 32.*\.yaml"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_families_are_named(kind: str) -> None:
    shapes, message = FOREIGN[kind]
    with pytest.raises(ModelError, match=message) as caught:
        families.detect(shapes, "some.safetensors")
    assert "SD1.x" in str(caught.value) or kind == "tiny without yaml"


@pytest.mark.parametrize(
    ("remove", "add", "message"),
    [
        (
            "model.diffusion_model.middle_block.1.norm.weight",
            None,
            r"UNet: lacks mid_block.attentions.0.norm.weight",
        ),
        ("model.diffusion_model.time_embed.0.weight", None, "lacks time_embedding.linear_1.weight"),
        ("first_stage_model.decoder.conv_in.bias", None, "VAE: lacks decoder.conv_in.bias"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", None, "text encoder: lacks"),
        (None, "cond_stage_model.transformer.text_model.extra.weight", "text encoder: has unknown"),
        (None, "model.diffusion_model.middle_block.1.extra.weight", "UNet: has unknown"),
    ],
)
def test_missing_and_left_over_tensors_are_named(
    remove: str | None, add: str | None, message: str, tiny_path: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    tensors = checkpoint.read_tensors(tiny_path)
    if remove is not None:
        del tensors[remove]
    if add is not None:
        tensors[add] = torch.zeros(3)
    file = tiny_path.with_name("changed.safetensors")
    save_file(tensors, str(file))
    file.with_suffix(".yaml").write_text(tiny_path.with_suffix(".yaml").read_text())
    try:
        with pytest.raises(ModelError, match=message):
            load(file)
    finally:
        file.unlink()
        file.with_suffix(".yaml").unlink()


def test_shapes_that_do_not_fit_the_yaml_are_named(tiny_path: Path, tmp_path: Path) -> None:
    yaml = tiny_path.with_suffix(".yaml").read_text().replace("model_channels: 32", "model_channels: 64")
    yaml = yaml.replace("version: tokenizer", f"version: {tiny_path.parent / 'tokenizer'}")
    (tmp_path / "wide.safetensors").write_bytes(tiny_path.read_bytes())
    (tmp_path / "wide.yaml").write_text(yaml)
    with pytest.raises(ModelError, match=r"shapes do not fit: size mismatch for conv_in.weight"):
        load(tmp_path / "wide.safetensors")


@pytest.mark.parametrize("content", ["", "- a\n", "model: {params: {}}", "model: [", "\x00"])
def test_a_broken_yaml_is_named(content: str, tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(tiny_path.read_bytes())
    (tmp_path / "m.yaml").write_text(content)
    with pytest.raises(ModelError, match=r"m\.yaml"):
        read_config(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("z_channels: 4", "z_channels: 4.5", "latent channels .* are 4.5"),
        ("z_channels: 4", "z_channels: four", "latent channels .* are 'four'"),
        ("z_channels: 4", "z_channels: [4]", r"latent channels .* are \[4\]"),
        ("timesteps: 1000", "timesteps: 0", "0 noise levels"),
        ("timesteps: 1000", "timesteps: .inf", "is missing or wrong"),
        ("linear_end: 0.0120", "linear_end: .nan", "rise between 0 and 1"),
        ("context_dim: 32", "context_dim: []", "is missing or wrong"),
        ("channel_mult: [ 1, 2, 2, 2 ]", "channel_mult: []", "UNet: its configuration cannot be built"),
        ("num_heads: 4", "num_heads: 0", "UNet: its configuration cannot be built"),
    ],
)
def test_a_yaml_with_wrong_values_is_a_model_error(
    old: str, new: str, message: str, tiny_path: Path, tmp_path: Path
) -> None:
    yaml = tiny_path.with_suffix(".yaml").read_text()
    assert old in yaml
    (tmp_path / "m.yaml").write_text(
        yaml.replace(old, new).replace("version: tokenizer", f"version: {tiny_path.parent / 'tokenizer'}")
    )
    (tmp_path / "m.safetensors").write_bytes(tiny_path.read_bytes())
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path / "m.safetensors")
    assert str(tmp_path) in str(caught.value)


def test_the_yamls_v_parameterization_and_a_v_pred_mark_are_seen(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = tiny.write_checkpoint(tmp_path, "v", parameterization="v")
    assert read_config(file).prediction_type == "v_prediction"
    file = tiny.write_checkpoint(tmp_path, "marked")
    save_file({**load_file(file), "v_pred": torch.zeros(1)}, str(file))
    assert read_config(file).prediction_type == "v_prediction"


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_weights_of_an_sd2_file_tell_what_they_predict(kind: str) -> None:
    """At full noise an eps model returns its input, a v model something far below it here."""

    class Fake(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, context: Tensor, **_: object) -> tuple[Tensor]:
            assert t.tolist() == [999]
            assert torch.equal(context, torch.full((1, 2, 64), 0.5))
            return (x if kind == "epsilon" else x - 1.8,)

    model = replace(small_model("sd2"), unet=Fake())
    assert model.config.prediction_type is None
    assert loading._settled(model, "some file").config.prediction_type == kind


def test_the_probe_runs_in_float32_and_leaves_the_model_as_it_was() -> None:
    """In half precision a large model could overflow, and its answer would depend on the device."""
    model = small_model("sd2")
    unet = model.unet.to(torch.bfloat16).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    seen: list[torch.dtype] = []
    handle = unet.conv_in.register_forward_hook(lambda _module, args, _output: seen.append(args[0].dtype))
    settled = loading._settled(replace(model, dtype=torch.bfloat16), "some file")
    handle.remove()
    assert seen == [torch.float32]
    assert settled.config.prediction_type in ("epsilon", "v_prediction")
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    assert all(p.dtype == torch.bfloat16 and not p.is_inference() for p in unet.parameters())


def test_a_probe_that_gives_no_number_is_a_model_error() -> None:
    model = small_model("sd2")
    torch.nn.init.constant_(model.unet.conv_out.bias, torch.nan)
    with pytest.raises(ModelError, match=r"some file: the UNet returns not-a-number"):
        loading._settled(model, "some file")


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_small_models_of_the_other_families_predict_and_decode(family: str) -> None:
    from lib_rankopt.diffusion.conditioning import encode_prompts

    model = small_model(family)
    cond, uncond = encode_prompts(model, "a fox", "blurry", (64, 64))
    x = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    outputs = [model.predict(x, torch.tensor([500.0, 500.5]), c.rows(2)) for c in (cond, uncond)]
    assert outputs[0].shape == x.shape
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert model.decode(x[:1]).shape == (1, 3, 64, 64)


def test_half_precision_keeps_sdxls_vae_in_float32() -> None:
    shape, tensors = small_config("sdxl"), small_tensors("sdxl")
    texts = [convert.text_state(tensors, shape, i) for i in range(2)]
    states = States(convert.unet_state(tensors, shape), convert.vae_state(tensors, shape), texts)
    model = assemble(shape, states, dtype=torch.bfloat16)
    assert model.unet.conv_in.weight.dtype == torch.bfloat16
    assert model.vae.post_quant_conv.weight.dtype == torch.float32


def test_the_hash_follows_the_content_of_files_and_folders(tmp_path: Path) -> None:
    import hashlib

    file = tmp_path / "a.safetensors"
    file.write_bytes(b"weights")
    assert checkpoint.sha256_of(file) == hashlib.sha256(b"weights").hexdigest()
    whole = checkpoint.sha256_of(tmp_path)
    (tmp_path / "README.md").write_text("no weights")
    assert checkpoint.sha256_of(tmp_path) == whole
    file.write_bytes(b"others")
    assert checkpoint.sha256_of(tmp_path) != whole


def test_an_unknown_noise_schedule_is_refused() -> None:
    with pytest.raises(ModelError, match="squaredcos"):
        loading.alphas_cumprod(config.BetaSchedule(0.1, 0.2, 10, "squaredcos_cap_v2"))
