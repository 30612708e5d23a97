"""Parquet files from strangers, read piece by piece; pyarrow is needed for nothing else and may be missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType

_BUFFER = 1 << 20
_PIECE = 8 << 20  # bytes that are decoded at once, about
_MOST_ROWS = 4096
_LONGEST_NAME = 64 << 20  # of the texts in a footer; what has more is damaged


def arrow() -> ModuleType:
    """Return pyarrow with its parquet part.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet files need the package pyarrow; install it with: pip install pyarrow") from error
    return pyarrow  # type: ignore[no-any-return]


class Parquet:
    """One file. Use as a context.

    Attributes:
        columns: names and types (as pyarrow writes them) of what has no columns of its own inside.
        rows: how many there are. groups: how many of them each row group has.

    Raises:
        InvalidInputError: it cannot be read or is no whole parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._arrow = arrow()
        self.path = path
        try:
            # with a buffer and nothing fetched before, a page is in memory at a time; else whole column chunks, hundreds of MB of JPEGs
            self._file = self._arrow.parquet.ParquetFile(
                path, buffer_size=_BUFFER, pre_buffer=False, thrift_string_size_limit=_LONGEST_NAME, page_checksum_verification=True
            )
            meta = self._file.metadata
            self.columns = {field.name: str(field.type) for field in self._file.schema_arrow}
            self.groups: list[int] = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
            self._bytes: list[int] = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
        except (self._arrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"{path} is no whole parquet file: {_said(error)}.") from error
        if any(rows < 0 for rows in self.groups):
            raise InvalidInputError(f"{path} is no whole parquet file: a row group of {min(self.groups)} rows.")
        self.rows: int = sum(self.groups)

    def __enter__(self) -> Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def pieces(self, group: int, columns: Sequence[str], skip: int = 0) -> Iterator[list[dict[str, Any]]]:
        """Rows of a row group, some at a time, as dictionaries by column; bytes that are no UTF-8 are read as Windows-1252.

        Args:
            skip: leave out so many at the beginning; they are decoded, but not turned into objects.

        Raises:
            InvalidInputError: the row group is damaged; what was given before is whole.
        """
        most = max(1, min(_MOST_ROWS, _PIECE * self.groups[group] // max(self._bytes[group], 1)))
        try:
            for batch in self._file.iter_batches(most, row_groups=[group], columns=list(columns), use_threads=False):
                whole = batch.num_rows
                if skip < whole:
                    yield _rows(batch.slice(skip))
                skip = max(0, skip - whole)
        except (self._arrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"the row group {group} of {self.path.name} is damaged: {_said(error)}") from error


def _rows(batch: Any) -> list[dict[str, Any]]:
    names = batch.schema.names
    columns = [_values(batch.column(i)) for i in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    kind = str(column.type)
    try:
        if kind == "timestamp[ns]" or kind.startswith("timestamp[ns,"):  # to_pylist would need pandas to keep nanoseconds
            column = column.cast(kind.replace("[ns", "[us"), safe=False)
        return list(column.to_pylist())
    except UnicodeDecodeError:
        binary = column.cast("large_binary" if kind == "large_string" else "binary").to_pylist()
        return [None if value is None else _decoded(value) for value in binary]


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
