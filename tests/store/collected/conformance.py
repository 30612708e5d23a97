"""What every store of collected images and feedback must do (:mod:`lib_rankopt.store.collected.base`).

Inherit and give a ``store`` fixture.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.store import Store
from lib_rankopt.store.collected.base import CollectionStore
from lib_rankopt.store.collected.records import (
    Added,
    CollectedImage,
    Collection,
    FeedbackDraft,
    FileFacts,
    ImageDraft,
    ImageQuery,
    Rating,
)
from tests.store.collected import model

ODD = "ein Fuchs 🦊\n\t'; DROP TABLE prompts; -- \u2028 %_\\ \ufffe"
OUTSIDE = (-(10**21), -(2**63) - 1, -1, 0, 2**31, 2**63 - 1, 2**63, 10**21)
H1, H2 = "1" * 64, "2" * 64


def image(key: str, **changes: Any) -> ImageDraft:
    return replace(ImageDraft(key, f"prompt of {key}"), **changes)


def label(kind: str, of: Any, **changes: Any) -> FeedbackDraft:
    return FeedbackDraft(kind, (of,), ((0,),), **{"token": f"{kind} {of}", **changes})  # type: ignore[arg-type]


def pair(better: Any, worse: Any, **changes: Any) -> FeedbackDraft:
    return FeedbackDraft("pair", (better, worse), ((0,), (1,)), **{"token": f"{better}>{worse}", **changes})


def ranking(*images: Any, tiers: tuple[tuple[int, ...], ...] = (), **changes: Any) -> FeedbackDraft:
    places = tiers or tuple((at,) for at in range(len(images)))
    return FeedbackDraft("ranking", images, places, **{"token": f"ranking {images}", **changes})


def all_at_once(calls: list[Callable[[], object]]) -> list[object]:
    """Run calls in threads that begin together; return results and errors, in order of the calls."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(at: int) -> None:
        barrier.wait()
        try:
            results[at] = calls[at]()  # type: ignore[call-overload]
        except Exception as error:
            results[at] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(results)


def filled(store: CollectionStore, count: int = 6, name: str = "a") -> tuple[int, list[CollectedImage]]:
    """A collection with some images."""
    number = store.create(Collection(name)).number
    store.add(number, [image(f"i{at}") for at in range(count)])
    return number, store.page(ImageQuery(number, limit=1000))


class CollectionConformance:
    @pytest.fixture
    def collected(self, store: Store) -> CollectionStore:
        return store.collected

    # -- collections
    def test_collection_comes_back_as_it_went_in(self, collected: CollectionStore) -> None:
        draft = Collection(f"Füchse {ODD}"[:200], "folder", "kto", "/data/füchse", {"a": [1, None, ODD], "ä": {}}, 2**40)
        made = collected.create(draft)
        assert made == replace(draft, number=made.number, created_at=made.created_at) == collected.collection(made.number)
        other = collected.create(Collection("b"))
        assert [one.number for one in collected.collections()] == [other.number, made.number]
        with pytest.raises(FrozenInstanceError):
            made.name = "x"  # type: ignore[misc]

    def test_names_are_taken_once(self, collected: CollectionStore) -> None:
        first, second = collected.create(Collection("a")), collected.create(Collection("b"))
        for call in (lambda: collected.create(Collection("a")), lambda: collected.change(second.number, name="a")):
            with pytest.raises(ConflictError, match="named 'a'"):
                call()
        assert collected.collections() == [second, first]

    def test_only_what_is_given_changes(self, collected: CollectionStore) -> None:
        made = collected.create(Collection("a", settings={"x": 1}, root="/r", position=5))
        assert collected.change(made.number) == made
        assert collected.change(made.number, position=0) == replace(made, position=0)
        changed = collected.change(made.number, name="b", settings={}, root="")
        assert changed == replace(made, name="b", settings={}, root="", position=0) == collected.collection(made.number)

    @pytest.mark.parametrize("number", OUTSIDE)
    def test_unknown_collections(self, collected: CollectionStore, number: int) -> None:
        filled(collected)
        calls: list[Callable[[], object]] = [
            lambda: collected.collection(number),
            lambda: collected.change(number, name="x"),
            lambda: collected.delete(number),
            lambda: collected.add(number, [image("x")]),
            lambda: collected.append(number, FeedbackDraft("skip", token="x")),
        ]
        for call in calls:
            with pytest.raises(NotFoundError, match=f"no collection {number}"):
                call()
        assert collected.page(ImageQuery(number)) == [] == collected.feedback(number) == collected.feedback_back(number, "me")
        assert collected.images_by_key(number, ["i0"]) == {} == collected.tallies(number)
        assert collected.ratings(number) == [] == collected.uncertain(number) == collected.near(number, 0.0)
        assert collected.seed_ratings(number) == 0
        collected.put_ratings(number, [Rating(1)])
        assert collected.tallies()["images"] == 6

    @pytest.mark.parametrize(
        "draft",
        [
            Collection(""), Collection("\0"), Collection("x" * 201), Collection("a", position=2**63), Collection("a", root="/\udcff"),
            Collection("a", root="/a\0b"), Collection("a", settings={"a": object()}), Collection("a", kind="other"),  # type: ignore[arg-type]
        ],
    )  # fmt: skip
    def test_collections_that_cannot_be(self, collected: CollectionStore, draft: Collection) -> None:
        with pytest.raises(InvalidInputError):
            collected.create(draft)
        assert collected.collections() == []

    def test_deleting_leaves_nothing_but_others(self, collected: CollectionStore) -> None:
        first, images = filled(collected)
        second, others = filled(collected, name="b")
        numbers = [one.number for one in images]
        for collection, about in ((first, numbers), (second, [one.number for one in others])):
            collected.append(collection, pair(*about[:2]))
            collected.append(collection, ranking(*about[:3]))
            collected.seed_ratings(collection)

        def of_the_other() -> tuple[object, ...]:
            reads = (collected.tallies, collected.feedback, collected.ratings)
            return (*(read(second) for read in reads), model.all_images(collected, second))

        kept = of_the_other()
        assert collected.delete(first) == set()
        assert of_the_other() == kept
        assert collected.tallies() == kept[0]
        assert collected.images_by_number(numbers) == {} == collected.ratings_of(numbers)
        assert collected.feedback_of(numbers) == [] == collected.feedback(first)
        with pytest.raises(NotFoundError):
            collected.delete(first)
        third, _ = filled(collected)
        assert third > second
        assert collected.page(ImageQuery(third))[0].number > max(numbers)

    def test_deleting_names_held_files_that_nobody_else_has(self, collected: CollectionStore) -> None:
        first, second = collected.create(Collection("a")).number, collected.create(Collection("b")).number
        held = {"held": True}
        own = [
            image("a", path="11/own.png", file_sha256=H1, **held), image("b", path="22/both.png", file_sha256=H2, **held),
            image("c", path="there.png", file_sha256="3" * 64), image("d", path="44/twice.png", file_sha256="4" * 64, **held),
            image("e", path="44/twice.png", file_sha256="4" * 64, **held), image("f"),
        ]  # fmt: skip
        theirs = [
            image("a", path="22/both.png", file_sha256=H2, **held), image("b", path="11/own.png", file_sha256=H1),
        ]  # fmt: skip
        collected.add(first, own)
        collected.add(second, theirs)
        assert collected.delete(first) == {"11/own.png", "44/twice.png"}
        assert collected.delete(second) == {"22/both.png"}

    def test_what_is_being_deleted_is_there_for_nobody_and_goes_in_pieces(self, collected: CollectionStore) -> None:
        number, images = filled(collected)
        other, others = filled(collected, name="b")
        numbers = [one.number for one in images]
        for about in numbers:
            collected.append(number, label("like", about))
        collected.append(number, ranking(*numbers[:3]))
        collected.seed_ratings(number)
        kept = collected.tallies(other)
        assert collected.begin_deletion(number).name == "a"
        assert [one.number for one in collected.collections()] == [other]
        assert collected.tallies() == kept
        assert collected.page(ImageQuery(number)) == []
        for query in (ImageQuery(), ImageQuery(state="unseen"), ImageQuery(label="unrated"), ImageQuery(prompt="prompt")):
            assert collected.page(query) == others
        for refused in (
            lambda: collected.collection(number), lambda: collected.change(number, name="c"), lambda: collected.begin_deletion(number),
            lambda: collected.add(number, [image("new")]), lambda: collected.append(number, label("like", numbers[0], token="new")),
        ):  # fmt: skip
            with pytest.raises(NotFoundError):
                refused()
        collected.set_removed(numbers[:1])  # by whoever had the image before them
        again, _ = filled(collected)  # the name is free
        assert [(one.number, one.name, one.kind) for one in collected.deletions()] == [(number, "a", "import")]
        pieces = []
        while rows := collected.delete_some(number, 4).rows:
            pieces.append(rows)
        assert pieces == [4, 3, 4, 2]  # seven answers, six images
        assert collected.deletions() == []
        assert collected.images_by_number(numbers) == {} == collected.ratings_of(numbers)
        assert collected.tallies(number) == {}
        assert collected.delete_some(number).rows == 0 == collected.delete_some(other).rows
        assert collected.tallies(other) == kept
        assert {one.number for one in collected.collections()} == {other, again}

    # -- intake
    def test_image_comes_back_as_it_went_in(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        draft = ImageDraft(
            ODD, ODD * 3, "folder/Fuchs 🦊.png", True, H1, H2, 2**31 - 1, 768, 2**40, 1_700_000_000.125, ODD,
            {"seed": 2**70, "n": [ODD]}, "here",
        )  # fmt: skip
        assert collected.add(number, [draft], position=17) == Added(1, 0, 0, 0)
        made = collected.images_by_key(number, [ODD, "nothing"])
        assert list(made) == [ODD]
        assert made[ODD] == CollectedImage(**vars(draft), number=made[ODD].number, collection=number)
        assert collected.image(made[ODD].number) == made[ODD]
        assert collected.images_by_hash([H2, "f" * 64]) == [made[ODD]] == collected.images_by_hash([H1, H2])
        assert collected.collection(number).position == 17

    def test_adding_twice_adds_nothing(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        images = [image(f"i{at}") for at in range(1200)]
        said = [label("like", f"i{at}") for at in range(1200)]
        assert collected.add(number, images, said) == Added(1200, 1200)
        before = (collected.tallies(number), collected.feedback(number, limit=5000))
        assert collected.add(number, [replace(one, prompt="another") for one in images], said) == Added(0, 0, 1200, 1200)
        assert (collected.tallies(number), collected.feedback(number, limit=5000)) == before
        assert collected.add(number, [], []) == Added()

    def test_one_batch_may_name_things_twice(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        images = [image("a", prompt="first", model="m"), image("b"), image("a", prompt="second", path="a.png", width=5, state="here")]
        added = collected.add(number, images, [label("like", "a"), label("like", "a"), label("dislike", "b")])
        assert added == Added(2, 2, 0, 1)
        found = collected.images_by_key(number, ["a", "b"])
        first = found["a"]
        assert (first.prompt, first.model, first.path, first.width, first.state) == ("first", "m", "a.png", 5, "here")
        assert found["a"].number < found["b"].number
        assert collected.tallies(number) == model.recount(collected, number)

    def test_a_name_gets_its_file_later(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        collected.add(number, [image("a", width=7), image("b"), image("c")])
        by_key = collected.images_by_key(number, ["a", "b", "c"])
        collected.set_removed([by_key["b"].number])
        collected.note_files([FileFacts(by_key["a"].number, "gone")])
        facts = {"path": "x.png", "held": True, "file_sha256": H1, "sha256": H2, "height": 9, "size": 77, "modified": 1.5, "state": "here"}
        collected.add(number, [image("a", prompt="not this", **facts), image("b", **facts), image("c", about={"n": 1})])
        found = collected.images_by_key(number, ["a", "b", "c"])
        assert found["a"] == replace(by_key["a"], **facts)
        assert found["b"] == replace(by_key["b"], **{**facts, "state": "removed"})
        assert found["c"] == by_key["c"]
        collected.add(number, [image("a", path="other.png", file_sha256="4" * 64)])
        assert collected.image(found["a"].number) == found["a"]
        assert collected.tallies(number) == model.recount(collected, number)

    def test_keys_belong_to_a_collection(self, collected: CollectionStore) -> None:
        first, _ = filled(collected)
        second, _ = filled(collected, name="b")
        assert collected.add(second, [], [label("like", "i0")]) == Added(0, 1)
        assert collected.tallies(first).get("kind:like") is None
        assert {one.collection for one in collected.page(ImageQuery())} == {first, second}

    def test_a_batch_is_whole_or_nothing(self, collected: CollectionStore) -> None:
        number, _ = filled(collected)
        before = (collected.tallies(number), collected.collection(number))
        with pytest.raises(NotFoundError, match="nothing here"):
            collected.add(number, [image("new")], [label("like", "new"), label("like", "nothing here")], position=9)
        assert (collected.tallies(number), collected.collection(number)) == before
        assert collected.images_by_key(number, ["new"]) == {}

    @pytest.mark.parametrize(
        "draft",
        [
            image(""), image("\0"), image("k" * 1001), image("🦊" * 300), image("a", width=-1), image("a", height=2**31),
            image("a", path="11/own.png", held=True),
            image("a", size=2**63), image("a", size=-2),
            image("a", modified=float("nan")), image("a", modified=float("inf")), image("a", path="a\0b"),
            image("a", path="\udcff.png"), image("a", sha256="x" * 65), image("a", file_sha256="\0"), image("a", state="lost"),
            image("a", about={"a": object()}), image("a", about={1: 1, "a": 2}), image("a", width=10**30),
        ],
    )  # fmt: skip
    def test_images_that_cannot_be(self, collected: CollectionStore, draft: ImageDraft) -> None:
        number, _ = filled(collected)
        with pytest.raises(InvalidInputError):
            collected.add(number, [image("good"), draft])
        assert collected.tallies(number)["images"] == 6

    @pytest.mark.parametrize(
        "draft",
        [
            FeedbackDraft("like", ("i0", "i1"), ((0,), (1,))), FeedbackDraft("pair", ("i0",), ((0,),)),
            FeedbackDraft("ranking", ("i0",), ((0,),)),
            FeedbackDraft("pair", ("i0", "i0"), ((0,), (1,))), FeedbackDraft("pair", ("i0", "i1"), ((0,),)), FeedbackDraft("like", ("i0",)),
            FeedbackDraft("pair", ("i0", "i1"), ((0,), (2,))), FeedbackDraft("pair", ("i0", "i1"), ((0,), (), (1,))),
            FeedbackDraft("ranking", ("i0", "i1"), ((0, 0), (1,))), FeedbackDraft("skip", ("i0",), ((0,),)),
            FeedbackDraft("hug", ("i0",), ((0,),)),
            FeedbackDraft("like", ("i0",), ((0,),), retracts=1), FeedbackDraft("like", ("i0",), ((0,),), latency_ms=2**63),
            FeedbackDraft("retraction", retracts=1), FeedbackDraft("retraction"), FeedbackDraft("pair", ("i0", "i0\0"), ((0,), (1,))),
            FeedbackDraft("like", ("i0",), ((0,),), about={"a": {1}}),
        ],
    )  # fmt: skip
    def test_feedback_that_cannot_be(self, collected: CollectionStore, draft: FeedbackDraft) -> None:
        number, _ = filled(collected)
        before = collected.tallies(number)
        with pytest.raises(InvalidInputError):
            collected.add(number, [], [label("like", "i1"), replace(draft, token="t")])
        assert collected.tallies(number) == before

    def test_strange_texts_go_in_and_can_be_found(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("na\0me \ud800")).number
        assert collected.collection(number).name == "name ?"
        bad, long = "a\0b\ud83d\udfffc", "x" * 300
        draft = ImageDraft(f"key {bad}", f"prompt {bad}", model=bad + long, about={bad: bad})
        said = label("like", draft.key, token=bad, prompt=bad, rater=bad + long, source=bad + long, about={bad: [bad]}, created_at=bad)
        assert collected.add(number, [draft], [said]) == Added(1, 1)
        assert collected.add(number, [draft], [said]) == Added(0, 0, 1, 1)
        assert list(collected.images_by_key(number, [draft.key])) == [draft.key]
        for query in (
            ImageQuery(model=draft.model), ImageQuery(rater=said.rater), ImageQuery(prompt=bad), ImageQuery(label="like", prompt="\0mpt a"),
        ):  # fmt: skip
            assert len(collected.page(query)) == 1, query
        assert collected.images_by_hash([bad, "x" * 10_000, ""]) == []
        assert len(collected.feedback(number, rater=said.rater)) == 1 == len(collected.feedback_back(number, said.rater))
        assert collected.tallies(number) == model.recount(collected, number)
        again = collected.append(number, replace(said, images=(collected.page(ImageQuery())[0].number,)))
        assert again == collected.feedback(number)[0]

    def test_prompts_of_100_kilobytes(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        pick = random.Random(1)
        prompts = ["".join(chr(pick.randrange(32, 0xD800)) for _ in range(100_000)) for _ in range(3)]
        collected.add(number, [image(f"i{at}", prompt=prompt) for at, prompt in enumerate(prompts)])
        assert [one.prompt for one in collected.page(ImageQuery(number))] == prompts
        assert [one.key for one in collected.page(ImageQuery(number, prompt=prompts[1][50_000:50_020]))] == ["i1"]
        collected.set_prompt([collected.page(ImageQuery(number))[0].number], prompts[2])
        assert collected.tallies(number)["prompts"] == 2

    def test_the_longest_keys(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        pick = random.Random(1)
        keys = ["".join(chr(pick.randrange(0x10000, 0x10FFFF)) for _ in range(250)) for _ in range(20)]
        collected.add(number, [image(key) for key in keys])
        assert set(collected.images_by_key(number, keys)) == set(keys)

    def test_times_come_back_in_utc(self, collected: CollectionStore) -> None:
        number, _ = filled(collected)
        times = {
            "2024-02-29T12:00:00.123456+02:00": "2024-02-29T10:00:00.123456+00:00",
            "1969-01-01": "1969-01-01T00:00:00.000000+00:00",
            "0001-01-01T00:00:00+14:00": "0001-01-01T00:00:00.000000+00:00",
            "9999-12-31T23:59:59.999999-14:00": "9999-12-31T23:59:59.999999+00:00",
        }
        collected.add(number, [], [label("like", "i0", token=time, created_at=time) for time in (*times, "yesterday", "")])
        found = [one.created_at for one in collected.feedback(number)]
        assert found[:4] == list(times.values())
        assert all(time.startswith("20") for time in found[4:])

    def test_an_answer_without_a_token_is_one_of_its_own(self, collected: CollectionStore) -> None:
        number, images = filled(collected)
        assert collected.add(number, [], [label("like", "i0", token=""), label("like", "i0", token="")]).feedback == 2
        for _ in range(2):
            collected.append(number, label("like", images[0].number, token=""))
        assert collected.tallies(number)["kind:like"] == 4

    def test_the_same_batch_from_many_threads(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        images = [image(f"i{at}") for at in range(300)]
        said = [pair(f"i{at}", f"i{at + 1}", rater=f"r{at % 5}", prompt=f"p{at % 50}") for at in range(299)]
        results = all_at_once([lambda: collected.add(number, images, said)] * 4)
        assert sorted(map(repr, results)) == sorted(map(repr, [Added(300, 299), *[Added(0, 0, 300, 299)] * 3]))
        assert collected.tallies(number) == model.recount(collected, number)

    def test_batches_of_many_collections_with_the_same_prompts(self, collected: CollectionStore) -> None:
        numbers = [collected.create(Collection(f"c{at}")).number for at in range(4)]

        def take(at: int) -> None:
            for start in range(0, 200, 50):
                order = list(range(start, start + 50))
                random.Random(at).shuffle(order)
                images = [ImageDraft(f"i{n}", f"prompt {n}", f"{n}.png") for n in order]
                said = [label("like", f"i{n}", rater=f"r{n % 40}", prompt=f"prompt {199 - n}") for n in order]
                collected.add(numbers[at], images, said)

        assert all_at_once([lambda at=at: take(at) for at in range(4)]) == [None] * 4  # type: ignore[misc]
        for number in numbers:
            assert collected.tallies(number) == model.recount(collected, number)
            assert collected.tallies(number)["prompts"] == 200

    # -- images
    @pytest.mark.parametrize("number", OUTSIDE)
    def test_unknown_images(self, collected: CollectionStore, number: int) -> None:
        collection, images = filled(collected, 1)
        with pytest.raises(NotFoundError, match=f"no image {number}"):
            collected.image(number)
        assert list(collected.images_by_number([number, images[0].number])) == [images[0].number]
        with pytest.raises(NotFoundError, match=f"no image {number} in this collection"):
            collected.append(collection, label("like", number))
        assert collected.feedback_of([number]) == [] == collected.feedback(collection)
        assert collected.ratings_of([number]) == {}
        collected.put_ratings(collection, [Rating(number)])
        collected.note_files([FileFacts(number, "gone")])
        collected.set_removed([number])
        collected.set_prompt([number], "x")
        expected = images if number <= 0 else []
        assert collected.page(ImageQuery(collection, after=number)) == expected
        assert collected.page(ImageQuery(collection, limit=number)) == images
        assert collected.page(ImageQuery(prompt_number=number)) == [] == collected.page(ImageQuery(number, label="rated"))
        assert collected.feedback(collection, after=number) == [] == collected.ratings(collection, after=number)
        assert collected.uncertain(collection, number, number) == [] == collected.near(collection, float(number), number, number)
        assert collected.tallies(collection) == model.recount(collected, collection)

    def test_empty_lists(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 1)
        assert collected.images_by_number([]) == {} == collected.images_by_key(collection, []) == collected.ratings_of([])
        assert collected.images_by_hash([]) == [] == collected.feedback_of([])
        collected.note_files([])
        collected.set_removed([])
        collected.set_prompt([], "x")
        collected.put_ratings(collection, [])
        assert collected.page(ImageQuery()) == images

    def test_what_looks_at_files_have_found(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 3)
        numbers = [one.number for one in images]
        collected.set_removed([numbers[2]])
        facts = [FileFacts(n, "here", H1, H2, -(2**63), 5, 6, 7, 8.5, "p.png") for n in numbers]
        collected.note_files(facts)
        found = collected.images_by_number(numbers)
        values = {"path": "p.png", "file_sha256": H1, "sha256": H2, "phash": -(2**63), "width": 5, "height": 6, "size": 7, "modified": 8.5}
        assert [found[n] for n in numbers] == [
            replace(one, **values, state=state) for one, state in zip(images, ("here", "here", "removed"), strict=True)
        ]
        collected.note_files([FileFacts(numbers[0], "here"), FileFacts(numbers[0], "gone")])
        assert collected.image(numbers[0]) == replace(found[numbers[0]], state="gone", size=-1, modified=0.0)
        assert collected.tallies(collection) == model.recount(collected, collection)
        for bad in (FileFacts(numbers[0], "here", phash=2**63), FileFacts(numbers[0], "odd"), FileFacts(numbers[0], "here", width=-5)):  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError):
                collected.note_files([bad])

    def test_removed_images_hide_and_come_back(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        numbers = [one.number for one in images]
        collected.set_removed([numbers[1], numbers[1], numbers[4]])
        collected.set_removed([numbers[1]])
        assert [one.number for one in collected.page(ImageQuery(collection))] == [n for n in numbers if n not in (numbers[1], numbers[4])]
        assert [one.number for one in collected.page(ImageQuery(state="removed"))] == [numbers[1], numbers[4]]
        assert collected.add(collection, [image("i1", path="x.png")]).known_images == 1
        assert collected.image(numbers[1]).state == "removed"
        assert collected.tallies(collection)["removed"] == 2
        collected.set_removed(numbers, removed=False)
        assert [one.state for one in collected.page(ImageQuery(collection))] == ["unseen"] * 6
        assert collected.tallies(collection) == model.recount(collected, collection)

    def test_captions_are_corrected(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        other, theirs = filled(collected, name="b")
        numbers = [one.number for one in images]
        collected.seed_ratings(collection)
        collected.set_prompt([*numbers[:3], theirs[0].number], "the same \0one")
        assert collected.tallies(collection)["prompts"] == 4
        assert collected.tallies(other)["prompts"] == 6
        assert {collected.image(n).prompt for n in numbers[:3]} == {"the same one"}
        prompt = collected.ratings_of(numbers)[numbers[0]].prompt
        assert {one.image for one in collected.uncertain(collection, prompt=prompt)} == set(numbers[:3])
        assert [one.number for one in collected.page(ImageQuery(prompt_number=prompt))] == [*numbers[:3], theirs[0].number]
        collected.set_prompt(numbers, "the same one")
        collected.set_prompt(numbers, "the same one")
        assert collected.tallies(collection)["prompts"] == 1
        for at in (collection, other):
            assert collected.tallies(at) == model.recount(collected, at)

    def test_pages_have_no_gaps_and_no_repeats(self, collected: CollectionStore) -> None:
        collection, _ = filled(collected, 1030)
        first = min(collected.images_by_key(collection, [f"i{at}" for at in range(1030)]).values(), key=lambda one: one.number).number
        for query in (ImageQuery(collection, limit=103), ImageQuery(limit=400), ImageQuery(collection, label="unrated", limit=350)):
            seen: list[int] = []
            while page := collected.page(replace(query, after=seen[-1] if seen else 0)):
                assert len(page) <= query.limit
                seen += [one.number for one in page]
            assert seen == list(range(first, first + 1030))
        assert len(collected.page(ImageQuery(limit=10**9))) == 1000

    def test_text_is_found_in_any_case(self, collected: CollectionStore) -> None:
        number = collected.create(Collection("a")).number
        prompts = ["A Red Fox", "a red\u00dc foxglove", "100%_\\ \"quoted\" OR 'x'", "ÄRGER im Wald", "fo", ""]
        collected.add(number, [image(f"i{at}", prompt=prompt) for at, prompt in enumerate(prompts)])
        for wanted, keys in {
            "red": "01", "RED FOX": "0", "foxgl": "1", "fo": "014", "%_\\": "2", "\"quoted\" or 'X'": "2", "ärger": "3", "x": "012",
            "nothing": "", "OR": "2", "Ärger im": "3", "red*": "", "wald": "3",
        }.items():  # fmt: skip
            for collection in (number, None):
                found = collected.page(ImageQuery(collection, prompt=wanted))
                assert [one.key for one in found] == [f"i{at}" for at in keys], wanted
        collected.append(number, label("like", found[0].number, prompt="said of another red fox"))
        collected.set_prompt([found[0].number], "a late red fox")
        assert [one.key for one in collected.page(ImageQuery(number, prompt="late red"))] == ["i3"]

    def test_text_of_many_prompts(self, collected: CollectionStore) -> None:
        """More than are followed one by one, and more than are listed."""
        number = collected.create(Collection("a")).number
        images = [image(f"i{at}", prompt=f"common {'some' if at % 10 == 0 else ''} {at}") for at in range(2500)]
        collected.add(number, images, [label("like", f"i{at}") for at in range(0, 2500, 4)])
        for query, step in ((ImageQuery(number, prompt="COMMON"), 1), (ImageQuery(number, prompt="some"), 10)):
            expected = [f"i{at}" for at in range(0, 2500, step)]
            assert [one.key for one in collected.page(query)] == expected[:100]
            deep = collected.page(replace(query, after=collected.images_by_key(number, ["i2000"])["i2000"].number))
            assert [one.key for one in deep] == [key for key in expected if int(key[1:]) > 2000][:100]
        liked = collected.page(ImageQuery(number, prompt="some", label="like", limit=1000))
        assert [one.key for one in liked] == [f"i{at}" for at in range(0, 2500, 20)]

    # -- feedback
    def test_feedback_comes_back_as_it_went_in(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        a, b, c, d = (one.number for one in images[:4])
        drafts = [
            label("like", a), label("dislike", b), label("unlike", a), pair(a, b), pair(b, a),
            FeedbackDraft("pair", (a, b), ((1,), (0,)), "other"),
            FeedbackDraft("pair", (b, a), ((0, 1),), "tie"), ranking(c, a, b), ranking(d, b, a, c, tiers=((2,), (3, 0), (1,))),
            ranking(d, c, tiers=((0, 1),)), ranking(d, c, tiers=((1,), (0,)), token="worse first"),
            FeedbackDraft("skip", (), (), "s0"), FeedbackDraft("skip", (a,), (), "s1"),
            FeedbackDraft("skip", (b, a), (), "s2"),
            FeedbackDraft("skip", (c, b, a), (), "s3"),
        ]  # fmt: skip
        full = {"prompt": ODD, "rater": "Zoë 🦊", "source": "saved", "latency_ms": 2**40, "about": {"n": [1.5, None, ODD]}}
        drafts += [replace(one, token=f"full {one.token}", created_at="2024-01-02T03:04:05.678901+00:00", **full) for one in drafts]
        written = [collected.append(collection, draft) for draft in drafts]
        for draft, record in zip(drafts, written, strict=True):
            wanted = {**vars(draft), "token": record.token, "created_at": draft.created_at or record.created_at}
            assert {name: getattr(record, name) for name in wanted} == wanted
            assert record.collection == collection
        assert collected.feedback(collection) == written == collected.feedback(collection, standing=True)
        assert [one.number for one in written] == sorted({one.number for one in written})
        assert [collected.append(collection, draft) for draft in drafts] == written
        for number in (a, b, c, d):
            assert collected.feedback_of([number]) == [one for one in written if number in one.images]
        assert collected.feedback_of([d, a, a, d]) == [one for one in written if {a, d} & set(one.images)]
        assert collected.tallies(collection) == model.recount(collected, collection)

    def test_the_order_of_images_is_kept_through_an_intake(self, collected: CollectionStore) -> None:
        collection, _ = filled(collected)
        said = ranking("i3", "i0", "i2", tiers=((1,), (2, 0)))
        collected.add(collection, [], [said, FeedbackDraft("pair", ("i5", "i4"), ((1,), (0,)), "p")])
        keys = {one.number: one.key for one in collected.page(ImageQuery(collection))}
        found = [(tuple(keys[n] for n in one.images), one.tiers) for one in collected.feedback(collection)]
        assert found == [(("i3", "i0", "i2"), ((1,), (2, 0))), (("i5", "i4"), ((1,), (0,)))]

    def test_long_rankings(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 700)
        numbers = tuple(one.number for one in images)
        written = collected.append(collection, ranking(*numbers, token="long"))
        assert collected.feedback_of([numbers[555]]) == [written]
        assert "unrated" not in collected.tallies(collection)
        collected.append(collection, FeedbackDraft("retraction", token="back", retracts=written.number))
        assert collected.tallies(collection) == model.recount(collected, collection)
        assert collected.tallies(collection)["unrated"] == 700

    def test_a_token_is_used_once(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        other, theirs = filled(collected, name="b")
        a, b = (one.number for one in images[:2])
        first = collected.append(collection, pair(a, b, token="t"))
        for another in (pair(b, a, token="t"), label("like", a, token="t"), FeedbackDraft("retraction", token="t", retracts=first.number)):
            with pytest.raises(ConflictError, match="token 't'"):
                collected.append(collection, another)
        tie = collected.append(collection, FeedbackDraft("pair", (a, b), ((1, 0),), "tie"))
        assert collected.append(collection, FeedbackDraft("pair", (a, b), ((0, 1),), "tie")) == tie
        assert collected.append(other, label("like", theirs[0].number, token="t")).collection == other
        assert len(collected.feedback(collection)) == 2

    def test_images_of_another_collection(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        _, theirs = filled(collected, name="b")
        with pytest.raises(NotFoundError, match=f"no image {theirs[0].number} in this collection"):
            collected.append(collection, pair(images[0].number, theirs[0].number))
        assert collected.feedback(collection) == []
        assert collected.tallies(collection) == model.recount(collected, collection)

    def test_an_answer_is_taken_back_once(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        other, _ = filled(collected, name="b")
        said = collected.append(collection, label("like", images[0].number, source="saved", rater="x"))
        back = collected.append(collection, FeedbackDraft("retraction", token="r", retracts=said.number, rater="x"))
        assert collected.append(collection, FeedbackDraft("retraction", token="r", retracts=said.number, rater="x")) == back
        with pytest.raises(ConflictError, match="taken back already"):
            collected.append(collection, FeedbackDraft("retraction", token="r2", retracts=said.number))
        for number in (back.number, *(number for number in OUTSIDE if -(2**63) <= number < 2**63)):
            with pytest.raises(NotFoundError, match=f"no answer {number} "):
                collected.append(collection, FeedbackDraft("retraction", token="r3", retracts=number))
        with pytest.raises(NotFoundError):
            collected.append(other, FeedbackDraft("retraction", token="r4", retracts=said.number))
        assert collected.feedback(collection) == [said, back]
        assert collected.feedback(collection, standing=True) == [] == collected.feedback_of([images[0].number])
        assert collected.feedback_back(collection, "x") == [back, said]
        assert collected.tallies(collection) == {"images": 6, "prompts": 6, "state:unseen": 6, "unrated": 6, "kind:retraction": 1}

    def test_two_take_one_answer_back_at_once(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        for at in range(5):
            said = collected.append(collection, label("like", images[0].number, token=f"t{at}"))
            results = all_at_once(
                [
                    lambda n=n, at=at, said=said: collected.append(  # type: ignore[misc]
                        collection, FeedbackDraft("retraction", token=f"r{at} {n}", retracts=said.number)
                    )
                    for n in range(3)
                ]
            )
            assert sorted(isinstance(one, ConflictError) for one in results) == [False, True, True]
        assert collected.tallies(collection) == model.recount(collected, collection)

    def test_the_same_answer_from_many_threads(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        for at in range(5):
            draft = pair(images[0].number, images[1].number, token=f"t{at}", rater=f"new {at}", prompt=f"new {at}")
            results = all_at_once([lambda draft=draft: collected.append(collection, draft)] * 4)  # type: ignore[misc]
            assert len({repr(one) for one in results}) == 1
        assert len(collected.feedback(collection)) == 5

    def test_raters_who_write_at_once_lose_nothing(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 20)
        other, theirs = filled(collected, 20, name="b")
        numbers = {collection: [one.number for one in images], other: [one.number for one in theirs]}

        def write(name: str) -> None:
            pick = random.Random(name)
            for at in range(25):
                place = (collection, other)[at % 2]
                a, b = pick.sample(numbers[place], 2)
                said = collected.append(place, pair(a, b, token=f"{name} {at}", rater=f"{name} {at % 3}", prompt=f"p{pick.randrange(9)}"))
                collected.put_ratings(place, [Rating(a, 0.5, 0.5, at), Rating(b)])
                if at % 5 == 0:
                    collected.append(place, FeedbackDraft("retraction", token=f"{name} back {at}", retracts=said.number, rater=name))
                if at % 7 == 0:
                    collected.note_files([FileFacts(a, "here"), FileFacts(b, "gone")])
                    collected.set_prompt([b, a], f"p{pick.randrange(5)}")

        assert all_at_once([lambda name=name: write(name) for name in ("anna", "ben", "carl")]) == [None] * 3  # type: ignore[misc]
        assert len(collected.feedback(collection)) + len(collected.feedback(other)) == 3 * 30
        for place in (collection, other):
            assert collected.tallies(place) == model.recount(collected, place)

    def test_feedback_in_pages(self, collected: CollectionStore) -> None:
        collection, images = filled(collected)
        other, theirs = filled(collected, name="b")
        written = []
        for at in range(12):
            written.append(collected.append(collection, label("like", images[at % 3].number, token=f"{at}", rater="ab"[at % 2])))
            collected.append(other, label("like", theirs[0].number, token=f"{at}", rater="a"))
        numbers = [one.number for one in written]
        assert [one.number for one in collected.feedback(collection, after=numbers[3], limit=4)] == numbers[4:8]
        assert [one.number for one in collected.feedback(collection, rater="b", limit=2)] == [numbers[1], numbers[3]]
        assert collected.feedback(collection, rater="c") == [] == collected.feedback_back(collection, "c")
        assert [one.number for one in collected.feedback_back(collection, "a", 2)] == [numbers[10], numbers[8]]
        assert len(collected.feedback(collection, limit=-5)) == 1

    # -- counts and conditions, against counting everything
    @pytest.mark.parametrize("seed", range(3))
    def test_tallies_and_pages_agree_with_counting_everything(self, collected: CollectionStore, seed: int) -> None:
        pick = random.Random(seed)
        numbers = [collected.create(Collection(f"c{at}")).number for at in range(2)]
        for step in range(40):
            collection = pick.choice(numbers)
            _something(collected, collection, pick, step)
            if step % 20 == 19:
                for number in numbers:
                    assert collected.tallies(number) == model.recount(collected, number)
        every = sorted((one for number in numbers for one in model.all_images(collected, number)), key=lambda one: one.number)
        said = [one for number in numbers for one in collected.feedback(number, limit=20_000, standing=True)]
        for number in numbers:
            collected.seed_ratings(number)
        prompts = {
            one.prompt: image.prompt for image in every for one in collected.ratings_of([image.number]).values()
        }  # number → text
        conditions: dict[str, list[Any]] = {
            "collection": [None, *numbers], "label": list(model.LABELS), "rater": ["", "anna", "ben", "nobody"], "model": ["", "m1"],
            "prompt": ["", "FOX", "fox 3", "x"], "prompt_number": [None, *itertools.islice(prompts, 2)], "state": [None, "gone", "removed"],
            "source": ["", "", "saved", "no\0thing"],
        }  # fmt: skip
        queries = [ImageQuery(**dict(zip(conditions, values, strict=True))) for values in itertools.product(*conditions.values())]
        for query in pick.sample(queries, 100):
            wanted = [one for one in every if model.fits(one, query, said, prompts)]
            assert collected.page(replace(query, limit=1000)) == wanted, query
            if wanted:
                middle = wanted[len(wanted) // 2].number
                assert collected.page(replace(query, limit=3, after=middle)) == [one for one in wanted if one.number > middle][:3], query

    def test_tallies_of_all_collections(self, collected: CollectionStore) -> None:
        first, _ = filled(collected, 3)
        second, _ = filled(collected, 4, name="b")
        collected.add(first, [], [label("like", "i0"), label("dislike", "i1", rater="\0x")])
        collected.add(second, [], [label("like", "i0", source="saved")])
        assert collected.tallies() == {
            "images": 7, "prompts": 7, "state:unseen": 7, "unrated": 4, "kind:like": 2, "kind:dislike": 1, "rater:me": 2, "rater:x": 1,
            "source:saved": 1,
        }  # fmt: skip

    # -- ratings
    def test_ratings(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 8)
        other, theirs = filled(collected, name="b")
        numbers = [one.number for one in images]
        assert collected.seed_ratings(collection) == 8
        assert collected.seed_ratings(collection) == 0
        assert [(one.image, one.mean, one.sd, one.games) for one in collected.ratings(collection)] == [(n, 0.0, 1.5, 0) for n in numbers]
        changed = [Rating(n, mean=at - 3.5, sd=1 / (at + 1), games=at) for at, n in enumerate(numbers)]
        collected.put_ratings(collection, [*reversed(changed), Rating(theirs[0].number, 9.0)])
        found = collected.ratings_of(numbers)
        assert [replace(found[n], prompt=0) for n in numbers] == changed
        assert collected.ratings_of([theirs[0].number]) == {} == collected.ratings_of([10**6])
        assert [one.image for one in collected.ratings(collection, after=numbers[2], limit=2)] == numbers[3:5]
        collected.put_ratings(other, [Rating(theirs[1].number, 5.0)])
        assert [one.image for one in collected.ratings(other)] == [theirs[1].number]
        assert collected.seed_ratings(other) == 5
        one = numbers[0]
        for bad in (Rating(one, float("nan")), Rating(one, 0.0, float("inf")), Rating(one, games=-1), Rating(one, sd=-1.0)):
            with pytest.raises(InvalidInputError):
                collected.put_ratings(collection, [bad])

    def test_uncertain_and_near(self, collected: CollectionStore) -> None:
        collection, images = filled(collected, 10)
        numbers = [one.number for one in images]
        collected.put_ratings(collection, [Rating(n, mean=float(at), sd=10.0 - at) for at, n in enumerate(numbers)])
        collected.set_removed([numbers[0]])
        collected.note_files([FileFacts(numbers[4], "gone"), FileFacts(numbers[5], "changed")])
        collected.set_prompt([numbers[at] for at in (0, 3, 4, 6, 8)], "even")
        prompt = collected.ratings_of([numbers[3]])[numbers[3]].prompt
        assert [one.image for one in collected.uncertain(collection, 3)] == [numbers[at] for at in (1, 2, 3)]
        assert [one.image for one in collected.uncertain(collection, prompt=prompt)] == [numbers[at] for at in (3, 6, 8)]
        assert {one.image for one in collected.near(collection, 5.5, 4)} == {numbers[at] for at in (3, 5, 6, 7)}
        assert {one.image for one in collected.near(collection, 5.5, 4, prompt)} == {numbers[at] for at in (3, 6, 8)}
        assert {one.image for one in collected.near(collection, float("inf"), 2)} == {numbers[9]}
        assert collected.uncertain(collection, prompt=10**6) == []


def _something(store: CollectionStore, collection: int, pick: random.Random, step: int) -> None:
    """One operation of any kind."""
    images = model.all_images(store, collection)
    some = pick.sample(images, min(len(images), 3))
    rater, source = pick.choice(["anna", "ben", "carl"]), pick.choice(["", "", "saved", "deleted"])
    kind = pick.choice(["like", "dislike", "unlike"])
    action = pick.randrange(9) if len(some) == 3 else 0
    if action == 0:
        keys = [f"k{pick.randrange(60)}" for _ in range(8)]
        drafts = [
            ImageDraft(key, f"a fox {pick.randrange(6)}", pick.choice([None, "p.png"]), model=pick.choice(["", "m1", "m2"])) for key in keys
        ]
        said = [label(kind, keys[0], token=f"{step}", rater=rater, source=source)]
        said += [pair(keys[1], keys[2], token=f"{step} pair")] if keys[1] != keys[2] else []
        said += [ranking(*dict.fromkeys(keys[3:6]), token=f"{step} ranking", rater=rater)] if len(set(keys[3:6])) > 1 else []
        store.add(collection, drafts, said)
    elif action in (1, 2):
        store.append(collection, label(kind, some[0].number, token=f"{step}", rater=rater, source=source))
    elif action == 3:
        store.append(collection, pick.choice([pair, ranking])(some[0].number, some[1].number, token=f"{step}", rater=rater))
    elif action == 4:
        store.append(collection, FeedbackDraft("skip", tuple(one.number for one in some), token=f"{step}", rater=rater))
    elif action == 5:
        store.set_removed([one.number for one in some], pick.random() < 0.5)
    elif action == 6:
        store.set_prompt([one.number for one in some], f"a fox {pick.randrange(6)}")
    elif action == 7:
        store.note_files([FileFacts(one.number, pick.choice(["here", "gone", "changed"])) for one in some])  # type: ignore[arg-type]
    elif standing := store.feedback(collection, standing=True):
        store.append(collection, FeedbackDraft("retraction", token=f"{step}", retracts=pick.choice(standing).number, rater=rater))
