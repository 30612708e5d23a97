"""The board's scripts: they parse, their pure parts work (node's own test runner), and they follow the house's rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "javascript").glob("*.js"))
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@needs_node
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    subprocess.run([str(NODE), "--check", str(script)], check=True, timeout=30)


@needs_node
def test_pure_parts():
    done = subprocess.run(
        [str(NODE), "--test", str(Path(__file__).with_name("ranking.test.js"))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"# pass (\d+)", done.stdout).group(1)) >= 11


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_strict_and_write_no_markup(script):
    text = script.read_text(encoding="utf-8")
    assert script.name.startswith("rankopt_")
    assert "'use strict';" in text
    assert len(text.splitlines()) <= 400
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_the_style_sheet_leaves_the_rest_of_the_page_alone():
    """Every rule outside the board's container names something of ours."""
    text = (ROOT / "style.css").read_text(encoding="utf-8")
    outside = re.sub(r"/\*.*?\*/", "", text, flags=re.S).partition("\n#rankopt_board, #rankopt_picks {")[0]
    rules = re.findall(r"^([^@{}\n]+)\{", outside, flags=re.M)
    selectors = [part for rule in rules for part in re.split(r",(?![^()]*\))", rule)]
    assert selectors
    assert all("rankopt" in one for one in selectors), selectors
