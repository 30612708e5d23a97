"""k-diffusion's own sampler functions, without the rest of that package.

``import k_diffusion`` pulls in wandb, clip, kornia and more, none of which its samplers need. Where a process
has imported the package already (the webui has), those modules are used as they are; otherwise ``sampling``
and what it needs are loaded under a private package name, so that a later ``import k_diffusion`` still gets
the real thing.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

from lib_rankopt.errors import MissingDependencyError

_PRIVATE = "lib_rankopt.diffusion._k_diffusion"
_INSTALL = "pip install --no-deps k-diffusion && pip install torchsde torchdiffeq scipy"


@functools.cache
def module(name: str = "sampling") -> ModuleType:
    """Return ``k_diffusion.<name>``; ``name`` is ``sampling``, ``utils`` or ``external``.

    Raises:
        MissingDependencyError: k-diffusion or a package that its samplers import is not installed.
    """
    if "k_diffusion" in sys.modules:
        return importlib.import_module(f"k_diffusion.{name}")
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"k-diffusion is not installed; install it with: {_INSTALL}")
    if _PRIVATE not in sys.modules:
        package = importlib.machinery.ModuleSpec(_PRIVATE, None, is_package=True)
        package.submodule_search_locations = list(spec.submodule_search_locations)
        sys.modules[_PRIVATE] = importlib.util.module_from_spec(package)
    try:
        return importlib.import_module(f"{_PRIVATE}.{name}")
    except ImportError as error:
        raise MissingDependencyError(
            f"k-diffusion's samplers need a package that is not installed ({error}); install with: {_INSTALL}"
        ) from error
