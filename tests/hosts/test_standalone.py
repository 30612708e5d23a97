"""The standalone host: the contract, and what is its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_rankopt.diffusion import loading, memory, schedules
from lib_rankopt.diffusion.samplers import SAMPLERS
from lib_rankopt.diffusion.sampling import Step
from lib_rankopt.errors import (
    GenerationError,
    GenerationInterrupted,
    InvalidInputError,
    ModelError,
    NotFoundError,
)
from lib_rankopt.hosts import library
from lib_rankopt.hosts.infotext import infotext
from lib_rankopt.hosts.standalone import StandaloneHost
from tests.diffusion import tiny
from tests.hosts.conformance import HostConformance, RequestOf, assert_same_picture, noise_for, pixels


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    tiny.write_checkpoint(folder)
    tiny.write_checkpoint(folder / "more", "second", seed=1)
    return folder


@pytest.fixture(scope="session")
def host(models_dir: Path) -> StandaloneHost:
    return StandaloneHost(models_dir, "tiny.safetensors", device="cpu")


class TestContract(HostConformance):
    pass


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_and_repeats_itself(
    sampler: str, host: StandaloneHost, request_of: RequestOf
) -> None:
    request = request_of(seeds=(1, 2), sampler=sampler, scheduler="Karras")
    first, second = list(host.generate(request)), list(host.generate(request))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(pixels(a), pixels(b))
        assert f"Sampler: {sampler}, " in a.parameters


def test_every_schedule_runs_and_differs(host: StandaloneHost, request_of: RequestOf) -> None:
    images = {}
    for scheduler in schedules.NAMES:
        (image,) = host.generate(request_of(sampler="Euler", scheduler=scheduler, steps=5))
        images[scheduler] = image.image.tobytes()
        assert f"Schedule type: {scheduler}, " in image.parameters
    assert (
        len(set(images.values())) >= len(images) - 3
    )  # Automatic is Uniform and Normal here, Polyexponential is Exponential


@pytest.mark.parametrize("sampler", ["DDIM", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"])
def test_samplers_that_cannot_do_one_step_say_so(
    sampler: str, host: StandaloneHost, request_of: RequestOf
) -> None:
    with pytest.raises(InvalidInputError, match=rf"steps is 1.*{sampler.replace('+', '.')}.*at least 2"):
        host.validate(request_of(sampler=sampler, steps=1))
    assert list(host.generate(request_of(sampler=sampler, steps=2)))


def test_lora_tags_are_refused_without_a_folder(host: StandaloneHost, request_of: RequestOf) -> None:
    assert host.lora_dir() is None
    with pytest.raises(InvalidInputError, match="<lora:style:1>"):
        host.generate(request_of(prompt="a fox <lora:style:1>"))


def test_the_latents_hash_is_in_the_parameters_only_when_given(
    host: StandaloneHost, request_of: RequestOf
) -> None:
    request = request_of()
    (own,) = host.generate(request)
    (given,) = host.generate(replace(request, latents=noise_for(host, request)))
    assert "Rank-Optimize latent" not in own.parameters
    assert "Rank-Optimize latent: " in given.parameters


def test_a_step_hook_sees_and_steers_the_run(host: StandaloneHost, request_of: RequestOf) -> None:
    request = request_of(seeds=(1, 2), sampler="Euler a")
    steps: list[int] = []

    def second_wins(step: Step) -> None:
        steps.append(step.index)
        if step.index == step.steps - 1:
            step.denoised[0] = step.denoised[1]
            step.x[0] = step.x[1]

    first, second = host.generate(request, on_step=second_wins)
    assert steps == [0, 1, 2, 3]
    assert np.array_equal(pixels(first), pixels(second))


class TestModels:
    def test_files_and_folders_are_found_with_the_default_first(self, host: StandaloneHost) -> None:
        own = [name for name in host.models() if name != library.POCKET]
        assert own == ["tiny.safetensors", "more/second.safetensors"]

    def test_another_model_gives_other_pictures_and_the_first_comes_back(
        self, host: StandaloneHost, request_of: RequestOf
    ) -> None:
        (first,) = host.generate(request_of())
        (other,) = host.generate(request_of(model="more/second.safetensors"))
        (again,) = host.generate(request_of())
        assert not np.array_equal(pixels(first), pixels(other))
        assert np.array_equal(pixels(first), pixels(again))
        assert host.identity().sha256 != host.identity("more/second.safetensors").sha256
        assert "Model: second," in other.parameters

    def test_only_one_model_is_in_memory(self, models_dir: Path, request_of: RequestOf) -> None:
        import gc
        import weakref

        host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu")
        list(host.generate(request_of()))
        loaded = host._library._loaded
        assert loaded is not None
        unet = weakref.ref(loaded[2].unet)
        del loaded
        list(host.generate(request_of(model="more/second.safetensors")))
        gc.collect()
        assert unet() is None

    def test_a_path_outside_the_folder_may_be_the_default(
        self, models_dir: Path, request_of: RequestOf
    ) -> None:
        path = models_dir / "more/second.safetensors"
        host = StandaloneHost(default_model=path, device="cpu")
        assert host.models()[0] == str(path)
        assert len(list(host.generate(request_of()))) == 1

    def test_a_request_cannot_name_a_path(self, models_dir: Path, request_of: RequestOf) -> None:
        host = StandaloneHost(models_dir / "more", "second.safetensors", device="cpu")
        for name in (str(models_dir / "tiny.safetensors"), "../tiny.safetensors"):
            with pytest.raises(NotFoundError, match="not known"):
                host.generate(request_of(model=name))

    def test_a_misspelt_name_gets_the_close_ones(self, host: StandaloneHost) -> None:
        with pytest.raises(NotFoundError, match=r"did you mean 'tiny.safetensors'"):
            host.identity("tinny.safetensor")

    def test_a_replaced_file_is_another_model(self, tmp_path: Path, request_of: RequestOf) -> None:
        tiny.write_checkpoint(tmp_path)
        host = StandaloneHost(tmp_path, "tiny.safetensors", device="cpu")
        (first,) = host.generate(request_of())
        before = host.identity()
        tiny.write_checkpoint(tmp_path, seed=5)
        (second,) = host.generate(request_of())
        assert host.identity() != before
        assert not np.array_equal(pixels(first), pixels(second))

    def test_a_deleted_or_broken_file_is_named(self, tmp_path: Path, request_of: RequestOf) -> None:
        path = tiny.write_checkpoint(tmp_path)
        host = StandaloneHost(tmp_path, "tiny.safetensors", device="cpu")
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(ModelError, match=r"tiny\.safetensors.*not a whole"):
            host.generate(request_of())
        path.unlink()
        with pytest.raises(NotFoundError, match=r"tiny\.safetensors' is not known"):
            host.generate(request_of())

    def test_without_any_model_the_message_says_so(
        self, monkeypatch: pytest.MonkeyPatch, request_of: RequestOf
    ) -> None:
        monkeypatch.setattr(library, "pocket_path", lambda: None)
        host = StandaloneHost()
        assert host.models() == ()
        with pytest.raises(NotFoundError, match="there is no model"):
            host.generate(request_of())

    @pytest.mark.parametrize("embedded", [True, False])
    def test_a_folder_called_pocket_does_not_pass_for_the_embedded_model(
        self, embedded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = tmp_path / "own.safetensors"
        own.write_bytes(b"")
        monkeypatch.setattr(library, "pocket_path", lambda: own if embedded else None)
        for name in ("pocket", "pocket (folder)"):
            (tmp_path / "models" / name).mkdir(parents=True)
            (tmp_path / "models" / name / "model_index.json").write_text("{}")
        found = library.ModelLibrary(tmp_path / "models", library.POCKET)
        assert set(found.names()) == {"pocket (folder)", "pocket (folder)*"} | ({library.POCKET} if embedded else set())
        assert found.path("pocket (folder)*") == tmp_path / "models/pocket"
        assert found.path("pocket (folder)") == tmp_path / "models/pocket (folder)"
        if embedded:
            assert found.path(None) == own

    def test_a_default_path_called_pocket_is_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pocket").mkdir()
        (tmp_path / "pocket" / "model_index.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
        assert library.ModelLibrary(None, "./pocket").path(None) == tmp_path / "pocket"
        if library.pocket_path() is not None:
            assert library.ModelLibrary(None, "pocket").path(None) == library.pocket_path()

    def test_a_closed_folder_is_passed_over_with_one_warning(
        self, models_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Simulated, as the tests may run as a user to whom no folder is closed."""
        closed, real = models_dir / "closed", Path.iterdir
        closed.mkdir()

        def iterdir(folder: Path) -> Any:
            if folder == closed:
                raise PermissionError(13, "Permission denied", str(folder))
            return real(folder)

        monkeypatch.setattr(Path, "iterdir", iterdir)
        found = library.ModelLibrary(models_dir, "tiny.safetensors")
        with caplog.at_level(logging.WARNING, "rankopt.hosts"):
            names = found.names()
            assert found.names() == names
        closed.rmdir()
        assert [name for name in names if name != library.POCKET] == ["tiny.safetensors", "more/second.safetensors"]
        (record,) = caplog.records
        assert str(closed) in record.getMessage()

    def test_a_folder_whose_files_are_closed_lists_the_rest(
        self, models_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before Python 3.14, asking for the kind of a file raises where its folder may not be entered."""

        def guarded(real: Any) -> Any:
            def ask(path: Path) -> bool:
                if path.is_relative_to(models_dir / "more") and path != models_dir / "more":
                    raise PermissionError(13, "Permission denied", str(path))
                return bool(real(path))

            return ask

        for name in ("is_file", "is_dir"):
            monkeypatch.setattr(Path, name, guarded(getattr(Path, name)))
        found = library.ModelLibrary(models_dir, str(models_dir / "more/second.safetensors"))
        assert [name for name in found.names() if name != library.POCKET] == ["tiny.safetensors"]
        with pytest.raises(NotFoundError, match=r"second\.safetensors"):
            found.path(None)

    def test_a_file_that_closes_later_is_a_model_error(
        self, models_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = library.ModelLibrary(models_dir, "tiny.safetensors")
        path = found.path(None)
        real = Path.stat

        def stat(self: Path, **options: Any) -> Any:
            if self == path:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, **options)

        with monkeypatch.context() as patch:
            patch.setattr(found, "path", lambda name: path)
            patch.setattr(Path, "stat", stat)
            with pytest.raises(ModelError, match=r"tiny\.safetensors: cannot be read"):
                found.config(None)

    def test_v_prediction_models_run(self, tmp_path: Path, request_of: RequestOf) -> None:
        tiny.write_checkpoint(tmp_path, parameterization="v")
        host = StandaloneHost(tmp_path, "tiny.safetensors", device="cpu")
        assert host.identity().prediction_type == "v_prediction"
        assert len(list(host.generate(request_of()))) == 1


def out_of_memory(*args: Any, **kwargs: Any) -> Any:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def watch_release(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that memory is given back to, each time while no error is handled, which would hold the tensors."""
    released: list[str] = []

    def release(device: torch.device) -> None:
        assert sys.exc_info()[0] is None
        released.append(device.type)

    monkeypatch.setattr(memory, "release", release)
    return released


class TestTrouble:
    def poison(self, host: StandaloneHost, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
        model = host._library.load(None, host.device, host.dtype)
        real = model.unet.forward
        monkeypatch.setattr(model.unet, "forward", lambda *args, **kwargs: act(real, *args, **kwargs))

    def test_a_model_that_returns_nan_is_an_error(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.poison(host, monkeypatch, lambda real, x, *args, **kwargs: (x * torch.nan,))
        with pytest.raises(GenerationError, match="not-a-number"):
            list(host.generate(request_of()))

    def test_a_vae_that_returns_nan_is_an_error(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = host._library.load(None, host.device, host.dtype)
        monkeypatch.setattr(model.vae, "decode", lambda z, return_dict: (z[:, :3] * torch.nan,))
        with pytest.raises(GenerationError, match="VAE returned"):
            list(host.generate(request_of()))

    @pytest.mark.parametrize("fits", [1, 2, 3])
    def test_out_of_memory_halves_the_batch_and_keeps_the_pictures(
        self, fits: int, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = request_of(seeds=(1, 2, 3, 4, 5), batch_size=5, sampler="Euler a")
        expected, sizes, fractions = list(host.generate(request)), [], []

        def limited(real: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if len(x) > 2 * fits:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            sizes.append(len(x) // 2)
            return real(x, *args, **kwargs)

        self.poison(host, monkeypatch, limited)
        images = list(host.generate(request, lambda progress: fractions.append(progress.fraction)))
        for first, second in zip(images, expected, strict=True):
            assert_same_picture(first, second)
        assert max(sizes) <= fits
        assert fractions == sorted(fractions)

    def test_out_of_memory_with_one_image_is_an_error(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(real: Any, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"
            )

        self.poison(host, monkeypatch, never)
        with pytest.raises(GenerationError, match="out of memory with a single image of 64×64"):
            list(host.generate(request_of(seeds=(1, 2))))

    @pytest.mark.parametrize("act", ["generate", "identity"])
    def test_out_of_memory_while_loading_is_an_error_and_gives_memory_back(
        self, act: str, models_dir: Path, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = watch_release(monkeypatch)
        monkeypatch.setattr(loading, "load", out_of_memory)
        host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu")
        monkeypatch.setattr(host._library, "settled", lambda name: False)
        with pytest.raises(ModelError, match=r"tiny\.safetensors: out of memory while loading it on cpu.*2 GiB"):
            list(host.generate(request_of())) if act == "generate" else host.identity()
        assert released == ["cpu"]
        monkeypatch.undo()
        assert len(list(host.generate(request_of()))) == 1

    def test_out_of_memory_while_encoding_is_an_error_and_gives_memory_back(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = host._library.load(None, host.device, host.dtype)
        released = watch_release(monkeypatch)
        monkeypatch.setattr(model.text_encoders[0], "forward", out_of_memory)
        with pytest.raises(GenerationError, match=r"out of memory while encoding the prompt.*2 GiB"):
            list(host.generate(request_of()))
        assert released == ["cpu"]

    def test_out_of_memory_while_decoding_is_an_error_and_gives_memory_back(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = host._library.load(None, host.device, host.dtype)
        released = watch_release(monkeypatch)
        monkeypatch.setattr(model.vae, "decode", out_of_memory)
        with pytest.raises(GenerationError, match=r"out of memory while decoding 64×64.*2 GiB"):
            list(host.generate(request_of()))
        assert released == ["cpu"]

    @pytest.mark.parametrize("error", [RuntimeError("a bug"), ModelError("a broken file")])
    def test_other_errors_of_loading_are_not_hidden(
        self, error: Exception, models_dir: Path, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any) -> None:
            raise error

        monkeypatch.setattr(loading, "load", broken)
        host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu")
        with pytest.raises(type(error), match=str(error)):
            list(host.generate(request_of()))

    def test_other_runtime_errors_are_not_hidden(
        self, host: StandaloneHost, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(real: Any, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("a bug")

        self.poison(host, monkeypatch, broken)
        with pytest.raises(RuntimeError, match="a bug"):
            list(host.generate(request_of()))

    def test_a_waiting_request_can_be_cancelled(self, host: StandaloneHost, request_of: RequestOf) -> None:
        cancel, began, outcome = threading.Event(), threading.Event(), []

        def wait() -> None:
            began.set()
            try:
                list(host.generate(request_of(), cancel=cancel))
            except GenerationInterrupted as error:
                outcome.append(str(error))

        thread = threading.Thread(target=wait)
        with host._lock:
            thread.start()
            assert began.wait(10)
            cancel.set()
            thread.join(10)
        assert outcome == ["interrupted while waiting for another request"]

    def test_a_consumer_that_forgets_its_images_blocks_nobody(
        self, host: StandaloneHost, request_of: RequestOf
    ) -> None:
        forgotten = host.generate(request_of(seeds=(1, 2)))
        first = next(forgotten)
        (other,) = host.generate(request_of(seeds=(2,)))
        assert first.index == 0
        assert_same_picture(next(forgotten), other)


def test_guidance_of_one_ignores_the_negative_prompt(host: StandaloneHost, request_of: RequestOf) -> None:
    (first,) = host.generate(request_of(cfg_scale=1.0, negative_prompt="a"))
    (second,) = host.generate(request_of(cfg_scale=1.0, negative_prompt="b"))
    assert np.array_equal(pixels(first), pixels(second))


def test_infotext_quotes_what_would_break_its_reader() -> None:
    text = infotext("p", "", {"Steps": 3, "CFG scale": 7.0, "A": "x, y", "B": 'say: "z"', "C": None})
    assert text == 'p\nSteps: 3, CFG scale: 7, A: "x, y", B: "say: \\"z\\""'
    assert json.loads('"say: \\"z\\""') == 'say: "z"'


def test_half_precision_runs_near_full_precision(models_dir: Path, request_of: RequestOf) -> None:
    host = StandaloneHost(models_dir, "tiny.safetensors", device="cpu", dtype=torch.bfloat16)
    full = StandaloneHost(models_dir, "tiny.safetensors", device="cpu")
    (rough,), (exact,) = (h.generate(request_of(sampler="Euler", cfg_scale=2.0)) for h in (host, full))
    assert np.abs(pixels(rough) - pixels(exact)).mean() < 12


def test_importing_the_host_loads_nothing_heavy() -> None:
    code = (
        "import sys; from lib_rankopt.hosts.standalone import StandaloneHost; StandaloneHost().models(); "
        "heavy = {'torch', 'diffusers', 'transformers', 'gradio', 'fastapi', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
