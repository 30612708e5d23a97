"""Frozen records that the studies service takes and returns; JSON-able with :func:`to_json` and shared by UI, API and CLI."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RoundStatus = Literal["queued", "generating", "ready", "answered", "interrupted", "failed", "discarded"]
AnswerKind = Literal["ranking", "pair", "like", "dislike", "unlike", "skip", "none_better"]


@dataclass(frozen=True)
class StudySettings:
    """What is to be improved, and how. Immutable for the life of a study; branch to change anything.

    ``help`` metadata feeds the tab's labels, the command line's help and the API schema.
    """

    prompt: str = field(metadata={"help": "What the images should show."})
    negative_prompt: str = field(default="", metadata={"help": "What they should not show."})
    width: int = field(default=0, metadata={"help": "Pixels, multiple of 8; 0 takes the model's own size."})
    height: int = field(default=0, metadata={"help": "Pixels, multiple of 8; 0 takes the model's own size."})
    steps: int = field(default=20, metadata={"help": "Sampler steps, 1 to 150."})
    sampler: str = field(default="", metadata={"help": "Sampler, the webui's names; empty takes the model's own."})
    scheduler: str = field(default="Automatic", metadata={"help": "Noise schedule, the webui's names."})
    cfg_scale: float = field(default=0.0, metadata={"help": "Guidance, 1 to 30; 0 takes the model's own."})
    init_image: str = field(default="", metadata={"help": "Hash of an image to start from (img2img); empty starts from noise alone."})
    denoising_strength: float = field(default=0.75, metadata={"help": "How much of that image is made anew, above 0 to 1."})
    model: str = field(default="", metadata={"help": "Model name; empty takes the host's default."})
    seed: int = field(default=-1, metadata={"help": "Seed of proposals and sampler noise; -1 draws one and keeps it."})
    candidates: int = field(default=8, metadata={"help": "Images per round, 2 to 16."})
    batch_size: int = field(default=8, metadata={"help": "Images per model call at most."})
    optimizer: str = field(default="rank_step", metadata={"help": "How rankings become the next round's latents."})
    optimizer_settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "Options of the optimiser."})
    host_settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "Host-specific values."})
    selection: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "How each image is chosen among candidates while they are sampled (policy, pool, scorer …); empty: it is not."},
    )


@dataclass(frozen=True)
class Answer:
    """One feedback action on one round, as a face sends it.

    Attributes:
        kind: ``ranking`` (``tiers`` best first; candidates not named form one last unordered tier), ``pair`` (``tiers`` =
            ``((better,), (worse,))``), ``like``/``dislike``/``unlike`` (``tiers`` = ``((candidate,),)``), ``skip``, ``none_better``.
        tiers: candidate **ids** (not places on screen), best tier first.
        shown: candidate ids in the order in which they stood on screen.
        rater: name of who answered; ``"auto:<scorer>"`` for a machine.
        token: chosen by the client, unique per action; sending the same answer twice with one token counts once.
        latency_ms: from the round being complete on screen to the answer.
        scores: the numbers behind a ranking of all shown candidates, one per tier, each lower than the one before; empty where the ranker
            has none, as a person. They place the images among those of earlier rounds with numbers of the same ``scale``.
        scale: what ``scores`` are numbers of, for example ``"clip 1"``; only numbers of one scale compare.
    """

    kind: AnswerKind
    tiers: tuple[tuple[str, ...], ...] = ()
    shown: tuple[str, ...] = ()
    rater: str = "me"
    token: str | None = None
    latency_ms: int | None = None
    scores: tuple[float, ...] = ()
    scale: str = ""


@dataclass(frozen=True)
class CandidateView:
    """One candidate. ``image`` and ``latent`` are content hashes (sha256 hex), ``image`` is ``None`` until it is finished.

    ``selected``: its file tells how it was chosen among candidates while they were sampled.
    """

    id: str
    index: int
    origin: str
    latent: str
    image: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    liked: bool | None = None
    selected: bool = False


@dataclass(frozen=True)
class RoundView:
    """A round as a face shows it.

    Attributes:
        order: candidate ids in the shuffled order for the screen; place says nothing.
        incumbent: id of the incumbent's candidate, or ``None`` in a first round.
        best: id of the derived best candidate once answered.
        tiers: the derived ranking (candidate ids, best first), empty while unanswered.
        answered_by: rater of the standing answer.
        error: one sentence where ``status`` is ``failed``.
    """

    study: str
    index: int
    status: RoundStatus
    candidates: tuple[CandidateView, ...]
    order: tuple[str, ...]
    incumbent: str | None = None
    best: str | None = None
    tiers: tuple[tuple[str, ...], ...] = ()
    answered_by: str | None = None
    error: str | None = None
    created_at: str = ""


@dataclass(frozen=True)
class StudyView:
    """A study with its counts. ``start_image``/``now_image`` are hashes of the first round's chosen and the latest best image."""

    id: str
    name: str
    created_at: str
    settings: StudySettings
    rounds: int
    answered: int
    images: int
    start_image: str | None = None
    now_image: str | None = None
    parent: str | None = None
    parent_round: int | None = None
    model_sha256: str = ""
    busy: bool = False
    auto: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgressView:
    """Progress of a study's running job. ``version`` grows with every change, for long polling.

    ``job`` is ``round``, ``blind`` or ``idle``; ``previews`` maps candidate id to a version number whenever a preview is to be had.
    """

    version: int
    job: str
    round: int | None = None
    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    done: int = 0
    total: int = 0
    eta_seconds: float | None = None
    queue_position: int = 0
    previews: dict[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class BlindTrial:
    """One left/right trial; which side is which is not told until the test ends."""

    test: str
    index: int
    left: str
    right: str


@dataclass(frozen=True)
class BlindResult:
    """Result so far: ``wins`` of ``now`` over ``start`` in ``answered`` trials (ties count half), with its 95 % interval (Wilson)."""

    test: str
    trials: int
    answered: int
    wins: float
    rate: float
    low: float
    high: float
    finished: bool
    sentence: str


@dataclass(frozen=True)
class WeightsView:
    """A file of weights that is not here: get it from ``source``, put it into ``folder``."""

    file: str
    megabytes: float
    source: str
    folder: str


@dataclass(frozen=True)
class ScorerView:
    """What is known of a scorer without reading weights.

    Attributes:
        ready: its weights are here; where not, ``problem`` says in a sentence what is wrong and ``missing`` names the files.
        version, scale, relative, warning: once it has been loaded, see :class:`~lib_rankopt.scorers.ScorerInfo`; before that ``None``.
    """

    name: str
    ready: bool
    problem: str = ""
    missing: tuple[WeightsView, ...] = ()
    version: str | None = None
    scale: str | None = None
    relative: bool | None = None
    warning: str | None = None


@dataclass(frozen=True)
class ScoresView:
    """A scorer's numbers by image, higher is better, and what they mean.

    ``relative``: a number only says how an image stands among those of this call.
    """

    scorer: str
    version: str
    scale: str
    relative: bool
    warning: str
    scores: dict[str, float]


def to_json(record: Any) -> Any:
    """Turn any of these records (or a list of them) into plain JSON values."""
    if isinstance(record, (list, tuple)):
        return [to_json(r) for r in record]
    return asdict(record)
