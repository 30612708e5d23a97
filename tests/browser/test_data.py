"""The Data page: what there is, the gallery by keyboard, duplicates, training. With RANKOPT_SHOTS=FOLDER the pictures are kept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the stand-in for the service has no collections")
pytest.importorskip("sqlalchemy", reason="the stand-in for the service has no collections")

from lib_rankopt.store import open_store
from lib_rankopt.store.collected.base import CollectionStore
from tests.studies.data.filled import fill, label, pair

COUNT = 130
SHOWN = "wanted => [...document.querySelectorAll('.ro-cell')].map(one => one.dataset.number).join() === wanted"


@pytest.fixture
def store(own_server: Any) -> Iterator[CollectionStore]:
    """The store that the server has open, from here."""
    opened = open_store(own_server.folder)
    yield opened.collected
    opened.close()


@pytest.fixture
def images(store: CollectionStore, tmp_path: Path) -> Iterator[list[int]]:
    """A folder of 130 images, the second a copy of the first, with some feedback."""
    number, found = fill(store, tmp_path / "foxes", COUNT)
    shutil.copy(tmp_path / "foxes" / "0.png", tmp_path / "foxes" / "1.png")
    for draft in (pair(found[0], found[2], "1"), label(found[1], "2", source="saved"), label(found[3], "3", "dislike", rater="ann")):
        store.append(number, draft)
    yield found
    for one in store.collections():
        store.delete(one.number)


@pytest.fixture
def home(open_board: Any, own_server: Any, images: list[int]) -> Any:
    """The Data page of a board without studies, opened by its button."""
    board = open_board(own_server.url)
    board.page.click('[data-command="data"]')
    board.page.wait_for_selector(".ro-sources tbody tr")
    return board


def gallery(home: Any) -> None:
    home.page.click('[data-command="data_view_images"]')
    home.page.wait_for_selector(".ro-cell[aria-current]")


def numbers(home: Any) -> list[int]:
    return home.page.eval_on_selector_all(".ro-cell", "all => all.map(one => Number(one.dataset.number))")  # type: ignore[no-any-return]


def said(home: Any, number: int) -> list[tuple[str, float]]:
    return [(one["rater"], one["value"]) for one in home.api(f"data/images/{number}")["image"]["labels"]]


def until(home: Any, script: str, arg: Any = None) -> None:
    home.page.wait_for_function(script, arg=arg)


def test_what_there_is_and_what_it_would_give(home: Any) -> None:
    page = home.page
    row = page.locator(".ro-sources tbody tr")
    assert row.count() == 1
    assert row.locator(".ro-figure").all_inner_texts() == ["130", "2", "1", "–", "1", "1"]
    home.wait_text("1 pair over 1 prompt", '[data-objective="dpo"]')
    home.wait_text("liked", '[data-objective="kto"]')
    _keep(page, "data-overview")
    page.locator(".ro-sources tbody input").uncheck()
    home.wait_text("Tick something")
    assert page.locator(".ro-reach-card").count() == 0
    page.locator(".ro-sources tbody input").check()
    page.click('[data-objective="dpo"] [data-command="data_train"]')
    page.wait_for_selector('.ro-training:not([hidden]) [data-collection="c1"]')
    assert page.locator("[data-collection]").is_checked()
    assert page.locator('.ro-objective input[value="dpo"]').is_checked()
    home.wait_text("1 items (pairs) of 2 images", ".ro-reach")
    page.click('.ro-training [data-command="studies"]')
    page.wait_for_selector(".ro-home:not([hidden])")


def test_the_gallery_by_keyboard(home: Any, images: list[int], store: CollectionStore) -> None:
    page = home.page
    gallery(home)
    assert numbers(home)[:100] == images[:100]
    page.mouse.move(400, 600)
    page.mouse.wheel(0, 20000)
    until(home, "count => document.querySelectorAll('.ro-cell').length === count", COUNT)
    assert numbers(home) == images
    home.wait_text("130 images, and no more")
    for stays in (".ro-data-tools", ".ro-data-aside"):
        top = page.evaluate("name => document.querySelector(name).getBoundingClientRect().top", stays)
        assert 0 <= top < 100, f"{stays} stays in view while the gallery scrolls"
    page.evaluate("scrollTo(0, 0)")

    home.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "l")
    until(home, "() => document.querySelectorAll('.ro-cell')[4].querySelector('.ro-good')")
    assert said(home, images[4]) == [("me", 1.0)]
    assert page.evaluate("document.activeElement.dataset.number") == str(images[4])
    assert "liked by me" in page.locator(".ro-cell").nth(4).get_attribute("aria-label")
    home.press("x")
    until(home, "() => document.querySelectorAll('.ro-cell')[4].querySelector('.ro-bad')")
    home.wait_text("does not like it", ".ro-detail")
    page.locator('.ro-detail [data-command="data_take_back"]').first.click()
    until(home, "() => document.querySelectorAll('.ro-cell')[4].querySelector('.ro-good')")
    home.press("l")  # a second time takes it away
    until(home, "() => !document.querySelectorAll('.ro-cell')[4].querySelector('.ro-cell-label').textContent")
    assert said(home, images[4]) == []

    home.press("e")
    page.locator(".ro-dialog textarea").fill("lxd: a fox in the snow")
    home.press("Enter")
    home.wait_text("lxd: a fox in the snow", ".ro-detail-prompt")
    assert home.api(f"data/images/{images[4]}")["image"]["prompt"] == "lxd: a fox in the snow"

    home.press("d")
    until(home, "number => !document.querySelector(`[data-number='${number}']`)", images[4])
    assert page.locator(".ro-cell[aria-current]").get_attribute("data-number") == str(images[5])
    assert home.api(f"data/images/{images[4]}")["image"]["state"] == "removed"
    home.press("u")
    until(home, "number => document.querySelector(`[data-number='${number}']`)", images[4])

    until(home, "() => document.querySelector('.ro-cell[aria-current]')")
    home.press("Shift+ArrowRight", "Shift+ArrowRight")
    home.wait_text("3 selected", ".ro-data-tools")
    home.press("l")
    until(home, "() => document.querySelectorAll('.ro-cell .ro-good').length >= 3")
    assert [said(home, one)[-1] for one in images[:3]] == [("me", 1.0)] * 3
    home.press("Escape", "Enter")
    page.wait_for_selector(".ro-look")
    until(home, "() => document.querySelector('.ro-look-image').naturalWidth === 64")
    home.press("ArrowRight", "x")
    until(home, "number => document.querySelector(`[data-number='${number}'] .ro-bad`)", images[3])
    _keep(page, "data-look")
    home.press("Escape")
    assert page.locator(".ro-look").count() == 0
    assert page.locator(".ro-datapage").is_visible()


def test_filters(home: Any, images: list[int]) -> None:
    page = home.page
    gallery(home)
    for name, value, wanted in (
        ("Feedback", "compared", [images[0], images[2]]),
        ("Rater", "me", [images[0], images[2]]),
        ("Words of the caption", "red BARN", []),
        ("Feedback", "any", [images[1]]),
        ("What labels were concluded from", "saved", [images[1]]),
        ("File", "removed", []),
    ):
        control = page.locator(f'.ro-filters [aria-label="{name}"]')
        if name == "Words of the caption":
            control.press_sequentially(value)
        else:
            control.select_option(value)
        until(home, SHOWN, ",".join(map(str, wanted)))
    home.wait_text("No image fits", ".ro-cells-foot")


def test_a_look_at_the_files_and_duplicates(home: Any, images: list[int]) -> None:
    page = home.page
    page.click('.ro-row-tools [aria-label="Look at the files: foxes"]')
    home.wait_text("130 of 130 images", ".ro-job[data-state=done]")
    page.click('.ro-job [aria-label="Dismiss"], .ro-job [title="Dismiss"]')
    page.click('[data-command="data_view_twins"]')
    page.wait_for_selector(".ro-twin-group")
    home.wait_text("1 group.")
    page.click('[data-command="data_hide"]')
    home.wait_text("No duplicates")
    # most was said about neither: the first of the two compared ones stays
    states = {one: home.api(f"data/images/{one}")["image"]["state"] for one in images[:2]}
    assert sorted(states.values()) == ["here", "removed"]
    page.click('.ro-choice:has-text("Look the same")')
    home.wait_text("4 of 64 bits")
    page.reload()
    page.wait_for_selector(".ro-data-twins:not([hidden])")  # the page comes back to where it was


def test_out_and_in_again(home: Any, tmp_path: Path) -> None:
    page = home.page
    page.click('[data-command="data_export"]')
    home.wait_text("images whose file is gone: they are named", ".ro-dialog")
    page.locator(".ro-dialog select").select_option("jsonl")
    home.wait_text("what was said about them", ".ro-dialog")
    page.locator(".ro-dialog input").fill(str(tmp_path / "out"))
    home.press("Enter")
    home.wait_text("130 images, 3 answers", ".ro-job[data-state=done]")
    page.click('[data-command="data_import"]')
    page.locator(".ro-dialog input").first.fill(str(tmp_path / "out"))
    home.press("Enter")
    home.wait_text("out", ".ro-source strong")
    home.wait_text("Importing out", ".ro-job[data-state=done]")
    assert page.locator(".ro-sources tbody tr").count() == 2
    page.click('[data-command="data_import"]')
    page.locator(".ro-dialog input").first.fill("not/there")
    home.press("Enter")
    home.wait_text("Give a full path", ".ro-toast")


def test_renaming_and_deleting(home: Any, images: list[int], tmp_path: Path) -> None:
    page = home.page
    page.click('[aria-label="Rename: foxes"]')
    page.locator(".ro-dialog input").fill("Red foxes")
    home.press("Enter")
    home.wait_text("Red foxes", ".ro-source")
    page.click('[aria-label="Delete: Red foxes"]')
    home.wait_text("130 images and 3 answers will be gone", ".ro-dialog")
    home.press("Enter")  # keeps it
    page.click('[aria-label="Delete: Red foxes"]')
    page.click('.ro-dialog .ro-danger')
    page.wait_for_selector(".ro-data-overview .ro-welcome:not([hidden])")
    until_empty = time.monotonic() + 20
    while home.api("data/overview")["sources"] and time.monotonic() < until_empty:
        time.sleep(0.1)
    assert home.api("data/overview")["sources"] == []
    assert len(list((tmp_path / "foxes").iterdir())) == COUNT
    home.press("Escape")
    page.wait_for_selector(".ro-home:not([hidden])")


def test_on_a_phone(open_board: Any, own_server: Any, images: list[int]) -> None:
    board = open_board(own_server.url, viewport={"width": 390, "height": 844}, has_touch=True)
    page = board.page
    page.tap('[data-command="data"]')
    page.wait_for_selector(".ro-reach-card")
    for view in ("overview", "twins", "images"):
        page.tap(f'[data-command="data_view_{view}"]')
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    page.locator(".ro-cell").nth(3).tap()
    page.wait_for_selector(".ro-look")
    board.wait_text("ann does not like it", ".ro-look")
    page.tap('.ro-look [title="Like (L)"]')
    board.wait_text("me likes it", ".ro-look")
    assert said(board, images[3]) == [("ann", -1.0), ("me", 1.0)]
    board.wait_text("Raters disagree", ".ro-look")


def _keep(page: Any, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
