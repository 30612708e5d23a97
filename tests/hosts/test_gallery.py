"""Which file a page means by an image's address, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.hosts.gallery import named_file


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    for name in ("images/day/00001-5 a (fox)+50%.png", "grids/one.png", "images/grid-0001.png", "images/xyz_grid-0003-5.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return folder


def find(outputs: Path, name: str) -> Path:
    return named_file(name, [outputs / "images"], [outputs / "grids"])


@pytest.mark.parametrize("before", ["http://127.0.0.1:7860/file=", "/file=", "file=", "https://a.host/sub/path/file="])
@pytest.mark.parametrize("after", ["", "?1700000000.25", "#x"])
@pytest.mark.parametrize("plain", [True, False])
def test_an_address_of_gradios_names_its_file(outputs: Path, before: str, after: str, plain: bool) -> None:
    path = outputs / "images/day/00001-5 a (fox)+50%.png"
    text = str(path) if plain else str(path).replace("%", "%25").replace(" ", "%20").replace("(", "%28")
    assert find(outputs, f"{before}{text}{after}") == path.resolve()


@pytest.mark.parametrize(
    "name",
    [
        "data:image/png;base64,file=/a.png", "", "file=", "images/a.png", "http://host/x.png", "file=images/day/a.png", "x" * 5000,
        "file=/etc/passwd", "file=/etc/shadow.png", "file=/a\0.png", "file={images}/../secret.png", "file={images}/%2e%2e/secret.png",
        "file={images}/..%2fsecret.png", "file={images}-other/a.png", "file={images}/notes.txt", "file={images}/day",
        "file={images}/link.png", "file={images}/folder/secret.png",
    ],
)  # fmt: skip
def test_everything_else_is_refused(outputs: Path, name: str) -> None:
    images = outputs / "images"
    Image.new("RGB", (8, 8)).save(outputs / "secret.png")
    (images / "notes.txt").write_text("x", encoding="utf-8")
    (images / "link.png").symlink_to(outputs / "secret.png")
    (images / "folder").symlink_to(outputs)
    (outputs / "images-other").mkdir()
    Image.new("RGB", (8, 8)).save(outputs / "images-other/a.png")
    with pytest.raises(InvalidInputError):
        find(outputs, name.replace("{images}", str(images)))


def test_nothing_is_said_of_what_is_outside(outputs: Path) -> None:
    """The sentence is the same whether or not the file is there."""
    said = set()
    for path in (outputs / "secret.png", outputs / "grids.png", outputs.parent / "elsewhere.png"):
        with pytest.raises(InvalidInputError) as error:
            find(outputs, f"file={path}")
        said.add(str(error.value))
    assert len(said) == 1


def test_a_folder_that_is_a_link_itself_is_one_of_the_webuis(outputs: Path) -> None:
    link = outputs.parent / "linked"
    link.symlink_to(outputs / "images")
    name = "day/00001-5 a (fox)+50%.png"
    assert named_file(f"file={link / name}", [link]) == (outputs / "images" / name).resolve()


def test_what_is_gone_is_said(outputs: Path) -> None:
    for name in ("gone.png", "day.png/gone.png"):
        with pytest.raises(NotFoundError, match="gone"):
            find(outputs, f"file={outputs / 'images' / name}")
    (outputs / "images/folder.png").mkdir()
    with pytest.raises(NotFoundError, match=r"folder\.png"):
        find(outputs, f"file={outputs / 'images/folder.png'}")


@pytest.mark.parametrize("name", ["grids/one.png", "images/grid-0001.png", "images/xyz_grid-0003-5.png"])
def test_a_grid_is_no_image_to_like(outputs: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="grid"):
        named_file(f"file={outputs / name}", [outputs / "images", outputs / "grids/.."], [outputs / "grids"])


def test_grids_in_the_folder_of_images_do_not_shut_it(outputs: Path) -> None:
    images = outputs / "images"
    path = images / "day/00001-5 a (fox)+50%.png"
    assert named_file(f"file={path}", [images], [images]) == path.resolve()
