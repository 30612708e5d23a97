"""``optimize``: a study in which a scorer ranks."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from lib_rankopt.cli.context import chosen_seed, open_service, print_json, progress_bar
from lib_rankopt.errors import GenerationError, InvalidInputError

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService
    from lib_rankopt.studies.views import RoundView, StudyView

_POLL_SECONDS = 5.0


def run(arguments: Namespace) -> int:
    """Run ``--rounds`` rounds, one line each, and the control where asked for."""
    from lib_rankopt.studies.views import StudySettings

    if not 1 <= arguments.rounds <= 1000:
        raise InvalidInputError(f"--rounds {arguments.rounds}: from 1 to 1000.")
    settings = StudySettings(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        width=arguments.width,
        height=arguments.height,
        steps=arguments.steps,
        sampler=arguments.sampler,
        scheduler=arguments.scheduler or "Automatic",
        cfg_scale=arguments.cfg_scale,
        model=arguments.model,
        seed=chosen_seed(arguments.seed),
        candidates=arguments.candidates,
        batch_size=arguments.batch_size,
        optimizer=arguments.optimizer,
        optimizer_settings=dict(_option(text) for text in arguments.set),
    )
    with open_service(arguments) as service:
        study = service.create(settings)
        images = _follow(service, study, arguments)
        if arguments.out:
            _write_result(service, study, arguments)
        if arguments.control:
            _control(service, study, arguments, images)
        if not arguments.json:
            print(f"study {study.id[:8]} '{study.name}' is kept; go on by hand with: python -m lib_rankopt serve")
    return 0


def _option(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InvalidInputError(f"--set {text}: write it as name=value.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _follow(service: StudyService, study: StudyView, arguments: Namespace) -> int:
    """Print each round as it is answered; return the number of images made."""
    best, images, seen, version = float("-inf"), set[str](), 0, -1
    service.start_auto(study.id, arguments.scorer, arguments.rounds)
    with progress_bar("rounds", arguments.rounds, arguments.json) as advance:
        while seen < arguments.rounds:
            version = service.progress(study.id, since=version, timeout=_POLL_SECONDS).version
            rounds = service.rounds(study.id)
            for item in rounds[seen:]:
                if item.status == "failed":
                    raise GenerationError(item.error or f"Round {item.index} failed.")
                if item.status != "answered":
                    break
                images |= {c.image for c in item.candidates if c.image}
                scores = {c.id: c.scores[arguments.scorer] for c in item.candidates if arguments.scorer in c.scores}
                best = max(best, *scores.values())
                _print_round(item, len(images), best, scores, arguments.json)
                seen += 1
                advance(seen)
            if seen < arguments.rounds and service.get(study.id).auto is None and len(rounds) == seen:
                raise GenerationError(f"The automatic mode stopped after {seen} of {arguments.rounds} rounds.")
    return len(images)


def _print_round(item: RoundView, images: int, best: float, scores: dict[str, float], as_json: bool) -> None:
    incumbent = scores.get(item.incumbent) if item.incumbent else None
    if as_json:
        rounded = None if incumbent is None else round(incumbent, 4)
        print_json({"round": item.index, "images": images, "best": round(best, 4), "incumbent": rounded})
    else:
        shown = "   —  " if incumbent is None else f"{incumbent:6.2f}"
        print(f"round {item.index:3d}   images {images:4d}   best {best:6.2f}   incumbent {shown}")


def _write_result(service: StudyService, study: StudyView, arguments: Namespace) -> None:
    from lib_rankopt.store.blobs import write_atomically

    image = service.get(study.id).now_image
    if image is None:
        return
    with service.image_path(image).open("rb") as source:
        write_atomically(arguments.out, lambda target: shutil.copyfileobj(source, target))
    if not arguments.json:
        print(f"final image: {arguments.out}")


def _control(service: StudyService, study: StudyView, arguments: Namespace, images: int) -> None:
    """Best of as many fresh seeds, under the same settings, the same sampler noise and the same scorer."""
    from lib_rankopt import scorers
    from lib_rankopt.evaluation.control import best_of_n
    from lib_rankopt.studies.settings import request

    settings = service.get(study.id).settings
    scorer = scorers.create(arguments.scorer)
    template = request(settings, seeds=(settings.seed,))
    result = best_of_n(service.host, template, lambda batch: scorer.score(batch, settings.prompt), images)
    if arguments.json:
        print_json({"control": "best-of-n", "images": images, "best": round(result.best, 4)})
    else:
        print(f"control: best of {images} fresh seeds {result.best:6.2f}")
