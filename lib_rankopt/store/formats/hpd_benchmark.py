"""Images of HPS v2's benchmark: ``<model>/<style>/00000.jpg``, whose prompts are the elements of ``<style>.json`` by number.

Only read, and only together with the folder of prompts; see https://github.com/tgxs002/HPSv2 (``benchmark_imgs``, ``benchmark``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import folders, text
from lib_rankopt.store.formats.base import Format, ImageEntry, Row

_NUMBER = re.compile(r"\d{1,9}")


class HpdBenchmark(Format):
    """See the module's text. ``about`` of an image holds its ``style`` and ``index``."""

    name = "hpdv2-benchmark"
    title = "Images of the HPDv2 benchmark"
    writes = False
    options: ClassVar[Mapping[str, str]] = {"prompts": "folder with anime.json, concept-art.json, paintings.json, photo.json …"}

    def __init__(self, prompts: str = "") -> None:
        if not prompts or not Path(prompts).is_dir():
            raise InvalidInputError(f"The benchmark's images need its prompts; '{prompts}' is no folder with a STYLE.json for each style.")
        self._styles = {file.stem: _prompts(file) for file in sorted(Path(prompts).glob("*.json"))}
        if not self._styles:
            raise InvalidInputError(f"The folder {prompts} holds no STYLE.json.")

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        for done, found in enumerate(folders.walk(folders.checked_folder(path, self.title)), 1):
            if done > after:
                yield self._row(found, done)

    def _row(self, found: folders.Found, done: int) -> Row:
        if found.problem:
            return Row(done, found.path, problem=found.problem)
        *above, style, name = found.path.split("/")
        stem = name.rpartition(".")[0]
        if not above or style not in self._styles:
            known = ", ".join(self._styles)
            return Row(done, found.path, problem=f"it does not lie in MODEL/STYLE, with one of the styles {known}")
        prompts = self._styles[style]
        if not _NUMBER.fullmatch(stem) or int(stem) >= len(prompts):
            return Row(done, found.path, problem=f"its name is no number below {len(prompts)}, the number of prompts of {style}")
        about = {"style": style, "index": int(stem)}
        return Row(done, found.path, (ImageEntry(found.path, prompts[int(stem)], found.path, model="/".join(above), about=about),))


def _prompts(file: Path) -> list[str]:
    values = text.one_json(file)
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise InvalidInputError(f"{file} is no JSON list of prompts.")
    return values
