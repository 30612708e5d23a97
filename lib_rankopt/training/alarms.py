"""What can go wrong in a run without stopping it, in words for people. Each alarm is raised once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

_PATIENCE = 3  # validations in a row
_WINDOW = 50  # updates
_FALL = 0.1  # of the held-out accuracy below its best
_FAR = 50.0  # z_ref in units of the logit; runs that went well came to 10


class Watch:
    """Looks at each line of metrics.

    Args:
        clip: largest norm of the gradient, 0 for none. warmup: updates of warm-up. beta: factor of the objective, where it has a z_ref.
    """

    def __init__(self, clip: float, warmup: int, beta: float = 0.0) -> None:
        self._clip, self._warmup, self._beta = clip, warmup, beta
        self._raised: set[str] = set()
        self._worse = self._fallen = 0
        self._best = 0.0
        self._norms: deque[float] = deque(maxlen=_WINDOW)
        self._active: deque[float] = deque(maxlen=_WINDOW)

    def look(self, line: Mapping[str, Any]) -> list[str]:
        """The alarms that this line gives rise to."""
        found = self._validation(line) if line.get("validation") else self._update(line)
        new = {name: f"Step {line['step']}: {text}" for name, text in found if name not in self._raised}
        self._raised.update(new)
        return list(new.values())

    def _validation(self, line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Both errors of a pair can rise while their difference looks better and better."""
        self._worse = self._worse + 1 if line["winner_drift"] > 0 else 0
        if self._worse == _PATIENCE:
            yield "winner", "preferred images are explained worse than before training. Stop, or lower the learning rate."
        accuracy = line["implicit_accuracy"]
        self._best = max(self._best, accuracy)
        self._fallen = self._fallen + 1 if accuracy < self._best - _FALL else 0
        if self._fallen == _PATIENCE:
            yield (
                "overfit",
                f"on prompts that were kept back it tells {accuracy:.0%} of the pairs right, and did {self._best:.0%} before: "
                "it overfits. Stop; the best file is kept.",
            )

    def _update(self, line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if line["step"] > self._warmup:
            self._norms.append(line["gradient_norm"])
        if self._clip and len(self._norms) == _WINDOW and min(self._norms) > 10 * self._clip:
            yield "clipped", f"every gradient is cut to less than a tenth (norm {line['gradient_norm']:.3g}). Raise clip, or lower beta."
        if "active" in line:
            self._active.append(line["active"])
            if len(self._active) == _WINDOW and max(self._active) == 0:
                yield "idle", "no image is behind the margin any more, so nothing is learnt. Stop, or raise the margin."
        if "level" in line and self._beta * line["level"] > _FAR:
            yield "level", f"z_ref has run away ({line['level']:.3g}): all images drift together. Stop, or lower the learning rate."
