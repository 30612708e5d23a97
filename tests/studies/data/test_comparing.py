"""Ranking a folder of images: what is shown, what answers change, and what is believed in the end."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.evaluation.preferences import PRIOR_SD, Builder, fit
from lib_rankopt.store import Store, open_store
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.records import Rating
from lib_rankopt.studies.data import beliefs
from lib_rankopt.studies.data.comparing import Comparing
from lib_rankopt.studies.data.comparing_views import Comparison
from lib_rankopt.studies.data.jobs import Jobs
from tests.store import postgres

QUIET = {"repeats": 0.0, "within": "any"}


def paint(path: Path, shade: int, prompt: str = "") -> None:
    """A small PNG of one grey, with a prompt as the webui writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = PngImagePlugin.PngInfo()
    if prompt:
        chunks.add_text("parameters", f"{prompt}\nSteps: 20, Sampler: Euler, Seed: {shade}")
    Image.new("RGB", (8, 8), (shade, shade // 2, 255 - shade)).save(path, pnginfo=chunks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images, the later the better, under three prompts of four."""
    for number in range(12):
        paint(tmp_path / "mine" / f"{number:02}.png", number * 20, f"prompt {number % 3}")
    return tmp_path / "mine"


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight images without prompts: 28 pairs."""
    for number in range(8):
        paint(tmp_path / "eight" / f"{number:02}.png", number * 20)
    return tmp_path / "eight"


class Bench:
    """A store with its service, as one process has them."""

    def __init__(self, data_dir: Path, url: str | None = None) -> None:
        self.store: Store = open_store(data_dir, url)
        self.jobs = Jobs()
        self.collected = self.store.collected
        self.comparing = Comparing(self.collected, HeldFiles(data_dir), self.jobs, seed=7)

    def add(self, folder: Path, **settings: Any) -> int:
        """Rank a folder, taken in whole."""
        view = self.comparing.add_folder(str(folder), settings={**QUIET, **settings})
        self.finish()
        return view.number

    def finish(self) -> None:
        """Wait for the jobs; none may have failed."""
        for job in self.jobs.views():
            ended = self.jobs.wait(job.id, 60)
            assert ended.state == "done", ended.error

    def ratings(self, collection: int) -> dict[int, tuple[float, float, int]]:
        return {one.image: (one.mean, one.sd, one.games) for one in self.collected.ratings(collection)}

    def close(self) -> None:
        self.jobs.close()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path / "data")
    yield opened
    opened.close()


def best_first(comparison: Comparison, key: Callable[[str], float] = lambda name: float(name[:2])) -> tuple[tuple[int, ...], ...]:
    """Tiers of somebody who never errs."""
    order = sorted(range(len(comparison.images)), key=lambda place: -key(comparison.images[place].name))
    return tuple((place,) for place in order)


def answer(bench: Bench, collection: int, shown: Comparison, tiers: Any = None, rater: str = "me", token: str = "") -> int:
    images = [one.number for one in shown.images]
    said = best_first(shown) if tiers is None else tiers
    return bench.comparing.answer(collection, rater, token or shown.token, images, said, latency_ms=900).number


def rank(bench: Bench, collection: int, number: int, rater: str = "me") -> list[frozenset[int]]:
    """Answer so many comparisons; return what was shown."""
    found = []
    for _ in range(number):
        (shown,) = bench.comparing.next(collection, rater)
        answer(bench, collection, shown, rater=rater)
        found.append(frozenset(one.number for one in shown.images))
    return found


# -- what is shown


def test_every_pair_is_shown_once_and_then_nothing(bench: Bench, eight: Path) -> None:
    number = bench.add(eight)
    shown = rank(bench, number, 28)
    assert len(set(shown)) == 28
    assert bench.comparing.next(number) == ()
    assert bench.comparing.view(number).progress.comparisons == 28


def test_a_server_that_starts_again_shows_no_pair_twice_either(bench: Bench, eight: Path, tmp_path: Path) -> None:
    number = bench.add(eight)
    shown = rank(bench, number, 15)
    later = Bench(tmp_path / "data")
    shown += rank(later, number, 13)
    assert len(set(shown)) == 28
    assert later.comparing.next(number) == ()
    later.close()


def test_what_is_on_one_screen_is_not_put_on_another_of_the_same_rater(bench: Bench, eight: Path) -> None:
    number = bench.add(eight)
    ahead = [one for _ in range(9) for one in bench.comparing.next(number, count=4)]
    pairs = [frozenset(image.number for image in one.images) for one in ahead]
    assert len(pairs) == len(set(pairs)) == 28
    assert bench.comparing.next(number, "another", 1) != ()


def test_prefetched_comparisons_are_of_other_images(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    images = [image.number for one in bench.comparing.next(number, count=3) for image in one.images]
    assert len(set(images)) == 6


def test_sides_are_drawn(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    order = [one.images[0].number < one.images[1].number for _ in range(15) for one in bench.comparing.next(number)]
    assert 2 <= sum(order) <= 13


def test_images_of_one_prompt_are_compared_where_prompts_are_shared(bench: Bench, folder: Path) -> None:
    number = bench.add(folder, within="auto")
    view = bench.comparing.view(number)
    assert (view.settings.within, view.within) == ("auto", "prompt")
    shown = []
    while following := bench.comparing.next(number):
        assert len({image.prompt for image in following[0].images}) == 1
        answer(bench, number, following[0])
        shown.append(following)
    assert len(shown) == 18  # three prompts, six pairs each


def test_images_of_any_prompt_are_compared_where_prompts_are_their_own(bench: Bench, tmp_path: Path) -> None:
    for at in range(9):
        paint(tmp_path / "own" / f"{at:02}.png", at * 20, f"prompt {min(at, 7)}")  # the last two share one
    assert bench.comparing.view(bench.add(tmp_path / "own", within="auto")).within == "any"
    for at in range(4):
        paint(tmp_path / "none" / f"{at:02}.png", at * 20)
    assert bench.comparing.view(bench.add(tmp_path / "none", within="auto")).within == "any"


def test_single_images_of_many_prompts_do_not_hide_those_that_can_be_compared(bench: Bench, tmp_path: Path) -> None:
    for at in range(260):
        paint(tmp_path / "many" / f"{at:03}.png", at % 250, f"single {at}" if at < 230 else f"shared {at // 3}")
    number = bench.add(tmp_path / "many", within="prompt")
    shown = set()
    while following := bench.comparing.next(number):
        answer(bench, number, following[0], best_first(following[0], lambda name: float(name[:3])))
        shown.add(frozenset(image.number for image in following[0].images))
    groups = [sum(230 <= at < 260 and at // 3 == group for at in range(260)) for group in range(76, 87)]
    assert len(shown) == sum(count * (count - 1) // 2 for count in groups)


@pytest.mark.parametrize(
    ("settings", "count"), [({"layout": "four"}, 4), ({"layout": "list", "size": 8}, 8), ({"layout": "list", "size": 3}, 3)]
)
def test_layouts_show_more_images(bench: Bench, folder: Path, settings: dict[str, Any], count: int) -> None:
    number = bench.add(folder, **settings)
    (shown,) = bench.comparing.next(number)
    assert len({one.number for one in shown.images}) == count
    answer(bench, number, shown)
    (event,) = bench.collected.feedback(number)
    assert (event.kind, len(event.tiers), event.latency_ms) == ("ranking", count, 900)


def test_the_rest_of_four_can_still_be_told_apart(bench: Bench, tmp_path: Path) -> None:
    for at in range(4):
        paint(tmp_path / "four" / f"{at:02}.png", at * 20)
    number = bench.add(tmp_path / "four", layout="four")
    sizes = []
    while following := bench.comparing.next(number):
        order = best_first(following[0])
        answer(bench, number, following[0], (order[0], tuple(place for tier in order[1:] for place in tier)))
        sizes.append(len(following[0].images))
    assert sizes == [4, 3, 2]
    assert [one.name for one in bench.comparing.results(number).images] == ["03.png", "02.png", "01.png", "00.png"]


def test_equal_and_skipped_ones_do_not_come_again(bench: Bench, tmp_path: Path) -> None:
    for at in range(4):
        paint(tmp_path / "four" / f"{at:02}.png", at * 20)
    number = bench.add(tmp_path / "four", layout="four")
    (shown,) = bench.comparing.next(number, "ann")
    answer(bench, number, shown, ((0, 1, 2, 3),), "ann")
    assert bench.comparing.next(number, "ann") == ()
    (shown,) = bench.comparing.next(number, "bob")
    bench.comparing.answer(number, "bob", shown.token, [one.number for one in shown.images], skip=True)
    assert bench.comparing.next(number, "bob") == ()


def test_files_that_are_gone_and_removed_images_are_never_shown(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    for name in ("00.png", "05.png", "11.png"):
        (folder / name).unlink()
    by_key = bench.collected.images_by_key(number, ["00.png", "05.png", "11.png", "07.png"])
    bench.collected.set_removed([by_key["07.png"].number])
    out = {image.number for image in by_key.values()}
    shown = [one for _ in range(40) for one in bench.comparing.next(number)]
    assert len(shown) == 28
    assert out.isdisjoint(image.number for one in shown for image in one.images)
    assert bench.comparing.view(number).progress.images == 8


# -- repeats


def test_repeats_are_mirrored_recorded_and_change_no_rating(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    first = rank(bench, number, 30)
    bench.comparing.change(number, {"repeats": 0.5})
    repeated: list[int] = []
    for _ in range(40):
        (shown,) = bench.comparing.next(number)
        before = bench.ratings(number)
        event_number = answer(bench, number, shown)
        images = frozenset(one.number for one in shown.images)
        events = {event.number: event for event in bench.collected.feedback(number)}
        event = events[event_number]
        if images in first:
            earlier = events[event.about["repeats"]]
            repeated.append(earlier.number)
            assert earlier.number < event_number - 10
            assert event.images == tuple(reversed(earlier.images))
            assert bench.ratings(number) == before
        else:
            assert "repeats" not in event.about
            assert bench.ratings(number) != before
        first.append(images)
    assert 8 <= len(repeated) == len(set(repeated)) <= 32
    bench.comparing.rebuild(number)
    bench.finish()
    (rater,) = bench.comparing.results(number).agreement.raters
    assert (rater.repeats.mean, rater.repeats.n) == (1.0, len(repeated))
    pairs = Builder()
    places = {image: at for at, image in enumerate(sorted(bench.ratings(number)))}
    for event in bench.collected.feedback(number):
        if "repeats" not in event.about:
            pairs.ranking([[places[event.images[place]] for place in tier] for tier in event.tiers])
    expected = fit(pairs.finish(12), prior_sd=PRIOR_SD)
    assert [one[0] for one in bench.ratings(number).values()] == pytest.approx(expected.mean.tolist(), abs=1e-9)


def test_contradicting_oneself_shows_in_the_consistency(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 30)
    bench.comparing.change(number, {"repeats": 0.5})
    repeats = 0
    while repeats < 5:
        (shown,) = bench.comparing.next(number)
        event = answer(bench, number, shown, tuple(reversed(best_first(shown))))
        repeats += "repeats" in bench.collected.feedback(number, event - 1)[0].about
    bench.comparing.rebuild(number)
    bench.finish()
    assert bench.comparing.results(number).agreement.raters[0].repeats.mean == 0.0


# -- answers


def test_the_same_answer_sent_twice_counts_once(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    (shown,) = bench.comparing.next(number)
    first = answer(bench, number, shown)
    before = bench.ratings(number)
    assert answer(bench, number, shown) == first
    assert bench.ratings(number) == before
    with pytest.raises(ConflictError):
        answer(bench, number, shown, tuple(reversed(best_first(shown))))
    assert bench.ratings(number) == before


@pytest.mark.parametrize(("images", "tiers", "token"), [
    ([0], ((0,),), "t"), ([0, 0], ((0,), (1,)), "t"), ([0, 1], ((0,),), "t"), ([0, 1], ((0,), (2,)), "t"), ([0, 1], ((0,), (1,)), ""),
    (list(range(9)), tuple((place,) for place in range(9)), "t"),
])  # fmt: skip
def test_answers_that_make_no_sense_are_refused_and_change_nothing(
    bench: Bench, folder: Path, images: list[int], tiers: Any, token: str
) -> None:
    number = bench.add(folder)
    before = bench.ratings(number)
    known = sorted(before)
    with pytest.raises(InvalidInputError):
        bench.comparing.answer(number, "me", token, [known[place] for place in images], tiers)
    assert bench.collected.feedback(number) == []
    assert bench.ratings(number) == before


def test_images_of_another_collection_are_refused(bench: Bench, folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "other" / "a.png", 1)
    number, other = bench.add(folder), bench.add(tmp_path / "other")
    foreign = next(iter(bench.ratings(other)))
    with pytest.raises(NotFoundError):
        bench.comparing.answer(number, "me", "t", [foreign, min(bench.ratings(number))], ((0,), (1,)))
    with pytest.raises(NotFoundError):
        bench.comparing.next(999)


def test_running_ratings_follow_from_the_events_in_their_order(bench: Bench, folder: Path) -> None:
    number = bench.add(folder, layout="list", size=4)
    rng = np.random.default_rng(3)
    for turn in range(25):
        rater = ("ann", "bob")[turn % 2]
        if following := bench.comparing.next(number, rater):
            places = [int(place) for place in rng.permutation(len(following[0].images))]
            answer(bench, number, following[0], (tuple(places[:2]), tuple(places[2:])), rater)
        image = int(rng.choice(sorted(bench.ratings(number))))
        bench.comparing.label(number, f"rater {turn}", f"label {turn}", image, ("like", "dislike")[turn % 2])
    replayed = {image: (one.mean, one.sd, one.games) for image, one in beliefs.replayed(bench.collected, number).items()}
    live = {image: one for image, one in bench.ratings(number).items() if image in replayed}
    assert live == replayed


def test_the_fit_of_all_answers_is_what_the_fit_gives(bench: Bench, folder: Path) -> None:
    number = bench.add(folder, layout="list", size=3)
    rng = np.random.default_rng(5)
    for turn in range(20):
        (shown,) = bench.comparing.next(number, f"rater {turn % 3}")
        places = [int(place) for place in rng.permutation(3)]
        answer(bench, number, shown, ((places[0],), tuple(places[1:])), f"rater {turn % 3}")
        if turn % 4 == 3:
            bench.comparing.undo(number, f"rater {turn % 3}")
    image = max(bench.ratings(number))
    for turn, kind in enumerate(("like", "dislike", "like")):
        bench.comparing.label(number, "ann", f"label {turn}", image, kind)
    bench.comparing.rebuild(number)
    bench.finish()
    places_of = {one: at for at, one in enumerate(sorted(bench.ratings(number)))}
    builder = Builder()
    for event in bench.collected.feedback(number, standing=True):
        if event.kind == "ranking":
            builder.ranking([[places_of[event.images[place]] for place in tier] for tier in event.tiers])
    builder.like(places_of[image])
    expected = fit(builder.finish(12), prior_sd=PRIOR_SD)
    found = bench.ratings(number)
    assert [found[one][0] for one in sorted(found)] == pytest.approx(expected.mean.tolist(), abs=1e-9)
    assert [found[one][1] for one in sorted(found)] == pytest.approx(expected.sd.tolist(), abs=1e-9)
    counted = Counter(one for event in bench.collected.feedback(number, standing=True) for one in event.images if event.kind == "ranking")
    assert {one: found[one][2] for one in found} == {one: counted[one] for one in found}  # labels are no comparisons
    assert bench.comparing.view(number).fitted
    rank(bench, number, 1)
    assert not bench.comparing.view(number).fitted


def test_answers_during_the_fit_are_not_lost(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 20)
    bench.comparing.rebuild(number)
    bench.finish()
    fitted = {one.image: one for one in bench.collected.ratings(number)}
    last = bench.collected.feedback(number)[-1].number
    old = bench.collected.feedback(number)[4]
    bench.collected.append(number, beliefs.FeedbackRecord("retraction", token="other process", rater="me", retracts=old.number))
    rank(bench, number, 3)
    live = bench.ratings(number)
    bench.comparing._catch_up(number, fitted, last)
    found = bench.ratings(number)
    new = {image for event in bench.collected.feedback(number, last) for image in event.images}
    for image in new - set(old.images):
        assert found[image] == live[image]
    assert {image: found[image] for image in old.images} == {
        image: (one.mean, one.sd, one.games) for image, one in beliefs.relearned(bench.collected, old.images).items()
    }


# -- undo


def test_undo_restores_the_ratings_and_shows_the_comparison_again(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 5)
    before = bench.ratings(number)
    (shown,) = bench.comparing.next(number)
    answer(bench, number, shown)
    done = bench.comparing.undo(number)
    assert bench.ratings(number) == before
    assert done.comparison is not None
    assert [one.number for one in done.comparison.images] == [one.number for one in shown.images]
    answer(bench, number, done.comparison, tuple(reversed(best_first(shown))))
    assert bench.comparing.view(number).progress.comparisons == 6


def test_undo_goes_back_step_by_step_and_only_over_ones_own(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    mine = rank(bench, number, 3, "ann")
    rank(bench, number, 1, "bob")
    back = [bench.comparing.undo(number, "ann").comparison for _ in range(3)]
    assert [frozenset(image.number for image in one.images) for one in back if one] == mine[::-1]
    with pytest.raises(ConflictError):
        bench.comparing.undo(number, "ann")
    assert bench.comparing.view(number).progress.comparisons == 1


def test_an_undo_sent_twice_takes_one_answer_back(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 3)
    assert bench.comparing.undo(number, token="u") == bench.comparing.undo(number, token="u")
    assert bench.comparing.view(number).progress.comparisons == 2


def test_an_undo_sent_again_before_it_is_answered_takes_one_answer_back(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = bench.add(folder)
    rank(bench, number, 3)
    compose = bench.comparing._composed
    monkeypatch.setattr(bench.comparing, "_composed", lambda *given: (time.sleep(0.1), compose(*given))[1])
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(bench.comparing.undo, number, token="u") for _ in range(2))
        assert first.result() == second.result()
    assert bench.comparing.view(number).progress.comparisons == 2


def test_undo_by_another_process_forgets_what_the_answer_said(bench: Bench, folder: Path, tmp_path: Path) -> None:
    number = bench.add(folder)
    (shown,) = bench.comparing.next(number)
    answer(bench, number, shown)
    later = Bench(tmp_path / "data")
    later.comparing.undo(number)
    assert set(later.ratings(number).values()) == {(0.0, PRIOR_SD, 0)}
    later.close()


# -- labels


def test_labels_move_the_rating_and_the_last_word_counts(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    (shown,) = bench.comparing.next(number)
    image = shown.images[0].number
    prior = bench.ratings(number)[image]
    bench.comparing.label(number, "me", "1", image, "like")
    liked = bench.ratings(number)[image]
    bench.comparing.label(number, "me", "2", image, "dislike")
    disliked = bench.ratings(number)[image]
    assert disliked[0] == -liked[0] < prior[0] < liked[0]
    bench.comparing.label(number, "me", "3", image, "unlike")
    assert bench.ratings(number)[image] == prior
    assert bench.comparing.undo(number).kind == "unlike"
    assert bench.ratings(number)[image] == disliked
    with pytest.raises(InvalidInputError):
        bench.comparing.label(number, "me", "4", image, "adore")


def test_a_comparison_says_what_its_rater_said_of_the_images(bench: Bench, tmp_path: Path) -> None:
    for at in range(3):
        paint(tmp_path / "few" / f"{at:02}.png", at * 20)
    number = bench.add(tmp_path / "few", layout="list", size=3)
    image = min(bench.ratings(number))
    bench.comparing.label(number, "ann", "1", image, "like")
    labels = {rater: {one.number: one.label for one in bench.comparing.next(number, rater)[0].images} for rater in ("ann", "bob")}
    assert labels["ann"][image] == "like"
    assert set(labels["bob"].values()) == {""}


# -- results


def test_a_rater_who_never_errs_gets_the_true_order(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    settled = [bench.comparing.view(number).progress.settled]
    for _ in range(3):
        rank(bench, number, 20)
        bench.comparing._progress.forget(number)
        settled.append(bench.comparing.view(number).progress.settled)
    assert settled == sorted(settled)
    assert settled[0] == 0.0
    bench.comparing.rebuild(number)
    bench.finish()
    found = bench.comparing.results(number)
    names = [one.name for one in found.images]
    swapped = sum(one < other for one, other in combinations(names, 2))
    assert swapped <= 3
    assert [one.rank for one in found.images] == list(range(1, 13))
    assert found.total == 12
    assert all(0 < one.sd < 1 and one.games > 0 for one in found.images)


def test_results_come_in_pages_and_as_csv(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 8)
    pages = [one for offset in (0, 3, 6, 9) for one in bench.comparing.results(number, offset, 3).images]
    rows = list(csv.reader(io.StringIO("".join(bench.comparing.csv(number)))))
    assert rows[0] == ["rank", "image", "prompt", "mean", "sd", "comparisons"]
    assert [row[1] for row in rows[1:]] == [one.name for one in pages]
    assert [float(row[3]) for row in rows[1:]] == pytest.approx([one.mean for one in pages], abs=1e-6)
    for limit, offset in ((0, 0), (501, 0), (1, -1)):
        with pytest.raises(InvalidInputError):
            bench.comparing.results(number, offset, limit)


def test_agreement_of_raters(bench: Bench, eight: Path) -> None:
    number = bench.add(eight)
    for rater in ("ann", "bob"):
        while following := bench.comparing.next(number, rater):
            answer(bench, number, following[0], rater=rater)
    while following := bench.comparing.next(number, "eve"):
        answer(bench, number, following[0], tuple(reversed(best_first(following[0]))), "eve")
    bench.comparing.rebuild(number)
    bench.finish()
    found = bench.comparing.results(number).agreement
    assert (found.pairs, found.shared) == (28, 28)
    assert found.percent.mean == pytest.approx(1 / 3)
    assert {one.rater: one.consensus.mean if one.consensus else None for one in found.raters} == {"ann": None, "bob": None, "eve": 0.0}


# -- folders


def test_a_folder_named_again_goes_on(bench: Bench, folder: Path) -> None:
    number = bench.add(folder)
    rank(bench, number, 4)
    paint(folder / "new" / "12.png", 240, "prompt 0")
    (folder / "03.png").rename(folder / "new" / "moved.png")
    assert bench.add(folder) == number
    images = {image.key: image for image in bench.collected.images_by_number(sorted(bench.ratings(number))).values()}
    assert len(images) == 13
    assert (images["03.png"].path, images["03.png"].state) == ("new/moved.png", "here")
    assert bench.comparing.view(number).progress.comparisons == 4
    assert bench.add(folder) == number
    assert len(bench.ratings(number)) == 13
    assert bench.comparing.view(number).progress.images == 13


def test_what_cannot_be_read_is_counted_and_named(bench: Bench, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    paint(folder.parent / "secret.png", 9)
    number = bench.add(folder)
    job = bench.comparing.view(number).job
    assert (job.outcome["new"], job.outcome["problems"]) == (12, 3)
    assert {line.split(":")[0] for line in job.outcome["first_problems"]} == {"broken.png", "empty.jpg", "link.png"}


@pytest.mark.parametrize("path", ["", "  ", "relative/folder", "/there/is/no/such/folder", "/dev/null", "a\0b", "~nobody-of-that-name/x"])
def test_what_is_no_folder_is_refused(bench: Bench, path: str) -> None:
    with pytest.raises(InvalidInputError):
        bench.comparing.add_folder(path)
    assert bench.comparing.collections() == []


def test_a_folder_without_images_leaves_nothing_behind(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="holds no images"):
        bench.comparing.add_folder(str(tmp_path / "texts"))
    assert bench.comparing.collections() == []


def test_folders_of_one_name_get_different_ones(bench: Bench, folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "elsewhere" / "mine" / "a.png", 3)
    bench.add(folder)
    bench.add(tmp_path / "elsewhere" / "mine")
    assert [one.name for one in bench.comparing.collections()] == ["mine (2)", "mine"]
    paint(tmp_path / "third" / "a.png", 3)
    with pytest.raises(ConflictError):
        bench.comparing.add_folder(str(tmp_path / "third"), "mine")


@pytest.mark.parametrize("settings", [
    {"layout": "six"}, {"size": 1}, {"size": 9}, {"size": True}, {"within": "study"}, {"repeats": 0.6}, {"repeats": -1}, {"colour": 1},
])  # fmt: skip
def test_settings_that_there_are_not_are_refused(bench: Bench, folder: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        bench.comparing.add_folder(str(folder), settings=settings)
    assert bench.comparing.collections() == []
    number = bench.add(folder)
    with pytest.raises(InvalidInputError):
        bench.comparing.change(number, settings)


# -- many at once


def test_raters_and_windows_at_once_do_not_disturb_each_other(bench: Bench, eight: Path) -> None:
    number = bench.add(eight)
    shown: dict[str, list[frozenset[int]]] = {}
    errors: list[BaseException] = []

    def work(rater: str, key: str) -> None:
        try:
            for _ in range(6):
                for one in bench.comparing.next(number, rater, 2):
                    answer(bench, number, one, rater=rater)
                    shown.setdefault(key, []).append(frozenset(image.number for image in one.images))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(rater, f"{rater} {window}")) for rater in ("ann", "bob", "eve") for window in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for rater in ("ann", "bob", "eve"):
        own = shown[f"{rater} 1"] + shown[f"{rater} 2"]
        assert len(own) == len(set(own)) == 24
    assert bench.comparing.view(number).progress.comparisons == 72
    assert sum(one[2] for one in bench.ratings(number).values()) == 144


def test_a_team_on_one_postgresql_store(folder: Path, tmp_path: Path) -> None:
    """Two servers, two raters, one database: nothing is refused, and every answer counts."""
    try:
        with postgres.server() as server, postgres.database(server) as url:
            benches = [Bench(tmp_path / name, url) for name in ("one", "two")]
            number = benches[0].add(folder)
            errors: list[BaseException] = []

            def work(bench: Bench, rater: str) -> None:
                try:
                    assert len(set(rank(bench, number, 20, rater))) == 20
                    bench.comparing.undo(number, rater)
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=work, args=pair) for pair in zip(benches, ("ann", "bob"), strict=True)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            benches[1].comparing.rebuild(number)
            benches[1].finish()
            assert benches[0].comparing.view(number).progress.comparisons == 38
            assert sum(one[2] for one in benches[0].ratings(number).values()) == 76
            assert {one.rater: one.answers for one in benches[0].comparing.results(number).agreement.raters} == {"ann": 19, "bob": 19}
            for bench in benches:
                bench.close()
    except postgres.Unavailable as why:
        pytest.skip(f"PostgreSQL: {why}")


def test_the_stores_prior_is_that_of_the_fit() -> None:
    assert (Rating(0).mean, Rating(0).sd) == (0.0, PRIOR_SD)
