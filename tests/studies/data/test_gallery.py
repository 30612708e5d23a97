"""What is said of images in the host's gallery."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_rankopt.errors import RankOptError
from lib_rankopt.store import Store
from lib_rankopt.store.collected.files import HeldFiles
from lib_rankopt.store.collected.records import CollectedImage, ImageQuery
from lib_rankopt.studies.data.gallery import GALLERY, Gallery
from tests.store.collected.pictures import png

SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 32x32, Model hash: abc, Model: m"
PARAMETERS = f"a fox <lora:x:1>\nNegative prompt: blurry\n{SETTINGS}"


@pytest.fixture
def gallery(store: Store, tmp_path: Path) -> Gallery:
    return Gallery(store.collected, HeldFiles(tmp_path / "data"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "00001-5.png"
    path.write_bytes(png(1, PARAMETERS))
    return path


def images(store: Store) -> list[CollectedImage]:
    return store.collected.page(ImageQuery())


def events(store: Store) -> list[tuple[str, str, str]]:
    collection = store.collected.collections()[0].number
    return [(one.kind, one.source, one.rater) for one in store.collected.feedback(collection)]


def test_a_like_takes_the_image_in_with_its_parameters(gallery: Gallery, store: Store, file: Path) -> None:
    gallery.note(file, "like")
    (image,) = images(store)
    assert (image.prompt, image.model, image.width, image.state) == ("a fox <lora:x:1>", "m", 32, "here")
    assert (image.about["seed"], image.about["steps"], image.about["negative_prompt"]) == (5, 20, "blurry")
    assert gallery.label_of([file]) == ["like"]
    assert store.collected.collections()[0].name == GALLERY


def test_what_is_said_outlives_the_file(gallery: Gallery, store: Store, file: Path, tmp_path: Path) -> None:
    gallery.note(file, "like")
    raw = file.read_bytes()
    file.unlink()
    (image,) = images(store)
    assert HeldFiles(tmp_path / "data").locate(image, store.collected.collection(image.collection)).read_bytes() == raw


def test_pressed_again_it_is_neutral_and_pressed_twice_it_counts_once(gallery: Gallery, store: Store, file: Path) -> None:
    for kind in ("like", "like", "unlike", "unlike", "dislike"):
        gallery.note(file, kind)  # type: ignore[arg-type]
    assert events(store) == [("like", "", "me"), ("unlike", "", "me"), ("dislike", "", "me")]
    assert gallery.label_of([file]) == ["dislike"]


def test_a_renamed_or_rewritten_file_is_the_same_image(gallery: Gallery, store: Store, file: Path) -> None:
    gallery.note(file, "like")
    moved = file.with_name("best.png")
    moved.write_bytes(png(1, "other words", level=1))
    assert gallery.label_of([moved, file]) == ["like", "like"]
    gallery.note(moved, "dislike")
    assert len(images(store)) == 1
    file.write_bytes(png(2))
    assert gallery.label_of([file]) == [""]


def test_what_is_concluded_is_no_label_and_counts_once(gallery: Gallery, store: Store, file: Path) -> None:
    gallery.note(file, "like", "saved")
    gallery.note(file, "like", "saved")
    gallery.note(file, "like", "upscaled")
    assert events(store) == [("like", "saved", "me"), ("like", "upscaled", "me")]
    assert gallery.label_of([file]) == [""]


def test_raters_are_kept_apart(gallery: Gallery, file: Path) -> None:
    gallery.note(file, "like", rater="ann")
    gallery.note(file, "dislike", rater="ben")
    assert [gallery.label_of([file], rater) for rater in ("ann", "ben", "me")] == [["like"], ["dislike"], [""]]


def test_a_prompt_that_is_given_counts(gallery: Gallery, store: Store, file: Path) -> None:
    gallery.note(file, "like", prompt="a red fox")
    assert images(store)[0].prompt == "a red fox"


def test_no_image_is_refused_and_has_no_label(gallery: Gallery, store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(3)[:60])
    for path in (broken, tmp_path / "missing.png"):
        with pytest.raises(RankOptError):
            gallery.note(path, "like")
    assert gallery.label_of([broken, tmp_path / "missing.png"]) == ["", ""]
    assert images(store) == []


def test_looking_at_labels_makes_no_collection(gallery: Gallery, store: Store, file: Path) -> None:
    assert gallery.label_of([file]) == [""]
    assert store.collected.collections() == []


def test_a_deleted_collection_is_begun_again(gallery: Gallery, store: Store, file: Path) -> None:
    gallery.note(file, "like")
    store.collected.delete(store.collected.collections()[0].number)
    gallery.note(file, "dislike")
    assert gallery.label_of([file]) == ["dislike"]
