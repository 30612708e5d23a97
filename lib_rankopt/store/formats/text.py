"""CSV, JSON and JSON lines from strangers, as streams: other encodings, stray quotes, marks at the beginning."""

from __future__ import annotations

import codecs
import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from lib_rankopt.errors import InvalidInputError

_LONGEST_LINE = 4 << 20  # bytes; what is longer is taken for a file without lines
_LARGEST_VALUE = 16 << 20  # characters of one element of a JSON list
_CHUNK = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Line(NamedTuple):
    """One row of a text file.

    Attributes:
        value: a dictionary by column of a CSV, or whatever the JSON holds; ``None`` where the row cannot be read.
        number: of its last line in the file, or of the element in its list, from 1.
        done: bytes of the file up to its end; grows from row to row.
        problem: why it cannot be read; empty where it can.
    """

    value: Any
    number: int
    done: int
    problem: str = ""


def csv_rows(path: Path, needed: Sequence[str] = ()) -> Iterator[Line]:
    """Yield the rows of a CSV file with a head, each as a dictionary by column. Bytes that are no UTF-8 are read as Windows-1252.

    Raises:
        InvalidInputError: it cannot be opened, is empty, or its head lacks a ``needed`` column; raised before the first row.
    """
    with _opened(path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines)
        head = _head(path, reader)
        if missing := [name for name in needed if name not in head]:
            raise InvalidInputError(f"{path} has no column '{missing[0]}'; its columns are {', '.join(head)[:300]}.")
        while True:
            lines.settle()
            problem = ""
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                values, problem = [], f"{error}"
            if len(values) == len(head):
                yield Line(dict(zip(head, values, strict=True)), lines.number, lines.done)
            elif values or problem:
                lines.give_back()
                yield Line(None, lines.number, lines.done, problem or f"{len(values)} columns where the head has {len(head)}")


def csv_head(path: Path, delimiter: str = ",") -> list[str]:
    """Return the names of the columns of a CSV file.

    Raises:
        InvalidInputError: it cannot be opened, is empty, or no CSV.
    """
    with _opened(path) as file:
        return _head(path, csv.reader(_Lines(file), delimiter=delimiter))


def _head(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        return [name.strip() for name in next(reader)]
    except StopIteration:
        raise InvalidInputError(f"{path} is empty.") from None
    except csv.Error as error:
        raise InvalidInputError(f"{path} is no CSV file: {error}.") from error


class _Lines:
    """Lines of a file; a row that a stray quote made of several of them gives back all but the first."""

    def __init__(self, file: IO[bytes]) -> None:
        position = [0]
        self._source = zip(_text_lines(file, position), _values_of(position), count(1))
        self._taken: list[tuple[str, int, int]] = []
        self._again: deque[tuple[str, int, int]] = deque()
        self.done = self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        found = self._again.popleft() if self._again else next(self._source)
        self._taken.append(found)
        line, self.done, self.number = found
        return line

    def settle(self) -> None:
        """The lines up to here are read for good."""
        self._taken.clear()

    def give_back(self) -> None:
        """Only the first of the lines since :meth:`settle` was bad."""
        if self._taken:
            self._again.extendleft(reversed(self._taken[1:]))
            _, self.done, self.number = self._taken[0]


def _values_of(position: list[int]) -> Iterator[int]:
    while True:
        yield position[0]


def plain_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a text file that are not empty, as they are.

    Raises:
        InvalidInputError: it cannot be opened; raised before the first row.
    """
    with _opened(path) as file:
        position = [0]
        for number, text in enumerate(_text_lines(file, position), 1):
            if text.strip():
                yield Line(text, number, position[0])


def json_lines(path: Path) -> Iterator[Line]:
    """Yield the values of a file with one JSON value a line; empty lines are passed over.

    Raises:
        InvalidInputError: it cannot be opened; raised before the first row.
    """
    with _opened(path) as file:
        position = [0]
        for number, text in enumerate(_text_lines(file, position), 1):
            if not text.strip():
                continue
            try:
                yield Line(_JSON.decode(text), number, position[0])
            except (ValueError, RecursionError) as error:
                yield Line(None, number, position[0], f"no JSON ({error})")


def json_list(path: Path) -> Iterator[Line]:
    """Yield the elements of a file with one JSON list; of a file that is cut off, those before the end and then the problem.

    Raises:
        InvalidInputError: it cannot be opened or does not begin a list; raised before the first element.
    """
    with _opened(path) as file:
        source = _Characters(file)
        if source.skip(" \t\r\n") != "[":
            raise InvalidInputError(f"{path} is no JSON list.")
        source.take()
        number = 0
        while (sign := source.skip(" \t\r\n,")) != "]":
            number += 1
            if not sign:
                yield Line(None, number, source.done, "the file ends in the middle")
                return
            try:
                yield Line(source.value(), number, source.done)
            except (ValueError, RecursionError) as error:
                yield Line(None, number, source.done, f"no JSON from here on ({error})")
                return


class _Characters:
    """A text file as a growing piece of text that is cut off in front."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoding = _encoding(file)
        self._decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        self._text, self._at, self._ended = "", 0, False
        self.done = file.tell()

    def _more(self) -> bool:
        raw = self._file.read(_CHUNK)
        self._ended = not raw
        self._text = self._text[self._at :] + self._decoder.decode(raw, final=self._ended)
        self._at = 0
        return not self._ended

    def _go_to(self, at: int) -> None:
        self.done += _length(self._text[self._at : at], self._encoding)
        self._at = at

    def skip(self, signs: str) -> str:
        """Pass over these signs; return the next one, empty at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in signs:
                at += 1
            self._go_to(at)
            if at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self) -> None:
        """Pass over one sign."""
        self._go_to(self._at + 1)

    def value(self) -> Any:
        """Read one JSON value."""
        while True:
            try:
                found, end = _JSON.raw_decode(self._text, self._at)
                # a number at the very end of a piece may go on in the next one
                if end < len(self._text) or self._ended:
                    self._go_to(end)
                    return found
            except ValueError:
                if self._ended:
                    raise
            if len(self._text) - self._at > _LARGEST_VALUE:
                raise ValueError(f"one element has more than {_LARGEST_VALUE >> 20} million characters")
            self._more()


def _length(text: str, encoding: str) -> int:
    if encoding == "utf-8" and text.isascii():
        return len(text)
    return len(text.encode(encoding, "surrogatepass"))


def _integer(digits: str) -> float:
    """A number of more digits than anybody counts is none; Python's limit would take the rest of the file with it."""
    return int(digits) if len(digits) <= 400 else float("nan")


_JSON = json.JSONDecoder(parse_int=_integer)


def one_json(path: Path, most: int = 64 << 20) -> Any:
    """Read a small JSON file as a whole.

    Raises:
        InvalidInputError: it cannot be read, is no JSON, or has more than ``most`` bytes.
    """
    with _opened(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise InvalidInputError(f"{path} has more than {most >> 20} MiB.")
    try:
        return _JSON.decode(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no JSON: {error}.") from error


def word(row: Mapping[str, Any], name: str) -> str:
    """Return a text of a JSON row or CSV row; ``NaN`` of a missing caption, null and a missing column are empty.

    Raises:
        InvalidInputError: it is no text.
    """
    value = row.get(name)
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is {str(value)[:80]!r}, no text")
    return clean(value)


def clean(text: str) -> str:
    """Return a text without halves of surrogate pairs and without zeros, which JSON can write and databases do not take."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "") if "\0" in text else text


def whole(row: Mapping[str, Any], name: str) -> int:
    """Return a whole number of a row, also of a CSV's text.

    Raises:
        InvalidInputError: it is none.
    """
    value = row.get(name)
    try:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            raise ValueError
        return int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InvalidInputError(f"{name} is {str(value)[:80]!r}, no whole number") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    with file:
        try:
            yield file
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _encoding(file: IO[bytes]) -> str:
    """Look for a mark of the encoding and go behind it."""
    start = file.read(4)
    for mark, name in _MARKS:
        if start.startswith(mark):
            file.seek(len(mark))
            return name
    file.seek(0)
    return "utf-8"


def _text_lines(file: IO[bytes], position: list[int]) -> Iterator[str]:
    """Lines as text; ``position[0]`` says how many bytes are read with each."""
    encoding = _encoding(file)
    position[0] = file.tell()
    if encoding == "utf-8":
        while line := file.readline(_LONGEST_LINE):
            position[0] += len(line)
            yield _decoded(line)
        return
    decoder, rest = codecs.getincrementaldecoder(encoding)("replace"), ""
    while raw := file.read(_CHUNK):
        rest += decoder.decode(raw)
        *whole_lines, rest = rest.split("\n")
        for one in whole_lines:
            position[0] += _length(one, encoding) + 2
            yield one.replace("\0", "") + "\n"
        if len(rest) > _LONGEST_LINE:
            position[0] += _length(rest, encoding)
            yield rest
            rest = ""
    if rest:
        position[0] += _length(rest, encoding)
        yield rest


def _decoded(line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("cp1252", "replace")
    return text.replace("\0", "") if "\0" in text else text
