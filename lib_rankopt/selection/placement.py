"""Where in each sampler the rows of a batch may be exchanged, so that every row goes on exactly as if it had been alone.

A sampler keeps tensors from one line to the next: ``x``, the model's answer, and for multistep samplers earlier answers. An exchange is
exact where it reaches all of them. Two places do: the callback, in samplers that call it after the model and before they use its answer;
and the model itself, at its first call of a step, in samplers that ask it before they derive anything from ``x``. The others are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lib_rankopt.errors import InvalidInputError

Place = Literal["callback", "model"]
Noise = Literal["always", "ancestral", "eta", "churn"]


@dataclass(frozen=True)
class Placement:
    """How to exchange rows in one sampler function.

    Attributes:
        place: where it is exact.
        calls: of the model in an ordinary step; the last one may have fewer.
        noise: when two rows with equal ``x`` differ afterwards: always, unless ``eta`` is 0, only with ``eta`` above 0, or only with
            ``s_churn`` above 0.
    """

    place: Place
    calls: int = 1
    noise: Noise = "ancestral"


# By name of the function: k-diffusion's, the webui's (ddim, ddim_cfgpp), Forge's (sample_ddpm) and those of diffusion/extra_samplers.py.
PLACEMENTS: dict[str, Placement] = {
    "sample_euler_ancestral": Placement("callback"),
    "sample_dpm_2_ancestral": Placement("callback", 2),
    "sample_dpmpp_2s_ancestral": Placement("callback", 2),
    "sample_dpmpp_sde": Placement("callback", 2),
    "sample_dpmpp_2m_sde": Placement("callback"),
    "sample_dpmpp_3m_sde": Placement("callback"),
    "sample_lcm": Placement("callback", noise="always"),
    "sample_ddpm": Placement("callback", noise="always"),
    "sample_ddim": Placement("callback", noise="eta"),
    "ddim": Placement("model", noise="eta"),
    "ddim_cfgpp": Placement("model", noise="eta"),
    "sample_euler": Placement("model", noise="churn"),
    "sample_heun": Placement("model", 2, "churn"),
    "sample_dpm_2": Placement("model", 2, "churn"),
}

INSTEAD = "Take Euler a, DPM++ SDE, DPM++ 2M SDE or DPM++ 3M SDE"
_NEVER = {
    "sample_dpm_fast": "its steps are not those of the schedule",
    "sample_dpm_adaptive": "its error control couples the images of a batch, and nobody knows its number of steps",
    "restart_sampler": "it goes back in the middle, so its steps are not those of the schedule",
}
_REFUSED = {
    **_NEVER,
    "sample_dpmpp_2m": "it draws no noise, so copies of a row stay copies",
    "sample_lms": "it draws no noise and hides its history",
    "plms": "it draws no noise and hides its history",
    "unipc": "it draws no noise and hides its history",
}


def looking(function: str, name: str = "") -> Placement:
    """Look up where rows may be looked at and dropped, which needs no noise and no history.

    Args:
        function, name: of the sampler; the name is for messages.

    Raises:
        InvalidInputError: not with this sampler; says what to use instead.
    """
    if function in _NEVER:
        raise InvalidInputError(
            f"Candidates cannot be compared inside the sampler '{name or function}': {_NEVER[function]}. {INSTEAD}."
        )
    return PLACEMENTS.get(function, Placement("callback"))


def placement(function: str, *, eta: float | None = None, churn: float = 0.0, name: str = "") -> Placement:
    """Look up where rows may be exchanged.

    Args:
        function: name of the sampler's function.
        eta: noise multiplier of the run; ``None`` for the sampler's own default, which is above 0 where it is an ancestral one.
        churn: ``s_churn`` of the run.
        name: of the sampler, for messages.

    Raises:
        InvalidInputError: not exactly possible with this sampler, or two equal rows would stay equal; says what to use instead.
    """
    reason = quiet(function, eta=eta, churn=churn)
    if reason is not None:
        halving = "" if function in _NEVER else ", or the policy halving"
        raise InvalidInputError(f"Paths cannot be exchanged in the sampler '{name or function}': {reason}. {INSTEAD}{halving}.")
    return PLACEMENTS[function]


def quiet(function: str, *, eta: float | None = None, churn: float = 0.0) -> str | None:
    """Say why copies of a row would not part again, or could not be made; ``None`` where they do. Arguments as :func:`placement`."""
    found = PLACEMENTS.get(function)
    if found is None:
        return _REFUSED.get(function, "it is not known how it keeps its state")
    if {"always": False, "ancestral": eta == 0, "eta": not eta, "churn": not churn}[found.noise]:
        what = "sigma churn" if found.noise == "churn" else "eta"
        return f"with {what} 0 it draws no noise, so copies of a path stay copies; set {what} above 0"
    return None
