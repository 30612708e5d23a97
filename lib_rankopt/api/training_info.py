"""What a page needs to offer a training run: objectives with their explanations, settings, presets, models, studies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_rankopt.api.host_info import OptionInfo, options_of

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService

# the page asks for these in its own way, or not at all
_APART = ("base", "data", "objective", "options", "label_weights", "name", "preset", "sample_prompts")


@dataclass(frozen=True)
class ObjectiveInfo:
    """An objective: two plain sentences on it, and its own options."""

    name: str
    title: str
    explanation: str
    kind: str
    learning_rate: float
    options: tuple[OptionInfo, ...] = ()


@dataclass(frozen=True)
class StudyChoice:
    """A study as data to learn from; ``answered`` counts its ranked rounds."""

    id: str
    name: str
    prompt: str
    answered: int
    images: int


@dataclass(frozen=True)
class CollectionChoice:
    """A collection as data to learn from; ``answered`` counts what was said about its images."""

    id: str
    name: str
    answered: int
    images: int


@dataclass(frozen=True)
class TrainingForm:
    """What there is to choose.

    Attributes:
        settings: of a run, besides objective, options, data and base.
        models: names; the first is the default.
        folders: paths of this machine may be named as data.
        lora_dir: where finished files go.
        missing: why no run can be started here, empty where one can.
    """

    objectives: tuple[ObjectiveInfo, ...]
    settings: tuple[OptionInfo, ...]
    presets: dict[str, dict[str, Any]]
    models: tuple[str, ...]
    studies: tuple[StudyChoice, ...]
    collections: tuple[CollectionChoice, ...]
    folders: bool
    lora_dir: str
    missing: str = ""


def training_form(service: StudyService, folders: bool) -> TrainingForm:
    """Describe what can be trained here."""
    from lib_rankopt.training import objectives
    from lib_rankopt.training.presets import PRESETS

    host = service.host
    folder = host.lora_dir()
    return TrainingForm(
        objectives=tuple(_objective(objectives.get(name)) for name in objectives.names()),
        settings=_settings(),
        presets=PRESETS,
        models=tuple(host.models()),
        studies=tuple(StudyChoice(s.id, s.name, s.settings.prompt, s.answered, s.images) for s in service.list()),
        collections=tuple(CollectionChoice(c.id, c.name, said, images) for c, said, images in service.data.sizes() if said),
        folders=folders,
        lora_dir=str(folder or ""),
        missing=service.training.missing(),
    )


def _objective(kind: Any) -> ObjectiveInfo:
    return ObjectiveInfo(kind.name, kind.title, kind.explanation, kind.kind, kind.learning_rate, options_of(kind))


def _settings() -> tuple[OptionInfo, ...]:
    from lib_rankopt.training.config import TrainingConfig

    choices = {one.name: tuple(one.metadata.get("choices", ())) for one in dataclasses.fields(TrainingConfig)}
    found = [one for one in options_of(TrainingConfig) if one.name not in _APART]
    return tuple(dataclasses.replace(o, kind="choice", choices=choices[o.name]) if choices[o.name] else o for o in found)
