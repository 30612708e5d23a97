"""Frozen records of collected images and feedback. Times are ISO 8601 in UTC; hashes are sha256 in 64 hex digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CollectionKind = Literal["import", "folder", "webui"]
ImageState = Literal["unseen", "here", "gone", "changed", "removed"]
CollectedKind = Literal["ranking", "pair", "like", "dislike", "unlike", "skip", "retraction"]

LABEL_KINDS: tuple[CollectedKind, ...] = ("like", "dislike", "unlike")
COMPARISONS: tuple[CollectedKind, ...] = ("ranking", "pair")


@dataclass(frozen=True)
class Collection:
    """A set of images from one place.

    Attributes:
        number: identity in this store.
        name: unique in the store.
        kind: ``import`` (a data set), ``folder`` (a folder of images), ``webui`` (what was judged in the gallery).
        format: that it was read as; empty where it was not.
        root: folder that its images' paths are relative to; empty where the data folder holds them all.
        settings: whatever its owner keeps with it (how it is ranked …). Plain JSON values.
        position: how far the reading of its data set has come, in the reader's units.
    """

    name: str
    kind: CollectionKind = "import"
    format: str = ""
    root: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    position: int = 0
    created_at: str = ""
    number: int = 0

    @property
    def id(self) -> str:
        """What it is called beside the ids of studies: ``c12``."""
        return f"c{self.number}"


@dataclass(frozen=True)
class ImageDraft:
    """An image before it is added; see :class:`CollectedImage`."""

    key: str
    prompt: str = ""
    path: str | None = None
    held: bool = False
    file_sha256: str | None = None
    sha256: str | None = None
    width: int = 0
    height: int = 0
    size: int = -1
    modified: float = 0.0
    model: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    state: ImageState = "unseen"


@dataclass(frozen=True)
class CollectedImage(ImageDraft):
    """An image of a collection.

    Attributes:
        key: what its data set calls it, unique in the collection.
        prompt: its caption as written.
        path: where its file lies: below the collection's root, or, if ``held``, below the data folder's ``collected``. ``None``: nowhere.
        file_sha256: hash of its file's bytes. sha256: identity by content (:func:`~lib_rankopt.store.blobs.image_hash`). Both are
            ``None`` until somebody has looked at the file.
        width, height: pixels; 0 where unknown.
        size, modified: of the file, in bytes and seconds since 1970, when it was last looked at; −1 and 0 before.
        model: what made it, by name or hash; empty where unknown.
        about: what else is known: negative prompt, seed, ratings … Plain JSON values.
        state: ``unseen`` (its file was not looked at), ``here``, ``gone``, ``changed`` (another image is there now), ``removed`` (by a
            person; hidden, kept out of every export, and not brought back by another import).
        phash: perceptual hash, 64 bits as a signed number; ``None`` until somebody has looked.
    """

    number: int = 0
    collection: int = 0
    phash: int | None = None


@dataclass(frozen=True)
class FileFacts:
    """What a look at an image's file has found; fields as of :class:`CollectedImage`, kept where they are given."""

    number: int
    state: ImageState
    file_sha256: str | None = None
    sha256: str | None = None
    phash: int | None = None
    width: int = 0
    height: int = 0
    size: int = -1
    modified: float = 0.0
    path: str | None = None
    held: bool = False


@dataclass(frozen=True)
class FeedbackDraft:
    """Feedback before it is appended.

    Attributes:
        kind: see ``CollectedKind``; ``unlike`` takes the rater's label of an image away, ``skip`` says nothing about what was shown.
        images: numbers of the images, in the order on screen. In :meth:`~.base.CollectionStore.add`: their keys.
        tiers: positions in ``images``, best first; images of one tier are equal. Empty for a skip and a retraction.
        token: the sender's, unique in the collection: the same answer sent twice counts once.
        prompt: what the rater saw as the prompt; ``None``: the images' own.
        source: empty for what somebody said on purpose, else what it was concluded from (``saved``, ``deleted`` …).
        retracts: number of the feedback that this takes back.
    """

    kind: CollectedKind
    images: tuple[Any, ...] = ()
    tiers: tuple[tuple[int, ...], ...] = ()
    token: str = ""
    prompt: str | None = None
    rater: str = "me"
    source: str = ""
    latency_ms: int | None = None
    retracts: int | None = None
    created_at: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedbackRecord(FeedbackDraft):
    """Appended feedback. ``number`` grows in the order of appending; ``images`` are numbers of :class:`CollectedImage`."""

    number: int = 0
    collection: int = 0


@dataclass(frozen=True)
class Deleted:
    """A piece of a deletion: rows that went, and paths of held files that no other collection refers to."""

    rows: int = 0
    paths: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Added:
    """What an intake has added, and what was there already."""

    images: int = 0
    feedback: int = 0
    known_images: int = 0
    known_feedback: int = 0

    def __add__(self, other: Added) -> Added:
        """Both together."""
        return Added(
            self.images + other.images,
            self.feedback + other.feedback,
            self.known_images + other.known_images,
            self.known_feedback + other.known_feedback,
        )


Label = Literal["like", "dislike", "rated", "unrated", "compared", "any"]


@dataclass(frozen=True)
class ImageQuery:
    """Which images are wanted; every condition narrows.

    Attributes:
        collection: of this one; ``None`` for all.
        prompt: text that the prompt contains, in any case. prompt_number: exactly this prompt.
        label: ``like`` or ``dislike`` (somebody said so), ``rated`` (any label or comparison), ``unrated``, ``compared``, ``any``.
        rater: what this rater has said: alone the images that they rated, with ``label`` what they alone said (``unrated``: what they
            have not rated). source: with labels that were concluded from this. model: made by this one.
        state: in this state; removed ones come only when asked for.
        after: only numbers above this; how one page follows the other. limit: 1 to 1000.
    """

    collection: int | None = None
    prompt: str = ""
    prompt_number: int | None = None
    label: Label = "any"
    rater: str = ""
    source: str = ""
    model: str = ""
    state: ImageState | None = None
    after: int = 0
    limit: int = 100


@dataclass(frozen=True)
class Rating:
    """What is believed of an image's strength while it is ranked: a normal distribution (natural logarithm of the odds).

    The values of an image that nothing is known of are the prior of ``evaluation.preferences.fit``, which a test holds together.
    """

    image: int
    mean: float = 0.0
    sd: float = 1.5
    games: int = 0
    prompt: int = 0
