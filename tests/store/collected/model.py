"""What tallies and pages must be, counted from everything that a store holds: slow and plain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lib_rankopt.store.collected.base import CollectionStore
from lib_rankopt.store.collected.records import CollectedImage, FeedbackRecord, ImageQuery

STATES = ("unseen", "here", "gone", "changed", "removed")
LABELS = ("like", "dislike", "rated", "unrated", "compared", "any")


def all_images(store: CollectionStore, collection: int) -> list[CollectedImage]:
    """Every image, the removed ones too."""
    found: list[CollectedImage] = []
    for state in (None, "removed"):
        after = 0
        while page := store.page(ImageQuery(collection, state=state, after=after, limit=50)):  # type: ignore[arg-type]
            found += page
            after = page[-1].number
    return sorted(found, key=lambda image: image.number)


def recount(store: CollectionStore, collection: int) -> dict[str, int]:
    """The tallies of a collection."""
    images = all_images(store, collection)
    said = store.feedback(collection, limit=20_000, standing=True)
    every = store.feedback(collection, limit=20_000)
    count: Counter[str] = Counter()
    count["images"] = len(images)
    count["prompts"] = len({image.prompt for image in images})
    for image in images:
        count[f"state:{image.state}"] += 1
        count["removed"] += image.state == "removed"
        count[f"model:{image.model}"] += bool(image.model)
        count["unrated"] += not is_rated(image.number, said, None)
    for one in said:
        count[f"kind:{one.kind}"] += 1
        count[f"rater:{one.rater}"] += 1
        count[f"source:{one.source}"] += bool(one.source)
    count["kind:retraction"] = sum(one.kind == "retraction" for one in every)
    return {name: value for name, value in count.items() if value}


def opinions(image: int, said: list[FeedbackRecord], rater: str | None) -> set[str]:
    """``like`` and ``dislike``, as far as somebody thinks so: what was said last, or else what was concluded last from each source."""
    by_rater: dict[str, dict[str, str]] = {}
    for one in said:
        if one.images[:1] == (image,) and one.kind in ("like", "dislike", "unlike") and rater in (None, one.rater):
            of = by_rater.setdefault(one.rater, {})
            if one.kind == "unlike" and not one.source:
                of.clear()
            else:
                of[one.source] = one.kind
    found = set()
    for of in by_rater.values():
        found |= {of[""]} if "" in of else set(of.values())
    return found - {"unlike"}


def is_compared(image: int, said: list[FeedbackRecord], rater: str | None) -> bool:
    """Whether it stood in a pair or ranking."""
    return any(one.kind in ("pair", "ranking") and image in one.images and rater in (None, one.rater) for one in said)


def is_concluded(image: int, said: list[FeedbackRecord], rater: str | None, source: str) -> bool:
    """Whether it has a label that was concluded from something."""
    return any(
        one.images == (image,) and one.kind in ("like", "dislike") and one.source == source and rater in (None, one.rater) for one in said
    )


def is_rated(image: int, said: list[FeedbackRecord], rater: str | None) -> bool:
    """Whether it has a label or was compared."""
    return bool(opinions(image, said, rater)) or is_compared(image, said, rater)


def fits(image: CollectedImage, query: ImageQuery, said: list[FeedbackRecord], prompts: Mapping[int, str]) -> bool:
    """Whether an image belongs to the answer of a query."""
    tests = {
        "any": lambda: not query.rater or is_rated(image.number, said, rater),
        "like": lambda: "like" in opinions(image.number, said, rater),
        "dislike": lambda: "dislike" in opinions(image.number, said, rater),
        "rated": lambda: is_rated(image.number, said, rater),
        "unrated": lambda: not is_rated(image.number, said, rater),
        "compared": lambda: is_compared(image.number, said, rater),
    }
    rater = query.rater or None
    return (
        (image.state == query.state if query.state else image.state != "removed")
        and query.collection in (None, image.collection)
        and query.prompt.lower() in image.prompt.lower()
        and (query.prompt_number is None or prompts.get(query.prompt_number) == image.prompt)
        and (not query.model or image.model == query.model)
        and (not query.source or is_concluded(image.number, said, rater, query.source))
        and tests[query.label]()
    )
