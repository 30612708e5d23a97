"""Undo, branches, renaming, deleting with files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, FakeHost, images, latents, next_round, play, ranking


def blobs_in(folder: Path) -> set[str]:
    return {p.stem for kind in ("images", "latents") for p in (folder / kind).rglob("*") if p.is_file()}


def test_undo_and_the_same_answer_leads_to_the_same_round(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    next_round(service, study.id)
    before, pictures, calls = latents(service, study.id), images(service, study.id), len(host.calls)
    undone = service.undo(study.id)
    assert (undone.index, undone.status, undone.best) == (1, "ready", None)
    assert service.get(study.id).rounds == 2
    service.answer(study.id, 1, ranking(undone, 1))
    next_round(service, study.id)
    assert latents(service, study.id) == before
    assert images(service, study.id) == pictures
    assert len(host.calls) == calls


def test_another_answer_after_undo_leads_elsewhere(open_service: Opener) -> None:
    service = open_service()
    study, other = service.create(SETTINGS), service.create(SETTINGS)
    play(service, study.id, 2)
    next_round(service, study.id)
    undone = service.undo(study.id)
    service.answer(study.id, 1, ranking(undone, 3))
    next_round(service, study.id)
    play(service, other.id, 1)
    view = next_round(service, other.id)
    service.answer(other.id, 1, ranking(view, 3))
    service.close()
    service = open_service()
    next_round(service, other.id)
    assert latents(service, study.id) == latents(service, other.id)


def test_undo_back_to_the_beginning(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 3)
    first = latents(service, study.id)[0]
    assert [service.undo(study.id).index for _ in range(3)] == [2, 1, 0]
    assert latents(service, study.id) == [first]
    assert service.get(study.id).answered == 0
    with pytest.raises(ConflictError, match=r"'me' has no answer.*take back"):
        service.undo(study.id)


def test_undo_takes_back_likes_one_by_one(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    name = view.candidates[0].id
    for kind in ("like", "unlike", "dislike"):
        service.answer(study.id, 0, Answer(kind, ((name,),)))  # type: ignore[arg-type]
    seen = [service.undo(study.id).candidates[0].liked for _ in range(3)]
    assert seen == [None, True, None]


def test_undo_takes_only_what_this_rater_said(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, ranking(view, 1, rater="a"))
    service.answer(study.id, 0, ranking(view, 2, rater="b"))
    with pytest.raises(ConflictError):
        service.undo(study.id, "c")
    left = service.undo(study.id, "a")
    assert (left.status, left.best, left.answered_by) == ("answered", view.candidates[2].id, "b")


def test_undo_discards_a_round_of_two_raters_answers(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, ranking(view, 1, rater="a"))
    service.answer(study.id, 0, ranking(view, 2, rater="b"))
    after_both = next_round(service, study.id)
    service.undo(study.id, "a")
    assert service.get(study.id).rounds == 1
    after_one = next_round(service, study.id)
    assert {c.latent for c in after_one.candidates} != {c.latent for c in after_both.candidates}


def test_undo_is_refused_when_another_rater_went_on(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, ranking(view, rater="a"))
    service.answer(study.id, 1, ranking(next_round(service, study.id), rater="b"))
    with pytest.raises(ConflictError, match=r"Round 2.*answered by 'b'.*branch from round 1"):
        service.undo(study.id, "a")
    assert service.get(study.id).answered == 2


def test_undo_while_generating_stops_it(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    host.gate.clear()
    service.start_round(study.id)
    service.undo(study.id)
    host.gate.set()
    view = service.wait(study.id, 10)
    assert (view.index, view.status) == (0, "ready")
    service.answer(study.id, 0, ranking(view, 4))
    assert next_round(service, study.id).status == "ready"


# -- branches
def test_a_branch_shares_the_past_and_goes_its_own_way(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS, "Foxes")
    play(service, study.id, 4)
    first, second = service.branch(study.id, 1), service.branch(study.id, 1, "Red foxes")
    assert (first.name, second.name) == ("Foxes (branch)", "Red foxes")
    assert (first.parent, first.parent_round, first.rounds, first.answered) == (study.id, 1, 2, 2)
    past = latents(service, study.id)
    assert latents(service, first.id) == past[:2]
    assert images(service, first.id) == images(service, study.id)[:2]
    ours, theirs = next_round(service, first.id), next_round(service, second.id)
    new = [{c.latent for c in view.candidates if c.origin != "incumbent"} for view in (ours, theirs)]
    assert not new[0] & new[1]
    assert not (new[0] | new[1]) & set(past[2])
    assert {c.latent for c in ours.candidates if c.origin == "incumbent"} <= set(past[2]) | set(past[1])
    assert latents(service, study.id) == past


def test_a_branch_is_replayed_exactly(open_service: Opener) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    branch = service.branch(study.id, 1)
    deeper = service.branch(branch.id, 1)
    for name in (branch.id, deeper.id):
        play(service, name, 2)
        live = latents(service, name)
        assert [service.undo(name).index for _ in range(2)] == [3, 2]
        for index in (2, 3):
            service.close()
            service = open_service()
            service.answer(name, index, ranking(service.wait(name, 30), index % 5))
            next_round(service, name)
        assert latents(service, name)[:4] == live
    assert latents(service, branch.id)[:2] == latents(service, deeper.id)[:2]
    assert latents(service, branch.id)[2] != latents(service, deeper.id)[2]


@pytest.mark.parametrize("optimizer", ["rank_step", "random_search"])
def test_branches_of_one_round_never_draw_alike(service: StudyService, optimizer: str) -> None:
    study = service.create(replace(SETTINGS, optimizer=optimizer))
    play(service, study.id, 2)
    first, second = (service.branch(study.id, 1).id for _ in range(2))
    family = [second, service.branch(first, 1).id, service.branch(second, 1, changes={"candidates": 3}).id]
    service.delete(first)
    family.append(service.branch(study.id, 1).id)
    service.delete(study.id)
    family.append(service.branch(second, 1).id)
    drawn = [{c.latent for c in next_round(service, name).candidates if c.origin != "incumbent"} for name in family]
    assert len(set.union(*drawn)) == sum(map(len, drawn))


def test_a_branch_with_another_prompt_goes_on_from_the_preferred_latent(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1, choose=lambda _: 3)
    preferred = service.round(study.id, 0).candidates[3]
    branch = service.branch(study.id, 0, changes={"prompt": "a flat cat on a red background", "candidates": 4})
    assert branch.settings.prompt.startswith("a flat cat")
    view = next_round(service, branch.id)
    incumbent = next(c for c in view.candidates if c.id == view.incumbent)
    assert len(view.candidates) == 4
    assert incumbent.latent == preferred.latent
    assert incumbent.image != preferred.image
    assert len(host.calls[-1].seeds) == 4
    assert images(service, branch.id)[0] == images(service, study.id)[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 128}, "shape"),
        ({"optimizer": "random_search"}, "keeps its parent's optimizer"),
        ({"optimizer_settings": {"step": 0.1}}, "keeps its parent's optimizer_settings"),
        ({"prompt": " "}, "prompt is empty"),
        ({"colour": "red"}, "no setting 'colour'"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_changes_that_a_branch_refuses(service: StudyService, changes: dict[str, object], said: str) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    with pytest.raises(InvalidInputError, match=said):
        service.branch(study.id, 0, changes=changes)
    assert len(service.list()) == 1


def test_a_branch_needs_an_answer_to_go_on_from(service: StudyService) -> None:
    study = service.create(SETTINGS)
    next_round(service, study.id)
    with pytest.raises(ConflictError, match="Round 1 has no answer"):
        service.branch(study.id, 0)
    for index in (7, -1, 10**21):
        with pytest.raises(NotFoundError):
            service.branch(study.id, index)


def test_undo_in_a_branch_leaves_the_parent_alone(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 2)
    branch = service.branch(study.id, 1)
    undone = service.undo(branch.id)
    assert undone.status == "ready"
    service.answer(branch.id, 1, ranking(undone, 4))
    assert next_round(service, branch.id).status == "ready"
    assert service.get(study.id).answered == 2


# -- renaming and deleting
def test_rename(service: StudyService) -> None:
    study = service.create(replace(SETTINGS, prompt="word " * 40))
    assert study.name.endswith("…")
    assert len(study.name) <= 60
    assert service.rename(study.id, " Füchse\n 🦊 ").name == "Füchse 🦊" == service.get(study.id).name
    for bad in ("", " \n", "x" * 500):
        with pytest.raises(InvalidInputError):
            service.rename(study.id, bad)


def test_deleting_takes_the_files_that_nobody_else_needs(service: StudyService, tmp_path: Path) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 3)
    branch = service.branch(study.id, 1)
    kept = {h for row in latents(service, branch.id) + images(service, branch.id) for h in row}
    service.delete(study.id)
    with pytest.raises(NotFoundError):
        service.get(study.id)
    assert blobs_in(tmp_path / "data") == kept
    play(service, branch.id, 1)
    service.delete(branch.id)
    assert blobs_in(tmp_path / "data") == set()
    assert service.list() == []


def test_deleting_while_generating(service: StudyService, host: FakeHost, tmp_path: Path) -> None:
    other = service.create(SETTINGS)
    study = service.create(replace(SETTINGS, seed=12))
    host.seconds = 0.02
    service.start_round(study.id)
    service.delete(study.id)
    view = next_round(service, other.id)
    assert view.status == "ready"
    kept = {c.latent for c in view.candidates} | {c.image for c in view.candidates}
    assert blobs_in(tmp_path / "data") == kept
