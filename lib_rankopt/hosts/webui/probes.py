"""What differs between the webui's releases and its forks, asked of the code that is running and never of its name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def optional(name: str) -> Any:
    """Return a module of the webui, or ``None`` where this one has none of that name."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def accepted(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Keep the values that a processing class takes: releases before 1.9 know no ``scheduler``."""
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    return {name: value for name, value in values.items() if name in known}


def scheduler_labels() -> tuple[str, ...]:
    """Names of the noise schedules, ``Automatic`` first; older releases have them in the samplers' names."""
    module = optional("modules.sd_schedulers")
    labels = [one.label for one in module.schedulers] if module else []
    return ("Automatic", *(label for label in labels if label != "Automatic"))


def parameter_of_each(values: list[str]) -> Any:
    """Return an entry of ``extra_generation_params`` that differs between the images of a batch; ``None`` where this webui has none.

    Releases before 1.9 know only one text for all images.
    """
    if len(set(values)) == 1:
        return values[0]
    return values if optional("modules.sd_schedulers") else None


def on_host_thread(work: Callable[[], T]) -> T:
    """Run model work where this host wants it: on Forge's main thread, anywhere in the original.

    Raises:
        Whatever ``work`` raises (Forge's own loop would print and swallow it).
    """
    main_thread = optional("modules_forge.main_thread")
    if main_thread is None:
        return work()
    box: dict[str, Any] = {}

    def boxed() -> None:
        try:
            box["value"] = work()
        except BaseException as error:
            box["error"] = error

    main_thread.run_and_wait_result(boxed)
    if "error" in box:
        raise box["error"]
    return box["value"]  # type: ignore[no-any-return]
