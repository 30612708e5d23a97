"""State, persistence and generation of the fake service."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from lib_rankopt.errors import ConflictError, GenerationInterrupted, InvalidInputError, NotFoundError
from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.selection import settings as selection_settings
from lib_rankopt.studies.views import Answer, CandidateView, RoundView
from tests.api import fake_pictures
from tests.selection.records import choose

OPEN = ("ready", "interrupted", "failed")
FAIL = "out of memory"  # a prompt that says so fails after one image
SLOW = "slow"  # a prompt that says so takes two seconds per image


class FakeState:
    """Everything in one JSON file, painted by one thread per round."""

    def __init__(self, folder: Path, image_seconds: float = 0.05) -> None:
        self.folder = self.data_dir = folder
        self.image_seconds = image_seconds
        self.blind_tests: dict[str, dict[str, Any]] = {}
        self._lock = threading.Condition(threading.RLock())
        self._version = 0
        self._job: dict[str, Any] = {}
        self._cancel: set[str] = set()
        self._scored: set[str] = set()
        self.host = SimpleNamespace(picks=PickBoard())
        self.data = SimpleNamespace(comparing=SimpleNamespace(collections=list))  # the page asks what is ranked
        (folder / "images").mkdir(parents=True, exist_ok=True)
        file = folder / "studies.json"
        self._studies: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
        with self._lock:
            for key, study in self._studies.items():
                for item in study["rounds"]:
                    if item["status"] in ("queued", "generating"):
                        self._run(key, item)

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
            raise ConflictError(f"Round {item['index'] + 1} is {item['status']}; it cannot be answered.")
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
        seconds = 2.0 if SLOW in self._studies[study]["settings"]["prompt"] else self.image_seconds
        for number, candidate in enumerate(item["candidates"]):
            if FAIL in self._studies[study]["settings"]["prompt"] and number == 1:
                self._fail(study, item, job)
                return
            for step in range(4):
                time.sleep(seconds / 4)
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
            image = fake_pictures.paint(candidate["genes"])
            data, key = fake_pictures.as_png(image)
            (self.folder / "images" / f"{key}.png").write_bytes(data)
            try:
                candidate["selected"] = self._choose(study, image, key)
            except GenerationInterrupted:
                with self._lock:
                    self._finish(study, item, job, "interrupted")
                return
            with self._lock:
                candidate["image"] = key
                job["done"] = number + 1
                self._save()
        with self._lock:
            self._finish(study, item, job, "ready")

    def _choose(self, study: str, image: Image.Image, key: str) -> bool:
        """Keep how the image was chosen, where the study asks for that."""
        settings = self._studies[study]["settings"]
        if not settings["selection"]:
            return False
        selection = selection_settings.from_dict(settings["selection"])
        request = (settings["prompt"], settings["steps"], 1)
        record = choose(selection, image, request, self.host.picks, lambda: study in self._cancel)
        (self.folder / "images" / f"{key}.json").write_text(record.to_json())
        return True

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

    def _round_view(self, study: str, item: dict[str, Any]) -> RoundView:
        return RoundView(
            study=study,
            index=item["index"],
            status=item["status"],
            candidates=tuple(
                CandidateView(c["id"], i, c["origin"], "f" * 64, c["image"], dict(c["scores"]), c["liked"], c.get("selected", False))
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
