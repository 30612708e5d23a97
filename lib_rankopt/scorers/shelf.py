"""The scorers of one process: each loaded once, with the weights that several share loaded once too."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.errors import MissingDependencyError, NotFoundError
from lib_rankopt.scorers import registry
from lib_rankopt.scorers.base import JOINED, Scorer, ScorerInfo
from lib_rankopt.scorers.weights import WeightFolders

if TYPE_CHECKING:
    import torch

    from lib_rankopt.scorers.clip_tower import ClipTower

log = logging.getLogger("rankopt.scorers")

_KEEP_SECONDS = 300.0  # a large one takes 4 GB of memory that others may want, and ten seconds to be read again


class ScorerShelf:
    """Makes scorers by name and keeps them while they are used, and for some minutes more on the CPU. Thread-safe.

    Args:
        folders: where weights are looked for, see :class:`~lib_rankopt.scorers.weights.WeightFolders`.
        device: where scorers work while they are lent; ``None`` is the accelerator where there is one.
        factories: by name, what makes a scorer, in place of the registry.
        keep_seconds: how long after the last loan scorers stay in memory.

    Attributes:
        weights: finds files.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        device: torch.device | None = None,
        factories: Mapping[str, Callable[[], Scorer]] | None = None,
        keep_seconds: float = _KEEP_SECONDS,
    ) -> None:
        self.weights = WeightFolders(folders)
        self._device, self._factories, self._keep = device, factories, keep_seconds
        self._forgetting: threading.Timer | None = None
        self._scorers: dict[str, Scorer] = {}
        self._own: dict[str, Scorer] = {}
        self._infos: dict[str, ScorerInfo] = {}
        self._towers: dict[tuple[Path, bool], ClipTower] = {}
        self._lent: dict[str, int] = {}
        self._lock = threading.RLock()

    def names(self) -> tuple[str, ...]:
        """Names of single scorers."""
        known = registry.names() if self._factories is None else tuple(self._factories)
        return (*known, *(name for name in self._own if name not in known))

    def add(self, name: str, scorer: Scorer) -> None:
        """Put a scorer that nobody else has on the shelf."""
        with self._lock:
            self._own[name] = scorer

    def check(self, name: str) -> None:
        """Check that :meth:`get` will find what it needs, without reading weights.

        Raises:
            NotFoundError: no scorer of that name. ModelError: a file is missing; says which one to put where.
        """
        if name in self._own:
            return
        if self._factories is None:
            for file in registry.files(name):
                self.weights.require(file, name)
        elif name not in self._factories:
            raise NotFoundError(f"There is no scorer '{name}'. Known: {', '.join(self._factories)}.")

    def get(self, name: str) -> Scorer:
        """Return a scorer, loaded at the first time.

        Raises:
            NotFoundError: no scorer of that name. MissingDependencyError: it needs a package that is not installed.
            ModelError: its weights are missing or broken.
        """
        with self._lock:
            if name in self._own:
                return self._own[name]
            if name not in self._scorers:
                self.check(name)
                self._scorers[name] = self._made(name)
                self._infos[name] = self._scorers[name].info
                self._forget_later()
            return self._scorers[name]

    def infos(self) -> dict[str, ScorerInfo]:
        """What is known of scorers that have been loaded at some time, by name."""
        return {**self._infos, **{name: scorer.info for name, scorer in self._own.items()}}

    def tower(self, path: Path, quick_gelu: bool) -> ClipTower:
        """Return the CLIP of a file, the same one to all who ask for it."""
        from lib_rankopt.scorers.clip_tower import ClipTower

        key = (path.resolve(), quick_gelu)
        with self._lock:
            if key not in self._towers:
                self._towers[key] = ClipTower(path, quick_gelu)
            return self._towers[key]

    @contextlib.contextmanager
    def lent(self, name: str) -> Iterator[Scorer]:
        """Lend a scorer on the device; when the last borrower gives it back it goes to the CPU again, and out of memory after a while.

        Raises:
            As :meth:`get`.
        """
        scorer = self.get(name)
        with self._lock:
            self._lent[name] = self._lent.get(name, 0) + 1
        try:
            with self._lock:
                if self._lent[name] == 1:
                    self._move(name, scorer)
            yield scorer
        finally:
            with self._lock:
                self._lent[name] -= 1
                if not self._lent[name]:
                    scorer.to("cpu")
                self._forget_later()

    def release(self) -> None:
        """Forget all scorers that nobody uses, and their weights."""
        from lib_rankopt.diffusion.memory import release

        with self._lock:
            self._scorers = {name: scorer for name, scorer in self._scorers.items() if self._lent.get(name)}
            if not self._scorers:
                self._towers.clear()
        import torch

        release(torch.device("cpu"))

    def _made(self, name: str) -> Scorer:
        if self._factories is not None:
            return self._factories[name]()
        if JOINED in name:
            from lib_rankopt.scorers.ensemble import Ensemble

            return Ensemble(name, [self.get(one) for one in name.split(JOINED)])
        try:
            return registry.factory(name)(name, self)
        except MissingDependencyError:
            raise
        except ImportError as error:
            package = (error.name or "the package").partition(".")[0]
            raise MissingDependencyError(
                f"The scorer '{name}' needs a package that is not installed ({error}); install it with: pip install {package}"
            ) from error

    def _forget_later(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = threading.Timer(self._keep, self.release)
        self._forgetting.daemon = True
        self._forgetting.start()

    def _move(self, name: str, scorer: Scorer) -> None:
        from lib_rankopt.diffusion.memory import is_out_of_memory, release

        device = self._device or _accelerator()
        if device.type == "cpu":
            return
        try:
            scorer.to(str(device))
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        log.warning("the weights of the scorer '%s' do not fit beside the model; it works on the CPU", name)
        scorer.to("cpu")
        release(device)


def _accelerator() -> torch.device:
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
