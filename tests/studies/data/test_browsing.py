"""Looking through what there is, correcting it, duplicates, and what objectives would get."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store import BlobStore, Store
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.records import Collection, FeedbackDraft, ImageDraft, ImageQuery
from lib_rankopt.store.records import CandidateRecord, EventDraft, RoundRecord, StudyRecord
from lib_rankopt.studies.data import browsing, reach
from lib_rankopt.studies.data.browsing_views import ImageView, SourceView
from lib_rankopt.studies.data.duplicates import best
from lib_rankopt.studies.data.jobs import Step
from lib_rankopt.studies.data.service import Data
from tests.studies.data.filled import fill, label, paint, pair


@pytest.fixture
def data(store: Store, tmp_path: Path) -> Iterator[Data]:
    opened = Data(tmp_path / "data", store, BlobStore(tmp_path / "data"), lambda: {"saved": 0.25})
    yield opened
    opened.close()


def a_study(store: Store, tmp_path: Path, images: int = 2) -> StudyRecord:
    """A study with one round whose first image was ranked best and liked."""
    study = store.create_study(StudyRecord("s1", "Valleys", {"prompt": "a valley"}, 1, (4, 8, 8), {"name": "pocket", "sha256": "ab"}))
    record = RoundRecord("r1", "s1", 0, images, "x" * 64)
    hashes = [BlobStore(tmp_path / "data").put_image(Image.new("RGB", (8, 8), (at, 0, 0)), "") for at in range(images)]
    store.add_round(record, [CandidateRecord("r1", at, "fresh", f"{at:064x}", 7, one) for at, one in enumerate(hashes)], 0)
    for at, one in enumerate(hashes):
        store.set_image("r1", at, one)
    store.append(EventDraft("s1", "ranking", "r1", {"tiers": [[0]]}, tuple(range(images))), store.study("s1").revision)
    store.append(EventDraft("s1", "like", "r1", {"tiers": [[0]]}, tuple(range(images)), rater="ann"), store.study("s1").revision)
    return study


# -- what is there
def test_an_empty_store(data: Data) -> None:
    found = data.browsing.overview()
    assert (found.sources, found.total.images, found.total.answers) == ((), 0, 0)
    assert data.browsing.page(ImageQuery()).images == ()
    assert data.duplicates.same().groups == data.duplicates.near().groups == ()
    assert {one.items for one in data.reach.objectives().objectives} == {0}


def test_studies_and_collections_are_counted(data: Data, store: Store, tmp_path: Path) -> None:
    number, images = fill(store.collected, tmp_path / "foxes")
    for draft in (pair(images[0], images[1], "1"), label(images[0], "2", source="saved"), label(images[1], "3", "dislike", rater="ann")):
        store.collected.append(number, draft)
    store.collected.set_removed([images[3]])
    a_study(store, tmp_path)
    found = {one.id: one for one in data.browsing.overview().sources}
    foxes, valleys = found[f"c{number}"], found["s1"]
    assert (foxes.name, foxes.kind, foxes.origin, foxes.collection) == ("foxes", "folder", str(tmp_path / "foxes"), number)
    assert (foxes.images, foxes.prompts, foxes.pairs, foxes.likes, foxes.dislikes, foxes.answers) == (3, 2, 1, 1, 1, 3)
    assert (foxes.raters, foxes.models, foxes.labelled_by) == ({"me": 2, "ann": 1}, {"deliberate": 4}, {"saved": 1})
    assert foxes.states == {"unseen": 3, "removed": 1}
    assert (valleys.kind, valleys.origin, valleys.models, valleys.collection) == ("study", "a valley", {"pocket": 2}, None)
    assert (valleys.images, valleys.prompts, valleys.rankings, valleys.likes) == (2, 1, 1, 1)
    total = data.browsing.overview().total
    assert (total.images, total.prompts, total.likes, total.raters) == (5, 3, 2, {"me": 3, "ann": 2})


def test_pages_follow_each_other(data: Data, store: Store, tmp_path: Path) -> None:
    _, images = fill(store.collected, tmp_path / "foxes", 7)
    seen, after = [], 0
    for _ in range(4):
        page = data.browsing.page(ImageQuery(after=after, limit=3))
        seen += [one.number for one in page.images]
        if page.next is None:
            break
        after = page.next
    assert seen == images
    assert [one.number for one in data.browsing.page(ImageQuery(prompt="red BARN")).images] == images[1::2]
    assert data.browsing.page(ImageQuery(after=2**63)).images == ()


def test_an_image_says_what_follows_from_its_feedback(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, c, d) = fill(store.collected, tmp_path / "foxes")
    collected = store.collected
    collected.append(number, label(a, "1", source="saved"))
    collected.append(number, label(b, "2"))
    collected.append(number, label(b, "3", "dislike", rater="ann"))
    collected.append(number, FeedbackDraft("ranking", (a, b, c), ((0,), (1, 2)), "4", rater="ann"))
    collected.append(number, pair(b, a, "5"))
    views = {one.number: one for one in data.browsing.page(ImageQuery()).images}
    assert [(one.rater, one.value, one.sources) for one in views[a].labels] == [("me", 0.25, ("saved",))]
    assert [(one.rater, one.value) for one in views[b].labels] == [("ann", -1), ("me", 1)]
    assert (views[a].contradictory, views[b].contradictory) == (False, True)
    assert [(views[n].comparisons, views[n].wins, views[n].losses, views[n].ties) for n in (a, b, c, d)] == [
        (2, 2, 1, 0), (2, 1, 1, 1), (1, 0, 1, 1), (0, 0, 0, 0),
    ]  # fmt: skip
    detail = data.browsing.image(b)
    assert [(one.kind, one.rater, one.tiers) for one in detail.events] == [
        ("like", "me", ((b,),)), ("dislike", "ann", ((b,),)), ("ranking", "ann", ((a,), (b, c))), ("pair", "me", ((b,), (a,))),
    ]  # fmt: skip
    assert (detail.collection_name, detail.path, detail.image) == ("foxes", "1.png", views[b])


@pytest.mark.parametrize("number", [-1, 0, 99, 2**80])
def test_images_that_there_are_not(data: Data, number: int) -> None:
    for call in (
        data.browsing.image,
        lambda n: data.browsing.label([n], "like", "me", "t"),
        lambda n: data.browsing.take_back(n, 1, "me", "t"),
        lambda n: data.browsing.remove([n]),
        lambda n: data.browsing.caption([n], "x"),
        lambda n: data.browsing.rename(n, "x"),
        data.browsing.delete,
        data.moving.start_look,
        data.duplicates.same,
        data.duplicates.near,
    ):
        with pytest.raises(NotFoundError):
            call(number)


# -- corrections
def test_labels_of_the_person_at_the_page(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, _, _) = fill(store.collected, tmp_path / "foxes")
    liked = data.browsing.label([a, b], "like", "  Ann ", "one")
    assert [[(one.rater, one.value) for one in view.labels] for view in liked] == [[("Ann", 1)], [("Ann", 1)]]
    data.browsing.label([a, b], "like", "Ann", "one")
    assert len(store.collected.feedback(number)) == 2
    with pytest.raises(ConflictError):
        data.browsing.label([a], "dislike", "Ann", "one")
    assert data.browsing.label([a], "unlike", "Ann", "two")[0].labels == ()


@pytest.mark.parametrize(
    ("kind", "rater", "images"), [("pair", "me", 1), ("like", " ", 1), ("like", "x" * 201, 1), ("like", "me", 0), ("like", "me", 501)]
)
def test_labels_that_cannot_be_given(data: Data, store: Store, tmp_path: Path, kind: str, rater: str, images: int) -> None:
    number, (a, *_) = fill(store.collected, tmp_path / "foxes", 1)
    with pytest.raises(InvalidInputError):
        data.browsing.label([a] * images, kind, rater, "t")
    assert store.collected.feedback(number) == []


def test_one_missing_image_and_nothing_is_said(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, *_) = fill(store.collected, tmp_path / "foxes", 1)
    with pytest.raises(NotFoundError, match="no image 77"):
        data.browsing.label([a, 77], "like", "me", "t")
    assert store.collected.feedback(number) == []


def test_taking_back_ones_own_answers(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, _, _) = fill(store.collected, tmp_path / "foxes")
    mine = store.collected.append(number, pair(a, b, "1")).number
    theirs = store.collected.append(number, label(a, "2", rater="ann")).number
    assert [one.number for one in data.browsing.take_back(b, mine, "me", "t").events] == []
    assert [one.number for one in data.browsing.take_back(b, mine, "me", "t").events] == []  # sent twice
    odd = data.browsing.label([b], "like", "A\0n \ud83d", "odd")[0].labels[0].rater
    event = data.browsing.image(b).events[0].number
    assert (odd, data.browsing.take_back(b, event, "A\0n  \ud83d", "w").events) == ("An ?", ())  # the store keeps other signs
    with pytest.raises(ConflictError, match="ann"):
        data.browsing.take_back(a, theirs, "me", "u")
    with pytest.raises(NotFoundError):
        data.browsing.take_back(b, theirs, "ann", "v")  # about another image
    assert [one.number for one in data.browsing.image(a).events] == [theirs]
    assert store.collected.tallies(number).get("kind:pair", 0) == 0


def test_captions_removing_and_bringing_back(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, *_) = fill(store.collected, tmp_path / "foxes")
    assert [one.prompt for one in data.browsing.caption([b, a], " two foxes\n")] == ["two foxes", "two foxes"]
    assert data.browsing.remove([a])[0].state == "removed"
    assert a not in [one.number for one in data.browsing.page(ImageQuery()).images]
    assert [one.number for one in data.browsing.page(ImageQuery(state="removed")).images] == [a]
    assert (tmp_path / "foxes" / "0.png").is_file()
    assert data.browsing.remove([a], removed=False)[0].state == "unseen"
    assert store.collected.tallies(number)["images"] == 4


# -- collections
def test_collections_are_renamed(data: Data, store: Store, tmp_path: Path) -> None:
    number, _ = fill(store.collected, tmp_path / "foxes", 1)
    fill(store.collected, tmp_path / "barns", 1, "barns")
    assert data.browsing.rename(number, "  Red \n foxes ").name == "Red foxes"
    for bad in ("", " \n ", "x" * 201):
        with pytest.raises(InvalidInputError):
            data.browsing.rename(number, bad)
    with pytest.raises(ConflictError, match="barns"):
        data.browsing.rename(number, "barns")
    assert store.collected.collection(number).name == "Red foxes"


def test_deleting_a_collection_deletes_what_is_held_for_it_alone(data: Data, store: Store, tmp_path: Path) -> None:
    held = HeldFiles(tmp_path / "data")
    kept = [held.put(paint(tmp_path / f"{seed}.png", seed).read_bytes()) for seed in range(2)]
    numbers = []
    for name, files in (("one", kept), ("two", kept[:1])):
        numbers.append(store.collected.create(Collection(name)).number)
        drafts = [ImageDraft(f"{at}", "a fox", path, held=True, file_sha256=sha) for at, (path, sha) in enumerate(files)]
        store.collected.add(numbers[-1], drafts)
    outside, (a, *_) = fill(store.collected, tmp_path / "foxes")
    store.collected.append(outside, label(a, "1"))
    data.browsing.delete(numbers[0])
    assert [(held.root / path).is_file() for path, _ in kept] == [True, False]
    data.browsing.delete(numbers[1])
    data.browsing.delete(outside)
    assert not (held.root / kept[0][0]).exists()
    assert len(list((tmp_path / "foxes").iterdir())) == 4
    assert data.browsing.overview().sources == ()


def test_a_large_collection_is_gone_at_once_and_its_rows_go_in_the_background(
    data: Data, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "_AT_ONCE_DELETED", 3)
    held = HeldFiles(tmp_path / "data")
    path, sha = held.put(paint(tmp_path / "0.png", 0).read_bytes())
    number, images = fill(store.collected, tmp_path / "foxes")
    store.collected.add(number, [ImageDraft("held", "a fox", path, held=True, file_sha256=sha)])
    store.collected.append(number, label(images[0], "1"))
    name = store.collected.collection(number).name
    data.browsing.delete(number)
    assert data.browsing.overview().sources == ()
    job = data.jobs.wait(data.jobs.views()[0].id, 20)
    assert (job.title, job.state, job.done, job.total) == (f"Deleting {name}", "done", 6, 6)
    assert not (held.root / path).exists()
    assert store.collected.deletions() == []


def test_a_deletion_that_a_killed_process_left_goes_on(data: Data, store: Store, tmp_path: Path) -> None:
    number, images = fill(store.collected, tmp_path / "foxes")
    store.collected.begin_deletion(number)
    data.browsing.resume_deletions()
    assert data.jobs.wait(data.jobs.views()[0].id, 20).outcome == {"rows": 4}
    assert store.collected.images_by_number(images) == {}


def test_a_collection_that_is_worked_on_is_not_deleted(data: Data, store: Store, tmp_path: Path) -> None:
    number, _ = fill(store.collected, tmp_path / "foxes")
    gate = threading.Event()

    def work() -> Iterator[Step]:
        gate.wait(20)
        yield Step(1)

    job = data.jobs.start("import", "Importing foxes", work, number)
    with pytest.raises(ConflictError, match="Importing foxes"):
        data.browsing.delete(number)
    gate.set()
    data.jobs.wait(job.id, 20)
    data.browsing.delete(number)


def test_a_look_finds_what_is_gone_and_makes_duplicates_known(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, c, d) = fill(store.collected, tmp_path / "foxes")
    shutil.copy(tmp_path / "foxes" / "0.png", tmp_path / "foxes" / "1.png")
    with Image.open(tmp_path / "foxes" / "0.png") as opened:
        opened.resize((32, 24), Image.Resampling.LANCZOS).save(tmp_path / "foxes" / "2.png")
    (tmp_path / "foxes" / "3.png").unlink()
    assert data.duplicates.same(number).unseen == 4
    job = data.jobs.wait(data.moving.start_look(number).id, 60)
    assert (job.state, job.done, job.outcome["here"], job.outcome["gone"]) == ("done", 4, 3, 1)
    assert data.browsing.image(d).image.state == "gone"
    assert data.browsing.image(a).same == (b,)

    same = data.duplicates.same(number)
    assert ([[one.number for one in group.images] for group in same.groups], same.total, same.unseen) == ([[a, b]], 1, 0)
    near = data.duplicates.near()
    assert [[one.number for one in group.images] for group in near.groups] == [[a, b, c]]
    assert near.groups[0].keep == a
    store.collected.append(number, label(c, "1"))
    assert data.duplicates.near().groups[0].keep == c
    data.browsing.remove([c])
    assert data.duplicates.near().groups == ()  # what is left of it is the same, not alike
    for bad in (0, 201):
        with pytest.raises(InvalidInputError):
            data.duplicates.same(limit=bad)
    with pytest.raises(InvalidInputError):
        data.duplicates.near(distance=9)


def test_which_one_to_keep() -> None:
    def view(number: int, width: int, comparisons: int) -> ImageView:
        return ImageView(number, 1, str(number), "", "here", width, width, "", comparisons=comparisons)

    assert best([view(1, 10, 0), view(2, 10, 0)]) == 1
    assert best([view(1, 10, 0), view(2, 20, 0)]) == 2
    assert best([view(1, 10, 1), view(2, 20, 0)]) == 1


# -- what objectives would get
def test_what_objectives_would_get(data: Data, store: Store, tmp_path: Path) -> None:
    number, (a, b, c, d) = fill(store.collected, tmp_path / "foxes")
    for draft in (pair(a, c, "1"), pair(b, d, "2"), label(a, "3"), label(d, "4", "dislike")):
        store.collected.append(number, draft)
    a_study(store, tmp_path)
    found = data.reach.objectives([f"c{number}"])
    by_name = {one.name: one for one in found.objectives}
    assert (found.built, found.why) == (True, "")
    assert (by_name["dpo"].items, by_name["dpo"].prompts, by_name["dpo"].kind) == (2, 2, "pairs")
    assert by_name["dpo"].sentences[0].startswith("2 items (pairs) of 4 images under 2 prompts")
    assert by_name["kto"].items == by_name["kto"].liked + by_name["kto"].disliked == 4
    assert {one.name: one for one in data.reach.objectives().objectives}["dpo"].items == 3
    assert {one.name: one for one in data.reach.objectives(["s1"]).objectives}["dpo"].items == 1
    assert "checkpoint" not in " ".join(by_name["dpo"].sentences)  # no base is chosen, so nothing is foreign
    (tmp_path / "foxes" / "0.png").unlink()
    lost = data.reach.objectives([f"c{number}"])
    assert ([one.items for one in lost.objectives if one.name == "dpo"], len(lost.problems)) == ([1], 1)
    for unknown in ("c99", "nothing", "", "../.."):
        with pytest.raises(NotFoundError):
            data.reach.objectives([unknown])


def test_data_without_answers_give_reasons(data: Data, store: Store, tmp_path: Path) -> None:
    fill(store.collected, tmp_path / "foxes")
    a_study(store, tmp_path)
    found = data.reach.objectives(["c1"])
    assert found.built
    assert all(one.items == 0 and "no feedback" in one.sentences[0] for one in found.objectives)


def test_much_is_counted_and_said_to_be() -> None:
    few = SourceView("c1", "few", "import", pairs=20_000)
    assert reach.too_many([few]) == ""
    many = SourceView("c2", "many", "import", rankings=1, likes=7, prompts=3)
    assert "20,008 answers" in reach.too_many([few, many])
    assert "1,000 image files" in reach.too_many([SourceView("s", "study", "study", images=1000, likes=1)])
    assert reach.too_many([SourceView("s", "study", "study", images=1000)]) == ""
    assert reach.too_many([SourceView("c", "seen", "import", images=1000, likes=1, states={"here": 1000})]) == ""


def test_counted_objectives(data: Data, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number, (a, b, c, d) = fill(store.collected, tmp_path / "foxes")
    for draft in (pair(a, c, "1"), label(a, "3"), label(b, "5"), label(d, "4", "dislike")):
        store.collected.append(number, draft)
    monkeypatch.setattr(reach, "MOST_ANSWERS", 2)
    found = data.reach.objectives()
    assert (found.built, found.why.startswith("There are 4 answers")) == (False, True)
    by_kind = {one.kind: one for one in found.objectives}
    assert (by_kind["pairs"].items, by_kind["experts"].items) == (1, 2)
    assert (by_kind["labels"].items, by_kind["labels"].liked, by_kind["labels"].disliked) == (3, 2, 1)
