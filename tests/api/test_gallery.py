"""Likes in a host's own gallery, by the addresses under which its page shows the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_rankopt.api import schemas
from lib_rankopt.errors import NotFoundError, StoreError
from lib_rankopt.hosts.gallery import named_file
from tests.api.conftest import Api
from tests.api.fake_service import FakeService


class Notes:
    """Where the stand-in's feedback goes."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str, str]] = []
        self.error: Exception | None = None

    def note(self, file: Path, kind: str, source: str = "", rater: str = "me", prompt: str | None = None) -> None:
        if self.error:
            raise self.error
        self.all.append((file.name, kind, source, rater))

    def label_of(self, files: Sequence[Path], rater: str = "me") -> list[str]:
        said = {(name, by): kind for name, kind, source, by in self.all if not source}
        return [said.get((file.name, rater), "").replace("unlike", "") for file in files]


class GalleryHost:
    """A host with one folder of images, where only saving counts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.allowed = folder, {"", "saved"}

    def gallery_file(self, name: str) -> Path:
        return named_file(name, [self.folder])

    def wants(self, file: Path, kind: str, source: str) -> bool:
        return source in self.allowed


@pytest.fixture
def gallery(service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in with notes of its own, the real service with its own store; before either a host that has a gallery."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for number in (1, 2):
        Image.new("RGB", (16, 16), (number * 90, 0, 0)).save(folder / f"{number}.png")
    host = GalleryHost(folder)
    if isinstance(service, FakeService):
        service.host, service.data = host, SimpleNamespace(gallery=Notes())  # type: ignore[attr-defined]
    else:
        for name in ("gallery_file", "wants"):
            monkeypatch.setattr(service.host, name, getattr(host, name), raising=False)
    return service


def address(service: Any, number: int) -> str:
    return f"http://localhost:7861/file={service.host.gallery_file.__self__.folder / f'{number}.png'}?17.5"


def said(api: Api, service: Any, *numbers: int, **about: Any) -> list[str]:
    files = [address(service, number) for number in numbers]
    answer = api("POST", "/gallery/labels", json={"files": files, **about})
    assert answer.status_code == 200, answer.text
    return [one["label"] for one in answer.json()["labels"]]


def say(api: Api, service: Any, number: int, kind: str, **about: Any) -> Any:
    return api("POST", "/gallery/label", json={"file": address(service, number), "kind": kind, **about})


def test_a_label_is_kept_changed_and_taken_back(api: Api, gallery: Any) -> None:
    assert said(api, gallery, 1, 2) == ["", ""]
    for kind, label in (("like", "like"), ("dislike", "dislike"), ("unlike", "")):
        answer = say(api, gallery, 2, kind)
        assert answer.json() == {"noted": True}
        assert said(api, gallery, 1, 2) == ["", label]


def test_each_rater_has_labels_of_his_own(api: Api, gallery: Any) -> None:
    say(api, gallery, 1, "like", rater="ann")
    say(api, gallery, 1, "dislike")
    assert said(api, gallery, 1) == ["dislike"]
    assert said(api, gallery, 1, rater="ann") == ["like"]


def test_what_is_done_is_kept_only_where_it_is_allowed_and_is_no_label(api: Api, gallery: Any) -> None:
    assert say(api, gallery, 1, "like", source="saved").json() == {"noted": True}
    assert say(api, gallery, 1, "like", source="sent").json() == {"noted": False}
    assert said(api, gallery, 1) == [""]
    if isinstance(gallery, FakeService):
        assert gallery.data.gallery.all == [("1.png", "like", "saved", "me")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "about",
    [
        {"kind": "love"}, {"kind": "like", "source": "deleted"}, {"kind": "like", "source": "anything"},
        {"kind": "like", "rater": "x" * 101},
        {"kind": "dislike", "source": "saved"}, {"kind": "unlike", "source": "sent"},
    ],
)  # fmt: skip
def test_what_the_page_cannot_say_is_refused(api: Api, gallery: Any, about: dict[str, str]) -> None:
    answer = api("POST", "/gallery/label", json={"file": address(gallery, 1), **about})
    assert answer.status_code == 422
    assert schemas.Failure(**answer.json()).error == "InvalidInputError"
    assert said(api, gallery, 1) == [""]


@pytest.mark.parametrize(
    ("name", "status"),
    [("file=/etc/passwd", 422), ("data:image/png;base64,AAAA", 422), ("file={folder}/../x.png", 422), ("file={folder}/3.png", 404)],
)
def test_other_files_are_refused_with_a_reason(api: Api, gallery: Any, name: str, status: int) -> None:
    name = name.replace("{folder}", str(gallery.host.gallery_file.__self__.folder))
    answer = api("POST", "/gallery/label", json={"file": name, "kind": "like"})
    assert answer.status_code == status
    listed = api("POST", "/gallery/labels", json={"files": [name, address(gallery, 1)]}).json()["labels"]
    assert listed[0] == {"label": "", "refused": answer.json()["message"]}
    assert listed[1] == {"label": "", "refused": ""}
    assert schemas.GalleryLabels(labels=listed)


def test_a_store_in_trouble_is_said(api: Api, gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(gallery.data.gallery, "note", refuse)
    answer = say(api, gallery, 1, "like")
    assert (answer.status_code, answer.json()["message"]) == (507, "the disk is full")


def test_there_is_a_limit(api: Api, gallery: Any) -> None:
    assert api("POST", "/gallery/labels", json={"files": []}).json() == {"labels": []}
    answer = api("POST", "/gallery/labels", json={"files": ["x"] * 501})
    assert answer.status_code == 422
    assert "501" in answer.json()["message"]


def test_a_host_without_a_gallery_says_so(api: Api, service: Any) -> None:
    if isinstance(service, FakeService):
        pytest.skip("the stand-in has no host")
    answer = api("POST", "/gallery/label", json={"file": "file=/a.png", "kind": "like"})
    assert answer.status_code == 404
    assert "has no gallery" in answer.json()["message"]


def test_another_sites_page_says_nothing(api: Api, gallery: Any) -> None:
    headers = {"Origin": "http://elsewhere.example"}
    answer = api("POST", "/gallery/label", json={"file": address(gallery, 1), "kind": "like"}, headers=headers)
    assert answer.status_code == 403
    assert said(api, gallery, 1) == [""]


def test_credentials_are_wanted(make_api: Any, gallery: Any) -> None:
    closed = make_api(auth={"ann": "secret"})
    for path in ("/gallery/label", "/gallery/labels"):
        assert closed("POST", path, json={"file": "x", "files": [], "kind": "like"}).status_code == 401


def test_an_error_of_the_host_is_one_sentence(api: Api, gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Path:
        raise NotFoundError("The image is not there any more.")

    name = address(gallery, 1)
    monkeypatch.setattr(gallery.host, "gallery_file", gone)
    assert api("POST", "/gallery/label", json={"file": name, "kind": "like"}).json()["message"] == "The image is not there any more."
