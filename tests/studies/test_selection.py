"""Studies whose images are chosen among candidates while they are made."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.selection.settings import Selection
from lib_rankopt.studies import settings
from lib_rankopt.studies.service import StudyService
from tests.studies.fakes import SETTINGS, FakeHost, next_round, ranking

HALVING = replace(SETTINGS, candidates=3, selection={"policy": "halving", "pool": 4, "scorer": "brightness"})
HUMAN = replace(SETTINGS, candidates=2, selection={"policy": "human", "pool": 3, "scorer": "", "wait_seconds": 20})


def pick(host: FakeHost, rows: tuple[int, ...] = (1,)) -> None:
    """Answer the next question."""
    until = time.monotonic() + 20
    while not (open_ := host.picks.wait(None, 0)[1]) and time.monotonic() < until:
        time.sleep(0.01)
    host.picks.answer(open_[0].id, tuple(row for row in rows if row in open_[0].rows))


def test_the_recipe_of_a_study_without_selection_stays_as_it_was() -> None:
    """Kept images are found by it."""
    assert settings.recipe(SETTINGS, "a") == "005f79e3bc3b9172be0cedc9b9ea572c3d30cac989f411146b3e4e0fa771cff3"


def test_another_selection_makes_other_images() -> None:
    def recipe(**values: Any) -> str:
        return settings.recipe(replace(SETTINGS, selection=values), "a")

    assert recipe() == settings.recipe(SETTINGS, "a")
    others = [{"policy": "halving"}, {"policy": "greedy"}, {"pool": 8}, {"scorer": "x"}, {"at": [0.5]}, {"policy": "best-of-n"}]
    assert len({recipe(), *(recipe(**one) for one in others)}) == 1 + len(others)
    assert recipe(policy="halving") == recipe(pool=4) == recipe(**Selection().to_dict())
    assert recipe(policy="human", wait_seconds=5) == recipe(policy="human", wait_seconds=60, at_once=2)


@pytest.mark.parametrize(
    ("selection", "said"),
    [({"policy": "magic"}, "policy is 'magic'"), ({"pool": 1}, "pool is 1"), ({"colour": 1}, "knows no colour"), ({"at": [2]}, "at is"),
     ({"scorer": ""}, "needs a scorer"), ({"path": "1 2@3"}, "takes no path"), ([], "selection is []"), ({"at": "25 %"}, "selection at")],
)  # fmt: skip
def test_wrong_values_are_named(service: StudyService, selection: Any, said: str) -> None:
    with pytest.raises(InvalidInputError) as seen:
        service.create(replace(SETTINGS, selection=selection))
    assert said in str(seen.value)


def test_images_are_made_by_the_selection_and_tell_how(service: StudyService, host: FakeHost) -> None:
    study = service.create(HALVING)
    assert study.settings.selection == Selection("halving", 4, "brightness").to_dict()
    view = next_round(service, study.id)
    assert host.calls[-1].selection == Selection("halving", 4, "brightness")
    assert [one.selected for one in view.candidates] == [True] * 3
    record = service.selection(view.candidates[0].image or "")
    assert (record.policy, record.scorer, len(record.seeds), record.taken) == ("halving", "brightness", 4, 3)
    assert record.thumbnails[0][0]
    assert [one.selected for one in service.answer(study.id, 0, ranking(view)).candidates] == [True] * 3


def test_other_studies_have_none(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    assert study.settings.selection == {}
    view = next_round(service, study.id)
    assert host.calls[-1].selection is None
    assert not any(one.selected for one in view.candidates)
    with pytest.raises(NotFoundError, match="not chosen"):
        service.selection(view.candidates[0].image or "")


def test_a_branch_may_choose_otherwise(service: StudyService, host: FakeHost) -> None:
    parent = service.create(HALVING)
    service.answer(parent.id, 0, ranking(next_round(service, parent.id)))
    child = service.branch(parent.id, 0, changes={"selection": {}})
    assert [one.selected for one in service.round(child.id, 0).candidates] == [True] * 3
    next_round(service, child.id)
    assert host.calls[-1].selection is None


def test_the_host_is_asked_about_candidates_that_start_from_one_latent(service: StudyService, host: FakeHost, monkeypatch: Any) -> None:
    """A deterministic sampler makes equal candidates of one latent, which only the host can tell."""
    seen = []
    monkeypatch.setattr(host, "validate", seen.append)
    service.create(HALVING)
    assert seen[0].selection.policy == "halving"
    assert tuple(seen[0].latents.shape) == (1, 4, 8, 8)
    service.create(SETTINGS)
    assert seen[1].latents is None


def test_a_person_is_asked_while_a_round_is_made(service: StudyService, host: FakeHost) -> None:
    study = service.create(HUMAN)
    service.start_round(study.id)
    for _ in range(2):
        pick(host, (0, 1))
        pick(host, (0, 1))
        pick(host, (1,))
    view = service.wait(study.id, 30)
    assert view.status == "ready"
    assert service.selection(view.candidates[0].image or "").taken == 1


def test_an_interrupt_ends_the_waiting_for_a_person(service: StudyService, host: FakeHost) -> None:
    study = service.create(HUMAN)
    service.start_round(study.id)
    assert host.picks.wait(0, 20)[1]
    service.interrupt(study.id)
    assert service.wait(study.id, 20).status == "interrupted"
    assert host.picks.wait(None, 0)[1] == []


@pytest.mark.parametrize("scorer", ["brightness", ""])
def test_nobody_is_asked_for_a_blind_test(service: StudyService, host: FakeHost, scorer: str) -> None:
    study = service.create(replace(HUMAN, selection={**HUMAN.selection, "scorer": scorer}))
    service.start_round(study.id)
    for _ in range(2):
        pick(host, (1,))
    view = service.wait(study.id, 30)
    service.answer(study.id, 0, ranking(view))
    test = service.start_blind(study.id, 2)
    trial = service.next_trial(test, 30)
    assert trial is not None
    asked = host.calls[-1].selection
    assert asked == (Selection("best-of-n", 3, scorer, wait_seconds=20) if scorer else None)
    assert len(host.calls[-1].seeds) == 3  # the incumbent too: both sides are made alike


def test_plain_values_come_back() -> None:
    assert settings.from_dict(asdict(HALVING)) == HALVING
