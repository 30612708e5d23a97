"""Looking through studies and collections, and correcting what is wrong in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store.collected import derive
from lib_rankopt.store.collected.records import LABEL_KINDS, CollectedImage, Collection, FeedbackDraft, FeedbackRecord, ImageQuery
from lib_rankopt.studies.data.browsing_views import (
    EventView,
    ImageDetail,
    ImagePage,
    ImageView,
    LabelView,
    Overview,
    RatingView,
    SourceView,
)
from lib_rankopt.studies.data.jobs import Step
from lib_rankopt.studies.data.names import plain, rater_name

if TYPE_CHECKING:
    from lib_rankopt.store import Store
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.store.collected.records import CollectedKind, Rating
    from lib_rankopt.store.records import StudyRecord
    from lib_rankopt.studies.data.jobs import Jobs

AT_ONCE = 500  # images that are corrected by one call
_AT_ONCE_DELETED = 20_000  # rows that go before the call returns
_EVENTS = 500
_NAME = 200
_LARGEST = 2**63 - 1


class Browsing:
    """Thread-safe.

    Args:
        held: files of images that the data folder holds.
        weights: gives how much labels count that were concluded, by source.
    """

    def __init__(self, store: Store, held: HeldFiles, jobs: Jobs, weights: Callable[[], Mapping[str, float]]) -> None:
        self._store, self._collected = store, store.collected
        self._held, self._jobs, self._weights = held, jobs, weights

    # -- what is there
    def overview(self) -> Overview:
        """Return all studies and collections with their counts; at once, however much there is."""
        tallies = self._store.tallies()
        collections = [source_of_collection(one, self._collected.tallies(one.number)) for one in self._collected.collections()]
        studies = [source_of_study(study, tallies.get(study.id, {})) for study in self._store.studies()]
        sources = sorted((*collections, *studies), key=lambda one: one.created_at, reverse=True)
        return Overview(tuple(sources), total(sources))

    def page(self, query: ImageQuery) -> ImagePage:
        """Return the images that fit, by number, with what follows from their feedback."""
        if query.after > _LARGEST:
            return ImagePage(())
        found = self._collected.page(query)
        return ImagePage(self.views(found), found[-1].number if len(found) >= query.limit else None)

    def views(self, images: Sequence[CollectedImage]) -> tuple[ImageView, ...]:
        """Return images with labels, comparisons and ratings."""
        return self._views(images, self._collected.feedback_of([image.number for image in images]))

    def _views(self, images: Sequence[CollectedImage], events: Sequence[FeedbackRecord]) -> tuple[ImageView, ...]:
        labels, records = derive.net_labels(events, self._weights()), derive.comparisons(events)
        ratings = self._collected.ratings_of([image.number for image in images])
        return tuple(
            view_of(one, labels.get(one.number, ()), records.get(one.number, derive.Record()), ratings.get(one.number)) for one in images
        )

    def image(self, number: int) -> ImageDetail:
        """Return all that is known of an image.

        Raises:
            NotFoundError: there is none of that number.
        """
        image = self._collected.image(number)
        events = self._collected.feedback_of([number])
        hashes = [one for one in (image.file_sha256, image.sha256) if one]
        same = [one.number for one in self._collected.images_by_hash(hashes) if one.number != number and one.state != "removed"]
        return ImageDetail(
            image=self._views([image], events)[0],
            collection_name=self._collected.collection(image.collection).name,
            path=image.path or "",
            file_sha256=image.file_sha256 or "",
            sha256=image.sha256 or "",
            about=dict(image.about),
            events=tuple(map(event_of, events[-_EVENTS:])),
            same=tuple(same[:_EVENTS]),
        )

    # -- corrections
    def label(self, images: Sequence[int], kind: str, rater: str, token: str) -> tuple[ImageView, ...]:
        """Say that somebody likes or dislikes some images, or (``unlike``) has no opinion of them; return them.

        Args:
            token: the sender's; sending the same again says nothing twice.

        Raises:
            InvalidInputError: another kind, no name, none or more than 500 images. NotFoundError: one of the images is not there.
            ConflictError: the token was used for something else.
        """
        if kind not in LABEL_KINDS:
            raise InvalidInputError(f"An image cannot be given a '{kind[:40]}'; give like, dislike or unlike.")
        found, name = self._known(images), rater_name(rater)
        for image in found:
            said: CollectedKind = kind  # type: ignore[assignment]
            draft = FeedbackDraft(said, (image.number,), ((0,),), f"{token} {image.number}", rater=name)
            self._collected.append(image.collection, draft)
        return self.views(found)

    def take_back(self, image: int, event: int, rater: str, token: str) -> ImageDetail:
        """Take one answer about an image back, by whoever gave it; a comparison is taken back for all of its images.

        Raises:
            NotFoundError: the image has no such answer that stands. ConflictError: somebody else gave it.
        """
        place, name = self._collected.image(image).collection, rater_name(rater)
        said = next((one for one in self._collected.feedback_of([image]) if one.number == event), None)
        if said is None:
            if not any(one.retracts == event for one in self._collected.feedback_back(place, name, 200)):
                raise NotFoundError(f"Image {image} has no answer {event} that could be taken back; load the page again.")
        elif said.rater != name:
            raise ConflictError(f"This was said by {said.rater}; {name} cannot take it back.")
        else:
            self._collected.append(place, FeedbackDraft("retraction", token=token, rater=name, retracts=event))
        return self.image(image)

    def caption(self, images: Sequence[int], prompt: str) -> tuple[ImageView, ...]:
        """Give some images another caption; return them. Raises: InvalidInputError, NotFoundError, as of :meth:`label`."""
        numbers = [one.number for one in self._known(images)]
        self._collected.set_prompt(numbers, prompt.strip())
        return self.views(self._known(numbers))

    def remove(self, images: Sequence[int], removed: bool = True) -> tuple[ImageView, ...]:
        """Hide images from everything but a look at what was removed, or bring them back; return them. Their files stay.

        Raises:
            InvalidInputError, NotFoundError: as of :meth:`label`.
        """
        numbers = [one.number for one in self._known(images)]
        self._collected.set_removed(numbers, removed)
        return self.views(self._known(numbers))

    def _known(self, images: Sequence[int]) -> list[CollectedImage]:
        if not 0 < len(images) <= AT_ONCE:
            raise InvalidInputError(f"{len(images)} images cannot be corrected at once; give 1 to {AT_ONCE}.")
        found = self._collected.images_by_number(images)
        if missing := [number for number in images if number not in found]:
            raise NotFoundError(f"There is no image {missing[0]}.")
        return [found[number] for number in dict.fromkeys(images)]

    # -- collections
    def rename(self, number: int, name: str) -> SourceView:
        """Give a collection another name.

        Raises:
            InvalidInputError: no name, or a long one. NotFoundError: there is no such collection. ConflictError: the name is taken.
        """
        given = plain(name)
        if not 0 < len(given) <= _NAME:
            raise InvalidInputError(f"A collection's name has 1 to {_NAME} characters, not {len(given)}.")
        return source_of_collection(self._collected.change(number, name=given), self._collected.tallies(number))

    def delete(self, number: int) -> None:
        """Delete a collection with all that was said of its images, and the files that the data folder holds for it alone.

        Files in folders of other people and programs stay. A large collection is gone for everybody at once, and its rows go in the
        background.

        Raises:
            NotFoundError: there is no such collection. ConflictError: a job works on it.
        """
        tally = self._collected.tallies(self._collected.collection(number).number)
        if busy := [job for job in self._jobs.views() if job.collection == number and job.state in ("queued", "running")]:
            raise ConflictError(f"“{busy[0].title}” is under way; stop it before you delete the collection.")
        hidden = self._collected.begin_deletion(number)
        rows = tally.get("images", 0) + sum(n for name, n in tally.items() if name.startswith("kind:"))
        if rows > _AT_ONCE_DELETED:
            self._go_on_deleting(hidden, rows)
            return
        while self._delete_some(number):
            pass

    def resume_deletions(self) -> None:
        """Go on, in the background, with what was being deleted when a process ended."""
        for hidden in self._collected.deletions():
            self._go_on_deleting(hidden)

    def _go_on_deleting(self, hidden: Collection, total: int = 0) -> None:
        def work() -> Iterator[Step]:
            done = 0
            while rows := self._delete_some(hidden.number):
                done += rows
                yield Step(done, total, "rows", {"rows": done})

        self._jobs.start("delete", f"Deleting {hidden.name}", work)

    def _delete_some(self, number: int) -> int:
        gone = self._collected.delete_some(number)
        # another process may have taken the same files in since
        hashes = {path.rsplit("/", 1)[-1].split(".")[0]: path for path in gone.paths}
        wanted = {one.path for one in self._collected.images_by_hash(list(hashes)) if one.held}
        self._held.delete(path for path in gone.paths if path not in wanted)
        return gone.rows


# -- pure
def source_of_collection(collection: Collection, tally: Mapping[str, int]) -> SourceView:
    """A collection's counts from its tallies."""
    counts = _counts(tally)
    return SourceView(
        id=f"c{collection.number}",
        name=collection.name,
        kind=collection.kind,
        origin=collection.root or collection.format,
        images=tally.get("images", 0) - tally.get("state:removed", 0),
        prompts=tally.get("prompts", 0),
        models=_named(tally, "model:"),
        states=_named(tally, "state:"),
        labelled_by=_named(tally, "source:"),
        created_at=collection.created_at,
        collection=collection.number,
        raters=_named(tally, "rater:"),
        **counts,
    )


def source_of_study(study: StudyRecord, tally: Mapping[str, int]) -> SourceView:
    """A study's counts from its tallies; it has one prompt and one model."""
    images, model = tally.get("images", 0), str(study.model.get("name") or "")
    return SourceView(
        id=study.id,
        name=study.name,
        kind="study",
        origin=str(study.settings.get("prompt", "")),
        images=images,
        prompts=1 if images else 0,
        models={model: images} if model and images else {},
        raters=_named(tally, "rater:"),
        created_at=study.created_at,
        **_counts(tally),
    )


def _counts(tally: Mapping[str, int]) -> dict[str, Any]:
    names = {"rankings": "ranking", "pairs": "pair", "likes": "like", "dislikes": "dislike"}
    return {name: tally.get(f"kind:{kind}", 0) for name, kind in names.items()}


def _named(tally: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Counts by name, the largest first."""
    found = {name.removeprefix(prefix): count for name, count in tally.items() if name.startswith(prefix) and count}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def total(sources: Iterable[SourceView]) -> SourceView:
    """All counts of some sources together."""
    counts = dict.fromkeys(("images", "prompts", "rankings", "pairs", "likes", "dislikes"), 0)
    named: dict[str, dict[str, int]] = {name: {} for name in ("raters", "models", "states", "labelled_by")}
    for source in sources:
        for name in counts:
            counts[name] += getattr(source, name)
        for name, sums in named.items():
            for key, count in getattr(source, name).items():
                sums[key] = sums.get(key, 0) + count
    return SourceView("", "All", "all", **counts, **{name: _named(sums, "") for name, sums in named.items()})  # type: ignore[arg-type]


def view_of(
    image: CollectedImage, labels: Sequence[derive.NetLabel], record: derive.Record, rating: Rating | None
) -> ImageView:
    """An image as faces see it."""
    return ImageView(
        number=image.number,
        collection=image.collection,
        key=image.key,
        prompt=image.prompt,
        state=image.state,
        width=image.width,
        height=image.height,
        model=image.model,
        labels=tuple(LabelView(one.rater, round(one.value, 3), one.sources) for one in labels),
        contradictory=derive.contradictory(labels),
        comparisons=record.comparisons,
        wins=record.wins,
        losses=record.losses,
        ties=record.ties,
        rating=None if rating is None or not rating.games else RatingView(round(rating.mean, 3), round(rating.sd, 3), rating.games),
    )


def event_of(event: FeedbackRecord) -> EventView:
    """An answer as faces see it."""
    tiers = tuple(tuple(int(event.images[place]) for place in tier) for tier in event.tiers)
    return EventView(event.number, event.kind, event.rater, event.source, event.created_at, tiers, event.prompt)
