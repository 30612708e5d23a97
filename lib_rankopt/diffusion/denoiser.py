"""From a UNet that predicts noise (or v) at timesteps to the denoiser of sigmas that k-diffusion's samplers
call.

The maths is k-diffusion's ``CompVisDenoiser`` and ``CompVisVDenoiser`` (``external.py``) with
``quantize=False``, as in the webui.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_rankopt.errors import ModelError

PREDICTION_TYPES = ("epsilon", "v_prediction")


class NoiseSchedule:
    """The model's discrete noise levels, increasing, and the way between level and (fractional) timestep.

    Interpolation is linear in log sigma. Levels outside the table are clamped to it.

    Args:
        alphas_cumprod: ``[T]``, decreasing, in (0, 1).
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod.detach().float().cpu()
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()

    @property
    def sigma_min(self) -> float:
        return self.sigmas[0].item()

    @property
    def sigma_max(self) -> float:
        return self.sigmas[-1].item()

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """Fractional timesteps of noise levels, any shape, on ``sigma``'s device."""
        log_sigma, table = sigma.log(), self.log_sigmas.to(sigma.device)
        low = self._row_below(log_sigma, table)
        weight = (table[low] - log_sigma) / (table[low] - table[low + 1])
        weight = weight.clamp(0, 1)
        return (1 - weight) * low + weight * (low + 1)

    def _row_below(self, log_sigma: Tensor, table: Tensor) -> Tensor:
        if table.device.type == "mps":  # torch 2.1 has no searchsorted there
            row = torch.searchsorted(self.log_sigmas, log_sigma.to(self.log_sigmas.device).contiguous(), right=True) - 1
        else:
            row = torch.searchsorted(table, log_sigma.contiguous(), right=True) - 1
        return row.clamp(0, len(table) - 2).to(log_sigma.device)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Noise levels of fractional timesteps, any shape."""
        t = t.float()
        table = self.log_sigmas.to(t.device)
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * table[low] + weight * table[high]).exp()

    def uniform_sigmas(self, n: int) -> Tensor:
        """``n`` levels at evenly spaced timesteps, then 0: ``[n + 1]``."""
        t = torch.linspace(len(self.sigmas) - 1, 0, n)
        return torch.cat([self.t_to_sigma(t), torch.zeros(1)])


class LCMSchedule(NoiseSchedule):
    """The 50 of 1,000 levels on which latent consistency models are distilled; timesteps are rounded to them."""

    def __init__(self, alphas_cumprod: Tensor, kept: int = 50) -> None:
        self.stride = max(1, len(alphas_cumprod) // kept)
        super().__init__(alphas_cumprod[self.stride - 1 :: self.stride])

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        distance = (sigma.log().unsqueeze(-1) - self.log_sigmas.to(sigma.device)).abs()
        return distance.argmin(dim=-1) * self.stride + (self.stride - 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        row = (t.float() - (self.stride - 1)) / self.stride
        return super().t_to_sigma(row.clamp(0, len(self.sigmas) - 1))

    def uniform_sigmas(self, n: int) -> Tensor:
        first, last = self.sigma_to_t(self.sigmas[-1]), self.sigma_to_t(self.sigmas[0])
        t = torch.linspace(float(first), float(last), n)
        return torch.cat([self.t_to_sigma(t), torch.zeros(1)])


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told about one prompt, with a leading batch dimension of 1.

    Attributes:
        context: text encoder output ``[1, tokens, width]``.
        pooled: SDXL's pooled text ``[1, width]``.
        time_ids: SDXL's ``[1, 6]``: height, width, crop top, crop left, target height, target width (pixels).
    """

    context: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def rows(self, n: int) -> Conditioning:
        """The same for ``n`` rows."""
        return Conditioning(*(None if t is None else t.expand(n, *t.shape[1:]) for t in self._fields()))

    def joined(self, other: Conditioning) -> Conditioning:
        """These rows, then the other's."""
        pairs = zip(self._fields(), other._fields(), strict=True)
        return Conditioning(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))

    def _fields(self) -> tuple[Tensor | None, ...]:
        return self.context, self.pooled, self.time_ids


NoisePredictor = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""``(x [n, C, h, w], timesteps [n], conditioning of n rows) -> `` eps or v, float32."""


class Denoiser:
    """Predicts the clean latent from ``x = clean + sigma * noise``.

    Args:
        predict: the UNet.
        schedule: its noise levels.
        prediction_type: what it predicts, ``"epsilon"`` or ``"v_prediction"``.
    """

    def __init__(
        self, predict: NoisePredictor, schedule: NoiseSchedule, prediction_type: str = "epsilon"
    ) -> None:
        if prediction_type not in PREDICTION_TYPES:
            raise ModelError(
                f"prediction type {prediction_type!r} is not supported; known: {', '.join(PREDICTION_TYPES)}"
            )
        self.predict = predict
        self.schedule = schedule
        self.prediction_type = prediction_type

    def __call__(self, x: Tensor, sigma: Tensor, cond: Conditioning) -> Tensor:
        level = sigma[:, None, None, None]
        variance = level**2 + 1
        output = self.predict(x * variance**-0.5, self.schedule.sigma_to_t(sigma), cond)
        if self.prediction_type == "epsilon":
            return x - output * level
        return x / variance - output * (level * variance**-0.5)


class LCMDenoiser(Denoiser):
    """Adds the boundary condition of latent consistency models.

    arXiv 2310.04378, with sigma_data 0.5 and timesteps times 10, as it was published.
    """

    def __call__(self, x: Tensor, sigma: Tensor, cond: Conditioning) -> Tensor:
        t = self.schedule.sigma_to_t(sigma)[:, None, None, None] * 10.0
        c_skip, c_out = 0.25 / (t**2 + 0.25), t / (t**2 + 0.25) ** 0.5
        return c_out * super().__call__(x, sigma, cond) + c_skip * x


class CFGDenoiser:
    """Classifier-free guidance in k-diffusion's calling convention; both prompts run as one batch.

    Guidance 1 equals the conditional prediction, so the negative prompt is then not evaluated.

    Args:
        denoiser: of ``[n, C, h, w]``.
        cond, uncond: positive and negative prompt, equal token counts.
        scale: guidance, ``uncond + scale * (cond - uncond)``.
        check: called before every evaluation; raises to stop.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        cond: Conditioning,
        uncond: Conditioning,
        scale: float,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.scale = scale
        self._cond, self._uncond = cond, uncond
        self._check = check
        self._batched: dict[int, Conditioning] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self._check is not None:
            self._check()
        rows = self._rows(x.shape[0])
        if self.scale == 1.0:
            return self.denoiser(x, sigma, rows)
        cond, uncond = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), rows).chunk(2)
        return uncond + self.scale * (cond - uncond)

    def forget(self) -> None:
        """Drop the repeated prompts, which :meth:`__call__` keeps per batch size."""
        self._batched.clear()

    def _rows(self, n: int) -> Conditioning:
        if n not in self._batched:
            rows = self._cond.rows(n)
            self._batched[n] = rows if self.scale == 1.0 else rows.joined(self._uncond.rows(n))
        return self._batched[n]
