"""The standalone host with ``<lora:name:weight>`` in prompts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.diffusion.config import bundled
from lib_rankopt.diffusion.loading import outlines
from lib_rankopt.diffusion.lora import applied
from lib_rankopt.diffusion.lora.targets import targets_of
from lib_rankopt.errors import GenerationError, InvalidInputError, ModelError, NotFoundError
from lib_rankopt.hosts.base import GeneratedImage
from lib_rankopt.hosts.standalone import StandaloneHost
from lib_rankopt.scorers.shelf import ScorerShelf
from lib_rankopt.selection.settings import Selection
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import StudySettings
from tests.diffusion import tiny
from tests.diffusion.lora.samples import first_names, random_lora, written
from tests.hosts.conformance import RequestOf, differ, pixels
from tests.hosts.test_standalone_selection import Brightness
from tests.studies.fakes import play

PLAIN = "a red fox"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    tiny.write_checkpoint(folder)
    tiny.write_checkpoint(folder, "second", seed=1)
    return folder


@pytest.fixture
def host(models_dir: Path, tmp_path: Path) -> StandaloneHost:
    host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu", lora_dir=tmp_path / "loras")
    targets = first_names(host._library.targets(None))
    unet = {name: target for name, target in targets.items() if target.part == 0}
    text = {name: target for name, target in targets.items() if target.part == 1}
    for name, part, seed in (("style", unet, 1), ("other", unet, 2), ("words", text, 3), ("both", targets, 4)):
        written(tmp_path / f"loras/{name}.safetensors", random_lora(part, seed=seed, size=0.5))
    return host


@pytest.fixture
def image_of(host: StandaloneHost, request_of: RequestOf) -> Callable[..., GeneratedImage]:
    def make(tags: str = "", **changes: Any) -> GeneratedImage:
        (image,) = host.generate(request_of(prompt=f"{PLAIN}{tags}", **changes))
        return image

    return make


def same(first: GeneratedImage, second: GeneratedImage) -> bool:
    return np.array_equal(pixels(first), pixels(second))


ImageOf = Callable[..., GeneratedImage]


def test_a_tag_changes_the_image_and_leaves_no_trace(host: StandaloneHost, image_of: ImageOf, tmp_path: Path) -> None:
    assert host.lora_dir() == tmp_path / "loras"
    plain = image_of()
    model = host._library.load(None, host.device, host.dtype)
    before = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    styled = image_of("<lora:style:1>")
    assert differ(plain, styled)
    assert same(styled, image_of(" <lyco:style>"))
    assert not all(torch.equal(before[name], tensor) for name, tensor in model.unet.state_dict().items())
    assert same(plain, image_of())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.unet.state_dict().items())


def test_weights_count_and_zero_is_the_plain_model(image_of: ImageOf) -> None:
    plain, whole = image_of(), image_of("<lora:style:1>")
    assert same(plain, image_of("<lora:style:0>"))
    assert same(plain, image_of("<lora:style:te=1:unet=0>"))  # it has nothing for the text encoder
    assert same(plain, image_of("<lora:style:0.5><lora:style:-0.5>"))
    assert same(whole, image_of("<lora:style:0.5> <lora:style:0.5>"))
    assert same(image_of("<lora:style:1><lora:other:1>"), image_of("<lora:other:1><lora:style:1>"))
    images = [plain, whole, *(image_of(f"<lora:{tag}>") for tag in ("style:-1", "style:0.5", "other:1", "style:1><lora:other:1"))]
    assert len({image.image.tobytes() for image in images}) == len(images)


def test_the_text_encoder_is_changed_before_it_reads_the_prompt(image_of: ImageOf) -> None:
    plain = image_of()
    assert not same(plain, image_of("<lora:words:1>"))
    assert same(plain, image_of("<lora:words:te=0:unet=1>"))
    assert same(image_of("<lora:both:0:1>"), image_of("<lora:both:te=0:unet=1>"))
    assert not same(image_of("<lora:both:0:1>"), image_of("<lora:both:1>"))


def test_the_parameters_keep_the_prompt_and_name_the_files(image_of: ImageOf) -> None:
    image = image_of(", <lora:style:0.5> sitting <lora:words:te=0.2>")
    first, line = image.parameters.split("\n")
    digests = [applied_digest(image_of, name) for name in ("style", "words")]
    assert first == f"{PLAIN}, <lora:style:0.5> sitting <lora:words:te=0.2>"
    assert f'Lora hashes: "style: {digests[0]}, words: {digests[1]}", ' in line
    assert "Lora hashes" not in image_of().parameters


def applied_digest(image_of: ImageOf, name: str) -> str:
    text = image_of(f"<lora:{name}:0>").parameters
    digest = text.split(f'"{name}: ')[1].split('"')[0]
    assert len(digest) == 12
    return digest


# -- turns
def test_requests_in_turns_keep_their_own(host: StandaloneHost, image_of: ImageOf, request_of: RequestOf) -> None:
    """Batch by batch, in one thread."""
    prompts = ("", "<lora:style:1>", "<lora:both:1>", "<lora:style:0.5>")
    expected = [[image_of(tags, seeds=(seed,)) for seed in (1, 2, 3)] for tags in prompts]
    runs = [host.generate(request_of(prompt=f"{PLAIN}{tags}", seeds=(1, 2, 3), batch_size=1)) for tags in prompts]
    for place in range(3):
        for run, images in zip(runs, expected, strict=True):
            assert same(next(run), images[place])


def test_pools_in_turns_keep_their_own(host: StandaloneHost, request_of: RequestOf) -> None:
    host.scorers = ScorerShelf(factories={"clip": Brightness})
    halving = {"selection": Selection("halving", pool=2), "seeds": (1, 2, 3), "steps": 8}
    prompts = ("", "<lora:style:1>")
    requests = [request_of(prompt=f"{PLAIN}{tags}", **halving) for tags in prompts]
    expected = [list(host.generate(request)) for request in requests]
    for found in zip(zip(*map(host.generate, requests), strict=True), zip(*expected, strict=True), strict=True):
        assert all(same(image, wanted) for image, wanted in zip(*found, strict=True))
    assert differ(expected[0][0], expected[1][0])


def test_two_threads_keep_their_own(host: StandaloneHost, image_of: ImageOf, request_of: RequestOf) -> None:
    seeds = (1, 2, 3, 4, 5, 6)
    prompts = ("", "<lora:both:1>")
    expected = {tags: [image_of(tags, seeds=(seed,)) for seed in seeds] for tags in prompts}
    got: dict[str, list[GeneratedImage]] = {}
    ready = threading.Barrier(2)

    def work(tags: str) -> None:
        ready.wait(30)
        got[tags] = list(host.generate(request_of(prompt=f"{PLAIN}{tags}", seeds=seeds, batch_size=1)))

    threads = [threading.Thread(target=work, args=(tags,)) for tags in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for tags in prompts:
        assert all(same(one, other) for one, other in zip(got[tags], expected[tags], strict=True))


def test_a_request_that_waits_for_a_person_finds_its_loras_again(host: StandaloneHost, request_of: RequestOf) -> None:
    selection = Selection("human", pool=2, at=(0.5,), scorer="")
    styled = request_of(prompt=f"{PLAIN}<lora:both:1>", seeds=(5,), steps=8, sampler="Euler a", selection=selection)

    def chosen(meanwhile: Callable[[], object]) -> GeneratedImage:
        got: list[GeneratedImage] = []
        thread = threading.Thread(target=lambda: got.extend(host.generate(styled)))
        thread.start()
        version, asked = None, set()
        while thread.is_alive():
            version, views = host.picks.wait(version, 0.1)
            for view in views:
                if view.id not in asked:
                    asked.add(view.id)
                    meanwhile()
                    host.picks.answer(view.id, (0,))
        assert len(asked) == 2
        return got[0]

    alone = chosen(lambda: None)
    assert same(alone, chosen(lambda: list(host.generate(request_of(prompt=PLAIN)))))


def test_another_set_is_merged_once_and_not_for_each_image(
    host: StandaloneHost, image_of: ImageOf, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_of("<lora:style:1>")
    monkeypatch.setattr(applied, "merged", lambda *_: pytest.fail("merged again"))
    list(host.generate(request_of(prompt="a blue whale<lora:style:1>", seeds=(1, 2, 3), batch_size=1)))
    list(host.generate(request_of(prompt="<lora:other:0>a fox<lora:style:1>")))


# -- files and models
def test_a_changed_file_is_read_anew(host: StandaloneHost, image_of: ImageOf, tmp_path: Path) -> None:
    first, path = image_of("<lora:style:1>"), tmp_path / "loras/style.safetensors"
    path.write_bytes((tmp_path / "loras/other.safetensors").read_bytes())
    os.utime(path, ns=(5, 5))
    second = image_of("<lora:style:1>")
    assert not same(first, second)
    assert same(second, image_of("<lora:other:1>"))
    assert second.parameters != first.parameters


def test_a_run_keeps_the_file_that_it_began_with(host: StandaloneHost, image_of: ImageOf, request_of: RequestOf, tmp_path: Path) -> None:
    expected = [image_of("<lora:style:1>", seeds=(seed,)) for seed in (1, 2)]
    run = host.generate(request_of(prompt=f"{PLAIN}<lora:style:1>", seeds=(1, 2), batch_size=1))
    first = next(run)
    (tmp_path / "loras/style.safetensors").write_bytes(b"gone")
    image_of()
    assert same(first, expected[0])
    assert same(next(run), expected[1])


def test_each_model_gets_its_own(host: StandaloneHost, image_of: ImageOf) -> None:
    second = {"model": "second.safetensors"}
    plain, styled = image_of(**second), image_of("<lora:style:1>", **second)
    assert differ(plain, styled)
    assert not same(styled, image_of("<lora:style:1>"))
    assert same(plain, image_of(**second))


def test_loras_do_not_keep_a_model_in_memory(host: StandaloneHost, image_of: ImageOf) -> None:
    import gc
    import weakref

    image_of("<lora:style:1>")
    unet = weakref.ref(host._library.load(None, host.device, host.dtype).unet)
    host.unload()
    gc.collect()
    assert unet() is None
    assert len(host._applied) == 0


def test_memory_that_runs_out_while_merging_is_an_error(host: StandaloneHost, image_of: ImageOf, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = image_of()

    def full(*args: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(applied, "merged", full)
        with pytest.raises(GenerationError, match=r"out of memory while merging LoRAs.*2 GiB"):
            image_of("<lora:style:1>")
    assert same(plain, image_of())
    assert differ(plain, image_of("<lora:style:1>"))


# -- refusals, before any work
@contextmanager
def refused(error: type[Exception], said: str) -> Iterator[None]:
    with pytest.raises(error, match=said):
        yield


@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        ("a <lora:stile:1>", NotFoundError, "prompt: <lora:stile:1> names a LoRA that is not in .*did you mean 'style'"),
        ("a <hypernet:style:1>", InvalidInputError, "prompt: <hypernet:style:1> asks for an extra network"),
        ("a <lora:style:much>", InvalidInputError, "prompt: <lora:style:much> has the weight 'much'"),
        ("a <lora:style:1:1:8>", InvalidInputError, "a third number"),
        ("a <lora:xl:1>", ModelError, r"xl\.safetensors is a LoRA for another model.*SD1\.x.*SDXL"),
        ("a <lora:broken:1>", ModelError, r"broken\.safetensors cannot be used as a LoRA"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    prompt: str, error: type[Exception], said: str, host: StandaloneHost, request_of: RequestOf, tmp_path: Path
) -> None:
    sdxl = first_names(targets_of(*outlines(bundled("sdxl")), "sdxl"), "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q")
    written(tmp_path / "loras/xl.safetensors", random_lora(sdxl))
    (tmp_path / "loras/broken.safetensors").write_bytes(b"\x80\x04nonsense")
    for act in (host.validate, host.generate, host.pin):
        with refused(error, said):
            act(request_of(prompt=prompt))


def test_the_negative_prompt_takes_none(host: StandaloneHost, request_of: RequestOf) -> None:
    with refused(InvalidInputError, "negative_prompt: <lora:style:1> would be read as words here"):
        host.validate(request_of(negative_prompt="blurry <lora:style:1>"))


def test_a_file_that_goes_before_its_turn_is_named(host: StandaloneHost, request_of: RequestOf, tmp_path: Path) -> None:
    run = host.generate(request_of(prompt="a <lora:style:1>"))
    (tmp_path / "loras/style.safetensors").unlink()
    with refused(NotFoundError, "<lora:style:1> names a LoRA that is not in"):
        next(run)


# -- studies
def test_a_study_keeps_its_loras_through_rounds_and_the_blind_test(host: StandaloneHost, tmp_path: Path) -> None:
    settings = StudySettings(prompt=f"{PLAIN} <lora:both:0.7>", seed=3, candidates=3, width=64, height=64, steps=2)
    service = StudyService(tmp_path / "data", host)
    try:
        with refused(NotFoundError, "<lora:bot:0.7> names a LoRA that is not in .*did you mean 'both'"):
            service.create(StudySettings(prompt=f"{PLAIN} <lora:bot:0.7>"))
        study = service.create(settings)
        play(service, study.id, 2, lambda index: 0)
        trial = service.next_trial(service.start_blind(study.id, 2))
        assert trial is not None
        images = [candidate.image for view in service.rounds(study.id) for candidate in view.candidates]
        for image in (*images, trial.left, trial.right):
            with Image.open(service.image_path(image)) as picture:
                text = picture.info["parameters"]
            assert text.startswith(f"{PLAIN} <lora:both:0.7>\n")
            assert 'Lora hashes: "both: ' in text
    finally:
        service.close()
