"""What each objective would get of some studies and collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.studies.data.browsing import Browsing, total
from lib_rankopt.studies.data.browsing_views import ObjectiveReach, ReachView, SourceView
from lib_rankopt.training.data.records import Feedback

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.training.data.records import TrainingImage

MOST_ANSWERS = 20_000
MOST_READS = 400  # image files that have to be read first: about 20 ms each
_HELD_OUT = 0.1
_PROBLEMS = 100


class Reach:
    """Thread-safe; trains nothing and keeps nothing.

    Args:
        weights: gives how much labels count that were concluded, by source.
    """

    def __init__(
        self, store: Store, blobs: BlobStore, browsing: Browsing, weights: Callable[[], Mapping[str, float]] = lambda: IMPLICIT_WEIGHTS
    ) -> None:
        self._store, self._blobs, self._browsing, self._weights = store, blobs, browsing, weights

    def objectives(self, data: Sequence[str] = ()) -> ReachView:
        """Return what each objective would get.

        Where there is little, the examples are made as training makes them; otherwise answers are counted, and the numbers are bounds.

        Args:
            data: ids as of :class:`SourceView`; none for all that there is.

        Raises:
            NotFoundError: there is no such study or collection.
        """
        sources = self._chosen(data)
        if why := too_many(sources):
            return ReachView(tuple(_counted(kind, total(sources)) for kind in _kinds()), False, why)
        from lib_rankopt.training.data.gather import gather

        with_answers = [source.id for source in sources if source.answers]
        feedback = gather(with_answers, self._open_store, self._weights()) if with_answers else None
        problems = feedback.problems if feedback else ()
        plain = _plain(feedback) if feedback else None
        return ReachView(tuple(_built(kind, plain) for kind in _kinds()), True, "", problems[:_PROBLEMS])

    def _chosen(self, data: Sequence[str]) -> list[SourceView]:
        every = {source.id: source for source in self._browsing.overview().sources}
        if unknown := [one for one in data if one not in every]:
            raise NotFoundError(f"There is no study or collection '{unknown[0][:80]}'.")
        return [every[one] for one in dict.fromkeys(data)] if data else list(every.values())

    @contextmanager
    def _open_store(self) -> Iterator[tuple[Store, BlobStore]]:
        yield self._store, self._blobs


def too_many(sources: Sequence[SourceView]) -> str:
    """Why examples of these sources are not made at once, empty where they are."""
    answers = sum(source.answers for source in sources)
    if answers > MOST_ANSWERS:
        return f"There are {answers:,} answers; up to {MOST_ANSWERS:,} the examples are made, beyond they are counted."
    reads = sum(source.images if source.kind == "study" else source.states.get("unseen", 0) for source in sources if source.answers)
    if reads > MOST_READS:
        return f"{reads:,} image files would have to be read first, so answers are counted; looking at a collection's files saves that."
    return ""


def _kinds() -> list[Any]:
    from lib_rankopt.training import objectives

    return [objectives.get(name) for name in objectives.names()]


def _plain(feedback: Feedback) -> Feedback:
    """Without problems, which are the same for every objective, and without models: what is foreign is known once a base is chosen."""
    images: dict[TrainingImage, TrainingImage] = {}

    def plain(image: TrainingImage) -> TrainingImage:
        return images.setdefault(image, replace(image, model=None))

    rankings = tuple(replace(one, images=tuple(map(plain, one.images))) for one in feedback.rankings)
    return Feedback(rankings, tuple(replace(one, image=plain(one.image)) for one in feedback.labels))


def _built(kind: Any, feedback: Feedback | None) -> ObjectiveReach:
    from lib_rankopt.training.data.examples import split

    try:
        if feedback is None:
            raise InvalidInputError("There is no feedback in these data: rank, like or dislike some images first.")
        parts = split(feedback, kind(), _HELD_OUT, 0)
    except InvalidInputError as error:
        return ObjectiveReach(kind.name, kind.title, kind.kind, 0, 0, sentences=(str(error),))
    counts = parts.counts
    liked, disliked = (counts["liked"], counts["disliked"]) if kind.kind == "labels" else (0, 0)
    return ObjectiveReach(kind.name, kind.title, kind.kind, counts["items"], counts["prompts"], liked, disliked, parts.summary)


def _counted(kind: Any, of: SourceView) -> ObjectiveReach:
    """Bounds from the answers alone, as if each label were of another image and each ranking held one pair."""
    items, said = {
        "pairs": (of.pairs + of.rankings, f"{of.pairs:,} pairs, and {of.rankings:,} rankings of at least one pair each."),
        "lists": (of.pairs + of.rankings, f"{of.rankings:,} rankings and {of.pairs:,} pairs."),
        "experts": (of.likes, f"{of.likes:,} likes of different images, and the best of {of.rankings + of.pairs:,} comparisons."),
        "labels": (of.likes + of.dislikes, f"{of.likes:,} likes and {of.dislikes:,} dislikes of different images."),
    }[kind.kind]
    liked, disliked = (of.likes, of.dislikes) if kind.kind == "labels" else (0, 0)
    return ObjectiveReach(kind.name, kind.title, kind.kind, items, of.prompts, liked, disliked, (said,))
