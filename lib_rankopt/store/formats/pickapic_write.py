"""Writes Pick-a-Pic's parquet: its columns in its order, shards and row groups of bounded size.

A ranking of n images is n(n−1)/2 rows with one ``ranking_id``. ``num_example_per_prompt`` is how many pairs have the same caption, those
that cannot be written (an image is gone) among them: to know better, every image would have to be read twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import files, folders
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, ImageEntry, WriteReport
from lib_rankopt.store.formats.grouping import Tally
from lib_rankopt.store.formats.parquet import arrow
from lib_rankopt.store.formats.shapes import caption, pairs
from lib_rankopt.store.formats.writing import EVERY, GONE, NO_LABELS, count_unused, empty_folder, read_image, whole_file

OPTIONS: Mapping[str, str] = {
    "images": "yes (default): with the images' bytes; no: ids only, as the data sets …_no_images",
    "shard_mb": "megabytes after which a new file is begun (default 500)",
    "split": "name of the part that is written: train (default), validation or test",
}
# in the order of the published files; pandas left __index_level_0__ there
COLUMNS: Mapping[str, str] = {
    "are_different": "bool",
    "best_image_uid": "string",
    "caption": "string",
    "created_at": "timestamp[ns]",
    "has_label": "bool",
    "image_0_uid": "string",
    "image_0_url": "string",
    "image_1_uid": "string",
    "image_1_url": "string",
    "jpg_0": "binary",
    "jpg_1": "binary",
    "label_0": "float64",
    "label_1": "float64",
    "model_0": "string",
    "model_1": "string",
    "ranking_id": "int64",
    "user_id": "int64",
    "num_example_per_prompt": "int64",
    "__index_level_0__": "int64",
}
ENCODED = "the image is no JPEG and was encoded as one (quality 95), which changes its pixels"
_GROUP = 32 << 20  # bytes of images in a row group
_GROUP_ROWS = 10_000
_KEPT = 64  # images kept encoded: those of one ranking come again and again
_LARGEST, _LONGEST = 1 << 63, 20  # of a whole number of 64 bits, and its digits with the sign


@dataclass(frozen=True)
class Choices:
    """The options, checked."""

    images: bool = True
    shard: int = 500 << 20
    split: str = "train"

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Choices:
        """Read them from text.

        Raises:
            InvalidInputError: a value that is none.
        """
        images, shard, split = options.get("images", "yes"), options.get("shard_mb", "500"), options.get("split", "train")
        if images not in ("yes", "no"):
            raise InvalidInputError(f"images is '{images[:80]}'; it may be yes or no.")
        if not shard.isdecimal() or not 1 <= int(shard[:9]) <= 100_000:
            raise InvalidInputError(f"shard_mb is '{shard[:80]}'; a whole number from 1 to 100000 is expected.")
        if split not in ("train", "validation", "test"):
            raise InvalidInputError(f"split is '{split[:80]}'; it may be train, validation or test.")
        return cls(images == "yes", int(shard) << 20, split)


def write(dataset: Dataset, path: Path, report: WriteReport, choices: Choices) -> Iterator[int]:
    """Write a folder of shards; see :meth:`~.base.Format.write`. Goes over the feedback twice: first to count captions."""
    arrow()
    empty_folder(path)
    with Tally() as captions, Tally() as names, ExitStack() as stack:
        done = 0
        for answer, shown in dataset.feedback():
            for first, _, _ in pairs(answer.tiers) if len(shown) > 1 else ():
                captions.add(caption(answer, shown[first]), first=1)
            done += 1
            if done % EVERY == 0:
                yield done // 2
        half = done - done // 2
        images = _Images(dataset, report, names, choices.images)
        out = _Shards(stack, path, report, choices)
        for at, (answer, shown) in enumerate(dataset.feedback(), 1):
            if len(shown) < 2:
                report.leave_out(NO_LABELS, answer.token)
            elif (data := images.all(shown)) is not None:
                report.feedback += 1
                for row in _rows(answer, shown, data, captions, out.count):
                    out.add(row)
            if at % EVERY == 0:
                yield half + at // 2
        if not out.count:
            raise InvalidInputError("There is nothing for Pick-a-Pic: no images with files were compared.")
        out.close()
        count_unused(dataset, names, report)


class _Images:
    """JPEG bytes of images; the last ones are kept."""

    def __init__(self, dataset: Dataset, report: WriteReport, names: Tally, wanted: bool) -> None:
        self._dataset, self._report, self._names, self._wanted = dataset, report, names, wanted
        self._kept: OrderedDict[str, bytes | None] = OrderedDict()

    def all(self, images: tuple[ImageEntry, ...]) -> list[bytes] | None:
        """One after the other, empty where none are wanted; ``None`` if one is gone."""
        found = [self._one(image) for image in images]
        if None in found:
            self._report.leave_out(f"answer about images of which {GONE}", images[found.index(None)].key)
            return None
        return [data for data in found if data is not None]

    def _one(self, image: ImageEntry) -> bytes | None:
        if image.key in self._kept:
            self._kept.move_to_end(image.key)
            return self._kept[image.key]
        first = self._names.noted(image.key) is None
        data = self._encoded(image, first) if self._wanted else b""
        if first:
            self._names.note(image.key, text="written")
            self._report.images += data is not None
        self._kept[image.key] = data
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return data

    def _encoded(self, image: ImageEntry, first: bool) -> bytes | None:
        data = read_image(self._dataset, image, self._report if first else WriteReport())
        if data is None or files.suffix_of(data) == ".jpg":
            return data
        try:
            encoded = folders.encoded(data, "JPEG", quality=95, subsampling=0)
        except InvalidInputError:
            if first:
                self._report.leave_out(GONE, image.key)
            return None
        if first:
            self._report.leave_out(ENCODED, image.key)
        return encoded


def _rows(answer: FeedbackEntry, shown: tuple[ImageEntry, ...], data: list[bytes], captions: Tally, count: int) -> Iterator[dict[str, Any]]:
    """Rows of one answer, one per pair; the two are in the order in which they were shown."""
    best = answer.about.get("best_image_uid") or (shown[answer.tiers[0][0]].key if len(answer.tiers[0]) == 1 else None)
    for at, (better, worse, equal) in enumerate(pairs(answer.tiers)):
        a, b = sorted((better, worse))
        label = 0.5 if equal else float(better == a)
        prompt = caption(answer, shown[better])
        index = answer.about.get("__index_level_0__")
        yield {
            "are_different": shown[a].key != shown[b].key and (not data[a] or data[a] != data[b]),
            "best_image_uid": best,
            "caption": prompt,
            "created_at": _time(answer.created_at),
            "has_label": True,
            "image_0_uid": shown[a].key,
            "image_0_url": _text(shown[a].about.get("url")),
            "image_1_uid": shown[b].key,
            "image_1_url": _text(shown[b].about.get("url")),
            "jpg_0": data[a],
            "jpg_1": data[b],
            "label_0": label,
            "label_1": 1 - label,
            "model_0": shown[a].model,
            "model_1": shown[b].model,
            "ranking_id": _number(answer.about.get("ranking_id"), answer.token),
            "user_id": _number(answer.rater, answer.rater) if answer.rater else None,
            "num_example_per_prompt": captions.get(prompt)[0],
            "__index_level_0__": index if isinstance(index, int) else count + at,
        }


def _number(value: object, name: str) -> int:
    """A whole number as it is; else one of 63 bits that is always the same for the name."""
    if isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value < _LARGEST:
        return value
    if isinstance(value, str) and len(value) <= _LONGEST and value.isascii() and value.removeprefix("-").isdecimal():
        return _number(int(value), name)
    return int.from_bytes(sha256(name.encode("utf-8", "replace")).digest()[:8], "big") >> 1


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(timezone.utc).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@dataclass
class _Shards:
    """Parquet files one after the other, each there when it is whole."""

    stack: ExitStack
    path: Path
    report: WriteReport
    choices: Choices
    count: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _bytes: int = 0
    _written: int = 0
    _shard: int = 0
    _open: ExitStack | None = None
    _writer: Any = None

    def add(self, row: dict[str, Any]) -> None:
        """Write a row, soon."""
        if not self.choices.images:
            row = {name: value for name, value in row.items() if not name.startswith("jpg_")}
        self._rows.append(row)
        self._bytes += sum(len(row.get(name) or "") for name in ("jpg_0", "jpg_1", "caption"))
        self.count += 1
        if self._bytes >= min(_GROUP, self.choices.shard) or len(self._rows) >= _GROUP_ROWS:
            self._flush()
            if self._written >= self.choices.shard:
                self.close()

    def close(self) -> None:
        """End the file."""
        self._flush()
        if self._open is not None:
            self._open.close()
            self._open, self._written = None, 0
            self._shard += 1

    def _flush(self) -> None:
        if not self._rows:
            return
        pa = arrow()
        table = pa.Table.from_pylist(self._rows, schema=_schema(self.choices.images))
        if self._open is None:
            self._open = self._begin(table.schema)
        self._writer.write_table(table, row_group_size=len(self._rows))
        self._written += self._bytes
        self._rows, self._bytes = [], 0

    def _begin(self, schema: Any) -> ExitStack:
        name = f"{self.choices.split}-{self._shard:05d}.parquet"
        opened = self.stack.enter_context(ExitStack())  # a shard that is not finished goes with everything else
        file = opened.enter_context(whole_file(self.path / name))
        # pages of a few images each: a page is what a reader must hold at once
        made = arrow().parquet.ParquetWriter(file, schema, compression="snappy", use_dictionary=_REPEATED, write_batch_size=8)
        self._writer = opened.enter_context(made)
        self.report.wrote(name)
        return opened


_REPEATED = ["best_image_uid", "caption", "model_0", "model_1"]


def _schema(images: bool) -> Any:
    pa = arrow()
    kinds = {"timestamp[ns]": pa.timestamp("ns"), "bool": pa.bool_()}
    return pa.schema(
        [(name, kinds.get(kind) or getattr(pa, kind)()) for name, kind in COLUMNS.items() if images or not name.startswith("jpg_")]
    )
