"""Scores, the automatic mode, and the blind test."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch

from lib_rankopt.errors import (
    ConflictError,
    GenerationError,
    GenerationInterrupted,
    InvalidInputError,
    ModelError,
    NotFoundError,
    NotReadyError,
)
from lib_rankopt.evaluation import wilson_interval
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import BlindTrial
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, Brightness, FakeHost, images, latents, next_round, play, ranking
from tests.studies.test_worker import until


def idle(service: StudyService, study: str) -> None:
    until(lambda: service.get(study).auto is None and not service.get(study).busy)


# -- scores
def test_scores_are_kept_with_their_images(open_service: Opener) -> None:
    judge = Brightness()
    service = open_service(scorers={"brightness": lambda: judge})
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    view = service.score(study.id, 0, "brightness")
    assert all(set(c.scores) == {"brightness"} for c in view.candidates)
    assert len({c.scores["brightness"] for c in view.candidates}) == 5
    service.score(study.id, 0, "brightness")
    next_round(service, study.id)
    assert [c.scores for c in service.round(study.id, 1).candidates if c.image == view.candidates[0].image] == [
        view.candidates[0].scores
    ]
    service.score(study.id, 1, "brightness")
    assert judge.batches == [5, 4]
    with pytest.raises(NotFoundError, match=r"no scorer 'beauty'.*brightness"):
        service.score(study.id, 0, "beauty")


def test_a_branch_with_another_prompt_has_no_old_scores(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    service.score(study.id, 0, "brightness")
    same = service.branch(study.id, 0)
    other = service.branch(study.id, 0, changes={"prompt": "a cat"})
    assert service.round(same.id, 0).candidates[0].scores
    assert not service.round(other.id, 0).candidates[0].scores


# -- the automatic mode
def test_a_scorer_ranks_so_many_rounds(service: StudyService) -> None:
    study = service.create(SETTINGS)
    assert service.start_auto(study.id, "brightness", 4).auto == "brightness"
    idle(service, study.id)
    views = service.rounds(study.id)
    assert [(v.status, v.answered_by) for v in views] == [("answered", "auto:brightness")] * 4
    for view in views:
        by_score = sorted(view.candidates, key=lambda c: -c.scores["brightness"])
        assert [i for tier in view.tiers for i in tier] == [c.id for c in by_score]


def test_it_begins_with_the_round_that_waits(service: StudyService) -> None:
    study = service.create(SETTINGS)
    next_round(service, study.id)
    service.start_auto(study.id, "brightness", 1)
    idle(service, study.id)
    assert [v.answered_by for v in service.rounds(study.id)] == ["auto:brightness"]


def test_a_person_takes_over_while_the_scorer_looks(open_service: Opener) -> None:
    judge = Brightness()
    judge.gate.clear()
    service = open_service(scorers={"brightness": lambda: judge})
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.start_auto(study.id, "brightness", 5)
    done = service.answer(study.id, 0, ranking(view, 1))
    judge.gate.set()
    assert service.get(study.id).auto is None
    time.sleep(0.1)
    assert service.round(study.id, 0).answered_by == "me"
    assert service.round(study.id, 0).tiers == done.tiers
    assert service.get(study.id).rounds == 1


def test_stopping_leaves_the_running_round_to_the_person(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.gate.clear()
    service.start_auto(study.id, "brightness", 5)
    until(lambda: host.calls)
    assert service.stop_auto(study.id).auto is None
    host.gate.set()
    view = service.wait(study.id, 30)
    assert (view.index, view.status) == (0, "ready")


def test_what_stops_it_is_told(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    service.start_auto(study.id, "broken", 3)
    idle(service, study.id)
    assert any("upside down" in said for said in service.get(study.id).warnings)
    assert service.round(study.id, 0).status == "ready"
    service.start_auto(study.id, "brightness", 1)
    idle(service, study.id)
    assert service.get(study.id).warnings == ()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_score_that_is_not_finite_is_refused_and_not_kept(open_service: Opener, value: float) -> None:
    judge = Brightness()
    judge.score = lambda images, prompts: torch.full((len(images),), value)  # type: ignore[method-assign]
    service = open_service(scorers={"odd": lambda: judge})
    study = service.create(SETTINGS)
    service.start_round(study.id)
    service.wait(study.id, 30)
    with pytest.raises(ModelError, match="finite"):
        service.score(study.id, 0, "odd")
    assert all(c.scores == {} for c in service.round(study.id, 0).candidates)


@pytest.mark.parametrize("rounds", [0, -1, 10**6, 1.5, True, "3"])
def test_bad_numbers_of_rounds(service: StudyService, rounds: object) -> None:
    study = service.create(SETTINGS)
    with pytest.raises(InvalidInputError, match="rounds"):
        service.start_auto(study.id, "brightness", rounds)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no scorer"):
        service.start_auto(study.id, "beauty", 1)
    assert service.get(study.id).auto is None


def test_a_failing_host_ends_it(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.fail = {1: GenerationError("not a number")}
    service.start_auto(study.id, "brightness", 3)
    idle(service, study.id)
    assert service.round(study.id, 0).status == "failed"
    assert any("not a number" in said for said in service.get(study.id).warnings)


# -- the blind test
def begin(service: StudyService, study: str, trials: int) -> BlindTrial:
    """Start a test and wait for its first trial."""
    trial = service.next_trial(service.start_blind(study, trials))
    assert trial is not None
    return trial


def test_a_blind_test_from_start_to_sentence(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 3)
    now = service.get(study.id).now_image
    before = latents(service, study.id)
    trial: BlindTrial | None = begin(service, study.id, 8)
    sides, starts = [], []
    for index in range(8):
        assert trial is not None
        assert trial.index == index
        for image in (trial.left, trial.right):
            assert service.image_path(image).is_file()
        result = service.blind_result(trial.test)
        assert (result.finished, result.wins, result.answered) == (False, 0.0, index)
        pair = {trial.left, trial.right}
        sides.append(pair)
        result = service.answer_trial(trial.test, index, "tie" if index == 7 else "left")
        with pytest.raises(ConflictError, match="has been answered"):
            service.answer_trial(trial.test, index, "right")
        trial = service.next_trial(trial.test)
    assert trial is None
    (same,) = set.intersection(*sides)
    starts = [image for pair in sides for image in pair - {same}]
    assert len(set(starts)) == 8
    assert len(set(starts) & set(images(service, study.id)[0])) >= 4
    assert result.finished
    assert (result.low, result.high) == wilson_interval(result.wins, 8)
    assert result.sentence.startswith(f"You preferred it {result.wins:g} of 8 times (95 % interval ")
    assert latents(service, study.id) == before
    assert service.undo(study.id).index == 2
    assert now is not None


def test_wins_are_counted_for_now(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    trial: BlindTrial | None = begin(service, study.id, 6)
    assert trial is not None
    test, seen = trial.test, []
    while trial is not None:
        seen.append({trial.left, trial.right})
        both = seen[0] & seen[-1] if len(seen) > 1 else None
        now = next(iter(both)) if both else None
        choice = "tie" if now is None else ("left" if trial.left == now else "right")
        service.answer_trial(test, trial.index, choice)
        following = service.next_trial(test)
        trial = following  # type: ignore[assignment]
    result = service.blind_result(test)
    assert (result.wins, result.rate) == (5.5, 5.5 / 6)


def test_sides_are_drawn_at_random(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    test = service.start_blind(study.id, 40)
    assert {t.now_left for t in service._room.store.trials(test)} == {True, False}


def test_a_blind_test_survives_a_restart(open_service: Opener, host: FakeHost) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    test = begin(service, study.id, 7).test
    service.answer_trial(test, 0, "left")
    service.close()
    service = open_service()
    trial = service.next_trial(test)
    assert trial is not None
    assert trial.index == 1
    assert service.blind_result(test).answered == 1


def test_bad_blind_tests(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    with pytest.raises(ConflictError, match="rank at least one round"):
        service.start_blind(study.id)
    play(service, study.id, 1)
    for trials in (0, -1, 10**6, 2.5, True):
        with pytest.raises(InvalidInputError, match="trials"):
            service.start_blind(study.id, trials)  # type: ignore[arg-type]
    trial = begin(service, study.id, 2)
    for choice in ("", "both", "LEFT", None):
        with pytest.raises(InvalidInputError, match="left, right or tie"):
            service.answer_trial(trial.test, 0, choice)  # type: ignore[arg-type]
    for index in (-1, 2, 99):
        with pytest.raises(NotFoundError):
            service.answer_trial(trial.test, index, "left")
    assert service.blind_result(trial.test).answered == 0


def _answer_all(service: StudyService, study: str, trials: int) -> None:
    trial = begin(service, study, trials)
    for index in range(trials):
        service.answer_trial(trial.test, index, "left")
        service.next_trial(trial.test)


def test_an_interrupt_reaches_a_blind_test_that_waits_in_the_queue(service: StudyService, host: FakeHost) -> None:
    study, other = service.create(SETTINGS), service.create(replace(SETTINGS, seed=8))
    play(service, study.id, 1)
    before = len(host.calls)
    host.gate.clear()
    service.start_round(other.id)
    until(lambda: len(host.calls) > before)
    test = service.start_blind(study.id, 2)
    with pytest.raises(NotReadyError):
        service.next_trial(test, 0.0)
    service.interrupt(study.id)
    with pytest.raises(GenerationInterrupted, match="ask again"):
        service.next_trial(test, 5.0)
    host.gate.set()
    assert service.next_trial(test, 30.0) is not None


def test_images_of_a_blind_test_that_cannot_be_made(service: StudyService, host: FakeHost) -> None:
    study = service.create(replace(SETTINGS, candidates=2))
    play(service, study.id, 2, choose=lambda _: 0)
    host.fail = {0: GenerationError("not a number")}
    with pytest.raises(GenerationError, match="not a number"):
        _answer_all(service, study.id, 9)
    assert service.get(study.id).answered == 2
