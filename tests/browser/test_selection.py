"""Candidates: how an image was chosen, and choices that a person is asked for. With RANKOPT_SHOTS=FOLDER the pictures are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHOICE = ".ro-choose[open]"
# gradio's components are not for filling from outside; what the form becomes has tests of its own
START = """([prompt, selection, candidates]) => {
    const values = {prompt, candidates, steps: 8, optimizer: 'rank_step'};
    for (const [name, value] of Object.entries(selection)) values[`selection.${name}`] = value;
    rankopt.startStudy(Object.keys(values).map(name => `settings.${name}`), Object.values(values), 'nobody');
}"""
HUMAN = {"policy": "human", "pool": 4, "scorer": "none", "at": "", "wait_seconds": 60}
POLLS = "performance.getEntriesByType('resource').filter(one => one.name.includes('/picks')).length"


def keep(board, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        board.page.wait_for_timeout(500)
        board.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def start(board, prompt, selection, candidates=2):
    board.page.evaluate(START, [prompt, selection, candidates])
    board.page.wait_for_selector(".ro-page:not([hidden])")


def next_choice(board, step=None):
    """Wait for the next choice, with all its pictures, and until it takes keys."""
    words = f"Step {step} of 8" if step else "The images are finished"
    board.wait_text(words, CHOICE)
    board.page.wait_for_function("[...document.querySelectorAll('.ro-option img')].every(one => one.naturalWidth)")
    board.page.wait_for_timeout(350)


def rows(board, scope=""):
    return board.page.eval_on_selector_all(f"{CHOICE} .ro-option{scope}", "list => list.map(one => Number(one.dataset.row))")


def finish(board, images):
    """Let what is still asked go its way."""
    for _ in range(3 * images):
        if board.page.evaluate("rankopt.board.state.current.status") == "ready":
            return
        board.page.wait_for_function(
            "document.querySelector('.ro-choose[open]') || rankopt.board.state.current.status === 'ready'"
        )
        if board.page.query_selector(CHOICE):
            board.page.wait_for_timeout(350)
            final = "finished" in board.page.inner_text(CHOICE)
            board.press("1" if final else "a")
            board.page.wait_for_timeout(100)


def taken(board, index=0):
    image = board.rounds()[0]["candidates"][index]["image"]
    return next(i for i, alive in enumerate(board.api(f"images/{image}/selection")["looks"][-1]["alive"]) if alive)


def test_a_person_picks_by_keys_and_by_clicks(home):
    title = home.page.title()
    start(home, "a valley that is picked", HUMAN)
    next_choice(home, 1)
    assert home.page.title() == "● Which of these go on?"
    assert home.page.inner_text(f"{CHOICE} .ro-of") == "a valley that is picked"
    home.press("Enter")
    home.wait_text("Pick at least one", CHOICE)
    home.press("2", "3", "4", "3")
    assert rows(home, ".ro-picked") == [1, 3]
    keep(home, "pick")
    home.press("Enter")
    next_choice(home, 5)
    assert rows(home) == [1, 3]
    home.press("0")
    next_choice(home)
    keep(home, "pick-final")
    home.press("a", "Enter")
    home.wait_text("number of one image", CHOICE)
    home.page.click(f"{CHOICE} [data-row='3']")
    next_choice(home, 1)
    assert rows(home) == [0, 1, 2, 3]
    home.page.click(f"{CHOICE} [data-row='2']")
    home.page.click(f"{CHOICE} [data-command=pick_go]")
    home.wait_ready(2)
    assert home.page.query_selector(CHOICE) is None
    assert home.page.title() == title
    assert (taken(home), taken(home, 1)) == (3, 2)
    home.press("2")
    assert home.badges() == ["", "1"]


def test_two_windows_show_a_choice_and_the_first_answer_counts(open_board, shared_server):
    first = open_board(shared_server.url)
    start(first, "a valley picked twice", HUMAN)
    next_choice(first, 1)
    second = open_board(shared_server.url)
    second.page.click(f"[data-study='{first.study}'] .ro-open")
    next_choice(second, 1)
    first.press("2", "1", "Enter")
    next_choice(first, 5)
    next_choice(second, 5)
    assert rows(second) == [0, 1]
    # the second one is too late: it has not heard of the answer yet
    second.page.evaluate("rankopt.picks.control.abort(), rankopt.picks.reasons.clear()")
    second.page.evaluate("rankopt.picks.show = () => {}")
    first.press("2", "Enter")
    second.press("1", "Enter")
    first.wait_text("Step 1 of 8", CHOICE)
    second.page.wait_for_selector(CHOICE, state="detached")
    assert second.page.query_selector(".ro-error") is None
    finish(first, 2)
    assert taken(first) == 1


def test_a_phone_shows_the_candidates_and_what_can_be_done(open_board, shared_server):
    board = open_board(shared_server.url, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    start(board, "a valley in the hand", {**HUMAN, "pool": 8}, 2)
    next_choice(board, 1)
    board.page.locator(".ro-option").nth(1).tap()
    keep(board, "phone-pick")
    assert board.page.evaluate("document.documentElement.scrollWidth") <= 360
    for command in ("pick_go", "pick_all", "pick_stop"):
        box = board.page.locator(f"{CHOICE} [data-command={command}]").bounding_box()
        assert 0 <= box["y"] <= 640 - box["height"]
    board.page.locator(f"{CHOICE} [data-command=pick_stop]").tap()
    board.page.wait_for_selector(CHOICE, state="detached")


def test_stop_ends_the_round_and_the_choice(home):
    start(home, "a valley that is stopped", HUMAN)
    next_choice(home, 1)
    home.press("Escape")
    home.wait_text("Stopped after 0 images", ".ro-nothing")
    assert home.page.query_selector(CHOICE) is None


def test_when_the_time_is_over_the_run_goes_on(home):
    start(home, "a valley without anybody", {**HUMAN, "wait_seconds": 1})
    home.wait_text("left, then the last", CHOICE)
    home.wait_ready(2)
    assert home.page.query_selector(CHOICE) is None
    assert taken(home) == 3


def test_nothing_is_asked_where_no_person_picks(home):
    start(home, "a valley chosen by a scorer", {**HUMAN, "policy": "halving", "scorer": "clip"})
    home.wait_ready(2)
    assert home.page.evaluate(POLLS) == 0
    assert home.page.evaluate("rankopt.picks.control") is None


def test_polling_ends_with_the_round(home):
    start(home, "a valley asked about", {**HUMAN, "wait_seconds": 1, "pool": 2})
    home.wait_ready(2)
    home.page.wait_for_function("rankopt.picks.control === null")
    polls = home.page.evaluate(POLLS)
    home.page.wait_for_timeout(1000)
    assert home.page.evaluate(POLLS) == polls > 0


def test_how_an_image_was_chosen_is_shown(home):
    start(home, "a valley and its ways", {**HUMAN, "policy": "halving", "scorer": "clip"})
    home.wait_ready(2)
    home.press("ArrowRight", "h")
    home.page.wait_for_function("(document.querySelector('.ro-tree') || {}).naturalWidth >= 360")
    keep(home, "chosen")
    home.press("h")
    home.page.wait_for_selector(".ro-how", state="detached")
    home.press("z")
    home.page.click(".ro-viewbar [data-command=chosen]")
    home.page.wait_for_selector(".ro-how[open]")
    keep(home, "chosen-viewer")
    home.press("Escape")
    home.page.wait_for_selector(".ro-how", state="detached")
    assert home.page.is_visible(".ro-viewer[open]")


def test_an_image_that_was_not_chosen_says_so(board):
    board.press("ArrowRight", "h")
    board.wait_text("not chosen among candidates", ".ro-toast")
    board.press("z")
    assert not board.page.is_visible(".ro-viewbar [data-command=chosen]")


def test_the_form_starts_a_selection(home):
    """The components themselves, as this gradio draws them."""
    home.page.click("#rankopt_selection > button, #rankopt_selection > .label-wrap")
    home.page.click("#rankopt_selection_policy input")
    home.page.click("#rankopt_selection_policy :is([role=option], li.item):has-text('halving')")
    home.page.fill("#rankopt_selection_at input, #rankopt_selection_at textarea", "30% 60%")
    home.page.click("#rankopt_selection_more > button, #rankopt_selection_more > .label-wrap")
    keep(home, "form")
    home.new_study("a valley from the form")
    home.wait_ready()
    settings = home.api(f"studies/{home.study}")["settings"]["selection"]
    assert (settings["policy"], settings["pool"], settings["scorer"], settings["at"]) == ("halving", 4, "clip", [0.3, 0.6])
    assert all(one["selected"] for one in home.rounds()[0]["candidates"])


WEBUI = """asks => {
    const page = document.createElement('div');
    page.innerHTML = `<button id=txt2img_generate>Generate</button><button id=txt2img_interrupt style="display:none">Stop</button>
        <input type=checkbox id=txt2img_rankopt_selection-visible-checkbox ${asks.on ? 'checked' : ''}>
        <div id=txt2img_rankopt_selection_policy><input value="${asks.policy}"></div>`;
    document.body.prepend(page);
    const stop = document.getElementById('txt2img_interrupt');
    stop.onclick = () => { window.stopped = true; stop.style.display = 'none'; };
    document.getElementById('txt2img_generate').onclick = () => { stop.style.display = 'block'; };
    document.getElementById('rankopt_tab').style.display = 'none';
}"""


@pytest.mark.parametrize("asks", [{"on": False, "policy": "human"}, {"on": True, "policy": "halving"}])
def test_the_webuis_tabs_ask_for_nothing_unless_a_person_picks(home, asks):
    home.page.evaluate(WEBUI, asks)
    home.page.click("#txt2img_generate")
    home.page.wait_for_timeout(300)
    assert home.page.evaluate(POLLS) == 0


def test_a_choice_comes_up_on_the_webuis_own_tab(open_board, shared_server):
    """A run of another window stands for txt2img's: the board of this page is hidden."""
    other = open_board(shared_server.url)
    tab = open_board(shared_server.url)
    tab.page.evaluate(WEBUI, {"on": True, "policy": "human"})
    tab.page.click("#txt2img_generate")
    start(other, "a valley of txt2img", HUMAN)
    next_choice(tab, 1)
    keep(tab, "pick-txt2img")
    assert tab.page.is_visible(CHOICE)
    tab.press("2", "4", "Enter")
    next_choice(tab, 5)
    assert rows(tab) == [1, 3]
    tab.press("Escape")
    tab.page.wait_for_selector(CHOICE, state="detached")
    assert tab.page.evaluate("window.stopped") is True
    tab.page.evaluate("performance.clearResourceTimings()")
    other.press("Escape")
    other.wait_text("Stopped after", ".ro-nothing")
