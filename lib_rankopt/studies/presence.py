"""Which processes are alive: each holds a lock on a file of its own, which the system lets go when the process dies, however it dies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from lib_rankopt.errors import StoreError
from lib_rankopt.store.locks import try_lock

# A process on another machine has its lock file elsewhere; it counts as dead when it gave no sign of life for so long.
SILENCE_SECONDS = 300.0


class Presence:
    """This process's lock file below ``<data>/run``, held until :meth:`close`."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "run"
        self.owner = uuid4().hex
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path(self.owner).open("w")
        except OSError as error:
            raise StoreError(f"The data folder {data_dir} cannot be written: {error.strerror or error}.") from error
        try_lock(self._file)

    def is_dead(self, owner: str | None, silent_for: float) -> bool:
        """Whether ``owner`` is gone; ``silent_for`` is the number of seconds since its last sign of life."""
        if owner is None:
            return True
        if owner == self.owner:
            return False
        path = self._path(owner)
        try:
            with path.open("r+") as file:
                if not try_lock(file):
                    return False
        except FileNotFoundError:
            return silent_for > SILENCE_SECONDS
        except OSError:
            return False
        return True

    def tidy(self) -> None:
        """Remove the files of dead processes; call it when nothing is left to take over from them."""
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                if path.stem != self.owner and self.is_dead(path.stem, 0.0):
                    path.unlink()

    def close(self, unfinished: bool) -> None:
        """Let go: what this process left unfinished may be taken over at once.

        Args:
            unfinished: whether it left anything. Then the file stays until somebody tidies up: a missing one would mean "on another
                machine, wait".
        """
        self._file.close()
        if not unfinished:
            # A file that somebody else has just opened or tidied away is theirs to deal with.
            with suppress(OSError):
                self._path(self.owner).unlink()

    def _path(self, owner: str) -> Path:
        return self._folder / f"{Path(owner).name}.lock"
