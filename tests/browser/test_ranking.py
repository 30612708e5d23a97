"""Ranking by keyboard, mouse and touch, in a real browser."""

from __future__ import annotations

from tests.browser.board import Board


def test_three_rounds_by_keyboard_only(open_board, shared_server):
    board = open_board(shared_server.url)
    board.page.focus("#rankopt_prompt textarea")
    board.page.keyboard.type("a quiet valley, 1 tree")  # digits typed into a field rank nothing
    board.page.keyboard.press("Tab")
    board.page.keyboard.press("Enter")  # on the start button
    board.page.wait_for_selector(".ro-page:not([hidden])")
    wanted = []
    for number, keys in enumerate((["3", "1"], ["2", "Shift+Digit5", "8"], ["7"]), 1):
        board.wait_round(number)
        ids = board.ids()
        board.press(*keys)
        wanted.append([ids[int(key[-1]) - 1] for key in keys])
        board.press("Enter")
    board.wait_round(4)
    rounds = board.rounds()
    assert [r["status"] for r in rounds] == ["answered", "answered", "answered", "ready"]
    assert rounds[0]["tiers"][:2] == [[wanted[0][0]], [wanted[0][1]]]
    assert [sorted(tier) for tier in rounds[1]["tiers"][:2]] == [sorted(wanted[1][:2]), [wanted[1][2]]]
    assert rounds[2]["tiers"][0] == [wanted[2][0]]
    assert {r["answered_by"] for r in rounds[:3]} == {"me"}


def test_digits_place_and_take_back(board: Board):
    board.press("4", "2", "9")  # there is no ninth image
    assert board.badges() == ["", "2", "", "1", "", "", "", ""]
    board.press("4")
    assert board.badges() == ["", "1", "", "", "", "", "", ""]
    assert "1 of 8 placed" in board.page.inner_text(".ro-placed")


def test_a_badge_shows_within_the_key_press(board: Board):
    """No answer of the server is waited for: the badge is there when the key handler returns."""
    script = """() => {
        const event = new KeyboardEvent('keydown', {key: '6', code: 'Digit6', bubbles: true, cancelable: true});
        document.body.dispatchEvent(event);
        return document.querySelectorAll('.ro-grid .ro-card')[5].querySelector('.ro-badge').textContent;
    }"""
    assert board.page.evaluate(script) == "1"


def test_ties_by_shift_click_and_by_tie_mode(board: Board):
    cards = board.page.locator(".ro-grid .ro-pick")
    cards.nth(0).click()
    cards.nth(1).click(modifiers=["Shift"])
    board.page.click("[data-command=tie]")
    cards.nth(2).click()
    board.page.click("[data-command=tie]")
    cards.nth(3).click()
    assert board.badges() == ["1", "1", "1", "2", "", "", "", ""]


def test_undo_takes_back_a_pick_and_then_the_round(board: Board):
    board.press("1", "2", "u")
    assert board.badges()[:2] == ["1", ""]
    board.press("Enter")
    board.wait_round(2)
    board.settled()
    board.press("u")
    board.wait_round(1)
    board.settled()
    assert [r["status"] for r in board.rounds()] == ["ready"]
    board.press("5", "Enter")
    board.wait_round(2)
    assert board.rounds()[0]["tiers"][0] == [board.rounds()[0]["order"][4]]


def test_like_and_dislike_the_focused_image(board: Board):
    board.press("ArrowRight", "ArrowRight", "l")
    board.press("ArrowRight", "d")
    board.settled()
    round_ = board.rounds()[0]
    liked = {c["id"]: c["liked"] for c in round_["candidates"]}
    assert [liked[name] for name in round_["order"][:4]] == [None, True, False, None]
    board.press("d")
    board.settled()
    assert [c["liked"] for c in board.rounds()[0]["candidates"]].count(False) == 0


def test_enter_without_a_ranking_asks_and_none_is_better_goes_on(board: Board):
    board.press("Enter")
    board.page.wait_for_selector("dialog[aria-label='Nothing is ranked yet']")
    board.press("Escape")
    assert board.page.locator("dialog").count() == 0
    assert board.rounds()[0]["status"] == "ready"
    board.press("Enter", "n")
    board.wait_round(2)
    board.settled()
    assert board.rounds()[0]["status"] == "answered"
    assert board.rounds()[0]["tiers"] == []


def test_a_name_goes_with_every_answer_and_with_undo(home: Board):
    board = home
    board.page.click("[data-command=rater]")
    board.page.fill("[aria-label='Your name']", "Ann: of the team")
    board.page.keyboard.press("Enter")
    assert board.page.inner_text("[data-command=rater]") == "You: Ann of the team"
    board.new_study("a shared valley")
    board.wait_ready()
    board.press("1", "Enter")
    board.wait_round(2)
    assert board.rounds()[0]["answered_by"] == "Ann of the team"
    board.press("u")
    board.wait_round(1)
    assert [one["status"] for one in board.rounds()] == ["ready"]


def test_skip(board: Board):
    board.press("s")
    board.wait_round(2)
    board.settled()
    assert [r["status"] for r in board.rounds()] == ["answered", "ready"]


def test_incumbent_is_marked_only_on_request(board: Board):
    board.press("2", "Enter")
    board.wait_round(2)
    shown = "document.querySelectorAll('.ro-incumbent').length"
    assert board.page.evaluate(shown) == 0
    board.press("i")
    assert board.page.evaluate(shown) == 1
    marked = board.page.get_attribute(".ro-incumbent", "data-id")
    assert marked == board.rounds()[1]["incumbent"]
    board.press("i")
    assert board.page.evaluate(shown) == 0


def test_ranking_goes_on_while_zoomed(board: Board):
    board.press("ArrowRight", "z")
    board.page.wait_for_selector("dialog.ro-viewer .ro-pane")
    board.press("3", "r", "ArrowRight", "Shift+R")
    board.press("Escape")
    assert board.badges()[:3] == ["2", "2", "1"]


def test_side_by_side_shares_zoom_and_pan(board: Board):
    board.press("c")
    board.page.wait_for_selector("[data-panes='2'] .ro-pane")
    board.press("c")
    board.page.wait_for_selector("[data-panes='4'] .ro-pane")
    pane = board.page.locator(".ro-pane").nth(1)
    box = pane.bounding_box()
    board.page.mouse.move(box["x"] + 40, box["y"] + 40)
    board.page.mouse.wheel(0, -600)
    moves = board.page.eval_on_selector_all(".ro-full-image", "list => list.map(one => one.style.transform)")
    assert len(moves) == 4
    assert len(set(moves)) == 1
    assert "scale(1)" not in moves[0]
    board.press("Escape")
    assert board.page.locator("dialog").count() == 0


def test_touch_taps_rank_and_a_long_press_zooms(open_board, shared_server):
    board = open_board(shared_server.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    board.new_study("a phone valley")
    board.wait_ready()
    board.page.locator(".ro-pick").nth(1).tap()
    assert board.badges()[1] == "1"
    assert board.page.evaluate("document.documentElement.scrollWidth") <= 360
    hold = """() => {
        const pick = document.querySelectorAll('.ro-pick')[2];
        pick.dispatchEvent(new PointerEvent('pointerdown', {pointerType: 'touch', bubbles: true}));
    }"""
    board.page.evaluate(hold)
    board.page.wait_for_selector("dialog.ro-viewer .ro-pane")


def test_keys_are_left_alone_in_fields(board: Board):
    board.page.click(".ro-name")
    board.page.wait_for_selector("dialog input")
    board.page.keyboard.type("u3 valley")
    board.press("Enter")
    board.wait_text("u3 valley", ".ro-name")
    assert board.badges() == [""] * 8
    board.settled()
    assert board.api(f"studies/{board.study}")["name"] == "u3 valley"


def test_a_draft_survives_a_reload(board: Board):
    board.press("8", "1")
    board.page.reload()
    board.wait_ready()
    assert board.badges() == ["2", "", "", "", "", "", "", "1"]


def test_a_name_given_in_another_window_shows_here(home: Board):
    other = home.page.context.new_page()
    other.goto(home.url)
    other.wait_for_selector("[data-command=rater]")
    other.click("[data-command=rater]")
    other.fill("[aria-label='Your name']", "Ben")
    other.keyboard.press("Enter")
    home.page.wait_for_function("document.querySelector('[data-command=rater]').textContent === 'You: Ben'")
    other.close()
