"""Studies on the board: list, look back, branch, compare, blind test, automatic mode, errors."""

from __future__ import annotations

import io
import urllib.request
from pathlib import Path

from PIL import Image

from tests.browser.board import Board


def play(board: Board, rounds: int) -> None:
    """Rank some rounds, the third image first."""
    for number in range(1, rounds + 1):
        board.wait_round(number)
        board.press("3", "Enter")
    board.wait_round(rounds + 1)
    board.settled()


def test_look_back_and_branch(board: Board):
    play(board, 2)
    parent = board.study
    board.page.locator(".ro-chip").first.click()
    board.wait_text("You are looking back at round 1")
    assert board.badges().count("1") == 1
    board.page.click("[data-command=branch]")
    board.wait_text("Branched after round 1")
    board.settled()
    child = board.api(f"studies/{board.study}")
    assert (child["parent"], child["parent_round"]) == (parent, 0)
    board.press("Enter")
    board.wait_round(2)
    assert len(board.api(f"studies/{parent}/rounds")) == 3


def test_an_image_is_taken_along_with_its_latent(board: Board, tmp_path: Path):
    board.wait_round(1)
    board.press("e")
    assert "rank one first" in board.page.inner_text(".ro-toasts")
    board.press("3", "e")
    board.page.wait_for_selector(".ro-chosen")
    assert board.page.locator("[data-command^=send_]").count() == 0  # only the webui has tabs to send to
    with board.page.expect_download() as download:
        board.page.click("a[download]")
    download.value.save_as(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as image:
        assert image.info["rankopt-latent"].startswith("rankopt-latent 1 4x")
    board.press("Escape")
    board.press("z", "e")  # from the viewer too
    board.page.wait_for_selector(".ro-chosen")


def test_a_study_starts_from_a_picture(home: Board, tmp_path: Path):
    Image.new("RGB", (90, 60), (250, 240, 20)).save(tmp_path / "start.png")
    page = home.page
    page.click("#rankopt_init_image_settings button, #rankopt_init_image_settings .label-wrap")
    page.set_input_files("#rankopt_init_image input[type=file]", str(tmp_path / "start.png"))
    page.wait_for_selector("#rankopt_init_image img")
    home.new_study("a valley")
    home.wait_round(1)
    settings = home.api(f"studies/{home.study}")["settings"]
    assert settings["denoising_strength"] == 0.75
    with urllib.request.urlopen(f"{home.url}rankopt/v1/images/{settings['init_image']}") as answer:
        kept = Image.open(io.BytesIO(answer.read()))
    assert (kept.size, kept.getpixel((0, 0))) == ((90, 60), (250, 240, 20))


def test_start_and_now_slider(board: Board):
    play(board, 2)
    board.press("w")
    board.page.wait_for_selector(".ro-versus")
    before = board.page.eval_on_selector(".ro-versus", "one => one.style.getPropertyValue('--ro-cut')")
    board.press("ArrowRight", "ArrowRight")
    after = board.page.eval_on_selector(".ro-versus", "one => one.style.getPropertyValue('--ro-cut')")
    assert (before, after) == ("50%", "60%")
    study = board.api(f"studies/{board.study}")
    sources = board.page.eval_on_selector_all(".ro-versus img", "list => list.map(one => one.src)")
    assert sources[0].endswith(study["now_image"])
    assert sources[1].endswith(study["start_image"])


def test_blind_test_by_keyboard(board: Board):
    play(board, 2)
    board.press("b")
    board.wait_text("Did the ranking help?")
    board.page.select_option("dialog select", "4")
    board.page.locator("dialog .ro-primary").press("Enter")
    for number, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowLeft"), 1):
        board.wait_text(f"Trial {number} of 4")
        board.press(key)
    board.wait_text("of 4 times")
    board.wait_text("95 % interval")


def test_a_held_key_answers_one_trial(board: Board):
    play(board, 1)
    board.press("b")
    board.wait_text("Did the ranking help?")
    board.page.locator("dialog .ro-primary").press("Enter")
    board.wait_text("Trial 1 of 8")
    for _ in range(6):  # without a keyup in between these are repeats
        board.page.keyboard.down("ArrowRight")
        board.page.wait_for_timeout(80)
    board.page.keyboard.up("ArrowRight")
    board.wait_text("Trial 2 of 8")


def test_a_scorers_round_can_be_taken_back(board: Board):
    board.press("a")
    board.page.wait_for_selector("dialog select")
    board.page.fill("dialog input", "2")
    board.page.click("dialog .ro-primary")
    board.page.wait_for_function("rankopt.board.state.data.study.answered >= 2 && !rankopt.board.state.data.study.auto")
    board.settled()
    before = board.rounds()
    board.press("u")
    board.wait_text("is open again", ".ro-toast")
    board.settled()
    after = board.rounds()
    assert [r["status"] for r in before][:2] == ["answered", "answered"]
    assert after[1]["status"] == "ready"


def test_blind_test_needs_a_ranking(board: Board):
    board.press("b")
    board.wait_text("Rank at least", ".ro-toast")


def test_a_scorer_ranks_until_the_person_takes_over(board: Board):
    board.press("a")
    board.page.wait_for_selector("dialog select")
    board.page.fill("dialog input", "50")
    board.page.click("dialog .ro-primary")
    board.wait_text("clip is ranking while you watch")
    board.wait_text("Round 3 ·", ".ro-meta")
    board.press("a")
    board.wait_text("You have taken over")
    board.settled()
    assert board.api(f"studies/{board.study}")["auto"] is None
    assert board.rounds()[0]["answered_by"] == "auto:clip"
    board.wait_ready()
    number = len(board.rounds())
    board.press("2", "Enter")
    board.wait_round(number + 1)
    board.settled()
    assert board.rounds()[number - 1]["answered_by"] == "me"


def test_list_rename_delete(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a valley to delete")
    board.wait_ready()
    study = board.study
    board.page.click(".ro-bar >> text=Studies")
    row = board.page.locator(f"[data-study='{study}']")
    row.locator("button[title=Rename]").click()
    board.page.fill("dialog input", "<b>bold</b>")
    board.press("Enter")
    board.wait_text("<b>bold</b>", ".ro-about strong")  # shown as text, not as markup
    row.locator("button[title=Delete]").click()
    board.page.click("text=Keep it")
    assert row.count() == 1
    row.locator("button[title=Delete]").click()
    board.page.click("dialog .ro-danger")
    row.wait_for(state="detached")
    assert study not in [one["id"] for one in board.api("studies")]


def test_the_servers_sentence_is_shown(open_board, shared_server):
    board = open_board(shared_server.url)
    board.page.click("#rankopt_generate")
    board.wait_text("The prompt is empty", ".ro-toast.ro-error")
    assert board.page.is_visible("#rankopt_prompt")


def test_a_failed_round_says_why_and_offers_to_try_again(open_board, shared_server):
    board = open_board(shared_server.url)
    board.new_study("a valley out of memory")
    board.wait_text("Out of memory: 8 images", ".ro-nothing")
    board.page.wait_for_selector("[data-command=make]")  # the answer to the start may still come after the failure


def test_optimizer_options_are_sent(open_board, shared_server):
    board = open_board(shared_server.url)
    board.page.click("#rankopt_optimizer_settings >> text=How rankings become")
    board.page.fill("#rankopt_rank_step_spread :is(input, textarea)", "0.7")
    board.page.keyboard.press("Tab")
    board.new_study("a valley with options")
    board.wait_ready()
    settings = board.api(f"studies/{board.study}")["settings"]
    assert settings["optimizer"] == "rank_step"
    assert settings["optimizer_settings"]["spread"] == 0.7
    assert "noise" not in settings["optimizer_settings"]  # an empty field leaves it to the optimiser
    assert (settings["width"], settings["sampler"], settings["candidates"]) == (256, "DPM++ 2M", 8)


def test_help_lists_the_keys(board: Board):
    board.press("?")
    board.wait_text("none is better", "dialog")
    board.press("Escape")
    assert board.page.locator("dialog").count() == 0
