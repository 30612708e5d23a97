from __future__ import annotations

from pathlib import Path

from tests.store.formats.conformance import Case, FormatConformance, only
from tests.store.formats.datasets import MemoryDataset, picture


def many(folder: Path, number: int) -> Path:
    folder /= "images"
    folder.mkdir()
    for n in range(number):
        (folder / f"{n}.png").write_bytes(picture(n % 10))
    return folder


def hostile(folder: Path) -> Path:
    (folder / "secret.png").write_bytes(picture(0))
    (folder / "other").mkdir()
    (folder / "other" / "x.png").write_bytes(picture(1))
    inside = folder / "images"
    inside.mkdir()
    (inside / "good.png").write_bytes(picture(2))
    (inside / "link.png").symlink_to(folder / "secret.png")
    (inside / "climbing.png").symlink_to(Path("..") / "secret.png")
    (inside / "folder").symlink_to(folder / "other")
    return inside


class TestFolder(FormatConformance):
    case = Case("folder", expected=lambda _: [], many=many, hostile=hostile)


class TestFolderWithLikes(FormatConformance):
    case = Case(
        "folder",
        {"likes": "best", "dislikes": "bad"},
        expected=only("like", "dislike"),
        hostile=hostile,
    )


def test_dataset_is_used() -> None:
    assert MemoryDataset
