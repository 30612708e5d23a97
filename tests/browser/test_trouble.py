"""Two tabs, interrupts, and a server that is killed and comes back."""

from __future__ import annotations

# Answers in the server's place, until the page is loaded again or ``askTheServer()`` is called; status 0 is no answer at all.
# Inside the page, because an interception from outside let a request through on a busy machine.
ANSWER_INSTEAD = """([part, status, body]) => {
    const real = window.fetch;
    window.instead = 0;
    window.fetch = (address, ...rest) => {
        if (!String(address).includes(part)) return real(address, ...rest);
        window.instead += 1;
        if (!status) return Promise.reject(new TypeError('Failed to fetch'));
        return Promise.resolve(new Response(JSON.stringify(body), {status, headers: {'Content-Type': 'application/json'}}));
    };
    window.askTheServer = () => { window.fetch = real; };
}"""
LOST = ["/feedback", 0, None]
FULL_DISK = ["/feedback", 507, {"error": "StoreError", "message": "The disk is full."}]
# what a webui answers after Reload UI, until it has taken in our routes
NOT_MOUNTED = ["rankopt/v1/", 404, {"detail": "Not Found"}]


def test_interrupt_leaves_what_is_there_to_rank(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a slow valley")
    board.page.wait_for_function("document.querySelectorAll('.ro-card.ro-loaded:not(.ro-waiting)').length >= 2")
    assert board.page.is_visible(".ro-meter")
    board.press("Escape")
    board.wait_text("Stopped after", ".ro-nothing")
    board.settled()
    finished = [c["id"] for c in board.rounds()[0]["candidates"] if c["image"]]
    assert 2 <= len(finished) < 8
    place = board.ids().index(finished[0]) + 1
    missing = next(i for i, name in enumerate(board.ids(), 1) if name not in finished)
    board.press(str(missing))
    assert set(board.badges()) == {""}
    board.press(str(place), "Enter")
    board.wait_text("Round 2 ·", ".ro-meta")
    board.settled()
    assert board.rounds()[0]["tiers"][0] == [finished[0]]


def test_second_tab_sees_the_answer_and_goes_on(open_board, shared_server):
    first = open_board(shared_server.url)
    first.new_study("a valley in two tabs")
    first.wait_ready()
    second = open_board(shared_server.url)
    second.page.click(f"[data-study='{first.study}'] .ro-open")
    second.wait_round(1)
    second.press("5")
    first.press("2", "Enter")
    second.wait_text("answered in another window", ".ro-toast")
    first.wait_round(2)
    second.wait_round(2)
    assert second.badges() == [""] * 8
    assert second.ids() == first.ids()


def test_an_answer_that_comes_too_late_is_said_and_nothing_breaks(open_board, shared_server):
    first = open_board(shared_server.url)
    first.new_study("a valley answered twice")
    first.wait_ready()
    second = open_board(shared_server.url)
    second.page.click(f"[data-study='{first.study}'] .ro-open")
    second.wait_round(1)
    second.page.evaluate("rankopt.board.state.stopWatching()")  # as if its long poll had not come back yet
    first.press("2", "Enter")
    first.wait_round(2)
    first.settled()
    second.press("5", "Enter")
    second.wait_text("Round 1 is", ".ro-toast.ro-error")
    second.settled()
    second.wait_round(2)
    rounds = first.rounds()
    assert len(rounds) == 2
    assert rounds[0]["tiers"][0] == [rounds[0]["order"][1]]


def test_server_killed_in_mid_round_and_started_again(open_board, own_server):
    board = open_board(own_server.url)
    board.new_study("a slow valley with a power cut")
    board.page.wait_for_function("document.querySelectorAll('.ro-card.ro-loaded:not(.ro-waiting)').length >= 2")
    own_server.kill()
    board.wait_text("The server is away", ".ro-banner")
    own_server.start()
    board.wait_ready()
    board.page.wait_for_function("document.querySelector('.ro-banner').hidden")


def test_a_ranking_sent_while_the_server_is_away_arrives_once(open_board, own_server):
    board = open_board(own_server.url)
    board.new_study("a valley ranked in the dark")
    board.wait_ready()
    ids = board.ids()
    own_server.kill()
    board.press("4", "6", "Enter")
    board.wait_text("The server is away", ".ro-banner")
    board.page.wait_for_timeout(500)
    own_server.start()
    board.wait_text("Round 2 ·", ".ro-meta")
    board.settled()
    rounds = board.rounds()
    assert len(rounds) == 2
    assert rounds[0]["tiers"][:2] == [[ids[3]], [ids[5]]]


def test_a_vote_on_its_way_survives_a_reload_of_the_page(open_board, own_server):
    board = open_board(own_server.url)
    board.new_study("a valley left too early")
    board.wait_ready()
    ids = board.ids()
    study = board.study
    board.page.evaluate(ANSWER_INSTEAD, LOST)
    board.press("7", "Enter")
    board.page.wait_for_function("instead > 0")
    assert board.rounds()[0]["status"] == "ready"
    board.page.goto(own_server.url)
    board.page.wait_for_selector(".ro-page:not([hidden])")
    board.settled()
    board.page.wait_for_function("localStorage.getItem('rankopt:outbox') === null")
    assert board.api(f"studies/{study}/rounds/0")["tiers"][0] == [ids[6]]


def test_a_refused_answer_gives_the_picks_back(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a valley on a full disk")
    board.wait_ready()
    board.page.evaluate(ANSWER_INSTEAD, FULL_DISK)
    board.press("4", "2", "Enter")
    board.wait_text("The disk is full", ".ro-toast")
    board.settled()
    board.page.wait_for_function("document.querySelector('.ro-meta').textContent.startsWith('Round 1')")
    assert board.badges() == ["", "2", "", "1", "", "", "", ""]
    assert board.rounds()[0]["status"] == "ready"


def test_skipping_an_unfinished_round_keeps_the_picks(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a slow valley to skip too early")
    board.page.wait_for_function("document.querySelectorAll('.ro-card.ro-loaded:not(.ro-waiting)').length >= 1")
    first = board.page.evaluate("[...document.querySelectorAll('.ro-card')].findIndex(c => c.matches('.ro-loaded:not(.ro-waiting)'))")
    board.press(str(first + 1), "s")
    board.wait_text("Still making images", ".ro-toast")
    board.press("n")
    board.settled()
    assert board.badges()[first] == "1"
    assert len(board.rounds()) == 1
    board.press("Escape")
    board.settled()


def test_a_double_click_starts_one_study(open_board, own_server):
    board = open_board(own_server.url)
    board.page.fill("#rankopt_prompt textarea", "a valley clicked twice")
    board.page.dblclick("#rankopt_generate")
    board.page.wait_for_selector(".ro-page:not([hidden])")
    board.wait_ready()
    assert [one["name"] for one in board.api("studies")].count("a valley clicked twice") == 1


def test_a_server_without_our_routes_yet_is_waited_for(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a valley while the server restarts")
    board.wait_ready()
    study, picked = board.study, board.ids()[1]
    board.page.evaluate(ANSWER_INSTEAD, NOT_MOUNTED)
    board.press("2", "Enter")
    board.wait_text("The server is away; trying again.", ".ro-banner")
    board.page.wait_for_function("instead > 3")
    assert board.study == study
    assert board.page.evaluate("sessionStorage.getItem('rankopt:open')") == study
    board.page.evaluate("askTheServer()")
    board.wait_round(2)
    board.settled()
    assert board.rounds()[0]["tiers"][0] == [picked]
