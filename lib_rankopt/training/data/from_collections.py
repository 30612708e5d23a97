"""Feedback about collected images: each standing ranking and pair, and what each rater thinks of an image all in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import NotFoundError, RankOptError, StoreError
from lib_rankopt.scorers.prompts import without_tags
from lib_rankopt.store.collected.dataset import StoreDataset, StoredImage
from lib_rankopt.store.collected.derive import IMPLICIT_WEIGHTS
from lib_rankopt.store.collected.files import pixels_of
from lib_rankopt.store.formats.files import read as read_file
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages, TrainingImage

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.collected.files import HeldFiles
    from lib_rankopt.store.collected.records import Collection
    from lib_rankopt.store.formats.base import FeedbackEntry, ImageEntry

_SAID = 100


def read(
    store: Store,
    blobs: BlobStore,
    held: HeldFiles,
    collections: Sequence[Collection],
    weights: Mapping[str, float] = IMPLICIT_WEIGHTS,
) -> Feedback:
    """Collect the feedback of some collections. Comparisons of images with different prompts are left out: an objective needs one.

    Args:
        weights: how much a label counts that was concluded from an action, by its source.
    """
    reader = _Reader()
    for collection in collections:
        reader.read(StoreDataset(store, blobs, held, [collection], weights=weights))
    return reader.feedback()


class _Reader:
    def __init__(self) -> None:
        self._rankings: list[RankedImages] = []
        self._labels: list[LabelledImage] = []
        self._problems: list[str] = []
        self._mixed = self._lost = 0
        self._seen: dict[str, TrainingImage | None] = {}

    def read(self, dataset: StoreDataset) -> None:
        """Add what a collection says."""
        self._seen = {}  # keys are a collection's own
        for said, images in dataset.feedback():
            prompts = {without_tags(image.prompt if said.prompt is None else said.prompt) for image in images}
            found = [self._image(image) for image in images]
            where = f"{dataset.name}, {said.token[:12]}"
            if len(prompts) > 1:
                self._mixed += 1
            elif said.kind in ("like", "dislike"):
                self._label(said, found[0], prompts.pop(), where)
            else:
                self._ranking(said, found, prompts.pop(), where)

    def feedback(self) -> Feedback:
        """All that was read."""
        problems = list(self._problems)
        if self._mixed:
            problems.append(f"{self._mixed} comparisons of images with different prompts were left out: an objective needs one prompt.")
        if self._lost > _SAID:
            problems.append(f"{self._lost} images in all have no file that can be read.")
        return Feedback(tuple(self._rankings), tuple(self._labels), tuple(problems))

    def _label(self, said: FeedbackEntry, image: TrainingImage | None, prompt: str, where: str) -> None:
        if image is not None:
            weight = float(said.about.get("weight", 1.0)) if said.source else 1.0
            self._labels.append(LabelledImage(prompt, image, said.kind == "like", said.rater, where, weight, said=not said.source))

    def _ranking(self, said: FeedbackEntry, found: Sequence[TrainingImage | None], prompt: str, where: str) -> None:
        best: dict[str, tuple[TrainingImage, int]] = {}
        for level, tier in enumerate(said.tiers):
            for place in tier:
                image = found[place]
                if image is not None:
                    best.setdefault(image.sha256, (image, level))
        if len({level for _, level in best.values()}) > 1:
            images, tiers = zip(*best.values(), strict=True)
            self._rankings.append(RankedImages(prompt, images, tiers, said.rater, where))

    def _image(self, entry: ImageEntry) -> TrainingImage | None:
        if entry.key not in self._seen:
            try:
                self._seen[entry.key] = _training_image(entry)
            except RankOptError as error:
                self._lost += 1
                self._seen[entry.key] = None
                if self._lost <= _SAID:
                    self._problems.append(str(error))
        return self._seen[entry.key]


def _training_image(entry: ImageEntry) -> TrainingImage:
    """The record of an image's file; one that has not changed since it was looked at is not read again.

    Raises:
        NotFoundError: there is no file. StoreError: it cannot be read, or holds another image than the feedback is about.
    """
    file = entry.file if isinstance(entry, StoredImage) else None
    if not isinstance(entry, StoredImage) or file is None:
        raise NotFoundError(f"{entry.key}: there is no file of this image, only its name.")
    # of the checkpoint's hash, parameters hold the beginning; where there is none, a name is never the base's hash
    model = str(entry.about.get("model_hash") or entry.model) or None
    if entry.sha256 and entry.width and entry.stamp[0] >= 0:
        try:
            about = file.stat()
        except OSError as error:
            raise NotFoundError(f"{file}: there is no such image") from error
        if (about.st_size, round(about.st_mtime, 3)) == entry.stamp:
            return TrainingImage(entry.sha256, file, entry.width, entry.height, model)
    content, _, width, height = pixels_of(read_file(file), file)
    if entry.sha256 not in (None, content):
        raise StoreError(f"{file} holds another image than the one that the feedback is about.")
    return TrainingImage(content, file, width, height, model)
