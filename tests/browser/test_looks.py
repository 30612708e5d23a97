"""Light, dark and phone width: what can be measured. With RANKOPT_SHOTS=FOLDER the pictures are kept to be looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CONTRAST = """() => {
    const channel = value => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
    const light = color => {
        const [r, g, b] = color.match(/[0-9.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    };
    const solid = one => {
        for (; one; one = one.parentElement) {
            const fill = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$|transparent/.test(fill)) return fill;
        }
        return 'rgb(255, 255, 255)';
    };
    return ['.ro-name', '.ro-meta', '.ro-placed', '[data-command=skip]', '[data-command=confirm]'].map(name => {
        const one = document.querySelector(name);
        const [a, b] = [light(getComputedStyle(one).color), light(solid(one))].sort((x, y) => y - x);
        return [name, (a + 0.05) / (b + 0.05)];
    });
}"""


def keep(board, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        board.page.wait_for_timeout(400)
        board.page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(open_board, shared_server, theme):
    board = open_board(f"{shared_server.url}?__theme={theme}", color_scheme=theme)
    keep(board, f"{theme}-home")
    board.new_study(f"a {theme} valley")
    board.wait_ready()
    board.press("3", "6", "Shift+1", "ArrowRight", "l")
    assert board.page.get_attribute(".ro-root", "data-theme") == theme
    keep(board, f"{theme}-ranked")
    assert {name: ratio for name, ratio in board.page.evaluate(CONTRAST) if ratio < 4.5} == {}
    board.press("Enter")
    board.wait_round(2)
    board.press("2", "c")
    board.page.wait_for_selector(".ro-pane")
    keep(board, f"{theme}-compare")
    board.press("Escape", "Enter")
    board.wait_round(3)
    board.settled()
    for key, name in (("w", "slider"), ("b", "blind"), ("?", "help"), ("a", "auto")):
        board.press(key)
        board.page.wait_for_selector("dialog")
        keep(board, f"{theme}-{name}")
        board.press("Escape")
        board.page.wait_for_selector("dialog", state="detached")


def test_a_phone_needs_no_sideways_scrolling(open_board, shared_server):
    board = open_board(shared_server.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    keep(board, "phone-home")
    assert board.page.evaluate("document.documentElement.scrollWidth") <= 360
    board.new_study("a narrow valley")
    board.wait_ready()
    board.page.locator(".ro-pick").nth(1).tap()
    keep(board, "phone-ranked")
    assert board.page.evaluate("document.documentElement.scrollWidth") <= 360
    small = """list => list.filter(one => one.offsetParent && Math.min(one.offsetWidth, one.offsetHeight) < 32)
        .map(one => one.className)"""
    assert board.page.eval_on_selector_all(".ro-root button:not(.ro-status button)", small) == []
    widths = board.page.eval_on_selector_all(".ro-card", "list => list.map(one => one.offsetWidth)")
    assert min(widths) >= 140


def test_images_use_the_window(open_board, shared_server):
    """On a laptop's screen eight images and their buttons fit without scrolling and fill most of the height."""
    board = open_board(shared_server.url, viewport={"width": 1366, "height": 768})
    board.new_study("a wide valley")
    board.wait_ready()
    box = board.page.locator(".ro-grid").bounding_box()
    confirm = board.page.locator("[data-command=confirm]").bounding_box()
    assert box["height"] >= 0.68 * 768
    assert confirm["y"] + confirm["height"] <= 768


def test_reduced_motion_is_respected(open_board, shared_server):
    board = open_board(shared_server.url, reduced_motion="reduce")
    board.new_study("a calm valley")
    board.wait_ready()
    moving = """list => list.map(one => getComputedStyle(one))
        .filter(one => one.animationName !== 'none' || parseFloat(one.transitionDuration) > 0).length"""
    assert board.page.eval_on_selector_all(".ro-root *", moving) == 0


def test_every_control_has_a_name(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a valley for all")
    board.wait_ready()
    nameless = """list => list.filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || one.title))
        .map(one => one.outerHTML)"""
    assert board.page.eval_on_selector_all(".ro-root button", nameless) == []
    label = board.page.get_attribute(".ro-pick", "aria-label")
    assert label == "Image 1, not ranked"
    board.press("1")
    assert board.page.get_attribute(".ro-pick", "aria-label") == "Image 1, ranked 1st"
    assert board.page.inner_text(".ro-spoken[aria-live]") == "Image 1 is 1st"


@pytest.mark.parametrize("key", ["e", "?", "a"])
def test_dialogs_stand_in_the_middle(board, key):
    board.press("1", key)
    board.page.wait_for_selector(".ro-small[open]")
    if key == "e":
        board.page.wait_for_function("document.querySelector('.ro-chosen').complete")
    box = board.page.locator(".ro-small[open]").bounding_box()
    assert abs(box["x"] + box["width"] / 2 - 640) < 10
    assert abs(box["y"] + box["height"] / 2 - 400) < 10
