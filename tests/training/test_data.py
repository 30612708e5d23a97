"""From files and studies to the items of an objective."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store import BlobStore, open_store
from lib_rankopt.store.records import CandidateRecord, EventDraft, RoundRecord, StudyRecord
from lib_rankopt.training import objectives
from lib_rankopt.training.data import files, from_store
from lib_rankopt.training.data.examples import _experts, _labels, split
from lib_rankopt.training.data.records import Feedback, LabelledImage, RankedImages, TrainingImage


def picture(folder: Path, name: str, shade: int, size: tuple[int, int] = (16, 16)) -> str:
    Image.new("RGB", size, (shade, 0, 0)).save(folder / name)
    return name


def written(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def image(number: int) -> TrainingImage:
    return TrainingImage(f"{number:064d}", Path(f"{number}.png"), 64, 64)


def ranked(prompt: str, *numbers: int, tiers: tuple[int, ...] | None = None) -> RankedImages:
    return RankedImages(prompt, tuple(image(n) for n in numbers), tiers or tuple(range(len(numbers))))


def test_three_kinds_of_lines(tmp_path: Path) -> None:
    a, b, c = (picture(tmp_path, f"{i}.png", 10 * i) for i in range(3))
    found = files.read(
        written(
            tmp_path,
            {"win": a, "lose": b, "prompt": "a fox <lora:x:1>"},
            {"images": [c, a, b], "prompt": "a cat"},
            {"image": b, "prompt": "a cat", "label": False},
        )
    )
    assert [r.prompt for r in found.rankings] == ["a fox", "a cat"]
    assert [len(r.images) for r in found.rankings] == [2, 3]
    assert found.labels[0].liked is False
    assert not found.problems


def test_ties_are_lists_among_the_names(tmp_path: Path) -> None:
    a, b, c = (picture(tmp_path, f"{i}.png", 10 * i) for i in range(3))
    found = files.read(written(tmp_path, {"images": [c, [a, b]], "prompt": "p", "rater": "Zoe"}, {"images": [[a, b]], "prompt": "p"}))
    assert [one.tiers for one in found.rankings] == [(0, 1, 1), (0, 0)]
    assert [one.rater for one in found.rankings] == ["Zoe", "me"]
    assert found.rankings[0].images[0].path.name == c
    assert not found.problems


def test_lines_of_image_folders(tmp_path: Path) -> None:
    """Hugging Face's name for an image; lines with no more than that say nothing, and are no mistake."""
    a = picture(tmp_path, "a.png", 1)
    rows = [{"file_name": a, "text": "x"}, {"file_name": a, "label": "", "images": [[a]]}, {"file_name": a, "label": "like", "prompt": "p"}]
    found = files.read(written(tmp_path, *rows))
    assert [(one.prompt, one.liked) for one in found.labels] == [("p", True)]
    assert not found.problems
    with pytest.raises(InvalidInputError, match="Nothing is said"):
        files.read(written(tmp_path, *rows[:2]))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("{not json", "line 2"),
        ({"win": "0.png", "lose": "gone.png", "prompt": "p"}, "no such image"),
        ({"win": "0.png", "lose": "../outside.png", "prompt": "p"}, "outside the folder"),
        ({"win": "0.png", "lose": "0.png", "prompt": "p"}, "the same image"),
        ({"win": "0.png", "lose": "broken.png", "prompt": "p"}, "no image that can be read"),
        ({"image": "0.png", "prompt": "p", "label": 0.5}, "label"),
        ({"images": ["0.png", "0.png"], "prompt": "p"}, "twice"),
        ({"prompt": "p"}, "neither"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_bad_line_is_named_and_the_others_count(tmp_path: Path, row: object, word: str) -> None:
    picture(tmp_path, "0.png", 1)
    picture(tmp_path, "1.png", 2)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = files.read(written(tmp_path, {"win": "0.png", "lose": "1.png", "prompt": "p"}, row))
    assert len(found.rankings) == 1
    assert len(found.problems) == 1
    assert word in found.problems[0]


def test_a_file_without_one_good_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no line can be used"):
        files.read(written(tmp_path, "{}"))


def test_a_long_ranking_weighs_as_much_as_a_short_one() -> None:
    feedback = Feedback((ranked("a", 1, 2, 3, 4), ranked("b", 5, 6)))
    found = split(feedback, objectives.create("dpo"), 0.0, 0)
    weights: dict[str, float] = {}
    for item in found.training:
        weights[item.prompt] = weights.get(item.prompt, 0) + item.weight
    assert len(found.training) == 6 + 1
    assert weights["a"] == pytest.approx(weights["b"])
    assert sum(item.weight for item in found.training) == pytest.approx(7)


def test_ties_make_no_pairs() -> None:
    found = split(Feedback((ranked("a", 1, 2, 3, tiers=(0, 0, 1)),)), objectives.create("dpo"), 0.0, 0)
    pairs = {(int(i.images[0].sha256), int(i.images[1].sha256)) for i in found.training}
    assert pairs == {(1, 3), (2, 3)}


def test_no_prompt_is_on_both_sides() -> None:
    feedback = Feedback(tuple(ranked(f"prompt {i % 10}", 2 * i, 2 * i + 1) for i in range(40)))
    found = split(feedback, objectives.create("dpo"), 0.3, 5)
    assert {i.prompt for i in found.held_out} & {i.prompt for i in found.training} == set()
    assert len({i.prompt for i in found.held_out}) == 3
    assert found == split(feedback, objectives.create("dpo"), 0.3, 5)


def test_the_beginning_of_the_bases_hash_is_no_foreign_model() -> None:
    made = [replace(image(n), model=model) for n, model in enumerate(("ab12cd34ef" + "0" * 54, "ab12cd34ef", "ffff", "a name", None))]
    feedback = Feedback(labels=tuple(LabelledImage("p", one, True) for one in made))
    assert split(feedback, objectives.create("kto"), 0, 1, "ab12cd34ef" + "0" * 54).counts["foreign"] == 2


def test_contradictory_labels_say_nothing_and_are_no_expert() -> None:
    labels = (LabelledImage("a", image(1), True), LabelledImage("a", image(1), False), LabelledImage("a", image(2), True))
    for name in ("kto", "sft"):
        found = split(Feedback((), labels), objectives.create(name), 0.0, 0)
        assert [int(i.images[0].sha256) for i in found.training] == [2]


def test_only_likes_have_no_pairs_and_the_message_says_what_to_take() -> None:
    with pytest.raises(InvalidInputError, match="take sft, csft, kto or hinge"):
        split(Feedback((), (LabelledImage("a", image(1), True),)), objectives.create("dpo"), 0.1, 0)


def test_foreign_images_are_counted() -> None:
    other = TrainingImage("f" * 64, Path("f.png"), 64, 64, model="other")
    found = split(Feedback((RankedImages("a", (image(1), other), (0, 1)),)), objectives.create("dpo"), 0.0, 0, base="own")
    assert found.counts["foreign"] == 1
    assert any("another checkpoint" in sentence for sentence in found.summary)


def test_rankings_by_a_scorer_are_counted_and_said() -> None:
    rankings = tuple(RankedImages("a", (image(i), image(i + 1)), (0, 1), rater) for i, rater in ((1, "me"), (3, "auto:clip")))
    found = split(Feedback(rankings), objectives.create("dpo"), 0.0, 0)
    assert found.counts["by_scorers"] == 1
    assert any("by a scorer, not by a person: 1." in sentence for sentence in found.summary)


def test_studies_give_what_stands(tmp_path: Path) -> None:
    store, blobs = open_store(tmp_path), BlobStore(tmp_path)
    study = StudyRecord("s1", "Foxes", {"prompt": "a fox <lora:x:1>"}, 0, (4, 8, 8), {"sha256": "m"})
    store.create_study(study)
    shas = [blobs.put_image(Image.new("RGB", (8, 8), (i, i, i)), "") for i in range(4)]
    shown = [CandidateRecord("r1", i, "fresh", "0" * 64, i, sha) for i, sha in enumerate(shas)]
    store.add_round(RoundRecord("r1", "s1", 0, 4, "recipe", "ready"), shown, 0)
    drafts = [
        EventDraft("s1", "ranking", "r1", {"tiers": [[2]]}, (0, 1, 2, 3)),
        EventDraft("s1", "like", "r1", {"tiers": [[1]]}, (0, 1, 2, 3)),
        EventDraft("s1", "ranking", "r1", {"tiers": [[0], [1]]}, (0, 1, 2, 3), rater="you"),
    ]
    made = [store.append(draft, store.study("s1").revision) for draft in drafts]
    store.append(EventDraft("s1", "retraction", "r1", retracts=made[2].number), store.study("s1").revision)
    found = from_store.read(store, blobs, ["s1"])
    store.close()
    assert len(found.rankings) == 1
    assert found.rankings[0].prompt == "a fox"
    assert found.rankings[0].images[0].sha256 == shas[2]
    assert found.rankings[0].tiers == (0, 1, 1, 1)
    assert {one.model for one in found.rankings[0].images} == {"m"}
    assert [(one.image.sha256, one.liked) for one in found.labels] == [(shas[1], True)]


@pytest.mark.parametrize(("objective", "each", "said"), [("dpo", 12, True), ("lpo", 12, True), ("dpo", 9, False), ("kto", 12, False)])
def test_labels_that_comparisons_leave_unused_are_told_of(objective: str, each: int, said: bool) -> None:
    labels = tuple(LabelledImage("p", image(n), n % 2 == 0) for n in range(2 * each))
    concluded = tuple(LabelledImage("p", image(100 + n), n % 2 == 0, weight=0.5, said=False) for n in range(40))
    found = split(Feedback((ranked("p", 1, 2), ranked("q", 3, 4)), (*labels, *concluded)), objectives.create(objective), 0.0, 0)
    assert any(f"{each} likes and {each} dislikes go unused: kto" in sentence for sentence in found.summary) == said


def test_what_was_concluded_weighs_less_and_gives_way_to_what_was_said() -> None:
    a, b, c, d = map(image, range(4))
    feedback = Feedback(
        (RankedImages("p", (c, d), (0, 1)),),
        (
            LabelledImage("p", a, True, weight=0.5, said=False),
            LabelledImage("p", b, True, weight=0.5, said=False),
            LabelledImage("p", b, False),
            LabelledImage("p", d, True, weight=0.8, said=False),
        ),
    )
    labels = {item.images[0].sha256: (item.label, item.weight) for item in _labels(feedback)}
    assert labels == {a.sha256: (1, 0.5), b.sha256: (-1, 1.0), c.sha256: (1, 1.0), d.sha256: (-1, 1.0)}
    experts = {item.images[0].sha256: item.weight for item in _experts(feedback)}
    assert experts == {a.sha256: 0.5, c.sha256: 1.0}
