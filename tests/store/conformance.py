"""What every store must do (:mod:`lib_rankopt.store.base`). Inherit and give a ``store`` fixture."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from lib_rankopt.errors import ConflictError, NotFoundError
from lib_rankopt.store import DuplicateToken, StaleRevision, Store, derive
from lib_rankopt.store.records import (
    UNFINISHED,
    BlindRecord,
    CandidateRecord,
    EventDraft,
    EventRecord,
    History,
    RoundRecord,
    ScoreRecord,
    StudyRecord,
    TrialRecord,
    new_id,
)


def a_hash(n: int) -> str:
    return f"{n:064x}"


def a_study(**changes: object) -> StudyRecord:
    values = {"prompt": "ein Fuchs 🦊", "seed": 2**32 - 1, "host_settings": {"vae": None}}
    study = StudyRecord(new_id(), "Füchse", values, 2**62, (4, 8, 8), {"name": "m", "sha256": "ab"}, environment={"torch": "2"})
    return replace(study, **changes)  # type: ignore[arg-type]


def add_round(store: Store, study: StudyRecord, index: int = 0, size: int = 3, latent: int = 0) -> RoundRecord:
    record = RoundRecord(new_id(), study.id, index, size, "r" * 64, owner="me", touched=12.5)
    candidates = [CandidateRecord(record.id, i, "fresh", a_hash(latent + i), 7) for i in range(size)]
    store.add_round(record, candidates, store.study(study.id).revision)
    return record


def draft(record: RoundRecord, kind: str = "ranking", **changes: object) -> EventDraft:
    event = EventDraft(record.study, "ranking", record.id, {"tiers": [[1], [0, 2]]}, (2, 0, 1))
    return replace(event, kind=kind, **changes)  # type: ignore[arg-type]


class StoreConformance:
    # -- studies
    def test_study_comes_back_as_it_went_in(self, store: Store) -> None:
        study = a_study(parent="abc", parent_round=2, draws=((2, 1, 8), (4, 3, 6)))
        store.create_study(study)
        assert store.study(study.id) == study
        assert store.studies() == [study]

    def test_studies_are_listed_newest_first(self, store: Store) -> None:
        made = [store.create_study(a_study()) for _ in range(3)]
        assert [s.id for s in store.studies()] == [s.id for s in reversed(made)]

    def test_records_are_frozen(self, store: Store) -> None:
        study = store.create_study(a_study())
        with pytest.raises(FrozenInstanceError):
            store.study(study.id).name = "other"  # type: ignore[misc]

    def test_rename_changes_only_the_name(self, store: Store) -> None:
        study = store.create_study(a_study())
        renamed = store.rename_study(study.id, "Wölfe")
        assert renamed == replace(study, name="Wölfe") == store.study(study.id)

    @pytest.mark.parametrize("bad", ["", "nothing", "x" * 500, "'; DROP TABLE studies; --", "ü\u2028", "../.."])
    def test_unknown_ids(self, store: Store, bad: str) -> None:
        store.create_study(a_study())
        for call in (store.study, store.delete_study, store.blind, lambda i: store.round(i, 0), lambda i: store.rename_study(i, "n")):
            with pytest.raises(NotFoundError):
                call(bad)
        assert store.rounds(bad) == []
        assert store.last_round(bad) is None
        assert store.events(bad) == []
        assert len(store.studies()) == 1

    # -- counts
    def test_tallies_count_what_stands_by_study(self, store: Store) -> None:
        study, other, empty = (store.create_study(a_study()) for _ in range(3))
        record, later = add_round(store, study), add_round(store, study, 1, latent=10)
        store.set_image(record.id, 0, a_hash(1))
        store.set_image(record.id, 1, a_hash(1))
        store.set_image(later.id, 0, a_hash(2))

        def say(where: RoundRecord, kind: str, **changes: object) -> int:
            return store.append(draft(where, kind, **changes), store.study(where.study).revision).number

        say(record, "ranking")
        say(record, "like", rater="ann")
        wrong = say(record, "dislike", rater="ann")
        say(record, "retraction", retracts=wrong, rater="ann")
        say(later, "like", copied_from=7)
        assert store.tallies() == {study.id: {"images": 2, "kind:ranking": 1, "rater:me": 1, "kind:like": 1, "rater:ann": 1}}
        elsewhere = add_round(store, other)
        say(elsewhere, "skip")
        store.set_round_state(later.id, "discarded", [later.state])
        assert store.tallies()[study.id]["images"] == 1
        assert store.tallies()[other.id] == {"images": 0, "kind:skip": 1, "rater:me": 1}
        assert empty.id not in store.tallies()

    # -- rounds and candidates
    def test_round_comes_back_as_it_went_in(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        assert store.round(study.id, 0) == record == store.last_round(study.id)
        assert store.rounds(study.id) == [record] == store.unfinished_rounds()
        found = store.candidates([record.id, "unknown"])
        assert [c.position for c in found[record.id]] == [0, 1, 2]
        assert found["unknown"] == []
        assert all(c.image is None and c.seed == 7 for c in found[record.id])

    @pytest.mark.parametrize("index", [-(10**21), -1, 1, 2**31 - 1, 2**31, 2**63, 10**21])
    def test_unknown_indices(self, store: Store, index: int) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        for call in (store.round, store.snapshot):
            with pytest.raises(NotFoundError, match=f"has no round {index}"):
                call(study.id, index)
        assert store.rounds(study.id, index) == ([record] if index < 0 else [])
        assert store.rounds(study.id, 0, index) == ([record] if index > 0 else [])

    def test_rounds_can_be_paged(self, store: Store) -> None:
        study = store.create_study(a_study())
        for index in range(5):
            add_round(store, study, index)
        assert [r.index for r in store.rounds(study.id, first=1, limit=2)] == [1, 2]
        assert [r.index for r in store.rounds(study.id, first=4)] == [4]

    def test_a_round_index_is_taken_once(self, store: Store) -> None:
        study = store.create_study(a_study())
        add_round(store, study)
        revision = store.study(study.id).revision
        with pytest.raises(StaleRevision):
            add_round(store, study)
        assert store.study(study.id).revision == revision
        assert len(store.rounds(study.id)) == 1

    def test_a_stale_revision_writes_nothing(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        for revision in (0, 2, -1):
            with pytest.raises(StaleRevision):
                store.append(draft(record), revision)
        assert store.events(study.id) == []
        assert store.study(study.id).revision == 1

    def test_state_changes_only_from_the_expected_one(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        assert not store.set_round_state(record.id, "ready", expect=("interrupted",))
        assert store.set_round_state(record.id, "failed", expect=UNFINISHED, error="disk")
        assert store.round(study.id, 0).error == "disk"
        assert store.unfinished_rounds() == []
        assert not store.set_round_state("nothing", "ready", expect=UNFINISHED)

    def test_a_round_is_claimed_by_one(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        assert store.claim_round(record.id, "b", "me", 50.0)
        assert not store.claim_round(record.id, "c", "me", 60.0)
        store.touch_round(record.id, 70.0)
        claimed = store.round(study.id, 0)
        assert (claimed.owner, claimed.touched) == ("b", 70.0)

    def test_images_are_found_by_recipe_latent_and_seed(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        assert store.find_image(study.id, record.recipe, a_hash(1), 7) is None
        assert store.set_image(record.id, 1, a_hash(99))
        assert store.find_image(study.id, record.recipe, a_hash(1), 7) == a_hash(99)
        assert store.find_image(study.id, record.recipe, a_hash(1), 8) is None
        assert store.find_image(study.id, "s" * 64, a_hash(1), 7) is None
        assert store.find_image("other", record.recipe, a_hash(1), 7) is None
        assert store.counts(study.id, derive.CLOSING) == (1, 0, 1)
        assert not store.set_image(record.id, 9, a_hash(1))

    # -- events
    def test_event_comes_back_as_it_went_in(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        event = draft(record, rater="Zoë", token="t/1 ü", latency_ms=2**40, copied_from=17)
        written = store.append(event, 1)
        assert store.events(study.id) == [written] == store.events(study.id, [record.id])
        assert replace(written, number=0) == replace(type(written)(**vars(event)), number=0)
        assert store.event_by_token(study.id, "t/1 ü") == written
        assert store.event_by_token(study.id, "t/2") is None
        assert store.events(study.id, []) == []

    def test_numbers_grow(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        numbers = [store.append(draft(record, "like"), 1 + i).number for i in range(5)]
        assert numbers == sorted(set(numbers))

    def test_numbers_are_not_used_again(self, store: Store) -> None:
        first = store.create_study(a_study())
        last = store.append(draft(add_round(store, first)), 1).number
        store.delete_study(first.id)
        second = store.create_study(a_study())
        assert store.append(draft(add_round(store, second)), 1).number > last

    def test_a_token_counts_once_per_study(self, store: Store) -> None:
        study, other = store.create_study(a_study()), store.create_study(a_study())
        record, elsewhere = add_round(store, study), add_round(store, other)
        store.append(draft(record, token="t"), 1)
        with pytest.raises(DuplicateToken):
            store.append(draft(record, token="t"), 2)
        store.append(draft(elsewhere, token="t"), 1)
        assert len(store.events(study.id)) == 1
        assert store.study(study.id).revision == 2

    def test_an_event_is_retracted_once(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        event = store.append(draft(record), 1)
        store.append(draft(record, "retraction", retracts=event.number, payload={}), 2)
        with pytest.raises(ConflictError):
            store.append(draft(record, "retraction", retracts=event.number, payload={}), 3)
        assert derive.standing(store.events(study.id)) == []
        assert len(store.events(study.id)) == 2

    def test_discarding_frees_the_index_and_keeps_the_round(self, store: Store) -> None:
        study = store.create_study(a_study())
        first, second = add_round(store, study), add_round(store, study, 1, latent=10)
        store.set_image(second.id, 0, a_hash(50))
        store.append(draft(first, "retraction"), 2, discard=second.id)
        assert store.last_round(study.id) == first
        with pytest.raises(NotFoundError):
            store.round(study.id, 1)
        third = add_round(store, study, 1, latent=20)
        assert [r.id for r in store.rounds(study.id)] == [first.id, third.id]
        assert store.find_image(study.id, second.recipe, a_hash(10), 7) == a_hash(50)
        assert store.counts(study.id, derive.CLOSING) == (2, 0, 0)
        assert store.round_by_id(second.id).state == "discarded"

    def test_answered_rounds_are_counted_by_what_stands(self, store: Store) -> None:
        study = store.create_study(a_study())
        first, second = add_round(store, study), add_round(store, study, 1, latent=10)
        event = store.append(draft(first), 2)
        store.append(draft(first, "skip", rater="b"), 3)
        store.append(draft(second, "like"), 4)
        assert store.counts(study.id, derive.CLOSING)[1] == 1
        store.append(draft(first, "retraction", retracts=event.number), 5)
        assert store.counts(study.id, ("ranking",))[1] == 0
        assert store.counts(study.id, derive.CLOSING)[1] == 1

    def test_a_snapshot_is_one_round_whole(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        add_round(store, study, 1, latent=10)
        written = store.append(draft(record), 2)
        seen = store.snapshot(study.id, 0)
        assert (seen.study, seen.round, seen.events) == (store.study(study.id), record, (written,))
        assert (list(seen.candidates), seen.last_index) == (store.candidates([record.id])[record.id], 1)
        for name, index in ((study.id, 2), ("nothing", 0)):
            with pytest.raises(NotFoundError):
                store.snapshot(name, index)

    def test_a_raters_events_from_the_newest_back(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        numbers = [store.append(draft(record, "like", rater="ab"[i % 2]), 1 + i).number for i in range(6)]
        assert [e.number for e in store.events_back(study.id, "a", limit=2)] == [numbers[4], numbers[2]]
        assert [e.number for e in store.events_back(study.id, "a", before=numbers[2])] == [numbers[0]]
        assert store.events_back(study.id, "c") == []

    def test_one_of_many_threads_wins_a_revision(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        outcomes: list[str] = []

        def write() -> None:
            try:
                store.append(draft(record), 1)
                outcomes.append("written")
            except StaleRevision:
                outcomes.append("stale")

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["stale"] * 7 + ["written"]
        assert len(store.events(study.id)) == 1

    def test_concurrent_writers_lose_nothing(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)

        def write(name: str) -> None:
            for i in range(10):
                while True:
                    try:
                        store.append(draft(record, "like", rater=name, token=f"{name}{i}"), store.study(study.id).revision)
                        break
                    except StaleRevision:
                        continue

        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tokens = [event.token for event in store.events(study.id)]
        assert sorted(tokens) == sorted(f"{name}{i}" for name in "abc" for i in range(10))

    # -- branches, deleting
    def test_history_is_written_with_its_study(self, store: Store) -> None:
        parent = store.create_study(a_study())
        child = a_study(parent=parent.id)
        record = RoundRecord(new_id(), child.id, 0, 1, "r", "ready")
        candidate = CandidateRecord(record.id, 0, "fresh", a_hash(1), 7, a_hash(2))
        store.create_study(child, History((record,), (candidate,), (draft(record, copied_from=3),)))
        assert store.rounds(child.id) == [record]
        assert store.candidates([record.id]) == {record.id: [candidate]}
        assert store.events(child.id)[0].copied_from == 3

    def test_a_whole_study_from_elsewhere(self, store: Store) -> None:
        """With the numbers that its events had there, and its blind tests; all of it or nothing."""
        store.append(draft(add_round(store, store.create_study(a_study()))), 1)
        study = a_study()
        record = RoundRecord(new_id(), study.id, 0, 3, "r", "ready")
        said = [EventRecord(**asdict(draft(record)), number=70), EventRecord(**asdict(draft(record)), number=90)]
        back = EventRecord(**asdict(draft(record, kind="retraction", payload={}, retracts=70)), number=95)
        test = BlindRecord(new_id(), study.id, 5)
        trials = tuple(TrialRecord(test.id, i, a_hash(i), a_hash(9), i == 1, 7) for i in range(2))
        store.create_study(study, History((record,), (), (*said, back), (test,), trials))
        events = store.events(study.id)
        assert [event.token for event in derive.standing(events)] == [said[1].token]
        assert events[2].retracts == events[0].number
        assert store.blinds(study.id) == [test]
        assert store.trials(test.id) == list(trials)
        again = a_study()
        with pytest.raises(ConflictError):
            store.create_study(again, History((replace(record, study=again.id),)))
        with pytest.raises(ConflictError):
            store.create_study(study)
        with pytest.raises(NotFoundError):
            store.study(again.id)

    def test_deleting_names_what_nobody_else_needs(self, store: Store) -> None:
        study, other = store.create_study(a_study()), store.create_study(a_study())
        mine, theirs = add_round(store, study), add_round(store, other, latent=2)
        store.set_image(mine.id, 0, a_hash(100))
        store.set_image(mine.id, 1, a_hash(101))
        store.set_image(theirs.id, 0, a_hash(101))
        store.append(draft(mine), 1)
        test = BlindRecord(new_id(), study.id, 1)
        store.add_blind(test, [TrialRecord(test.id, 0, a_hash(70), a_hash(0), True, 7, a_hash(170), None)])
        images, latents = store.delete_study(study.id)
        assert images == {a_hash(100), a_hash(170)}
        assert latents == {a_hash(0), a_hash(1), a_hash(70)}
        assert store.candidates([mine.id]) == {mine.id: []}
        assert store.events(study.id) == []
        with pytest.raises(NotFoundError):
            store.blind(test.id)
        assert store.study(other.id).revision == 1
        assert store.unused({a_hash(100), a_hash(101)}, {a_hash(2)}) == ({a_hash(100)}, set())

    def test_deleting_takes_the_scores_of_lost_images(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        store.set_image(record.id, 0, a_hash(5))
        store.put_scores([ScoreRecord(a_hash(5), "p", "clip", "1", 0.5), ScoreRecord(a_hash(6), "p", "clip", "1", 0.5)])
        store.delete_study(study.id)
        assert [s.image for s in store.scores([a_hash(5), a_hash(6)], "p")] == [a_hash(6)]

    # -- scores, blind tests
    def test_scores_belong_to_image_prompt_scorer_and_version(self, store: Store) -> None:
        first = ScoreRecord(a_hash(1), "a fox 🦊", "clip", "1", 0.1 + 0.2)
        store.put_scores([first, replace(first, version="2", value=-1.0), replace(first, prompt="a cat", value=9.0)])
        store.put_scores([replace(first, value=5.0)])
        store.put_scores([])
        assert {(s.version, s.value) for s in store.scores([a_hash(1), a_hash(2)], "a fox 🦊")} == {("1", 0.1 + 0.2), ("2", -1.0)}
        assert store.scores([], "a cat") == []

    def test_blind_test_comes_back_as_it_went_in(self, store: Store) -> None:
        study = store.create_study(a_study())
        test = BlindRecord(new_id(), study.id, 5)
        trials = [TrialRecord(test.id, i, a_hash(i), a_hash(9), i == 1, 7) for i in range(3)]
        store.add_blind(test, trials)
        assert store.blind(test.id) == test
        assert store.trials(test.id) == trials
        assert store.set_trial_image(test.id, a_hash(9), a_hash(90))
        assert store.set_trial_image(test.id, a_hash(1), a_hash(91))
        assert not store.set_trial_image(test.id, a_hash(7), a_hash(92))
        assert not store.set_trial_image("nothing", a_hash(9), a_hash(92))
        assert [t.now_image for t in store.trials(test.id)] == [a_hash(90)] * 3
        assert [t.start_image for t in store.trials(test.id)] == [None, a_hash(91), None]

    def test_many_rounds_at_once(self, store: Store) -> None:
        study = store.create_study(a_study())
        record = add_round(store, study)
        ids = [record.id, *(new_id() for _ in range(1500))]
        assert len(store.candidates(ids)) == 1501
        assert store.events(study.id, ids) == []
