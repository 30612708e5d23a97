"""Which models the standalone host has, and the one that is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.diffusion.pocket.paths import POCKET_DIR
from lib_rankopt.errors import NotFoundError
from lib_rankopt.hosts.base import ModelIdentity
from lib_rankopt.hosts.validation import check_model_name

if TYPE_CHECKING:
    import torch

    from lib_rankopt.diffusion.config import ModelConfig
    from lib_rankopt.diffusion.loading import StableDiffusion

POCKET = "pocket"
_SUFFIXES = (".safetensors", ".ckpt")
logger = logging.getLogger("rankopt.hosts")

Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class _Known:
    """What was read from a model's files while they had this stamp."""

    stamp: Stamp
    config: ModelConfig
    sha256: str | None = None


class ModelLibrary:
    """Finds models by name, knows their shape and hash, and holds at most one in memory.

    Not thread-safe for loading; the host calls :meth:`load` under its lock.

    Args:
        folder: searched, with its sub-folders, for single files and diffusers folders; ``None`` for the
            pocket model only.
        default: a name, or a path to a model outside ``folder``.
    """

    def __init__(self, folder: Path | None, default: str) -> None:
        self.folder = folder
        self._extra = Path(default) if default != POCKET and _is_model(Path(default)) else None
        self._default = str(self._extra) if self._extra is not None else default
        self._known: dict[Path, _Known] = {}
        self._loaded: tuple[Path, Stamp, StableDiffusion] | None = None

    def names(self) -> tuple[str, ...]:
        """All models, the default first."""
        names = list(self._paths())
        return tuple(sorted(names, key=lambda name: (name != self._default, name != POCKET, name)))

    def path(self, name: str | None) -> Path:
        """File or folder of a model.

        Raises:
            NotFoundError: unknown name, with close ones.
        """
        paths = self._paths()
        chosen = self._default if name is None else name
        if not paths and chosen == POCKET:
            raise NotFoundError(
                "there is no model: the pocket model's files are missing, and the models folder holds none"
            )
        check_model_name(chosen, list(paths))
        return paths[chosen]

    def name(self, name: str | None) -> str:
        """The name itself, with the default filled in."""
        return self._default if name is None else name

    def config(self, name: str | None) -> ModelConfig:
        """Shape of a model, without loading it.

        Raises:
            NotFoundError, ModelError: unknown, broken or unsupported model.
        """
        return self._look(self.path(name)).config

    def identity(self, name: str | None) -> ModelIdentity:
        """Name, hash and family of a model; reads its files once.

        Raises:
            NotFoundError, ModelError: unknown, broken or unsupported model.
        """
        from lib_rankopt.diffusion.checkpoint import sha256_of

        path = self.path(name)
        known = self._look(path)
        if known.sha256 is None:
            known.sha256 = sha256_of(path)
        config = known.config
        return ModelIdentity(
            self.name(name), known.sha256, config.family, config.prediction_type or "epsilon"
        )

    def settled(self, name: str | None) -> bool:
        """Whether the model's prediction type is known without running it."""
        return self.config(name).prediction_type is not None

    def load(self, name: str | None, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """The model in memory; another one is dropped before it is read.

        Raises:
            NotFoundError, ModelError: unknown, broken or unsupported model.
        """
        from lib_rankopt.diffusion import loading

        path = self.path(name)
        stamp = _stamp(path)
        if self._loaded is not None and self._loaded[:2] == (path, stamp):
            return self._loaded[2]
        self.unload()
        logger.info("loading %s", path)
        model = loading.load(path, device, dtype)
        self._loaded = (path, stamp, model)
        known = self._look(path)
        known.config = replace(known.config, prediction_type=model.config.prediction_type)
        return model

    def unload(self) -> None:
        """Drop the loaded model and return its memory."""
        if self._loaded is None:
            return
        from lib_rankopt.diffusion.loading import release

        device = self._loaded[2].device
        self._loaded = None
        release(device)

    def _look(self, path: Path) -> _Known:
        from lib_rankopt.diffusion.loading import read_config

        stamp = _stamp(path)
        known = self._known.get(path)
        if known is None or known.stamp != stamp:
            known = self._known[path] = _Known(stamp, read_config(path))
        return known

    def _paths(self) -> dict[str, Path]:
        found = {}
        pocket = pocket_path()
        if pocket is not None:
            found[POCKET] = pocket
        if self._extra is not None:
            found[str(self._extra)] = self._extra
        if self.folder is not None:
            found.update(
                (path.relative_to(self.folder).as_posix(), path) for path in _models_under(self.folder)
            )
        return found


def pocket_path() -> Path | None:
    """The embedded model's file, or ``None`` in a checkout without it."""
    path = POCKET_DIR / "pocket.safetensors"
    return path if path.is_file() else None


def _is_model(path: Path) -> bool:
    return (path.is_file() and path.suffix in _SUFFIXES) or (path / "model_index.json").is_file()


def _models_under(folder: Path) -> list[Path]:
    found: list[Path] = []
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if _is_model(path):
            found.append(path)
        elif path.is_dir():
            found.extend(_models_under(path))
    return found


def _stamp(path: Path) -> Stamp:
    """Changes when a file of the model does."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path, path.with_suffix(".yaml")]
    return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
