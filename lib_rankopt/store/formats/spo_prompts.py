"""The prompt list of SPO: a JSON list of ``{"caption", "trainset_idx"}``. It holds no images and no feedback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import prompts
from lib_rankopt.store.formats.base import Dataset, Format, Row, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.writing import JsonList, whole_file

_INDEX = "trainset_idx"
_NOWHERE = -1  # of a prompt that does not come from Pick-a-Pic


class SpoPrompts(Format):
    """See the module's text. Written are the different prompts of a data set, for SPO's trainer, in the order in which they come.

    Reading gives rows without images, as there are none: nothing goes into a store. :func:`~.prompts.read_prompts` gives the prompts.
    """

    name = "spo-prompts"
    title = "Prompt list (SPO)"
    loses = ("all images and all feedback: it is a list of prompts, and reading it brings none",)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        for entry in prompts.entries(path):
            if entry.done > after:
                yield Row(entry.done, entry.place, problem=entry.problem)

    def size(self, path: Path) -> int:
        next(prompts.entries(path))
        return 0

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        with whole_file(path) as file, Tally() as seen:
            out = JsonList(file)
            for number, image in enumerate(dataset.images(), 1):
                prompt = image.prompt.strip()
                if not prompt:
                    report.leave_out("an image without a prompt", image.key)
                elif seen.once(prompt):
                    index = image.about.get(_INDEX)
                    out.add({"caption": prompt, _INDEX: index if type(index) is int else _NOWHERE})
                yield number
            if not out.count:
                raise InvalidInputError("There is no prompt to write.")
            report.leave_out("the format has prompts alone, neither images nor feedback")
            out.close()
        report.wrote(path.name)
