"""Every schedule against its formula, written out here a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lib_rankopt.diffusion import schedules
from lib_rankopt.diffusion.denoiser import NoiseSchedule

N = 20


def model_sigma(levels: NoiseSchedule, t: float) -> float:
    low, high, part = math.floor(t), math.ceil(t), t % 1
    logs = levels.sigmas.double().log()
    return float(((1 - part) * logs[low] + part * logs[high]).exp())


def karras(levels: NoiseSchedule) -> list[float]:
    low, high = levels.sigma_min ** (1 / 7), levels.sigma_max ** (1 / 7)
    return [(high + i / (N - 1) * (low - high)) ** 7 for i in range(N)] + [0]


def exponential(levels: NoiseSchedule) -> list[float]:
    low, high = math.log(levels.sigma_min), math.log(levels.sigma_max)
    return [math.exp(high + i / (N - 1) * (low - high)) for i in range(N)] + [0]


def evenly(levels: NoiseSchedule) -> list[float]:
    return [model_sigma(levels, 999 - 999 * i / (N - 1)) for i in range(N)] + [0]


def sgm(levels: NoiseSchedule) -> list[float]:
    return [model_sigma(levels, 999 - 999 * i / N) for i in range(N)] + [0]


def kl(levels: NoiseSchedule) -> list[float]:
    low, high = math.atan(levels.sigma_min), math.atan(levels.sigma_max)
    return [math.tan(i / N * low + (1 - i / N) * high) for i in range(N + 1)]


def simple(levels: NoiseSchedule) -> list[float]:
    return [float(levels.sigmas[-(1 + int(i * 1000 / N))]) for i in range(N)] + [0]


def ddim(levels: NoiseSchedule) -> list[float]:
    return [float(levels.sigmas[t]) for t in reversed(range(1, 1000, 50))] + [0]


def beta(levels: NoiseSchedule) -> list[float]:
    places = stats.beta.ppf(1 - np.linspace(0, 1, N), 0.6, 0.6)
    return [levels.sigma_min + float(p) * (levels.sigma_max - levels.sigma_min) for p in places] + [0]


FORMULAS = {
    "Uniform": evenly,
    "Karras": karras,
    "Exponential": exponential,
    "Polyexponential": exponential,  # its exponent is 1 by default
    "SGM Uniform": sgm,
    "KL Optimal": kl,
    "Simple": simple,
    "Normal": evenly,
    "DDIM": ddim,
    "Beta": beta,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_its_formula(name: str, levels: NoiseSchedule) -> None:
    ours = schedules.sigmas(name, N, levels)
    torch.testing.assert_close(ours, torch.tensor(FORMULAS[name](levels)), rtol=2e-4, atol=1e-5)


def test_every_schedule_but_the_aligned_one_has_a_formula_here() -> None:
    assert set(schedules.NAMES) - set(FORMULAS) == {"Automatic", "Align Your Steps"}


@pytest.mark.parametrize("name", schedules.NAMES[1:])
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_levels_fall_and_end_where_they_should(name: str, n: int, levels: NoiseSchedule) -> None:
    ours = schedules.sigmas(name, n, levels)
    assert ours.dtype == torch.float32
    assert (ours.diff() < 0).all()
    assert float(ours[-1]) == pytest.approx(levels.sigma_min if name == "KL Optimal" else 0, rel=1e-4)
    assert len(ours) == n + 1 or name == "DDIM"


@pytest.mark.parametrize(("family", "second"), [("sd1", 6.475), ("sdxl", 6.315)])
def test_aligned_steps_are_the_published_table(family: str, second: float, levels: NoiseSchedule) -> None:
    ours = schedules.sigmas("Align Your Steps", 11, levels, family)
    assert ours[1].item() == pytest.approx(second)
    assert ours[[0, 10, 11]].tolist() == pytest.approx([14.615, 0.029, 0])


def test_aligned_steps_interpolate_in_the_logarithm(levels: NoiseSchedule) -> None:
    ours = schedules.sigmas("Align Your Steps", 21, levels)
    assert ours[1].item() == pytest.approx(math.sqrt(14.615 * 6.475), rel=1e-5)
