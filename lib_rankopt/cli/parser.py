"""Arguments of every command. Handlers are imported only when their command runs, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib_rankopt import __version__
from lib_rankopt.cli.parser_data import add_data_commands, lazy

_EXAMPLES = """\
examples:
  python -m lib_rankopt serve
  python -m lib_rankopt generate --prompt "a 3d fox on a blue background" --count 8 --seed 1 --out foxes
  python -m lib_rankopt generate --prompt "a sticker rocket on a purple background" --select halving --pool 4 --scorer clip --json
  python -m lib_rankopt optimize --prompt "a sticker rocket on a purple background" --scorer clip --rounds 10 --seed 1 --control --json
  python -m lib_rankopt score --scorer clip foxes
  python -m lib_rankopt train --objective dpo --data pairs.jsonl --steps 400 --output loras
  python -m lib_rankopt studies list
  python -m lib_rankopt import auto outputs/txt2img-images --name mine
  python -m lib_rankopt select --from mine --scorer clip --top 20
"""

_TRAIN = """\
Train a LoRA on what was ranked, liked and disliked, and write it where --output says, under a new name each time.
The first Ctrl-C pauses after the update under way; --resume goes on.

--data takes studies (id, the start of one, or name), and .jsonl files or folders with a metadata.jsonl, one object a line:
{"win": FILE, "lose": FILE, "prompt": TEXT}, {"image": FILE, "prompt": TEXT, "label": true} or {"images": [best first], "prompt": TEXT}.
Without it all studies count. The run's folder, named at the end, goes on with --resume after a kill or a pause.

Under 'accelerate launch' or 'torchrun' several processes divide each batch, which is as many times larger than --batch-size.

exit status: 0 trained or paused, 1 the run failed, 2 the command cannot be used like this, 130 stopped at once
"""

_SCORE = """\
Score images in files and folders, with all sub-folders, and print the mean of each folder with its 95 % interval.

The prompt of an image is --prompt; else that of the generation parameters in the file, as the webui writes them; else the text of
name.txt or name.caption beside it. Tags such as <lora:name:1> are left out of it, emphasis such as (fox:1.2) stays.

With --out FILE the same command goes on where it was stopped, and tries again what had an error. Under 'accelerate launch' each process
scores its share of the files on its own GPU and writes FILE.rankI-of-N beside the others.

exit status: 0 all were scored, 1 some had errors (0 under 'accelerate launch', which would stop the other processes), 2 the command
cannot be used like this, 130 stopped
"""

_SCORE_EXAMPLES = """\
examples:
  python -m lib_rankopt score --list
  python -m lib_rankopt score --download hpsv2.1,pickscore
  python -m lib_rankopt score --scorer hpsv2.1,aesthetic2 outputs/txt2img-images
  python -m lib_rankopt score --scorer clip --prompt "a 3d fox on a blue background" a.png b.png --json
  python -m lib_rankopt score --scorer pickscore --out scores.jsonl before after
  python -m lib_rankopt score --scorer pickscore --calibrate pool
  python -m lib_rankopt score --scorer z:pickscore+z:hpsv2.1 after
  accelerate launch -m lib_rankopt score --scorer pickscore --out scores.jsonl outputs
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``arguments.run(arguments)`` executes the chosen command."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_rankopt",
        allow_abbrev=False,  # the --data of train is no short form of --data-dir
        description="Rank images; the ranking makes the next ones better. Runs on the embedded pocket model, or on your checkpoint.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"Rank-Optimize {__version__}")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where studies and images live (default: the user's data folder)")
    url = "any SQLAlchemy URL, for example of a team's PostgreSQL (default: $RANKOPT_DATABASE_URL, or SQLite)"
    parser.add_argument("--database-url", metavar="URL", default=os.environ.get("RANKOPT_DATABASE_URL") or None, help=url)
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="folder with SD1.x, SD2.x or SDXL checkpoints")
    parser.add_argument("--lora-dir", type=Path, metavar="DIR", help="LoRAs of prompts' <lora:NAME:1> (default: loras in the data folder)")
    parser.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best one found)")
    parser.add_argument("--verbose", action="store_true", help="log what happens; show the trace of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_generate(commands)
    _add_optimize(commands)
    _add_score(commands)
    _add_train(commands)
    _add_studies(commands)
    add_data_commands(commands)
    _add_pocket(commands)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="open the ranking board in a browser")
    _add_model(serve, "the default of new studies: ")
    serve.add_argument("--port", type=int, default=7861, help="default 7861; the next free one if it is taken")
    serve.add_argument("--listen", action="store_true", help="accept connections from other machines (default: this machine only)")
    serve.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    serve.set_defaults(run=lazy("serve"))


def _model(text: str) -> str:
    """The name, or the whole path of a file or folder that is there."""
    return str(Path(text).resolve()) if text and Path(text).exists() else text


def _add_model(command: argparse.ArgumentParser, purpose: str = "") -> None:
    text = f"{purpose}name in --models-dir, or path (default: pocket model)"
    command.add_argument("--model", type=_model, default="", metavar="NAME", help=text)


def _add_generation_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", required=True, help="what the images should show")
    command.add_argument("--negative-prompt", default="", metavar="TEXT", help="what they should not show")
    _add_model(command)
    command.add_argument("--sampler", default="", metavar="NAME", help="the webui's names, for example 'Euler a' (default: the model's)")
    command.add_argument("--scheduler", default="", metavar="NAME", help="for example Karras (default: the model's)")
    command.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    command.add_argument("--cfg-scale", type=float, default=0.0, metavar="X", help="guidance (default: the model's)")
    command.add_argument("--width", type=int, default=0, help="pixels (default: the model's)")
    command.add_argument("--height", type=int, default=0, help="pixels (default: the model's)")
    command.add_argument("--init-image", type=Path, metavar="FILE", help="an image to start from (img2img)")
    command.add_argument("--denoising-strength", type=float, default=0.75, metavar="X", help="how much of it is made anew (default 0.75)")
    command.add_argument("--seed", type=int, default=-1, help="-1 draws one (default)")
    command.add_argument("--batch-size", type=int, default=8, metavar="N", help="images per model call at most (default 8)")


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser("generate", help="make images and write them as PNG")
    _add_generation_options(generate)
    generate.add_argument("--count", type=int, default=1, metavar="N", help="number of images; seeds count up from --seed")
    generate.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder to write to (default: here)")
    generate.add_argument("--scorer", action="append", default=[], metavar="NAME", help="score each image; may be given several times")
    _add_selection(generate)
    generate.add_argument("--tree", action="store_true", help="also write a picture of how each image was chosen")
    generate.add_argument("--json", action="store_true", help="one JSON object a line per image")
    generate.set_defaults(run=lazy("generate"))


def _add_selection(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("selection", "choose each image among candidates while they are sampled")
    policies = "halving, greedy, resample, human, or best-of-n, the control"
    group.add_argument("--select", default="", metavar="POLICY", help=f"{policies}; by the (first) --scorer, clip if there is none")
    group.add_argument("--pool", type=int, default=4, metavar="N", help="what an image costs, in whole images (default 4)")
    group.add_argument("--select-at", default="", metavar="SHARES", help="steps to compare after, for example '25%% 50%%'")
    group.add_argument("--select-path", default="", metavar="PATH", help="make an image again along the path in its parameters")
    group.add_argument("--select-set", action="append", default=[], metavar="KEY=VALUE", help="every, start, potential, strength, …")


def _add_optimize(commands: Any) -> None:
    optimize = commands.add_parser(
        "optimize",
        help="let a scorer rank for some rounds",
        description="Run a study in which a scorer gives the rankings. Each round's line tells its number (from 0), the images made "
        "so far, the best score so far, and the incumbent: the score of the latest round's winner. "
        "The study is kept: look at it with 'serve' and go on by hand.",
    )
    _add_generation_options(optimize)
    optimize.add_argument("--scorer", default="clip", metavar="NAME", help="who ranks (default clip, the embedded pocket CLIP)")
    optimize.add_argument("--optimizer", default="rank_step", metavar="NAME", help="rank_step, zo_ranksgd, cma or random_search")
    optimize.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the optimiser")
    optimize.add_argument("--rounds", type=int, default=10, metavar="R", help="rounds (default 10)")
    optimize.add_argument("--candidates", type=int, default=8, metavar="M", help="images shown per round (default 8)")
    optimize.add_argument("--control", action="store_true", help="also the best of as many fresh seeds, the honest comparison")
    _add_selection(optimize)
    optimize.add_argument("--out", type=Path, metavar="FILE", help="write the image with the best score as PNG")
    optimize.add_argument("--json", action="store_true", help="one JSON object a line per round: round, images, best, incumbent")
    optimize.set_defaults(run=lazy("optimize"))


def _add_score(commands: Any) -> None:
    score = commands.add_parser(
        "score",
        help="score images in files and folders",
        description=_SCORE,
        epilog=_SCORE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    score.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="images and folders")
    score.add_argument("--scorer", action="append", default=[], metavar="NAME[,NAME]", help="who scores; --list names all")
    score.add_argument("--prompt", default="", help="of all images (default: each one's own)")
    score.add_argument("--out", type=Path, metavar="FILE", help="append the lines to FILE as JSON, or as CSV with --csv")
    form = score.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line per image, and the summary as the last")
    form.add_argument("--csv", action="store_true", help="columns file, prompt, one for each scorer, error")
    action = score.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="names of all scorers, and whether their weights are here")
    action.add_argument("--download", default="", metavar="NAME[,NAME]", help="fetch the weights of these scorers")
    action.add_argument("--calibrate", type=Path, metavar="POOL", help="score these images and measure z:NAME by them from now on")
    score.set_defaults(run=lazy("score"))


def _add_train(commands: Any) -> None:
    from lib_rankopt.training.config import TrainingConfig

    train = commands.add_parser(
        "train", help="train a LoRA on feedback", description=_TRAIN, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for one in fields(TrainingConfig):
        flag, text = f"--{one.name.replace('_', '-')}", one.metadata["help"].replace("%", "%%")
        if one.name in ("options", "label_weights"):
            short = "--set" if one.name == "options" else "--label-weight"
            train.add_argument(short, action="append", default=[], metavar="KEY=VALUE", help=text)
        elif isinstance(one.default, bool):
            train.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif one.name in ("data", "sample_prompts"):
            train.add_argument(flag, action="append", default=None, metavar="TEXT", help=text)
        else:
            train.add_argument(flag, type=type(one.default), default=None, metavar="X", help=f"{text} (default {one.default or 'as told'})")
    train.add_argument("--config", type=Path, metavar="FILE", help="the same names in a JSON or YAML file; options given here count more")
    train.add_argument("--output", type=Path, metavar="PATH", help="folder of the LoRA files, or FOLDER/NAME.safetensors")
    train.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run to go on with")
    train.add_argument("--pause-with-stdin", action="store_true", help="pause when standard input ends, as the tab's runs do")
    train.add_argument("--json", action="store_true", help="one JSON object a line per update, and the outcome as the last")
    train.set_defaults(run=lazy("train"))


def _add_studies(commands: Any) -> None:
    studies = commands.add_parser("studies", help="list, show, delete, pack or unpack studies")
    actions = studies.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all studies, newest first")
    show = actions.add_parser("show", help="one study with its rounds")
    delete = actions.add_parser("delete", help="delete a study with its images")
    pack = actions.add_parser("pack", help="write one study, whole, into a file that opens on any machine")
    unpack = actions.add_parser("unpack", help="take a study in from such a file; the same file twice adds nothing")
    every = ((listing, "list_studies"), (show, "show"), (delete, "delete"), (pack, "pack"), (unpack, "unpack"))
    for action, function in every:
        action.add_argument("--json", action="store_true", help="machine-readable")
        action.set_defaults(run=lazy("studies", function))
    for action in (show, delete, pack):
        action.add_argument("study", help="id, the start of one, or name")
    pack.add_argument("file", type=Path, metavar="FILE", help="new file, such as fox.rankopt.zip")
    unpack.add_argument("file", type=Path, metavar="FILE", help="that 'pack' wrote")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _add_pocket(commands: Any) -> None:
    pocket = commands.add_parser("pocket", help="write out the embedded pocket model")
    actions = pocket.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = actions.add_parser("export", help="as a diffusers folder, or where an AUTOMATIC1111 webui finds it")
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("--diffusers", type=Path, metavar="DIR", help="new folder that diffusers' from_pretrained takes")
    target.add_argument("--webui", type=Path, metavar="DIR", help="root of the webui")
    export.add_argument("--json", action="store_true", help="one JSON object: the path written to")
    export.set_defaults(run=lazy("pocket"))
