"""Pick-a-Pic v1 and v2 as parquet: pairs under a caption, with the JPEG bytes inside or (``…_no_images``) with ids only.

Columns as published in ``yuvalkirstain/pickapic_v1`` and ``_v2``: see :data:`COLUMNS`. The trainer of Diffusion-DPO
(``SalesforceAIResearch/DiffusionDPO``, ``train.py``) takes ``jpg_0, jpg_1, label_0, caption`` and drops what has another label than 0
or 1, as a tie has 0.5 twice; the better one is ``jpg_0`` if and only if ``label_0`` is 1. PickScore's loader takes ``has_label``,
``are_different`` and ``num_example_per_prompt`` too. Subsets with these four columns alone are read as well.

``best_image_uid`` is never believed: it is kept in ``about`` where it is not the better one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats import pickapic_write, sources, text
from lib_rankopt.store.formats.base import Dataset, FeedbackEntry, Format, ImageEntry, Row, WriteReport
from lib_rankopt.store.formats.json_tables import Made
from lib_rankopt.store.formats.parquet import Parquet, arrow
from lib_rankopt.store.formats.shapes import FIRST, LONGEST_KEY, SECOND, TIE, Occurrences, Tiers, moment, plain, rater

_TIERS: Mapping[tuple[float, float], Tiers] = {(1.0, 0.0): FIRST, (0.0, 1.0): SECOND, (0.5, 0.5): TIE}
_OWN = frozenset(
    [f"{name}_{i}" for name in ("jpg", "label", "model") for i in (0, 1)]
    + [f"image_{i}_{name}" for name in ("uid", "url") for i in (0, 1)]
    + ["caption", "created_at", "user_id"]
)
_IDENTITY = ("ranking_id", "image_0_uid", "image_1_uid")
_SIMPLE = ("bool", "int", "uint", "float", "double", "string", "large_string", "timestamp", "date")


class PickAPic(Format):
    """See the module."""

    name: ClassVar[str] = "pickapic"
    title: ClassVar[str] = "Pick-a-Pic parquet"
    loses: ClassVar[tuple[str, ...]] = (
        "likes and dislikes",
        "which pairs came from one ranking of more than two, but for their common ranking_id",
        "raters' names (user_id is a number)",
        "the pixels of images that are no JPEG: they are encoded anew",
        "an image's settings",
    )
    options: ClassVar[Mapping[str, str]] = pickapic_write.OPTIONS

    def __init__(self, **options: str) -> None:
        self._write = pickapic_write.Choices.of(options)

    def size(self, path: Path) -> int:
        """Rows of all shards; one that cannot be read counts as one."""
        return sum(_rows_of(shard, only=len(shards) == 1) for shards in [_shards(path)] for shard in shards)

    def rows(self, path: Path, after: int = 0) -> Iterator[Row]:
        """See the base; a pair is a row."""
        start, tokens, shards = 0, Occurrences(), _shards(path)
        for shard in shards:
            try:
                with Parquet(shard) as file:
                    yield from _rows(file, start, after, tokens)
                    start += file.rows
            except InvalidInputError as error:
                if len(shards) == 1:
                    raise
                start += 1
                if start > after:
                    yield Row(start, shard.name, problem=str(error))

    def write(self, dataset: Dataset, path: Path, report: WriteReport) -> Iterator[int]:
        """See the base; needs pyarrow."""
        return pickapic_write.write(dataset, path, report, self._write)


def _shards(path: Path) -> list[Path]:
    arrow()
    found = sources.find(path, "a parquet file of Pick-a-Pic", ("*.parquet",), ("data/*.parquet",))
    return [source.path for source in found]


def _rows_of(shard: Path, only: bool) -> int:
    try:
        with Parquet(shard) as file:
            _columns(file)
            return file.rows
    except InvalidInputError:
        if only:
            raise
        return 1


def _columns(file: Parquet) -> list[str]:
    """Columns that are read: Pick-a-Pic's own and whatever else is simple.

    Raises:
        InvalidInputError: it is no Pick-a-Pic.
    """
    has = file.columns
    if "label_0" not in has or not ({"image_0_uid", "image_1_uid"} <= set(has) or {"jpg_0", "jpg_1"} <= set(has)):
        raise InvalidInputError(
            f"{file.path} has the columns {', '.join(has)[:300]}; Pick-a-Pic has label_0, and jpg_0, jpg_1 or image_0_uid, image_1_uid."
        )
    return [name for name, kind in has.items() if name in _OWN or kind.startswith(_SIMPLE)]


def _rows(file: Parquet, start: int, after: int, tokens: Occurrences) -> Iterator[Row]:
    """Rows of one shard. Of row groups that were read before only the columns that make the tokens are read again."""
    columns = _columns(file)
    identity = [name for name in _IDENTITY if name in columns]
    for group, count in enumerate(file.groups):
        end, old = start + count, max(0, min(after - start, count))
        try:
            if old and identity:
                _count_tokens(file, group, identity, old, tokens, start)
            if old < count:
                yield from _group(file, group, columns, (start, old), tokens)
        except InvalidInputError as error:
            if end > after:
                yield Row(end, f"{file.path.name}, row group {group}", problem=str(error))
        start = end


def _group(file: Parquet, group: int, columns: Sequence[str], at: tuple[int, int], tokens: Occurrences) -> Iterator[Row]:
    done, first = sum(at), sum(file.groups[:group]) + at[1]
    begin = done - first
    for piece in file.pieces(group, columns, skip=at[1]):
        for values in piece:
            done += 1
            token, place = _token(values, tokens, done), f"{file.path.name}, row {done - begin}"
            try:
                made = _made(values, token)
            except InvalidInputError as error:
                made = Made(problem=str(error))
            yield Row(done, place, made.images, made.feedback, made.problem)


def _count_tokens(file: Parquet, group: int, columns: Sequence[str], count: int, tokens: Occurrences, start: int) -> None:
    for piece in file.pieces(group, columns):
        for values in piece[:count]:
            start += 1
            _token(values, tokens, start)
        count -= len(piece)
        if count <= 0:
            return


def _token(values: Mapping[str, Any], tokens: Occurrences, number: int) -> str:
    """Identity of a row: its ranking and images; where these have no names, its place, of which there is no second."""
    parts = [str(values.get(name)) for name in _IDENTITY]
    return tokens.token(*parts) if "None" not in parts[1:] else f"row-{number}"


def _made(values: Mapping[str, Any], token: str) -> Made:
    prompt = text.word(values, "caption")
    images = tuple(_image(values, i, prompt) for i in (0, 1))
    if images[0].key == images[1].key:
        return Made(images[:1], problem=f"both images are {images[0].key[:80]!r}")
    if values.get("has_label") is False or (values.get("label_0") is None and values.get("label_1") is None):
        return Made(images)
    labels = _labels(values)
    if labels not in _TIERS:
        shown = f"{values.get('label_0')!s:.40} and {values.get('label_1')!s:.40}"
        return Made(images, problem=f"the labels are {shown}; 1 and 0, 0 and 1 or 0.5 and 0.5 are expected")
    answer = FeedbackEntry(
        "pair",
        (images[0].key, images[1].key),
        _TIERS[labels],
        token,
        prompt,
        rater(values.get("user_id")),
        moment(values.get("created_at")),
        about=_about(values, images, _TIERS[labels]),
    )
    return Made(images, (answer,))


def _image(values: Mapping[str, Any], i: int, prompt: str) -> ImageEntry:
    uid, data, model, url = (values.get(name) for name in (f"image_{i}_uid", f"jpg_{i}", f"model_{i}", f"image_{i}_url"))
    if isinstance(data, dict):  # as an Image feature of the library datasets has it
        data = data.get("bytes")
    if data is not None and not isinstance(data, bytes):
        raise InvalidInputError(f"jpg_{i} is {str(data)[:80]!r}, no bytes")
    if uid is not None and not isinstance(uid, str):
        raise InvalidInputError(f"image_{i}_uid is {str(uid)[:80]!r}, no text")
    key = text.clean(uid) if uid else f"sha256-{sha256(data).hexdigest()}" if data else ""
    if len(key) > LONGEST_KEY:
        raise InvalidInputError(f"image_{i}_uid has {len(key)} signs")
    if not key:
        raise InvalidInputError(f"the image {i} has neither a uid nor bytes")
    about = {"url": plain(url)} if isinstance(url, str) and url else {}
    return ImageEntry(key, prompt, data=data or None, model=plain(model) if isinstance(model, str) else "", about=about)


def _labels(values: Mapping[str, Any]) -> tuple[float, float]:
    """Both labels; of a subset with the first one only, the other is what is left of 1. Not-a-number for what is none."""
    first, second = values.get("label_0"), values.get("label_1")
    if isinstance(first, (int, float)) and second is None:
        second = 1 - first
    try:
        return float(first), float(second)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan"), float("nan")


def _about(values: Mapping[str, Any], images: Sequence[ImageEntry], tiers: Tiers) -> dict[str, Any]:
    best = images[tiers[0][0]].key if len(tiers) > 1 else None
    kept = {name: plain(value) for name, value in values.items() if name not in _OWN and value is not None}
    if kept.get("best_image_uid") == best:
        kept.pop("best_image_uid", None)
    if kept.get("has_label") is True:
        del kept["has_label"]
    return kept
