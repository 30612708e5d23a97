"""What the Data panel asks a store for: labels by source, duplicates, perceptual hashes."""

from __future__ import annotations

from lib_rankopt.store import Store
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, FileFacts, ImageDraft, ImageQuery


def a_hash(n: int) -> str:
    return f"{n:064x}"


def filled(store: Store, name: str, files: list[tuple[int | None, int | None]]) -> tuple[int, list[int]]:
    """A collection of images with these hashes of file and content."""
    collected = store.collected
    number = collected.create(Collection(name)).number
    drafts = [
        ImageDraft(f"{at}.png", "a fox", file_sha256=file and a_hash(file), sha256=content and a_hash(content), state="here")
        for at, (file, content) in enumerate(files)
    ]
    collected.add(number, drafts)
    return number, [image.number for image in collected.page(ImageQuery(collection=number))]


def like(image: int, token: str, source: str = "", rater: str = "me", kind: str = "like") -> FeedbackDraft:
    return FeedbackDraft(kind, (image,), ((0,),), token, rater=rater, source=source)  # type: ignore[arg-type]


def test_pages_by_source(store: Store) -> None:
    place, (a, b, c, _) = filled(store, "one", [(1, 1), (2, 2), (3, 3), (4, 4)])
    for draft in (like(a, "1"), like(b, "2", "saved"), like(c, "3", "deleted", "ann", "dislike")):
        store.collected.append(place, draft)

    def found(**wanted: object) -> list[int]:
        return [image.number for image in store.collected.page(ImageQuery(**wanted))]  # type: ignore[arg-type]

    assert found(source="saved") == [b]
    assert found(source="deleted", label="dislike") == [c]
    assert found(source="deleted", label="like") == []
    assert found(source="saved", rater="ann") == []
    assert found(source="dreamt") == []
    last = store.collected.feedback_back(place, "me")[0]
    store.collected.append(place, FeedbackDraft("retraction", token="4", retracts=last.number))
    assert found(source="saved") == []


def test_the_same_file_or_pixels(store: Store) -> None:
    one, (a, b, c, d, e) = filled(store, "one", [(1, 11), (1, 11), (2, None), (3, 13), (4, 13)])
    two, (f, g) = filled(store, "two", [(2, 15), (9, 15)])
    assert store.collected.same_content(one) == [(a, b), (d, e)]
    # c has the file of f, f the pixels of g
    assert store.collected.same_content() == [(a, b), (c, f, g), (d, e)]
    assert store.collected.same_content(limit=1) == [(a, b)]
    store.collected.set_removed([b, e])
    assert store.collected.same_content(one) == []
    assert store.collected.same_content(two) == [(f, g)]
    assert store.collected.same_content(99) == []


def test_perceptual_hashes_come_in_pages(store: Store) -> None:
    place, (a, b, c) = filled(store, "one", [(1, 1), (2, 2), (3, 3)])
    other, (d,) = filled(store, "two", [(4, 4)])
    assert store.collected.phashes() == []
    values = {a: -(2**63), b: 2**63 - 1, c: 0, d: 5}
    store.collected.note_files([FileFacts(number, "here", phash=value) for number, value in values.items()])
    assert store.collected.phashes() == list(values.items())
    assert store.collected.phashes(place, after=a, limit=1) == [(b, 2**63 - 1)]
    assert store.collected.phashes(other) == [(d, 5)]
    store.collected.set_removed([b])
    assert store.collected.phashes(place) == [(a, -(2**63)), (c, 0)]
