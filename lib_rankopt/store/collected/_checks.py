"""What a row must be before a database sees it: a row that is wrong is named, and takes no others with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected._rows import WITHOUT_TIERS, clean
from lib_rankopt.store.collected.records import LABEL_KINDS, CollectedKind, CollectionKind, ImageState

if TYPE_CHECKING:
    from lib_rankopt.store.collected.records import Collection, FeedbackDraft, FileFacts, ImageDraft, Rating

LONGEST_KEY = 1000
"""Bytes of an image's key: an index of PostgreSQL holds no entry above 2,704."""

_PIXELS, _INTEGERS = 2**31, 2**63
_KINDS, _STATES, _COLLECTIONS = set(get_args(CollectedKind)), set(get_args(ImageState)), set(get_args(CollectionKind))
_ALONE = ((0,),)


def fits(number: int) -> bool:
    """Whether there can be a row of that number: drivers raise what they like for what a column cannot hold."""
    return 0 <= number < _INTEGERS


def bounded(number: int) -> int:
    """The nearest number that a database can compare with."""
    return min(max(number, -_INTEGERS), _INTEGERS - 1)


def check_collection(name: str | None = None, root: str | None = None, position: int | None = None) -> None:
    """Raise for what no collection can have.

    Raises:
        InvalidInputError: the message says what was expected.
    """
    if name is not None and not 0 < len(clean(name)) <= 200:
        raise InvalidInputError(f"The name of a collection has {len(name)} signs; give 1 to 200.")
    if root is not None:
        _check_path("folder", root)
    if position is not None and not -_INTEGERS <= position < _INTEGERS:
        raise InvalidInputError(f"The position {position} of a collection is no number of 64 bits.")


def check_new(draft: Collection) -> None:
    """Raise for a collection that cannot be kept. Raises: InvalidInputError."""
    check_collection(draft.name, draft.root, draft.position)
    if draft.kind not in _COLLECTIONS or len(draft.format) > 32:
        raise InvalidInputError(f"A collection of the kind '{draft.kind}' and the format '{draft.format[:80]}' cannot be kept.")


def check_image(draft: ImageDraft) -> None:
    """Raise for an image that cannot be kept.

    Raises:
        InvalidInputError: the message says what was wrong.
    """
    key = draft.key
    if not 0 < (len(key) if key.isascii() else len(key.encode("utf-8", "replace"))) <= LONGEST_KEY or not clean(key):
        raise InvalidInputError(f"An image's key has {len(key)} signs ('{clean(key)[:40]}'); 1 to {LONGEST_KEY} bytes are expected.")
    _check_file(draft)


def check_facts(facts: FileFacts) -> None:
    """Raise for facts of a file that cannot be kept. Raises: InvalidInputError."""
    if facts.phash is not None and not -_INTEGERS <= facts.phash < _INTEGERS:
        raise InvalidInputError(f"The perceptual hash {facts.phash} is no number of 64 bits.")
    _check_file(facts)


def _check_file(of: ImageDraft | FileFacts) -> None:
    if of.path is not None:
        _check_path("path", of.path)
    if of.held and of.file_sha256 is None:
        raise InvalidInputError(f"A file that the data folder holds is known by its hash; {of.path!r:.200} has none.")
    if not (0 <= of.width < _PIXELS and 0 <= of.height < _PIXELS and -1 <= of.size < _INTEGERS and math.isfinite(of.modified)):
        raise InvalidInputError(f"An image of {of.width} × {of.height} pixels, {of.size} bytes, changed at {of.modified}, cannot be.")
    if of.state not in _STATES:
        raise InvalidInputError(f"An image cannot be '{str(of.state)[:40]}'; it is one of {', '.join(sorted(_STATES))}.")
    for value in (of.file_sha256, of.sha256):
        if value is not None and not (0 < len(value) <= 64 and value.isascii() and value.isalnum()):
            raise InvalidInputError(f"'{clean(value)[:80]}' is no sha256; 64 hexadecimal digits are expected.")


def _check_path(what: str, path: str) -> None:
    if not path.isascii() or "\0" in path:
        try:
            plain = path.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"The {what} {ascii(path)[:200]} is not written in UTF-8; rename it.") from error
        if b"\0" in plain:
            raise InvalidInputError(f"The {what} {ascii(path)[:200]} has a NUL in it.")


def check_form(draft: FeedbackDraft) -> None:
    """Raise where a kind of feedback has too many or too few images, or its tiers name others than its images.

    Raises:
        InvalidInputError: the message says what was expected.
    """
    kind, count = draft.kind, len(draft.images)
    if count == 1 and draft.tiers == _ALONE and kind in LABEL_KINDS:
        return
    if kind not in _KINDS:
        raise InvalidInputError(f"'{str(kind)[:40]}' is no kind of feedback; it is one of {', '.join(sorted(_KINDS))}.")
    if count > 1 and len(set(draft.images)) < count:
        raise InvalidInputError(f"An image stands twice in one {kind}.")
    if (kind in LABEL_KINDS and count != 1) or (kind == "pair" and count != 2) or (kind == "ranking" and count < 2):
        raise InvalidInputError(f"A {kind} is about {count} images; a label takes one, a pair two, a ranking two or more.")
    if kind in WITHOUT_TIERS:
        if draft.tiers:
            raise InvalidInputError(f"A {kind} has no tiers, but {draft.tiers!r:.80} were given.")
        return
    placed = sorted(place for tier in draft.tiers for place in tier)
    if placed != list(range(count)) or not all(draft.tiers):
        raise InvalidInputError(f"The tiers {draft.tiers!r:.200} of a {kind} do not name each of its {count} images once.")


def check_feedback(draft: FeedbackDraft) -> None:
    """Raise for feedback that cannot be kept: its form, and the numbers in it.

    Raises:
        InvalidInputError: the message says what was wrong.
    """
    check_form(draft)
    for name in ("latency_ms", "retracts"):
        value = getattr(draft, name)
        if value is not None and not -_INTEGERS <= value < _INTEGERS:
            raise InvalidInputError(f"The {name} of a {draft.kind} is {value}, which is no number of 64 bits.")
    if (draft.kind == "retraction") != (draft.retracts is not None):
        raise InvalidInputError(f"A retraction says what it takes back, and nothing else does; this {draft.kind}: {draft.retracts}.")


def check_rating(rating: Rating) -> None:
    """Raise for a rating that is no distribution. Raises: InvalidInputError."""
    if not (math.isfinite(rating.mean) and math.isfinite(rating.sd) and rating.sd >= 0 and 0 <= rating.games < _PIXELS):
        raise InvalidInputError(f"The rating of image {rating.image} is {rating.mean} ± {rating.sd} after {rating.games} comparisons.")
