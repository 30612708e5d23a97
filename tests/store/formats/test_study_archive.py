"""Whole studies out of one store and into another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_rankopt.errors import InvalidInputError, NotFoundError, RankOptError
from lib_rankopt.store import BlobStore, Store, derive, open_store
from lib_rankopt.store.formats.study_archive import export_study, import_study
from lib_rankopt.store.records import (
    BlindRecord,
    CandidateRecord,
    EventDraft,
    RoundRecord,
    ScoreRecord,
    StudyRecord,
    TrialRecord,
    new_id,
)
from tests.store.formats.test_archive import rewritten


class House:
    """A store with its files."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.store: Store = open_store(folder, url)
        self.blobs = BlobStore(folder)

    def image(self, shade: int) -> str:
        return self.blobs.put_image(Image.new("RGB", (8, 8), (shade, 0, 0)), f"a fox {shade}\nSteps: 1")

    def latent(self, number: int) -> str:
        return self.blobs.put_latent(torch.full((4, 1, 1), float(number)))

    def everything(self, study: str) -> dict[str, Any]:
        """All that a study is, without the ids and numbers that a store gives."""
        store = self.store
        rounds = store.rounds(study)
        candidates = store.candidates([one.id for one in rounds])
        place = {one.id: at for at, one in enumerate(rounds)}
        events = store.events(study)
        order = {event.number: at for at, event in enumerate(events)}
        tests = store.blinds(study)
        images = sorted({c.image for some in candidates.values() for c in some if c.image})
        return {
            "study": replace(store.study(study), id=""),
            "rounds": [replace(one, id="", study="", owner=None, touched=0.0) for one in rounds],
            "candidates": [[replace(c, round="") for c in candidates[one.id]] for one in rounds],
            "events": [
                (e.kind, place.get(e.round or ""), e.payload if e.kind != "blind" else e.payload["trial"], e.shown, e.rater, e.latency_ms,
                 e.created_at, e.copied_from, order.get(e.retracts or 0))
                for e in events
            ],
            "tests": [(one.seed, one.created_at, [replace(t, test="") for t in store.trials(one.id)]) for one in tests],
            "scores": [replace(one, created_at="") for one in store.scores(images, store.study(study).settings["prompt"])],
            "texts": [self.blobs.load_image(one).info["parameters"] for one in images],
        }  # fmt: skip


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "one")
    yield made
    made.store.close()


@pytest.fixture
def other(tmp_path: Path, url: str | None) -> Iterator[House]:
    """The store that is imported into: SQLite's or PostgreSQL's."""
    made = House(tmp_path / "two", url)
    yield made
    made.store.close()


def a_study(house: House) -> str:
    """Three rounds, one of them discarded, a retraction, scores, a blind test half answered, an image to start from."""
    store = house.store
    start = house.image(200)
    values = {"prompt": "a fox", "init_image": start, "size": None}
    study = StudyRecord(new_id(), "Füchse 🦊", values, 7, (4, 1, 1), {"name": "m"}, draws=((0, 1, 3),))
    store.create_study(study)

    def add(event: EventDraft, discard: str | None = None) -> int:
        return store.append(event, store.study(study.id).revision, discard).number

    rounds = []
    for index, size in ((0, 3), (1, 2), (1, 2)):
        record = RoundRecord(new_id(), study.id, index, size, "r" * 64, owner="me", touched=3.5)
        made = [(house.latent(10 * index + i), house.image(10 * index + i)) for i in range(size)]
        candidates = [CandidateRecord(record.id, i, "fresh", latent, i, image) for i, (latent, image) in enumerate(made)]
        store.add_round(record, candidates, store.study(study.id).revision)
        rounds.append(record)
        if len(rounds) == 1:
            store.set_round_state(record.id, "ready", ["queued"])
            number = add(EventDraft(study.id, "ranking", record.id, {"tiers": [[1], [0, 2]]}, (2, 0, 1), "Zoë", latency_ms=1234))
        elif len(rounds) == 2:
            add(EventDraft(study.id, "like", record.id, {"tiers": [[1]]}))
            add(EventDraft(study.id, "retraction", rounds[0].id, retracts=number), discard=record.id)
            add(EventDraft(study.id, "ranking", rounds[0].id, {"tiers": [[2], [0, 1]]}, (0, 1, 2), copied_from=99))
    first = house.image(0)
    store.put_scores([ScoreRecord(first, "a fox", "clip", "1", 0.25), ScoreRecord(first, "a cat", "clip", "1", 0.5)])
    test = BlindRecord(new_id(), study.id, 3)
    store.add_blind(test, [TrialRecord(test.id, i, house.latent(i), house.latent(77), bool(i), 5, first, None) for i in range(2)])
    add(EventDraft(study.id, "blind", payload={"test": test.id, "trial": 0, "choice": "left"}, token=f"blind-{test.id}-0"))
    return study.id


def test_everything_comes_over(house: House, other: House, tmp_path: Path) -> None:
    study = a_study(house)
    report = export_study(house.store, house.blobs, study, tmp_path / "a.rankopt.zip")
    assert (report.images, report.latents, report.missing) == (6, 6, [])
    assert import_study(other.store, other.blobs, tmp_path / "a.rankopt.zip") == study
    before, after = house.everything(study), other.everything(study)
    assert [one.state for one in before["rounds"]] == ["ready", "queued"]
    assert [one.state for one in after["rounds"]] == ["ready", "interrupted"]
    assert other.store.unfinished_rounds() == []
    before["rounds"] = after["rounds"]
    assert after == before
    assert len(derive.standing(other.store.events(study))) == len(derive.standing(house.store.events(study))) == 3
    latent = other.store.candidates([other.store.rounds(study)[0].id])[other.store.rounds(study)[0].id][2].latent
    assert torch.equal(other.blobs.load_latent(latent), torch.full((4, 1, 1), 2.0))
    # it goes on there
    record = other.store.round(study, 1)
    other.store.append(EventDraft(study, "skip", record.id), other.store.study(study).revision)


def test_the_same_file_twice_adds_nothing(house: House, other: House, tmp_path: Path) -> None:
    study = a_study(house)
    path = tmp_path / "a.rankopt.zip"
    export_study(house.store, house.blobs, study, path)
    assert import_study(house.store, house.blobs, path) == study  # where it comes from
    assert len(house.store.studies()) == 1
    for _ in range(2):
        assert import_study(other.store, other.blobs, path) == study
    other.store.rename_study(study, "another name")
    other.store.append(EventDraft(study, "skip", other.store.round(study, 1).id), other.store.study(study).revision)
    assert import_study(other.store, other.blobs, path) == study
    assert len(other.store.studies()) == 1
    first = house.image(0)
    other.blobs.image_path(first).unlink()
    import_study(other.store, other.blobs, path)
    assert other.blobs.exists(other.blobs.image_path(first))


def test_a_study_that_has_gone_on_becomes_a_second_one(house: House, other: House, tmp_path: Path) -> None:
    study = a_study(house)
    old, new = tmp_path / "old.zip", tmp_path / "new.zip"
    export_study(house.store, house.blobs, study, old)
    house.store.append(EventDraft(study, "skip", house.store.round(study, 1).id), house.store.study(study).revision)
    export_study(house.store, house.blobs, study, new)
    assert import_study(other.store, other.blobs, old) == study
    copy = import_study(other.store, other.blobs, new)
    assert copy != study
    assert import_study(other.store, other.blobs, new) == copy
    assert import_study(other.store, other.blobs, old) == study
    assert len(other.store.studies()) == 2
    before, after = house.everything(study), other.everything(copy)
    before["rounds"] = after["rounds"]
    assert after == before
    test = other.store.blinds(copy)[0]
    said = [event for event in other.store.events(copy) if event.kind == "blind"]
    assert (said[0].payload["test"], said[0].token) == (test.id, f"blind-{test.id}-0")
    other.store.delete_study(study)
    assert other.everything(copy) == after


def test_gone_files_are_named_and_the_rest_comes_over(house: House, other: House, tmp_path: Path) -> None:
    study = a_study(house)
    image, latent = house.image(0), house.latent(1)
    house.blobs.image_path(image).write_bytes(b"damaged")
    house.blobs.latent_path(latent).unlink()
    report = export_study(house.store, house.blobs, study, tmp_path / "a.zip")
    assert sorted(report.missing) == sorted([image, latent])
    assert import_study(other.store, other.blobs, tmp_path / "a.zip") == study
    assert not other.blobs.exists(other.blobs.image_path(image))


def test_no_study_and_no_file(house: House, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        export_study(house.store, house.blobs, "nothing", tmp_path / "a.zip")
    with pytest.raises(InvalidInputError, match="no file"):
        import_study(house.store, house.blobs, tmp_path / "a.zip")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["one"]


# -- strangers


@pytest.fixture
def archive(house: House, tmp_path: Path) -> Path:
    path = tmp_path / "a.rankopt.zip"
    export_study(house.store, house.blobs, a_study(house), path)
    return path


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The archive with another ``study.json``, and a manifest that fits it."""

    def rewrite(_: object, content: dict[str, bytes]) -> None:
        value, manifest = json.loads(content["study.json"]), json.loads(content["manifest.json"])
        change(value)
        content["study.json"] = json.dumps(value).encode()
        manifest["members"]["study.json"] = sha256(content["study.json"]).hexdigest()
        content["manifest.json"] = json.dumps(manifest).encode()

    return rewritten(path, rewrite)


def refused(archive: Path, house: House, word: str) -> None:
    before = sorted((archive.parent / "empty").rglob("*.png"))
    with pytest.raises(InvalidInputError, match=word):
        import_study(house.store, house.blobs, archive)
    assert house.store.studies() == []
    assert sorted((archive.parent / "empty").rglob("*.png")) == before == []


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "empty")
    yield made
    made.store.close()


def setter(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (setter("study", "id", value="../../x"), "id"),
        (setter("study", "shape", value=[4, 1]), "shape"),
        (setter("study", "settings", value={"x": float("nan")}), "settings"),
        (setter("study", "optimizer_seed", value=2**63), "optimizer_seed"),
        (setter("study", "extra", value=1), "fields"),
        (setter("study", value=None), "study"),
        (setter("rounds", value={}), "rounds"),
        (setter("rounds", 0, "state", value="running"), "state"),
        (setter("rounds", 0, "study", value="another"), "belong together"),
        (setter("candidates", 0, "latent", value="../" + "0" * 61), "latent"),
        (setter("candidates", 0, "round", value="nowhere"), "belong together"),
        (setter("candidates", 0, "position", value=1), "belong together"),
        (setter("events", 0, "kind", value="hate"), "kind"),
        (setter("events", 0, "payload", value=[]), "payload"),
        (setter("events", 0, "rater", value="x" * 1000), "rater"),
        (setter("events", 0, "created_at", value="yesterday"), "created_at"),
        (setter("events", 2, "retracts", value=10**6), "belong together"),
        (setter("events", 1, "number", value=1), "belong together"),
        (setter("scores", 0, "value", value="high"), "value"),
        (setter("trials", 0, "now_left", value=1), "now_left"),
        (setter("images", "0" * 64, value="images/x"), "does not name"),
        (setter("latents", value=[]), "latents"),
    ],
)
def test_records_that_cannot_be(change: Callable[[dict[str, Any]], None], word: str, archive: Path, empty: House) -> None:
    refused(changed(archive, change), empty, word)


def test_images_that_are_others(archive: Path, empty: House) -> None:
    """A whole file under its own hash, which is not the image that the study means."""

    def swap(value: dict[str, Any]) -> None:
        first, second = sorted(value["images"])[:2]
        value["images"][first] = value["images"][second]

    refused(changed(archive, swap), empty, "does not hold")


def test_members_that_are_none(archive: Path, empty: House) -> None:
    def point(value: dict[str, Any]) -> None:
        value["images"][min(value["images"])] = "images/../study.json"

    refused(changed(archive, point), empty, "no images/")


def test_damage_anywhere_is_found_before_anything_is_kept(archive: Path, empty: House) -> None:
    good = archive.read_bytes()
    found = 0

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(good) - 1), st.integers(1, 255))
    def stands(at: int, change: int) -> None:
        nonlocal found
        archive.write_bytes(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :])
        try:
            name = import_study(empty.store, empty.blobs, archive)
        except RankOptError:
            found += 1
            assert empty.store.studies() == []
        else:  # a time stamp, or an attribute that nobody reads
            images, latents = empty.store.delete_study(name)
            empty.blobs.delete(images, latents)

    stands()
    assert found > 30


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_values_do_no_harm(archive: Path, empty: House, data: st.DataObject) -> None:
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just([]), st.just({}), st.just([[0]]))
    good = archive.read_bytes()

    def change(value: dict[str, Any]) -> None:
        part = value[data.draw(st.sampled_from(sorted(value)))]
        for _ in range(3):
            if isinstance(part, list) and part:
                part = part[data.draw(st.integers(0, len(part) - 1))]
        if isinstance(part, dict) and part:
            part[data.draw(st.sampled_from(sorted(part)))] = data.draw(odd)

    try:
        name = import_study(empty.store, empty.blobs, changed(archive, change))
        empty.store.delete_study(name)
    except RankOptError:
        pass
    finally:
        archive.write_bytes(good)
