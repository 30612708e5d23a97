"""The house's arrows: which room may import which (faces → studies → workers → diffusion), held against the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lib_rankopt"

CONTRACTS = {"errors", "hosts.base", "scorers.base", "optimizers.base", "selection.record", "selection.record_text"}
FACES = {"ui", "api", "cli", "__main__"}
WORKERS = {"optimizers", "selection", "scorers", "store", "training", "evaluation"}
MAY_IMPORT = {
    "optimizers": set(),
    "selection": set(),
    "store": set(),
    "scorers": {"diffusion"},
    "training": {"diffusion", "store", "scorers", "evaluation"},
    "evaluation": {"diffusion", "scorers", "store"},
    "diffusion": set(),
    "hosts": {"diffusion", "selection", "scorers"},
    "studies": WORKERS,
    **{face: {"studies", "hosts", "diffusion", *WORKERS, *FACES} for face in FACES},
}
ONLY_IN = {
    "gradio": {"ui"},
    "fastapi": {"ui", "api"},
    "starlette": {"ui", "api"},
    "uvicorn": {"ui"},
    "modules": {"hosts.webui"},
    "sqlalchemy": {"store"},
}
NEVER_IN = {"diffusers": {"optimizers", "selection", "store", "studies"}, "transformers": {"optimizers", "selection", "store", "studies"}}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ("lib_rankopt", *path.relative_to(PACKAGE).parts[: -node.level])
                base = ".".join((*package, *([base] if base else [])))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def _within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=[_module(p) for p in SOURCES])
def test_arrows_point_down(path: Path) -> None:
    module = _module(path)
    room = module.split(".")[0]
    if room in {"__init__", "errors"}:
        allowed: set[str] = set()
    else:
        allowed = {room, *CONTRACTS, *MAY_IMPORT[room]}
    for name in _imports(path):
        if not name.startswith("lib_rankopt."):
            continue
        target = name.removeprefix("lib_rankopt.")
        if target.split(".")[0] == "__version__":
            continue
        is_parent_of_contract = any(c.startswith(target + ".") for c in CONTRACTS)
        assert _within(target, allowed) or is_parent_of_contract, f"{module} imports {name}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=[_module(p) for p in SOURCES])
def test_outside_packages_stay_in_their_rooms(path: Path) -> None:
    module = _module(path)
    for name in _imports(path):
        top = name.split(".")[0]
        if top in ONLY_IN:
            assert _within(module, ONLY_IN[top]), f"{module} imports {name}; only {sorted(ONLY_IN[top])} may"
        if top in NEVER_IN:
            assert not _within(module, NEVER_IN[top]), f"{module} imports {name}"


def test_every_room_is_known() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert rooms <= set(MAY_IMPORT), f"a new room needs a line in MAY_IMPORT: {sorted(rooms - set(MAY_IMPORT))}"


def test_core_runs_with_heavy_packages_blocked() -> None:
    """What imports lazily must also really load without them."""
    code = (
        "import sys\n"
        "for name in ('gradio', 'fastapi', 'diffusers', 'transformers', 'open_clip', 'modules'): sys.modules[name] = None\n"
        "import lib_rankopt.optimizers, lib_rankopt.store, lib_rankopt.studies.service, lib_rankopt.scorers, lib_rankopt.evaluation\n"
        "import lib_rankopt.hosts.base, lib_rankopt.cli\n"
        "print(lib_rankopt.optimizers.names())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "rank_step" in done.stdout


def test_files_and_functions_stay_small() -> None:
    """Files up to about 400 lines, functions up to about 60: a little slack, no drift."""
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 440, f"{path} has {text.count(chr(10))} lines; split it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 75, f"{path}:{node.lineno} {node.name} has {length} lines"
