"""A stand-in for ``StudyService`` without torch or a database: same calls, same records, same errors.

It keeps its state in one JSON file, so that the browser tests can kill and restart the server. Where the real service is
installed, ``test_fake_agrees.py`` holds the two against each other.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_rankopt.api.host_info import HostInfo, OptimizerInfo, OptionInfo
from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.hosts.base import HostDefaults
from lib_rankopt.studies.views import (
    Answer,
    BlindResult,
    BlindTrial,
    CandidateView,
    ProgressView,
    RoundView,
    StudySettings,
    StudyView,
)
from tests.api import fake_pictures

OPEN = ("ready", "interrupted", "failed")
FAIL = "out of memory"  # a prompt that says so fails after one image
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


class FakeService:
    """In-memory studies that paint landscapes."""

    def __init__(self, folder: Path, image_seconds: float = 0.05) -> None:
        self.folder = folder
        self.image_seconds = image_seconds
        self.blind_tests: dict[str, dict[str, Any]] = {}
        self._lock = threading.Condition(threading.RLock())
        self._version = 0
        self._job: dict[str, Any] = {}
        self._cancel: set[str] = set()
        (folder / "images").mkdir(parents=True, exist_ok=True)
        file = folder / "studies.json"
        self._studies: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        for key, study in self._studies.items():
            for item in study["rounds"]:
                if item["status"] in ("queued", "generating"):
                    self._run(key, item)

    @property
    def host_info(self) -> HostInfo:
        return HOST_INFO

    # -- studies
    def create(self, settings: StudySettings, name: str | None = None) -> StudyView:
        if not settings.prompt.strip():
            raise InvalidInputError("The prompt is empty; say what the images should show.")
        if settings.width % 8 or settings.height % 8:
            raise InvalidInputError(f"Size {settings.width}×{settings.height}: both must be multiples of 8.")
        if settings.sampler and settings.sampler not in HOST_INFO.samplers:
            raise NotFoundError(f"There is no sampler '{settings.sampler}'. Known: {', '.join(HOST_INFO.samplers)}.")
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
            self._save()
            return self._round_view(study, item)

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
    def start_blind(self, study: str, trials: int = 8) -> BlindTrial:
        with self._lock:
            view = self.get(study)
            if not view.start_image or view.start_image == view.now_image:
                raise ConflictError("Rank at least two rounds first: there is no 'now' to compare the start with.")
            test = uuid.uuid4().hex[:12]
            sides = [random.Random(f"{test}{i}").random() < 0.5 for i in range(trials)]
            pair = (view.start_image, view.now_image)
            self.blind_tests[test] = {"study": study, "sides": sides, "pair": pair, "answers": {}}
            trial = self.next_trial(test)
            assert trial is not None
            return trial

    def next_trial(self, test: str) -> BlindTrial | None:
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
    def image_path(self, image: str) -> Path:
        path = self.folder / "images" / f"{image}.png"
        if not path.exists():
            raise NotFoundError(f"There is no image {image}.")
        return path

    def close(self) -> None:
        with self._lock:
            self._cancel.update(self._studies)

    # -- inside
    def _study(self, study: str) -> dict[str, Any]:
        if study not in self._studies:
            raise NotFoundError(f"There is no study '{study}'.")
        return self._studies[study]

    def _test(self, test: str) -> dict[str, Any]:
        if test not in self.blind_tests:
            raise NotFoundError(f"There is no blind test '{test}'.")
        return self.blind_tests[test]

    def _kept(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        return [r for r in data["rounds"] if r["status"] != "discarded"]

    def _find(self, study: str, index: int) -> dict[str, Any]:
        data = self._study(study)
        found = next((r for r in self._kept(data) if r["index"] == index), None)
        if found is None:
            raise NotFoundError(f"Study '{data['name']}' has no round {index}.")
        return found

    def _candidate(self, item: dict[str, Any], key: str) -> dict[str, Any]:
        return next(c for c in item["candidates"] if c["id"] == key)

    def _image(self, item: dict[str, Any], key: str) -> str | None:
        return self._candidate(item, key)["image"]

    def _check_ids(self, item: dict[str, Any], answer: Answer) -> None:
        named = [key for tier in answer.tiers for key in tier]
        known = {c["id"] for c in item["candidates"]}
        for key in [*named, *answer.shown]:
            if key not in known:
                raise InvalidInputError(f"Round {item['index']} has no candidate '{key}'.")
        if len(set(named)) != len(named):
            raise InvalidInputError("A candidate is named twice in the ranking.")
        if answer.kind == "ranking" and not named:
            raise InvalidInputError("The ranking is empty.")

    def _close(self, item: dict[str, Any], answer: Answer) -> None:
        if item["status"] not in OPEN:
            raise ConflictError(f"Round {item['index']} is {item['status']}; it cannot be answered.")
        tiers = [list(tier) for tier in answer.tiers]
        best = tiers[0][0] if tiers else item["incumbent"]
        item.update(status="answered", tiers=tiers, best=best, answered_by=answer.rater)

    def _new_round(self, study: str, data: dict[str, Any], kept: list[dict[str, Any]]) -> dict[str, Any]:
        index, count = len(kept), data["settings"]["candidates"]
        chosen = next((self._candidate(r, r["best"]) for r in reversed(kept) if r["best"]), None)
        candidates = []
        for i in range(count):
            seed = f"{study}/{len(data['rounds'])}/{i}"
            old = chosen is not None and i == 0
            genes = (chosen["genes"] if old else fake_pictures.near(chosen["genes"], seed)) if chosen else None
            key = uuid.uuid4().hex[:8]
            candidates.append(
                {
                    "id": key,
                    "genes": genes or fake_pictures.draw_genes(seed),
                    "origin": "incumbent" if old else "explore" if chosen else "fresh",
                    "image": None,
                    "scores": {},
                    "liked": None,
                }
            )
        order = [c["id"] for c in candidates]
        random.Random(f"{study}/{index}").shuffle(order)
        return {
            "index": index,
            "status": "queued",
            "candidates": candidates,
            "order": order,
            "incumbent": candidates[0]["id"] if chosen else None,
            "best": None,
            "tiers": [],
            "answered_by": None,
        }

    def _run(self, study: str, item: dict[str, Any]) -> None:
        self._cancel.discard(study)
        item["status"] = "generating"
        total = len(item["candidates"])
        self._job = {
            "study": study, "round": item["index"], "fraction": 0.0, "step": 0, "done": 0, "total": total, "previews": {},
        }  # fmt: skip
        self._bump()
        threading.Thread(target=self._generate, args=(study, item, self._job), daemon=True).start()

    def _generate(self, study: str, item: dict[str, Any], job: dict[str, Any]) -> None:
        for number, candidate in enumerate(item["candidates"]):
            if FAIL in self._studies[study]["settings"]["prompt"] and number == 1:
                self._fail(study, item, job)
                return
            for step in range(4):
                time.sleep(self.image_seconds / 4)
                with self._lock:
                    if study in self._cancel or item["status"] == "discarded":
                        self._finish(study, item, job, "interrupted")
                        return
                    if candidate["image"] is not None:
                        break
                    job["step"] = (step + 1) * 5
                    job["fraction"] = (number + (step + 1) / 4) / job["total"]
                    job["previews"] = {candidate["id"]: step} if candidate["image"] is None else {}
                    self._bump()
            data, key = fake_pictures.as_png(fake_pictures.paint(candidate["genes"]))
            (self.folder / "images" / f"{key}.png").write_bytes(data)
            with self._lock:
                candidate["image"] = key
                job["done"] = number + 1
                self._save()
        with self._lock:
            self._finish(study, item, job, "ready")

    def _fail(self, study: str, item: dict[str, Any], job: dict[str, Any]) -> None:
        with self._lock:
            item["error"] = "Out of memory: 8 images of 256×256 do not fit; make fewer at a time."
            self._finish(study, item, job, "failed")

    def _finish(self, study: str, item: dict[str, Any], job: dict[str, Any], status: str) -> None:
        if item["status"] != "discarded":
            item["status"] = status
        if self._job is job:
            self._job = {}
        self._save()

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

    def _round_view(self, study: str, item: dict[str, Any]) -> RoundView:
        return RoundView(
            study=study,
            index=item["index"],
            status=item["status"],
            candidates=tuple(
                CandidateView(c["id"], i, c["origin"], "f" * 64, c["image"], dict(c["scores"]), c["liked"])
                for i, c in enumerate(item["candidates"])
            ),
            order=tuple(item["order"]),
            incumbent=item["incumbent"],
            best=item["best"],
            tiers=tuple(tuple(tier) for tier in item["tiers"]),
            answered_by=item["answered_by"],
            error=item.get("error"),
            created_at="2026-01-01T00:00:00Z",
        )

    def _bump(self) -> None:
        self._version += 1
        self._lock.notify_all()

    def _save(self) -> None:
        self._bump()
        file = self.folder / "studies.json"
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._studies))
        temporary.replace(file)
