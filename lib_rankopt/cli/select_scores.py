"""Scores for ``select``: from earlier runs, from other programs' files, and from scorers, by one process or by several."""

from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from lib_rankopt.cli.context import open_shelf, progress_bar, writing
from lib_rankopt.cli.score import lend
from lib_rankopt.cli.shards import Shard, device_of, quiet_pillow
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation import score_caches
from lib_rankopt.evaluation.image_files import ScoredFile, Source
from lib_rankopt.evaluation.score_caches import ScoreCache
from lib_rankopt.evaluation.score_files import score_files
from lib_rankopt.evaluation.score_log import JsonLog, told
from lib_rankopt.evaluation.select import Scales, Scored
from lib_rankopt.studies.data.pools import Candidate

_PROBES = 4  # images with a score from a file that are scored again, to see whether the scales are the same
_PROBE_ERROR = 0.05
_WAIT = 1.0  # seconds between two looks at what the other processes have written


@dataclass(frozen=True)
class Known:
    """What is kept of each candidate while all are scored."""

    name: str
    group: str
    key: str
    path: str
    prompt: str
    cached: float | None


@dataclass
class Scores:
    """All candidates in their order, and what scorers gave them by name."""

    scorers: tuple[str, ...]
    candidates: list[Known] = field(default_factory=list)
    by_name: dict[str, Mapping[str, float]] = field(default_factory=dict)
    first_error: str = ""
    known: int = 0

    def of(self, one: Known) -> Mapping[str, float] | None:
        """A candidate's scores, ``None`` where it has none."""
        if one.cached is not None:
            return {self.scorers[0]: one.cached}
        return self.by_name.get(one.name)

    def scored(self) -> list[Scored]:
        """Candidates with one number each; those without a score are left out."""
        scales = Scales(self.scorers)
        if len(self.scorers) > 1:
            for one in self.candidates:
                if (scores := self.of(one)) is not None:
                    scales.learn(scores)
        return [Scored(c.name, scales.total(scores), c.group) for c in self.candidates if (scores := self.of(c)) is not None]

    def rows(self) -> Iterator[tuple[Known, float]]:
        """Candidates with their score by the only scorer."""
        for one in self.candidates:
            if (scores := self.of(one)) is not None:
                yield one, scores[self.scorers[0]]


def score(candidates: Callable[[], Iterator[Candidate]], names: Sequence[str], arguments: Namespace, own: Shard) -> Scores | None:
    """Score all candidates. Of several processes each scores its share; the first one waits for the others, who get ``None``.

    Args:
        candidates: all of them, in the same order each time.
        names: scorers; none where the files of ``--scores-from`` have all there is.

    Raises:
        InvalidInputError: scores of a file are on another scale than the scorer's.
    """
    caches = [score_caches.read(path, names[0] if names else "") for path in arguments.scores_from]
    found = Scores(tuple(names) or ("score",))
    share = _Share(candidates, caches, own, found)
    if names and (not caches or any(share.cached(one) is None for one in candidates())):
        _run(share, names, arguments)
    else:
        for _ in share.sources(0):
            pass
    return found if own.rank == 0 else None


class _Share:
    """What one of several processes scores, while all candidates are noted."""

    def __init__(self, candidates: Callable[[], Iterator[Candidate]], caches: Sequence[ScoreCache], own: Shard, found: Scores) -> None:
        self.candidates, self._caches, self.own, self.found = candidates, caches, own, found
        self._digest = blake2b(f"{own.processes}\n".encode(), digest_size=16)

    def cached(self, one: Candidate) -> float | None:
        """A candidate's score in the files of others."""
        return next((score for cache in self._caches if (score := cache.get(one.names, one.image.prompt)) is not None), None)

    def sources(self, probes: int) -> Iterator[Source]:
        """What is to be scored here: the own share without what the files have, but for the first few of those."""
        for index, one in enumerate(self.candidates()):
            cached = self.cached(one) if self._caches else None
            image = one.image
            self.found.candidates.append(Known(one.name, one.group, image.key, image.path or image.key, image.prompt, cached))
            self._digest.update(f"{len(one.name)}:{one.name}{len(image.prompt)}:{image.prompt}".encode("utf-8", "surrogatepass"))
            if index % self.own.processes == self.own.rank:
                if cached is None:
                    yield one.source
                elif probes:
                    probes -= 1
                    yield one.source

    def digest(self, versions: Mapping[str, str]) -> str:
        """Stands for all candidates and scorers, once all were gone through."""
        made = self._digest.copy()
        made.update(repr(sorted(versions.items())).encode())
        return made.hexdigest()


def _run(share: _Share, names: Sequence[str], arguments: Namespace) -> None:
    own, found = share.own, share.found
    show = sys.stderr.isatty() and not arguments.json and own.rank == 0
    total = sum(1 for _ in share.candidates()) // own.processes if show else 0
    with ExitStack() as stack:
        stack.enter_context(quiet_pillow())
        scorers = lend(stack, open_shelf(arguments, device_of(arguments, own)), names)
        versions = {name: scorer.info.version for name, scorer in scorers.items()}
        log = _open_log(arguments.out, versions, own)
        if log:
            stack.enter_context(closing(log))
        known = _earlier(arguments.out, versions)
        advance = stack.enter_context(progress_bar("images", total, not show))
        done = 0
        for batch in stack.enter_context(closing(score_files(share.sources(_PROBES), scorers, "", known))):
            _keep(batch, log, found, names)
            done += len(batch)
            advance(done)
        _check_scale(found, names[0])
        if own.processes > 1 and log:
            log.mark(share.digest(versions))
            if own.rank == 0:
                _wait(arguments.out, share.digest(versions), own)
                found.by_name.update({name: one.scores for name, one in _earlier(arguments.out, versions).items()})


def _open_log(out: Path | None, versions: Mapping[str, str], own: Shard) -> JsonLog | None:
    if out is None:
        return None
    path = own.own(out)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        log = JsonLog(path, versions)
        if own.processes > 1:
            log.mark("")  # what an earlier run had finished is not this one's end
    return log


def _earlier(out: Path | None, versions: Mapping[str, str]) -> dict[str, ScoredFile]:
    """Scores in FILE and in the FILE.rankI-of-N of any earlier run, however many processes it had."""
    known: dict[str, ScoredFile] = {}
    if out is not None:
        shards = re.compile(re.escape(out.stem) + r"\.rank\d+-of-\d+" + re.escape(out.suffix))
        for path in [out, *sorted(one for one in out.absolute().parent.iterdir() if shards.fullmatch(one.name))]:
            if path.is_file():
                known.update(JsonLog(path, versions, read_only=True).known)
    return known


def _keep(batch: Sequence[ScoredFile], log: JsonLog | None, found: Scores, names: Sequence[str]) -> None:
    if log:
        with writing(log.path):
            log.append(record for record in batch if not record.is_known)
    for record in batch:
        if record.errors:
            found.first_error = found.first_error or f"{record.file}: {told(record.errors, names)}"
        else:
            found.by_name[record.file] = record.scores
            found.known += record.is_known


def _check_scale(found: Scores, scorer: str) -> None:
    for one in found.candidates:
        fresh = found.by_name.get(one.name)
        if one.cached is not None and fresh and abs(fresh[scorer] - one.cached) > _PROBE_ERROR * max(abs(fresh[scorer]), abs(one.cached)):
            raise InvalidInputError(
                f"--scores-from: {one.name} has {one.cached:g} there and {fresh[scorer]:g} by '{scorer}' here. Scores of different scorers "
                "or scales cannot be mixed (Diffusion-DRO's HPSv2 is × 100); leave the file out, or name its scorer."
            )


def _wait(out: Path, digest: str, own: Shard) -> None:
    """Wait until every other process has said that its share is whole. Should one die, the launcher stops this one too."""
    said = time.monotonic()
    for rank in range(1, own.processes):
        path = Shard(rank, own.processes).own(out)
        while not JsonLog.is_marked(path, digest):
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"process 0 waits for the scores in {path}", file=sys.stderr, flush=True)
            time.sleep(_WAIT)
