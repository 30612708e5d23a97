"""The loop: errors under the policy and the reference, the objective's loss, one update; what it needs to go on after a kill."""

from __future__ import annotations

import math
import pickle
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.errors import MissingDependencyError, ModelError, StoreError
from lib_rankopt.training.batches import Batch, Drawing, Material
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.folder import write_file
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.objectives.base import Errors, Objective
from lib_rankopt.training.order import Order
from lib_rankopt.training.processes import Processes

_LEVEL_ITEMS = 256  # z_ref over one small batch is mostly noise
_PATH_STEPS = 20
_NORM_EVERY = 10  # two small products for each module take a few milliseconds
_FP16_SCALE = 2.0**14  # gradients of a mean over a latent underflow in half precision
_DRAWS = 10  # timesteps and noises per held-out pair; fixed, so that validations compare


class Trainer:
    """Trains the LoRA of a network on prepared material.

    Several processes divide each batch, which is as many times larger: with the gradients averaged, two processes do what one does with
    the double ``batch_size``.

    Attributes:
        step: updates done.
        average: moving average of the LoRA's weights, ``None`` without ``ema``.
    """

    def __init__(
        self,
        network: LoraNetwork,
        objective: Objective,
        material: Material,
        config: TrainingConfig,
        processes: Processes | None = None,
    ) -> None:
        self.network, self.objective, self.material, self.config = network, objective, material, config
        self.processes = processes or Processes()
        self.step = 0
        self.average = [p.detach().clone() for p in network.parameters] if config.ema else None
        self._rate = config.learning_rate or objective.learning_rate
        self._optimizer = _optimizer(network.parameters, config, self._rate)
        liked = getattr(objective, "liked_share", None)
        self._order = Order(material.items, material.sizes, config.batch_size * self.processes.count, config.seed, liked)
        self._scale = _FP16_SCALE if network.model.dtype == torch.float16 else 1.0
        self._level: deque[float] = deque(maxlen=_LEVEL_ITEMS)
        self._snapshot = [p.detach().clone() for p in network.parameters]

    def update(self) -> dict[str, float]:
        """Do one update; return what is to be watched.

        Raises:
            ModelError: the loss is no finite number; the weights are those of the step before.
        """
        lag = int(getattr(self.objective, "lag", 0))
        if self.objective.samples_policy and self.step % (lag + 1) == 0:
            self._snapshot = [p.detach().clone() for p in self.network.parameters]
        mean = self._gradients()
        limit = self.config.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters, limit))
        if not math.isfinite(norm) or not math.isfinite(mean["loss"]):
            raise ModelError(
                f"The loss of step {self.step + 1} is no finite number ({mean['loss']}). The last checkpoint is kept; go on from it "
                "with a lower learning rate, or with precision bf16 or fp32."
            )
        rate = self._rate * min(1.0, (self.step + 1) / max(1.0, self.config.warmup * self.config.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self.step += 1
        self._follow()
        change = {"change_norm": self.network.change_norm()} if self.step % _NORM_EVERY == 0 else {}
        return {**mean, "gradient_norm": norm, "learning_rate": rate, **change}

    def _gradients(self) -> dict[str, float]:
        """Leave the update's gradients on the parameters, and return the means of what is watched."""
        level = list(self._level)
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            lines = [self._backward(self.step * self.config.accumulation + micro) for micro in range(self.config.accumulation)]
            gradients = [p.grad for p in self.network.parameters if p.grad is not None]
            self.processes.average(gradients)
            if self._scale == 1.0 or all(bool(torch.isfinite(one).all()) for one in gradients):
                break
            # too large for half precision at this scale: the same batches again with half of it
            self._scale /= 2
            self._level = deque(level, maxlen=_LEVEL_ITEMS)
        if self._scale != 1.0:
            for one in gradients:
                one /= self._scale
        every = [line for part in self.processes.every(lines) for line in part]
        return {name: sum(line[name] for line in every) / len(every) for name in every[0]}

    @torch.no_grad()
    def validate(self, held_out: Material) -> dict[str, float]:
        """Share of held-out pairs whose better image the LoRA explains better than the reference does, over fixed draws."""
        with self.network.weights(self.exported):
            return self._validate(held_out)

    def _validate(self, held_out: Material) -> dict[str, float]:
        right: list[float] = []
        winners: list[float] = []
        for number in range(self.processes.rank, len(held_out.items), self.processes.count):
            for draw in range(_DRAWS):
                batch = held_out.batch([number], 7919 * number + draw, self.network.model.device, Drawing(shares_noise=True))
                errors = self._errors(batch, with_reference=True)
                logit = errors.drift[:, 1] - errors.drift[:, 0]
                right += (logit > 0).float().tolist()
                winners += errors.drift[:, 0].tolist()
        right = [value for part in self.processes.every(right) for value in part]
        winners = [value for part in self.processes.every(winners) for value in part]
        count = max(1, len(right))
        return {"implicit_accuracy": sum(right) / count, "winner_drift": sum(winners) / count}

    @property
    def exported(self) -> list[Tensor]:
        """The LoRA's weights that files get: their moving average where there is one."""
        return self.average or [p.data for p in self.network.parameters]

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs; the file is there whole or not at all.

        Raises:
            StoreError: the disk is full or the folder is not writable.
        """
        state = {
            "step": self.step,
            "lora": [p.detach().cpu() for p in self.network.parameters],
            "average": None if self.average is None else [one.cpu() for one in self.average],
            "snapshot": [one.cpu() for one in self._snapshot],
            "optimizer": self._optimizer.state_dict(),
            "level": list(self._level),
            "scale": self._scale,
        }
        write_file(path, lambda file: torch.save(state, file))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            StoreError: it cannot be read, or is of another run.
        """
        try:
            state: dict[str, Any] = torch.load(str(path), map_location="cpu", weights_only=True)
            device = self.network.model.device
            for parameter, saved in zip(self.network.parameters, state["lora"], strict=True):
                parameter.data.copy_(saved)
            self.average = None if state["average"] is None else [one.to(device) for one in state["average"]]
            self._snapshot = [one.to(device) for one in state["snapshot"]]
            self._optimizer.load_state_dict(state["optimizer"])
            self._level = deque(state["level"], maxlen=_LEVEL_ITEMS)
            self._scale = float(state.get("scale", self._scale))
            self.step = int(state["step"])
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise StoreError(f"{path}: no checkpoint of this run ({str(error)[:200]}).") from error

    def _backward(self, number: int) -> dict[str, float]:
        # a stream of its own for each batch of the run
        seed = (self.config.seed * 1_000_003 + number) % 2**63
        drawing = Drawing(self.objective.shares_noise, self.config.flip, self.config.prompt_dropout)
        batch = self.material.batch(self._order.batch(number), seed, self.network.model.device, drawing)
        if self.processes.count > 1:
            batch = batch.part(self.processes.rank, self.processes.count)
        errors = self._errors(batch, self.objective.needs_reference)
        loss = self.objective(errors)
        mean = (loss.items * batch.weights).mean()
        (mean * (self._scale / self.config.accumulation)).backward()
        watched = {"loss": mean.detach(), "error": errors.policy.detach()[:, 0].mean()}
        if errors.reference is not None:
            watched["drift"] = errors.drift.detach()[:, 0].mean()
            watched["reference_error"] = errors.reference[:, 0].mean()
        if errors.distance is not None:
            watched["distance"] = errors.distance.mean()
        watched.update((name, value.float().mean().to(mean.device)) for name, value in loss.watched.items())
        # one wait for the device, not one for each
        return dict(zip(watched, torch.stack(list(watched.values())).tolist(), strict=True))

    def _errors(self, batch: Batch, with_reference: bool) -> Errors:
        n, k = batch.tiers.shape
        x, t = self.network.noised(batch.clean, batch.noise, batch.t), batch.t
        target, condition = self.network.target(batch.clean, batch.noise, batch.t), batch.condition
        if self.objective.samples_policy and torch.is_grad_enabled():
            # the expert stands first; its partner is at the same timestep of the policy's own path, under the same prompt
            point, t_policy, said = self._policy_points(batch)
            x = _woven(self.network.noised(batch.clean, batch.noise, t_policy), point)
            target = _woven(self.network.target(batch.clean, batch.noise, t_policy), said)
            t, condition, k = t_policy.repeat_interleave(2), _doubled(batch), 2
        reference = plain = None
        if with_reference:
            with self.network.reference():
                plain = self.network.residual(x, t, condition, target)
                reference = _means(plain).view(n, k)
        residual = self.network.residual(x, t, condition, target)
        policy = _means(residual).view(n, k)
        distance = None if plain is None else _means(residual.detach() - plain).view(n, k)
        overlap = None
        if k == 2 and self.objective.kind == "pairs":
            better, worse = residual.detach().view(n, 2, -1).unbind(1)
            overlap = (better * worse).mean(1)
        level = self._running_level(policy, reference) if self.objective.uses_level and torch.is_grad_enabled() else 0.0
        return Errors(policy, reference, batch.labels, batch.tiers, overlap, level, distance)

    def _policy_points(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, t and the snapshot's prediction for each item. One offset a batch; the path ends where it is needed."""
        stride = 1000 // _PATH_STEPS
        index, offset = divmod(batch.place, stride)
        times = [stride * (_PATH_STEPS - 1 - i) + offset for i in range(_PATH_STEPS)]
        with self.network.weights(self._snapshot):
            point, said = self.network.policy_point(batch.start, batch.condition, index, times)
        return point, torch.full((len(point),), times[index], device=point.device), said

    def _running_level(self, policy: Tensor, reference: Tensor | None) -> float:
        assert reference is not None
        own = (reference - policy.detach()).flatten().tolist()
        self._level.extend(value for part in self.processes.every(own) for value in part)
        return sum(self._level) / len(self._level)

    def _follow(self) -> None:
        if self.average is None:
            return
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for mean, parameter in zip(self.average, self.network.parameters, strict=True):
            mean.lerp_(parameter.detach(), 1 - decay)


def _means(residual: Tensor) -> Tensor:
    return residual.square().mean(dim=(1, 2, 3))


def _woven(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], 1).flatten(0, 1)


def _doubled(batch: Batch) -> Conditioning:
    parts = (batch.condition.context, batch.condition.pooled, batch.condition.time_ids)
    return Conditioning(*(None if one is None else one.repeat_interleave(2, 0) for one in parts))  # type: ignore[arg-type]


def _optimizer(parameters: list[Any], config: TrainingConfig, rate: float) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        # hundreds of small matrices at once: the same numbers in less time
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=config.weight_decay, foreach=True)
    try:
        import bitsandbytes
    except ImportError as error:
        raise MissingDependencyError("optimizer adamw8bit needs bitsandbytes: pip install bitsandbytes, or take adamw.") from error
    found: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=rate, weight_decay=config.weight_decay)
    return found
