"""From feedback to a LoRA and its blind comparison, on the page. With RANKOPT_SHOTS=FOLDER the pictures are kept."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from PIL import Image

SETTINGS = {"Save every": "4", "Sample every": "4", "Validate every": "4", "Rank": "4", "Batch size": "2"}


@pytest.fixture
def home(open_board, own_server):
    """A page without studies, which would be learnt from as well."""
    return open_board(own_server.url)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pairs of patterns under three prompts."""
    rng = random.Random(1)
    lines = []
    for number in range(6):
        names = []
        for side in ("win", "lose"):
            colour = tuple(rng.randrange(256) for _ in range(3))
            names.append(f"{number}-{side}.png")
            Image.effect_noise((64, 64), 60).convert("RGB").point(lambda v, c=colour[0]: (v + c) // 2).save(tmp_path / names[-1])
        lines.append({"win": names[0], "lose": names[1], "prompt": ("a fox", "a rocket", "a whale")[number % 3]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_from_pairs_to_a_blind_comparison(home, data: Path) -> None:
    pytest.importorskip("peft", reason="training needs peft")
    pytest.importorskip("torch", reason="training needs torch")
    page = home.page
    page.click('[data-command="train"]')
    page.fill(".ro-data-paths, .ro-train-form textarea", str(data))
    home.wait_text("6 items (pairs) of 12 images under 3 prompts")
    page.fill('.ro-train-form input[aria-label="Name"]', "browser")
    page.click(".ro-more summary")
    for name, value in {**SETTINGS, "Steps": "8"}.items():
        page.locator(".ro-setting", has=page.locator(f'.ro-setting-name:text-is("{name}")')).locator("input").fill(value)
    page.click('[data-command="start_training"]')
    page.wait_for_function("() => document.querySelector('.ro-root').textContent.includes('<lora:browser-dpo-0008:1>')", timeout=240000)
    home.wait_text("finished")
    assert page.locator("svg .ro-line, svg path").count() > 3  # the curves
    assert page.locator('img[src*="/samples/8"]').count() == 1
    _keep(page, "training")

    page.locator('button:has-text("Try it, blind")').first.click()
    page.fill("#rankopt_try_trials", "2")
    page.keyboard.press("Enter")
    for _ in range(2):
        page.wait_for_function("() => [...document.querySelectorAll('img[src*=\"/tries/\"]')].filter(one => one.naturalWidth).length === 2")
        before = page.locator('img[src*="/tries/"]').first.get_attribute("src")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("old => ![...document.querySelectorAll('img')].some(one => one.src === old)", arg=before)
    home.wait_text("95 % interval")
    home.wait_text("of 2 times")
    page.keyboard.press("Escape")

    page.reload()
    home.wait_text("<lora:browser-dpo-0008:1>")  # the page comes back to the run


def test_data_without_anything_to_learn_are_refused_before_the_run(home, tmp_path: Path) -> None:
    page = home.page
    pytest.importorskip("torch", reason="training needs torch")
    (tmp_path / "empty.jsonl").write_text("\n")
    page.click('[data-command="train"]')
    page.fill(".ro-train-form textarea", str(tmp_path / "empty.jsonl"))
    home.wait_text("no line can be used. Nothing is said in it.")
    page.fill(".ro-train-form textarea", str(tmp_path / "nothing.jsonl"))
    home.wait_text("there is no such file or folder")
    page.keyboard.press("Escape")


def _keep(page, name: str) -> None:
    folder = os.environ.get("RANKOPT_SHOTS")
    if folder:
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
