"""Lineage: every row of a batch ends exactly where the one path that it descends from would have ended alone (float64, error 0).

The samplers are k-diffusion's own functions. Row noise belongs to the row and not to the path, so a path's reference run takes the noise of
the row in which the path was at that step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_rankopt.diffusion import extra_samplers, kdiffusion
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection.placement import PLACEMENTS, looking, placement
from lib_rankopt.selection.rows import CallbackRows, ModelRows, exchange
from tests.selection.toy import ROWS, SIGMAS, STEPS, EpsModel, Noise, ddim, denoiser

SAMPLERS = {
    "sample_euler_ancestral": {"eta": 1.0},
    "sample_dpm_2_ancestral": {"eta": 1.0},
    "sample_dpmpp_2s_ancestral": {"eta": 1.0},
    "sample_dpmpp_sde": {"eta": 1.0},
    "sample_dpmpp_2m_sde": {"eta": 1.0},
    "sample_dpmpp_3m_sde": {"eta": 1.0},
    "sample_lcm": {},
    "sample_ddim": {"eta": 1.0},
    "sample_euler": {"s_churn": 8.0},
    "sample_heun": {"s_churn": 8.0},
    "sample_dpm_2": {"s_churn": 8.0},
    "ddim": {},
    "ddim_cfgpp": {},
}
Choices = dict[int, tuple[int, ...]]
SCHEDULES: dict[str, Choices] = {
    "best at every step": {step: (step % ROWS,) * ROWS for step in range(STEPS - 1)},
    "best from step 3, every second": {step: (step * 7 % ROWS,) * ROWS for step in range(3, STEPS - 1, 2)},
    "best every third": {step: (step * 5 % ROWS,) * ROWS for step in range(2, STEPS - 1, 3)},
    "two survivors": {step: (1, 1, 3, 3) if step % 2 else (0, 2, 0, 2) for step in range(1, STEPS - 1, 2)},
    "any": {3: (2, 0, 0, 3), 4: (1, 1, 3, 2), 7: (3, 2, 1, 0), 9: (0, 0, 0, 1)},
    "none": {},
}


def run(name: str, start: Tensor, draw: Callable[..., Tensor], choices: Choices, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """One run of a batch of any size, with rows exchanged as ``choices`` say."""
    def meet(step: int, _denoised: Tensor, tensors: list[Tensor]) -> None:
        if step in choices:
            exchange([tensors], torch.tensor(choices[step]))

    place = PLACEMENTS[name]
    if name.startswith("ddim"):
        eps = EpsModel()
        kept = (lambda: (eps.unguided,)) if name == "ddim_cfgpp" else tuple
        seen = ModelRows(eps, place.calls, meet, kept)
        return ddim(seen, start.clone(), draw, (lambda: eps.unguided) if name == "ddim_cfgpp" else None)
    function = getattr(extra_samplers, name, None) or getattr(kdiffusion.module(), name)
    options = dict(SAMPLERS[name])
    model: Callable[..., Tensor] = denoiser
    callback: Callable[[dict[str, Any]], None] = lambda _state: None  # noqa: E731
    if place.place == "model":
        model = ModelRows(denoiser, place.calls, meet)
        monkeypatch.setattr(kdiffusion.module().torch, "randn_like", draw)  # churn draws from torch itself
    else:
        rows = CallbackRows(meet)
        callback = lambda state: rows(state["i"], state["x"], state["denoised"])  # noqa: E731
        options["noise_sampler"] = draw
    sigmas = SIGMAS[:-1] if name == "sample_ddim" else SIGMAS
    return function(model, start.clone(), sigmas, callback=callback, disable=True, **options)


def ancestors(choices: Choices, row: int) -> list[int]:
    """The row in which the path that ends in ``row`` was at the beginning of each step, and the first of them is its start."""
    rows = [row] * (STEPS + 1)
    for step in reversed(range(STEPS)):
        rows[step] = choices[step][rows[step + 1]] if step in choices else rows[step + 1]
    return rows


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_row_goes_on_exactly_as_its_path_alone(name: str, schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choices, noise = SCHEDULES[schedule], Noise()
    churned = PLACEMENTS[name].noise == "churn"
    per_step = 2 if name == "sample_dpmpp_sde" else 1
    whole = run(name, noise.start, noise.draws(lambda _: list(range(ROWS)), per_step), choices, monkeypatch)
    for row in range(ROWS):
        rows = ancestors(choices, row)
        # churn comes before the exchange of its step, ancestral noise after it
        drawn = noise.draws(lambda step, rows=rows: [rows[step if churned else step + 1]], per_step)
        alone = run(name, noise.start[rows[0] : rows[0] + 1], drawn, {}, monkeypatch)
        assert (whole[row] - alone[0]).abs().max() == 0.0


@pytest.mark.parametrize("name", SAMPLERS)
def test_copies_part_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise()
    whole = run(name, noise.start, noise.draws(lambda _: list(range(ROWS)), 1), {4: (0,) * ROWS}, monkeypatch)
    assert (whole[1] - whole[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"])
def test_a_history_left_behind_would_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lineage test can fail: without the earlier predictions it does."""
    noise, choices = Noise(), SCHEDULES["any"]
    exact = run(name, noise.start, noise.draws(lambda _: list(range(ROWS)), 1), choices, monkeypatch)
    monkeypatch.setattr(CallbackRows, "__call__", _without_history)
    wrong = run(name, noise.start, noise.draws(lambda _: list(range(ROWS)), 1), choices, monkeypatch)
    assert (exact - wrong).abs().max() > 0.01


def test_the_unconditional_prediction_left_behind_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    noise, choices = Noise(), SCHEDULES["any"]
    exact = run("ddim_cfgpp", noise.start, noise.draws(lambda _: list(range(ROWS)), 1), choices, monkeypatch)
    real = ModelRows.__init__
    monkeypatch.setattr(ModelRows, "__init__", lambda self, model, calls, meet, kept: real(self, model, calls, meet))
    wrong = run("ddim_cfgpp", noise.start, noise.draws(lambda _: list(range(ROWS)), 1), choices, monkeypatch)
    assert (exact - wrong).abs().max() > 0.01


def test_predictions_of_another_kind_are_translated() -> None:
    seen = []
    model = ModelRows(lambda x, sigma: 2 * x, 1, lambda step, denoised, tensors: seen.append(denoised), predict=lambda x, s, a: x - a)
    model(torch.ones(2, 1, 1, 1), torch.ones(2))
    assert torch.equal(seen[0], -torch.ones(2, 1, 1, 1))


def _without_history(self: CallbackRows, step: int, x: Tensor, denoised: Tensor) -> None:
    self._meet(step, denoised, [x, denoised])


@pytest.mark.parametrize("name", ["sample_dpm_fast", "sample_dpm_adaptive", "restart_sampler", "sample_lms", "sample_nobody_knows"])
def test_the_rest_is_refused_with_what_to_use_instead(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"the sampler 'Some': .*Euler a"):
        placement(name, name="Some")


@pytest.mark.parametrize("name", ["sample_dpm_fast", "sample_dpm_adaptive", "restart_sampler"])
def test_some_cannot_even_be_looked_into(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"the sampler 'Some': .*Euler a"):
        looking(name, "Some")


@pytest.mark.parametrize("name", ["sample_dpmpp_2m", "sample_lms", "plms", "unipc", "sample_nobody_knows"])
def test_others_can_be_looked_into_at_their_callback(name: str) -> None:
    assert looking(name).place == "callback"


@pytest.mark.parametrize(("name", "options"), [("ddim", {}), ("sample_euler", {}), ("sample_euler_ancestral", {"eta": 0.0})])
def test_a_sampler_without_noise_is_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="copies of a path stay copies"):
        placement(name, **options)
    assert placement(name, eta=1.0, churn=5.0) == PLACEMENTS[name]
