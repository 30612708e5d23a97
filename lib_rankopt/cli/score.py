"""``score``: images in files and folders to numbers."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lib_rankopt.cli.context import check_writable, data_dir, open_shelf, print_json, progress_bar, table, writing
from lib_rankopt.cli.score_weights import download, list_scorers, split_names
from lib_rankopt.cli.shards import Shard, device_of, quiet_pillow, shard
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.evaluation.image_files import ScoredFile, find_images
from lib_rankopt.evaluation.score_files import SummaryRow, Tally, relative, score_files
from lib_rankopt.evaluation.score_log import CsvLog, JsonLog, ScoreLog, as_json, told
from lib_rankopt.scorers import registry
from lib_rankopt.scorers.base import CALIBRATED, JOINED

if TYPE_CHECKING:
    from lib_rankopt.scorers.base import Scorer
    from lib_rankopt.scorers.shelf import ScorerShelf

Write = Callable[[Sequence[ScoredFile]], None]


def run(arguments: Namespace) -> int:
    """List, download, calibrate, or score."""
    if arguments.list:
        return list_scorers(arguments)
    if arguments.download:
        return download(arguments)
    names = list(dict.fromkeys(name for text in arguments.scorer for name in split_names(text)))
    own = shard()
    paths = [*arguments.paths, *([arguments.calibrate] if arguments.calibrate else [])]
    _check(arguments, names, paths, own)
    with ExitStack() as stack:
        stack.enter_context(quiet_pillow())
        scorers = lend(stack, open_shelf(arguments, device_of(arguments, own)), names)
        versions = {name: scorer.info.version for name, scorer in scorers.items()}
        log = _open_log(arguments, versions, own)
        if log:
            stack.enter_context(closing(log))
        tally = Tally()
        try:
            _score(arguments, paths, scorers, own, log, tally)
        except KeyboardInterrupt:
            rest = "The same command goes on from there." if log else "With --out FILE the same command goes on where it was stopped."
            _say(f"Stopped after {tally.files:,} images; what is written stays. {rest}")
            return 130
    if not tally.files and own.processes == 1:
        raise InvalidInputError(f"No images in {', '.join(map(str, paths))}.")
    code = _finish(arguments, tally, own)
    if arguments.calibrate:
        _calibrate(arguments, tally, scorers)
    return code


def _check(arguments: Namespace, names: Sequence[str], paths: Sequence[Path], own: Shard) -> None:
    """Refuse what can be seen before anything is loaded."""
    if not names:
        raise InvalidInputError("Who is to score? Name scorers, for example --scorer clip; --list shows all.")
    if not paths:
        raise InvalidInputError("What is to be scored? Name images or folders.")
    check_scorers(names)
    check_out(arguments.out)
    if arguments.calibrate and own.processes > 1:
        raise InvalidInputError("--calibrate is work for one process: start it without accelerate launch.")
    find_images(paths)  # says which one is not there


def check_scorers(names: Sequence[str]) -> None:
    """Refuse scorers that are unknown, or whose scores of different batches do not compare."""
    for name in names:
        registry.check(name)
        if JOINED in name and not all(one.startswith(CALIBRATED) for one in name.split(JOINED)):
            raise relative(name)


def check_out(out: Path | None) -> None:
    """Refuse a place of scores that cannot be written."""
    if out:
        if out.is_dir():
            raise InvalidInputError(f"--out {out} is a folder; give the name of a file in it.")
        check_writable(out.parent)


def lend(stack: ExitStack, shelf: ScorerShelf, names: Sequence[str]) -> dict[str, Scorer]:
    """Take scorers from the shelf until the stack is closed; say what they warn of."""
    for name in names:
        shelf.check(name)  # all files are there, before the first one is read
    scorers = {name: stack.enter_context(shelf.lent(name)) for name in names}
    for name, scorer in scorers.items():
        if scorer.info.warning:
            _say(f"warning: the scorer '{name}': {scorer.info.warning}")
    return scorers


def _open_log(arguments: Namespace, scorers: dict[str, str], own: Shard) -> ScoreLog | None:
    if not arguments.out:
        return None
    path = own.own(arguments.out)
    if own.processes > 1:
        _say(f"process {own.rank} of {own.processes} writes {path}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return (CsvLog if arguments.csv else JsonLog)(path, scorers)


def _score(
    arguments: Namespace, paths: Sequence[Path], scorers: dict[str, Scorer], own: Shard, log: ScoreLog | None, tally: Tally
) -> None:
    """Score this process's share, batch by batch."""
    sources = islice(find_images(paths), own.rank, None, own.processes)
    write = _logged(log) if log else _printed(arguments, {name: scorer.info.version for name, scorer in scorers.items()}, own)
    show = log is not None and sys.stderr.isatty() and not arguments.json
    whole = sum(1 for _ in islice(find_images(paths), own.rank, None, own.processes)) if show else 0
    with (
        progress_bar("images", whole, not show) as advance,
        closing(score_files(sources, scorers, arguments.prompt, log.known if log else {})) as batches,
    ):
        for batch in batches:
            write(batch)
            for record in batch:
                tally.add(record)
            advance(tally.files)


def _logged(log: ScoreLog) -> Write:
    def write(batch: Sequence[ScoredFile]) -> None:
        with writing(log.path):
            log.append(record for record in batch if not record.is_known)

    return write


def _printed(arguments: Namespace, names: dict[str, str], own: Shard) -> Write:
    if arguments.csv and own.rank == 0:
        _print_text(CsvLog.head(names))

    def write(batch: Sequence[ScoredFile]) -> None:
        for record in batch:
            if arguments.json:
                print_json(as_json(record))
            elif arguments.csv:
                _print_text(CsvLog.line(record, names))
            else:
                scores = " ".join(f"{name}={score:.5g}" for name, score in record.scores.items())
                errors = f"error: {told(record.errors, names)}" if record.errors else ""
                print("  ".join(part for part in (record.file, scores, errors) if part))
        sys.stdout.flush()

    return write


def _print_text(line: bytes) -> None:
    print(line.decode("utf-8", "surrogateescape"), end="")


def _finish(arguments: Namespace, tally: Tally, own: Shard) -> int:
    rows = tally.rows()
    if arguments.json:
        process = {"process": own.rank, "processes": own.processes} if own.processes > 1 else {}
        counts = {"files": tally.files, "known": tally.known, "failed": tally.failed}
        print_json({"summary": [_summary(row) for row in rows], **counts, **process})
    elif rows:
        table(("folder", "scorer", "images", "mean", "95 % interval"), [_cells(row) for row in rows], sys.stderr)
    if tally.known:
        _say(f"{tally.known:,} of {tally.files:,} images had their scores already.")
    if tally.failed:
        where = f"in {own.own(arguments.out)} say; the same command tries them again" if arguments.out else "say"
        _say(f"{tally.failed:,} of {tally.files:,} images had errors, which their lines {where}.")
    # A launcher takes any other status for a crash and stops the processes that are still at work.
    return 1 if tally.failed and own.processes == 1 else 0


def _calibrate(arguments: Namespace, tally: Tally, scorers: dict[str, Scorer]) -> None:
    """Keep the mean and the spread of a pool's scores, by which ``z:NAME`` is measured."""
    from lib_rankopt.scorers.calibration import calibration_of, write

    folder = data_dir(arguments)
    for name, scorer in scorers.items():
        made = calibration_of(scorer.info, tally.scores(name), str(arguments.calibrate))
        with writing(folder):
            path = write(made, folder)
        _say(f"{CALIBRATED}{name}: mean {made.mean:.5g}, deviation {made.std:.5g} of {made.count:,} images, in {path}")


def _summary(row: SummaryRow) -> dict[str, object]:
    one = row.estimate
    low, high = (round(one.low, 6), round(one.high, 6)) if one.n > 1 else (None, None)
    return {"folder": row.folder, "scorer": row.scorer, "n": one.n, "mean": round(one.mean, 6), "low": low, "high": high}


def _cells(row: SummaryRow) -> tuple[str, ...]:
    one = row.estimate
    interval = f"{one.low:.5g} to {one.high:.5g}" if one.n > 1 else "-"
    return "all together" if row.folder is None else row.folder, row.scorer, f"{one.n:,}", f"{one.mean:.5g}", interval


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
