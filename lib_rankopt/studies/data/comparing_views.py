"""Frozen records that :class:`.comparing.Comparing` takes and returns; plain values throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.studies.data.jobs import JobView

Layout = Literal["pair", "four", "list"]
Within = Literal["auto", "prompt", "any"]

LAYOUTS: tuple[Layout, ...] = ("pair", "four", "list")
WITHIN: tuple[Within, ...] = ("auto", "prompt", "any")
SMALLEST, LARGEST = 2, 8


@dataclass(frozen=True)
class RankSettings:
    """How a collection is ranked.

    Attributes:
        layout: ``pair`` (two images), ``four`` (the best of four) or ``list`` (``size`` images in order).
        size: images of a list, 2 to 8.
        within: compare images of one ``prompt`` only, or ``any``; ``auto``: of one prompt where at least half of the images share theirs
            with another one.
        repeats: share of comparisons that repeat an earlier one of the same rater, mirrored, 0 to 0.5; they tell how consistent a rater
            is and change no rating.
    """

    layout: Layout = "pair"
    size: int = 5
    within: Within = "auto"
    repeats: float = 0.05

    @property
    def shown(self) -> int:
        """Images of one comparison."""
        return {"pair": 2, "four": 4, "list": self.size}[self.layout]


def checked(values: dict[str, Any], base: RankSettings) -> RankSettings:
    """Return settings with some of them changed.

    Raises:
        InvalidInputError: there is no such setting, or its value cannot be used.
    """
    if unknown := sorted(set(values) - set(RankSettings.__dataclass_fields__)):
        raise InvalidInputError(f"There is no setting '{unknown[0][:40]}'; there are {', '.join(RankSettings.__dataclass_fields__)}.")
    merged = {**{name: getattr(base, name) for name in RankSettings.__dataclass_fields__}, **values}
    if merged["layout"] not in LAYOUTS:
        raise InvalidInputError(f"There is no layout '{str(merged['layout'])[:40]}'; there are {', '.join(LAYOUTS)}.")
    if merged["within"] not in WITHIN:
        raise InvalidInputError(f"within is '{str(merged['within'])[:40]}'; it must be one of {', '.join(WITHIN)}.")
    size, repeats = merged["size"], merged["repeats"]
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
        raise InvalidInputError(f"A list of {size} images; it must be {SMALLEST} to {LARGEST}.")
    if isinstance(repeats, bool) or not isinstance(repeats, (int, float)) or not 0 <= repeats <= 0.5:
        raise InvalidInputError(f"A share of repeats of {repeats}; it must be 0 to 0.5.")
    return RankSettings(merged["layout"], size, merged["within"], float(repeats))


def settings_of(kept: Any) -> RankSettings:
    """Return the settings kept with a collection; defaults where there are none, or none that this version knows."""
    known = {name: value for name, value in kept.items() if name in RankSettings.__dataclass_fields__} if isinstance(kept, dict) else {}
    try:
        return checked(known, RankSettings())
    except InvalidInputError:
        return RankSettings()


@dataclass(frozen=True)
class ShownImage:
    """An image to compare; width and height are 0 where they are not known. ``label``: what this rater has said of it, or empty."""

    number: int
    name: str
    prompt: str
    width: int
    height: int
    label: str = ""


@dataclass(frozen=True)
class Comparison:
    """Images to compare, in the order on screen; ``token`` goes back with the answer."""

    token: str
    images: tuple[ShownImage, ...]


@dataclass(frozen=True)
class Settled:
    """How far a collection is ranked.

    Attributes:
        comparisons: that stand, of all raters. images: that can be compared.
        settled: share of pairs whose order is known with a probability of 0.9 or more, after the running ratings, which rather
            overrate it; ``None`` where nothing can be compared. expected_tau: Kendall's τ that the present order is expected to have with
            the true one.
    """

    comparisons: int
    images: int
    settled: float | None = None
    expected_tau: float | None = None


@dataclass(frozen=True)
class Answered:
    """What became of an answer: its number, for which ``undo`` is, and how far the ranking is."""

    number: int
    progress: Settled


@dataclass(frozen=True)
class Undone:
    """What was taken back: a comparison to be shown again (``None`` where it was a label), and of which kind it was."""

    kind: str
    progress: Settled
    comparison: Comparison | None = None
    image: int = 0


@dataclass(frozen=True)
class RankedCollection:
    """A collection that is ranked.

    Attributes:
        within: what ``auto`` came to: ``prompt`` or ``any``. fitted: whether the ratings are those of all answers at once.
        job: what runs in the background for it, or ran last.
    """

    number: int
    name: str
    kind: str
    root: str
    settings: RankSettings
    within: str
    progress: Settled
    fitted: bool = False
    job: JobView | None = None


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; ``n`` is what it was counted over."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class RaterView:
    """One rater: how often they say what most of the others say, and what they said before."""

    rater: str
    answers: int
    consensus: Share | None = None
    repeats: Share | None = None


@dataclass(frozen=True)
class AgreementView:
    """How far raters agree, over pairs of images; see :class:`~lib_rankopt.evaluation.preferences.agreement.Agreement`."""

    raters: tuple[RaterView, ...] = ()
    pairs: int = 0
    shared: int = 0
    percent: Share | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class RankedImage:
    """An image with what is believed of it: natural logarithm of the odds, standard deviation, and comparisons it stood in."""

    rank: int
    number: int
    name: str
    prompt: str
    mean: float
    sd: float
    games: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Results:
    """Images from the best to the worst, a page of them; ``total`` counts those that were compared."""

    images: tuple[RankedImage, ...]
    total: int
    collection: RankedCollection
    agreement: AgreementView = field(default_factory=AgreementView)


def agreement_view(kept: Any) -> AgreementView:
    """Return the record of what :func:`agreement_values` made."""
    if not isinstance(kept, dict):
        return AgreementView()
    raters = tuple(
        RaterView(one["rater"], one["answers"], _share(one["consensus"]), _share(one["repeats"])) for one in kept.get("raters", ())
    )
    return AgreementView(raters, kept.get("pairs", 0), kept.get("shared", 0), _share(kept.get("percent")), kept.get("alpha"))


def agreement_values(found: Any) -> dict[str, Any]:
    """Return plain values of an :class:`~lib_rankopt.evaluation.preferences.agreement.Agreement`; at most a thousand raters."""
    raters = [
        {"rater": str(one.rater), "answers": one.answers, "consensus": _plain(one.consensus), "repeats": _plain(one.repeats)}
        for one in found.raters[:1000]
    ]
    return {"raters": raters, "pairs": found.pairs, "shared": found.shared, "percent": _plain(found.percent), "alpha": found.alpha_ordinal}


def _plain(share: Any) -> dict[str, Any] | None:
    return None if share is None else {"mean": share.mean, "low": share.low, "high": share.high, "n": share.n}


def _share(kept: Any) -> Share | None:
    return Share(**cast("dict[str, Any]", kept)) if isinstance(kept, dict) else None
