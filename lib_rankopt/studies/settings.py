"""From what a user typed to what a study keeps: defaults filled in, every value checked."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import asdict, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.selection import settings as selection_settings
from lib_rankopt.studies.init_image import fitted
from lib_rankopt.studies.views import StudySettings

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.hosts.base import Host
    from lib_rankopt.selection.settings import Selection
    from lib_rankopt.store import BlobStore
    from lib_rankopt.store.records import StudyRecord

MAX_PROMPT_WORDS = 1000
MAX_PROMPT_CHARACTERS = 8000
MAX_NAME = 120
SEED_LIMIT = 2**32

_INTEGERS = {
    "width": (0, 16384),
    "height": (0, 16384),
    "steps": (1, 150),
    "candidates": (2, 16),
    "batch_size": (1, 64),
    "seed": (-1, SEED_LIMIT - 1),
}
_TEXTS = ("sampler", "scheduler", "model", "optimizer", "init_image")
_REPAINTING = ("init_image", "denoising_strength")  # of no effect without an image
_APART = ("eta", "clip_skip")  # kept among the host's settings, fields of a request
# Not part of an image: what only decides how many are made, in which portions, and which latents are proposed.
_NOT_PIXELS = ("seed", "candidates", "batch_size", "optimizer", "optimizer_settings")


def from_dict(values: dict[str, Any]) -> StudySettings:
    """Build settings from plain values, as the API, the command line and the store hold them.

    Raises:
        InvalidInputError: an unknown name, or no prompt.
    """
    known = [f.name for f in fields(StudySettings)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInputError(f"There is no setting {unknown[0]!r}; known are {', '.join(known)}.")
    if "prompt" not in values:
        raise InvalidInputError("The prompt is missing: write what the images should show.")
    return StudySettings(**values)


def resolve(settings: StudySettings, host: Host, blobs: BlobStore) -> StudySettings:
    """Check settings and fill in the model's own size, sampler and guidance, and a seed.

    Raises:
        InvalidInputError, NotFoundError, ModelError: the message names the setting, the value seen and what is allowed.
    """
    _check(settings)
    model = settings.model or next(iter(host.models()), "")
    own = host.defaults(model or None)
    resolved = replace(
        settings,
        model=model,
        width=settings.width or own.width,
        height=settings.height or own.height,
        sampler=settings.sampler or own.sampler,
        scheduler=settings.scheduler or own.scheduler,
        cfg_scale=float(settings.cfg_scale or own.cfg_scale),
        seed=secrets.randbelow(SEED_LIMIT) if settings.seed == -1 else settings.seed,
        selection=selection.to_dict() if (selection := selection_of(settings)) else {},
    )
    if not 1.0 <= resolved.cfg_scale <= 30.0:
        raise InvalidInputError(f"cfg_scale is {settings.cfg_scale}; use a number from 1 to 30, or 0 for the model's own.")
    for side in ("width", "height"):
        if getattr(resolved, side) % 8:
            raise InvalidInputError(f"{side} is {getattr(resolved, side)}; it must be a multiple of 8.")
    latents = _some_latent(resolved, host) if resolved.selection else None
    pinned = host.pin(request(resolved, (resolved.seed,), latents, init_image=start_of(resolved, blobs)))
    apart = {name: value for name in _APART if (value := getattr(pinned, name)) is not None}
    return replace(
        resolved,
        prompt=pinned.prompt,
        negative_prompt=pinned.negative_prompt,
        host_settings={**pinned.extra, **apart},
    )


def selection_of(settings: StudySettings) -> Selection | None:
    """Return how a study's images are chosen among candidates, ``None`` for plain runs.

    Raises:
        InvalidInputError: a value that no selection has, or a path: a study's images each go their own.
    """
    if not settings.selection:
        return None
    selection = selection_settings.from_dict(settings.selection)
    if selection.path:
        raise InvalidInputError("A study's selection takes no path: each of its images is chosen anew. Leave the path out.")
    return selection


def unattended(settings: StudySettings) -> StudySettings:
    """Return the settings with nobody asked while images are made: where a person picks, the scorer does, or there is no selection.

    The scorer judges finished images (best-of-n), because what a person's own looks are worth to it, nobody has said.
    """
    selection = selection_of(settings)
    if selection is None or selection.policy != "human":
        return settings
    if not selection.scorer:
        return replace(settings, selection={})
    return replace(settings, selection=replace(selection, policy="best-of-n", at=()).to_dict())


def _some_latent(settings: StudySettings, host: Host) -> Tensor:
    """A latent like those of the rounds: candidates that all start from it need noise to differ by, which the host is to check."""
    return host.initial_noise((settings.seed,), host.latent_shape(settings.width, settings.height, settings.model or None))


def start_of(settings: StudySettings, blobs: BlobStore) -> Image.Image | None:
    """Read the picture that a study starts from, brought to the study's size; ``None`` where it starts from noise alone.

    Raises:
        InvalidInputError: no hash. NotFoundError: there is no such image. StoreError: its file is damaged.
    """
    return fitted(blobs.load_image(settings.init_image), settings.width, settings.height) if settings.init_image else None


def request(
    settings: StudySettings,
    seeds: tuple[int, ...],
    latents: Tensor | None = None,
    preview_every: int = 0,
    notes: tuple[dict[str, str], ...] = (),
    init_image: Image.Image | None = None,
) -> GenerationRequest:
    """Return what the host is asked for; ``host_settings`` may hold ``eta`` and ``clip_skip``, the rest is the host's ``extra``."""
    extra = dict(settings.host_settings)
    known = {name: extra.pop(name) for name in _APART if name in extra}
    return GenerationRequest(
        prompt=settings.prompt,
        seeds=seeds,
        negative_prompt=settings.negative_prompt,
        latents=latents,
        width=settings.width,
        height=settings.height,
        steps=settings.steps,
        sampler=settings.sampler,
        scheduler=settings.scheduler,
        cfg_scale=settings.cfg_scale,
        model=settings.model or None,
        batch_size=settings.batch_size,
        preview_every=preview_every,
        notes=notes,
        init_image=init_image,
        denoising_strength=settings.denoising_strength,
        selection=selection_of(settings),
        extra=extra,
        **known,
    )


def note(study: StudyRecord, settings: StudySettings, where: str, latent: str) -> dict[str, str]:
    """Return what an image's parameters say of the study that it comes from.

    Args:
        where: the number of the round, as people count, or ``blind test``.
        latent: hash of the latent, by which a host with the same data folder finds it again.
    """
    return {
        "Rank-Optimize study": f"{study.name} [{study.id}]",
        "Rank-Optimize round": where,
        "Rank-Optimize optimizer": settings.optimizer,
        "Rank-Optimize latent": latent,
    }


def recipe(settings: StudySettings, model_sha256: str) -> str:
    """Return the hash of all that decides about an image besides its latent and noise seed."""
    left_out = _NOT_PIXELS if settings.init_image else (*_NOT_PIXELS, *_REPAINTING)
    values = {name: value for name, value in asdict(settings).items() if name not in left_out}
    # Only what decides about an image: how long a person is waited for, and how many run at once, does not. Without a selection there is
    # no entry, as in the recipes of images that are older than selections.
    del values["selection"]
    if selection := selection_of(settings):
        values["selection"] = selection.parameters()
    values["model_sha256"] = model_sha256
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def clean_name(name: str | None, prompt: str) -> str:
    """Return a study's name on one line: the given one, or the beginning of the prompt.

    Raises:
        InvalidInputError: too long, or nothing that can be seen.
    """
    if name is not None and not isinstance(name, str):
        raise InvalidInputError(f"A name is a text, not {name!r}.")
    given = " ".join("".join(c if c.isprintable() else " " for c in name or "").split())
    if name is not None and not given:
        raise InvalidInputError("The name is empty; write at least one letter.")
    if len(given) > MAX_NAME:
        raise InvalidInputError(f"The name has {len(given)} characters; use at most {MAX_NAME}.")
    if given:
        return given
    words = " ".join(prompt.split())
    return words if len(words) <= 60 else words[:57].rstrip() + "…"


def check_prompts(prompt: str, negative_prompt: str) -> None:
    """Check both prompts of whatever makes images.

    Raises:
        InvalidInputError: no text, too long, or an empty prompt; the negative one may be empty.
    """
    _check_prompt("prompt", prompt)
    if not prompt.strip():
        raise InvalidInputError("The prompt is empty: write what the images should show.")
    _check_prompt("negative_prompt", negative_prompt)


def _check(settings: StudySettings) -> None:
    check_prompts(settings.prompt, settings.negative_prompt)
    for name, (low, high) in _INTEGERS.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInputError(f"{name} is {value!r}; use a whole number from {low} to {high}.")
    cfg = settings.cfg_scale
    if isinstance(cfg, bool) or not isinstance(cfg, (int, float)) or not math.isfinite(cfg):
        raise InvalidInputError(f"cfg_scale is {cfg!r}; use a number from 1 to 30, or 0 for the model's own.")
    strength = settings.denoising_strength
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 < strength <= 1:
        raise InvalidInputError(f"denoising_strength is {strength!r}; use a number above 0 and up to 1.")
    for name in _TEXTS:
        if not isinstance(getattr(settings, name), str):
            raise InvalidInputError(f"{name} is {getattr(settings, name)!r}; use a name.")
    for name in ("optimizer_settings", "host_settings", "selection"):
        _check_options(name, getattr(settings, name))


def _check_prompt(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is {value!r}; use a text.")
    words = len(value.split())
    if words > MAX_PROMPT_WORDS or len(value) > MAX_PROMPT_CHARACTERS:
        raise InvalidInputError(
            f"{name} has {words} words and {len(value)} characters; use at most {MAX_PROMPT_WORDS} words and "
            f"{MAX_PROMPT_CHARACTERS} characters (a model reads about 75 tokens at a time)."
        )
    if "\0" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidInputError(f"{name} holds characters that are no text; write it again without them.")


def _check_options(name: str, value: object) -> None:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInputError(f"{name} is {value!r}; use names with values.")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} holds a value that cannot be kept ({error}); use numbers and texts.") from error
