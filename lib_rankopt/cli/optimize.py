"""``optimize``: a study in which a scorer ranks."""

from __future__ import annotations

import shlex
import shutil
from argparse import Namespace
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lib_rankopt.cli.context import (
    check_writable,
    chosen_seed,
    comparable,
    open_service,
    option,
    print_json,
    progress_bar,
    read_picture,
    selection_of,
    writing,
)
from lib_rankopt.errors import GenerationError, InvalidInputError

if TYPE_CHECKING:
    from lib_rankopt.studies.service import StudyService
    from lib_rankopt.studies.views import RoundView, StudyView

_POLL_SECONDS = 5.0


@dataclass
class _Tally:
    """What the rounds have brought so far, in the scorer's scores.

    Attributes:
        images: hashes of all images made.
        best: highest score, and the image that has it; ``None`` while nothing was scored.
        incumbent: score of the latest answered round's winner.
    """

    images: set[str] = field(default_factory=set)
    best: tuple[float, str] | None = None
    incumbent: float | None = None

    def add(self, item: RoundView, scorer: str) -> None:
        """Count an answered round. One that somebody else has answered may have no scores and no winner."""
        for candidate in item.candidates:
            if candidate.image is None:
                continue
            self.images.add(candidate.image)
            score = candidate.scores.get(scorer)
            if score is None:
                continue
            if self.best is None or score > self.best[0]:
                self.best = score, candidate.image
            if candidate.id == item.best:
                self.incumbent = score


def run(arguments: Namespace) -> int:
    """Run ``--rounds`` rounds, one line each, and the control where asked for."""
    from lib_rankopt.studies.views import StudySettings

    if not 1 <= arguments.rounds <= 1000:
        raise InvalidInputError(f"--rounds {arguments.rounds}: from 1 to 1000.")
    if arguments.out:
        check_writable(arguments.out.parent)
        if arguments.out.is_dir():
            raise InvalidInputError(f"--out {arguments.out} is a folder; give the name of a file in it.")
    settings = StudySettings(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        width=arguments.width,
        height=arguments.height,
        steps=arguments.steps,
        sampler=arguments.sampler,
        scheduler=arguments.scheduler,
        cfg_scale=arguments.cfg_scale,
        model=arguments.model,
        denoising_strength=arguments.denoising_strength,
        seed=chosen_seed(arguments.seed),
        candidates=arguments.candidates,
        batch_size=arguments.batch_size,
        optimizer=arguments.optimizer,
        selection=selection.to_dict() if (selection := selection_of(arguments, arguments.scorer)) else {},
        optimizer_settings=dict(option("--set", text) for text in arguments.set),
    )
    with open_service(arguments) as service:
        comparable(service.host.scorers, arguments.scorer)
        picture = read_picture(arguments.init_image)
        study = service.create(settings if picture is None else replace(settings, init_image=service.put_image(picture)))
        tally = _follow(service, study, arguments)
        if arguments.out:
            _write_result(service, tally, arguments)
        if arguments.control:
            _control(service, study, arguments, len(tally.images))
        if not arguments.json:
            print(f"study {study.id[:8]} '{study.name}' is kept; go on by hand with: {_serve_command(arguments)}")
    return 0


def _serve_command(arguments: Namespace) -> str:
    """The command that opens the same studies with the same models and LoRAs. A database's URL may hold a password and is not repeated."""
    url = "URL" if arguments.database_url else None
    folders = {"--models-dir": arguments.models_dir, "--lora-dir": arguments.lora_dir}
    options = {"--data-dir": arguments.data_dir, "--database-url": url, **folders, "--device": arguments.device}
    words = [str(word) for option, value in options.items() if value for word in (option, value)]
    model = ["--model", arguments.model] if arguments.model else []
    return shlex.join(["python", "-m", "lib_rankopt", *words, "serve", *model])


def _follow(service: StudyService, study: StudyView, arguments: Namespace) -> _Tally:
    """Print each round as it is answered; return what they brought.

    Raises:
        GenerationError: a round failed, or the automatic mode stopped before its last one.
    """
    tally, seen, version = _Tally(), 0, -1
    service.start_auto(study.id, arguments.scorer, arguments.rounds)
    with progress_bar("rounds", arguments.rounds, arguments.json) as advance:
        while seen < arguments.rounds:
            version = service.progress(study.id, since=version, timeout=_POLL_SECONDS).version
            view = service.get(study.id)  # before the rounds: whatever was answered until it stopped is then among them
            for item in service.rounds(study.id, first=seen):
                if item.status == "failed":
                    raise GenerationError(item.error or f"Round {item.index} failed.")
                if item.status != "answered":
                    break
                tally.add(item, arguments.scorer)
                _print_round(item.index, tally, arguments.json)
                seen += 1
                advance(seen)
            if seen < arguments.rounds and view.auto is None:
                warnings = service.stop_auto(study.id).warnings  # waits until all is said about why it stopped
                stopped = f"The automatic mode stopped after {seen} of {arguments.rounds} rounds."
                raise GenerationError(warnings[0] if warnings else stopped)
    return tally


def _print_round(index: int, tally: _Tally, as_json: bool) -> None:
    best, images = tally.best and tally.best[0], len(tally.images)
    if as_json:
        print_json({"round": index, "images": images, "best": _rounded(best), "incumbent": _rounded(tally.incumbent)})
    else:
        print(f"round {index:3d}   images {images:4d}   best {_padded(best)}   incumbent {_padded(tally.incumbent)}")


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _padded(score: float | None) -> str:
    return "   —  " if score is None else f"{score:6.2f}"


def _write_result(service: StudyService, tally: _Tally, arguments: Namespace) -> None:
    from lib_rankopt.store.blobs import write_atomically

    if tally.best is None:
        raise GenerationError(f"No image has a score of '{arguments.scorer}', so none was written to {arguments.out}.")
    score, image = tally.best
    with service.image_path(image).open("rb") as source, writing(arguments.out):
        write_atomically(arguments.out, lambda target: shutil.copyfileobj(source, target))
    if not arguments.json:
        print(f"best image ({score:.2f}): {arguments.out}")


def _control(service: StudyService, study: StudyView, arguments: Namespace, images: int) -> None:
    """Best of as many fresh seeds, under the same settings, the same sampler noise and the same scorer."""
    from lib_rankopt.evaluation.control import best_of_n

    settings = service.get(study.id).settings
    scorer = service.host.scorers.get(arguments.scorer)
    result = best_of_n(service.host, service.template(study.id), lambda batch: scorer.score(batch, settings.prompt), images)
    if arguments.json:
        print_json({"control": "best-of-n", "images": images, "best": round(result.best, 4)})
    else:
        print(f"control: best of {images} fresh seeds {result.best:6.2f}")
