"""Which models the standalone host has, and the one that is loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.diffusion.pocket.paths import POCKET_DIR
from lib_rankopt.errors import ModelError, NotFoundError
from lib_rankopt.hosts.base import ModelIdentity
from lib_rankopt.hosts.validation import check_model_name

if TYPE_CHECKING:
    import torch

    from lib_rankopt.diffusion.config import ModelConfig
    from lib_rankopt.diffusion.loading import StableDiffusion
    from lib_rankopt.diffusion.lora.targets import Target

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
    targets: Mapping[str, Target] | None = None


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
        self._extra = _outside(default)
        self._default = str(self._extra) if self._extra is not None else default
        self._known: dict[Path, _Known] = {}
        self._loaded: tuple[Path, Stamp, StableDiffusion] | None = None
        self._skipped: set[Path] = set()

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

    def targets(self, name: str | None) -> Mapping[str, Target]:
        """The weights that a LoRA may change in a model, by the names that LoRA files use; known without loading it.

        Raises:
            NotFoundError, ModelError: unknown, broken or unsupported model.
        """
        from lib_rankopt.diffusion.loading import outlines
        from lib_rankopt.diffusion.lora.targets import targets_of

        path = self.path(name)
        known = self._look(path)
        if known.targets is None:
            known.targets = targets_of(*outlines(known.config, str(path)), known.config.family)
        return known.targets

    def load(self, name: str | None, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
        """The model in memory; another one is dropped before it is read.

        Raises:
            NotFoundError, ModelError: unknown, broken or unsupported model, or out of memory.
        """
        path = self.path(name)
        stamp = _stamp(path)
        if self._loaded is not None and self._loaded[:2] == (path, stamp):
            return self._loaded[2]
        self.unload()
        logger.info("loading %s", path)
        model = _read(path, device, dtype)
        self._loaded = (path, stamp, model)
        known = self._look(path)
        known.config = replace(known.config, prediction_type=model.config.prediction_type)
        return model

    def unload(self) -> None:
        """Drop the loaded model and return its memory."""
        if self._loaded is None:
            return
        from lib_rankopt.diffusion.memory import release

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
        if self._extra is not None:
            found[str(self._extra)] = self._extra
        if self.folder is not None:
            folder = self.folder
            found.update((path.relative_to(folder).as_posix(), path) for path in self._models_under(folder))
        if POCKET in found:
            # a folder of that name must not pass for the embedded model
            found[_free_name(f"{POCKET} (folder)", found)] = found.pop(POCKET)
        if pocket is not None:
            found[POCKET] = pocket
        return found

    def _models_under(self, folder: Path) -> list[Path]:
        found: list[Path] = []
        for path in self._children(folder):
            found.extend([path] if _is_model(path) else self._models_under(path))
        return found

    def _children(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            if folder not in self._skipped:
                self._skipped.add(folder)
                logger.warning("%s cannot be searched for models: %s", folder, error)
            return []


def pocket_path() -> Path | None:
    """The embedded model's file, or ``None`` in a checkout without it."""
    path = POCKET_DIR / "pocket.safetensors"
    return path if path.is_file() else None


def _read(path: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    from lib_rankopt.diffusion import loading
    from lib_rankopt.diffusion.memory import within_memory

    advice = "close what else uses memory, or choose a smaller model"
    return within_memory(
        lambda: loading.load(path, device, dtype),
        device,
        lambda failure: ModelError(f"{path}: out of memory while loading it on {device}: {advice} ({failure})"),
    )


def _outside(default: str) -> Path | None:
    """The model that a default names by its path, if it does."""
    path = Path(default)
    if default == POCKET or not _is_model(path):
        return None
    return path.absolute() if str(path) == POCKET else path


def _free_name(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "*"
    return name


def _is_model(path: Path) -> bool:
    try:
        return (path.is_file() and path.suffix in _SUFFIXES) or (path / "model_index.json").is_file()
    except OSError:
        return False


def _stamp(path: Path) -> Stamp:
    """Changes when a file of the model does.

    Raises:
        ModelError: its folder cannot be read.
    """
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path, path.with_suffix(".yaml")]
        return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
