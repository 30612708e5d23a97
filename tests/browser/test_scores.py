"""A scorer's numbers on the images, where somebody asks for them. With RANKOPT_SHOTS=FOLDER the pictures are kept."""

from __future__ import annotations

import os
from pathlib import Path

MENU = ".ro-small[open]"
NUMBERS = "cards => cards.map(card => card.querySelector('.ro-score').textContent)"
ALL = "number => [...document.querySelectorAll('.ro-grid .ro-score')].filter(one => one.textContent).length === number"
# Stands between the page and the server, inside the page: counts what is asked, and answers in the server's place where it is told to.
BETWEEN = """() => {
    const real = window.fetch;
    window.asked = 0;
    window.between = {};
    const reply = (status, body) => new Response(JSON.stringify(body), {status, headers: {'Content-Type': 'application/json'}});
    window.fetch = async (address, ...rest) => {
        const path = new URL(address).pathname;
        if (path.endsWith('/scorers')) {
            const infos = await (await real(address, ...rest)).json();
            return reply(200, window.between.infos ? window.between.infos(infos) : infos);
        }
        if (!path.endsWith('/scores')) return real(address, ...rest);
        window.asked += 1;
        if (window.between.wait) await window.between.wait;
        if (window.between.error) return reply(...window.between.error);
        if (window.between.away) throw new TypeError('Failed to fetch');
        return real(address, ...rest);
    };
}"""


def keep(board, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        board.page.wait_for_timeout(500)
        board.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def numbers(board, scope=".ro-grid .ro-card"):
    return board.page.eval_on_selector_all(scope, NUMBERS)


def choose(board, scorer="clip"):
    board.press("m")
    board.page.wait_for_selector(MENU)
    board.page.select_option("#rankopt_scores", scorer)
    board.press("Enter")
    board.page.wait_for_selector(MENU, state="detached")


def wait_numbers(board, number=8):
    board.page.wait_for_function(ALL, arg=number)


def test_numbers_stand_on_the_images_until_they_are_switched_off(board):
    board.page.evaluate(BETWEEN)
    before = board.ids()
    assert numbers(board) == [""] * 8
    board.page.click("[data-command=scores]")
    board.page.wait_for_selector(MENU)
    assert board.page.input_value("#rankopt_scores") == "clip"
    assert "changes neither the order on screen nor the next round" in board.page.inner_text(MENU)
    keep(board, "scores-menu")
    board.press("Enter")
    wait_numbers(board)
    keep(board, "scores")
    scores = {one["id"]: one["scores"]["clip"] for one in board.rounds()[0]["candidates"]}
    assert board.ids() == before
    for name, shown in zip(before, numbers(board), strict=True):
        assert abs(float(shown) - scores[name]) <= 0.00051 * abs(scores[name])
        assert len(shown.replace(".", "").lstrip("0")) == 4
    assert board.page.get_attribute(".ro-card .ro-score", "title").startswith("clip: 0 to")
    assert board.page.inner_text(".ro-scoring") == "Scores by clip"
    assert "scored" in board.page.get_attribute(".ro-pick", "aria-label")
    assert board.page.get_attribute("[data-command=scores]", "aria-pressed") == "true"
    board.press("2", "5", "Enter")
    board.wait_round(2)
    wait_numbers(board)
    assert board.page.evaluate("asked") == 2
    board.page.click(".ro-chip")
    wait_numbers(board)
    board.press("Escape")
    choose(board, "")
    assert numbers(board) == [""] * 8
    assert board.page.inner_text(".ro-scoring") == ""
    board.press("3", "Enter")
    board.wait_round(3)
    board.settled()
    assert board.page.evaluate("asked") == 2
    choose(board)
    wait_numbers(board)


def test_the_choice_belongs_to_the_study_and_to_this_page(board):
    study = board.study
    choose(board)
    wait_numbers(board)
    board.page.click(".ro-bar > .ro-button")
    board.new_study("a valley without numbers")
    board.wait_ready()
    assert numbers(board) == [""] * 8
    board.page.click(".ro-bar > .ro-button")
    board.page.click(f"[data-study='{study}'] .ro-open")
    board.wait_ready()
    wait_numbers(board)
    board.page.goto(board.url)
    board.page.wait_for_selector(".ro-page:not([hidden])")
    board.wait_ready()
    assert numbers(board) == [""] * 8


def test_ranking_goes_on_while_the_scorer_works(board):
    board.page.evaluate(BETWEEN)
    board.page.evaluate("() => { between.wait = new Promise(done => { window.go = done; }); }")
    choose(board)
    board.wait_text("clip is", ".ro-scoring")
    assert board.page.inner_text(".ro-scoring").endswith("scoring…")
    keep(board, "scores-working")
    board.press("4", "1")
    assert board.badges()[3] == "1"
    board.press("Enter")
    board.wait_round(2)
    assert numbers(board) == [""] * 8
    board.page.evaluate("go()")
    wait_numbers(board)
    assert board.page.evaluate("asked") == 2


def test_weights_that_are_missing_are_named_and_nothing_is_asked_again(board):
    sentence = "The scorer 'clip' needs the file CLIP.pt (1,972 MB), which is not here. Put it into /data/rankopt/scorers."
    board.page.evaluate(BETWEEN)
    board.page.evaluate(
        """sentence => {
            between.infos = infos => infos.map(one => ({...one, ready: false, missing: [{}], problem: sentence}));
            between.error = [422, {error: 'ModelError', message: sentence}];
        }""",
        sentence,
    )
    board.press("m")
    board.page.wait_for_selector(MENU)
    assert "clip (weights missing)" in board.page.inner_text("#rankopt_scores")
    assert sentence in board.page.inner_text(MENU)
    keep(board, "scores-missing")
    board.press("Enter")
    board.wait_text(sentence, ".ro-toast.ro-error")
    keep(board, "scores-error")
    board.page.wait_for_timeout(300)
    assert board.page.evaluate("asked") == 1
    assert board.page.inner_text(".ro-scoring") == ""
    board.press("2")
    assert board.badges()[1] == "1"


def test_a_warning_is_said_once_and_stands_beside_the_numbers(board):
    board.page.evaluate(BETWEEN)
    board.page.evaluate(
        """() => {
            between.infos = infos => infos.map(one => one.version ? {...one, warning: 'random weights: they mean nothing'} : one);
        }"""
    )
    choose(board)
    wait_numbers(board)
    board.wait_text("clip: random weights: they mean nothing", ".ro-toast")
    assert board.page.get_attribute(".ro-card .ro-score", "title").endswith("random weights: they mean nothing")
    assert board.page.inner_text(".ro-scoring") == "Scores by clip · random weights: they mean nothing"
    board.press("m")
    board.page.wait_for_selector(MENU)
    assert "random weights" in board.page.inner_text(MENU)
    board.press("Escape")
    board.page.evaluate("document.querySelectorAll('.ro-toast').forEach(one => one.remove())")
    board.press("1", "Enter")
    board.wait_round(2)
    wait_numbers(board)
    board.settled()
    assert board.page.query_selector(".ro-toast") is None


def test_a_server_that_was_away_is_asked_again(board):
    board.page.evaluate(BETWEEN)
    board.page.evaluate("between.away = true")
    choose(board)
    board.page.wait_for_function("asked > 0")
    board.page.evaluate("between.away = false")
    wait_numbers(board)
    assert board.page.query_selector(".ro-toast.ro-error") is None


def test_a_blind_test_shows_none(board):
    board.page.evaluate(BETWEEN)
    choose(board)
    wait_numbers(board)
    board.press("2", "Enter")
    board.wait_round(2)
    wait_numbers(board)
    board.press("b")
    board.page.wait_for_selector(".ro-viewer[open]")
    assert numbers(board) == [""] * 8
    asked = board.page.evaluate("asked")
    board.press("m")
    board.press("Enter")
    board.page.wait_for_selector(".ro-side")
    assert board.page.query_selector(MENU) is None
    assert board.page.query_selector(".ro-viewer .ro-score") is None
    assert board.page.evaluate("asked") == asked
    board.press("Escape")
    wait_numbers(board)


def test_the_viewer_shows_them_too(board):
    choose(board)
    wait_numbers(board)
    shown = numbers(board)
    board.press("c")
    board.page.wait_for_selector(".ro-pane")
    assert numbers(board, ".ro-pane") == shown[:2]
    board.press("l")
    keep(board, "scores-viewer")
    choose(board, "")
    assert numbers(board, ".ro-pane") == ["", ""]
    assert board.page.is_visible(".ro-viewer[open]")


def test_a_phone_shows_them_beside_everything_else(open_board, shared_server):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    board = open_board(f"{shared_server.url}?__theme=dark", **phone)
    board.new_study("a valley with numbers in the hand")
    board.wait_ready()
    board.page.locator("[data-command=scores]").tap()
    board.page.wait_for_selector(MENU)
    board.page.eval_on_selector("#rankopt_scores", "one => one.add(new Option('a scorer of a long name (weights missing)', 'x'), null)")
    assert board.page.eval_on_selector(MENU, "one => one.scrollWidth <= one.clientWidth")
    keep(board, "phone-scores-menu")
    board.page.locator(f"{MENU} .ro-primary").tap()
    wait_numbers(board)
    board.page.locator(".ro-pick").nth(1).tap()
    keep(board, "phone-scores")
    assert board.page.evaluate("document.documentElement.scrollWidth") <= 360
    apart = """cards => cards.every(card => {
        const box = name => card.querySelector(name).getBoundingClientRect();
        const score = box('.ro-score');
        return ['.ro-badge', '.ro-place', '.ro-tools'].every(name => {
            const other = box(name);
            return other.right <= score.left || other.left >= score.right || other.bottom <= score.top || other.top >= score.bottom;
        });
    })"""
    assert board.page.eval_on_selector_all(".ro-grid .ro-card", apart)
