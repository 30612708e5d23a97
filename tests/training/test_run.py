"""Whole runs on the pocket model: what is written, what a killed run goes on with, what the gradients are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib_rankopt.cli import main
from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.pocket import checkpoint_path
from lib_rankopt.errors import InvalidInputError, ModelError, StoreError
from lib_rankopt.training import objectives
from lib_rankopt.training.batches import Material
from lib_rankopt.training.config import TrainingConfig, from_dict
from lib_rankopt.training.data.records import Example, TrainingImage
from lib_rankopt.training.folder import RunFolder
from lib_rankopt.training.loop import Trainer
from lib_rankopt.training.lora import check
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.order import Order
from lib_rankopt.training.precompute import bucket, without_encoders
from tests.studies.trained import pairs

SIZE = (64, 64)


def network(seed: int = 0) -> LoraNetwork:
    return LoraNetwork(loading.load(checkpoint_path()), 4, 4.0, "attention", seed)


@pytest.fixture(scope="module")
def texts() -> dict[tuple[str, tuple[int, int]], Conditioning]:
    model = loading.load(checkpoint_path())
    return {(p, SIZE): Conditioning(encode_prompts(model, p, "", SIZE)[0].context.clone()) for p in ("", "a fox")}


def material(texts: dict[tuple[str, tuple[int, int]], Conditioning], kind: str) -> Material:
    generator = torch.Generator().manual_seed(3)
    images = [TrainingImage(f"{i}", Path(f"{i}"), 64, 64) for i in range(8)]
    moments = {(i.sha256, SIZE, False): torch.randn((2, 4, 8, 8), generator=generator) * 0.5 for i in images}
    if kind in ("pairs", "lists"):
        items = [Example("a fox", (images[2 * i], images[2 * i + 1]), (0, 1)) for i in range(4)]
    else:
        items = [Example("a fox", (image,), label=1 if i % 2 or kind == "experts" else -1) for i, image in enumerate(images)]
    return Material(items, [SIZE] * len(items), moments, texts)


def trainer(texts: dict[tuple[str, tuple[int, int]], Conditioning], name: str, **changes: object) -> Trainer:
    objective = objectives.create(name)
    config = TrainingConfig(objective=name, steps=20, batch_size=4, flip=False, learning_rate=1e-3, warmup=0.0, **changes)  # type: ignore[arg-type]
    return Trainer(network(), objective, material(texts, objective.kind), config)


@pytest.mark.parametrize(("name", "wanted"), [("dpo", 0.693147), ("sdpo", 0.693147), ("lpo", 0.693147), ("kto", 0.5), ("hinge", None)])
def test_before_the_first_step_policy_and_reference_are_one(texts: dict, name: str, wanted: float | None) -> None:
    first = trainer(texts, name).update()
    assert first["drift"] == pytest.approx(0, abs=1e-6)
    if wanted is None:  # the policy's own prediction is its target, so only the margin is left
        assert first["loss"] == pytest.approx(0.001, abs=1e-6)
    else:
        assert first["loss"] == pytest.approx(wanted, abs=2e-3)


def test_the_reference_holds_no_weights_of_its_own() -> None:
    one = network()
    trained = {p.data_ptr() for p in one.model.unet.parameters()}
    with one.reference():
        weights = list(one.model.unet.parameters())
    assert weights
    assert trained.issuperset(p.data_ptr() for p in weights)
    assert len(trained) == len(weights) + len(one.parameters)


def test_dpo_learns_to_tell_its_pairs(texts: dict) -> None:
    one = trainer(texts, "dpo")
    lines = [one.update() for _ in range(12)]
    assert sum(line["loss"] for line in lines[-4:]) < sum(line["loss"] for line in lines[:4])
    assert lines[-1]["logit"] > 0.1


@pytest.mark.parametrize("name", objectives.names())
def test_a_resumed_run_goes_on_bit_for_bit(texts: dict, name: str, tmp_path: Path) -> None:
    whole = trainer(texts, name, ema=0.9)
    for _ in range(2):
        whole.update()
    whole.save(tmp_path / "state.pt")
    rest = [whole.update()["loss"] for _ in range(2)]
    again = trainer(texts, name, ema=0.9)
    again.load(tmp_path / "state.pt")
    assert [again.update()["loss"] for _ in range(2)] == rest
    assert all(torch.equal(a, b) for a, b in zip(whole.average or [], again.average or [], strict=True))


def test_a_broken_checkpoint_is_refused(texts: dict, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"cut short")
    with pytest.raises(StoreError, match="no checkpoint of this run"):
        trainer(texts, "sft").load(tmp_path / "state.pt")


def test_not_a_number_stops_before_the_weights_change(texts: dict) -> None:
    one = trainer(texts, "sft")
    broken = {key: torch.full_like(value, float("nan")) for key, value in one.material.moments.items()}
    one.material = replace(one.material, moments=broken)
    before = [p.detach().clone() for p in one.network.parameters]
    with pytest.raises(ModelError, match="no finite number"):
        one.update()
    assert all(torch.equal(a, b) for a, b in zip(before, one.network.parameters, strict=True))


def test_clipping_clips(texts: dict) -> None:
    one = trainer(texts, "dpo", clip=1e-3)
    assert one.update()["gradient_norm"] > 1e-3
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in one.network.parameters]))
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


def test_two_accumulated_halves_are_one_whole_batch(texts: dict) -> None:
    """The mean over items, so that accumulation changes memory and nothing else."""
    halves, whole = trainer(texts, "sft"), trainer(texts, "sft")
    draws = [halves.material.batch(n, 7, torch.device("cpu"), _drawing()) for n in ([0, 1], [2, 3])]
    for batch in draws:
        errors = halves._errors(batch, False)
        (halves.objective(errors).items.mean() / 2).backward()
    parts = [torch.cat([getattr(b, f) for b in draws]) for f in ("clean", "noise", "t")]
    both = replace(draws[0], clean=parts[0], noise=parts[1], t=parts[2], condition=draws[0].condition.joined(draws[1].condition),
                   tiers=torch.zeros(4, 1), labels=torch.ones(4, 1), weights=torch.ones(4))  # fmt: skip
    whole.objective(whole._errors(both, False)).items.mean().backward()
    for a, b in zip(halves.network.parameters, whole.network.parameters, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def _drawing():  # type: ignore[no-untyped-def]
    from lib_rankopt.training.batches import Drawing

    return Drawing(shares_noise=False)


def test_gradients_are_those_of_two_models_with_checkpointing(texts: dict) -> None:
    """The LoRA is off for the reference and on again before backward; checkpointing computes the forward again there."""
    one = trainer(texts, "dpo")
    for p in one.network.parameters:
        p.data += 0.02
    other = network()
    for p, q in zip(other.parameters, one.network.parameters, strict=True):
        p.data = q.data.clone()
    plain = loading.load(checkpoint_path())
    one.network.model.unet.enable_gradient_checkpointing()
    one.network.model.unet.train()
    batch = one.material.batch([0, 1], 5, torch.device("cpu"), _drawing())
    one.objective(one._errors(batch, True)).items.mean().backward()
    x, target = other.noised(batch.clean, batch.noise, batch.t), batch.noise
    with torch.no_grad():
        reference = (plain.predict(x, batch.t, batch.condition) - target).square().mean((1, 2, 3)).view(2, 2)
    policy = other.residual(x, batch.t, batch.condition, target).square().mean((1, 2, 3)).view(2, 2)
    one.objective(objectives.Errors(policy, reference)).items.mean().backward()
    for a, b in zip(one.network.parameters, other.parameters, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3)


def test_order_shows_each_item_once_an_epoch_and_keeps_buckets_apart() -> None:
    items = [Example("p", ()) for _ in range(12)]
    order = Order(items, ["wide"] * 8 + ["tall"] * 4, 4, seed=1)
    batches = [order.batch(i) for i in range(3)]
    assert sorted(i for batch in batches for i in batch) == list(range(12))
    assert all(len({i < 8 for i in batch}) == 1 for batch in batches)
    assert [order.batch(i) for i in range(3, 6)] != batches


def test_liked_items_come_as_often_as_asked() -> None:
    items = [Example("p", (), label=1 if i < 2 else -1) for i in range(40)]
    order = Order(items, ["one"] * 40, 10, seed=1, liked_share=0.8)
    drawn = [i for number in range(200) for i in order.batch(number)]
    assert sum(i < 2 for i in drawn) / len(drawn) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("given", "wanted"), [((512, 512), (512, 512)), ((1024, 512), (704, 384)), ((3, 900), (256, 1024))])
def test_buckets_keep_area_and_proportions(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert bucket(*given, 512) == wanted


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"rank": 0}, "rank"),
        ({"steps": 1.5}, "steps"),
        ({"stepz": 1}, "stepz"),
        ({"precision": "int4"}, "precision"),
        ({"preset": "1gb"}, "preset"),
    ],
)
def test_configurations_say_what_is_wrong(values: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        from_dict(values)


def test_what_is_named_counts_more_than_the_preset() -> None:
    found = from_dict({"preset": "8gb", "batch_size": 5})
    assert (found.batch_size, found.accumulation, found.gradient_checkpointing) == (5, 8, True)


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = pairs(tmp_path), tmp_path / "loras"
    common = ["--data-dir", str(tmp_path / "home"), "train"]
    code = main([*common, "--objective", "dpo", "--data", str(data), "--steps", "4", "--save-every", "2", "--rank", "4",
                 "--alpha", "2",
                 "--batch-size", "2", "--held-out", "0.25", "--validate-every", "2", "--name", "t",
                 "--output", str(out), "--json"])  # fmt: skip
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [line["step"] for line in lines[:-1] if not line.get("validation")] == [1, 2, 3, 4]
    assert lines[-1]["state"] == "finished"
    assert [Path(p).name for p in lines[-1]["outputs"]] == ["t-dpo-0002.safetensors", "t-dpo-0004.safetensors"]
    state, facts = file.read(out / "t-dpo-0004.safetensors")
    unet = loading.load(checkpoint_path()).unet
    paths = [name for name, module in unet.named_modules() if hasattr(module, "weight")]
    assert check.unmatched(state, paths, "sd1") == []
    assert len(state) == 3 * 192  # kohya's set of SD1
    assert facts["ss_base_model_version"] == "sd_v1"
    assert float(state[next(key for key in state if key.endswith(".alpha"))]) == 2
    # a run that is over has nothing left to do, and says so without training again
    assert main([*common, "--resume", lines[-1]["run"], "--output", str(out), "--json"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("state") for line in again] == ["finished"]


def test_checkpoints_may_come_between_validations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data-dir", str(tmp_path / "home"), "train", "--data", str(pairs(tmp_path)), "--rank", "2", "--batch-size", "2"]
    assert main([*common, "--steps", "3", "--save-every", "1", "--validate-every", "2", "--output", str(tmp_path), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(outcome["outputs"]) == 3
    assert outcome["best"] in outcome["outputs"]


def test_a_paused_run_goes_on_to_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = pairs(tmp_path)
    arguments = ["--data", str(data), "--steps", "3", "--rank", "2", "--batch-size", "2", "--held-out", "0", "--seed", "4", "--json"]
    common = ["--data-dir", str(tmp_path / "home"), "train"]
    assert main([*common, *arguments, "--output", str(tmp_path / "whole")]) == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    original = Trainer.update

    def pausing(self: Trainer) -> dict[str, float]:
        line = original(self)
        if self.step == 2:
            for run in (tmp_path / "home" / "training").iterdir():
                if (run / "config.json").is_file():
                    RunFolder(run).order("pause")
        return line

    monkeypatch.setattr(Trainer, "update", pausing)
    assert main([*common, *arguments, "--output", str(tmp_path / "parts")]) == 0
    paused = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert paused["state"] == "paused"
    monkeypatch.setattr(Trainer, "update", original)
    assert main([*common, "--resume", paused["run"], "--output", str(tmp_path / "parts"), "--json"]) == 0
    finished = json.loads(capsys.readouterr().out.splitlines()[-1])
    first, _ = file.read(Path(whole["outputs"][-1]))
    second, _ = file.read(Path(finished["outputs"][-1]))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--objective", "spo"], "not built yet"),
        (["--objective", "nonsense"], "no objective"),
        (["--set", "beta=x", "--objective", "dpo"], "beta"),
        (["--base", "gone.safetensors"], "gone.safetensors"),
        (["--data", "gone"], "no study 'gone'"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data-dir", str(tmp_path), "train", *arguments, "--output", str(tmp_path)]) == 2
    assert word in capsys.readouterr().err


def test_encoders_leave(texts: dict) -> None:
    assert without_encoders(loading.load(checkpoint_path())).text_encoders == ()


def test_the_norm_of_the_change_is_that_of_the_products() -> None:
    one = network()
    generator = torch.Generator().manual_seed(1)
    for number, parameter in enumerate(one.parameters):
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.1 if number % 2 else 1)
    whole = torch.cat([module.delta().flatten().double() for module in one.modules().values()])
    assert one.change_norm() == pytest.approx(float(whole.norm()), rel=1e-4)


def test_the_distance_from_the_reference_is_measured_on_the_outputs(texts: dict) -> None:
    one = trainer(texts, "dpo")
    assert one.update()["distance"] == 0
    assert one.update()["distance"] > 0
