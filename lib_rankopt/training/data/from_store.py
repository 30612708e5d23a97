"""Feedback of studies: each standing ranking, pair, like and dislike, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_rankopt.errors import RankOptError
from lib_rankopt.scorers.prompts import without_tags
from lib_rankopt.store import derive
from lib_rankopt.training.data.images import training_image
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages, TrainingImage

if TYPE_CHECKING:
    from lib_rankopt.store import BlobStore, Store
    from lib_rankopt.store.records import EventRecord, StudyRecord


def read(store: Store, blobs: BlobStore, studies: Sequence[str]) -> Feedback:
    """Collect the feedback of some studies, by id. What a branch has copied from its parent is left to the parent.

    Raises:
        NotFoundError: there is no such study.
    """
    reader = _Reader(store, blobs)
    for study in studies:
        reader.read(store.study(study))
    return Feedback(tuple(reader.rankings), tuple(reader.labels), tuple(reader.problems))


class _Reader:
    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self.store, self.blobs = store, blobs
        self.rankings: list[RankedImages] = []
        self.labels: list[LabelledImage] = []
        self.problems: list[str] = []
        self._seen: dict[str, TrainingImage | None] = {}

    def read(self, study: StudyRecord) -> None:
        rounds = self.store.rounds(study.id)
        candidates = self.store.candidates([one.id for one in rounds])
        events = derive.standing(self.store.events(study.id))
        prompt = without_tags(str(study.settings.get("prompt", "")))
        model = study.model.get("sha256")
        for one in rounds:
            images = {c.position: self._image(c.image, model) for c in candidates.get(one.id, []) if c.image}
            where = f"{study.name}, round {one.index + 1}"
            own = [event for event in events if event.round == one.id and event.copied_from is None]
            for event in own:
                if event.kind in ("ranking", "pair"):
                    self._ranking(event, images, prompt, where)
            for position, liked in derive.labels(own).items():
                image = images.get(position)
                if image is not None:
                    self.labels.append(LabelledImage(prompt, image, liked, source=where))

    def _ranking(self, event: EventRecord, images: dict[int, TrainingImage | None], prompt: str, where: str) -> None:
        tiers = [list(tier) for tier in event.payload["tiers"]]
        named = {position for tier in tiers for position in tier}
        rest = [position for position in event.shown if position not in named]
        places = [(images.get(p), t) for t, tier in enumerate([*tiers, rest]) for p in tier]
        # one image at two places (the incumbent shown beside its own seed) says nothing about itself
        best: dict[str, tuple[TrainingImage, int]] = {}
        for image, tier in places:
            if image is not None:
                best.setdefault(image.sha256, (image, tier))
        found = list(best.values())
        if len({tier for _, tier in found}) > 1:
            ranked = RankedImages(prompt, tuple(i for i, _ in found), tuple(t for _, t in found), event.rater, where)
            self.rankings.append(ranked)

    def _image(self, sha256: str, model: str | None) -> TrainingImage | None:
        if sha256 not in self._seen:
            try:
                self._seen[sha256] = training_image(self.blobs.image_path(sha256), model)
            except RankOptError as error:
                self.problems.append(str(error))
                self._seen[sha256] = None
        return self._seen[sha256]
