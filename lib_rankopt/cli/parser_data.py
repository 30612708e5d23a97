"""Arguments of the commands that move collected data: import, export, stats, aggregate, look, select."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_IMPORT = """\
Read a data set into the store: its images, where they lie, and what was said about them. Rows that cannot be taken are counted and named
with their line; the others go in. The same command goes on where it was stopped, and adds nothing twice. Images in files stay where they
are; those that a data set holds itself are copied into the data folder.

exit status: 0 all is in, 1 some rows had problems, 2 the data set cannot be read like this, 130 stopped
"""

_IMPORT_EXAMPLES = """\
examples:
  python -m lib_rankopt import --list
  python -m lib_rankopt import auto outputs/txt2img-images --name mine
  python -m lib_rankopt import folder outputs --set likes=favourites,best --set dislikes=rejected
  python -m lib_rankopt import kto train_processed_v3.csv --json
"""

_EXPORT = """\
Write what the store holds in a format that other programs read, and say what that format could not hold. Nothing is written over.

exit status: 0 written, 2 it cannot be written like this, 130 stopped, with nothing left behind
"""

_EXPORT_EXAMPLES = """\
examples:
  python -m lib_rankopt export jsonl everything
  python -m lib_rankopt export kto votes --from mine --from "a fox"
"""

_AGGREGATE = """\
Bring all rankings, pairs and likes of all raters together: the strength of each image (Bradley-Terry for pairs, Plackett-Luce for
rankings) as the natural logarithm of the odds, with its standard deviation. Labels that were concluded from what somebody did count less.
"""

_LOOK = """\
Look at the files of collected images: which are here, which are gone, which hold another image now. Missing ones are looked for by content,
under any name, in their collection's folder and in those of --search.

exit status: 0 all are here, 1 some are gone, changed or cannot be read, 2 the command cannot be used like this, 130 stopped
"""

_SELECT = """\
Choose the best images, as papers do: the best N of all (--top 500 is Diffusion-DRO's training set), or the best K of each prompt.
Candidates come from collections, studies, folders and data sets (--from); scores from scorers, from files of earlier ones, or from what
people said (--by ratings). Several scorers count alike: each in standard deviations over all candidates. Of equal ones the name decides.

With --out FILE the same command goes on where it was stopped. Under 'accelerate launch' each process scores its share into
FILE.rankI-of-N, and the first process waits for the others and selects. The same command finds what those files hold, also alone.

exit status: 0 selected, 1 some could not be read or have no score, 2 the command cannot be used like this, 130 stopped
"""

_SELECT_EXAMPLES = """\
examples:
  python -m lib_rankopt select --from outputs --scorer clip --top 20
  python -m lib_rankopt select --from pickapic_v2/data --scorer pickscore --top 500 --out scores.jsonl --to dro best500
  python -m lib_rankopt select --from mine --by ratings --per-prompt 1 --collection "best of mine"
  python -m lib_rankopt select --from images --benchmark-prompts benchmark --scorer hpsv2.1 --per-prompt 1 --to jsonl best
  accelerate launch -m lib_rankopt select --from mine --scorer pickscore --top 500 --out scores.jsonl --to dro best500
"""

_FROM = "a collection (name or number) or a study (name, id, start of the id); may be given several times (default: everything)"


def lazy(module: str, function: str = "run") -> Callable[[argparse.Namespace], Any]:
    """A command of a module that is imported when it is called: ``--help`` waits for none of them."""
    return lambda arguments: getattr(import_module(f"lib_rankopt.cli.{module}"), function)(arguments)


def add_data_commands(commands: Any) -> None:
    """Add them to the parser's commands."""
    _add_import(commands)
    _add_export(commands)
    _add_stats(commands)
    _add_aggregate(commands)
    _add_look(commands)
    _add_select(commands)


def _command(commands: Any, name: str, text: str, description: str = "", epilog: str = "") -> argparse.ArgumentParser:
    made = commands.add_parser(
        name, help=text, description=description or None, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    assert isinstance(made, argparse.ArgumentParser)
    return made


def _add_from(command: argparse.ArgumentParser, text: str = _FROM) -> None:
    command.add_argument("--from", dest="sources", action="append", default=[], metavar="NAME", help=text)


def _add_import(commands: Any) -> None:
    command = _command(commands, "import", "read images and feedback from a data set or folder", _IMPORT, _IMPORT_EXAMPLES)
    command.add_argument("format", nargs="?", default="", metavar="FORMAT", help="one of --list, or auto, which guesses")
    command.add_argument("path", nargs="?", type=Path, metavar="PATH", help="file or folder")
    command.add_argument("--list", action="store_true", help="all formats: what they read, write and cannot hold")
    command.add_argument("--name", default="", help="of the collection (default: that of the file or folder)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the format")
    command.add_argument("--no-look", action="store_true", help="do not open the images to hash and measure them; 'look' does so later")
    command.add_argument("--json", action="store_true", help="one JSON object a line: progress, and the report as the last")
    command.set_defaults(run=lazy("data", "run_import"))


def _add_export(commands: Any) -> None:
    command = _command(commands, "export", "write images and feedback in other programs' formats", _EXPORT, _EXPORT_EXAMPLES)
    command.add_argument("format", metavar="FORMAT", help="one of 'import --list'")
    command.add_argument("path", type=Path, metavar="PATH", help="new file or folder")
    _add_from(command)
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the format")
    command.add_argument("--json", action="store_true", help="one JSON object a line: progress, and the report as the last")
    command.set_defaults(run=lazy("data", "run_export"))


def _add_stats(commands: Any) -> None:
    command = _command(commands, "stats", "count what is there: images, prompts, feedback, raters")
    _add_from(command)
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=lazy("stats"))


def _add_aggregate(commands: Any) -> None:
    command = _command(commands, "aggregate", "strengths of images from everything that was said", _AGGREGATE)
    _add_from(command)
    command.add_argument("--out", type=Path, metavar="FILE", help="all images, best first, as .csv or .json")
    command.add_argument("--best", type=int, default=20, metavar="N", help="how many are printed (default 20)")
    command.add_argument("--raters", action="store_true", help="how far raters agree with each other and with themselves")
    command.add_argument("--explicit", action="store_true", help="only what was said on purpose, no label that was concluded")
    command.add_argument("--json", action="store_true", help="one JSON object a line per image printed, and the summary as the last")
    command.set_defaults(run=lazy("aggregate"))


def _add_look(commands: Any) -> None:
    command = _command(commands, "look", "check the files of collected images, find moved ones again", _LOOK)
    _add_from(command, "a collection, by name or number; may be given several times (default: all)")
    command.add_argument("--search", action="append", type=Path, default=[], metavar="FOLDER", help="where to look for missing ones too")
    command.add_argument("--json", action="store_true", help="one JSON object a line: progress, and the report as the last")
    command.set_defaults(run=lazy("data", "run_look"))


def _add_select(commands: Any) -> None:
    command = _command(commands, "select", "choose the best images by scores or ratings", _SELECT, _SELECT_EXAMPLES)
    _add_from(command, "a collection, a study, or a file or folder of any format, as PATH or FORMAT:PATH (default: the whole store)")
    among = command.add_argument_group("candidates")
    texts = "the --from are HPDv2's images, MODEL/STYLE/00000.jpg; their prompts are in DIR/STYLE.json"
    among.add_argument("--benchmark-prompts", type=Path, metavar="DIR", help=texts)
    liked = among.add_mutually_exclusive_group()
    liked.add_argument("--preferred", action="store_true", help="only images that won a comparison or are liked")
    liked.add_argument("--no-preferred", action="store_true", help="only images that did not win one and are not liked")
    by = command.add_argument_group("scores")
    by.add_argument("--scorer", action="append", default=[], metavar="NAME[,NAME]", help="who scores; 'score --list' names all")
    by.add_argument("--by", choices=("scores", "ratings"), default="scores", help="ratings: what all raters said; see 'aggregate'")
    by.add_argument("--out", type=Path, metavar="FILE", help="append the scores to FILE, line by line, and go on from there")
    texts = "scores of earlier runs: lines of --out, or Diffusion-DRO's .json {path: score} and .jsonl {uid: {caption: score}}"
    by.add_argument("--scores-from", action="append", type=Path, default=[], metavar="FILE", help=texts)
    by.add_argument("--scores-to", type=Path, metavar="FILE", help="write all scores as Diffusion-DRO does: .json or .jsonl")
    how = command.add_argument_group("choice")
    how.add_argument("--top", type=int, metavar="N", help="the best N of all")
    how.add_argument("--per-prompt", type=int, metavar="K", help="the best K of each prompt; with --top the best N of those")
    where = command.add_argument_group("result", "printed where neither is given")
    where.add_argument("--to", nargs="+", metavar="[FORMAT] PATH", help="write them in a format (default dro, Diffusion-DRO's folders)")
    where.add_argument("--collection", default="", metavar="NAME", help="keep them in the store")
    where.add_argument("--no-likes", action="store_true", help="without the like that each of them comes with, by the scorer")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of --to's format")
    command.add_argument("--json", action="store_true", help="one JSON object a line per image: file, prompt, score …; the summary last")
    command.set_defaults(run=lazy("select"))
