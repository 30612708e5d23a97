"""Studies and collections as one data set, for the writers of :mod:`lib_rankopt.store.formats`: in pages, at constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.store import derive
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS, NetLabel, net_labels
from lib_rankopt.store.collected.records import COMPARISONS, CollectedImage, Collection, FeedbackRecord, ImageQuery
from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry
from lib_rankopt.store.formats.files import file_hash, read

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.store.records import EventRecord, StudyRecord

_PAGE = 1000


@dataclass(frozen=True)
class StoredImage(ImageEntry):
    """An image whose file can be found.

    Attributes:
        locate: tells where its file lies, which need not be there; asking the file system for each image of millions would take long.
        file_sha256, stamp: of its file, size and time, when it was last looked at.
    """

    locate: Callable[[], Path] | None = field(default=None, compare=False, repr=False)
    file_sha256: str | None = field(default=None, compare=False)
    stamp: tuple[int, float] = field(default=(-1, 0.0), compare=False)

    @property
    def file(self) -> Path | None:
        """Where its file lies; ``None`` where it has none, or a link leads out of its folder."""
        try:
            return None if self.locate is None else self.locate()
        except (NotFoundError, InvalidInputError):
            return None


class StoreDataset:
    """See :class:`~lib_rankopt.store.formats.base.Dataset`.

    Args:
        collections, studies: what is in it, in this order. Where these are several, keys begin with the name of the one that they are from.
        ratings: means and standard deviations by key; what is kept of a ranking under way where ``None``.
        weights: how much a label counts that was concluded, by its source.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        held: HeldFiles,
        collections: Sequence[Collection] = (),
        studies: Sequence[StudyRecord] = (),
        ratings: Mapping[str, tuple[float, float]] | None = None,
        weights: Mapping[str, float] = IMPLICIT_WEIGHTS,
    ) -> None:
        self._store, self._blobs, self._held = store, blobs, held
        self._collections, self._studies = tuple(collections), tuple(studies)
        self._ratings, self._weights = ratings, weights
        every: list[Collection | StudyRecord] = [*collections, *studies]
        self.name = every[0].name if len(every) == 1 else f"{len(every)} sources"
        # numbered, as two studies may have one name
        self._prefix = {id(one): "" if len(every) == 1 else f"{_plain(one.name)}-{at}/" for at, one in enumerate(every, 1)}

    def images(self) -> Iterator[ImageEntry]:
        """All images that are not removed."""
        for collection in self._collections:
            after = 0
            while page := self._store.collected.page(ImageQuery(collection=collection.number, after=after, limit=_PAGE)):
                after = page[-1].number
                yield from (self._image(image, collection) for image in page)
        for study in self._studies:
            seen: set[str] = set()
            for _, part in self._rounds(study):
                for image in part.values():
                    if image.key not in seen:
                        seen.add(image.key)
                        yield image

    def feedback(self) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        """All feedback that stands about images that are not removed; of labels what each rater thinks of an image all in all."""
        for collection in self._collections:
            yield from self._of_collection(collection)
        for study in self._studies:
            yield from self._of_study(study)

    def read(self, image: ImageEntry) -> bytes:
        """Return an image's file, checked against its hash where that is known."""
        file = image.file if isinstance(image, StoredImage) else None
        if file is None:
            raise NotFoundError(f"Of the image '{image.key[:200]}' there is no file, only its name.")
        data = read(file)
        expected = image.file_sha256 if isinstance(image, StoredImage) else None
        if expected is not None and file_hash(data) != expected:
            raise StoreError(f"{file} holds another file than when it was looked at; run 'look' to find out which.")
        return data

    def ratings(self) -> Mapping[str, tuple[float, float]]:
        """Mean and standard deviation by key."""
        if self._ratings is not None:
            return self._ratings
        found: dict[str, tuple[float, float]] = {}
        collected = self._store.collected
        for collection in self._collections:
            after = 0
            while page := collected.ratings(collection.number, after, _PAGE):
                after = page[-1].image
                images = collected.images_by_number([one.image for one in page if one.games])
                for one in page:
                    if one.image in images and images[one.image].state != "removed":
                        found[self._prefix[id(collection)] + images[one.image].key] = (one.mean, one.sd)
        return found

    # -- collections
    def _image(self, image: CollectedImage, collection: Collection) -> StoredImage:
        return StoredImage(
            self._prefix[id(collection)] + image.key, image.prompt, image.path, None, image.sha256, image.width, image.height, image.model,
            image.about, partial(self._held.locate, image, collection), image.file_sha256, (image.size, image.modified),
        )  # fmt: skip

    def _of_collection(self, collection: Collection) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        after = 0
        while page := self._store.collected.feedback(collection.number, after, _PAGE, standing=True):
            after = page[-1].number
            labelled = list(dict.fromkeys(one.images[0] for one in page if one.kind in ("like", "dislike")))
            net = self._net_labels(labelled)
            images = self._store.collected.images_by_number(list(dict.fromkeys(number for one in page for number in one.images)))
            for one in page:
                about = [images[number] for number in one.images if number in images]
                if any(image.state == "removed" for image in about) or len(about) < len(one.images):
                    continue
                entries = tuple(self._image(image, collection) for image in about)
                if one.kind in COMPARISONS:
                    yield _entry(one, entries), entries
                elif one.number in net:
                    yield _label_entry(one, entries, net[one.number]), entries

    def _net_labels(self, images: Sequence[int]) -> dict[int, NetLabel]:
        """What raters think of images all in all, by the number of the last event that it follows from."""
        if not images:
            return {}
        found = net_labels(self._store.collected.feedback_of(images), self._weights)
        return {label.events[-1]: label for labels in found.values() for label in labels}

    # -- studies
    def _rounds(self, study: StudyRecord) -> Iterator[tuple[str, dict[int, StoredImage]]]:
        """Id of each round, and its images by their positions."""
        rounds = self._store.rounds(study.id)
        candidates = self._store.candidates([one.id for one in rounds])
        for one in rounds:
            yield one.id, {c.position: self._candidate(study, c.image, c.seed) for c in candidates[one.id] if c.image}

    def _candidate(self, study: StudyRecord, image: str, seed: int) -> StoredImage:
        values = study.settings
        names = ("negative_prompt", "sampler", "scheduler", "steps", "cfg_scale")
        about = {"seed": seed, "study": study.id, **{name: values[name] for name in names if values.get(name) not in (None, "")}}
        return StoredImage(
            self._prefix[id(study)] + image, str(values.get("prompt", "")), f"{image}.png", None, image, int(values.get("width") or 0),
            int(values.get("height") or 0), str(study.model.get("sha256") or study.model.get("name") or ""), about,
            partial(self._blobs.image_path, image),
        )  # fmt: skip

    def _of_study(self, study: StudyRecord) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
        events = derive.standing(self._store.events(study.id))
        by_round: dict[str | None, list[EventRecord]] = {}
        for event in events:
            # what a branch has copied from its parent is the parent's
            if event.copied_from is None:
                by_round.setdefault(event.round, []).append(event)
        for round_id, images in self._rounds(study):
            own = by_round.get(round_id, [])
            for event in own:
                if event.kind in ("ranking", "pair"):
                    yield from _compared(event, images)
            yield from _labelled(own, images)


def _entry(record: FeedbackRecord, images: Sequence[ImageEntry]) -> FeedbackEntry:
    keys = tuple(image.key for image in images)
    return FeedbackEntry(
        record.kind, keys, record.tiers, record.token, record.prompt, record.rater, record.created_at, record.source, record.about  # type: ignore[arg-type]
    )  # fmt: skip


def _label_entry(record: FeedbackRecord, images: Sequence[ImageEntry], label: NetLabel) -> FeedbackEntry:
    entry = replace(_entry(record, images), kind="like" if label.liked else "dislike")
    return entry if label.explicit else replace(entry, source="+".join(label.sources), about={**entry.about, "weight": abs(label.value)})


def _compared(event: EventRecord, images: Mapping[int, StoredImage]) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
    """A ranking or pair of a study; what was shown and not ranked is its last tier, as the (m,k) oracle has it."""
    named = [list(tier) for tier in event.payload["tiers"]]
    rest = [place for place in event.shown if not any(place in tier for tier in named)]
    # one image at two places (the incumbent beside its own seed) keeps the better one
    best: dict[str, tuple[int, int]] = {}
    for at, tier in enumerate([*named, rest]):
        for place in tier:
            if place in images:
                best.setdefault(images[place].key, (at, place))
    order = [place for place in event.shown if place in images and best[images[place].key][1] == place]
    order += [place for _, place in best.values() if place not in order]
    tiers = [tuple(order.index(place) for at, place in best.values() if at == level) for level in range(len(named) + 1)]
    full = tuple(tier for tier in tiers if tier)
    if len(order) < 2 or (len(full) < 2 and event.kind == "ranking"):
        return
    entries = tuple(images[place] for place in order)
    kind: Any = "pair" if event.kind == "pair" and len(order) == 2 else "ranking"
    keys = tuple(image.key for image in entries)
    yield FeedbackEntry(kind, keys, full, f"{event.study} {event.number}", None, event.rater, event.created_at), entries


def _labelled(events: Sequence[EventRecord], images: Mapping[int, StoredImage]) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
    for rater in dict.fromkeys(event.rater for event in events if event.kind in derive.LABELS):
        last = {event.payload["tiers"][0][0]: event for event in events if event.rater == rater and event.kind in derive.LABELS}
        for position, liked in derive.labels(events, rater).items():
            if position in images:
                image, event = images[position], last[position]
                token = f"{event.study} {event.number}"
                kind: Any = "like" if liked else "dislike"
                yield FeedbackEntry(kind, (image.key,), ((0,),), token, None, rater, event.created_at), (image,)


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name)[:40]
