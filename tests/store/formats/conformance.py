"""What every data format must do (:mod:`lib_rankopt.store.formats.base`). Inherit :class:`FormatConformance` and give a ``case``.

Round trips are compared as :class:`Statement`: what was said about which pictures. Pictures are known by what they show, so that names
that a format gives and lossy compression make no difference.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_rankopt.errors import InvalidInputError, RankOptError
from lib_rankopt.store import formats
from lib_rankopt.store.formats import files
from lib_rankopt.store.formats.base import FeedbackEntry, Format, ImageEntry, Row, WriteReport
from tests.store.formats.datasets import MemoryDataset, recognise, small

SHAPES = {"ranking": (2, 10**6), "pair": (2, 2), "like": (1, 1), "dislike": (1, 1)}
LONGEST_TOKEN = 128
SOME_MB = 3 << 20  # that reading more rows may cost


@dataclass(frozen=True, order=True)
class Statement:
    """What was said: ``tiers`` are keys, best first, sorted within a tier; the rest is empty where a format does not keep it."""

    kind: str
    tiers: tuple[tuple[str, ...], ...]
    prompt: str = ""
    rater: str = ""
    created_at: str = ""
    source: str = ""


def as_it_is(dataset: MemoryDataset) -> list[Statement]:
    """Everything, of images that are there."""
    return [_stated(answer, images) for answer, images in _there(dataset)]


def as_pairs(dataset: MemoryDataset) -> list[Statement]:
    """Rankings and pairs as pairs, n(n−1)/2 of each; no labels."""
    found = []
    for answer, images in _there(dataset):
        if len(images) > 1:
            tier = {position: at for at, positions in enumerate(answer.tiers) for position in positions}
            for a, b in combinations(range(len(images)), 2):
                first, second = sorted((tier[a], a) for a in (a, b))
                tiers = ((0, 1),) if first[0] == second[0] else ((0,), (1,))
                pair = (images[first[1]], images[second[1]])
                found.append(_stated(replace(answer, kind="pair", tiers=tiers), pair))
    return found


def only(*kinds: str) -> Callable[[MemoryDataset], list[Statement]]:
    """Everything of these kinds."""
    return lambda dataset: [statement for statement in as_it_is(dataset) if statement.kind in kinds]


def _there(dataset: MemoryDataset) -> Iterator[tuple[FeedbackEntry, tuple[ImageEntry, ...]]]:
    for answer, images in dataset.feedback():
        if all(image.key in dataset.files for image in images):
            yield answer, images


def _stated(answer: FeedbackEntry, images: tuple[ImageEntry, ...]) -> Statement:
    tiers = tuple(tuple(sorted(images[i].key for i in tier)) for tier in answer.tiers)
    prompt = answer.prompt if answer.prompt is not None else images[0].prompt
    return Statement(answer.kind, tiers, prompt, answer.rater, answer.created_at, answer.source)


def all_there(dataset: MemoryDataset) -> set[str]:
    """Keys of all images with a file."""
    return set(dataset.files)


def answered(dataset: MemoryDataset) -> set[str]:
    """Keys of the images that stand in something that was said."""
    return {image.key for _, images in _there(dataset) for image in images}


@dataclass(frozen=True)
class Case:
    """One format, or one set of its options.

    Attributes:
        name, options: of :func:`lib_rankopt.store.formats.get`.
        expected: what a round trip must give back, from the data set that was written. Fields not named in ``keeps`` are not compared.
        keeps: fields of :class:`Statement` that the format can hold besides ``kind`` and ``tiers``.
        images: keys of the images that must come back; ``None``: not compared.
        target: name below the test's folder that is written to; empty: the format is a folder.
        text: glob of the written files whose damage the reader must stand, below the target.
        reads_images: whether the writer reads the images' bytes.
        needs: module without which the tests are skipped.
        dataset: what is written.
        example: for formats that cannot be written: makes a good file or folder below the given folder and returns it.
        many: makes a file or folder of so many rows below the given folder and returns it; for the memory test.
        more: rows that ``many`` is asked for; a third of it is what it is compared with.
        hostile: makes one that names files outside its folder and returns it.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    expected: Callable[[MemoryDataset], Iterable[Statement]] = as_it_is
    keeps: tuple[str, ...] = ("prompt",)
    images: Callable[[MemoryDataset], set[str]] | None = all_there
    target: str = "out"
    text: str = "**/*"
    reads_images: bool = True
    needs: str = ""
    dataset: Callable[[], MemoryDataset] = small
    example: Callable[[Path], Path] | None = None
    many: Callable[[Path, int], Path] | None = None
    more: int = 15_000
    hostile: Callable[[Path], Path] | None = None

    def format(self) -> Format:
        """Make it."""
        if self.needs:
            pytest.importorskip(self.needs)
        return formats.get(self.name, **self.options)

    def made(self, folder: Path) -> tuple[Path, WriteReport]:
        """A good file or folder of this format."""
        made, report = self.format(), WriteReport()
        if self.example is not None:
            return self.example(folder), report
        path = folder / self.target
        for _ in made.write(self.dataset(), path, report):
            pass
        return path, report


class FormatConformance:
    """Tests of one :class:`Case`."""

    case: Case

    # -- what it says of itself
    def test_it_says_what_it_is(self) -> None:
        made = self.case.format()
        assert made.name == self.case.name
        assert made.title
        assert made.reads or made.writes
        assert all(isinstance(text, str) and text for text in (*made.loses, *made.options, *made.options.values()))

    def test_unknown_options_are_refused(self) -> None:
        self.case.format()
        with pytest.raises(InvalidInputError, match="nonsense"):
            formats.get(self.case.name, nonsense="1")

    # -- round trip
    def test_what_was_written_comes_back(self, tmp_path: Path) -> None:
        made = self._reader()
        if not made.writes:
            pytest.skip("cannot be written")
        path, report = self.case.made(tmp_path)
        dataset = self.case.dataset()
        taken = read_all(made, path)
        assert taken.problems == []
        assert self._only_kept(taken.statements) == self._only_kept(self.case.expected(dataset))
        if self.case.images is not None:
            assert set(taken.images) == self.case.images(dataset)
        assert report.feedback > 0 or report.images > 0
        if self.case.reads_images:
            assert report.left_out, "an image of the data set is gone, and the report does not say so"
        assert all(examples in report.left_out for examples in report.examples)
        assert all((path.parent if path.is_file() else path).joinpath(name).is_file() for name in report.files)
        assert not [left for left in tmp_path.rglob("*") if left.name.endswith(".tmp")]

    def test_writing_tells_how_far_it_is(self, tmp_path: Path) -> None:
        made = self.case.format()
        if not made.writes:
            pytest.skip("cannot be written")
        steps = list(made.write(self.case.dataset(), tmp_path / self.case.target, WriteReport()))
        assert steps == sorted(steps)

    def test_nothing_to_write_is_said(self, tmp_path: Path) -> None:
        made = self.case.format()
        if not made.writes:
            pytest.skip("cannot be written")
        with pytest.raises(InvalidInputError):
            list(made.write(MemoryDataset(), tmp_path / self.case.target, WriteReport()))

    def _only_kept(self, statements: Iterable[Statement]) -> Counter[Statement]:
        plain = {name: "" for name in ("prompt", "rater", "created_at", "source") if name not in self.case.keeps}
        return Counter(replace(statement, **plain) for statement in statements)

    # -- reading
    def test_reading_twice_gives_the_same(self, tmp_path: Path) -> None:
        made = self._reader()
        path, _ = self.case.made(tmp_path)
        first = list(made.rows(path))
        assert first == list(made.rows(path))
        tokens = Counter(entry.token for row in first for entry in row.feedback)
        assert max(tokens.values(), default=1) == 1

    def test_it_goes_on_after_any_point(self, tmp_path: Path) -> None:
        made = self._reader()
        path, _ = self.case.made(tmp_path)
        rows = list(made.rows(path))
        for at in {0, *(row.done for row in rows)}:
            assert list(made.rows(path, after=at)) == [row for row in rows if row.done > at]

    def test_progress_ends_at_the_size(self, tmp_path: Path) -> None:
        made = self._reader()
        path, _ = self.case.made(tmp_path)
        size = made.size(path)
        done = [row.done for row in made.rows(path)]
        assert done == sorted(done)
        assert all(at > 0 for at in done)
        if size > 0:
            assert done[-1] == size

    def test_memory_is_flat(self, tmp_path: Path) -> None:
        made = self._reader()
        if self.case.many is None:
            pytest.skip("no large example")
        peaks = []
        for number in (self.case.more // 3, self.case.more):
            (tmp_path / str(number)).mkdir()
            path = self.case.many(tmp_path / str(number), number)
            tracemalloc.start()
            try:
                rows = sum(1 for row in made.rows(path) if not row.problem)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            assert rows > 0
        assert peaks[1] - peaks[0] < SOME_MB

    # -- strangers
    def test_nothing_there_is_said(self, tmp_path: Path) -> None:
        made = self._reader()
        empty = tmp_path / "empty"
        empty.mkdir()
        for path in (tmp_path / "missing", tmp_path / "missing.csv", empty):
            with pytest.raises(RankOptError):
                list(made.rows(path))
            with pytest.raises(RankOptError):
                made.size(path)

    def test_paths_stay_inside(self, tmp_path: Path) -> None:
        made = self._reader()
        if self.case.hostile is None:
            pytest.skip("no hostile example")
        path = self.case.hostile(tmp_path)
        rows = list(made.rows(path))
        for row in rows:
            check(row, made.root(path))
        assert any(row.problem for row in rows)

    @pytest.mark.parametrize("how", ["random", "cut", "changed"])
    def test_damage_is_told_and_does_no_harm(self, how: str, tmp_path: Path) -> None:
        made = self._reader()
        good, _ = self.case.made(tmp_path)
        names = sorted(p.relative_to(good).as_posix() for p in good.glob(self.case.text) if p.is_file()) if good.is_dir() else [""]
        assert names

        @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def stands(data: st.DataObject) -> None:
            with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
                path = Path(folder) / good.name
                shutil.copytree(good, path) if good.is_dir() else shutil.copyfile(good, path)
                victim = path / data.draw(st.sampled_from(names)) if names[0] else path
                victim.write_bytes(data.draw(damaged(how, victim.read_bytes())))
                swallow(made, path)

        stands()

    def _reader(self) -> Format:
        made = self.case.format()
        if not made.reads:
            pytest.skip("cannot be read")
        return made


@dataclass
class Taken:
    """What came back."""

    images: dict[str, ImageEntry] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_all(made: Format, path: Path) -> Taken:
    """Read a good file; every row is checked, every image known again."""
    taken, root = Taken(), made.root(path)
    for row in made.rows(path):
        check(row, root)
        if row.problem:
            taken.problems.append(f"{row.place}: {row.problem}")
        known = {}
        for entry in row.images:
            known[entry.key] = replace(entry, key=_identity(entry, root))
            taken.images[known[entry.key].key] = known[entry.key]
        for answer in row.feedback:
            taken.statements.append(_stated(answer, tuple(known[key] for key in answer.images)))
    return taken


def _identity(entry: ImageEntry, root: Path) -> str:
    if entry.data is not None:
        return recognise(entry.data)
    if entry.path is not None:
        return recognise(files.inside(root, entry.path).read_bytes())
    return entry.key


def check(row: Row, root: Path) -> None:
    """Whether a row is one that can be taken in.

    Raises:
        AssertionError: not.
    """
    assert isinstance(row.done, int)
    assert row.place
    assert isinstance(row.problem, str)
    keys = {entry.key for entry in row.images}
    for image in row.images:
        assert image.key
        _plain(image.key, image.prompt, image.model, image.about)
        if image.path is not None:
            assert image.path == files.relative(image.path)
            assert image.data is None
    for answer in row.feedback:
        least, most = SHAPES[answer.kind]
        assert least <= len(answer.images) <= most
        assert len(set(answer.images)) == len(answer.images)
        assert set(answer.images) <= keys
        assert sorted(position for tier in answer.tiers for position in tier) == list(range(len(answer.images)))
        assert all(answer.tiers)
        assert 0 < len(answer.token) <= LONGEST_TOKEN
        _plain(answer.token, answer.prompt, answer.rater, answer.source, answer.about)
        if answer.created_at:
            assert datetime.fromisoformat(answer.created_at).utcoffset() is not None


def _plain(*values: object) -> None:
    """JSON values and text that every database takes."""
    assert b"\\u0000" not in json.dumps(values, allow_nan=False, ensure_ascii=False, default=dict).encode("utf-8")


def swallow(made: Format, path: Path) -> None:
    """Read what may be damaged: an error of ours, or rows that can be taken in."""
    try:
        made.size(path)
        for row in made.rows(path):
            check(row, made.root(path))
    except RankOptError:
        pass


def damaged(how: str, good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that have little, or nearly everything, to do with a good file."""
    if how == "random":
        return st.binary(max_size=400)
    if how == "cut":
        return st.integers(0, len(good)).map(lambda at: good[:at])
    places = st.integers(0, max(len(good) - 1, 0))
    piece = st.sampled_from([b"", b"\x00", b"\xff", b'"', b",", b"\n", b"]", b"{", b"NaN", b"-1e999", b"null", b"../", b"\xe4", b"9" * 400])
    changes = st.lists(st.tuples(places, st.integers(0, 8), piece), min_size=1, max_size=4)
    return changes.map(lambda todo: _changed(good, todo))


def _changed(good: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in changes:
        good = good[:at] + piece + good[at + length :]
    return good
