"""Files of collected images over HTTP: only images, only from inside the collection's folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.api.conftest import Api

pytest.importorskip("torch", reason="the real service needs torch")
pytest.importorskip("sqlalchemy", reason="the real service needs SQLAlchemy")

from lib_rankopt.store.collected.records import Collection, ImageDraft
from lib_rankopt.studies.service import StudyService

pytestmark = pytest.mark.parametrize("service", ["real"], indirect=True)  # the stand-in has no collections


@pytest.fixture
def number(service: StudyService, tmp_path: Path) -> Callable[..., int]:
    """Put bytes into a folder (or only a name), and say the image's number."""
    (tmp_path / "mine").mkdir()
    store = service._room.store.collected
    collection = store.create(Collection("mine", "folder", root=str(tmp_path / "mine")))

    def put(name: str, data: bytes | None = None) -> int:
        if data is not None:
            (tmp_path / "mine" / name).write_bytes(data)
        store.add(collection.number, [ImageDraft(name, path=name)])
        return store.images_by_key(collection.number, [name])[name].number

    return put


def _encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_file_is_given_out_as_it_is_under_the_type_of_its_bytes(api: Api, number: Callable[..., int]) -> None:
    data = _encoded(Image.new("RGB", (40, 30), "red"), "JPEG")
    answer = api("GET", f"/data/images/{number('wrong.png', data)}/file")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, "image/jpeg")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_browser_is_told_when_nothing_has_changed_and_gets_a_changed_file(api: Api, number: Callable[..., int], tmp_path: Path) -> None:
    one = number("a.png", _encoded(Image.new("RGB", (40, 30), "red")))
    for path in (f"/data/images/{one}/file", f"/data/images/{one}/thumb?size=32"):
        first = api("GET", path)
        again = api("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        (tmp_path / "mine" / "a.png").write_bytes(_encoded(Image.new("RGB", (41 + len(path), 30), "blue")))
        changed = api("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert changed.status_code == 200
        assert changed.content != first.content


@pytest.mark.parametrize(("name", "data"), [
    ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
    ("a.png", b"<html><script>alert(1)</script></html>"),
    ("empty.png", b""),
])  # fmt: skip
def test_nothing_but_images_is_given_out(api: Api, number: Callable[..., int], name: str, data: bytes) -> None:
    one = number(name, data)
    for path in ("file", "thumb"):
        answer = api("GET", f"/data/images/{one}/{path}")
        assert answer.status_code == 422, path
        assert b"alert" not in answer.content


def test_nothing_outside_the_folder_is_given_out(api: Api, number: Callable[..., int], tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(_encoded(Image.new("RGB", (8, 8))))
    (tmp_path / "mine" / "link.png").symlink_to(secret)
    for name, status in (("../secret.png", 422), ("link.png", 422), (str(secret), 404)):
        one = number(name)
        for path in ("file", "thumb"):
            assert api("GET", f"/data/images/{one}/{path}").status_code == status, (name, path)


def test_what_is_not_there(api: Api, number: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "mine" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "mine" / "pipe.png")
    for one in (number("never.png"), number("folder.png"), number("pipe.png"), 999, -1, 2**70):
        for path in ("file", "thumb"):
            assert api("GET", f"/data/images/{one}/{path}").status_code == 404, (one, path)


@pytest.mark.parametrize(("mode", "kind", "becomes"), [
    ("RGB", "PNG", "image/jpeg"), ("L", "PNG", "image/jpeg"), ("I;16", "PNG", "image/jpeg"), ("P", "GIF", "image/jpeg"),
    ("RGBA", "PNG", "image/webp"), ("CMYK", "JPEG", "image/jpeg"), ("RGB", "BMP", "image/jpeg"), ("1", "TIFF", "image/jpeg"),
])  # fmt: skip
def test_thumbnails_of_every_kind_are_bounded(api: Api, number: Callable[..., int], mode: str, kind: str, becomes: str) -> None:
    one = number(f"a.{kind.lower()}", _encoded(Image.new(mode, (300, 200)), kind))
    answer = api("GET", f"/data/images/{one}/thumb?size=60")
    assert (answer.status_code, answer.headers["content-type"]) == (200, becomes)
    assert Image.open(io.BytesIO(answer.content)).size == (60, 40)


def test_thumbnails_keep_light_greys_and_turn_photographs_upright(api: Api, number: Callable[..., int]) -> None:
    grey = api("GET", f"/data/images/{number('g.png', _encoded(Image.new('I;16', (64, 64), 32896)))}/thumb?size=32")
    assert abs(Image.open(io.BytesIO(grey.content)).convert("L").getpixel((9, 9)) - 128) < 4
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = api("GET", f"/data/images/{number('t.jpg', _encoded(Image.new('RGB', (80, 40)), 'JPEG', exif=exif))}/thumb?size=40")
    assert Image.open(io.BytesIO(turned.content)).size == (20, 40)


def test_thumbnails_are_never_larger_and_take_no_other_sizes(api: Api, number: Callable[..., int]) -> None:
    one = number("a.png", _encoded(Image.new("RGB", (40, 30))))
    assert Image.open(io.BytesIO(api("GET", f"/data/images/{one}/thumb?size=2048").content)).size == (40, 30)
    for size in (0, 15, 2049, -1, "x"):
        assert api("GET", f"/data/images/{one}/thumb?size={size}").status_code == 422


def test_damaged_images_have_no_thumbnail(api: Api, number: Callable[..., int]) -> None:
    whole = _encoded(Image.effect_noise((200, 200), 60).convert("RGB"))
    one = number("cut.png", whole[: len(whole) // 2])
    assert api("GET", f"/data/images/{one}/thumb?size=60").status_code == 422
    huge = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + whole[29:]
    assert api("GET", f"/data/images/{number('huge.png', huge)}/thumb?size=60").status_code == 422


def test_routes_have_the_guard_of_all_others(make_api: Callable[..., Api]) -> None:
    assert make_api(auth={"ann": "x"})("GET", "/data/images/1/file").status_code == 401
