"""Bodies and answers for validation and OpenAPI, derived from the dataclasses so that there is one truth.

Works on pydantic 1 and 2: only ``create_model``, ``BaseModel`` and ``Field``.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, Field, create_model

from lib_rankopt.api import data_formats, training_info
from lib_rankopt.api.host_info import HostInfo
from lib_rankopt.hosts.gallery import Noted, SaidOfAll
from lib_rankopt.hosts.picks import PickView
from lib_rankopt.selection.record import SelectionRecord
from lib_rankopt.studies import training_views, views
from lib_rankopt.studies.data import browsing_views, comparing_views
from lib_rankopt.studies.data.jobs import JobView

PYDANTIC_1 = pydantic.VERSION.startswith("1.")


@cache
def model_of(record: type, forbid: bool = False) -> Any:
    """A pydantic model with the fields, defaults and help texts of a dataclass."""
    hints = get_type_hints(record)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        extra: dict[str, Any] = {"description": item.metadata["help"]} if "help" in item.metadata else {}
        if item.default_factory is not dataclasses.MISSING:
            value = Field(default_factory=item.default_factory, **extra)
        elif item.default is not dataclasses.MISSING:
            value = Field(default=item.default, **extra)
        else:
            value = Field(..., **extra)
        fields[item.name] = (_plain(hints[item.name]), value)
    name = f"New{record.__name__}" if forbid else record.__name__
    return create_model(name, __config__=_config("forbid" if forbid else "ignore"), **fields)


def _config(extra: str) -> Any:
    if PYDANTIC_1:
        return type("Config", (), {"extra": extra})
    return {"extra": extra, "protected_namespaces": ()}  # a field is called model_sha256


def _plain(hint: Any) -> Any:
    """Replace dataclasses by models and tuples by lists, as JSON has it."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return model_of(hint)
    if get_origin(hint) is tuple:
        return list[_plain(get_args(hint)[0])]  # type: ignore[misc]
    return hint


Host = model_of(HostInfo)
Study = model_of(views.StudyView)
Round = model_of(views.RoundView)
Progress = model_of(views.ProgressView)
Trial = model_of(views.BlindTrial)
Result = model_of(views.BlindResult)
Selection = model_of(SelectionRecord)
Pick = model_of(PickView)
GalleryLabels = model_of(SaidOfAll)
GalleryNoted = model_of(Noted)
Scorer = model_of(views.ScorerView)
Scores = model_of(views.ScoresView)
TrainingForm = model_of(training_info.TrainingForm)
TrainingRun = model_of(training_views.TrainingRunView)
Reach = model_of(training_views.Reach)
Try = model_of(training_views.TryView)
DataOverview = model_of(browsing_views.Overview)
DataSource = model_of(browsing_views.SourceView)
DataImage = model_of(browsing_views.ImageView)
DataPage = model_of(browsing_views.ImagePage)
DataDetail = model_of(browsing_views.ImageDetail)
DataDuplicates = model_of(browsing_views.Duplicates)
DataReach = model_of(browsing_views.ReachView)
DataFormats = model_of(data_formats.Formats)
Job = model_of(JobView)
RankedCollection = model_of(comparing_views.RankedCollection)
Comparison = model_of(comparing_views.Comparison)
Answered = model_of(comparing_views.Answered)
Undone = model_of(comparing_views.Undone)
Results = model_of(comparing_views.Results)
ComparingSettings = dict[str, Any]  # names and values of a RankSettings, which are checked where they are used
TrainingSettings = dict[str, Any]  # names and values of a TrainingConfig, which says itself what it does not take

if TYPE_CHECKING:

    class SettingsBody(BaseModel):
        """Stands for the derived model, which a type checker cannot see."""

    class AnswerBody(BaseModel):
        """Stands for the derived model."""
else:
    SettingsBody = model_of(views.StudySettings, forbid=True)
    AnswerBody = model_of(views.Answer, forbid=True)


class Failure(BaseModel):
    """What every refusal and every error looks like."""

    error: str = Field(default=..., description="Class of the error.")
    message: str = Field(default=..., description="One sentence for a person.")


class Version(BaseModel):
    """Which server answers."""

    version: str
    api: int = 1
    instance: str = Field(default=..., description="Changes when the server was started anew.")


class Uploaded(BaseModel):
    """A kept picture."""

    image: str = Field(default=..., description="Its hash, for a study's init_image.")


class NewStudy(BaseModel):
    """A study to create."""

    settings: SettingsBody
    name: str | None = None


class Rename(BaseModel):
    """A study's new name."""

    name: str


class Branch(BaseModel):
    """Start a new study from a round of this one."""

    after_round: int
    name: str | None = None
    changes: dict[str, Any] | None = Field(default=None, description="Settings to change in the branch.")


class Undo(BaseModel):
    """Whose last answer to take back."""

    rater: str = "me"


class Auto(BaseModel):
    """Let a scorer rank."""

    scorer: str
    rounds: int = 10


class Judge(BaseModel):
    """Score a round's images without ranking them."""

    scorer: str


class ScoreImages(BaseModel):
    """Score images that lie in the data folder."""

    images: list[str] = Field(default=..., description="Their hashes, 1 to 256.")
    prompt: str = Field(default="", description="What they should show; only scorers that look at the image alone take an empty one.")
    scorer: str = Field(default=..., description="A name that GET /scorers gives, or several joined by +.")


class StartBlind(BaseModel):
    """How many left/right trials to make."""

    trials: int = 8


class Choice(BaseModel):
    """Which side of a trial is liked better."""

    choice: Literal["left", "right", "tie"]


class BlindState(BaseModel):
    """A blind test: its result so far and the trial to show next (``null`` when it is finished)."""

    result: Result  # type: ignore[valid-type]
    trial: Trial | None = None  # type: ignore[valid-type]


class StartTry(BaseModel):
    """A blind comparison to make."""

    lora: str = Field(default="", description="One of the run's outputs; empty for the best.")
    prompts: list[str] = Field(default_factory=list, description="Empty for those that were kept back from training.")
    trials: int = 8
    weight: float = Field(default=1.0, description="Of the LoRA, -2 to 2.")


class TrainingState(BaseModel):
    """A run and its metrics, one object for each update and each validation."""

    run: TrainingRun  # type: ignore[valid-type]
    metrics: list[dict[str, Any]]


class NewImport(BaseModel):
    """A data set to read."""

    path: str = Field(default=..., description="Full path of a file or folder of the server's machine.")
    format: str = Field(default="auto", description="A format's name, or auto.")
    name: str = Field(default="", description="Of the collection; empty for the file's or folder's.")


class NewExport(BaseModel):
    """A data set to write."""

    path: str = Field(default=..., description="Full path on the server's machine; nothing may be there, or an empty folder.")
    format: str = Field(default=..., description="A format's name.")
    sources: list[str] = Field(default_factory=list, description="Ids of studies and collections; none for all of them.")


class LabelImages(BaseModel):
    """What somebody thinks of some collected images."""

    images: list[int] = Field(default=..., description="Their numbers, 1 to 500.")
    kind: Literal["like", "dislike", "unlike"] = Field(default=..., description="unlike: no opinion any more.")
    rater: str = "me"
    token: str = Field(default=..., description="Chosen by the client; sending the same again says nothing twice.")


class CaptionImages(BaseModel):
    """A caption for some collected images."""

    images: list[int] = Field(default=..., description="Their numbers, 1 to 500.")
    prompt: str


class ChosenImages(BaseModel):
    """Some collected images."""

    images: list[int] = Field(default=..., description="Their numbers, 1 to 500.")


class TakeBack(BaseModel):
    """Which answer is taken back, and by whom."""

    event: int
    rater: str = "me"
    token: str


class PickState(BaseModel):
    """The choices that a person is asked for now."""

    version: int
    questions: list[Pick]  # type: ignore[valid-type]


class Picked(BaseModel):
    """Which candidates go on; empty for all of them."""

    rows: list[int] = Field(default=..., description="Numbers of candidates, as the choice names them.")


class GalleryImages(BaseModel):
    """Images of the host's gallery, to ask what was said of them."""

    files: list[str] = Field(default=..., description="The addresses under which the page shows them.")
    rater: str = Field(default="me", max_length=100)


class NoteImage(BaseModel):
    """Something said of an image, or done with it."""

    file: str = Field(default=..., description="The address under which the page shows it.")
    kind: Literal["like", "dislike", "unlike"]
    source: Literal["", "saved", "sent", "upscaled"] = Field(default="", description="What was done; empty for what is said.")
    rater: str = Field(default="me", max_length=100)


class NewFolder(BaseModel):
    """A folder to rank, or to go on with."""

    path: str = Field(default=..., description="Whole path of a folder on this machine.")
    name: str | None = None
    settings: dict[str, Any] | None = Field(default=None, description="layout, size, within, repeats.")


class ComparingFolders(BaseModel):
    """What is ranked."""

    folders: list[RankedCollection]  # type: ignore[valid-type]
    takes_paths: bool = Field(default=..., description="Pages may name folders of this machine.")


class ComparingAnswer(BaseModel):
    """An answer to a comparison."""

    token: str = Field(default=..., description="The comparison's.")
    images: list[int] = Field(default=..., description="Numbers, in the order on screen.")
    tiers: list[list[int]] = Field(default_factory=list, description="Places in them, best first; each place in one tier.")
    skip: bool = False
    rater: str = "me"
    latency_ms: int | None = None


class ComparingLabel(BaseModel):
    """What is thought of one image."""

    token: str = Field(default=..., description="The sender's, another one for each label.")
    image: int
    label: Literal["like", "dislike", "unlike"]
    rater: str = "me"


class ComparingUndo(BaseModel):
    """Whose last answer to take back."""

    rater: str = "me"
    token: str = Field(default="", description="The sender's: the same one twice takes back one answer.")
    window: str = Field(default="", description="As for the next comparisons.")


class Empty(BaseModel):
    """A body with nothing in it."""


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Failure, "description": text}
    for code, text in {
        401: "Credentials are wanted",
        403: "Another site's page",
        404: "Does not exist",
        409: "The study has moved on",
        422: "A value cannot be used",
        500: "Generation failed",
        501: "An optional package is missing",
        507: "The store cannot be written",
    }.items()
}


def gives(model: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route answers with, for OpenAPI.

    Not its ``response_model``: FastAPI would prepare to filter what :func:`lib_rankopt.api.context.reply` has written already, which
    took half of what the API adds to the start of the webui.
    """
    return {status: {"model": model, "description": "Successful Response"}}
