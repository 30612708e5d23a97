"""Blind comparisons of a LoRA with its base: what is shown, what is counted, what is told when."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from lib_rankopt.errors import ConflictError, GenerationError, InvalidInputError, NotFoundError
from lib_rankopt.evaluation.statistics import wilson_interval
from lib_rankopt.studies import tries as tries_module
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.training_views import TryView
from lib_rankopt.studies.views import to_json
from tests.studies.fakes import picture
from tests.studies.trained import TrainerHost, finished_run, services, until

LORA = "taste-dpo-0010"


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides and seeds as a fixed draw has them."""
    chance = random.Random(7)
    monkeypatch.setattr(tries_module.secrets, "randbits", chance.getrandbits)


@pytest.fixture
def host(tmp_path: Path) -> TrainerHost:
    return TrainerHost(tmp_path / "loras")


@pytest.fixture
def opener(tmp_path: Path, host: TrainerHost) -> Iterator[Callable[[], StudyService]]:
    with services(tmp_path / "data", host) as make:
        yield make
        host.gate.set()


@pytest.fixture
def service(opener: Callable[[], StudyService]) -> StudyService:
    return opener()


@pytest.fixture
def run(tmp_path: Path) -> str:
    return finished_run(tmp_path / "data")


def ready(service: StudyService, view: TryView) -> TryView:
    until(lambda: service.tries.view(view.id).state != "making", 60)
    return service.tries.view(view.id)


def kept(tmp_path: Path, view: TryView) -> dict:  # type: ignore[type-arg]
    (path,) = (tmp_path / "data" / "training").glob(f"*/tries/{view.id}/try.json")
    found: dict = json.loads(path.read_text())  # type: ignore[type-arg]
    return found


def side_of_lora(tmp_path: Path, view: TryView, index: int) -> str:
    return "left" if kept(tmp_path, view)["trials"][index]["left"] else "right"


def other(side: str) -> str:
    return "right" if side == "left" else "left"


def test_each_trial_has_two_pictures_of_one_seed(service: StudyService, host: TrainerHost, run: str, tmp_path: Path) -> None:
    view = ready(service, service.tries.start(run, trials=5))
    assert (view.state, view.made, view.wanted, view.trials, view.lora) == ("ready", 10, 10, 5, LORA)
    asked = Counter((call.prompt, seed) for call in host.calls for seed in call.seeds)
    trials = kept(tmp_path, view)["trials"]
    assert asked == Counter(
        (f"{trial['prompt']}{said}", trial["seed"]) for trial in trials for said in ("", f" <lora:{LORA}:1>")
    )
    assert len({trial["seed"] for trial in trials}) == 5
    assert Counter(trial["prompt"] for trial in trials) == {"a fox": 3, "a cat": 2}


def test_left_and_right_are_the_files_of_their_sides(service: StudyService, host: TrainerHost, run: str, tmp_path: Path) -> None:
    view = ready(service, service.tries.start(run, trials=6, weight=0.5))
    for index, trial in enumerate(kept(tmp_path, view)["trials"]):
        latent = host.initial_noise((trial["seed"],), (4, 8, 8))[0]
        wanted = {
            side_of_lora(tmp_path, view, index): picture(f"{trial['prompt']} <lora:{LORA}:0.5>", latent, trial["seed"]),
            other(side_of_lora(tmp_path, view, index)): picture(trial["prompt"], latent, trial["seed"]),
        }
        for side in ("left", "right"):
            with Image.open(service.tries.picture(view.id, index, side)) as shown:
                assert shown.convert("RGB").tobytes() == wanted[side].tobytes()


def test_sides_are_drawn_and_nothing_tells_them(service: StudyService, host: TrainerHost, run: str, tmp_path: Path) -> None:
    host.gate.clear()
    view = service.tries.start(run, trials=200)
    lefts = sum(trial["left"] for trial in kept(tmp_path, view)["trials"])
    assert 70 < lefts < 130
    second = service.tries.start(run, trials=200)
    assert [t["left"] for t in kept(tmp_path, second)["trials"]] != [t["left"] for t in kept(tmp_path, view)["trials"]]
    host.gate.set()
    until(lambda: service.tries.view(view.id).trial)
    views = [service.tries.view(view.id)]
    index = views[0].trial.index  # type: ignore[union-attr]
    views.append(service.tries.answer(view.id, index, "left"))
    for told in views:
        assert told.result is None
        assert set(to_json(told)) == {
            "id", "lora", "state", "error", "made", "wanted", "trial", "answered", "trials", "result",
        }  # fmt: skip
        assert set(to_json(told.trial)) == {"index", "prompt"}
        assert "<lora" not in told.trial.prompt  # type: ignore[union-attr]


def test_answers_are_counted_and_told_at_the_end(service: StudyService, run: str, tmp_path: Path) -> None:
    view = ready(service, service.tries.start(run, trials=8))
    wanted = ["won"] * 4 + ["lost"] * 1 + ["tie"] * 3
    for index, outcome in enumerate(wanted):
        assert view.result is None
        assert view.trial is not None
        assert view.trial.index == index
        side = side_of_lora(tmp_path, view, index)
        choice = {"won": side, "lost": other(side), "tie": "tie"}[outcome]
        view = service.tries.answer(view.id, index, choice)
        assert view.answered == index + 1
    assert view.trial is None
    result = view.result
    assert result is not None
    assert (result.wins, result.rate) == (5.5, 5.5 / 8)
    assert (result.low, result.high) == wilson_interval(5.5, 8)
    assert re.match(r"You preferred the LoRA 5\.5 of 8 times \(95 % interval \d+–\d+ %, 3 ties counted half\)", result.sentence)
    assert service.tries.view(view.id) == view


def test_a_trial_is_answered_once_and_not_before_it_is_made(service: StudyService, host: TrainerHost, run: str) -> None:
    host.gate.clear()
    view = service.tries.start(run, trials=2)
    assert (view.state, view.trial) == ("making", None)
    with pytest.raises(ConflictError, match="not made yet"):
        service.tries.answer(view.id, 0, "left")
    with pytest.raises(NotFoundError, match="not made yet"):
        service.tries.picture(view.id, 0, "left")
    host.gate.set()
    ready(service, view)
    service.tries.answer(view.id, 1, "tie")
    with pytest.raises(ConflictError, match="has been answered"):
        service.tries.answer(view.id, 1, "left")
    following = service.tries.view(view.id)
    assert following.answered == 1
    assert following.trial is not None
    assert following.trial.index == 0


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"lora": "beauty"}, NotFoundError, "no LoRA 'beauty'; it has taste-dpo-0010, taste-dpo-0020"),
        ({"trials": 0}, InvalidInputError, "0 trials"),
        ({"trials": 201}, InvalidInputError, "201 trials"),
        ({"trials": True}, InvalidInputError, "True trials"),
        ({"trials": 2.5}, InvalidInputError, "2.5 trials"),
        ({"weight": 2.5}, InvalidInputError, "weight"),
        ({"weight": float("nan")}, InvalidInputError, "weight"),
        ({"weight": -3}, InvalidInputError, "weight"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    service: StudyService, host: TrainerHost, run: str, tmp_path: Path, options: dict, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        service.tries.start(run, **options)
    assert host.calls == []
    assert not list((tmp_path / "data" / "training").glob("*/tries"))


def test_runs_without_loras_or_prompts_are_refused(service: StudyService, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="no LoRA yet"):
        service.tries.start(finished_run(tmp_path / "data", outputs=()))
    bare = finished_run(tmp_path / "data")
    folder = service.training.folder(bare)
    folder.say(tries_module.replace(folder.status(), prompts=()))
    with pytest.raises(InvalidInputError, match="No prompt was kept back"):
        service.tries.start(bare, prompts=[" ", ""])
    assert service.tries.start(bare, prompts=[" a car "], trials=1).trials == 1
    with pytest.raises(NotFoundError):
        service.tries.start("f" * 16)


def test_unknown_trials_and_choices_are_refused(service: StudyService, run: str) -> None:
    view = ready(service, service.tries.start(run, trials=1, lora="taste-dpo-0020"))
    assert view.lora == "taste-dpo-0020"
    with pytest.raises(InvalidInputError, match="'middle' is no choice"):
        service.tries.answer(view.id, 0, "middle")
    for index in (-1, 1):
        with pytest.raises(NotFoundError, match="no trial"):
            service.tries.answer(view.id, index, "left")
        with pytest.raises(NotFoundError, match="no trial"):
            service.tries.picture(view.id, index, "left")
    for name in ("f" * 16, "../x", "", "a" * 5000):
        with pytest.raises(NotFoundError, match="no comparison"):
            service.tries.view(name)


def test_a_failing_host_is_said_in_its_sentence(service: StudyService, host: TrainerHost, run: str) -> None:
    host.fail = {1: GenerationError("the sampler returned not-a-number")}
    view = ready(service, service.tries.start(run, prompts=["a fox"], trials=3))
    assert (view.state, view.error) == ("failed", "the sampler returned not-a-number")
    host.fail = {0: RuntimeError("no such device")}
    second = ready(service, service.tries.start(run, trials=1))
    assert (second.state, second.error) == ("failed", "RuntimeError: no such device")
    host.fail = {}
    assert ready(service, service.tries.start(run, trials=1)).state == "ready"


def test_another_service_makes_what_is_missing(opener: Callable[[], StudyService], host: TrainerHost, run: str, tmp_path: Path) -> None:
    first = opener()
    host.fail = {2: GenerationError("the power went")}
    view = ready(first, first.tries.start(run, prompts=["a fox"], trials=4))
    assert view.made == 2
    first.close()
    host.fail, host.calls = {}, []
    again = opener()
    assert again.tries.view(view.id).state == "making"
    found = ready(again, view)
    assert (found.state, found.made) == ("ready", 8)
    seeds = [trial["seed"] for trial in kept(tmp_path, view)["trials"]]
    assert [call.seeds for call in host.calls] == [tuple(seeds[2:]), tuple(seeds)]
    assert [call.prompt for call in host.calls] == ["a fox", f"a fox <lora:{LORA}:1>"]


def test_a_csft_lora_is_tried_with_its_words(service: StudyService, host: TrainerHost, tmp_path: Path) -> None:
    """They go with the LoRA's side only, as the sidecar file says it is used."""
    options = {"good_prefix": "Best. ", "bad_prefix": "Weird. "}
    run = finished_run(tmp_path / "data", objective="csft", options=options)
    ready(service, service.tries.start(run, trials=1))
    assert [call.negative_prompt for call in host.calls] == ["", "Weird."]
    assert [call.prompt for call in host.calls] == ["a fox", f"Best. a fox <lora:{LORA}:1>"]
