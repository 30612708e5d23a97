"""HPSv2 and v2.1 as the package ``hpsv2`` computes them, to compare ours with. It is never needed otherwise, and slow.

What the package would do at import and at its first call is kept from it: it looks for a vocabulary that its wheel lacks (open_clip's copy
is the same), and it would download other weights before it reads the right ones. Then its own ``score`` runs, one picture at a time, which
reads the whole checkpoint at every call.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lib_rankopt.diffusion.checkpoint import read_tensors
from lib_rankopt.errors import MissingDependencyError, ModelError
from lib_rankopt.scorers import clip_layouts
from lib_rankopt.scorers.base import Scorer, ScorerInfo
from lib_rankopt.scorers.hps import FILES as HPS_FILES
from lib_rankopt.scorers.images import as_images, as_rgb
from lib_rankopt.scorers.prompts import prompt_of_each
from lib_rankopt.scorers.weights import version_of, warning_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lib_rankopt.scorers.shelf import ScorerShelf

_SUFFIX = ":package"
FILES = {f"{name}{_SUFFIX}": HPS_FILES[name] for name in ("hpsv2", "hpsv2.1")}
_TOKENIZER = "hpsv2.src.open_clip.tokenizer"


class PackageScorer(Scorer):
    """Asks ``hpsv2.img_score.score``; always on the device that the package chooses, which is the GPU where there is one."""

    def __init__(self, name: str, path: Path) -> None:
        tensors = read_tensors(path)  # refuses what is no bare checkpoint: the package would unpickle anything
        if path.suffix == ".safetensors":
            raise ModelError(f"{path}: the package hpsv2 reads the published .pt file only.")
        self._package = _import()
        self._path, self._lock = path, threading.Lock()
        self._parts = _model_of(clip_layouts.config(clip_layouts.unified(tensors, str(path)), quick_gelu=False))
        scale = "cosine, about 0.20 to 0.35 (× 100 in tables)"
        prepared = f"longer side to 224 px (bicubic, {'' if antialiases() else 'not '}antialiased), zero padding"
        self.info = ScorerInfo(name, f"package-{version_of(path)}", scale, prepared, warning=warning_of(path))

    def score(self, images: Sequence[Image.Image] | Tensor, prompts: str | Sequence[str]) -> Tensor:
        pictures = [as_rgb(image) for image in as_images(images)]
        texts = prompt_of_each(self.info, len(pictures), prompts)
        with self._lock:
            self._package.model_dict.update(self._parts)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it uses what torch has renamed since
                runs = [self._package.score(image, text, cp=str(self._path)) for image, text in zip(pictures, texts, strict=True)]
        return torch.tensor([float(value) for values in runs for value in values], dtype=torch.float32)

    def to(self, device: str) -> None:
        self._parts["model"].to(device)


def create(name: str, shelf: ScorerShelf) -> Scorer:
    """Load it.

    Raises:
        MissingDependencyError: the package is not installed. ModelError: weights missing or broken.
    """
    (file,) = FILES[name]
    return PackageScorer(name, shelf.weights.require(file, name))


def antialiases() -> bool:
    """Whether the package scales with antialiasing: it leaves that to torchvision, whose default for tensors changed with 0.17."""
    import torchvision

    return tuple(int(part) for part in torchvision.__version__.split(".")[:2]) >= (0, 17)


def _import() -> Any:
    """The package's module of single scores."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _TOKENIZER not in sys.modules:
                sys.modules[_TOKENIZER] = _tokenizer()
            return importlib.import_module("hpsv2.img_score")
    except ImportError as error:
        sys.modules.pop(_TOKENIZER, None)
        raise MissingDependencyError(
            f"The package hpsv2 cannot be imported ({error}); install it with: pip install --no-deps hpsv2 clint args. "
            "Our own 'hpsv2' and 'hpsv2.1' do not need it."
        ) from error


def _tokenizer() -> Any:
    """Its tokenizer, which looks for the vocabulary beside itself: so it is told that it stands beside open_clip's."""
    import open_clip.tokenizer

    package = importlib.util.find_spec("hpsv2")
    if package is None or not package.submodule_search_locations:
        raise ImportError("No module named 'hpsv2'", name="hpsv2")
    file = Path(package.submodule_search_locations[0]) / "src" / "open_clip" / "tokenizer.py"
    spec = importlib.util.spec_from_file_location(_TOKENIZER, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = open_clip.tokenizer.__file__
    spec.loader.exec_module(module)
    return module


def _model_of(config: dict[str, Any]) -> dict[str, Any]:
    """What the package keeps once it is initialised: a model without weights, and the preparation of pictures."""
    from hpsv2.src.open_clip.model import CLIP
    from hpsv2.src.open_clip.transform import image_transform

    model = CLIP(**config, output_dict=True)
    prepare = image_transform(config["vision_cfg"]["image_size"], is_train=False, resize_longest_max=True)
    return {"model": model, "preprocess_val": prepare}
