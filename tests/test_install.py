"""What the webui runs of us before anything is loaded."""

from __future__ import annotations

import argparse
import ast
import runpy
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
REST = {"greenlet": "3.1.1", "diffusers": "0.31.0", "peft": "0.13.2"}


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The webui's launch module, as far as installers see it."""
    calls: list[str] = []
    found = SimpleNamespace(args=SimpleNamespace(skip_install=False), run_pip=lambda command, _said: calls.append(command), calls=calls)
    monkeypatch.setitem(sys.modules, "launch", found)
    return found


def run(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """Run the installer where these distributions are installed."""

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    runpy.run_path(str(ROOT / "install.py"), run_name="__main__")


def test_nothing_is_done_where_all_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "launch", None)  # not even imported
    run(monkeypatch, {"SQLAlchemy": "2.0.36", "cma": "4.4.1", **REST})
    assert capsys.readouterr().out == ""


def test_what_is_missing_is_added(monkeypatch: pytest.MonkeyPatch, launch: SimpleNamespace) -> None:
    run(monkeypatch, {"cma": "4.0.0", **REST})
    assert [call.split(" -c ")[0] for call in launch.calls] == ['install "SQLAlchemy>=2.0.30,<2.1"']


def test_what_comes_with_a_package_moves_nothing(monkeypatch: pytest.MonkeyPatch, launch: SimpleNamespace) -> None:
    held = []
    launch.run_pip = lambda command, _said: held.append(Path(command.split('-c "')[1].rstrip('"')).read_text())
    own = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    run(monkeypatch, {"cma": "4.0.0", **REST})
    assert f"pytest=={own['pytest']}\n" in held[0]
    assert "+" not in held[0]


def test_another_version_is_left_and_said(
    monkeypatch: pytest.MonkeyPatch, launch: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, {"SQLAlchemy": "1.4.54", "cma": "4.0.0", **REST})
    assert launch.calls == []
    assert "SQLAlchemy>=2.0.30" in capsys.readouterr().out


def test_skip_install_and_failures_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, launch: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    launch.args.skip_install = True
    run(monkeypatch, {})
    assert launch.calls == []
    assert "pip install 'cma>=4.0,<5'" in capsys.readouterr().out
    launch.args.skip_install = False

    def fail(*_args: Any) -> None:
        raise RuntimeError("no network")

    launch.run_pip = fail
    run(monkeypatch, {})
    assert "could not install SQLAlchemy>=2.0.30,<2.1: no network" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["install.py", "preload.py"])
def test_only_the_standard_library_is_imported(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    roots = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert roots - {"launch"} <= set(sys.stdlib_module_names)


def test_options_of_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    runpy.run_path(str(ROOT / "preload.py"))["preload"](parser)
    assert vars(parser.parse_args([])) == {
        "rankopt_data_dir": None,
        "rankopt_database_url": None,
        "rankopt_trainer_python": None,
    }
    assert parser.parse_args(["--rankopt-data-dir", "/x"]).rankopt_data_dir == "/x"
