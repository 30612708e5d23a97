"""LoRAs merged into a model: the sums that other programs make, and the plain model back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion, load
from lib_rankopt.diffusion.lora import applied, file
from lib_rankopt.diffusion.lora.applied import AppliedLoras, Lora, LoraFile, summed
from lib_rankopt.diffusion.lora.targets import Target, matched, targets_of
from lib_rankopt.diffusion.pocket.paths import POCKET_DIR
from tests.diffusion.lora.samples import first_names, random_lora
from tests.diffusion.test_loading import small_model

POCKET = POCKET_DIR / "pocket.safetensors"
needs_pocket = pytest.mark.skipif(not POCKET.is_file(), reason="the pocket model's weights are not in this checkout")


@pytest.fixture
def model(tiny_path: Path) -> StableDiffusion:
    return load(tiny_path)


def targets(model: StableDiffusion) -> Mapping[str, Target]:
    return targets_of(model.unet, model.text_encoders, model.config.family)


def lora_of(model: StableDiffusion, state: Mapping[str, Tensor], te: float = 1.0, unet: float = 1.0, name: str = "x") -> Lora:
    modules = file.named(state)
    shapes = {name: (tuple(one.down.shape), tuple(one.up.shape)) for name, one in modules.items()}
    return Lora(LoraFile(Path(name), modules, ""), te, unet, matched(modules, shapes, targets(model), model.config.family, name))


def weights(model: StableDiffusion) -> dict[str, Tensor]:
    parts = (model.unet, *model.text_encoders, model.vae)
    return {f"{i}.{name}": tensor.clone() for i, part in enumerate(parts) for name, tensor in part.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def weight_of(state: Mapping[str, Tensor], target: Target) -> Tensor:
    return state[f"{target.part}.{target.path}.weight"]


@torch.no_grad()
def predicted(model: StableDiffusion) -> Tensor:
    noise = torch.Generator().manual_seed(1)
    width = int(model.config.unet["cross_attention_dim"])
    x, context = torch.randn(2, 4, 8, 8, generator=noise), torch.randn(2, 77, width, generator=noise)
    added = (torch.randn(2, 64, generator=noise), torch.randn(2, 6, generator=noise).abs() * 64) if model.config.family == "sdxl" else ()
    return model.predict(x, torch.tensor([10, 700]), Conditioning(context, *added))


# -- the sum
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_weight_gets_its_change_and_comes_back(family: str, model: StableDiffusion) -> None:
    used = model if family == "sd1" else small_model(family)
    before, state, on = weights(used), random_lora(first_names(targets(used))), AppliedLoras()
    by_target = {target: name for name, target in first_names(targets(used)).items()}
    assert {target.part for target in by_target} == set(range(len(used.text_encoders) + 1))
    on.use(used, (lora_of(used, state, te=0.5, unet=-2.0),))
    after = weights(used)
    for target, name in by_target.items():
        down, up = (state[f"{name}.{part}"].double() for part in (file.DOWN, file.UP))
        change = torch.einsum("or,r...->o...", up.flatten(1), down) * (3.0 / 2) * (0.5 if target.part else -2.0)
        wanted = weight_of(before, target).double() + change
        torch.testing.assert_close(weight_of(after, target).double(), wanted, rtol=1e-5, atol=1e-5)
    changed = {f"{target.part}.{target.path}.weight" for target in by_target}
    assert all(torch.equal(before[name], after[name]) for name in set(before) - changed)
    on.use(used, ())
    assert same(before, weights(used))


def test_sdxl_files_in_both_namings_do_the_same() -> None:
    used, outputs = small_model("sdxl"), []
    named = targets(used)
    kohya = {target: name for name, target in named.items() if name.startswith(("lora_unet_input", "lora_unet_output"))}
    ours = {target: name for name, target in named.items() if target in kohya and name not in kohya.values()}
    assert set(ours) == set(kohya)
    for names in (ours, kohya):
        ordered = sorted(names.items(), key=lambda one: one[0].path)
        on = AppliedLoras()
        on.use(used, (lora_of(used, random_lora({name: target for target, name in ordered})),))
        outputs.append(predicted(used))
        on.use(used, ())
    assert torch.equal(*outputs)
    assert not torch.allclose(outputs[0], predicted(used), atol=1e-2)


def test_factors_of_a_linear_layer_stand_for_those_of_a_1x1_convolution(model: StableDiffusion) -> None:
    ones = {name: target for name, target in first_names(targets(model)).items() if target.shape[2:] == (1, 1)}
    state, on, outputs = random_lora(ones), AppliedLoras(), []
    for form in (state, {key: tensor.flatten(1) if tensor.dim() > 1 else tensor for key, tensor in state.items()}):
        on.use(model, (lora_of(model, form),))
        outputs.append(predicted(model))
    assert ones
    assert torch.equal(*outputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(tiny_path: Path, dtype: torch.dtype) -> None:
    model = load(tiny_path, "cpu", dtype)
    before, on = weights(model), AppliedLoras()
    one, two = (lora_of(model, random_lora(first_names(targets(model)), seed=seed), name=str(seed)) for seed in (1, 2))
    on.use(model, (one, two))
    after = weights(model)
    for target in one.changes:
        base = weight_of(before, target)
        assert weight_of(after, target).dtype == dtype
        wanted = base.float() + one.changes[target].delta() + two.changes[target].delta()
        torch.testing.assert_close(weight_of(after, target).float(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    on.use(model, ())
    assert same(before, weights(model))


# -- other programs
@needs_pocket
@pytest.mark.parametrize("kind", ["full", "attention"])
@pytest.mark.parametrize("weight", [1.0, -0.7])
def test_the_output_is_that_of_pefts_adapter(kind: str, weight: float) -> None:
    pytest.importorskip("peft")
    from lib_rankopt.training.network import LoraNetwork

    network, plain = LoraNetwork(load(POCKET), 4, 6.0, kind, 3), load(POCKET)
    noise = torch.Generator().manual_seed(5)
    for up in network.parameters[1::2]:
        # values of half precision, as the file has, so that nothing but the merging differs
        up.data = (0.1 * torch.randn(up.shape, generator=noise)).half().float()
    for down in network.parameters[::2]:
        down.data = down.data.half().float()
    AppliedLoras().use(plain, (lora_of(plain, file.to_state(network.modules(), "sd1"), unet=weight),))
    for up in network.parameters[1::2]:
        up.data *= weight
    wanted, found = predicted(network.model), predicted(plain)
    assert not torch.allclose(wanted, predicted(load(POCKET)), atol=1e-2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@needs_pocket
def test_the_output_is_that_of_diffusers_own_loader() -> None:
    pytest.importorskip("peft")
    diffusers = pytest.importorskip("diffusers")
    pipeline = diffusers.StableDiffusionPipeline
    usable = getattr(diffusers.utils, "USE_PEFT_BACKEND", False)  # not with the webui's transformers
    if not usable or not all(hasattr(pipeline, name) for name in ("lora_state_dict", "load_lora_into_unet")):
        pytest.skip("this diffusers has no such loader")
    mine, theirs = load(POCKET), load(POCKET)
    full = {name: target for name, target in first_names(targets(mine), "lora_unet_").items() if "_attentions_" in name}
    state = random_lora(full, size=0.1)
    AppliedLoras().use(mine, (lora_of(mine, state),))
    converted, alphas = pipeline.lora_state_dict(dict(state))
    pipeline.load_lora_into_unet(converted, network_alphas=alphas, unet=theirs.unet)
    wanted = predicted(theirs)
    assert not torch.allclose(wanted, predicted(load(POCKET)), atol=1e-2)
    torch.testing.assert_close(predicted(mine), wanted, rtol=0, atol=1e-4)


# -- on and off
def test_sets_follow_each_other_without_a_trace(model: StableDiffusion) -> None:
    names = first_names(targets(model), "lora_unet_")
    half = dict(list(names.items())[: len(names) // 2])
    a, b = lora_of(model, random_lora(names, seed=1), name="a"), lora_of(model, random_lora(half, seed=2), name="b")
    before, on, seen = weights(model), AppliedLoras(), []
    for loras in ((a,), (b,), (a, b), (a,), (), (b,)):
        on.use(model, loras)
        seen.append(weights(model))
    assert same(seen[0], seen[3])
    assert same(seen[1], seen[5])
    assert same(seen[4], before)
    assert not same(seen[0], seen[1])
    assert not same(seen[2], seen[0])


def test_text_encoders_have_a_weight_of_their_own(model: StableDiffusion) -> None:
    state, on = random_lora(first_names(targets(model))), AppliedLoras()
    plain = encode_prompts(model, "a fox", "", (64, 64))[0].context, predicted(model)
    for te, unet in ((1.0, 0.0), (0.0, 1.0)):
        on.use(model, (lora_of(model, state, te, unet),))
        assert torch.equal(plain[0], encode_prompts(model, "a fox", "", (64, 64))[0].context) is (te == 0)
        assert torch.equal(plain[1], predicted(model)) is (unet == 0)


def test_what_is_on_already_costs_nothing(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    on, lora = AppliedLoras(), lora_of(model, random_lora(first_names(targets(model), "lora_te_")))
    on.use(model, (lora,))
    monkeypatch.setattr(applied, "merged", lambda *_: pytest.fail("merged again"))
    on.use(model, (replace(lora),))


def test_a_merge_that_fails_half_way_leaves_no_trace(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    before, on, real, calls = weights(model), AppliedLoras(), applied.merged, []
    a, b = (lora_of(model, random_lora(first_names(targets(model)), seed=seed), name=str(seed)) for seed in (1, 2))

    def failing(*args: object) -> Tensor:
        calls.append(1)
        if len(calls) == 30:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(*args)

    on.use(model, (a,))
    wanted = weights(model)
    monkeypatch.setattr(applied, "merged", failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        on.use(model, (b,))
    assert not same(wanted, weights(model))
    on.use(model, (a,))
    assert same(wanted, weights(model))
    on.use(model, ())
    assert same(before, weights(model))


def test_weights_stay_plain_where_a_caller_infers(model: StableDiffusion) -> None:
    on = AppliedLoras()
    with torch.inference_mode():
        on.use(model, (lora_of(model, random_lora(first_names(targets(model)))),))
    assert not any(parameter.is_inference() for parameter in model.unet.parameters())
    on.use(model, ())
    model.unet.requires_grad_(True)
    model.predict(torch.zeros(1, 4, 8, 8), torch.tensor([1]), Conditioning(torch.zeros(1, 77, 32))).sum().backward()


def test_the_checkpoints_file_is_not_written_to(tiny_path: Path, model: StableDiffusion) -> None:
    """Its float32 weights may be the file's own pages."""
    before = sha256(tiny_path.read_bytes()).digest()
    AppliedLoras().use(model, (lora_of(model, random_lora(first_names(targets(model)))),))
    assert sha256(tiny_path.read_bytes()).digest() == before
    assert not torch.equal(predicted(model), predicted(load(tiny_path)))


def test_weights_of_one_file_add_up_and_nothing_is_nothing() -> None:
    files = [LoraFile(Path(name), {}, "") for name in "ab"]
    a, b = (Lora(one, 0.5, 1.0, {}) for one in files)
    assert summed([b, a, b]) == (a, Lora(files[1], 1.0, 2.0, {}))
    assert summed([a, b]) == summed([b, a])
    assert summed([a, Lora(files[0], -0.5, -1.0, {}), Lora(files[1], 0.0, 0.0, {})]) == ()
    assert summed([Lora(files[1], 0.0, 0.0, {}), b]) == (b,)
    assert Lora(LoraFile(Path("a"), {}, ""), 0.5, 1.0, {}) != a
