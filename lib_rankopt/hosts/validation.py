"""Checks of a generation request that need no model, for every host.

Messages name the field, the value seen and what is allowed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from torch import Tensor

    from lib_rankopt.hosts.base import GenerationRequest

SIZE_RANGE = (16, 4096)  # pixels a side
SIZE_STEP = 8
STEPS_RANGE = (1, 150)
CFG_RANGE = (0.0, 100.0)
ETA_RANGE = (0.0, 1.0)
CLIP_SKIP_RANGE = (1, 12)
MAX_SEED = 2**63 - 1


def check_settings(request: GenerationRequest) -> None:
    """Check all plain values of a request, but no names and no latents.

    Raises:
        InvalidInputError: naming the first field that cannot be used.
    """
    check_text("prompt", request.prompt)
    check_text("negative_prompt", request.negative_prompt)
    check_size(request.width, request.height)
    check_seeds(request.seeds)
    _integer("steps", request.steps, *STEPS_RANGE)
    if request.clip_skip is not None:
        _integer("clip_skip", request.clip_skip, *CLIP_SKIP_RANGE)
    _integer("batch_size", request.batch_size, 1, None)
    _integer("preview_every", request.preview_every, 0, None)
    _real("cfg_scale", request.cfg_scale, *CFG_RANGE)
    if request.eta is not None:
        _real("eta", request.eta, *ETA_RANGE)
    if request.init_image is not None:
        check_init_image(request)
    if request.notes and len(request.notes) != len(request.seeds):
        raise InvalidInputError(f"notes has {len(request.notes)} entries for {len(request.seeds)} images")


def check_init_image(request: GenerationRequest) -> None:
    """Check what an img2img run starts from.

    Raises:
        InvalidInputError: no RGB image of the request's size, or a strength that is not above 0 and up to 1.
    """
    image, wanted = request.init_image, (request.width, request.height)
    mode, size = getattr(image, "mode", None), getattr(image, "size", None)
    if mode != "RGB" or size != wanted:
        raise InvalidInputError(f"init_image is {mode} of {size}, but must be RGB of {wanted}")
    _real("denoising_strength", request.denoising_strength, 0.0, 1.0)
    if request.denoising_strength == 0:
        raise InvalidInputError("denoising_strength is 0, which would change nothing; use a value above 0")


def check_text(field: str, value: Any) -> None:
    """Check a prompt: text that can be written down, with weights that can be used.

    Raises:
        InvalidInputError: no text, lone surrogates, or an emphasis out of range.
    """
    from lib_rankopt.diffusion import prompts

    if not isinstance(value, str):
        raise InvalidInputError(f"{field} is {value!r}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field} holds characters that are no text, the first at position {error.start} "
            f"({value[error.start]!a}): half of a surrogate pair; remove them"
        ) from error
    prompts.parse(value, field)


def check_size(width: Any, height: Any) -> None:
    """Check an image size in pixels.

    Raises:
        InvalidInputError: out of range or not a multiple of 8.
    """
    for field, value in (("width", width), ("height", height)):
        _integer(field, value, *SIZE_RANGE)
        if value % SIZE_STEP:
            near = max(SIZE_RANGE[0], round(value / SIZE_STEP) * SIZE_STEP)
            raise InvalidInputError(
                f"{field} is {value}, but must be a multiple of {SIZE_STEP}; {near} would do"
            )


def check_steps(steps: int, sampler: str, least: int) -> None:
    """Check the steps against what the sampler needs.

    Raises:
        InvalidInputError: too few.
    """
    if steps < least:
        raise InvalidInputError(f"steps is {steps}, but the sampler {sampler!r} needs at least {least}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Check the noise seeds, one per image.

    Raises:
        InvalidInputError: none, or one out of range.
    """
    if not seeds:
        raise InvalidInputError("seeds is empty; give one seed per image")
    for i, seed in enumerate(seeds):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise InvalidInputError(
                f"seeds[{i}] is {seed!r}, but must be a whole number from 0 to {MAX_SEED}"
            )


def check_latents(latents: Tensor | None, count: int, shape: tuple[int, int, int]) -> None:
    """Check start latents against the request's seeds and size.

    Args:
        latents: to be ``[count, *shape]``, floating point and finite, or ``None``.
        count: images asked for.
        shape: ``(C, h, w)``.

    Raises:
        InvalidInputError: naming what is wrong.
    """
    if latents is None:
        return
    import torch

    if not isinstance(latents, torch.Tensor) or not latents.is_floating_point():
        kind = str(latents.dtype) if isinstance(latents, torch.Tensor) else type(latents).__name__
        raise InvalidInputError(f"latents is {kind}, but must be a floating-point tensor")
    if tuple(latents.shape) != (count, *shape):
        raise InvalidInputError(
            f"latents has shape {list(latents.shape)}, but {count} seeds at this size and model need {[count, *shape]}"
        )
    finite = torch.isfinite(latents).flatten(1).all(dim=1)
    if not finite.all():
        rows = [i for i, ok in enumerate(finite.tolist()) if not ok]
        raise InvalidInputError(
            f"latents holds not-a-number or infinite values in row {', '.join(map(str, rows[:8]))}"
        )


def check_name(
    field: str, value: Any, known: Sequence[str], error: type[Exception] = InvalidInputError
) -> None:
    """Check that a name is known.

    Raises:
        InvalidInputError: with the closest names, or all if none is close; or another error that is asked
            for.
    """
    if value in known:
        return
    close = difflib.get_close_matches(str(value), known, n=3, cutoff=0.5)
    allowed = (
        f"did you mean {' or '.join(repr(name) for name in close)}?"
        if close
        else f"known: {', '.join(known) or 'none'}"
    )
    raise error(f"{field} {value!r} is not known; {allowed}")


def check_model_name(value: str, known: Sequence[str]) -> None:
    """Check that a model is there.

    Raises:
        NotFoundError: with the closest names.
    """
    check_name("model", value, known, NotFoundError)


def _integer(field: str, value: Any, low: int, high: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{field} is {value!r}, but must be a whole number")
    if value < low or (high is not None and value > high):
        raise InvalidInputError(f"{field} is {value}, but must be {_range(low, high)}")


def _real(field: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError(f"{field} is {value!r}, but must be a finite number")
    if not low <= value <= high:
        raise InvalidInputError(f"{field} is {value}, but must be {_range(low, high)}")


def _range(low: float, high: float | None) -> str:
    return f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"
