"""Studies and collections as one data set for the writers, and as training data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_rankopt.errors import NotFoundError, StoreError
from lib_rankopt.store import BlobStore, Store, open_store
from lib_rankopt.store.blobs import image_hash
from lib_rankopt.store.collected.dataset import StoreDataset
from lib_rankopt.store.collected.files import HeldFiles, look
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft, Rating
from lib_rankopt.store.records import CandidateRecord, EventDraft, RoundRecord, StudyRecord
from lib_rankopt.training.data import from_collections, gather
from tests.store.collected.pictures import folder, picture, png


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data")
    yield opened
    opened.close()


def collected(store: Store, tmp_path: Path, *feedback: FeedbackDraft) -> Collection:
    """Eight images under two prompts, looked at."""
    root = folder(tmp_path / "pictures", 8)
    made = store.collected.create(Collection("mine", kind="folder", root=str(root)))
    store.collected.add(made.number, [ImageDraft(f"{n}.png", f"prompt {n // 4}", f"{n}.png") for n in range(8)], feedback)
    list(look(store.collected, HeldFiles(tmp_path / "data"), made))
    return made


def said(kind: str, *keys: int, tiers: tuple[tuple[int, ...], ...] | None = None, token: str = "", **more: object) -> FeedbackDraft:
    names = tuple(f"{key}.png" for key in keys)
    places = tuple((n,) for n in range(len(keys))) if tiers is None else tiers
    return FeedbackDraft(kind, names, places, token or f"{kind} {keys} {more}", **more)  # type: ignore[arg-type]


def dataset(store: Store, tmp_path: Path, *collections: Collection, studies: tuple[StudyRecord, ...] = ()) -> StoreDataset:
    return StoreDataset(store, BlobStore(tmp_path / "data"), HeldFiles(tmp_path / "data"), collections, studies)


def feedback_of(found: StoreDataset) -> list[tuple[str, tuple[str, ...], tuple[tuple[int, ...], ...]]]:
    return [(entry.kind, entry.images, entry.tiers) for entry, images in found.feedback() if entry.images == tuple(i.key for i in images)]


def test_what_stands_comes_out_as_it_was_said(store: Store, tmp_path: Path) -> None:
    made = collected(
        store, tmp_path,
        said("pair", 1, 0), said("pair", 2, 3, tiers=((0, 1),)), said("pair", 0, 2, tiers=((1,), (0,))),
        said("ranking", 4, 5, 6, tiers=((2,), (0, 1))), said("like", 7), said("skip", 4, 5, tiers=()),
    )  # fmt: skip
    found = dataset(store, tmp_path, made)
    assert feedback_of(found) == [
        ("pair", ("1.png", "0.png"), ((0,), (1,))),
        ("pair", ("2.png", "3.png"), ((0, 1),)),
        ("pair", ("0.png", "2.png"), ((1,), (0,))),
        ("ranking", ("4.png", "5.png", "6.png"), ((2,), (0, 1))),
        ("like", ("7.png",), ((0,),)),
    ]
    images = list(found.images())
    assert [image.key for image in images] == [f"{n}.png" for n in range(8)]
    assert [found.read(image) for image in images] == [png(n) for n in range(8)]


def test_of_labels_the_last_word_counts_and_what_was_said_wins(store: Store, tmp_path: Path) -> None:
    made = collected(
        store, tmp_path,
        said("like", 0), said("dislike", 0),
        said("like", 1, source="saved"), said("dislike", 1),
        said("like", 2, source="saved"),
        said("like", 3), said("unlike", 3),
    )  # fmt: skip
    every = dataset(store, tmp_path, made).feedback()
    found = [(entry.kind, entry.images[0], entry.source, entry.about.get("weight")) for entry, _ in every]
    assert found == [("dislike", "0.png", "", None), ("dislike", "1.png", "", None), ("like", "2.png", "saved", 0.5)]


def test_removed_images_and_what_was_taken_back_stay_in_the_house(store: Store, tmp_path: Path) -> None:
    made = collected(store, tmp_path, said("pair", 0, 1), said("like", 2), said("like", 3))
    numbers = {key: image.number for key, image in store.collected.images_by_key(made.number, ["0.png", "2.png"]).items()}
    store.collected.set_removed([numbers["0.png"]])
    like = store.collected.feedback_of([numbers["2.png"]])[0]
    store.collected.append(made.number, FeedbackDraft("retraction", token="back", retracts=like.number))
    found = dataset(store, tmp_path, made)
    assert feedback_of(found) == [("like", ("3.png",), ((0,),))]
    assert "0.png" not in {image.key for image in found.images()}


def test_a_file_that_is_gone_or_another_one_is_refused(store: Store, tmp_path: Path) -> None:
    made = collected(store, tmp_path)
    (tmp_path / "pictures" / "0.png").unlink()
    (tmp_path / "pictures" / "1.png").write_bytes(png(50))
    found = dataset(store, tmp_path, made)
    images = {image.key: image for image in found.images()}
    with pytest.raises(NotFoundError):
        found.read(images["0.png"])
    with pytest.raises(StoreError, match="another file"):
        found.read(images["1.png"])


def test_ratings_of_a_ranking_under_way_come_along(store: Store, tmp_path: Path) -> None:
    made = collected(store, tmp_path)
    numbers = {key: image.number for key, image in store.collected.images_by_key(made.number, ["0.png", "1.png"]).items()}
    store.collected.put_ratings(made.number, [Rating(numbers["0.png"], 0.5, 0.25, 3), Rating(numbers["1.png"], 0.0, 1.0, 0)])
    assert dataset(store, tmp_path, made).ratings() == {"0.png": (0.5, 0.25)}


def a_study(store: Store, blobs: BlobStore) -> StudyRecord:
    """One study of a round of four, the third of which shows the first one's image again."""
    study = store.create_study(StudyRecord("s" * 16, "foxes", {"prompt": "a fox <lora:a:1>", "steps": 9}, 1, (4, 8, 8), {"sha256": "ab"}))
    images = [blobs.put_image(picture(n), "") for n in (10, 11, 10, 12)]
    record = RoundRecord("r" * 16, study.id, 0, 4, "x" * 64, state="ready")
    store.add_round(record, [CandidateRecord(record.id, n, "fresh", f"{n:064x}", n, image) for n, image in enumerate(images)], 0)
    for number, (kind, tiers) in enumerate([("ranking", [[1], [0]]), ("like", [[3]]), ("dislike", [[0]])], 1):
        store.append(EventDraft(study.id, kind, record.id, {"tiers": tiers}, (3, 2, 1, 0)), number)  # type: ignore[arg-type]
    return study


def test_a_study_comes_out_as_rankings_and_labels(store: Store, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "data")
    study = a_study(store, blobs)
    found = dataset(store, tmp_path, studies=(study,))
    assert len(list(found.images())) == 3
    ranking, like, dislike = list(found.feedback())
    best_first = [[ranking[0].images[place] for place in tier] for tier in ranking[0].tiers]
    fox, other, third = (blobs.put_image(picture(n), "") for n in (11, 10, 12))
    assert best_first == [[fox], [other], [third]]
    assert (like[0].kind, like[0].images, dislike[0].kind, dislike[0].images) == ("like", (third,), "dislike", (other,))
    assert (like[1][0].prompt, like[1][0].model, like[1][0].about["steps"]) == ("a fox <lora:a:1>", "ab", 9)
    assert found.read(like[1][0]) == blobs.image_path(third).read_bytes()


def test_several_sources_keep_their_keys_apart(store: Store, tmp_path: Path) -> None:
    one = collected(store, tmp_path, said("like", 0))
    two = store.collected.create(Collection("other", root=str(tmp_path / "pictures")))
    store.collected.add(two.number, [ImageDraft("0.png", path="0.png")], [said("dislike", 0)])
    keys = [image.key for image in dataset(store, tmp_path, one, two).images()]
    assert len(set(keys)) == len(keys) == 9


def test_training_reads_a_collection_by_name_beside_studies(store: Store, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "data")
    a_study(store, blobs)
    collected(
        store, tmp_path,
        said("pair", 0, 1), said("pair", 0, 7), said("ranking", 4, 5, 6, tiers=((2,), (0, 1))), said("like", 2, source="saved"),
    )  # fmt: skip

    class Opened:
        def __enter__(self) -> tuple[Store, BlobStore]:
            return store, blobs

        def __exit__(self, *_: object) -> None:
            return None

    found = gather.gather(["mine", "foxes"], Opened)  # type: ignore[arg-type]
    assert sorted((ranked.prompt, ranked.tiers) for ranked in found.rankings) == [
        ("a fox", (0, 1, 2)), ("prompt 0", (0, 1)), ("prompt 1", (0, 1, 1)),
    ]  # fmt: skip
    weak = next(label for label in found.labels if not label.said)
    assert (weak.liked, weak.weight, weak.image.path) == (True, 0.5, tmp_path / "pictures" / "2.png")
    assert [problem for problem in found.problems if "different prompts" in problem] == [found.problems[-1]]


def test_training_tells_the_images_of_two_collections_apart(store: Store, tmp_path: Path) -> None:
    one = collected(store, tmp_path, said("like", 0))
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "0.png").write_bytes(png(60))
    two = store.collected.create(Collection("others", kind="folder", root=str(tmp_path / "others")))
    store.collected.add(two.number, [ImageDraft("0.png", path="0.png")], [said("dislike", 0)])
    found = from_collections.read(store, BlobStore(tmp_path / "data"), HeldFiles(tmp_path / "data"), [one, two])
    assert [(label.image.path.parent.name, label.image.sha256) for label in found.labels] == [
        ("pictures", image_hash(picture(0))), ("others", image_hash(picture(60))),
    ]  # fmt: skip


def test_training_leaves_out_what_is_gone_or_changed(store: Store, tmp_path: Path) -> None:
    made = collected(store, tmp_path, said("like", 0), said("like", 1), said("like", 2))
    (tmp_path / "pictures" / "0.png").unlink()
    (tmp_path / "pictures" / "1.png").write_bytes(png(50))
    found = from_collections.read(store, BlobStore(tmp_path / "data"), HeldFiles(tmp_path / "data"), [made])
    assert [label.image.path.name for label in found.labels] == ["2.png"]
    assert len(found.problems) == 2
