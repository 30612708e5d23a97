"""What every host must do, written against the contract in ``lib_rankopt/hosts/base.py``.

Inherit :class:`HostConformance` in a test class and give it two fixtures: ``host``, and ``request_of``, which
makes a request that runs in a moment on that host from keyword changes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_rankopt.errors import GenerationInterrupted, InvalidInputError, NotFoundError
from lib_rankopt.hosts.base import GeneratedImage, GenerationRequest, Host, Progress

RequestOf = Callable[..., GenerationRequest]
SEEDS = (101, 102, 103)


def pixels(image: GeneratedImage) -> np.ndarray:
    return np.asarray(image.image, dtype=np.int16)


def assert_same_picture(first: GeneratedImage, second: GeneratedImage, tolerance: int = 2) -> None:
    """Equal but for the rounding that another batch size may bring."""
    assert np.abs(pixels(first) - pixels(second)).max() <= tolerance


def differ(first: GeneratedImage, second: GeneratedImage) -> bool:
    return bool(np.abs(pixels(first) - pixels(second)).mean() > 2)


def noise_for(host: Host, request: GenerationRequest) -> torch.Tensor:
    shape = host.latent_shape(request.width, request.height, request.model)
    return host.initial_noise(request.seeds, shape)


BAD_VALUES = [
    ("prompt", None, "prompt"),
    ("prompt", "a fox \ud83e", r"prompt holds characters that are no text.*position 6 \('\\ud83e'\)"),
    ("negative_prompt", "\udca6", "negative_prompt holds characters that are no text"),
    ("prompt", "(fox:5000)", "prompt: the emphasis of 'fox' comes to 5000"),
    ("negative_prompt", "(" * 9000 + "fox", "negative_prompt: the emphasis of 'fox' comes to inf"),
    ("width", 65, "width is 65.*multiple of 8"),
    ("height", 70, "height is 70.*multiple of 8; 72"),
    ("width", 8, "width is 8.*16 to 4096"),
    ("height", 8192, "height is 8192.*16 to 4096"),
    ("width", 64.0, "width is 64.0.*whole number"),
    ("width", -64, "width is -64"),
    ("steps", 0, "steps is 0.*1 to 150"),
    ("steps", 151, "steps is 151"),
    ("steps", True, "steps is True"),
    ("cfg_scale", float("nan"), "cfg_scale is nan"),
    ("cfg_scale", -1.0, "cfg_scale is -1"),
    ("cfg_scale", "7", "cfg_scale is '7'"),
    ("eta", 1.5, "eta is 1.5"),
    ("clip_skip", 0, "clip_skip is 0"),
    ("batch_size", 0, "batch_size is 0.*1 or more"),
    ("preview_every", -1, "preview_every is -1"),
    ("seeds", (), "seeds is empty"),
    ("seeds", (1, -1), r"seeds\[1\] is -1"),
    ("seeds", (2**63,), r"seeds\[0\]"),
    ("seeds", (1.5,), r"seeds\[0\] is 1.5"),
    ("sampler", "Eular a", "sampler 'Eular a' is not known; did you mean 'Euler a'"),
    ("sampler", "zzz", "sampler 'zzz' is not known; known: "),
    ("scheduler", "Karas", "scheduler 'Karas'.*'Karras'"),
    ("extra", {"no_such_thing": 1}, "no_such_thing"),
    ("notes", ({"a": "b"},) * 2, "notes has 2 entries for 1 images"),
]


class HostConformance:
    """The contract, point by point."""

    # what a host says of itself

    def test_names_are_known_and_unique(self, host: Host) -> None:
        for names in (host.samplers(), host.schedulers(), host.models()):
            assert names
            assert len(set(names)) == len(names)
        assert host.schedulers()[0] == "Automatic"
        assert {"Euler", "Euler a", "DPM++ 2M"} <= set(host.samplers())
        assert isinstance(host.name, str)

    def test_defaults_make_a_valid_request(self, host: Host) -> None:
        for model in (None, host.models()[0]):
            d = host.defaults(model)
            size = {"width": d.width, "height": d.height, "steps": d.steps, "cfg_scale": d.cfg_scale}
            host.validate(
                GenerationRequest("x", (1,), sampler=d.sampler, scheduler=d.scheduler, model=model, **size)
            )

    def test_identity_is_a_stable_content_hash(self, host: Host) -> None:
        identity = host.identity()
        assert identity == host.identity() == host.identity(host.models()[0])
        assert re.fullmatch(r"[0-9a-f]{64}", identity.sha256)
        assert identity.family in ("sd1", "sd2", "sdxl")
        assert identity.prediction_type in ("epsilon", "v_prediction")

    def test_an_unknown_model_is_not_found(self, host: Host, request_of: RequestOf) -> None:
        for act in (host.identity, host.defaults, lambda m: host.latent_shape(64, 64, m)):
            with pytest.raises(NotFoundError, match="no such model"):
                act("no such model")
        with pytest.raises(NotFoundError, match="no such model"):
            host.generate(request_of(model="no such model"))

    def test_latent_shape_follows_the_size(self, host: Host) -> None:
        channels, height, width = host.latent_shape(128, 64)
        assert channels >= 4
        assert (height * 2, width) == (width, height * 2)
        for size in ((100, 64), (64, 8), (64, 5000)):
            with pytest.raises(InvalidInputError):
                host.latent_shape(*size)

    def test_initial_noise_is_unit_noise_of_each_seed(self, host: Host) -> None:
        noise = host.initial_noise((1, 2, 1), (4, 32, 32))
        assert noise.dtype == torch.float32
        assert noise.shape == (3, 4, 32, 32)
        assert torch.equal(noise[0], noise[2])
        assert not torch.equal(noise[0], noise[1])
        assert noise.std().item() == pytest.approx(1, abs=0.05)

    # generating

    def test_images_come_in_order_and_whole(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=SEEDS)
        images = list(host.generate(request))
        assert [image.index for image in images] == [0, 1, 2]
        assert [image.seed for image in images] == list(SEEDS)
        for image in images:
            assert isinstance(image.image, Image.Image)
            assert image.image.mode == "RGB"
            assert image.image.size == (request.width, request.height)
            assert pixels(image).std() > 1
        assert differ(images[0], images[1])

    def test_an_oblong_picture_has_its_sides_right(self, host: Host, request_of: RequestOf) -> None:
        (image,) = host.generate(request_of(seeds=(1,), width=128, height=64))
        assert image.image.size == (128, 64)

    def test_images_carry_the_latent_they_came_from(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=SEEDS)
        noise = noise_for(host, request)
        for given in (request, replace(request, latents=noise)):
            for image in host.generate(given):
                assert image.latent.dtype == torch.float32
                assert image.latent.device.type == "cpu"
                assert torch.equal(image.latent, noise[image.index])

    def test_the_same_request_twice_gives_the_same_pixels(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=SEEDS[:2], sampler="Euler a")
        for first, second in zip(host.generate(request), list(host.generate(request)), strict=True):
            assert np.array_equal(pixels(first), pixels(second))

    @pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DPM++ 2M SDE"])
    def test_an_image_does_not_depend_on_its_batch(
        self, sampler: str, host: Host, request_of: RequestOf
    ) -> None:
        request = request_of(seeds=SEEDS, sampler=sampler)
        together = list(host.generate(replace(request, batch_size=3)))
        by_two = list(host.generate(replace(request, batch_size=2)))
        alone = [image for seed in SEEDS for image in host.generate(replace(request, seeds=(seed,)))]
        turned = list(host.generate(replace(request, seeds=SEEDS[::-1])))[::-1]
        for others in (by_two, alone, turned):
            for first, second in zip(together, others, strict=True):
                assert_same_picture(first, second)

    def test_given_latents_decide_the_picture(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=(1, 2), sampler="Euler")
        noise = noise_for(host, request_of(seeds=(7, 8)))
        images = list(host.generate(replace(request, latents=noise)))
        same = list(host.generate(request_of(seeds=(7, 8), sampler="Euler")))
        for first, second in zip(images, same, strict=True):
            assert_same_picture(first, second)
        assert differ(images[0], next(iter(host.generate(request))))

    def test_the_seeds_own_noise_given_as_latents_changes_nothing(
        self, host: Host, request_of: RequestOf
    ) -> None:
        request = request_of(seeds=(1, 2), sampler="Euler a")
        given = replace(request, latents=noise_for(host, request))
        for first, second in zip(host.generate(request), list(host.generate(given)), strict=True):
            assert_same_picture(first, second)

    def test_one_latent_with_two_seeds_parts_under_ancestral_noise_only(
        self, host: Host, request_of: RequestOf
    ) -> None:
        noise = noise_for(host, request_of(seeds=(7,))).expand(2, -1, -1, -1)
        for sampler, parts in (("Euler a", True), ("Euler", False)):
            first, second = host.generate(request_of(seeds=(1, 2), sampler=sampler, latents=noise))
            assert bool(np.abs(pixels(first) - pixels(second)).max() > 2) is parts

    def test_the_callers_latents_are_left_alone(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=(1, 2))
        noise = noise_for(host, request)
        before = noise.clone()
        images = list(host.generate(replace(request, latents=noise)))
        images[0].latent.zero_()
        assert torch.equal(noise, before)

    def test_prompt_guidance_and_negative_prompt_matter(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=(1,), prompt="a red fox", cfg_scale=6.0)
        changes = ({"prompt": "a blue whale"}, {"negative_prompt": "blue whale"}, {"cfg_scale": 2.0})
        (plain,) = host.generate(request)
        for change in changes:
            (other,) = host.generate(replace(request, **change))
            assert not np.array_equal(pixels(plain), pixels(other)), change

    @pytest.mark.parametrize(
        "prompt", ["", " ", "(((", "word " * 2000, "猫 🦊 \x00 é", "a BREAK b", "\\(x\\) [y:1"]
    )
    def test_any_text_is_a_prompt(self, prompt: str, host: Host, request_of: RequestOf) -> None:
        (image,) = host.generate(request_of(seeds=(1,), prompt=prompt, steps=2))
        assert pixels(image).std() > 0

    def test_notes_stand_in_the_parameters_of_their_image(self, host: Host, request_of: RequestOf) -> None:
        notes = tuple({"Rank-Optimize study": "foxes", "Rank-Optimize latent": f"{seed:064x}"} for seed in SEEDS)
        images = list(host.generate(request_of(seeds=SEEDS, batch_size=2, notes=notes)))
        for image in images:
            line = image.parameters.split("\n")[-1]
            assert "Rank-Optimize study: foxes, " in f"{line}, "
            assert re.findall(r"Rank-Optimize latent: (\w+)", line) == [f"{SEEDS[image.index]:064x}"]

    def test_pinning_changes_no_image_and_pins_once(self, host: Host, request_of: RequestOf) -> None:
        pinned = host.pin(request_of())
        assert host.pin(pinned) == pinned
        (plain,), (same,) = host.generate(request_of()), host.generate(pinned)
        assert_same_picture(plain, same, tolerance=0)
        with pytest.raises(InvalidInputError, match="steps is 0"):
            host.pin(request_of(steps=0))

    def test_parameters_read_as_the_webuis_infotext(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(
            seeds=(5,),
            prompt="a fox, sitting: still",
            negative_prompt="blurry",
            steps=3,
            scheduler="Karras",
            cfg_scale=4.5,
        )
        (image,) = host.generate(request)
        prompt, negative, line = image.parameters.split("\n")
        assert prompt == request.prompt
        assert negative == "Negative prompt: blurry"
        fields = dict(re.findall(r'\s*([\w][\w +/.-]*?):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', line))
        expected = {
            "Steps": "3",
            "Sampler": request.sampler,
            "Schedule type": "Karras",
            "CFG scale": "4.5",
            "Seed": "5",
            "Size": f"{request.width}x{request.height}",
            "Model hash": host.identity().sha256[:10],
        }
        assert {key: fields[key] for key in expected} == expected

    # img2img

    def test_an_image_is_repainted_by_its_strength(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=SEEDS)
        (start, *_) = (image.image for image in host.generate(request))
        far = {}
        for strength in (0.1, 0.5, 1.0):
            changed = replace(request, seeds=(7, 8, 9), init_image=start, denoising_strength=strength)
            images = list(host.generate(changed))
            assert [image.index for image in images] == [0, 1, 2]
            assert differ(images[0], images[1]) or strength < 0.5
            assert f"Denoising strength: {strength:g}" in images[0].parameters
            far[strength] = np.mean([np.abs(pixels(image) - np.asarray(start, dtype=np.int16)).mean() for image in images])
        assert far[0.1] < far[0.5] < far[1.0]

    def test_latents_are_the_noise_that_an_image_gets(self, host: Host, request_of: RequestOf) -> None:
        (start,) = (image.image for image in host.generate(request_of()))
        request = request_of(seeds=SEEDS, init_image=start, batch_size=2)
        latents = noise_for(host, request)
        own, given = list(host.generate(request)), list(host.generate(replace(request, latents=latents)))
        turned = list(host.generate(replace(request, latents=latents.flip(0))))
        for one, same, other in zip(own, given, turned, strict=True):
            assert_same_picture(one, same)
            assert torch.equal(same.latent, latents[same.index])
            assert differ(one, other) or one.index == 1

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"init_image": Image.new("RGB", (8, 8))}, r"init_image is RGB of \(8, 8\), but must be RGB of"),
            ({"init_image": "a.png"}, "init_image is None of None"),
            ({"init_image": Image.new("RGB", (64, 64)), "denoising_strength": 0.0}, "denoising_strength is 0"),
            ({"init_image": Image.new("RGB", (64, 64)), "denoising_strength": 1.5}, "denoising_strength is 1.5"),
            ({"init_image": Image.new("RGB", (64, 64)), "denoising_strength": None}, "denoising_strength is None"),
        ],
    )
    def test_an_image_that_cannot_be_repainted_is_named(self, host: Host, request_of: RequestOf, changes: dict, said: str) -> None:
        with pytest.raises(InvalidInputError, match=said):
            host.validate(request_of(**changes))

    # progress and interruption

    def test_progress_rises_to_one_and_counts_images(self, host: Host, request_of: RequestOf) -> None:
        seen: list[Progress] = []
        for image in host.generate(request_of(seeds=SEEDS, batch_size=2, steps=4), seen.append):
            assert seen[-1].done == image.index + 1
        fractions = [p.fraction for p in seen]
        assert fractions == sorted(fractions)
        assert 0 < fractions[0] < fractions[-1] == 1
        assert {p.total for p in seen} == {3}
        assert all(0 <= p.step <= p.steps for p in seen)
        assert seen[-1].eta_seconds == pytest.approx(0)
        assert len([p for p in seen if 0 < p.step < p.steps]) >= 2 * 3

    def test_previews_come_when_asked_for(self, host: Host, request_of: RequestOf) -> None:
        for every, expected in ((0, False), (2, True)):
            seen: list[Progress] = []
            list(host.generate(request_of(seeds=(1, 2), steps=6, preview_every=every), seen.append))
            previews = [p.previews for p in seen if p.previews]
            assert bool(previews) is expected
            for shown in previews:
                assert set(shown) == {0, 1}
                assert all(
                    isinstance(picture, Image.Image) and picture.mode == "RGB" for picture in shown.values()
                )

    def test_previews_do_not_change_the_result(self, host: Host, request_of: RequestOf) -> None:
        (plain,) = host.generate(request_of(seeds=(1,)))
        (previewed,) = host.generate(request_of(seeds=(1,), preview_every=1))
        assert np.array_equal(pixels(plain), pixels(previewed))

    def test_a_set_event_stops_before_any_image(self, host: Host, request_of: RequestOf) -> None:
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(GenerationInterrupted):
            list(host.generate(request_of(seeds=SEEDS), cancel=cancel))

    def test_an_interrupt_in_the_middle_yields_no_half_image(self, host: Host, request_of: RequestOf) -> None:
        cancel, got, whole = threading.Event(), [], list(host.generate(request_of(seeds=SEEDS, batch_size=1)))

        def stop(progress: Progress) -> None:
            if progress.done == 1 and progress.step == 1:
                cancel.set()

        with pytest.raises(GenerationInterrupted):
            got.extend(host.generate(request_of(seeds=SEEDS, batch_size=1), stop, cancel))
        assert [image.index for image in got] == [0]
        assert_same_picture(got[0], whole[0])

    def test_after_an_interrupt_the_next_request_runs(self, host: Host, request_of: RequestOf) -> None:
        (before,) = host.generate(request_of(seeds=(1,)))
        cancel = threading.Event()
        with pytest.raises(GenerationInterrupted):
            list(host.generate(request_of(seeds=SEEDS), lambda progress: cancel.set(), cancel))
        (after,) = host.generate(request_of(seeds=(1,)))
        assert np.array_equal(pixels(before), pixels(after))

    def test_a_consumer_that_leaves_does_not_block_the_next(self, host: Host, request_of: RequestOf) -> None:
        images = host.generate(request_of(seeds=SEEDS))
        next(images)
        images.close()  # type: ignore[attr-defined]
        assert len(list(host.generate(request_of(seeds=(1,))))) == 1

    def test_an_error_in_the_progress_callback_reaches_the_caller(
        self, host: Host, request_of: RequestOf
    ) -> None:
        def broken(progress: Progress) -> None:
            raise OSError("the browser is gone")

        with pytest.raises(OSError, match="the browser is gone"):
            list(host.generate(request_of(seeds=(1,)), broken))
        assert len(list(host.generate(request_of(seeds=(1,))))) == 1

    def test_two_threads_take_turns(self, host: Host, request_of: RequestOf) -> None:
        expected = {seed: next(iter(host.generate(request_of(seeds=(seed,))))) for seed in (1, 2)}
        got: dict[int, GeneratedImage] = {}

        def work(seed: int) -> None:
            (got[seed],) = host.generate(request_of(seeds=(seed,)))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for seed in (1, 2):
            assert np.array_equal(pixels(got[seed]), pixels(expected[seed]))

    # bad input

    @pytest.mark.parametrize(("field", "value", "message"), BAD_VALUES)
    def test_bad_values_are_refused_before_any_work(
        self, field: str, value: object, message: str, host: Host, request_of: RequestOf
    ) -> None:
        request = replace(request_of(seeds=(1,)), **{field: value})
        for act in (host.validate, host.generate):
            with pytest.raises(InvalidInputError, match=message):
                act(request)

    @pytest.mark.parametrize("kind", ["nan", "inf", "rows", "shape", "dtype", "list"])
    def test_bad_latents_are_refused(self, kind: str, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=(1, 2))
        noise = noise_for(host, request)
        bad = {
            "nan": noise.clone().index_fill_(0, torch.tensor([1]), torch.nan),
            "inf": noise.clone().fill_(torch.inf),
            "rows": noise[:1],
            "shape": noise[..., :-1],
            "dtype": noise.long(),
            "list": noise.tolist(),
        }[kind]
        messages = {
            "nan": "not-a-number.*row 1",
            "rows": r"shape \[1, .*2 seeds",
            "dtype": "int64",
            "list": "list",
        }
        with pytest.raises(InvalidInputError, match=messages.get(kind, "latents")):
            host.validate(replace(request, latents=bad))

    @pytest.mark.parametrize("name", ["", "x", "/file=/etc/passwd", "http://host/file=/no/such/image.png?17"])
    def test_only_images_of_its_gallery_are_found(self, host: Host, name: str) -> None:
        with pytest.raises((NotFoundError, InvalidInputError)):
            host.gallery_file(name)

    def test_what_is_said_is_wanted_and_what_is_done_only_where_allowed(self, host: Host) -> None:
        for kind in ("like", "dislike", "unlike"):
            assert host.wants(Path("image.png"), kind, "")
            assert not host.wants(Path("image.png"), kind, "saved")
        assert all(0 <= weight <= 1 for weight in host.implicit_weights().values())

    def test_a_valid_request_passes(self, host: Host, request_of: RequestOf) -> None:
        request = request_of(seeds=(0, 2**63 - 1))
        host.validate(request)
        host.validate(
            replace(request, latents=noise_for(host, request).half(), prompt="", cfg_scale=1, eta=0.0)
        )
