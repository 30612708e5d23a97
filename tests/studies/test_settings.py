"""Settings: defaults filled in, every wrong value named."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.hosts.base import GenerationRequest
from lib_rankopt.studies import settings
from lib_rankopt.studies.service import StudyService
from lib_rankopt.studies.views import StudySettings
from tests.studies.fakes import SETTINGS, FakeHost

BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt is empty"),
    ({"prompt": " \n\t"}, "prompt is empty"),
    ({"prompt": "fox " * 2000}, "2000 words"),
    ({"prompt": "x" * 10_000}, "10000 characters"),
    ({"prompt": "a\0b"}, "no text"),
    ({"prompt": "a\ud800b"}, "no text"),
    ({"prompt": None}, "prompt is None"),
    ({"prompt": 5}, "prompt is 5"),
    ({"negative_prompt": "fox " * 2000}, "negative_prompt has 2000 words"),
    ({"width": 100}, "width is 100; it must be a multiple of 8"),
    ({"height": 63}, "height is 63"),
    ({"width": 4096}, "too large"),
    ({"width": 10**9}, "width is 1000000000"),
    ({"height": -8}, "height is -8"),
    ({"steps": 0}, "steps is 0; use a whole number from 1 to 150"),
    ({"steps": 151}, "steps is 151"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"steps": True}, "steps is True"),
    ({"steps": "20"}, "steps is '20'"),
    ({"cfg_scale": 0.5}, "cfg_scale is 0.5"),
    ({"cfg_scale": 31}, "cfg_scale is 31"),
    ({"cfg_scale": float("nan")}, "cfg_scale is nan"),
    ({"cfg_scale": "high"}, "cfg_scale is 'high'"),
    ({"seed": -2}, "seed is -2"),
    ({"seed": 2**32}, "seed is 4294967296"),
    ({"candidates": 1}, "candidates is 1; use a whole number from 2 to 16"),
    ({"candidates": 17}, "candidates is 17"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"sampler": "Magic"}, "no sampler 'Magic'"),
    ({"scheduler": "Magic"}, "no scheduler 'Magic'"),
    ({"sampler": None}, "sampler is None"),
    ({"model": "other.safetensors"}, "no model 'other.safetensors'"),
    ({"optimizer": "magic"}, "no optimiser 'magic'"),
    ({"optimizer_settings": {"magic": 1}}, "no setting 'magic'"),
    ({"optimizer_settings": []}, "optimizer_settings is"),
    ({"host_settings": {"x": float("nan")}}, "cannot be kept"),
    ({"host_settings": {"x": object()}}, "cannot be kept"),
    ({"host_settings": {5: 1}}, "host_settings is"),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[f"{c}"[:40] for c, _ in BAD])
def test_wrong_values_are_named(service: StudyService, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError)) as seen:
        service.create(replace(SETTINGS, **changes))
    assert said in str(seen.value)
    assert len(str(seen.value)) < 400
    assert service.list() == []


def test_defaults_come_from_the_host(service: StudyService) -> None:
    study = service.create(StudySettings(prompt="a fox")).settings
    assert (study.width, study.height, study.sampler, study.scheduler, study.cfg_scale) == (64, 64, "Euler", "Automatic", 5.0)
    assert study.model == "fake-model"
    assert 0 <= study.seed < 2**32
    assert service.create(StudySettings(prompt="a fox")).settings.seed != study.seed


def test_settings_come_back_from_plain_values() -> None:
    assert settings.from_dict(asdict(SETTINGS)) == SETTINGS
    with pytest.raises(InvalidInputError, match="no setting 'colour'"):
        settings.from_dict({"prompt": "x", "colour": "red"})
    with pytest.raises(InvalidInputError, match="prompt is missing"):
        settings.from_dict({})


def test_the_recipe_changes_with_every_setting_that_changes_pixels() -> None:
    base = settings.recipe(SETTINGS, "a")
    pixels = [{"prompt": "b"}, {"negative_prompt": "b"}, {"width": 72}, {"steps": 21}, {"sampler": "X"}, {"host_settings": {"eta": 1}}]
    assert len({base, *(settings.recipe(replace(SETTINGS, **c), "a") for c in pixels)}) == 7  # type: ignore[arg-type]
    assert settings.recipe(SETTINGS, "b") != base
    same = [{"candidates": 9}, {"batch_size": 1}, {"optimizer_settings": {"x": 1}}]
    assert {settings.recipe(replace(SETTINGS, **c), "a") for c in same} == {base}  # type: ignore[arg-type]


def test_host_settings_reach_the_host(service: StudyService, host: FakeHost) -> None:
    study = service.create(replace(SETTINGS, host_settings={"eta": 0.5, "clip_skip": 2, "vae": "x"}))
    service.start_round(study.id)
    service.wait(study.id, 30)
    assert (host.calls[0].eta, host.calls[0].clip_skip, host.calls[0].extra) == (0.5, 2, {"vae": "x"})




def test_a_study_keeps_what_the_host_is_set_to(service: StudyService, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = ["first.pt"]

    def pin(request: GenerationRequest) -> GenerationRequest:
        extra = {"vae": vae[0], **request.extra}
        return replace(request, prompt=request.prompt.removesuffix(" <style>") + " in oil", clip_skip=request.clip_skip or 2, extra=extra)

    monkeypatch.setattr(host, "pin", pin)
    study = service.create(replace(SETTINGS, prompt="a fox <style>"))
    assert study.settings.prompt == "a fox in oil"
    assert study.settings.host_settings == {"vae": "first.pt", "clip_skip": 2}
    vae[0] = "second.pt"
    service.start_round(study.id)
    service.wait(study.id, 20)
    assert (host.calls[-1].prompt, host.calls[-1].clip_skip) == ("a fox in oil", 2)
    assert host.calls[-1].extra == {"vae": "first.pt"}
