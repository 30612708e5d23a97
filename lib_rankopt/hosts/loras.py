"""Which LoRA files the standalone host has, found by the names in prompts."""

from __future__ import annotations

import difflib
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.diffusion.lora.tags import LoraTag, split
from lib_rankopt.errors import InvalidInputError, ModelError, NotFoundError

if TYPE_CHECKING:
    from lib_rankopt.diffusion.lora.applied import Lora, LoraFile
    from lib_rankopt.diffusion.lora.file import LoraModule
    from lib_rankopt.diffusion.lora.targets import Target

_SUFFIX = ".safetensors"
_HASH_DIGITS = 12
_SHOWN = 8  # names in a message

Stamp = tuple[int, int]
Targets = Callable[[], "Mapping[str, Target]"]


@dataclass(frozen=True)
class RequestLoras:
    """What a request's LoRA tags come to.

    Attributes:
        text: the prompt without its tags, for the text encoders.
        hashes: by the names that the prompt uses, as the webui writes them into the parameters.
        put_on: lets the model be what the request asks for; to be called in the request's turn, before each use of its text encoders
            and UNet.
    """

    text: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    put_on: Callable[[], None] = lambda: None

    def parameters(self) -> dict[str, str]:
        """For the image's parameters."""
        return {"Lora hashes": ", ".join(f"{name}: {digest}" for name, digest in self.hashes.items())} if self.hashes else {}


class LoraFolder:
    """Finds LoRA files by their stem, or else by the ``ss_output_name`` that they give themselves, and reads them.

    A file is read once as long as somebody still uses what was read, and anew when it has changed on the disk.

    Args:
        path: searched with its sub-folders; need not exist. ``None`` where no LoRAs can be loaded.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._aliases: dict[Path, tuple[Stamp, str | None]] = {}
        self._digests: dict[Path, tuple[Stamp, str]] = {}
        self._read: weakref.WeakValueDictionary[tuple[Path, Stamp], LoraFile] = weakref.WeakValueDictionary()

    def check(self, prompt: str, targets: Targets, family: str) -> None:
        """Check a prompt's tags: names, and by the files' headers whether they fit the model.

        Args:
            targets: those of the model; asked for only where there is a tag.
            family: of the model.

        Raises:
            InvalidInputError: a tag that cannot be used, or a name that two files have. NotFoundError: there is no such LoRA.
            ModelError: a file that is broken, or made for another model.
        """
        from lib_rankopt.diffusion.lora.file import read_shapes
        from lib_rankopt.diffusion.lora.targets import matched

        _, tags = split(prompt)
        for tag in tags:
            path = self.find(tag)
            shapes = read_shapes(path)
            matched(shapes, shapes, targets(), family, str(path))

    def open(self, prompt: str, targets: Targets, family: str) -> tuple[tuple[Lora, ...], dict[str, str]]:
        """Read what a prompt asks for: one entry a tag, and the hashes by name.

        Raises:
            As :meth:`check`, and ModelError for values that are not finite.
        """
        from lib_rankopt.diffusion.lora.applied import Lora

        _, tags = split(prompt)
        loras, hashes = [], {}
        for tag in tags:
            file = self._opened(self.find(tag))
            loras.append(Lora(file, tag.te, tag.unet, _changes(file.modules, targets(), family, file.path)))
            hashes[tag.name.translate({ord(sign): None for sign in ":,"})] = file.digest[:_HASH_DIGITS]
        return tuple(loras), hashes

    def find(self, tag: LoraTag) -> Path:
        """Return the file that a tag means.

        Raises:
            InvalidInputError: two files have the name, or this host has no folder. NotFoundError: none has it; it names close ones.
        """
        if self.path is None:
            raise InvalidInputError(
                f"prompt: {tag.text} asks for a LoRA, and this host was given no folder to load them from: name one (--lora-dir), or "
                "remove the tag"
            )
        files = list(self._files(self.path))
        # headers are read only where no file has the name
        found = [path for path in files if path.stem == tag.name] or [path for path in files if self._alias(path) == tag.name]
        if len(found) > 1:
            raise InvalidInputError(f"prompt: {tag.text} may mean {found[0]} or {found[1]}; give one of them another name")
        if not found:
            names = sorted({name for path in files for name in (path.stem, self._alias(path)) if name})
            raise NotFoundError(f"prompt: {tag.text} names a LoRA that is not in {self.path}; {_nearest(tag.name, names)}")
        return found[0]

    def _files(self, folder: Path) -> Iterator[Path]:
        seen = set()
        for place, folders, names in os.walk(folder, followlinks=True):
            real = Path(place).resolve()
            if real in seen:  # links may lead round in a circle
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            yield from (Path(place, name) for name in sorted(names) if name.lower().endswith(_SUFFIX))

    def _alias(self, path: Path) -> str | None:
        """What a file calls itself; ``None`` where it does not say, or cannot be read."""
        from lib_rankopt.diffusion.lora.file import read_header

        try:
            stamp = _stamp(path)
            known = self._aliases.get(path)
            if known is None or known[0] != stamp:
                known = self._aliases[path] = (stamp, read_header(path).metadata.get("ss_output_name") or None)
        except ModelError:
            return None
        return known[1]

    def _opened(self, path: Path) -> LoraFile:
        from lib_rankopt.diffusion.lora import file
        from lib_rankopt.diffusion.lora.applied import LoraFile

        stamp = _stamp(path)
        found = self._read.get((path, stamp))
        if found is None:
            state, _ = file.read(path)
            digest = self._digest(path, stamp)
            if _stamp(path) != stamp:
                raise _broken(path, "it changed while it was read; try again")
            found = self._read[path, stamp] = LoraFile(path, file.named(state), digest)
        return found

    def _digest(self, path: Path, stamp: Stamp) -> str:
        from lib_rankopt.diffusion.lora.file import digest_of

        known = self._digests.get(path)
        if known is None or known[0] != stamp:
            # of the content: the hash that a file gives itself may be that of the file it was made from
            known = self._digests[path] = (stamp, digest_of(path))
        return known[1]


def _changes(modules: Mapping[str, LoraModule], targets: Mapping[str, Target], family: str, path: Path) -> dict[Target, LoraModule]:
    from lib_rankopt.diffusion.lora.targets import matched

    shapes = {name: (tuple(module.down.shape), tuple(module.up.shape)) for name, module in modules.items()}
    return matched(modules, shapes, targets, family, str(path))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(one) for one in close)}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"there are {', '.join(repr(one) for one in known[:_SHOWN])}{more}" if known else f"there is no {_SUFFIX} file in it"


def _broken(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} cannot be used as a LoRA: {why}.")


def _stamp(path: Path) -> Stamp:
    """Changes when the file does.

    Raises:
        ModelError: it is gone, or may not be read.
    """
    try:
        said = path.stat()
    except OSError as error:
        raise _broken(path, f"it cannot be read ({error.strerror or error})") from error
    return said.st_mtime_ns, said.st_size
