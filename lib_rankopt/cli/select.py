"""``select``: the best images of all, or of each prompt, by scorers, by files of scores, or by what people said."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lib_rankopt.cli.context import check_writable, data_dir, print_json, table
from lib_rankopt.cli.data import follow
from lib_rankopt.cli.score import check_out, check_scorers
from lib_rankopt.cli.score_weights import split_names
from lib_rankopt.cli.select_scores import Scores, score
from lib_rankopt.cli.shards import Shard, shard
from lib_rankopt.cli.stores import Stores, format_options, open_stores
from lib_rankopt.errors import ConflictError, InvalidInputError, NotFoundError
from lib_rankopt.evaluation import score_caches
from lib_rankopt.evaluation.select import Scored, best
from lib_rankopt.store import formats
from lib_rankopt.store.collected.records import Collection
from lib_rankopt.store.formats.base import Format
from lib_rankopt.store.formats.hpd_benchmark import HpdBenchmark
from lib_rankopt.studies.data import moving
from lib_rankopt.studies.data.chosen import AsRows, Chosen
from lib_rankopt.studies.data.pools import Candidate, FormatPool, Pool, StorePool, candidates_of
from lib_rankopt.studies.data.sources import Sources, find_sources

Target = tuple[Format, Path]


def run(arguments: Namespace) -> int:
    """Score, choose, and write what was chosen."""
    own = shard()
    names = list(dict.fromkeys(name for text in arguments.scorer for name in split_names(text)))
    _check(arguments, names, own)
    target = _target(arguments)
    with ExitStack() as stack:
        opened: list[Stores] = []

        def stores() -> Stores:
            if not opened:
                opened.append(stack.enter_context(open_stores(arguments)))
            return opened[0]

        if arguments.collection:
            _check_name(stores(), arguments.collection)
        pools = _pools(arguments, stores)
        allowed = _allowed(arguments, pools)
        if arguments.by == "ratings":
            found, spread, scores = *_by_ratings(pools, allowed), None
        else:
            spread = None
            scores = score(lambda: (one for _, one in allowed()), names, arguments, own)
            if scores is None:
                return 0
            found = scores.scored()
        _check_found(found, scores, pools)
        limits = (arguments.top, arguments.per_prompt or (1 if arguments.benchmark_prompts and not arguments.top else None))
        by = "+".join(names) or arguments.by
        with Chosen(pools, best(found, *limits), by, not arguments.no_likes, spread) as chosen:
            report = _report(chosen, found, scores, pools, arguments)
            report.update(_write(chosen, scores, target, arguments, stores))
        _tell(report, arguments)
    # a launcher takes any other status for a crash
    return 1 if (report["without_score"] or report["unreadable_rows"]) and own.processes == 1 else 0


# -- before


def _check(arguments: Namespace, names: Sequence[str], own: Shard) -> None:
    """Refuse what can be seen before anything is read."""
    if arguments.by == "ratings":
        if names or arguments.scores_from or arguments.scores_to or arguments.out:
            raise InvalidInputError("--by ratings goes by what people said: leave --scorer, --out, --scores-from and --scores-to out.")
        if own.processes > 1:
            raise InvalidInputError("--by ratings is work for one process: start it without accelerate launch.")
    elif not names and not arguments.scores_from:
        raise InvalidInputError("Best by what? Name scorers, for example --scorer clip, or files with --scores-from, or --by ratings.")
    if not (arguments.top or arguments.per_prompt or arguments.benchmark_prompts):
        raise InvalidInputError("How many? --top 500 for the best of all, --per-prompt 1 for the best of each prompt, or both.")
    best((), arguments.top, arguments.per_prompt)
    if len(names) > 1 and (arguments.scores_from or arguments.scores_to):
        raise InvalidInputError("--scores-from and --scores-to are about one scorer: name one.")
    if own.processes > 1 and not arguments.out:
        raise InvalidInputError("Several processes meet in the file of --out, beside which each writes its share: name one.")
    check_scorers(names)
    check_out(arguments.out)
    if arguments.scores_to:
        score_caches.check_suffix(arguments.scores_to)
        check_writable(arguments.scores_to.parent)


def _target(arguments: Namespace) -> Target | None:
    if arguments.to is None:
        if arguments.set:
            raise InvalidInputError("--set is about the format of --to, which is not given.")
        return None
    if len(arguments.to) > 2:
        raise InvalidInputError(f"--to {' '.join(arguments.to)}: give a format and a path, or a path only.")
    name, path = ("dro", *arguments.to)[-2:]
    options = format_options(arguments)
    if name == "dro":
        options.setdefault("top", "all")  # the choice is made here
    fmt = formats.get(name, **options)
    moving.check_target(fmt, Path(path))
    return fmt, Path(path)


def _check_name(stores: Stores, name: str) -> None:
    if any(one.name == name for one in stores.store.collected.collections()):
        raise ConflictError(f"There is a collection named '{name}' already; nothing is added to it, so choose another name.")


# -- candidates


def _pools(arguments: Namespace, stores: Callable[[], Stores]) -> list[Pool]:
    if arguments.benchmark_prompts:
        if not arguments.sources:
            raise InvalidInputError("--benchmark-prompts says what the images of --from show: name their folder.")
        fmt = HpdBenchmark(str(arguments.benchmark_prompts))
        return [FormatPool(fmt, Path(name)) for name in arguments.sources]
    if not arguments.sources:
        return _of_store(stores(), [])
    return [pool for name in arguments.sources for pool in _pools_of(name, stores)]


def _pools_of(name: str, stores: Callable[[], Stores]) -> list[Pool]:
    """Pools of a name in the store, of ``FORMAT:PATH``, or of a path."""
    kind, separator, rest = name.partition(":")
    if separator and kind in (moving.AUTO, *formats.names()):
        return [FormatPool(moving.chosen_format(kind, Path(rest), {}), Path(rest))]
    try:
        pools = _of_store(stores(), [name])
    except NotFoundError as error:
        if not Path(name).exists():
            raise NotFoundError(f"{error} Nor is there a file or folder of that name.") from error
        return [FormatPool(moving.chosen_format(moving.AUTO, Path(name), {}), Path(name))]
    if Path(name).exists():
        print(f"--from {name}: what the store has under that name; write auto:{name} for the file or folder.", file=sys.stderr)
    return pools


def _of_store(stores: Stores, names: Sequence[str]) -> list[Pool]:
    found = find_sources(stores.store, names)
    if not found.names:
        raise InvalidInputError("There is nothing to select from: no study, and no collection. Name a folder with --from.")
    collections: list[Pool] = [StorePool(stores.dataset(Sources((one,))), one.name) for one in found.collections]
    return collections + [StorePool(stores.dataset(Sources((), (one,))), one.id) for one in found.studies]


def _allowed(arguments: Namespace, pools: Sequence[Pool]) -> Callable[[], Iterator[tuple[Pool, Candidate]]]:
    """All candidates, or only those that were (not) preferred."""
    if not (arguments.preferred or arguments.no_preferred):
        return lambda: candidates_of(pools)
    preferred = {id(pool): pool.preferred() for pool in pools}
    return lambda: (
        (pool, one)
        for pool, one in candidates_of(pools)
        if ((one.image.key, one.image.prompt) in preferred[id(pool)]) == arguments.preferred
    )


def _by_ratings(
    pools: Sequence[Pool], allowed: Callable[[], Iterator[tuple[Pool, Candidate]]]
) -> tuple[list[Scored], dict[str, float]]:
    """Strengths of the candidates about which something was said, and their standard deviations by name."""
    ratings = {id(pool): pool.ratings() for pool in pools}
    found: list[Scored] = []
    spread: dict[str, float] = {}
    for pool, one in allowed():
        if (rating := ratings[id(pool)].get(one.image.key)) is not None:
            found.append(Scored(one.name, rating[0], one.group))
            spread[one.name] = rating[1]
    return found, spread


def _check_found(found: Sequence[Scored], scores: Scores | None, pools: Sequence[Pool]) -> None:
    if found:
        return
    if scores is not None and scores.candidates:
        raise InvalidInputError(f"None of {len(scores.candidates):,} candidates has a score. {scores.first_error}".strip())
    problem = next((pool.first_problem for pool in pools if pool.first_problem), "")
    raise InvalidInputError(f"There are no candidates in {', '.join(pool.name for pool in pools)}. {problem}".strip())


# -- after


def _report(
    chosen: Chosen, found: Sequence[Scored], scores: Scores | None, pools: Sequence[Pool], arguments: Namespace
) -> dict[str, Any]:
    without = 0 if scores is None else len(scores.candidates) - len(found)
    for rank, place in enumerate(chosen.places, 1):
        if arguments.json:
            file, prompt = place.pool.file_of(place.original), place.original.prompt
            print_json({"rank": rank, "file": file, "prompt": prompt, "score": round(place.score, 6), "key": place.original.key})
    values = [place.score for place in chosen.places]
    report: dict[str, Any] = {
        "selected": len(values), "candidates": len(found) + without, "without_score": without,
        "mean_selected": round(sum(values) / len(values), 6), "mean_all": round(sum(one.score for one in found) / len(found), 6),
        "known": 0 if scores is None else scores.known, "first_error": "" if scores is None else scores.first_error,
        "unreadable_rows": sum(pool.problems for pool in pools),
        "first_problem": next((pool.first_problem for pool in pools if pool.first_problem), ""),
    }  # fmt: skip
    if not arguments.json and arguments.to is None and not arguments.collection:
        cells = [(str(i), f"{p.score:.5g}", p.pool.file_of(p.original), _short(p.original.prompt)) for i, p in enumerate(chosen.places, 1)]
        table(("", "score", "file", "prompt"), cells)
    return report


def _write(
    chosen: Chosen, scores: Scores | None, target: Target | None, arguments: Namespace, stores: Callable[[], Stores]
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if arguments.scores_to and scores is not None:
        by_caption = arguments.scores_to.suffix.lower() == ".jsonl"
        values = ((one.key if by_caption else one.path, one.prompt, value) for one, value in scores.rows())
        written["scores_written"] = score_caches.write(arguments.scores_to, values)
    if target is not None:
        written["written"] = follow(moving.export_steps(chosen, *target, total=len(chosen.places)), arguments)
    if arguments.collection:
        rows = AsRows(chosen, len(chosen.places))
        collected, folder = stores().store.collected, data_dir(arguments)
        collection = collected.create(Collection(arguments.collection, "import", rows.name))
        steps = moving.import_steps(collected, stores().held, rows, folder, collection)
        written["collected"] = follow(steps, arguments)
    return written


def _tell(report: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        print_json({"summary": report})
        return
    say = sys.stderr
    means = f"mean {report['mean_selected']:.5g}, of all {report['mean_all']:.5g}"
    print(f"{report['selected']:,} of {report['candidates']:,} candidates; {means}.", file=say)
    if report["known"]:
        print(f"{report['known']:,} had their scores already.", file=say)
    if report["without_score"]:
        print(f"{report['without_score']:,} have no score and were left out. {report['first_error']}".strip(), file=say)
    if report["unreadable_rows"]:
        print(f"{report['unreadable_rows']:,} rows could not be read, first: {report['first_problem']}", file=say)
    if "written" in report:
        done = report["written"]
        print(f"{done['path']}: {done['images']:,} images in {formats.find(done['format']).title}.", file=say)
        for reason, count in done["left_out"].items():
            print(f"  not written: {count:,} × {reason}", file=say)
    if "collected" in report:
        done = report["collected"]
        print(f"Collection {done['collection']}, '{done['name']}': {done['images']:,} images.", file=say)


def _short(prompt: str) -> str:
    return " ".join(prompt.split())[:60]
