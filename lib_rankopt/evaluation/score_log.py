"""Scores in a file that grows batch by batch, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.image_files import ScoredFile

_START = b'{"file": '
_MOST_CUT = 1 << 22  # bytes; no single line is longer, so more than that is not the end of a run that was stopped


class ScoreLog(ABC):
    """One line a file, in one write a batch. A last line that a kill has cut off is dropped when the log is opened again.

    Args:
        path: made where it is not there yet.
        scorers: versions by name, in the order of columns.
        read_only: another process may be writing it; nothing is made, cut or appended.

    Raises:
        InvalidInputError: the file is there and holds something else; it is left as it is.
        OSError: as the system says.
    """

    def __init__(self, path: Path, scorers: Mapping[str, str], read_only: bool = False) -> None:
        self.path, self._scorers = path, dict(scorers)
        self.known: dict[str, ScoredFile] = {}
        """Files that have a score of every scorer, by name; the latest line counts."""
        if path.is_file():
            with path.open("rb") as file:
                whole = self._read(file)
            if read_only:
                return
            if path.stat().st_size > whole + _MOST_CUT:
                raise InvalidInputError(f"{path} is damaged from byte {whole:,} on: name a new file; nothing in this one is touched.")
            if whole < path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(whole)
        self._file = path.open("ab", buffering=0)
        if not self._file.tell():
            self._file.write(self.head(self._scorers))

    @staticmethod
    @abstractmethod
    def head(scorers: Mapping[str, str]) -> bytes:
        """What stands at the top of a file."""

    @staticmethod
    @abstractmethod
    def line(record: ScoredFile, scorers: Mapping[str, str]) -> bytes:
        """One file's line, with its end."""

    @abstractmethod
    def _read(self, file: IO[bytes]) -> int:
        """Fill :attr:`known`; return the length of the whole lines."""

    def append(self, records: Iterable[ScoredFile]) -> None:
        """Write a batch.

        Raises:
            OSError: as the system says, for example that the disk is full.
        """
        data = memoryview(b"".join(self.line(one, self._scorers) for one in records))
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _keep(self, file: str, size: int, modified: float, prompt: str, scores: Mapping[str, Any]) -> None:
        found = {name: float(scores[name]) for name in self._scorers if isinstance(scores.get(name), (int, float))}
        if len(found) == len(self._scorers) and all(map(math.isfinite, found.values())):
            self.known[file] = ScoredFile(file, size, modified, prompt, found, is_known=True)
        else:
            self.known.pop(file, None)

    def _foreign(self, number: int) -> InvalidInputError:
        return InvalidInputError(f"{self.path}, line {number}, is no line of scores: name a new file, and nothing in this one is touched.")


class JsonLog(ScoreLog):
    """One JSON object a line: file, bytes, modified, prompt, scores, errors, versions. Scores of other versions count as not there."""

    @staticmethod
    def head(scorers: Mapping[str, str]) -> bytes:
        return b""

    def mark(self, text: str) -> None:
        """Write a line of its own, which tells whoever reads the end of the file that what ``text`` stands for is in it.

        Raises:
            OSError: as the system says.
        """
        self._file.write(_mark(text))

    @staticmethod
    def is_marked(path: Path, text: str) -> bool:
        """Whether a file ends with this mark; false where there is none."""
        wanted = _mark(text)
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - len(wanted)))
                return file.read() == wanted
        except FileNotFoundError:
            return False

    @staticmethod
    def line(record: ScoredFile, scorers: Mapping[str, str]) -> bytes:
        return json.dumps({**as_json(record), "versions": scorers}, allow_nan=False).encode("ascii") + b"\n"

    def _read(self, file: IO[bytes]) -> int:
        whole = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                if not _START.startswith(line[: len(_START)]):
                    raise self._foreign(number)
                break
            self._take(line, number)
            whole += len(line)
        return whole

    def _take(self, line: bytes, number: int) -> None:
        try:
            found = json.loads(line)
            if isinstance(found, dict) and "summary" in found:  # somebody kept what was printed
                return
            versions = dict(found.get("versions", {}))
            scores = {name: score for name, score in dict(found["scores"]).items() if versions.get(name) == self._scorers.get(name)}
            self._keep(str(found["file"]), int(found["bytes"]), float(found["modified"]), str(found["prompt"]), scores)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._foreign(number) from error


class CsvLog(ScoreLog):
    """Columns file, prompt, one for each scorer, error; UTF-8. It holds neither a file's size and time nor the scorers' versions."""

    @staticmethod
    def head(scorers: Mapping[str, str]) -> bytes:
        return _row(["file", "prompt", *scorers, "error"])

    @staticmethod
    def line(record: ScoredFile, scorers: Mapping[str, str]) -> bytes:
        scores = [f"{record.scores[name]:.6f}" if name in record.scores else "" for name in scorers]
        return _row([record.file, record.prompt, *scores, told(record.errors, scorers)])

    def _read(self, file: IO[bytes]) -> int:
        head = self.head(self._scorers)
        first = file.readline()
        if first != head:
            if first.endswith(b"\n") or not head.startswith(first):
                expected = head.decode().strip()
                raise InvalidInputError(f"{self.path} has other columns than {expected}: name a new file; nothing in this one is touched.")
            return 0
        whole, row = len(first), b""
        for line in file:
            row += line
            # Prompts have line breaks, and quotes are doubled: a row ends where their number is even.
            if line.endswith(b"\n") and not row.count(b'"') % 2:
                self._take(row)
                whole, row = whole + len(row), b""
        return whole

    def _take(self, row: bytes) -> None:
        try:
            (fields,) = csv.reader(io.StringIO(row.decode("utf-8", "surrogateescape"), newline=""))
            file, prompt, *scores, _error = fields
            self._keep(file, -1, 0.0, prompt, {name: float(text) for name, text in zip(self._scorers, scores, strict=True) if text})
        except (ValueError, csv.Error):
            return  # changed by hand, or longer than the module reads: the file is scored again


def _mark(text: str) -> bytes:
    return json.dumps({"file": None, "summary": [], "complete": text}).encode("ascii") + b"\n"


def as_json(record: ScoredFile) -> dict[str, Any]:
    """A record for JSON, scores to six decimals."""
    scores = {name: round(score, 6) for name, score in record.scores.items()}
    return {
        "file": record.file, "bytes": record.size, "modified": record.modified, "prompt": record.prompt,
        "scores": scores, "errors": dict(record.errors),
    }  # fmt: skip


def told(errors: Mapping[str, str], scorers: Collection[str]) -> str:
    """All errors of a file as one text; one that all scorers share without their names."""
    if len(errors) == len(scorers) and len(set(errors.values())) == 1:
        return next(iter(errors.values()))
    return "; ".join(f"{name}: {error}" for name, error in errors.items())


def _row(fields: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue().encode("utf-8", "surrogateescape")
