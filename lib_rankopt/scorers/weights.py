"""Where the weights of scorers are: in the folders of this installation, in the Hugging Face cache, or to be downloaded on request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lib_rankopt.diffusion.checkpoint import sha256_of
from lib_rankopt.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUBFOLDER = "scorers"
RANDOM = "rankopt_random"
"""Entry of a safetensors file's metadata that says that its weights are random, and the scores worth nothing."""

Report = Callable[[int, int], None]
"""``(bytes so far, bytes in all)``; 0 where the whole is not known."""
_HEX = 64
_BLOCK = 1 << 20


@dataclass(frozen=True)
class WeightFile:
    """A published file.

    Attributes:
        names: by which it is looked for, the best first; may begin with a folder's name.
        megabytes: of the first one; 0 where that is not known.
        repo, file: where it is at Hugging Face. url: where it is elsewhere.
    """

    names: tuple[str, ...]
    megabytes: float
    repo: str = ""
    file: str = ""
    url: str = ""

    @property
    def source(self) -> str:
        """Where a person gets it."""
        return f"https://huggingface.co/{self.repo}/blob/main/{self.file}" if self.repo else self.url

    @property
    def size(self) -> str:
        """In words."""
        if not self.megabytes:
            return "of unknown size"
        return f"{self.megabytes:,.0f} MB" if self.megabytes >= 1 else f"{1000 * self.megabytes:.0f} kB"

    @property
    def published(self) -> str:
        """Of :attr:`names` the first that fits what is at :attr:`source`, which may be of another format than the best one; empty where
        that is a page for people rather than a file."""
        suffix = Path(self.file or urlsplit(self.url).path).suffix
        return next((name for name in self.names if suffix and Path(name).suffix == suffix), "")


class WeightFolders:
    """Looks for files of weights.

    Args:
        folders: searched in this order, each with its sub-folder ``scorers``; downloads go to that of the first one.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = tuple(folders)

    def find(self, wanted: WeightFile) -> Path | None:
        """Return the file, ``None`` where it is not to be had without a download."""
        for folder in self.folders:
            for name in wanted.names:
                for place in (folder / SUBFOLDER / name, folder / name):
                    if place.is_file():
                        return place
        return _cached(wanted.repo, wanted.file)

    def require(self, wanted: WeightFile, scorer: str) -> Path:
        """Return the file.

        Raises:
            ModelError: it is not there; says which file to put where.
        """
        found = self.find(wanted)
        if found is not None:
            return found
        places = self.folders[0] / SUBFOLDER if self.folders else Path(SUBFOLDER)
        raise ModelError(
            f"The scorer '{scorer}' needs the file {wanted.published or wanted.names[-1]} ({wanted.size}), which is not here. "
            f"Put it into {places} (from {wanted.source})"
            + (f", or run: python -m lib_rankopt score --download {scorer}" if wanted.published else ".")
        )

    def download(self, wanted: WeightFile, report: Report | None = None) -> Path:
        """Fetch a file into the first folder, going on where an earlier try was cut off; return where it is.

        What comes from Hugging Face is held against the hash that it is stored under there.

        Raises:
            ModelError: no connection, no such file, or the content is not what was published. MissingDependencyError: requests.
        """
        if not self.folders:
            raise ModelError("There is no folder to download to: name a data folder.")
        if not wanted.published:
            places = self.folders[0] / SUBFOLDER
            raise ModelError(f"{wanted.names[-1]} is to be had by hand only: get it from {wanted.source} and put it into {places}.")
        target = self.folders[0] / SUBFOLDER / wanted.published
        if target.is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.part")
        token = os.environ.get("HF_TOKEN", "") if wanted.repo else ""
        expected = _fetch(_address(wanted), partial, token, report or (lambda _done, _whole: None))
        if expected and (found := sha256_of(partial)) != expected:
            partial.unlink()
            raise ModelError(f"{wanted.published} arrived damaged (sha256 {found[:12]}…, published is {expected[:12]}…); try again.")
        partial.replace(target)
        return target


def version_of(path: Path) -> str:
    """The first eight digits of a file's sha256, which name its weights in a scorer's version."""
    return sha256_of(path)[:8]


def warning_of(path: Path) -> str:
    """What a file says against its own scores: that its weights are random."""
    if path.suffix != ".safetensors":
        return ""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length)) if length < 100_000_000 else {}
    return "random weights: the scores mean nothing" if RANDOM in head.get("__metadata__", {}) else ""


def load_strictly(model: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill a model with tensors, all of them and no others.

    Raises:
        ModelError: names the first tensor that is missing, not expected, or of another shape.
    """
    own = model.state_dict()
    if missing := sorted(set(own) - set(tensors)):
        raise ModelError(f"{where}: '{missing[0]}' is missing{_more(missing)}; the file is cut off, or of another model.")
    if unexpected := sorted(set(tensors) - set(own)):
        raise ModelError(f"{where}: '{unexpected[0]}' is not expected{_more(unexpected)}; the file is of another model.")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ModelError(f"{where}: '{name}' has shape {tuple(tensor.shape)}, and {tuple(own[name].shape)} is expected.")
    model.load_state_dict(dict(tensors))


def _cached(repo: str, file: str) -> Path | None:
    if not repo:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repo, file)
    return Path(found) if isinstance(found, str) else None


def _address(wanted: WeightFile) -> str:
    if wanted.url:
        return wanted.url
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{wanted.repo}/resolve/main/{wanted.file}"


def _fetch(address: str, partial: Path, token: str, report: Report) -> str:
    """Bring the rest of a file into ``partial``; return its published sha256, empty where it is not known."""
    try:
        import requests
    except ImportError as error:
        raise MissingDependencyError("Downloads need the package requests; install it with: pip install requests") from error

    have = partial.stat().st_size if partial.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # so that lengths and ranges are the file's own
    if have:
        headers["Range"] = f"bytes={have}-"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with requests.get(address, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # nothing is left
                return _published(answer)
            answer.raise_for_status()
            goes_on = answer.status_code == 206
            done = have if goes_on else 0
            length = int(answer.headers.get("Content-Length", 0))
            whole = done + length if length else 0
            with partial.open("ab" if goes_on else "wb") as file:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    done += len(block)
                    report(done, whole)
                file.flush()
                os.fsync(file.fileno())
            if done < whole:
                raise ModelError(f"{address}: cut off after {done:,} of {whole:,} bytes; run the same again to go on.")
            return _published(answer)
    except requests.RequestException as error:
        raise ModelError(f"{address} cannot be downloaded: {error}. What has arrived is kept; run the same again to go on.") from error
    except OSError as error:
        raise ModelError(f"{partial}: {error.strerror or error}; what has arrived is kept.") from error


def _published(answer: object) -> str:
    """The sha256 that Hugging Face names a large file by, in the first of its answers."""
    for one in (*getattr(answer, "history", ()), answer):
        tag = one.headers.get("X-Linked-Etag", "").strip('"')
        if len(tag) == _HEX and not set(tag) - set("0123456789abcdef"):
            return str(tag)
    return ""


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
