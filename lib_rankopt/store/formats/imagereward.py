"""ImageRewardDB: rankings of several images under a prompt, with ties and gaps, lower is better.

Read are, whichever is there: a list of ``{id, prompt, generations, ranking}`` as ``data/test.json`` of ``THUDM/ImageReward`` (what its
``test.py``, the training code's ``rank_pair_dataset.py`` and ``ImageRewardDataset`` of HPSv2 load); the index ``metadata-*.parquet``, or
the JSON files beside the images, of the data set on Hugging Face: one record per image with ``image_path, prompt_id, prompt,
classification, image_amount_in_total, rank, overall_rating, image_text_alignment_rating, fidelity_rating``, which are put together by
``prompt_id``.

Written is such a list, ``train.json`` (the training code loads ``{train,valid,test}.json``), with the images below ``images/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import imagereward_index, json_tables, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.json_tables import Made
from lib_rankopt.store.formats.shapes import Occurrences, about, caption, compared, numbers, ranks_of, tiers_of
from lib_rankopt.store.formats.sources import Source
from lib_rankopt.store.formats.writing import EVERY, NO_LABELS, ImageFolder, JsonList, count_unused, empty_folder, whole_file


class ImageReward(Format):
    """See the module."""

    name: ClassVar[str] = "imagereward"
    title: ClassVar[str] = "ImageRewardDB"
    loses: ClassVar[tuple[str, ...]] = ("who said it and when", "likes and dislikes", "an image's settings and model")
    options: ClassVar[Mapping[str, str]] = {"split": "name of the part that is written: train (default), valid or test"}

    def __init__(self, split: str = "train") -> None:
        if split not in ("train", "valid", "test"):
            raise InvalidInputError(f"split is '{split[:80]}'; it may be train, valid or test.")
        self._split = split

    def size(self, path: Path) -> int:
        """Bytes of the lists, or rows of the index; not known of JSON files beside the images."""
        found, lists = _find(path)
        return sources.total(found) if lists else imagereward_index.size(found)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; what was said about one prompt is a row."""
        found, lists = _find(path)
        return sources.read(found, after, _rows) if lists else imagereward_index.rows(found, self.root(path), after)

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base."""
        empty_folder(path)
        name = f"{self._split}.json"
        with Tally() as names, whole_file(path / name) as file:
            images, out = ImageFolder(dataset, path, "images", report, names), JsonList(file)
            for done, (answer, shown) in enumerate(dataset.feedback(), 1):
                if len(shown) < 2:
                    report.leave_out(NO_LABELS, answer.token)
                elif paths := images.all(*shown):
                    report.feedback += 1
                    known, prompt = answer.about.get("id"), caption(answer, shown[0])
                    own = known if isinstance(known, str) else answer.token
                    out.add({"id": own, "prompt": prompt, "generations": paths, "ranking": _ranking(answer)})
                if done % EVERY == 0:
                    yield done
            if not out.count:
                raise InvalidInputError("There is nothing for ImageRewardDB: no images with files were compared.")
            out.close()
            count_unused(dataset, names, report)
        report.wrote(name)


def _find(path: Path) -> tuple[list[Source], bool]:
    """The files, and whether they are lists of rankings."""
    what = "a json or parquet file of ImageRewardDB"
    index = ("metadata-*.parquet",)
    beside = ("images/*/*/*.json", "*/*/*.json", "*.json")
    if path.is_dir():
        with suppress(InvalidInputError):  # no json that may be read
            if lists := sources.only(sources.find(path, what, ("*.json",)), lambda source: _is_list(source.path)):
                return lists, True
    found = sources.find(path, what, index, *((glob,) for glob in beside))
    return found, path.is_file() and path.suffix.lower() != ".parquet" and _is_list(path)


def _is_list(path: Path) -> bool:
    """Whether a file is a list of rankings, as its beginning says."""
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError:
        return False
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and b'"image_path"' not in start


def _rows(source: Source) -> Iterator[Row]:
    return json_tables.rows(source, text.json_list(source.path), _made)


def _made(values: Mapping[str, Any], tokens: Occurrences) -> Made:
    paths, prompt = json_tables.paths(values, "generations"), text.word(values, "prompt")
    images = tuple(ImageEntry(path, prompt, path) for path in paths)
    try:
        ranks = numbers(values.get("ranking"), "ranking")
    except InvalidInputError as error:
        return Made(images, problem=str(error))
    if len(ranks) != len(paths):
        return Made(images, problem=f"ranking has {len(ranks)} numbers for {len(paths)} images")
    if len(paths) < 2:
        return Made(images, problem="there is one image only, so nothing was compared")
    token = tokens.token(str(values.get("id")), prompt, *map(repr, ranks), *paths)
    more = about(values, "id")
    if ranks != ranks_of(tiers_of(ranks)):
        more["ranking"] = ranks  # its gaps, for whoever writes it again
    return Made(images, (FeedbackEntry(compared(len(images)), tuple(paths), tiers_of(ranks), token, prompt, about=more),))


def _ranking(answer: FeedbackEntry) -> list[Any]:
    known = answer.about.get("ranking")
    try:
        if tiers_of(numbers(known, "ranking")) == answer.tiers:
            return list(known)  # type: ignore[arg-type]
    except InvalidInputError:
        pass
    return ranks_of(answer.tiers)
