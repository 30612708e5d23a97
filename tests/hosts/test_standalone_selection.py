"""Candidates on the standalone host, with a small random model and brightness as the scorer."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.errors import GenerationError, GenerationInterrupted, InvalidInputError, ModelError, NotFoundError
from lib_rankopt.hosts import standalone_pool
from lib_rankopt.hosts.base import GeneratedImage, Progress
from lib_rankopt.hosts.standalone import StandaloneHost
from lib_rankopt.scorers import Scorer, ScorerInfo, ScorerShelf
from lib_rankopt.selection.create import seeds_of
from lib_rankopt.selection.settings import Selection
from tests.diffusion import tiny
from tests.hosts.conformance import RequestOf, assert_same_picture, differ, noise_for


class Brightness(Scorer):
    """Mean of all pixels; ``spoil`` may change what it says."""

    info = ScorerInfo("clip", "1", "0 to 255", "none")

    def __init__(self) -> None:
        self.spoil: Callable[[torch.Tensor], torch.Tensor] = lambda values: values

    def score(self, images: Any, prompts: Any) -> torch.Tensor:
        return self.spoil(torch.tensor([float(np.asarray(image).mean()) for image in images]))

    def to(self, device: str) -> None: ...


@pytest.fixture
def scorer() -> Brightness:
    return Brightness()


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    tiny.write_checkpoint(folder)
    return folder


@pytest.fixture
def host(models_dir: Path, scorer: Brightness) -> StandaloneHost:
    host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu")
    host.scorers = ScorerShelf(factories={"clip": lambda: scorer})
    return host


@pytest.fixture
def chosen(host: StandaloneHost, request_of: RequestOf) -> Callable[..., GeneratedImage]:
    def make(policy: str, *, sampler: str = "Euler a", seed: int = 5, **options: Any) -> GeneratedImage:
        changes = {name: options.pop(name) for name in ("latents", "init_image", "batch_size") if name in options}
        selection = Selection(policy, **{"every": 2, **options})
        (image,) = host.generate(request_of(seeds=(seed,), steps=8, sampler=sampler, selection=selection, **changes))
        return image

    return make


def brightness(image: GeneratedImage) -> float:
    return float(np.asarray(image.image).mean())


POLICIES = ["halving", "greedy", "resample", "best-of-n"]


@pytest.mark.parametrize("policy", POLICIES)
def test_an_image_costs_what_was_said_and_tells_how_it_was_chosen(policy: str, chosen: Any) -> None:
    image = chosen(policy, pool=4)
    record = image.selection
    assert record.evaluated == 4 * 8
    assert record.score == pytest.approx(brightness(image), abs=1)
    assert record.seeds == seeds_of(Selection(policy), 5)
    assert image.seed == int(record.path_text().split()[0])
    for entry in (f"Selection: {policy}", "Selection pool: 4", "Selection scorer: clip", f"Seed: {image.seed}"):
        assert f"{entry}, " in image.parameters
    assert f"Selection path: {record.path_text()}, Selection score: {record.score:.2f}" in image.parameters
    assert [sum(picture is not None for picture in look) for look in record.thumbnails] == [
        sum(score is not None for score in look.scores) for look in record.looks
    ]


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M", "DPM++ 3M SDE", "DDIM"])
@pytest.mark.parametrize("policy", ["halving", "best-of-n"])
def test_what_only_drops_candidates_gives_a_plain_image(
    policy: str, sampler: str, chosen: Any, host: StandaloneHost, request_of: RequestOf
) -> None:
    image = chosen(policy, sampler=sampler)
    (plain,) = host.generate(request_of(seeds=(image.seed,), steps=8, sampler=sampler))
    assert_same_picture(image, plain)
    assert torch.equal(image.latent, plain.latent)


def test_best_of_n_is_the_best(chosen: Any, host: StandaloneHost, request_of: RequestOf) -> None:
    seeds = seeds_of(Selection("best-of-n"), 5)
    plain = list(host.generate(request_of(seeds=seeds, steps=8, sampler="Euler a")))
    assert chosen("best-of-n").seed == max(plain, key=brightness).seed


# Not LCM, whose candidates end so alike that rounding by batch size decides; in float64 tests/selection/test_pool.py holds it exactly.
@pytest.mark.parametrize(("policy", "sampler"), [("halving", "Euler a"), ("resample", "DPM++ 2M SDE")])
def test_neither_parts_nor_neighbours_change_an_image(
    policy: str, sampler: str, chosen: Any, host: StandaloneHost, request_of: RequestOf
) -> None:
    whole = chosen(policy, sampler=sampler)
    for options in ({"at_once": 1}, {"at_once": 3}, {"batch_size": 2}):
        parts = chosen(policy, sampler=sampler, **options)
        assert parts.selection.path_text() == whole.selection.path_text()
        assert_same_picture(parts, whole)
    selection = Selection(policy, every=2)
    others = list(host.generate(request_of(seeds=(4, 5, 6), steps=8, sampler=sampler, selection=selection)))
    assert_same_picture(others[1], whole)
    assert len({image.seed for image in others}) == 3


@pytest.mark.parametrize(("policy", "sampler"), [("halving", "Euler a"), ("resample", "DPM++ SDE"), ("greedy", "DPM++ 2M SDE")])
def test_its_path_makes_the_image_again_for_the_cost_of_one(
    policy: str, sampler: str, chosen: Any, host: StandaloneHost, request_of: RequestOf
) -> None:
    image = chosen(policy, sampler=sampler)
    path = re.search(r"Selection path: ([\d@ ]+)", image.parameters)
    assert path
    again = chosen(policy, sampler=sampler, seed=image.seed, path=path[1])
    assert_same_picture(again, image)
    assert again.selection.path_text() == image.selection.path_text()
    assert again.selection.evaluated == (15 if sampler == "DPM++ SDE" else 8)  # two a step, one in the last
    with pytest.raises(InvalidInputError, match="begins with seed"):
        chosen(policy, sampler=sampler, seed=6, path=path[1])


# -- one latent for all
def test_candidates_of_one_latent_part_by_noise(chosen: Any, host: StandaloneHost, request_of: RequestOf) -> None:
    latents = noise_for(host, request_of(seeds=(99,)))
    image = chosen("greedy", latents=latents)
    assert torch.equal(image.latent, latents[0])
    assert len({round(score, 3) for score in image.selection.looks[0].scores}) == 4
    again = chosen("greedy", latents=latents, seed=image.seed, path=image.selection.path_text())
    assert_same_picture(again, image)


@pytest.mark.parametrize("policy", POLICIES)
def test_one_latent_without_noise_is_refused(policy: str, host: StandaloneHost, request_of: RequestOf) -> None:
    latents = noise_for(host, request_of(seeds=(99,)))
    with pytest.raises(InvalidInputError, match=r"DPM.. 2M': it draws no noise.*Take Euler a"):
        host.validate(request_of(steps=8, latents=latents, selection=Selection(policy)))


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({"policy": "greedy"}, {"sampler": "DPM++ 2M"}, "'DPM.. 2M': it draws no noise.*policy halving"),
        ({"policy": "greedy"}, {"sampler": "Euler a", "eta": 0.0}, "eta 0"),
        ({"policy": "halving"}, {"sampler": "DPM fast"}, "'DPM fast'"),
        ({"policy": "halving"}, {"steps": 2}, "too few"),
        ({"policy": "halving", "scorer": "clipp"}, {}, "There is no scorer 'clipp'. Known: clip"),
        ({"policy": "halving", "path": "1 2@9"}, {"sampler": "Euler a"}, "only 8 steps"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(
    options: dict[str, Any], changes: dict[str, Any], said: str, host: StandaloneHost, request_of: RequestOf
) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=said):
        host.validate(request_of(**{"steps": 8, **changes}, selection=Selection(**options)))


# -- trouble
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_score_ends_the_run_in_words_and_the_next_one_works(value: float, chosen: Any, scorer: Brightness) -> None:
    scorer.spoil = lambda values: torch.full_like(values, value)
    with pytest.raises(InvalidInputError, match="candidate 1 the score"):
        chosen("greedy")
    scorer.spoil = lambda values: values
    assert chosen("greedy").selection


def test_equal_scores_keep_the_first(chosen: Any, scorer: Brightness) -> None:
    scorer.spoil = torch.zeros_like
    assert chosen("halving").seed == 5


def test_out_of_memory_halves_the_parts(chosen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sizes = chosen("greedy"), []
    real = standalone_pool.sample

    def small(plan: Any, model: Any, noise: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(len(noise))
        if len(noise) > 1:
            raise RuntimeError("CUDA out of memory")
        return real(plan, model, noise, *rest)

    monkeypatch.setattr(standalone_pool, "sample", small)
    assert_same_picture(chosen("greedy"), whole)
    assert sizes == [4, 2, 1, 1, 1, 1]
    monkeypatch.setattr(standalone_pool, "sample", lambda *_: (_ for _ in ()).throw(MemoryError("out of memory")))
    with pytest.raises(GenerationError, match="single candidate"):
        chosen("greedy")


def test_a_cancelled_run_gives_nothing(host: StandaloneHost, request_of: RequestOf) -> None:
    cancel, seen = threading.Event(), []

    def report(progress: Progress) -> None:
        seen.append(progress.fraction)
        if progress.step == 4:
            cancel.set()

    with pytest.raises(GenerationInterrupted):
        list(host.generate(request_of(steps=8, sampler="Euler a", selection=Selection("greedy", at_once=2)), report, cancel))
    assert seen == sorted(seen)


def test_img2img_chooses_too(chosen: Any) -> None:
    image = chosen("greedy", init_image=Image.new("RGB", (64, 64), "red"))
    assert len(image.selection.looks) > 2


def test_previews_are_of_the_pool(host: StandaloneHost, request_of: RequestOf) -> None:
    seen: list[Progress] = []
    request = request_of(seeds=(1, 2), steps=8, sampler="Euler a", preview_every=3, selection=Selection("halving", at_once=3))
    assert len(list(host.generate(request, seen.append))) == 2
    assert {index for progress in seen for index in progress.previews} == {0, 1}
    assert seen[-1].fraction == 1.0


# -- pictures of predictions
def test_taesd_is_taken_where_it_is(models_dir: Path, chosen: Any, tmp_path: Path, scorer: Brightness, request_of: RequestOf) -> None:
    from diffusers import AutoencoderTiny

    with pytest.raises(ModelError, match="taesd"):
        chosen("greedy", decoder="taesd")
    shutil.copytree(models_dir, tmp_path, dirs_exist_ok=True)
    blocks = {"encoder_block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (8, 8, 8, 8)}
    torch.manual_seed(3)
    AutoencoderTiny(num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1), **blocks).save_pretrained(tmp_path / "vae" / "taesd")
    host = StandaloneHost(tmp_path, "tiny.safetensors", device="cpu")
    found = {}
    for decoder in ("auto", "taesd", "full"):
        selection = Selection("greedy", every=2, decoder=decoder)
        (image,) = host.generate(request_of(steps=8, sampler="Euler a", selection=selection))
        found[decoder] = image.selection.looks[0].scores
    assert found["auto"] == found["taesd"] != found["full"]


# -- a person
@pytest.fixture
def person(host: StandaloneHost) -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Answers the questions of a run in another thread: ``answer(view) -> rows``, ``None`` to say nothing."""
    ended = threading.Event()
    threads = []

    def run(answer: Callable[..., Any]) -> None:
        def loop() -> None:
            version, seen = None, set()
            while not ended.is_set():
                version, views = host.picks.wait(version, 0.1)
                for view in views:
                    rows = answer(view) if view.id not in seen else None
                    seen.add(view.id)
                    if rows is not None:
                        host.picks.answer(view.id, rows)

        threads.append(threading.Thread(target=loop, daemon=True))
        threads[-1].start()

    yield run
    ended.set()
    for thread in threads:
        thread.join(5)


def test_a_person_picks(person: Any, chosen: Any, host: StandaloneHost) -> None:
    asked = []

    def answer(view: Any) -> tuple[int, ...]:
        asked.append((view.step, view.steps, view.rows))
        assert host.picks.picture(view.id, view.rows[0])[:2] == b"\xff\xd8"
        return {2: (1, 3), 4: (), 6: (0,)}.get(view.step, (2, 1))

    person(answer)
    image = chosen("human", pool=4, scorer="")
    assert asked == [(2, 8, (0, 1, 2, 3)), (4, 8, (0, 1, 2, 3)), (6, 8, (0, 1, 2, 3)), (8, 8, (0, 1, 2, 3))]
    looks = image.selection.looks
    assert [look.parents for look in looks] == [(1, 1, 3, 3), None, (0, 0, 0, 0), None]
    assert image.selection.taken == 2
    again = chosen("human", pool=4, scorer="", seed=image.seed, path=image.selection.path_text())
    assert_same_picture(again, image)


def test_without_noise_the_others_are_dropped(person: Any, chosen: Any) -> None:
    person(lambda view: (view.rows[-1],))
    image = chosen("human", pool=3, sampler="DPM++ 2M", scorer="")
    assert image.selection.looks[0].alive == (False, False, True)
    assert len(image.selection.looks[1].scores) == 3
    assert image.selection.evaluated < 3 * 8


@pytest.mark.parametrize("scorer_name", ["", "clip"])
def test_nobody_answers(scorer_name: str, chosen: Any) -> None:
    image = chosen("human", pool=4, scorer=scorer_name, wait_seconds=1.0, at=(0.5,))
    first, last = image.selection.looks
    assert sum(first.scores) == (4 if not scorer_name else 2)
    assert last.scores.count(1.0) == 1


def test_others_go_before_while_a_person_thinks(person: Any, chosen: Any, host: StandaloneHost, request_of: RequestOf) -> None:
    made: list[GeneratedImage] = []

    def answer(view: Any) -> tuple[int, ...]:
        if not made:
            made.extend(host.generate(request_of(seeds=(77,))))
        return (0,)

    person(answer)
    assert differ(chosen("human", pool=2, scorer=""), made[0])


def test_a_person_can_stop(person: Any, host: StandaloneHost, request_of: RequestOf) -> None:
    cancel = threading.Event()
    person(lambda view: cancel.set())  # once there is a choice, and without one
    begun = time.monotonic()
    with pytest.raises(GenerationInterrupted, match="choice"):
        list(host.generate(request_of(steps=8, sampler="Euler a", selection=Selection("human", scorer="")), None, cancel))
    assert time.monotonic() - begun < 30
    assert list(host.generate(replace(request_of())))
