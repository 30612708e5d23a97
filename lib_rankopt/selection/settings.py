"""What a request says about selection, and how it stands in an image's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lib_rankopt.errors import InvalidInputError

POLICIES = ("halving", "greedy", "resample", "human", "best-of-n")
POTENTIALS = ("diff", "max", "sum")
DECODERS = ("auto", "full", "cheap", "taesd")
_MOST = 64
_MOST_SECONDS = 3600.0
_LABEL = "Selection"
_OPTIONS = ("at", "every", "start", "potential", "strength", "threshold", "decoder", "hires")


@dataclass(frozen=True)
class Selection:
    """How one image is chosen among candidates while they are sampled.

    Attributes:
        policy: one of :data:`POLICIES`; ``best-of-n`` is the control, which chooses among finished images only.
        pool: what an image costs, in whole images: 2 … 64. Halving begins with twice as many candidates, the others with as many.
        scorer: name of the scorer that judges predictions and results. For ``human`` it answers when nobody does in time; may be empty.
        at: shares of the steps after which candidates are compared, increasing, above 0 and below 1; empty is the policy's own.
        every: steps between comparisons of greedy and resample. start: share of the steps before their first one.
        potential, strength, threshold: of resample, see :class:`~lib_rankopt.selection.policies.Resample`.
        decoder: what makes pictures of predictions: ``full`` VAE, ``cheap`` linear map, ``taesd`` where its weights are present, or
            ``auto``, TAESD before the whole VAE.
        at_once: candidates per model call at most; 0 for all of them. The result does not depend on it.
        wait_seconds: how long ``human`` waits for an answer.
        hires: choose in the second pass of *Hires. fix* as well (webui).
        path: the path to take, as :func:`~lib_rankopt.selection.record.path_text` writes it, instead of choosing one.

    Raises:
        InvalidInputError: the message names the field, the value seen and what is allowed.
    """

    policy: str = "halving"
    pool: int = 4
    scorer: str = "clip"
    at: tuple[float, ...] = ()
    every: int = 4
    start: float = 0.2
    potential: str = "max"
    strength: float = 4.0
    threshold: float = 0.5
    decoder: str = "auto"
    at_once: int = 0
    wait_seconds: float = 120.0
    hires: bool = False
    path: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at) if isinstance(self.at, (list, tuple)) else self.at)
        for name, allowed in (("policy", POLICIES), ("potential", POTENTIALS), ("decoder", DECODERS)):
            if getattr(self, name) not in allowed:
                raise InvalidInputError(f"selection {name} is {getattr(self, name)!r}; use {', '.join(allowed)}.")
        self._whole("pool", 2, _MOST)
        self._whole("every", 1, 150)
        self._whole("at_once", 0, 2 * _MOST)
        self._number("start", 0.0, 1.0)
        self._number("strength", 0.0, 1000.0)
        self._number("threshold", 0.0, 1.0)
        self._number("wait_seconds", 1.0, _MOST_SECONDS)
        for name, kind in (("scorer", str), ("path", str), ("hires", bool)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidInputError(f"selection {name} is {getattr(self, name)!r}; use a {kind.__name__}.")
        if not self.scorer and self.policy != "human":
            raise InvalidInputError(f"The policy '{self.policy}' needs a scorer; only 'human' chooses without.")
        self._check_at()

    @property
    def rows(self) -> int:
        """Candidates at the beginning."""
        return 2 * self.pool if self.policy == "halving" else self.pool

    def parameters(self) -> dict[str, Any]:
        """Return what an image's parameters say: policy, pool, scorer, and everything else that is not as usual."""
        usual = Selection(self.policy, self.pool, self.scorer)
        options = {name: getattr(self, name) for name in _OPTIONS if getattr(self, name) != getattr(usual, name)}
        text = " ".join(f"{name}={_text(value)}" for name, value in options.items())
        found = {"": self.policy, " pool": self.pool, " scorer": self.scorer or None, " options": text or None}
        return {_LABEL + end: value for end, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold and :func:`from_dict` reads."""
        return {**asdict(self), "at": list(self.at)}

    def _check_at(self) -> None:
        shares = self.at
        if not isinstance(shares, tuple) or not all(_is_number(share) and 0 < share < 1 for share in shares):
            raise InvalidInputError(f"selection at is {shares!r}; use shares of the steps above 0 and below 1.")
        if list(shares) != sorted(set(shares)):
            raise InvalidInputError(f"selection at is {shares!r}; the shares have to increase.")

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInputError(f"selection {name} is {value!r}; use a whole number from {low} to {high}.")

    def _number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not low <= value <= high:
            raise InvalidInputError(f"selection {name} is {value!r}; use a number from {low:g} to {high:g}.")


def from_dict(values: Mapping[str, Any]) -> Selection:
    """Build from names and values, as JSON has them.

    Raises:
        InvalidInputError: an unknown name or a value that is not allowed.
    """
    known = {field.name for field in fields(Selection)}
    if unknown := sorted(set(values) - known):
        raise InvalidInputError(f"selection knows no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    return Selection(**values)


def from_parameters(parameters: Mapping[str, Any]) -> Selection | None:
    """Read what :meth:`Selection.parameters` wrote, with the path; ``None`` where an image was not selected.

    Raises:
        InvalidInputError: a value that no selection has.
    """
    if _LABEL not in parameters:
        return None
    kinds = {field.name: type(field.default) for field in fields(Selection)}
    values: dict[str, Any] = {"policy": parameters[_LABEL], "scorer": parameters.get(f"{_LABEL} scorer", "")}
    values["path"] = parameters.get(f"{_LABEL} path", "")
    try:
        values["pool"] = int(parameters[f"{_LABEL} pool"])
        for option in parameters.get(f"{_LABEL} options", "").split():
            name, _, text = option.partition("=")
            values[name] = _value(kinds[name], text)
    except (KeyError, ValueError) as error:
        raise InvalidInputError(f"The parameters hold a selection that cannot be read: {parameters}.") from error
    return from_dict(values)


def shares_of(text: str) -> tuple[float, ...]:
    """Read shares such as ``"25% 50%"`` or ``"0.25, 0.5"``; an empty text is the policy's own.

    Raises:
        InvalidInputError: no such list.
    """
    try:
        return tuple(float(one[:-1]) / 100 if one.endswith("%") else float(one) for one in text.replace(",", " ").split())
    except ValueError as error:
        raise InvalidInputError(f"'{text}' is no list of shares of the steps; write for example 25% 50%.") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(f"{share:g}" for share in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(kind: type, text: str) -> Any:
    if kind is tuple:
        return tuple(float(share) for share in text.split("/"))
    return text == "True" if kind is bool else kind(text)
