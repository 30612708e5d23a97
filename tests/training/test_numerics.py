"""Numbers of the loop: reductions in float32, DRO's gradient, loss scaling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import loading
from lib_rankopt.diffusion.conditioning import encode_prompts
from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.pocket import checkpoint_path
from lib_rankopt.errors import ModelError
from lib_rankopt.training import objectives
from lib_rankopt.training.batches import Batch, Drawing, Material
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.records import Example, TrainingImage
from lib_rankopt.training.loop import Trainer
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.processes import Processes

SIZE, CPU = (64, 64), torch.device("cpu")
Texts = dict[tuple[str, tuple[int, int]], Conditioning]


def network(dtype: torch.dtype = torch.float32) -> LoraNetwork:
    return LoraNetwork(loading.load(checkpoint_path(), CPU, dtype), 4, 4.0, "attention", 0)


@pytest.fixture(scope="module")
def texts() -> Texts:
    model = loading.load(checkpoint_path())
    return {(p, SIZE): Conditioning(encode_prompts(model, p, "", SIZE)[0].context.clone()) for p in ("", "a fox")}


def material(texts: Texts, kind: str) -> Material:
    generator = torch.Generator().manual_seed(3)
    images = [TrainingImage(f"{i}", Path(f"{i}"), 64, 64) for i in range(8)]
    moments = {(i.sha256, SIZE, False): torch.randn((2, 4, 8, 8), generator=generator) * 0.5 for i in images}
    if kind == "pairs":
        items = [Example("a fox", (images[2 * i], images[2 * i + 1]), (0, 1)) for i in range(4)]
    else:
        items = [Example("a fox", (image,), label=1 if i % 2 or kind == "experts" else -1) for i, image in enumerate(images)]
    return Material(items, [SIZE] * len(items), moments, texts)


def trainer(
    texts: Texts,
    name: str,
    options: dict[str, float] | None = None,
    on: LoraNetwork | None = None,
    processes: Processes | None = None,
    batch_size: int = 4,
) -> Trainer:
    on, objective = on or network(), objectives.create(name, options)
    told = {key: Conditioning(one.context.to(on.model.dtype)) for key, one in texts.items()}  # as the network's own encoder gives them
    config = TrainingConfig(objective=name, steps=20, batch_size=batch_size, flip=False, learning_rate=1e-3, warmup=0.0, clip=0.0)
    return Trainer(on, objective, material(told, objective.kind), config, processes)


def shifted(one: LoraNetwork, seed: int = 5) -> LoraNetwork:
    """Trained a little."""
    generator = torch.Generator().manual_seed(seed)
    for p in one.parameters:
        p.data += 0.02 * torch.randn(p.shape, generator=generator)
    return one


def copied(one: LoraNetwork) -> LoraNetwork:
    other = network()
    for p, q in zip(other.parameters, one.parameters, strict=True):
        p.data = q.data.clone()
    return other


def gradients(one: LoraNetwork) -> Tensor:
    return torch.cat([p.grad.flatten() for p in one.parameters if p.grad is not None])


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


# -- half precision
def logits(texts: Texts, dtype: torch.dtype, reduce: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """DPO's logits (β 5000) of one batch; with ``reduce``, of errors that it makes of the same residuals."""
    one = trainer(texts, "dpo", on=shifted(network(dtype)))
    batch = one.material.batch([0, 1, 2, 3], 7, CPU, Drawing(shares_noise=True))
    with torch.no_grad():
        errors = one._errors(batch, with_reference=True)
        if reduce is not None:
            x, target = one.network.noised(batch.clean, batch.noise, batch.t), batch.noise
            policy = reduce(one.network.residual(x, batch.t, batch.condition, target))
            with one.network.reference():
                reference = reduce(one.network.residual(x, batch.t, batch.condition, target))
            errors = objectives.Errors(policy.view(4, 2), reference.view(4, 2))
        assert errors.policy.dtype == (torch.float32 if reduce is None else errors.policy.dtype)
        drift = errors.drift.double()
    return -2500 * (drift[:, 0] - drift[:, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squares_and_means_of_any_network_are_taken_in_float32(texts: Texts, dtype: torch.dtype) -> None:
    exact = logits(texts, dtype, lambda residual: residual.double().square().mean((1, 2, 3)))
    assert (logits(texts, dtype) - exact).abs().max() < 1e-3
    # what a reduction in 16 bits would have made of it
    rough = logits(texts, dtype, lambda residual: residual.bfloat16().square().mean((1, 2, 3)))
    assert (rough - exact).abs().max() > 1e-1


def test_a_half_precision_network_begins_where_its_reference_is_and_learns_in_float32(texts: Texts) -> None:
    one = trainer(texts, "dpo", on=network(torch.bfloat16))
    assert one.network.model.unet.conv_in.weight.dtype == torch.bfloat16
    first = one.update()
    assert first["drift"] == 0
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert {p.dtype for p in one.network.parameters} == {torch.float32}
    assert {p.grad.dtype for p in one.network.parameters if p.grad is not None} == {torch.float32}


def test_half_precision_learns_much_the_same(texts: Texts) -> None:
    found, wanted = (trainer(texts, "sft", on=shifted(network(dtype))) for dtype in (torch.bfloat16, torch.float32))
    losses = [one.update()["loss"] for one in (found, wanted)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert distance(gradients(found.network), gradients(wanted.network)) < 0.1


# -- DRO
def gated_sft(before: LoraNetwork, batch: Batch, margin: float) -> tuple[Tensor, float]:
    """Gradient of SFT on the experts that are not yet ahead, at the timesteps of the sampler's path; and their share."""
    index, offset = divmod(batch.place, 50)
    t = torch.full((len(batch.clean),), 50 * (19 - index) + offset)
    x = before.noised(batch.clean, batch.noise, t)
    error = before.residual(x, t, batch.condition, batch.noise).square().mean((1, 2, 3))
    with before.reference():
        reference = before.residual(x, t, batch.condition, batch.noise).square().mean((1, 2, 3))
    # the sample's own drift: the policy errs by nothing, the reference by its distance to the policy
    point, said = before.policy_point(batch.start, batch.condition, index, [50 * (19 - i) + offset for i in range(20)])
    with before.reference():
        sample = before.residual(point, t, batch.condition, said).square().mean((1, 2, 3))
    active = (margin + (error.detach() - reference) + sample > 0).float()
    (error * active).mean().backward()
    return gradients(before), float(active.mean())


def watched_update(one: Trainer) -> tuple[LoraNetwork, Batch, dict[str, float]]:
    """Do an update; return the network as it was before, the batch, and what the update says."""
    seen: list[Batch] = []
    original = one._errors
    one._errors = lambda batch, with_reference: (seen.append(batch), original(batch, with_reference))[1]  # type: ignore[method-assign]
    before = copied(one.network)
    line = one.update()
    one._errors = original  # type: ignore[method-assign]
    (batch,) = seen
    return before, batch, line


def margin_between(texts: Texts) -> float:
    """A margin that some experts of the batch are ahead of, and others not."""
    one = trainer(texts, "hinge", {"margin": 0.0}, on=shifted(network()))
    batch = one.material.batch(one._order.batch(0), 0, CPU, Drawing(False, False, 0.1))
    drift = one._errors(batch, with_reference=True).drift.detach()
    return float((drift[:, 1] - drift[:, 0]).median() + 1e-9)


def test_dro_with_a_fresh_snapshot_is_sft_on_those_behind_the_margin(texts: Texts) -> None:
    margin = margin_between(texts)
    assert margin > 0
    one = trainer(texts, "hinge", {"margin": margin, "lag": 0}, on=shifted(network()))
    before, batch, line = watched_update(one)
    wanted, active = gated_sft(before, batch, margin)
    assert line["active"] == active
    assert 0 < active < 1
    assert distance(gradients(one.network), wanted) < 1e-4


def test_dro_with_a_stale_snapshot_pushes_away_from_its_own_samples(texts: Texts) -> None:
    one = trainer(texts, "hinge", {"margin": 1.0, "lag": 2}, batch_size=2)
    distances = []
    for _ in range(4):
        before, batch, line = watched_update(one)
        wanted, active = gated_sft(before, batch, 1.0)
        assert line["active"] == active == 1
        distances.append(distance(gradients(one.network), wanted))
    # fresh at the first update and again at the fourth, one and two updates old between them
    assert max(distances[0], distances[3]) < 1e-4
    assert min(distances[1:3]) > 1e-3


# -- loss scaling
class Spoilt(Processes):
    """Makes a gradient infinite in some of the first passes."""

    def __init__(self, times: int) -> None:
        self.times = times

    def average(self, tensors: list[Tensor]) -> None:  # type: ignore[override]
        if self.times:
            self.times -= 1
            tensors[0].view(-1)[0] = torch.inf


def scaled(texts: Texts, scale: float, name: str = "kto", processes: Processes | None = None) -> Trainer:
    one = trainer(texts, name, on=shifted(network()), processes=processes)
    one._scale = scale
    return one


def test_a_scaled_loss_gives_the_gradients_of_the_loss(texts: Texts) -> None:
    plain, one = scaled(texts, 1.0), scaled(texts, 2.0**10)
    lines = [each._gradients() for each in (plain, one)]
    assert lines[0] == lines[1]
    assert gradients(plain.network).norm() > 0
    assert distance(gradients(one.network), gradients(plain.network)) < 1e-6
    assert one._scale == 2.0**10


def test_a_gradient_that_is_not_finite_halves_the_scale_and_repeats_the_batch(texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, one = scaled(texts, 1.0), scaled(texts, 2.0**10, processes=Spoilt(2))
    numbers: list[int] = []
    original = one._backward
    monkeypatch.setattr(one, "_backward", lambda number: (numbers.append(number), original(number))[1])
    lines = [each.update() for each in (plain, one)]
    assert (numbers, one._scale, one.step) == ([0, 0, 0], 2.0**8, 1)
    assert lines[0] == pytest.approx(lines[1], rel=1e-5)
    assert list(one._level) == list(plain._level)  # each item counts once
    for p, q in zip(one.network.parameters, plain.network.parameters, strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-4)


def test_numbers_that_are_never_finite_end_the_run(texts: Texts, tmp_path: Path) -> None:
    one = scaled(texts, 4.0, "sft", Spoilt(10**9))
    before = [p.detach().clone() for p in one.network.parameters]
    with pytest.raises(ModelError, match="no finite number"):
        one.update()
    assert (one._scale, one.step) == (1.0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, one.network.parameters, strict=True))
    one.save(tmp_path / "state.pt")
    again = scaled(texts, 2.0**14, "sft")
    again.load(tmp_path / "state.pt")
    assert again._scale == 1.0


def test_only_half_precision_is_scaled(texts: Texts) -> None:
    model = network()
    assert trainer(texts, "sft", on=model)._scale == 1.0
    model.model = replace(model.model, dtype=torch.float16)
    assert trainer(texts, "sft", on=model)._scale == 2.0**14
