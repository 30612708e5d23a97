"""Numbers behind rankings: from a scorer to the optimiser, kept, replayed, and refused where they do not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.optimizers import Scores
from lib_rankopt.store.records import EventRecord
from lib_rankopt.studies.feedback import feedback_of
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer, RoundView
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, Brightness, latents, next_round, play, ranking
from tests.studies.test_judge_and_blind import idle


def rank_all(view: RoundView, **options: Any) -> Answer:
    """All candidates in the order of their places, with falling numbers."""
    values = tuple(5.0 - i for i in range(len(view.candidates)))
    return Answer("ranking", tuple((c.id,) for c in view.candidates), view.order, **{"scores": values, "scale": "mine", **options})


def payloads(service: StudyService, study: str) -> list[dict[str, Any]]:
    """What the ranking events hold."""
    return [event.payload for event in service._room.store.events(study) if event.kind == "ranking"]


def test_a_scorers_numbers_are_kept_with_its_ranking(service: StudyService) -> None:
    study = service.create(SETTINGS)
    service.start_auto(study.id, "brightness", 3)
    idle(service, study.id)
    for view, payload in zip(service.rounds(study.id), payloads(service, study.id), strict=True):
        numbers = {place: value for tier, value in zip(payload["tiers"], payload["scores"], strict=True) for place in tier}
        assert numbers == {i: c.scores["brightness"] for i, c in enumerate(view.candidates)}
        assert payload["scale"].startswith("brightness 1 ")
        assert [c.origin for c in view.candidates] == (["fresh"] if view.index == 0 else ["explore"]) * 5


def test_numbers_that_hold_within_a_call_only_are_not_told(open_service: Opener) -> None:
    judge = Brightness()
    judge.info = replace(judge.info, is_relative=True)
    service = open_service(scorers={"relative": lambda: judge})
    study = service.create(SETTINGS)
    service.start_auto(study.id, "relative", 2)
    idle(service, study.id)
    assert [set(payload) for payload in payloads(service, study.id)] == [{"tiers"}] * 2


def test_a_branch_with_another_prompt_begins_another_scale(service: StudyService) -> None:
    study = service.create(SETTINGS)
    service.start_auto(study.id, "brightness", 2)
    idle(service, study.id)
    branches = [service.branch(study.id, 1), service.branch(study.id, 1, changes={"prompt": "a cat"})]
    for branch in branches:
        service.start_auto(branch.id, "brightness", 1)
        idle(service, branch.id)
    assert [len({p["scale"] for p in payloads(service, branch.id)}) for branch in branches] == [1, 2]


def test_a_process_that_ends_between_scored_rounds_changes_nothing(open_service: Opener) -> None:
    whole, broken = open_service(), open_service()
    one, other = whole.create(SETTINGS), broken.create(SETTINGS)
    for service, study, ends in ((whole, one, False), (broken, other, True)):
        for _ in range(4):
            current = open_service() if ends else service
            current.start_auto(study.id, "brightness", 1)
            idle(current, study.id)
    assert latents(whole, one.id) == latents(open_service(), other.id)


def test_another_ranker_may_give_numbers_and_they_steer(service: StudyService) -> None:
    """Two studies with the same rankings, of which one knows how the rounds compare."""
    with_numbers, without = service.create(SETTINGS), service.create(SETTINGS)
    for r in range(3):
        for study in (with_numbers, without):
            view = next_round(service, study.id)
            values = tuple(10.0 * r - i for i in range(5))
            service.answer(study.id, r, rank_all(view, scores=values) if study is with_numbers else rank_all(view, scores=(), scale=""))
    assert latents(service, with_numbers.id)[0] == latents(service, without.id)[0]
    assert latents(service, with_numbers.id)[2] != latents(service, without.id)[2]


def test_a_person_takes_over_after_a_scorer(service: StudyService) -> None:
    study = service.create(SETTINGS)
    service.start_auto(study.id, "brightness", 2)
    idle(service, study.id)
    play(service, study.id, 2)
    assert [view.answered_by for view in service.rounds(study.id)] == ["auto:brightness"] * 2 + ["me"] * 2


BAD: dict[str, dict[str, Any]] = {
    "too few": {"scores": (2.0, 1.0)},
    "rising": {"scores": (1.0, 2.0, 3.0, 4.0, 5.0)},
    "equal": {"scores": (2.0, 2.0, 1.0, 0.5, 0.0)},
    "not finite": {"scores": (math.inf, 2.0, 1.0, 0.5, 0.0)},
    "no number": {"scores": ("2", 1.0, 0.5, 0.2, 0.0)},
    "no scale": {"scale": " "},
    "a scale without numbers": {"scores": ()},
    "an endless scale": {"scale": "x" * 1001},
    "a part of the round": {"scores": (1.0,), "tiers": None},
    "a skip": {"kind": "skip", "tiers": ()},
}


@pytest.mark.parametrize("name", BAD)
def test_numbers_that_do_not_fit_are_refused(service: StudyService, name: str) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    wrong = dict(BAD[name])
    if "tiers" in wrong and wrong["tiers"] is None:
        wrong["tiers"] = ((view.candidates[0].id,),)
    with pytest.raises(InvalidInputError, match=r"scale|score|Score"):
        service.answer(study.id, 0, replace(rank_all(view), **wrong))
    assert service.round(study.id, 0).status == "ready"
    assert service.answer(study.id, 0, rank_all(view)).status == "answered"


def event(payload: dict[str, Any], shown: tuple[int, ...] = (0, 1, 2), rater: str = "auto:x") -> EventRecord:
    """A ranking as it may come out of a file."""
    return EventRecord(study="study", kind="ranking", round="round", payload=payload, shown=shown, rater=rater)


GOOD = {"tiers": [[1], [0, 2]], "scores": [2.0, 1.0], "scale": "x 1"}


def test_the_optimiser_is_told_numbers_that_fit() -> None:
    said = feedback_of(3, [event(GOOD)])
    assert said is not None
    assert said.scores == (Scores("x 1", (2.0, 1.0)),)
    both = feedback_of(3, [event({"tiers": [[2]]}, rater="me"), event(GOOD)])
    assert both is not None
    assert both.scores == (None, Scores("x 1", (2.0, 1.0)))


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [1.0]}, {"scores": "21"}, {"scores": [1.0, 2.0]}, {"scores": [True, False]}, {"scores": None},
        {"scale": 7}, {"tiers": [[1], [0]]},
    ],
    ids=str,
)
def test_a_made_up_file_counts_as_its_ranking(change: dict[str, Any]) -> None:
    said = feedback_of(3, [event({**GOOD, **change})])
    assert said is not None
    assert len(said.rankings) == 1
    assert said.scores == ()


def test_somebody_who_saw_more_of_the_round_leaves_the_ranking() -> None:
    said = feedback_of(4, [event(GOOD), event({"tiers": [[3]]}, shown=(0, 1, 2, 3), rater="me")])
    assert said is not None
    assert (len(said.rankings), said.scores) == (2, ())


def test_undo_takes_the_numbers_back(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, rank_all(view))
    service.undo(study.id, "me")
    service.answer(study.id, 0, ranking(view, 2))
    assert [set(p) for p in payloads(service, study.id)] == [{"tiers", "scores", "scale"}, {"tiers"}]
    assert next_round(service, study.id).index == 1
