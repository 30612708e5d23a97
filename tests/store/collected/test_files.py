"""Looking at the files of collected images: here, gone, changed, moved."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from lib_rankopt.errors import InvalidInputError, NotFoundError, StoreError
from lib_rankopt.store import Store, open_store
from lib_rankopt.store.blobs import image_hash
from lib_rankopt.store.collected.files import HeldFiles, LookReport, look
from lib_rankopt.store.collected.records import CollectedImage, Collection, ImageDraft
from tests.store.collected.pictures import folder, picture, png


class Place:
    """A store with one collection over a folder of six images."""

    def __init__(self, path: Path) -> None:
        self.root = folder(path / "pictures", 6)
        self.store: Store = open_store(path / "data")
        self.held = HeldFiles(path / "data")
        self.collection = self.store.collected.create(Collection("pictures", kind="folder", root=str(self.root)))
        self.store.collected.add(self.collection.number, [ImageDraft(f"{n}.png", path=f"{n}.png") for n in range(6)])

    def look(self, *search: Path) -> LookReport:
        return list(look(self.store.collected, self.held, self.collection, search))[-1]

    def image(self, key: str) -> CollectedImage:
        return self.store.collected.images_by_key(self.collection.number, [key])[key]

    def states(self) -> dict[str, int]:
        found = self.store.collected.tallies(self.collection.number)
        return {name.removeprefix("state:"): n for name, n in found.items() if name.startswith("state:")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_first_look_knows_each_image_by_content(place: Place) -> None:
    report = place.look()
    assert (report.done, report.total, report.here, report.gone, report.changed) == (6, 6, 6, 0, 0)
    image = place.image("3.png")
    assert image.sha256 == image_hash(picture(3))
    assert (image.state, image.width, image.height, image.size) == ("here", 32, 32, len(png(3)))
    assert place.states() == {"here": 6}


def test_what_has_not_changed_is_not_read_again(place: Place) -> None:
    place.look()
    assert place.look().skipped == 6


def test_a_file_that_is_gone_is_said_and_comes_back(place: Place) -> None:
    place.look()
    (place.root / "2.png").rename(place.root / "2.away")
    assert place.look().gone == 1
    assert place.image("2.png").state == "gone"
    (place.root / "2.away").rename(place.root / "2.png")
    assert place.look().gone == 0
    assert place.states() == {"here": 6}


def test_a_moved_file_is_found_by_its_content(place: Place) -> None:
    place.look()
    (place.root / "best").mkdir()
    (place.root / "2.png").rename(place.root / "best" / "x.png")
    report = place.look()
    assert (report.here, report.gone, report.found) == (6, 0, 1)
    assert (place.image("2.png").path, place.image("2.png").state) == ("best/x.png", "here")


def test_a_moved_file_whose_metadata_were_rewritten_is_found_by_its_pixels(place: Place) -> None:
    place.look()
    (place.root / "2.png").unlink()
    (place.root / "y.png").write_bytes(png(2, "other words", level=1))
    assert place.look().found == 1
    assert place.image("2.png").path == "y.png"


def test_rewritten_metadata_are_no_change(place: Place) -> None:
    place.look()
    (place.root / "2.png").write_bytes(png(2, "a rating of 5", level=1))
    assert place.look().changed == 0
    assert place.image("2.png").sha256 == image_hash(picture(2))


def test_another_image_under_the_name_is_a_change_and_what_was_known_stays(place: Place) -> None:
    place.look()
    before = place.image("2.png")
    (place.root / "2.png").write_bytes(png(99))
    report = place.look()
    assert (report.changed, report.here) == (1, 5)
    after = place.image("2.png")
    assert (after.state, after.sha256, after.file_sha256) == ("changed", before.sha256, before.file_sha256)


def test_a_changed_image_is_found_where_it_went(place: Place) -> None:
    place.look()
    (place.root / "2.png").rename(place.root / "old.png")
    (place.root / "2.png").write_bytes(png(99))
    report = place.look()
    assert (report.changed, report.found, report.here) == (0, 1, 6)
    assert place.image("2.png").path == "old.png"


def test_what_lies_elsewhere_is_copied_into_the_data_folder(place: Place, tmp_path: Path) -> None:
    place.look()
    (tmp_path / "backup").mkdir()
    shutil.move(place.root / "2.png", tmp_path / "backup" / "z.png")
    assert place.look().gone == 1
    assert place.look(tmp_path / "backup").found == 1
    image = place.image("2.png")
    assert image.state == "here"
    (tmp_path / "backup" / "z.png").unlink()
    assert place.held.locate(image, place.collection).read_bytes() == png(2)
    assert place.look().skipped == 6


def test_a_broken_file_is_named_and_the_others_are_looked_at(place: Place) -> None:
    (place.root / "2.png").write_bytes(png(2)[:100])
    (place.root / "4.png").write_bytes(b"")
    report = place.look()
    assert report.here == 4
    assert {problem.split(":")[0] for problem in report.problems} == {"2.png", "4.png"}


def test_a_copy_of_a_broken_file_stops_no_look(place: Place) -> None:
    broken = png(2)[:100]
    path, name = place.held.put(broken)
    place.store.collected.add(place.collection.number, [ImageDraft("x", "", path, True, name, size=len(broken))])
    (place.root / "copy.png").write_bytes(broken)
    report = place.look()
    assert (report.here, report.gone, report.found) == (6, 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that take such names")
def test_a_moved_file_whose_name_no_store_takes_stops_no_look(place: Place) -> None:
    place.look()
    os.rename(os.fsencode(place.root / "2.png"), os.fsencode(place.root) + b"/\xff.png")  # noqa: PTH104
    report = place.look()
    assert (report.here, report.gone, report.found) == (5, 1, 0)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_out_of_the_folder_is_not_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(7))
    (place.root / "2.png").unlink()
    (place.root / "2.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InvalidInputError, match="leads out of"):
        place.held.locate(place.image("2.png"), place.collection)
    report = place.look()
    assert report.here == 5
    assert "leads out of" in report.problems[0]


def test_an_image_known_by_name_only_has_no_file(place: Place) -> None:
    place.store.collected.add(place.collection.number, [ImageDraft("a-uid")])
    with pytest.raises(NotFoundError, match="only its name"):
        place.held.locate(place.image("a-uid"), place.collection)
    assert place.look().gone == 0
    assert place.image("a-uid").state == "unseen"


def test_held_bytes_are_kept_once_and_only_images_are(place: Place) -> None:
    first, again = place.held.put(png(1)), place.held.put(png(1))
    assert first == again
    assert (place.held.root / first[0]).read_bytes() == png(1)
    with pytest.raises(InvalidInputError, match="no image"):
        place.held.put(b"<svg onload=alert(1)>")
    place.held.delete([first[0], "no/such.png"])
    assert not (place.held.root / first[0]).exists()


def test_a_batch_is_told_of_its_own_files_alone(place: Place) -> None:
    """Of two imports at once, the one whose file cannot be written must not take it for safe because the other has asked."""
    one, other = place.held.batch(), place.held.batch()
    (path, _), (blocked, _) = other.put(png(1)), one.put(png(2))
    other.sync()
    assert (place.held.root / path).read_bytes() == png(1)
    one.sync()
    (place.held.root / blocked).unlink()
    (place.held.root / blocked).mkdir()
    one.put(png(2))
    other.put(png(3))
    other.sync()
    with pytest.raises(StoreError, match="cannot be written"):
        one.sync()
    one.sync()


def test_removed_images_stay_removed(place: Place) -> None:
    place.store.collected.set_removed([place.image("2.png").number])
    assert place.look().done == 5
    assert place.states() == {"here": 5, "removed": 1}
