"""A folder ranked by keys, paused and gone on with, and what came of it. With RANKOPT_SHOTS=FOLDER the pictures are kept."""

from __future__ import annotations

import csv
import io
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import PngImagePlugin

from tests.api.fake_pictures import draw_genes, paint

READY = """() => {
    const {shown} = rankopt.board.folders.ranking;
    return Boolean(shown) && document.querySelector('.ro-contenders').dataset.ready === shown.token;
}"""
SHOWN = "() => rankopt.board.folders.ranking.shown.images.map(one => one.name)"
SENT = "() => rankopt.board.folders.ranking.outbox.tokens.length === 0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight landscapes under one prompt; the later in the alphabet the better."""
    for number in range(8):
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", f"a valley at dawn\nNegative prompt: people\nSteps: 20, Sampler: Euler a, Seed: {number}")
        paint(draw_genes(f"folder {number}"), 200).save(tmp_path / f"{number:02}.png", pnginfo=info)
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def begin(board: Any, folder: Path, layout: str = "pair") -> None:
    """Rank a folder from the home page."""
    board.page.click('[data-command="rank_folder"]')
    board.page.fill('[aria-label="Folder"]', str(folder))
    board.page.check(f'.ro-folder-form input[value="{layout}"]')
    board.page.locator(".ro-setting", has=board.page.locator('.ro-setting-name:text-is("Shown again, in %")')).locator("input").fill("0")
    board.page.keyboard.press("Enter")
    board.page.wait_for_function(READY)


def answer(board: Any, *keys: str) -> None:
    """Press keys, and wait for the next comparison."""
    before = board.page.evaluate("rankopt.board.folders.ranking.shown.token")
    board.press(*keys)
    board.page.wait_for_function("old => (rankopt.board.folders.ranking.shown || {}).token !== old", arg=before)
    board.page.wait_for_function(f"() => ({READY})() || rankopt.board.folders.ranking.finished !== null")


def test_from_a_folder_to_its_order_by_keys(home: Any, folder: Path) -> None:
    page = home.page
    begin(home, folder)
    home.wait_text("broken.png", ".ro-duel .ro-status")  # what could not be read is named
    home.wait_text("a valley at dawn", ".ro-asked")
    for _ in range(3):
        answer(home, "ArrowLeft")
    page.wait_for_function(SENT)
    home.wait_text("3 comparisons")
    pair = page.evaluate(SHOWN)
    answer(home, "s")
    answer(home, "z")  # the skipped pair comes again
    assert page.evaluate(SHOWN) == pair
    page.reload()  # a pause
    page.wait_for_function(READY)
    home.wait_text("3 comparisons")
    for _ in range(3):
        answer(home, "z")
    page.wait_for_function("() => document.querySelector('.ro-duel .ro-meta').textContent === 'Nothing compared yet'")
    _keep(page, "folder-pair")
    for _ in range(28):
        names = page.evaluate(SHOWN)
        answer(home, "1" if names[0] > names[1] else "ArrowRight")
    home.wait_text("You have compared everything", ".ro-nothing")
    page.wait_for_function(SENT)

    page.click('[data-command="folder_results"]')
    page.wait_for_function("() => document.querySelectorAll('.ro-ranked-card').length === 8")
    labels = page.eval_on_selector_all(".ro-ranked-open", "all => all.map(one => one.getAttribute('aria-label'))")
    assert [label.split(":")[0] for label in labels] == [f"{rank}. {8 - rank:02}.png" for rank in range(1, 9)]
    assert all("±" in label and "7 comparisons" in label for label in labels)
    page.wait_for_function("() => [...document.querySelectorAll('.ro-ranked-open img')].every(one => one.naturalWidth)")
    _keep(page, "folder-results")
    with urllib.request.urlopen(page.get_attribute('[data-command="folder_csv"]', "href"), timeout=10) as file:
        rows = list(csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline="")))
    assert [row[1] for row in rows[1:]] == [f"{8 - rank:02}.png" for rank in range(1, 9)]
    home.press("Escape", "Escape")
    home.wait_text("8 images · 28 comparisons", ".ro-folders")


def test_lists_labels_and_ties(open_board: Any, shared_server: Any, folder: Path) -> None:
    board = open_board(shared_server.url, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = board.page
    begin(board, folder, "list")
    assert len(page.evaluate(SHOWN)) == 5
    board.press("l", "2")  # the second one is liked
    assert page.get_attribute(".ro-contender:nth-child(2) .ro-like", "aria-pressed") == "true"
    board.press("3", "1")
    assert "placed 2nd" in page.get_attribute(".ro-contender:nth-child(1) .ro-choose-this", "aria-label")
    assert "liked" in page.get_attribute(".ro-contender:nth-child(2) .ro-choose-this", "aria-label")
    board.press("z")  # takes the last one placed back
    assert [badge for badge in board.badges(".ro-contender") if badge] == ["1"]
    names = page.evaluate(SHOWN)
    answer(board, "5", "Enter")
    page.wait_for_function(SENT)
    board.wait_text("1 comparison")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    _keep(page, "folder-phone")
    number = page.evaluate("rankopt.board.state.data.folder")
    found = board.api(f"data/collections/{number}/results")["images"]
    assert found[0]["name"] == names[2]
    assert {one["name"] for one in found} == set(names)
    answer(board, "=")
    page.wait_for_function(SENT)
    board.wait_text("2 comparisons")


def test_what_comes_late_for_a_folder_that_was_left_is_not_taken_for_the_open_one(home: Any, folder: Path) -> None:
    page = home.page
    begin(home, folder)
    home.press("Escape")
    late: list[Any] = []
    page.route("**/next?*", lambda route: route.continue_() if late else late.append(route))
    with page.expect_request("**/next?*"):
        page.click("[data-folder] .ro-open")
    home.press("Escape")
    page.click("[data-folder] .ro-open")
    page.wait_for_function("() => rankopt.board.folders.view && !rankopt.board.folders.busy")
    late[0].fulfill(json=[])
    page.wait_for_function(READY, timeout=5000)


def test_a_folder_that_is_not_there_is_said_in_the_dialog(home: Any, folder: Path) -> None:
    home.page.click('[data-command="rank_folder"]')
    home.page.fill('[aria-label="Folder"]', str(folder / "never"))
    home.page.keyboard.press("Enter")
    home.wait_text("is not there", ".ro-dialog .ro-refusal")
    home.page.keyboard.press("Escape")
    assert home.page.locator(".ro-dialog").count() == 0


def _keep(page: Any, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        page.wait_for_timeout(400)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
