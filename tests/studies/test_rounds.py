"""Rounds from start to answer: identity, order, incumbents, answers too early, too late and twice."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import Answer, to_json
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, FakeHost, images, latents, next_round, play, ranking


def test_a_round_from_start_to_answer(service: StudyService) -> None:
    study = service.create(SETTINGS, "Foxes")
    started = service.start_round(study.id)
    assert started.status in ("queued", "generating", "ready")
    assert started.index == 0
    view = service.wait(study.id, 30)
    assert view.status == "ready"
    assert view.incumbent is None
    assert [c.origin for c in view.candidates] == ["fresh"] * 5
    assert len({c.latent for c in view.candidates}) == len({c.image for c in view.candidates}) == 5
    done = service.answer(study.id, 0, ranking(view, 3))
    assert (done.status, done.best, done.answered_by) == ("answered", view.candidates[3].id, "me")
    assert done.tiers[0] == (view.candidates[3].id,)
    assert set(done.tiers[1]) == {c.id for c in view.candidates} - {done.best}
    after = service.get(study.id)
    assert (after.name, after.rounds, after.answered, after.images, after.busy) == ("Foxes", 1, 1, 5, False)
    assert after.start_image == after.now_image == view.candidates[3].image


def test_views_are_json(service: StudyService) -> None:
    import json

    study = service.create(SETTINGS)
    play(service, study.id, 1)
    assert json.loads(json.dumps(to_json(service.rounds(study.id))))[0]["status"] == "answered"
    assert json.loads(json.dumps(to_json(service.list())))[0]["id"] == study.id


def test_images_carry_their_parameters(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    with Image.open(service.image_path(view.candidates[0].image or "")) as opened:
        assert opened.info["parameters"].startswith(SETTINGS.prompt)


def test_images_name_study_round_optimiser_and_latent(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS, name="Foxes")
    play(service, study.id, 2)
    notes = host.calls[-1].notes
    assert {note["Rank-Optimize round"] for note in notes} == {"2"}
    assert {note["Rank-Optimize study"] for note in notes} == {f"Foxes [{study.id}]"}
    assert {note["Rank-Optimize optimizer"] for note in notes} == {study.settings.optimizer}
    assert {note["Rank-Optimize latent"] for note in notes} < {c.latent for c in service.round(study.id, 1).candidates}


def test_candidates_differ_in_nothing_but_the_latent(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 3)
    assert {seed for call in host.calls for seed in call.seeds} == {SETTINGS.seed}
    assert len({(c.prompt, c.steps, c.sampler, c.scheduler, c.cfg_scale, c.width, c.height) for c in host.calls}) == 1


def test_the_order_on_screen_is_shuffled_and_stable(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 4)
    orders = [tuple(view.order.index(c.id) for c in view.candidates) for view in service.rounds(study.id)]
    assert len(set(orders)) > 1
    assert [view.order for view in service.rounds(study.id)] == [service.round(study.id, i).order for i in range(4)]
    assert all(set(view.order) == {c.id for c in view.candidates} for view in service.rounds(study.id))


def test_the_incumbent_is_shown_again_without_making_it_again(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    first = next_round(service, study.id)
    service.answer(study.id, 0, ranking(first, 2))
    second = next_round(service, study.id)
    incumbent = next(c for c in second.candidates if c.id == second.incumbent)
    assert incumbent.latent == first.candidates[2].latent
    assert incumbent.image == first.candidates[2].image
    assert [len(call.seeds) for call in host.calls] == [5, 4]


def test_the_incumbent_is_made_again_under_another_model_file(open_service: Opener, host: FakeHost) -> None:
    service = open_service()
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    host.model_bytes = b"other weights"
    next_round(service, study.id)
    assert [len(call.seeds) for call in host.calls] == [5, 5]


def test_another_model_file_is_told_of(service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = service.create(SETTINGS), service.create(SETTINGS)
    play(service, study.id, 1)
    assert service.get(study.id).warnings == ()
    host.model_bytes = b"other weights"
    play(service, study.id, 1)
    asked: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(host, "identity", asked.append)
        seen = {view.id: view.warnings for view in service.list()}
    assert (seen.pop(other.id), asked) == ((), [])
    ((said,),) = seen.values()
    assert "'fake-model' is another file than when the study began" in said
    host.model_bytes = b"weights"
    next_round(service, study.id)
    assert service.get(study.id).warnings == ()


def test_replay_gives_the_same_study(open_service: Opener) -> None:
    service = open_service()
    live, again = service.create(SETTINGS), service.create(SETTINGS)
    play(service, live.id, 4)
    for index in range(4):
        service.close()
        service = open_service()
        view = next_round(service, again.id)
        service.answer(again.id, index, ranking(view, index % 5))
    assert latents(service, live.id) == latents(service, again.id)
    assert images(service, live.id) == images(service, again.id)


@pytest.mark.parametrize("optimizer", ["rank_step", "zo_ranksgd", "random_search"])
def test_every_kind_of_answer_is_replayed(open_service: Opener, optimizer: str) -> None:
    def answers(view: Any) -> list[Answer]:
        ids = [c.id for c in view.candidates]
        return [
            [Answer("ranking", ((ids[1], ids[3]), (ids[0],)))],
            [Answer("pair", ((ids[2],), (ids[1],))), Answer("pair", ((ids[4],), (ids[0],)), rater="b")],
            [Answer("skip")],
            [Answer("none_better")],
            [Answer("ranking", ((ids[4],),)), Answer("ranking", ((ids[3],),), rater="b"), Answer("skip", rater="c")],
            [Answer("like", ((ids[1],),)), Answer("dislike", ((ids[2],),))],
        ][view.index % 6]

    settings = replace(SETTINGS, optimizer=optimizer)
    runs = []
    for restart in (False, True):
        service = open_service()
        study = service.create(settings)
        for index in range(7):
            view = next_round(service, study.id)
            for answer in answers(view):
                service.answer(study.id, index, answer)
            if restart:
                service.close()
                service = open_service()
        runs.append(latents(service, study.id))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 7


def test_start_is_refused_while_the_round_is_open(service: StudyService, host: FakeHost) -> None:
    study = service.create(SETTINGS)
    host.gate.clear()
    service.start_round(study.id)
    with pytest.raises(ConflictError, match=r"Round 1 is still being generated.*wait"):
        service.start_round(study.id)
    with pytest.raises(ConflictError, match="still being generated"):
        service.answer(study.id, 0, Answer("skip"))
    host.gate.set()
    view = service.wait(study.id, 30)
    with pytest.raises(ConflictError, match=r"Round 1 has not been answered.*rank it or skip"):
        service.start_round(study.id)
    service.answer(study.id, 0, ranking(view))
    assert service.start_round(study.id).index == 1


def test_a_round_takes_one_answer_of_a_rater(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, ranking(view, 1))
    for again in (ranking(view, 2), Answer("skip"), Answer("none_better"), _pair(view, 0, 1)):
        with pytest.raises(ConflictError, match=r"'me' has ranked round 1 already; undo"):
            service.answer(study.id, 0, again)
    both = service.answer(study.id, 0, ranking(view, 2, rater="you"))
    assert both.answered_by == "you"
    assert set(both.tiers[0]) == {view.candidates[1].id, view.candidates[2].id}


def _pair(view: Any, better: int, worse: int, **options: Any) -> Answer:
    return Answer("pair", ((view.candidates[better].id,), (view.candidates[worse].id,)), **options)


def test_comparisons_add_up(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    assert service.answer(study.id, 0, _pair(view, 3, 1)).status == "answered"
    service.answer(study.id, 0, _pair(view, 3, 0))
    for again in (_pair(view, 3, 1), _pair(view, 1, 3)):
        with pytest.raises(ConflictError, match="compared these two images already"):
            service.answer(study.id, 0, again)
    with pytest.raises(ConflictError, match="compared images of round 1"):
        service.answer(study.id, 0, Answer("skip"))
    done = service.answer(study.id, 0, ranking(view, 3))
    assert done.best == view.candidates[3].id


def test_a_closed_round_takes_no_more_answers_but_labels(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, ranking(view))
    next_round(service, study.id)
    before = latents(service, study.id)
    with pytest.raises(ConflictError, match=r"Round 1 is closed.*round 2.*branch"):
        service.answer(study.id, 0, ranking(view, rater="late"))
    liked = service.answer(study.id, 0, Answer("like", ((view.candidates[4].id,),)))
    assert liked.candidates[4].liked is True
    assert latents(service, study.id) == before


def test_the_same_token_counts_once(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    answer = ranking(view, 2, token="t1")
    first = service.answer(study.id, 0, answer)
    assert service.answer(study.id, 0, answer) == first
    with pytest.raises(ConflictError, match="used for another answer"):
        service.answer(study.id, 0, ranking(view, 3, token="t1"))
    next_round(service, study.id)
    assert service.answer(study.id, 0, answer).best == first.best
    service.undo(study.id)
    assert service.round(study.id, 0).status == "ready"


def test_two_threads_answering_at_once(service: StudyService) -> None:
    study = service.create(SETTINGS)
    for index in range(5):
        view = next_round(service, study.id)
        outcomes: list[str] = []

        def answer(best: int, view: Any = view, outcomes: list[str] = outcomes) -> None:
            try:
                service.answer(study.id, view.index, ranking(view, best))
                outcomes.append("taken")
            except ConflictError:
                outcomes.append("refused")

        threads = [threading.Thread(target=answer, args=(best,)) for best in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["refused"] * 3 + ["taken"]
        assert service.round(study.id, index).status == "answered"


def test_likes_do_not_answer_but_count_when_the_next_round_starts(service: StudyService) -> None:
    study, same = service.create(SETTINGS), service.create(SETTINGS)
    view, other = next_round(service, study.id), next_round(service, same.id)
    service.answer(study.id, 0, Answer("like", ((view.candidates[1].id,),)))
    service.answer(study.id, 0, Answer("dislike", ((view.candidates[2].id,),)))
    service.answer(study.id, 0, Answer("like", ((view.candidates[3].id,),)))
    shown = service.answer(study.id, 0, Answer("unlike", ((view.candidates[3].id,),)))
    assert [c.liked for c in shown.candidates] == [None, True, False, None, None]
    assert shown.status == "ready"
    next_round(service, study.id)
    first = service.round(study.id, 0)
    ids = [c.id for c in view.candidates]
    assert (first.status, first.answered_by) == ("answered", "me")
    assert first.tiers == ((ids[1],), (ids[0], ids[3], ids[4]), (ids[2],))
    named = [c.id for c in other.candidates]
    service.answer(same.id, 0, Answer("ranking", ((named[1],), (named[0], named[3], named[4]), (named[2],))))
    next_round(service, same.id)
    assert latents(service, study.id) == latents(service, same.id)


def test_likes_of_a_skipped_round_stay_labels_only(service: StudyService) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    service.answer(study.id, 0, Answer("like", ((view.candidates[1].id,),)))
    done = service.answer(study.id, 0, Answer("skip"))
    assert (done.status, done.best, done.tiers) == ("answered", None, ())
    assert service.get(study.id).now_image is None
    assert next_round(service, study.id).incumbent is None


def test_none_better_keeps_the_incumbent_first(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    view = next_round(service, study.id)
    done = service.answer(study.id, 1, Answer("none_better"))
    assert done.best == view.incumbent
    assert done.tiers[0] == (view.incumbent,)


BAD = {
    "unknown id": lambda ids: Answer("ranking", (("nobody",),)),
    "id of another kind": lambda ids: Answer("ranking", ((3,),)),  # type: ignore[arg-type]
    "repeated in a tier": lambda ids: Answer("ranking", ((ids[0], ids[0]),)),
    "repeated over tiers": lambda ids: Answer("ranking", ((ids[0],), (ids[1], ids[0]))),
    "empty": lambda ids: Answer("ranking"),
    "empty tiers": lambda ids: Answer("ranking", ((), ())),
    "shown twice": lambda ids: Answer("ranking", ((ids[0],),), (ids[0], ids[0])),
    "not among the shown": lambda ids: Answer("ranking", ((ids[0],),), (ids[1], ids[2])),
    "text for a tier": lambda ids: Answer("ranking", (ids[0],)),  # type: ignore[arg-type]
    "number for a tier": lambda ids: Answer("ranking", (5,)),  # type: ignore[arg-type]
    "pair of one": lambda ids: Answer("pair", ((ids[0],),)),
    "pair of three": lambda ids: Answer("pair", ((ids[0],), (ids[1],), (ids[2],))),
    "pair with itself": lambda ids: Answer("pair", ((ids[0],), (ids[0],))),
    "like of two": lambda ids: Answer("like", ((ids[0], ids[1]),)),
    "skip with a name": lambda ids: Answer("skip", ((ids[0],),)),
    "unknown kind": lambda ids: Answer("applaud", ((ids[0],),)),  # type: ignore[arg-type]
    "no rater": lambda ids: Answer("skip", rater=" "),
    "long rater": lambda ids: Answer("skip", rater="x" * 500),
    "rater with a line break": lambda ids: Answer("skip", rater="a\nb"),
    "rater of another kind": lambda ids: Answer("skip", rater=5),  # type: ignore[arg-type]
    "empty token": lambda ids: Answer("skip", token=""),
    "negative latency": lambda ids: Answer("skip", latency_ms=-1),
    "latency of another kind": lambda ids: Answer("skip", latency_ms=float("nan")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_bad_answers_change_nothing(service: StudyService, name: str) -> None:
    study = service.create(SETTINGS)
    view = next_round(service, study.id)
    with pytest.raises(InvalidInputError) as seen:
        service.answer(study.id, 0, BAD[name]([c.id for c in view.candidates]))
    assert len(str(seen.value)) > 20
    assert service.round(study.id, 0) == view


def test_candidates_of_another_round_are_unknown(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    next_round(service, study.id)
    foreign = service.round(study.id, 0)
    with pytest.raises(InvalidInputError, match="is not in this round"):
        service.answer(study.id, 1, ranking(foreign))


@pytest.mark.parametrize("bad", ["", "nothing", "../..", "x" * 1000])
def test_unknown_studies_and_rounds(service: StudyService, bad: str) -> None:
    calls: list[Any] = [service.get, service.start_round, service.rounds, service.delete, service.undo, service.interrupt]
    calls += [service.progress, service.wait, service.stop_auto, service.next_trial, service.blind_result, service.start_blind]
    calls += [lambda s: service.round(s, 0), lambda s: service.branch(s, 0), lambda s: service.rename(s, "n")]
    calls += [lambda s: service.answer(s, 0, Answer("skip")), lambda s: service.start_auto(s, "brightness", 1)]
    for call in calls:
        with pytest.raises(NotFoundError):
            call(bad)
    study = service.create(SETTINGS)
    for index in (0, -1, 10**6, 2**31, 10**21):
        for look in (service.round, lambda s, i: service.answer(s, i, Answer("skip")), lambda s, i: service.score(s, i, "brightness")):
            with pytest.raises(NotFoundError):
                look(study.id, index)
    with pytest.raises(NotFoundError):
        service.wait(study.id, 1)
    with pytest.raises(NotFoundError):
        service.image_path("a" * 64)
    with pytest.raises(InvalidInputError):
        service.image_path("../../etc/passwd")
