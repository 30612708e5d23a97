"""``aggregate``: strengths of images from everything that was said, and how far the raters agree."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lib_rankopt.cli.context import check_writable, print_json, table, writing
from lib_rankopt.cli.stores import open_stores
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.blobs import write_atomically
from lib_rankopt.studies.data.aggregate import Aggregate, aggregate, agreement_of
from lib_rankopt.studies.data.sources import find_sources

if TYPE_CHECKING:
    from lib_rankopt.evaluation.preferences.agreement import Agreement
    from lib_rankopt.evaluation.statistics import Estimate

_COLUMNS = ("image", "prompt", "mean", "sd", "low", "high", "answers", "likes", "dislikes")
_QUANTILE = 1.959964  # of 95 %


def run(arguments: Namespace) -> int:
    """Fit, print the best, write all."""
    if arguments.out:
        if arguments.out.suffix.lower() not in (".csv", ".json"):
            raise InvalidInputError(f"--out {arguments.out}: name a .csv or a .json file.")
        check_writable(arguments.out.parent)
    with open_stores(arguments) as stores:
        dataset = stores.dataset(find_sources(stores.store, arguments.sources))
        found = aggregate(dataset, not arguments.explicit)
        if not found.raters:
            raise InvalidInputError("Nothing was said about these images yet: rank some of them, or give likes.")
        agreed = agreement_of(dataset) if arguments.raters else None
    if arguments.out:
        _write(arguments.out, found)
    rows = list(islice((row for row in _rows(found) if row["answers"]), max(0, arguments.best)))
    raters = {} if agreed is None else {"raters": _agreement(agreed)}
    if arguments.json:
        for row in rows:
            print_json(row)
        print_json({"summary": {"images": len(found.keys), "answers": sum(found.raters.values()), **raters}})
        return 0
    cells = [(f"{r['mean']:.3f}", f"{r['sd']:.3f}", f"{r['answers']:g}", r["image"], r["prompt"][:60].replace("\n", " ")) for r in rows]
    table(("mean", "sd", "answers", "image", "prompt"), cells)
    print(f"{len(found.keys):,} images, {sum(found.raters.values()):,} answers of {len(found.raters):,} raters.", file=sys.stderr)
    if agreed is not None:
        _tell(agreed)
    return 0


def _rows(found: Aggregate) -> Iterator[dict[str, Any]]:
    """Images, best first; of equal ones the one that sorts first."""
    ratings, said = found.ratings, found.comparisons
    order = sorted(range(len(found.keys)), key=lambda i: (-float(ratings.mean[i]), found.keys[i]))
    for i in order:
        mean, sd = float(ratings.mean[i]), float(ratings.sd[i])
        counts = (float(said.games[i]), float(said.likes[i]), float(said.dislikes[i]))
        values = (mean, sd, mean - _QUANTILE * sd, mean + _QUANTILE * sd, *counts)
        yield dict(zip(_COLUMNS, (found.keys[i], found.prompts[i], *(round(value, 6) for value in values)), strict=True))


def _write(path: Path, found: Aggregate) -> None:
    def as_csv(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(found))
        text.flush()
        text.detach()

    def as_json(file: IO[bytes]) -> None:
        file.write(b"[")
        for number, row in enumerate(_rows(found)):
            file.write((b",\n" if number else b"\n") + json.dumps(row).encode("ascii"))
        file.write(b"\n]\n")

    with writing(path):
        write_atomically(path, as_csv if path.suffix.lower() == ".csv" else as_json)


def _share(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"share": round(estimate.mean, 6), "low": round(estimate.low, 6), "high": round(estimate.high, 6), "n": estimate.n}


def _agreement(agreed: Agreement) -> dict[str, Any]:
    alphas = {"alpha_nominal": agreed.alpha_nominal, "alpha_ordinal": agreed.alpha_ordinal}
    each = [
        {"rater": one.rater, "answers": one.answers, "with_others": _share(one.consensus), "with_self": _share(one.repeats)}
        for one in agreed.raters
    ]
    plain = {name: None if value is None or not math.isfinite(value) else round(value, 6) for name, value in alphas.items()}
    return {"pairs": agreed.pairs, "shared": agreed.shared, "equal": _share(agreed.percent), **plain, "each": each}


def _tell(agreed: Agreement) -> None:
    if not agreed.pairs:
        print("No comparisons, which raters could agree on: likes alone say nothing of it.", file=sys.stderr)
        return
    print()
    rows = [(str(one.rater) or "(unknown)", f"{one.answers:,}", _text(one.consensus), _text(one.repeats)) for one in agreed.raters]
    table(("rater", "comparisons", "with the others", "with themselves"), rows)
    alpha = "" if agreed.alpha_nominal is None else f"; Krippendorff's alpha {agreed.alpha_nominal:.2f}"
    print(f"{agreed.shared:,} of {agreed.pairs:,} pairs were judged by several raters, who agree in {_text(agreed.percent)}{alpha}.")


def _text(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{100 * estimate.mean:.0f} % ({100 * estimate.low:.0f} to {100 * estimate.high:.0f}, n {estimate.n:,})"
