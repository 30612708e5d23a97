"""Makes the pocket Stable Diffusion from public packages.

    python -m tools.pocket.make [--stage STAGE ...] [--device cuda] [--work DIR] [--out DIR] [--redo]

Without --stage every stage that has not been finished is run, and then the report on what was made. Needs
tools/pocket/requirements.txt and npm.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from tools.pocket import report, stages
from tools.pocket.plan import Plan, default_plan, reseeded

log = logging.getLogger("rankopt.pocket.make")

STAGES = {
    "art": stages.make_art,
    "render": stages.make_renders,
    "vae": stages.make_vae,
    "latents": stages.make_latents,
    "text": stages.make_text,
    "unet": stages.make_unet,
    "decoder": stages.make_decoder,
    "clip": stages.make_clip,
    "judges": stages.make_judges,
    "export": stages.make_export,
}


def leftovers(plan: Plan, name: str) -> list[Path]:
    """What keeps a stage from beginning anew: its mark of being done, and files that it would go on from."""
    kept = {
        "art": [plan.file("sprites.npy")],
        "text": [plan.out / "tokenizer" / "vocab.json"],
        "unet": [plan.file("unet_run.pt")],
    }
    return [plan.file(f"{name}.done"), *kept.get(name, [])]


def run(plan: Plan, names: list[str], redo: bool = False) -> None:
    """Runs stages in the order of STAGES; a finished one is left alone unless `redo`, which starts all of them afresh."""
    for name in STAGES:
        done = plan.file(f"{name}.done")
        if name not in names or (done.is_file() and not redo):
            continue
        if redo:
            for leftover in leftovers(plan, name):
                leftover.unlink(missing_ok=True)
        log.info("stage %s", name)
        started = time.monotonic()
        STAGES[name](plan)
        seconds = time.monotonic() - started
        done.write_text(f"{seconds:.0f} s\n", encoding="utf-8")
        log.info("stage %s took %.0f s", name, seconds)


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", action="append", choices=[*STAGES, "report"], help="only these (repeat the option)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=None, help="renders, latents, unfinished weights (build/pocket)")
    parser.add_argument("--out", type=Path, default=None, help="where the model goes (the package's own folder)")
    parser.add_argument("--redo", action="store_true", help="run the stages from their beginning even if they were finished")
    parser.add_argument("--seed", type=int, default=0, help="another build than the committed one: other renders, other starts")
    parser.add_argument("--unet-steps", type=int, default=None)
    arguments = parser.parse_args()
    plan = reseeded(default_plan(arguments.work, arguments.out, arguments.device), arguments.seed)
    if arguments.unet_steps is not None:
        plan = replace(plan, unet_steps=arguments.unet_steps)
    names = arguments.stage or [*STAGES, "report"]
    run(plan, names, arguments.redo)
    if "report" in names:
        report.write(plan, report.Settings(), report.sheet_of(plan))


if __name__ == "__main__":
    main()
