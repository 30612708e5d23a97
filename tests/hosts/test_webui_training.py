"""The webui's model out of a trainer's way and back, where the trainer runs, and its files in the webui's list."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_rankopt.errors import NotFoundError
from tests.hosts.conformance import RequestOf
from tests.hosts.standin_webui import standin

FORGES = ("backend.memory_management", "ldm_patched.modules.model_management")


@pytest.fixture(scope="module")
def webui() -> Iterator[Any]:
    """The stand-in's ``modules``, with our script registered as the webui does it."""
    with standin("call_queue", "processing", "progress", "scripts", "sd_models") as modules:
        from lib_rankopt.hosts.webui.script import RankOptimizeScript

        modules.scripts.scripts_txt2img.scripts.append(RankOptimizeScript())
        yield modules


@pytest.fixture
def host(webui: Any) -> Any:
    from lib_rankopt.hosts.webui.host import WebuiHost

    webui.shared.sd_model.place = "device"
    return WebuiHost(lambda _is_img2img: [0])


@pytest.fixture
def moved(webui: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the webui's two functions were called."""
    seen: list[str] = []
    for name in ("send_model_to_cpu", "send_model_to_device"):
        original = getattr(webui.sd_models, name)
        monkeypatch.setattr(webui.sd_models, name, lambda model, name=name, original=original: (seen.append(name), original(model)))
    return seen


# -- the model
def test_inside_the_model_is_on_the_cpu_and_the_queue_is_held(host: Any, webui: Any, moved: list[str]) -> None:
    with host.away():
        assert webui.shared.sd_model.place == "cpu"
        assert webui.call_queue.queue_lock.locked()
    assert webui.shared.sd_model.place == "device"
    assert not webui.call_queue.queue_lock.locked()
    assert moved == ["send_model_to_cpu", "send_model_to_device"]


def test_memory_is_given_back_once_the_model_has_left(host: Any, webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_rankopt.hosts.webui import moving

    seen: list[tuple[torch.device, str]] = []
    monkeypatch.setattr(moving, "release", lambda device: seen.append((device, webui.shared.sd_model.place)))
    with host.away():
        assert seen == [(webui.shared.device, "cpu")]


def test_after_an_exception_all_is_as_before(host: Any, webui: Any) -> None:
    with pytest.raises(OSError, match="the trainer cannot be started"), host.away():
        raise OSError("the trainer cannot be started")
    assert webui.shared.sd_model.place == "device"
    assert not webui.call_queue.queue_lock.locked()


def test_a_model_that_cannot_leave_leaves_the_queue_free(host: Any, webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_model: Any) -> None:
        raise RuntimeError("no memory on the CPU")

    monkeypatch.setattr(webui.sd_models, "send_model_to_cpu", fail)
    with pytest.raises(RuntimeError, match="no memory on the CPU"), host.away():
        pytest.fail("the trainer must not begin")
    assert not webui.call_queue.queue_lock.locked()


def test_a_model_that_is_not_there_is_not_loaded(host: Any, webui: Any, moved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui.sd_models.model_data, "sd_model", None)
    with host.away():
        assert webui.call_queue.queue_lock.locked()
    assert moved == []


def test_a_model_that_was_dropped_meanwhile_does_not_come_back(
    host: Any, webui: Any, moved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with host.away():
        monkeypatch.setattr(webui.sd_models.model_data, "sd_model", SimpleNamespace(place="device"))
    assert moved == ["send_model_to_cpu"]


def test_images_wait_until_the_model_is_back(host: Any, webui: Any, request_of: RequestOf) -> None:
    places: list[str] = []
    ran = len(webui.processing.runs)
    begun = threading.Event()

    def generate() -> None:
        begun.set()
        places.extend(webui.shared.sd_model.place for _ in host.generate(request_of()))

    thread = threading.Thread(target=generate)
    with host.away():
        thread.start()
        assert begun.wait(20)
        thread.join(0.3)
        assert thread.is_alive()
        assert len(webui.processing.runs) == ran
    thread.join(20)
    assert places == ["device"]


@pytest.mark.parametrize("name", FORGES)
def test_forge_unloads_and_loads_again_by_itself(
    host: Any, webui: Any, moved: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    held: list[bool] = []
    module = SimpleNamespace(unload_all_models=lambda: held.append(webui.call_queue.queue_lock.locked()))
    monkeypatch.setitem(sys.modules, name, module)
    with host.away():
        assert held == [True]
        assert webui.call_queue.queue_lock.locked()
    assert not webui.call_queue.queue_lock.locked()
    with pytest.raises(OSError, match="no trainer"), host.away():
        raise OSError("no trainer")
    assert moved == []
    assert held == [True, True]
    assert not webui.call_queue.queue_lock.locked()


# -- the list of LoRAs
def test_the_list_of_loras_is_renewed(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setitem(sys.modules, "networks", SimpleNamespace(list_available_networks=lambda: asked.append(1)))
    host.find_loras()
    assert asked == [1]


def test_a_list_that_cannot_be_renewed_ends_nothing(host: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("a broken file in the folder")

    monkeypatch.setitem(sys.modules, "networks", SimpleNamespace(list_available_networks=fail))
    host.find_loras()
    assert "could not be renewed" in caplog.text
    caplog.clear()
    monkeypatch.setitem(sys.modules, "networks", SimpleNamespace())  # another module of that name
    host.find_loras()
    monkeypatch.delitem(sys.modules, "networks")
    host.find_loras()
    assert caplog.text == ""


# -- where the trainer runs
def test_the_trainer_runs_on_the_webuis_device_with_its_python(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "k_diffusion", raising=False)
    place = host.trainer_place()
    assert (place.python, place.device, place.paths) == (sys.executable, "cpu", ())


def test_another_python_can_be_named(host: Any, webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui.shared.cmd_opts, "rankopt_trainer_python", "/opt/trainer/bin/python", raising=False)
    monkeypatch.setattr(webui.shared, "device", torch.device("cuda", 1))
    place = host.trainer_place()
    assert (place.python, place.device) == ("/opt/trainer/bin/python", "cuda:1")


@pytest.mark.parametrize("init", ["__init__.py", "sampling.py"])  # Forge's has no __init__.py
def test_the_trainer_finds_the_webuis_checkout_of_k_diffusion(
    host: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, init: str
) -> None:
    package = tmp_path / "repositories" / "k-diffusion" / "k_diffusion"
    package.mkdir(parents=True)
    (package / init).touch()
    spec = PathFinder.find_spec("k_diffusion", [str(package.parent)])
    assert spec is not None
    monkeypatch.setitem(sys.modules, "k_diffusion", module_from_spec(spec))
    assert host.trainer_place().paths == (str(package.parent.resolve()),)


def test_files_go_where_the_webui_looks_for_them(host: Any) -> None:
    assert host.lora_dir() == Path("/loras")
    assert host.model_path() == Path("/models/model.safetensors")
    assert host.model_path("other.safetensors") == Path("/models/other.safetensors")
    with pytest.raises(NotFoundError, match="gone"):
        host.model_path("gone.safetensors")
