"""``generate``: images to PNG files."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.cli.context import (
    check_writable,
    chosen_seed,
    comparable,
    make_host,
    print_json,
    progress_bar,
    read_picture,
    selection_of,
    writing,
)
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.hosts.base import GeneratedImage, GenerationRequest, Host, Progress
from lib_rankopt.studies import init_image
from lib_rankopt.studies.settings import check_prompts

if TYPE_CHECKING:
    from lib_rankopt.selection.record import SelectionRecord


def make_request(arguments: Namespace, host: Host, seeds: tuple[int, ...]) -> GenerationRequest:
    """The request that the shared options describe, gaps filled with the model's own settings."""
    defaults = host.defaults(arguments.model or None)
    width, height = arguments.width or defaults.width, arguments.height or defaults.height
    picture = read_picture(arguments.init_image)
    return GenerationRequest(
        prompt=arguments.prompt,
        seeds=seeds,
        negative_prompt=arguments.negative_prompt,
        width=width,
        height=height,
        steps=arguments.steps,
        sampler=arguments.sampler or defaults.sampler,
        scheduler=arguments.scheduler or defaults.scheduler,
        cfg_scale=arguments.cfg_scale or defaults.cfg_scale,
        model=arguments.model or None,
        batch_size=arguments.batch_size,
        init_image=None if picture is None else init_image.fitted(init_image.read(picture), width, height),
        denoising_strength=arguments.denoising_strength,
        selection=selection_of(arguments, arguments.scorer[0] if arguments.scorer else "clip"),
    )


def run(arguments: Namespace) -> int:
    """Generate ``--count`` images with consecutive seeds."""
    if arguments.tree and not arguments.select:
        raise InvalidInputError("--tree draws how an image was chosen: give --select as well.")
    if not 1 <= arguments.count <= 10_000:
        raise InvalidInputError(f"--count {arguments.count}: from 1 to 10000 images.")
    check_prompts(arguments.prompt, arguments.negative_prompt)
    host = make_host(arguments)
    first = chosen_seed(arguments.seed)
    request = make_request(arguments, host, tuple((first + i) % 2**32 for i in range(arguments.count)))
    host.validate(request)
    judges = {name: comparable(host.scorers, name) for name in arguments.scorer}
    check_writable(arguments.out)
    with progress_bar("images", arguments.count, arguments.json) as advance:

        def report(progress: Progress) -> None:
            advance(progress.fraction * progress.total)

        for made in host.generate(request, report):
            scores = {name: round(float(judge.score([made.image], request.prompt)[0]), 4) for name, judge in judges.items()}
            path = _write(made, scores, arguments.out)
            how = made.selection
            if how and arguments.tree:
                _draw(how, path.with_name(f"{path.stem}-tree.png"))
            if arguments.json:
                print_json({"file": str(path), "seed": made.seed, "scores": scores, **({"selection": _told(how)} if how else {})})
            else:
                chosen = [f"{how.policy}: {how.evaluated} evaluations, path {how.path_text()}"] if how else []
                print(path, *(f"{name}={value:.2f}" for name, value in scores.items()), *chosen)
    return 0


def _draw(record: SelectionRecord, path: Path) -> None:
    from lib_rankopt.selection.picture import draw
    from lib_rankopt.store.blobs import write_atomically

    picture = draw(record)
    with writing(path):
        write_atomically(path, lambda stream: picture.save(stream, "PNG"))


def _told(record: SelectionRecord) -> dict[str, Any]:
    """How an image was chosen, for ``--json``: rows are numbered from 0."""
    looks = [
        {"step": look.step, "scores": [None if one is None else round(one, 4) for one in look.scores], "parents": look.parents}
        for look in record.looks
    ]
    return {
        "policy": record.policy, "evaluations": record.evaluated, "score": round(record.score, 4), "path": record.path_text(),
        "seeds": record.seeds, "looks": looks, "taken": record.taken,
    }  # fmt: skip


def _write(made: GeneratedImage, scores: dict[str, float], folder: Path) -> Path:
    """As PNG, with its scores behind its other parameters."""
    from PIL.PngImagePlugin import PngInfo

    from lib_rankopt.store.blobs import write_atomically

    info = PngInfo()
    info.add_text("parameters", ", ".join([made.parameters, *(f"Score {name}: {score:.4f}" for name, score in scores.items())]))
    path = folder / f"{made.seed:010d}.png"
    with writing(path):
        write_atomically(path, lambda stream: made.image.save(stream, "PNG", pnginfo=info))
    return path
