"""Imports and exports as jobs and as steps: they go on where they were stopped, and say what they came to."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store import BlobStore, Store, formats
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft
from lib_rankopt.studies.data import moving
from lib_rankopt.studies.data.aggregate import aggregate, agreement_of, answers_of
from lib_rankopt.studies.data.beliefs import REPEATS
from lib_rankopt.studies.data.jobs import Jobs
from lib_rankopt.studies.data.moving import Moving
from lib_rankopt.studies.data.sources import find_sources
from tests.store.formats.datasets import picture, small

ROWS = 12_000


@pytest.fixture
def held(tmp_path: Path) -> HeldFiles:
    return HeldFiles(tmp_path / "data")


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


@pytest.fixture
def mover(store: Store, held: HeldFiles, jobs: Jobs, tmp_path: Path) -> Moving:
    return Moving(store, BlobStore(tmp_path / "data"), held, jobs)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A csv of more than two batches, whose images are not there."""
    path = tmp_path / "train_processed_v3.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption", "split"])
        writer.writerows((f"train/{i}.jpg", f"prompt {i % 7}", "exclusive_win") for i in range(ROWS))
    return path


def folder_of(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for i in range(4):
        (path / f"{i}.png").write_bytes(picture(i))
    return path


def test_an_import_goes_on_where_it_was_stopped(store: Store, held: HeldFiles, long: Path) -> None:
    fmt = formats.get("kto")
    collection = moving.collection_for(store.collected, fmt, long)
    steps = moving.import_steps(store.collected, held, fmt, long, collection, look_at_files=False)
    first = next(steps)
    steps.close()
    assert 0 < first.done < first.total
    assert store.collected.tallies(collection.number)["images"] == first.outcome["rows"] < ROWS
    collection = moving.collection_for(store.collected, fmt, long)
    last = list(moving.import_steps(store.collected, held, fmt, long, collection, look_at_files=False))[-1]
    assert last.outcome["rows"] == ROWS - first.outcome["rows"]
    assert last.done == last.total
    assert store.collected.tallies(collection.number)["kind:like"] == ROWS
    again = list(moving.import_steps(store.collected, held, fmt, long, collection, look_at_files=False))[-1]
    assert (again.outcome["images"], again.outcome["feedback"], again.outcome["known_feedback"]) == (0, 0, ROWS)


def test_a_folder_that_has_grown_is_read_whole(store: Store, held: HeldFiles, tmp_path: Path) -> None:
    path, fmt = folder_of(tmp_path), formats.get("folder")
    collection = moving.collection_for(store.collected, fmt, path)
    list(moving.import_steps(store.collected, held, fmt, path, collection))
    (path / "0a.png").write_bytes(picture(7))
    last = list(moving.import_steps(store.collected, held, fmt, path, collection))[-1]
    assert (last.outcome["images"], last.outcome["known_images"]) == (1, 4)
    assert last.outcome["look"] == {"here": 5, "gone": 0, "changed": 0, "found": 0, "skipped": 4, "problems": []}


def test_jobs_import_and_export(mover: Moving, jobs: Jobs, store: Store, held: HeldFiles, tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    view = mover.start_import("auto", path, "mine")
    assert view.collection == store.collected.collections()[0].number
    done = jobs.wait(view.id, 30)
    assert (done.state, done.outcome["images"], done.outcome["look"]["here"]) == ("done", 4, 4)
    out = jobs.wait(mover.start_export("jsonl", ["mine"], tmp_path / "out").id, 30)
    assert (out.state, out.outcome["images"], out.done) == ("done", 4, out.total)
    assert (tmp_path / "out" / "metadata.jsonl").is_file()
    (path / "0.png").unlink()
    looked = list(moving.look_steps(store.collected, held, store.collected.collections()[0]))[-1].outcome
    assert (looked["here"], looked["gone"]) == (3, 1)
    (nothing,) = moving.look_steps(store.collected, held, store.collected.create(Collection("empty")))
    assert nothing.outcome == {"here": 0, "gone": 0, "changed": 0, "found": 0, "skipped": 0, "problems": []}


def test_what_cannot_be_is_said_before_the_job(mover: Moving, jobs: Jobs, long: Path, tmp_path: Path) -> None:
    for arguments in (("auto", tmp_path / "none"), ("nonsense", long), ("kto", long, "", {"x": "1"})):
        with pytest.raises(InvalidInputError):
            mover.start_import(*arguments)
    (tmp_path / "x.bin").write_bytes(b"\0\1")
    with pytest.raises(InvalidInputError, match="name its format: "):
        mover.start_import("auto", tmp_path / "x.bin")
    jobs.wait(mover.start_import("kto", long, "mine", look=False).id, 30)
    with pytest.raises(ConflictError, match="another name"):
        mover.start_import("folder", folder_of(tmp_path), "mine")
    with pytest.raises(NotFoundError):
        mover.start_export("jsonl", ["nobody's"], tmp_path / "out")
    with pytest.raises(InvalidInputError, match="nothing is written over"):
        mover.start_export("jsonl", [], long)
    with pytest.raises(InvalidInputError, match="no folder"):
        mover.start_export("jsonl", [], tmp_path / "no" / "out")
    assert jobs.wait(mover.start_export("dro", ["mine"], tmp_path / "out").id, 30).state == "failed"  # no file is there
    assert not (tmp_path / "out").exists()


def test_sources_by_name_number_and_neither(store: Store) -> None:
    first, second = (store.collected.create(Collection(name)) for name in ("one", "two"))
    assert find_sources(store, []).names == ["one", "two"]
    assert find_sources(store, [str(second.number), "one", "two"]).collections == (second, first)
    store.collected.create(Collection("2"))  # a name goes before a number
    assert find_sources(store, ["2"]).names == ["2"]
    with pytest.raises(NotFoundError, match="'three'"):
        find_sources(store, ["three"])


def test_all_that_was_said_is_one_strength(mover: Moving, store: Store) -> None:
    made = store.collected.create(Collection("one"))
    images = [ImageDraft(name) for name in "abcd"]
    said = [
        FeedbackDraft("ranking", ("a", "b", "c"), ((0,), (1, 2)), "1", rater="Ann"),
        FeedbackDraft("pair", ("c", "b"), ((0, 1),), "2", rater="Bo"),
        FeedbackDraft("dislike", ("c",), ((0,),), "3", rater="Ann"),
        FeedbackDraft("like", ("d",), ((0,),), "4", source="saved"),
    ]
    store.collected.add(made.number, images, said)
    dataset = mover.dataset(find_sources(store, []))
    found = aggregate(dataset)
    strength = dict(zip(found.keys, found.ratings.mean.tolist(), strict=True))
    assert strength["a"] > strength["b"] > strength["c"]
    assert strength["d"] > 0
    assert found.raters == {"Ann": 2, "Bo": 1, "me": 1}
    only = aggregate(dataset, concluded=False)
    assert dict(zip(only.keys, only.comparisons.games.tolist(), strict=True))["d"] == 0
    assert sorted(answers_of(dataset)) == [("Ann", "a", "b", 1), ("Ann", "a", "c", 1), ("Bo", "c", "b", 0)]


def test_what_was_shown_again_counts_for_the_agreement_alone(mover: Moving, store: Store) -> None:
    made = store.collected.create(Collection("one"))
    said = [
        FeedbackDraft("pair", ("a", "b"), ((0,), (1,)), "1"),
        FeedbackDraft("pair", ("b", "a"), ((1,), (0,)), "2", about={REPEATS: 1}),
    ]
    store.collected.add(made.number, [ImageDraft(name) for name in "ab"], said)
    dataset = mover.dataset(find_sources(store, []))
    assert aggregate(dataset).comparisons.games.tolist() == [1, 1]
    (rater,) = agreement_of(dataset).raters
    assert rater.repeats is not None
    assert (rater.answers, rater.repeats.mean) == (2, 1.0)


def test_an_archive_brings_everything_back(mover: Moving, jobs: Jobs, tmp_path: Path) -> None:
    dataset = small()
    list(moving.export_steps(dataset, formats.get("archive"), tmp_path / "a.rankopt.zip"))
    done = jobs.wait(mover.start_import("auto", tmp_path / "a.rankopt.zip").id, 30)
    assert done.state == "done"
    assert (done.outcome["images"], done.outcome["feedback"]) == (len(dataset.entries), len(dataset.answers))
    assert done.outcome["look"]["here"] == len(dataset.files)
