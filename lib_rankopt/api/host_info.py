"""What a host offers, as one JSON-able record: the tab's choices and ``GET /host``."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from lib_rankopt.hosts.base import HostDefaults

if TYPE_CHECKING:
    from lib_rankopt.hosts.base import Host


KINDS = (int, float, bool, str)


@dataclass(frozen=True)
class OptionInfo:
    """One setting of an optimiser. ``kind`` is ``int``, ``float``, ``bool``, ``str`` or ``choice`` (then see ``choices``).

    Attributes:
        least, most: bounds of a number, ``None`` where it has none.
    """

    name: str
    kind: str
    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class OptimizerInfo:
    """An optimiser and its settings."""

    name: str
    help: str
    settings: tuple[OptionInfo, ...] = ()


@dataclass(frozen=True)
class HostInfo:
    """Everything that a page needs to offer choices; the first of each list is the default.

    Attributes:
        loaded: the model in use, on a host that uses no other; ``None`` where any model is loaded as it is needed.
    """

    name: str
    samplers: tuple[str, ...]
    schedulers: tuple[str, ...]
    models: tuple[str, ...]
    defaults: HostDefaults
    optimizers: tuple[OptimizerInfo, ...]
    scorers: tuple[str, ...]
    styles: tuple[str, ...] = ()
    loaded: str | None = None


def describe_host(host: Host) -> HostInfo:
    """Ask a host and the registries what there is. Loads no model."""
    from lib_rankopt import optimizers, scorers

    types = {name: optimizers.settings_type(name) for name in optimizers.names()}
    return HostInfo(
        name=host.name,
        samplers=tuple(host.samplers()),
        schedulers=tuple(host.schedulers()),
        models=tuple(host.models()),
        defaults=host.defaults(),
        optimizers=tuple(OptimizerInfo(name, _summary(kind), options_of(kind)) for name, kind in types.items()),
        scorers=tuple(scorers.names()),
        styles=tuple(host.styles()),
        loaded=host.loaded(),
    )


def _summary(kind: type) -> str:
    """First sentence of the docstring of the module that the settings live in: one optimiser per module."""
    text = sys.modules[kind.__module__].__doc__ or ""
    return text.strip().partition("\n")[0]


def options_of(settings: type) -> tuple[OptionInfo, ...]:
    """The fields of a settings dataclass as options."""
    hints = get_type_hints(settings)
    return tuple(_option(item, hints[item.name]) for item in dataclasses.fields(settings))


def _option(item: dataclasses.Field[Any], hint: Any) -> OptionInfo:
    default = item.default if item.default is not dataclasses.MISSING else None
    inner = [one for one in get_args(hint) if one is not type(None)]
    choices = tuple(str(one) for one in inner) if isinstance(default, str) else ()
    plain = hint if hint in KINDS else next((one for one in inner if one in KINDS), str)
    kind, about = "choice" if choices else plain.__name__, item.metadata
    return OptionInfo(item.name, kind, default, about.get("help", ""), choices, about.get("least"), about.get("most"))
