"""*Score a folder* on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

gr = pytest.importorskip("gradio")
torch = pytest.importorskip("torch")

from lib_rankopt.scorers import ScorerInfo, ScorerShelf  # noqa: E402
from lib_rankopt.ui.score_folder import scoring  # noqa: E402
from lib_rankopt.ui.tab import build_tab  # noqa: E402
from tests.api.fake_service import HOST_INFO  # noqa: E402
from tests.ui.test_tab import components  # noqa: E402


class Brightness:
    """Mean of the pixels."""

    info = ScorerInfo("brightness", "1", "0 to 255", "none")

    def __init__(self) -> None:
        self.seen = 0

    def score(self, images: Any, prompts: Any) -> Any:
        self.seen += len(images)
        return torch.tensor([float(image.convert("L").getpixel((0, 0))) for image in images])

    def to(self, device: str) -> None: ...


@pytest.fixture
def scorer() -> Brightness:
    return Brightness()


@pytest.fixture
def score(tmp_path: Path, scorer: Brightness) -> Any:
    shelf = ScorerShelf(device=torch.device("cpu"), factories={"brightness": lambda: scorer})  # type: ignore[dict-item,return-value]
    return scoring(lambda: shelf, tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    for value in (10, 20, 60):
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", "a fox\nSteps: 20, Sampler: Euler a")
        Image.new("L", (8, 8), value).save(found / f"{value}.png", pnginfo=text)
    return found


def test_a_folder_is_scored_into_a_table_and_a_file(score: Any, folder: Path, tmp_path: Path) -> None:
    *_, (said, table) = score(f" {folder} ", ["brightness"], "")
    assert said.startswith("3 images. The scores of each image are in ")
    ((name, by, count, mean, interval),) = table
    assert (name, by, count, mean) == (str(folder), "brightness", 3, "30")
    assert " to " in interval
    (path,) = (tmp_path / "data" / "scores").iterdir()
    assert [json.loads(line)["scores"] for line in path.read_text().splitlines()] == [{"brightness": v} for v in (10.0, 20.0, 60.0)]


def test_scoring_again_goes_on_where_it_was(score: Any, folder: Path, scorer: Brightness) -> None:
    list(score(str(folder), ["brightness"], ""))
    Image.new("L", (8, 8), 90).save(folder / "new.png")
    (folder / "new.txt").write_text("a dog")
    *_, (said, table) = score(str(folder), ["brightness"], "")
    assert (scorer.seen, table[0][2]) == (4, 4)
    assert said.startswith("4 images.")


def test_what_cannot_be_scored_is_counted(score: Any, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"")
    *_, (said, table) = score(str(folder), ["brightness"], "")
    assert "1 could not be scored" in said
    assert table[0][2] == 3


@pytest.mark.parametrize(
    ("path", "names", "said"),
    [("", ["brightness"], "Name a folder"), ("x", [], "at least one scorer"), ("/no/such", ["brightness"], "⚠ There is no file or folder")],
)
def test_what_is_wrong_is_said(score: Any, path: str, names: list[str], said: str) -> None:
    *_, (words, table) = score(path, names, "")
    assert said in words
    assert table == []


def test_an_unknown_scorer_is_said(score: Any, folder: Path) -> None:
    *_, (words, _) = score(str(folder), ["nobody"], "")
    assert "⚠ There is no scorer 'nobody'" in words


def test_the_page_offers_it_only_where_it_may(score: Any) -> None:
    with_it = [one.elem_id for one in components(build_tab(HOST_INFO, score=score), gr.Button)]
    assert "rankopt_score_go" in with_it
    assert "rankopt_score_go" not in [one.elem_id for one in components(build_tab(HOST_INFO), gr.Button)]
