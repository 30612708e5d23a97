"""A stand-in for ``StudyService`` without torch or a database: same calls, same records, same errors.

It keeps its state in one JSON file, so that the browser tests can kill and restart the server. ``test_routes.py`` runs over it and over
the real service, so that the two cannot drift apart.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lib_rankopt.api.host_info import HostInfo, OptimizerInfo, OptionInfo
from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.hosts.base import HostDefaults
from lib_rankopt.selection import settings as selection_settings
from lib_rankopt.selection.record import SelectionRecord, from_json
from lib_rankopt.studies import init_image
from lib_rankopt.studies.views import (
    Answer,
    BlindResult,
    BlindTrial,
    ProgressView,
    RoundView,
    ScorerView,
    ScoresView,
    StudySettings,
    StudyView,
)
from tests.api import fake_pictures
from tests.api.fake_state import OPEN, FakeState

HOST_INFO = HostInfo(
    name="fake",
    samplers=("Euler", "Euler a", "DPM++ 2M"),
    schedulers=("Automatic", "Karras"),
    models=("landscapes", "other"),
    defaults=HostDefaults(256, 256, 20, "DPM++ 2M", "Karras", 5.0),
    optimizers=(
        OptimizerInfo(
            "rank_step",
            "Rank-weighted steps (the default).",
            (
                OptionInfo("spread", "float", 0.3, "how far candidates lie from the centre"),
                OptionInfo("moves", "int", 4, "a whole number"),
                OptionInfo("line_search", "bool", True, "a switch"),
                OptionInfo("kind", "choice", "normal", "one of a few", ("normal", "sparse")),
            ),
        ),
        OptimizerInfo("random_search", "Best of N, the control.", ()),
    ),
    scorers=("clip", "brightness"),
)


class FakeTensor:
    """What little of a tensor a file needs."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape = values, values.shape

    def detach(self) -> FakeTensor:
        return self

    def cpu(self) -> FakeTensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._values


class FakeService(FakeState):
    """In-memory studies that paint landscapes."""

    @property
    def host_info(self) -> HostInfo:
        return HOST_INFO

    # -- studies
    def create(self, settings: StudySettings, name: str | None = None) -> StudyView:
        if not settings.prompt.strip():
            raise InvalidInputError("The prompt is empty; say what the images should show.")
        if settings.init_image:
            self.image_path(settings.init_image)
        if settings.width % 8 or settings.height % 8:
            raise InvalidInputError(f"Size {settings.width}×{settings.height}: both must be multiples of 8.")
        if settings.sampler and settings.sampler not in HOST_INFO.samplers:
            raise NotFoundError(f"There is no sampler '{settings.sampler}'. Known: {', '.join(HOST_INFO.samplers)}.")
        if settings.selection:
            selection_settings.from_dict(settings.selection)
        with self._lock:
            key = uuid.uuid4().hex[:12]
            self._studies[key] = {
                "name": name or settings.prompt[:40],
                "settings": vars(replace(settings)).copy(),
                "rounds": [],
                "tokens": [],
                "created_at": f"2026-01-01T00:00:{len(self._studies):02d}Z",
            }
            self._save()
            return self.get(key)

    def list(self) -> list[StudyView]:
        with self._lock:
            return [self.get(key) for key in reversed(self._studies)]

    def get(self, study: str) -> StudyView:
        with self._lock:
            data = self._study(study)
            rounds = [r for r in data["rounds"] if r["status"] != "discarded"]
            answered = [r for r in rounds if r["status"] == "answered" and r["best"]]
            images = [self._image(r, r["best"]) for r in answered]
            return StudyView(
                id=study,
                name=data["name"],
                created_at=data["created_at"],
                settings=StudySettings(**data["settings"]),
                rounds=len(rounds),
                answered=len(answered),
                images=sum(1 for r in rounds for c in r["candidates"] if c["image"]),
                start_image=images[0] if images else None,
                now_image=images[-1] if images else None,
                parent=data.get("parent"),
                parent_round=data.get("parent_round"),
                model_sha256="0" * 64,
                busy=self._job.get("study") == study,
                auto=data.get("auto"),
            )

    def rename(self, study: str, name: str) -> StudyView:
        with self._lock:
            if not name.strip():
                raise InvalidInputError("A study needs a name; this one is empty.")
            self._study(study)["name"] = name
            self._save()
            return self.get(study)

    def delete(self, study: str) -> None:
        with self._lock:
            self._study(study)
            self._cancel.add(study)
            del self._studies[study]
            self._save()

    def branch(
        self, study: str, after_round: int, name: str | None = None, changes: dict[str, Any] | None = None
    ) -> StudyView:
        with self._lock:
            data = self._study(study)
            if self._find(study, after_round)["status"] != "answered":
                raise ConflictError(f"Round {after_round + 1} has no answer to go on from.")
            settings = replace(StudySettings(**data["settings"]), **(changes or {}))
            view = self.create(settings, name or f"{data['name']} (branch)")
            copy = self._studies[view.id]
            copy["rounds"] = json.loads(json.dumps([r for r in self._kept(data) if r["index"] <= after_round]))
            copy["parent"], copy["parent_round"] = study, after_round
            self._save()
            return self.get(view.id)

    # -- rounds
    def start_round(self, study: str) -> RoundView:
        with self._lock:
            data = self._study(study)
            kept = self._kept(data)
            last = kept[-1] if kept else None
            if last and last["status"] in ("queued", "generating"):
                raise ConflictError(f"Round {last['index'] + 1} is still being made.")
            if last and last["status"] != "answered" and sum(1 for c in last["candidates"] if c["image"]) < 2:
                self._run(study, last)
                return self._round_view(study, last)
            if last and last["status"] != "answered":
                raise ConflictError(f"Round {last['index'] + 1} waits for its answer.")
            item = self._new_round(study, data, kept)
            data["rounds"].append(item)
            self._save()
            self._run(study, item)
            return self._round_view(study, item)

    def rounds(self, study: str) -> list[RoundView]:
        with self._lock:
            return [self._round_view(study, r) for r in self._kept(self._study(study))]

    def round(self, study: str, index: int) -> RoundView:
        with self._lock:
            return self._round_view(study, self._find(study, index))

    def interrupt(self, study: str) -> None:
        with self._lock:
            self._study(study)
            self._cancel.add(study)

    def progress(self, study: str, since: int | None = None, timeout: float = 0.0) -> ProgressView:
        with self._lock:
            self._study(study)
            if since is not None and timeout > 0:
                self._lock.wait_for(lambda: self._version != since, timeout)
            job = self._job if self._job.get("study") == study else {}
            if not job:
                return ProgressView(version=self._version, job="idle")
            return ProgressView(
                version=self._version,
                job="round",
                round=job["round"],
                fraction=job["fraction"],
                step=job["step"],
                steps=20,
                done=job["done"],
                total=job["total"],
                eta_seconds=(job["total"] - job["done"]) * self.image_seconds,
                previews=dict(job["previews"]),
            )

    def preview(self, study: str, candidate: str) -> bytes | None:
        with self._lock:
            item = next((c for r in self._study(study)["rounds"] for c in r["candidates"] if c["id"] == candidate), None)
        if item is None:
            return None
        return fake_pictures.as_png(fake_pictures.paint(item["genes"], 16))[0]

    # -- answers
    def answer(self, study: str, round_index: int, answer: Answer) -> RoundView:
        with self._lock:
            data = self._study(study)
            item = self._find(study, round_index)
            if answer.token and answer.token in data["tokens"]:
                return self._round_view(study, item)
            self._check_ids(item, answer)
            if answer.kind in ("like", "dislike", "unlike"):
                candidate = self._candidate(item, answer.tiers[0][0])
                candidate["liked"] = {"like": True, "dislike": False, "unlike": None}[answer.kind]
            else:
                self._close(item, answer)
            if answer.token:
                data["tokens"].append(answer.token)
            self._save()
            return self._round_view(study, item)

    def undo(self, study: str, rater: str = "me") -> RoundView:
        with self._lock:
            answered = [r for r in self._kept(self._study(study)) if r["status"] == "answered"]
            if not answered:
                raise ConflictError("There is nothing to undo in this study.")
            item = answered[-1]
            self._cancel.add(study)
            for other in self._study(study)["rounds"]:
                if other["index"] > item["index"]:
                    other["status"] = "discarded"
            item.update(status="ready", tiers=[], best=None, answered_by=None)
            self._save()
            return self._round_view(study, item)

    def score(self, study: str, round_index: int, scorer: str) -> RoundView:
        with self._lock:
            item = self._find(study, round_index)
            if scorer not in HOST_INFO.scorers:
                raise NotFoundError(f"There is no scorer '{scorer}'. Known: {', '.join(HOST_INFO.scorers)}.")
            for candidate in item["candidates"]:
                candidate["scores"][scorer] = sum(candidate["genes"])
            self._scored.add(scorer)
            self._save()
            return self._round_view(study, item)

    def scorers(self) -> list[ScorerView]:
        known = {"version": "1", "scale": "0 to 8", "relative": False, "warning": ""}
        return [ScorerView(name, True, **(known if name in self._scored else {})) for name in HOST_INFO.scorers]

    def score_images(self, images: Sequence[str], prompt: str, scorer: str) -> ScoresView:
        wanted = list(dict.fromkeys(images))
        if not 1 <= len(wanted) <= 256:
            raise InvalidInputError(f"{len(wanted)} images are named; 1 to 256 can be scored at a time.")
        if scorer not in HOST_INFO.scorers:
            raise NotFoundError(f"There is no scorer '{scorer}'. Known: {', '.join(HOST_INFO.scorers)}.")
        scores = {image: self.image_path(image).stat().st_size / 1000 for image in wanted}
        self._scored.add(scorer)
        return ScoresView(scorer, "1", "0 to 8", False, "", scores)

    def start_auto(self, study: str, scorer: str, rounds: int) -> StudyView:
        with self._lock:
            data = self._study(study)
            if scorer not in HOST_INFO.scorers:
                raise NotFoundError(f"There is no scorer '{scorer}'. Known: {', '.join(HOST_INFO.scorers)}.")
            if not 1 <= rounds <= 1000:
                raise InvalidInputError(f"{rounds} rounds: 1 to 1000 can be made automatically.")
            data["auto"] = scorer
            self._save()
        threading.Thread(target=self._automatic, args=(study, scorer, rounds), daemon=True).start()
        return self.get(study)

    def stop_auto(self, study: str) -> StudyView:
        with self._lock:
            self._study(study)["auto"] = None
            self._save()
            return self.get(study)

    # -- blind test
    def start_blind(self, study: str, trials: int = 8) -> str:
        with self._lock:
            now = self.get(study).now_image
            if not now:
                raise ConflictError("There is nothing to compare the start with yet; rank at least one round first.")
            start = next(c["image"] for c in self._find(study, 0)["candidates"] if c["image"] not in (None, now))
            test = uuid.uuid4().hex[:12]
            sides = [random.Random(f"{test}{i}").random() < 0.5 for i in range(trials)]
            pair = (start, now)
            self.blind_tests[test] = {"study": study, "sides": sides, "pair": pair, "answers": {}}
            return test

    def next_trial(self, test: str, timeout: float = 600.0) -> BlindTrial | None:
        data = self._test(test)
        index = len(data["answers"])
        if index >= len(data["sides"]):
            return None
        pair = data["pair"] if data["sides"][index] else data["pair"][::-1]
        return BlindTrial(test, index, pair[0], pair[1])

    def answer_trial(self, test: str, index: int, choice: str) -> BlindResult:
        data = self._test(test)
        if index != len(data["answers"]):
            raise ConflictError(f"Trial {index} is not the one that waits for an answer.")
        now_is_right = data["sides"][index]
        data["answers"][index] = 0.5 if choice == "tie" else float((choice == "right") == now_is_right)
        return self.blind_result(test)

    def blind_result(self, test: str) -> BlindResult:
        data = self._test(test)
        answered, wins = len(data["answers"]), sum(data["answers"].values())
        rate = wins / answered if answered else 0.0
        trials = len(data["sides"])
        sentence = f"You preferred it {wins:g} of {answered} times (fake interval 10 % to 90 %)."
        return BlindResult(test, trials, answered, wins, rate, 0.1, 0.9, answered == trials, sentence)

    # -- images
    def put_image(self, data: bytes) -> str:
        image = init_image.read(data)
        name = sha256(image.tobytes()).hexdigest()
        (self.folder / "images").mkdir(exist_ok=True)
        image.save(self.folder / "images" / f"{name}.png")
        return name

    def image_path(self, image: str) -> Path:
        path = self.folder / "images" / f"{image}.png"
        if not path.exists():
            raise NotFoundError(f"There is no image {image}.")
        return path

    def selection(self, image: str) -> SelectionRecord:
        self.image_path(image)
        path = self.folder / "images" / f"{image}.json"
        if not path.exists():
            raise NotFoundError(f"Image {image} was not chosen among candidates.")
        return from_json(path.read_text())

    def latent(self, latent: str) -> FakeTensor:
        if len(latent) < 8:
            raise NotFoundError(f"There is no latent {latent}.")
        return FakeTensor(np.random.default_rng(5).standard_normal((4, 8, 8)))

    def close(self) -> None:
        with self._lock:
            self._cancel.update(self._studies)

    # -- inside
    def _automatic(self, study: str, scorer: str, rounds: int) -> None:
        for _ in range(rounds):
            while True:
                with self._lock:
                    data = self._studies.get(study)
                    if data is None or data.get("auto") != scorer:
                        return
                    kept = self._kept(data)
                    if not kept or kept[-1]["status"] == "answered":
                        self.start_round(study)
                    elif kept[-1]["status"] in OPEN:
                        best = max(kept[-1]["candidates"], key=lambda c: sum(c["genes"]))
                        answer = Answer("ranking", ((best["id"],),), rater=f"auto:{scorer}")
                        self.answer(study, kept[-1]["index"], answer)
                        break
                time.sleep(0.02)
        self.stop_auto(study)
