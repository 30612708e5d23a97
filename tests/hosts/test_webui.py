"""The webui's host over a stand-in for the webui: the contract, and what is its own. The real webui is in tests/webui."""

from __future__ import annotations

import ast
import base64
import io
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_rankopt.errors import GenerationError, GenerationInterrupted, InvalidInputError, ModelError, NotFoundError
from lib_rankopt.hosts import latent_text
from tests.hosts.conformance import SEEDS, HostConformance, RequestOf, noise_for, pixels
from tests.hosts.standin_webui import standin

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def webui() -> Iterator[Any]:
    """The stand-in's ``modules``, with our script registered as the webui does it."""
    with standin("call_queue", "processing", "progress", "scripts", "sd_models") as modules:
        from lib_rankopt.hosts.webui.script import RankOptimizeScript

        for runner in (modules.scripts.scripts_txt2img, modules.scripts.scripts_img2img):
            runner.scripts.append(RankOptimizeScript())
        yield modules


@pytest.fixture
def host(webui: Any) -> Any:
    from lib_rankopt.hosts.webui.host import WebuiHost

    return WebuiHost(lambda _is_img2img: [0])


class TestContract(HostConformance):
    pass


# -- what is its own
def test_the_run_is_a_job_of_the_webui(host: Any, webui: Any, request_of: RequestOf) -> None:
    before = len(webui.progress.finished_tasks)
    list(host.generate(request_of(seeds=SEEDS, batch_size=2)))
    assert len(webui.progress.finished_tasks) == before + 1
    assert not webui.progress.pending_tasks
    assert webui.shared.state.seen[-1] == webui.progress.finished_tasks[-1]
    assert not webui.call_queue.queue_lock.locked()


def test_the_lock_is_free_while_the_caller_looks_and_waited_for(host: Any, webui: Any, request_of: RequestOf) -> None:
    with webui.call_queue.queue_lock:
        images: list[Any] = []
        thread = threading.Thread(target=lambda: images.extend(host.generate(request_of())))
        thread.start()
        time.sleep(0.3)
        assert images == []
        assert len(webui.progress.pending_tasks) == 1
    thread.join(20)
    assert len(images) == 1


def test_cancelling_does_not_wait_for_the_queue(host: Any, webui: Any, request_of: RequestOf) -> None:
    cancel = threading.Event()
    ran = len(webui.processing.runs)
    with webui.call_queue.queue_lock:
        threading.Timer(0.2, cancel.set).start()
        begin = time.monotonic()
        with pytest.raises(GenerationInterrupted):
            list(host.generate(request_of(), cancel=cancel))
        assert time.monotonic() - begin < 5
    assert len(list(host.generate(request_of()))) == 1
    assert len(webui.processing.runs) == ran + 1


@pytest.mark.parametrize("button", ["interrupt", "skip"])
def test_the_webuis_buttons_leave_no_half_image(host: Any, webui: Any, request_of: RequestOf, button: str) -> None:
    pressed = []

    def press(progress: Any) -> None:
        # the job runs ahead of its reader, so press from within the job
        pressed.append(progress)

    request = request_of(seeds=SEEDS, batch_size=1)
    original = webui.processing.Sampler.callback_state

    def callback_state(self: Any, values: dict[str, Any]) -> None:
        if len(webui.processing.runs[-1].all_seeds) == 3 and webui.processing.runs[-1].iteration == 1 and values["i"] == 2:
            getattr(webui.shared.state, button)()
        original(self, values)

    webui.processing.Sampler.callback_state = callback_state
    got = []
    try:
        with pytest.raises(GenerationInterrupted, match="of 3 images"):
            got.extend(host.generate(request, press))
    finally:
        webui.processing.Sampler.callback_state = original
    assert [image.index for image in got] == ([0] if button == "interrupt" else [0, 2])


def test_another_checkpoint_is_said_and_not_loaded(host: Any, request_of: RequestOf) -> None:
    with pytest.raises(ModelError, match=r"has model\.safetensors loaded.*other\.safetensors"):
        list(host.generate(request_of(model="other.safetensors")))


def test_the_choice_in_forges_menu_counts_before_it_is_loaded(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = {"checkpoint_info": webui.sd_models.checkpoint_aliases["other.safetensors"]}
    monkeypatch.setattr(webui.sd_models.model_data, "forge_loading_parameters", waiting, raising=False)
    assert host.identity().name == "other.safetensors"
    assert host.models() == ("other.safetensors", "model.safetensors")
    with pytest.raises(ModelError, match=r"has other\.safetensors loaded"):
        list(host.generate(request_of(model="model.safetensors")))


def test_an_interrupted_run_from_an_image_begins_no_other_batch(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smaller last batch of img2img is a run of its own."""
    ran = len(webui.processing.runs)
    monkeypatch.setattr(webui.processing.Sampler, "sample", lambda self, p, x: webui.shared.state.interrupt() or x)
    with pytest.raises(GenerationInterrupted, match="0 of 3"):
        list(host.generate(request_of(seeds=SEEDS, batch_size=2, init_image=Image.new("RGB", (64, 64)))))
    assert len(webui.processing.runs) == ran + 1


def test_a_checkpoint_that_is_chosen_during_a_run_ends_it(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = webui.processing.Sampler.sample
    other = SimpleNamespace(**vars(webui.shared.sd_model))
    other.sd_checkpoint_info = webui.sd_models.checkpoint_aliases["other.safetensors"]

    def sample(self: Any, p: Any, x: Any) -> Any:
        made = original(self, p, x)
        monkeypatch.setattr(webui.shared, "sd_model", other)
        return made

    monkeypatch.setattr(webui.processing.Sampler, "sample", sample)
    got = []
    with pytest.raises(ModelError, match=r"changed to other\.safetensors .* Choose model\.safetensors"):
        got.extend(host.generate(request_of(seeds=SEEDS, batch_size=1)))
    assert len(got) <= 1


def test_a_refreshed_list_has_the_loaded_checkpoint_once(host: Any, webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {title: SimpleNamespace(**vars(info)) for title, info in webui.sd_models.checkpoints_list.items()}
    monkeypatch.setattr(webui.sd_models, "checkpoints_list", listed)
    assert host.models() == ("model.safetensors", "other.safetensors")


def test_a_model_of_forge_says_its_latents_and_its_prediction(host: Any, webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = SimpleNamespace(prediction_type="v_prediction")
    parts = SimpleNamespace(vae=SimpleNamespace(latent_channels=16), unet=SimpleNamespace(model=SimpleNamespace(predictor=predictor)))
    model = SimpleNamespace(forge_objects=parts, sd_checkpoint_info=webui.shared.sd_model.sd_checkpoint_info)
    monkeypatch.setattr(webui.shared, "sd_model", model)
    assert host.latent_shape(64, 128) == (16, 16, 8)
    assert host.identity().prediction_type == "v_prediction"
    waiting = {"checkpoint_info": webui.sd_models.checkpoint_aliases["other.safetensors"]}
    monkeypatch.setattr(webui.sd_models.model_data, "forge_loading_parameters", waiting, raising=False)
    for before in (model, SimpleNamespace()):  # another one, and none yet
        monkeypatch.setattr(webui.shared, "sd_model", before)
        assert host.latent_shape(64, 64) == (4, 8, 8)
        assert host.identity().prediction_type == "epsilon"


def test_latents_of_a_run_in_inference_mode_are_ordinary_tensors(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webui.processing, "process_images", torch.inference_mode()(webui.processing.process_images))
    (image,) = host.generate(request_of())
    assert not image.latent.is_inference()


def test_on_forge_the_pipeline_runs_on_its_main_thread_and_errors_come_back(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[threading.Thread] = []

    def run_and_wait_result(work: Any) -> None:
        def loop() -> None:
            ran.append(threading.current_thread())
            work()  # where Forge's own loop would end, so nothing may be raised

        thread = threading.Thread(target=loop, name="main")
        thread.start()
        thread.join()

    monkeypatch.setitem(sys.modules, "modules_forge.main_thread", SimpleNamespace(run_and_wait_result=run_and_wait_result))
    assert len(list(host.generate(request_of()))) == 1
    monkeypatch.setattr(webui.processing, "process_images", lambda _p: webui.shared.nothing_of_this_name)
    with pytest.raises(GenerationError, match="nothing_of_this_name"):
        list(host.generate(request_of()))
    assert [thread.name for thread in ran] == ["main", "main"]


def test_the_page_opens_without_a_checkpoint(host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui.sd_models, "checkpoints_list", {})
    monkeypatch.setattr(webui.sd_models, "checkpoint_aliases", {})
    monkeypatch.setattr(webui.sd_models.model_data, "sd_model", None)
    assert host.models() == ()
    assert host.defaults().width == 512
    with pytest.raises(NotFoundError, match="does not have a checkpoint: put it into /models"):
        list(host.generate(request_of()))


def test_a_model_with_other_latents_fails_by_name_and_frees_the_queue(host: Any, webui: Any, request_of: RequestOf) -> None:
    request = request_of(seeds=(1, 2))
    given = replace(request, latents=noise_for(host, request))
    images = host.generate(given)
    webui.shared.sd_model.latent_channels = 16
    try:
        with pytest.raises(InvalidInputError, match=r"\(2, 4, 8, 8\).*\(2, 16, 8, 8\)"):
            list(images)
    finally:
        webui.shared.sd_model.latent_channels = 4
    assert len(list(host.generate(given))) == 2


def test_memory_that_runs_out_halves_the_batch(host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(host.generate(request_of(seeds=SEEDS)))
    original = webui.processing.Sampler.sample
    sizes = []

    def sample(self: Any, p: Any, x: Any) -> Any:
        sizes.append(len(x))
        if len(x) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, p, x)

    monkeypatch.setattr(webui.processing.Sampler, "sample", sample)
    images = list(host.generate(request_of(seeds=SEEDS, latents=torch.stack([one.latent for one in whole]))))
    assert sizes == [3, 1, 1, 1]
    assert [image.index for image in images] == [0, 1, 2]
    for first, second in zip(whole, images, strict=True):
        assert np.array_equal(pixels(first), pixels(second))


class NansException(Exception):
    """The webui's own, which is no RuntimeError."""


@pytest.mark.parametrize("kind", [NansException, RuntimeError])
def test_a_failing_pipeline_is_said_in_one_sentence(
    host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_args: Any) -> None:
        raise kind("A tensor with all NaNs was produced in Unet.")

    monkeypatch.setattr(webui.processing.Sampler, "sample", fail)
    with pytest.raises(GenerationError, match=f"{kind.__name__}: A tensor with all NaNs"):
        list(host.generate(request_of()))
    assert not webui.call_queue.queue_lock.locked()


def test_the_persons_last_generation_stays_on_record(host: Any, webui: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Path(webui.paths.data_path) / "params.txt"
    record.write_text("a cat of theirs")
    original = webui.processing.process_images

    def process_images(p: Any) -> None:
        record.write_text("a fox of ours")
        original(p)

    monkeypatch.setattr(webui.processing, "process_images", process_images)
    list(host.generate(request_of()))
    assert record.read_text() == "a cat of theirs"


def test_other_runs_of_the_webui_are_not_touched(webui: Any, host: Any) -> None:
    p = webui.processing.StableDiffusionProcessingTxt2Img(prompt=["x"], seed=[1], steps=3, width=64, height=64)
    p.scripts, p.script_args = webui.scripts.scripts_txt2img, [0]
    webui.processing.process_images(p)
    assert type(p.rng).__name__ == "ImageRNG"
    assert "callback_state" not in vars(p.sampler)


# -- the latent in the file
def png(latent: torch.Tensor | None) -> bytes:
    """A PNG that carries a latent."""
    chunks = PngInfo()
    if latent is not None:
        chunks.add_text(latent_text.CHUNK, latent_text.encode(latent))
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def txt2img(webui: Any, file: Any, kept: str = "", **changes: Any) -> Any:
    """An ordinary run with the start latent switched on."""
    values = {"prompt": ["a red fox"] * 2, "seed": [3, 4], "batch_size": 2, "steps": 4, "width": 64, "height": 64}
    p = webui.processing.StableDiffusionProcessingTxt2Img(**{**values, **changes})
    p.is_api, p.scripts, p.script_args = True, webui.scripts.scripts_txt2img, [0, True, file, kept]
    webui.scripts.scripts_txt2img.scripts[0].args_to = 4
    try:
        webui.processing.process_images(p)
    finally:
        webui.scripts.scripts_txt2img.scripts[0].args_to = 1
    assert webui.scripts.scripts_txt2img.swallowed == []
    return p


class NamedString(str):
    """What gradio 4 gives for an upload."""


@pytest.mark.parametrize("kind", ["upload", "upload of gradio 4", "base64", "data url"])
def test_a_run_starts_from_the_latent_of_a_png(webui: Any, host: Any, tmp_path: Path, kind: str) -> None:
    latent = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(8))
    (tmp_path / "image.png").write_bytes(png(latent))
    text = base64.b64encode(png(latent)).decode()
    named = NamedString(tmp_path / "image.png")
    named.name = str(named)  # type: ignore[attr-defined]
    upload = SimpleNamespace(name=str(tmp_path / "image.png"))
    url = f"data:image/png;base64,{text}"
    file = {"upload": upload, "upload of gradio 4": named, "base64": text, "data url": url}[kind]
    p = txt2img(webui, file)
    assert torch.equal(p.rng.first, latent.half().float().expand(2, -1, -1, -1))
    assert p.comments == []
    assert "Rank-Optimize start latent" in p.extra_generation_params


def test_another_size_keeps_the_middle(webui: Any, host: Any) -> None:
    latent = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(8))
    text, half = base64.b64encode(png(latent)).decode(), latent.half().float()
    wide = txt2img(webui, text, width=128)
    own = webui.rng.ImageRNG((4, 8, 16), [3, 4]).next()
    assert torch.equal(wide.rng.first[:, :, :, 4:12], half.expand(2, -1, -1, -1))
    assert torch.equal(wide.rng.first[:, :, :, :4], own[:, :, :, :4])
    small = txt2img(webui, text, height=32)
    assert torch.equal(small.rng.first, half[:, 2:6].expand(2, -1, -1, -1))


def test_a_run_starts_from_a_latent_of_the_data_folder(webui: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    latent, name = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(8)), "ab" * 32
    p = txt2img(webui, None, name)
    assert p.comments == [f"The start latent was not used: There is no latent '{name}'."]
    monkeypatch.setattr(webui.scripts.scripts_txt2img.scripts[0], "find_latent", {name: latent}.__getitem__)
    p = txt2img(webui, None, name)
    assert torch.equal(p.rng.first, latent.expand(2, -1, -1, -1))
    assert p.extra_generation_params == {"Rank-Optimize latent": name}
    other = base64.b64encode(png(latent.flip(0))).decode()  # a file goes before
    assert torch.equal(txt2img(webui, other, name).rng.first[0], latent.flip(0).half().float())


def test_files_that_cannot_be_used_are_said_and_the_run_goes_on(webui: Any, host: Any, tmp_path: Path) -> None:
    other = base64.b64encode(png(torch.randn((16, 8, 8), generator=torch.Generator().manual_seed(8)))).decode()
    cases = {
        base64.b64encode(png(None)).decode(): "carries no latent",
        base64.b64encode(b"no picture").decode(): "no PNG that can be read",
        "/etc/passwd": "no PNG",
        "ü": "base64",
        other: "16 channels",
    }
    for file, words in cases.items():
        p = txt2img(webui, file)
        assert words in p.comments[0]
        assert type(p.rng).__name__ == "ImageRNG"


def test_saved_images_of_ours_carry_their_latent_and_others_do_not(
    webui: Any, host: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib_rankopt.hosts.webui import saving

    saved: list[Any] = []

    def save(p: Any, image: Any, name: str = "a.png") -> None:
        saved.append(SimpleNamespace(p=p, image=image, filename=name, pnginfo={"parameters": "as it was"}))
        saving.add_chunks(saved[-1])

    monkeypatch.setattr(webui.processing, "save_image", save)
    images = list(host.generate(request_of(seeds=SEEDS, batch_size=2)))
    for one, image in zip(saved, images, strict=True):
        assert torch.equal(latent_text.decode(one.pnginfo[latent_text.CHUNK]), image.latent.half().float())
        assert one.pnginfo["parameters"] == "as it was"
    save(saved[0].p, saved[0].image)  # a mask after the image, or the grid
    save(webui.processing.StableDiffusionProcessingTxt2Img(), saved[0].image)
    monkeypatch.setattr(webui.processing, "save_image", lambda p, image: save(p, image, "a.jpg"))
    list(host.generate(request_of()))
    monkeypatch.setattr(webui.processing, "save_image", lambda p, image: save(p, Image.new("RGB", (128, 64))))
    list(host.generate(request_of()))
    assert [set(one.pnginfo) for one in saved[3:]] == [{"parameters"}] * 4


def test_an_image_from_a_start_latent_carries_it_on(webui: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.hosts.webui import saving

    saved: list[Any] = []

    def save(p: Any, image: Any) -> None:
        saved.append(SimpleNamespace(p=p, image=image, filename="a.png", pnginfo={}))
        saving.add_chunks(saved[-1])

    monkeypatch.setattr(webui.processing, "save_image", save)
    latent = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(8)).half().float()
    p = txt2img(webui, base64.b64encode(png(latent)).decode(), width=128)
    for one, first in zip(saved, p.rng.first, strict=True):
        assert torch.equal(latent_text.decode(one.pnginfo[latent_text.CHUNK]), first.half().float())


# -- the surroundings
def test_folder_and_database_come_from_the_options(webui: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.hosts.webui import surroundings

    surroundings.add_options(None)
    assert surroundings.data_dir() == Path(webui.paths.data_path) / "rankopt"
    assert surroundings.database_url() is None
    monkeypatch.setitem(webui.shared.opts.data, "rankopt_data_dir", str(tmp_path / "settings"))
    assert surroundings.data_dir() == tmp_path / "settings"
    monkeypatch.setattr(webui.shared.cmd_opts, "rankopt_data_dir", str(tmp_path / "option"))
    monkeypatch.setattr(webui.shared.cmd_opts, "rankopt_database_url", "postgresql://u@h/n")
    assert surroundings.data_dir() == tmp_path / "option"
    assert surroundings.database_url() == "postgresql://u@h/n"


def test_accounts_of_the_webui_are_ours(webui: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.hosts.webui import surroundings

    assert surroundings.credentials() is None
    monkeypatch.setattr(webui.shared.cmd_opts, "api_auth", "ann:a:b,bob:x")
    (tmp_path / "accounts").write_text("cid:1, dan:2\neve:3\n", encoding="utf8")
    monkeypatch.setattr(webui.shared.cmd_opts, "gradio_auth_path", str(tmp_path / "accounts"))
    assert surroundings.credentials() == {"ann": "a:b", "bob": "x", "cid": "1", "dan": "2", "eve": "3"}


def test_what_outlives_a_reload_is_made_once(webui: Any) -> None:
    from lib_rankopt.hosts.webui import surroundings

    made: list[int] = []
    for _ in range(2):
        assert surroundings.kept("thing", lambda: made.append(1) or "made") == "made"
    assert made == [1]


# -- the webui's own settings
@pytest.fixture
def opts(webui: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("CLIP_stop_at_last_layers", "sd_vae", "eta_noise_seed_delta"):
        monkeypatch.setattr(webui.shared.opts, name, getattr(webui.shared.opts, name))
    return webui.shared.opts


def test_a_pinned_request_keeps_what_the_webui_is_set_to(host: Any, webui: Any, opts: Any, request_of: RequestOf) -> None:
    opts.CLIP_stop_at_last_layers, opts.eta_noise_seed_delta = 2, 31337
    pinned = host.pin(request_of(extra={"styles": ["oil"]}))
    assert pinned.prompt == f"oil painting of {request_of().prompt}"
    assert pinned.negative_prompt.endswith("photo")
    assert pinned.clip_skip == 2
    assert pinned.extra == {"options": {"sd_vae": "Automatic", "eta_noise_seed_delta": 31337}}
    assert host.pin(pinned) == pinned

    (before,) = host.generate(pinned)
    opts.CLIP_stop_at_last_layers, opts.sd_vae = 1, "None"
    assert host.pin(pinned) == pinned
    (after,) = host.generate(pinned)
    assert np.array_equal(pixels(before), pixels(after))
    assert webui.processing.runs[-1].override_settings == {"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 2}
    assert (opts.CLIP_stop_at_last_layers, opts.sd_vae) == (1, "None")
    (other,) = host.generate(request_of())  # not pinned: as the webui is set
    assert webui.processing.runs[-1].override_settings == {}
    assert not np.array_equal(pixels(other), pixels(after))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"styles": ["olj"]}, "style 'olj' is not known; did you mean 'oil'"),
        ({"styles": "oil"}, "styles is a list"),
        ({"options": ["sd_vae"]}, "options are names with values"),
        ({"options": {"outdir_samples": "/"}}, "outdir_samples, which decides nothing"),
        ({"options": {"sd_model_checkpoint": "other"}}, "sd_model_checkpoint"),
    ],
)
def test_what_is_no_setting_of_an_image_is_refused(host: Any, request_of: RequestOf, extra: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        host.pin(request_of(extra=extra))


def test_an_option_of_an_extension_that_is_gone_does_not_end_a_study(host: Any, opts: Any, request_of: RequestOf) -> None:
    assert len(list(host.generate(request_of(extra={"options": {"gone": 1}})))) == 1


def test_a_vae_that_is_gone_is_named(host: Any, opts: Any, monkeypatch: pytest.MonkeyPatch, request_of: RequestOf) -> None:
    monkeypatch.setitem(sys.modules, "modules.sd_vae", SimpleNamespace(vae_dict={"there.pt": "/"}))
    request = request_of(extra={"options": {"sd_vae": "lost.pt"}})
    with pytest.raises(ModelError, match=r"the VAE lost\.pt, which is not there any more"):
        list(host.generate(request))
    assert len(list(host.generate(request_of(extra={"options": {"sd_vae": "there.pt"}})))) == 1


def test_forges_vae_and_text_encoders_stay_with_a_study(
    host: Any, opts: Any, webui: Any, monkeypatch: pytest.MonkeyPatch, request_of: RequestOf
) -> None:
    name, there, lost = "forge_additional_modules", "/models/VAE/there.pt", "/models/text_encoder/lost.pt"
    monkeypatch.setitem(opts.data_labels, name, webui.shared.OptionInfo([]))
    monkeypatch.setattr(opts, name, [there], raising=False)
    monkeypatch.setitem(sys.modules, "modules_forge.main_entry", SimpleNamespace(module_list={"there.pt": there}))
    pinned = host.pin(request_of())
    monkeypatch.setattr(opts, name, [])
    assert len(list(host.generate(pinned))) == 1
    assert webui.processing.runs[-1].override_settings == {name: [there]}
    with pytest.raises(ModelError, match=r"made with lost\.pt, which is not there"):
        list(host.generate(request_of(extra={"options": {name: [there, lost]}})))


def test_other_extensions_that_change_prompts_or_order_are_named(host: Any, webui: Any, request_of: RequestOf) -> None:
    class Other(webui.scripts.Script):
        def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
            self.change(p)

    other = Other()
    webui.scripts.scripts_txt2img.scripts.insert(0, other)
    try:
        other.change = lambda p: setattr(p, "prompts", [f"{i} fox" for i, _ in enumerate(p.prompts)])
        with pytest.raises(GenerationError, match="wildcards"):
            list(host.generate(request_of(seeds=SEEDS)))
        other.change = lambda p: p.seeds.reverse()
        with pytest.raises(GenerationError, match="order of the images"):
            list(host.generate(request_of(seeds=SEEDS)))
    finally:
        webui.scripts.scripts_txt2img.scripts.remove(other)


# -- the names
def _names_taken() -> dict[str, set[str]]:
    """Names of the webui that our code takes, by module: ``from modules import x`` and every ``x.name`` in that file."""
    taken: dict[str, set[str]] = {}
    for path in [*(ROOT / "lib_rankopt/hosts/webui").glob("*.py"), ROOT / "scripts/rankopt.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "modules"
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
                taken.setdefault(imported[node.value.id], set()).add(node.attr)
    return taken


def test_every_name_that_we_take_is_in_the_webui() -> None:
    table = yaml.safe_load((HERE / "webui_names.yaml").read_text(encoding="utf-8"))
    for module, names in _names_taken().items():
        assert names <= set(table[module]), f"modules.{module}: {sorted(names - set(table[module]))}"
    assert len(_names_taken()) >= 8


def test_the_stand_in_has_no_name_that_the_webui_lacks(webui: Any) -> None:
    table = yaml.safe_load((HERE / "webui_names.yaml").read_text(encoding="utf-8"))
    own = {
        "processing": {"runs", "Sampler", "save_image"}, "sd_models": {"add"}, "shared": {"Styles"},
        "infotext_utils": {"paste_fields", "registered_param_bindings"},
    }  # fmt: skip
    for path in (HERE / "standin/modules").glob("[a-z]*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        defined |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        unknown = defined - set(table[path.stem]) - own.get(path.stem, set())
        assert not unknown, f"modules.{path.stem}: {sorted(unknown)}"
