"""Studies that start from a picture: what is taken, what reaches the host, and whose file it is."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.studies import init_image, settings
from lib_rankopt.studies.service import StudyService
from tests.studies.conftest import Opener
from tests.studies.fakes import SETTINGS, FakeHost, next_round, play
from tests.studies.test_undo_branch_delete import blobs_in


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    values = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(values.astype(np.uint8))


def test_transparent_and_turned_pictures_are_as_people_see_them() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert init_image.read(file(clear)).getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    assert init_image.read(file(gradient(16, 8), "JPEG", exif=exif)).size == (8, 16)
    assert init_image.read(file(Image.new("L", (3, 5)), "WEBP")).mode == "RGB"


def test_fitting_crops_and_does_not_stretch() -> None:
    halves = Image.new("RGB", (200, 100), "red")
    halves.paste("blue", (100, 0, 200, 100))
    square = init_image.fitted(halves, 64, 64)
    assert square.size == (64, 64)
    assert [square.getpixel((x, 32)) for x in (5, 58)] == [(255, 0, 0), (0, 0, 255)]
    assert init_image.fitted(square, 64, 64) is square


def test_the_picture_reaches_the_host_in_the_studys_size(service: StudyService, host: FakeHost) -> None:
    name = service.put_image(file(gradient(100, 80)))
    study = service.create(replace(SETTINGS, init_image=name, denoising_strength=0.4))
    assert study.settings.init_image == name
    play(service, study.id, 1)
    test = service.start_blind(study.id, 1)
    service.next_trial(test, 20)
    assert len(host.calls) >= 2
    assert service.template(study.id).init_image.tobytes() == host.calls[0].init_image.tobytes()  # type: ignore[union-attr]
    for call in host.calls:
        assert call.init_image is not None
        assert call.init_image.size == (SETTINGS.width or 64, SETTINGS.height or 64)
        assert call.denoising_strength == 0.4


def test_without_a_picture_the_strength_is_of_no_effect() -> None:
    """Also: studies of earlier versions keep their recipe, so their images are found again."""
    plain = settings.recipe(SETTINGS, "a")
    assert settings.recipe(replace(SETTINGS, denoising_strength=0.2), "a") == plain
    assert plain == "005f79e3bc3b9172be0cedc9b9ea572c3d30cac989f411146b3e4e0fa771cff3"  # before there was an image to start from
    first = settings.recipe(replace(SETTINGS, init_image="ab" * 32), "a")
    assert len({plain, first, settings.recipe(replace(SETTINGS, init_image="ab" * 32, denoising_strength=0.2), "a")}) == 3


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan"), True, "0.5"])
def test_strengths_out_of_range_are_named(service: StudyService, strength: Any) -> None:
    with pytest.raises(InvalidInputError, match="denoising_strength is"):
        service.create(replace(SETTINGS, denoising_strength=strength))


def test_a_picture_that_is_not_there_is_named(service: StudyService) -> None:
    with pytest.raises(NotFoundError, match="no image"):
        service.create(replace(SETTINGS, init_image="0" * 64))
    with pytest.raises(InvalidInputError, match="no hash"):
        service.create(replace(SETTINGS, init_image="../etc/passwd"))


def test_the_file_lives_as_long_as_a_study_starts_from_it(open_service: Opener, tmp_path: Path) -> None:
    service = open_service()
    name = service.put_image(file(gradient(64, 64)))
    first, second = (service.create(replace(SETTINGS, init_image=name)) for _ in range(2))
    service.delete(first.id)
    assert service.image_path(name).is_file()
    next_round(service, second.id)
    service.delete(second.id)
    assert blobs_in(tmp_path / "data") == set()


def test_an_image_of_a_study_can_be_the_start_of_another(service: StudyService) -> None:
    study = service.create(SETTINGS)
    play(service, study.id, 1)
    picture = next(c.image for c in service.round(study.id, 0).candidates if c.image)
    other = service.create(replace(SETTINGS, init_image=picture))
    service.delete(study.id)
    assert service.image_path(picture).is_file()
    assert next_round(service, other.id).status == "ready"
