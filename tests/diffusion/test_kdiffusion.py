"""Loading k-diffusion's samplers beside or instead of the whole package; each case in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

ALONE = """
import sys
from lib_rankopt.diffusion import kdiffusion
sampling = kdiffusion.module()
assert sampling.__file__.endswith("sampling.py"), sampling.__file__
assert "k_diffusion" not in sys.modules
for heavy in ("wandb", "clip", "kornia", "accelerate", "jsonmerge"):
    assert heavy not in sys.modules, heavy
assert kdiffusion.module() is sampling
"""

HOSTED = """
import importlib.machinery, importlib.util, sys
# what a host has done before us: its own k_diffusion, here the installed one under a package without an
# __init__
spec = importlib.util.find_spec("k_diffusion")
package = importlib.machinery.ModuleSpec("k_diffusion", None, is_package=True)
package.submodule_search_locations = list(spec.submodule_search_locations)
sys.modules["k_diffusion"] = importlib.util.module_from_spec(package)
import k_diffusion.sampling as theirs
from lib_rankopt.diffusion import kdiffusion
assert kdiffusion.module() is theirs
"""

MISSING = """
import importlib.util
from lib_rankopt.errors import MissingDependencyError
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "k_diffusion" else find(name, *rest)
from lib_rankopt.diffusion import kdiffusion
try:
    kdiffusion.module()
except MissingDependencyError as error:
    assert "pip install --no-deps k-diffusion" in str(error), error
else:
    raise SystemExit("no error")
"""

BROKEN = """
import sys
from lib_rankopt.errors import MissingDependencyError
sys.modules["torchsde"] = None
from lib_rankopt.diffusion import kdiffusion
try:
    kdiffusion.module()
except MissingDependencyError as error:
    assert "torchsde" in str(error), error
else:
    raise SystemExit("no error")
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_only_the_samplers_are_loaded() -> None:
    run(ALONE)


def test_a_hosts_own_k_diffusion_is_used() -> None:
    run(HOSTED)


def test_without_k_diffusion_the_message_says_how_to_install_it() -> None:
    run(MISSING)


def test_a_missing_package_below_it_is_named() -> None:
    run(BROKEN)
