"""How much of everything: counts, steps and seeds, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lib_rankopt.diffusion.pocket.paths import POCKET_DIR

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """One build. Seeds of renders are apart, so that no two purposes share a picture."""

    work: Path  # renders, latents and unfinished weights
    out: Path  # the pocket model's folder
    device: str = "cpu"
    renders: int = 24_000  # pictures that the VAE, the UNet and the pocket CLIP learn from
    render_seed: int = 1
    holdout: int = 2_000  # pictures that nothing learns from: pocket CLIP's figure, the VAE's error
    holdout_seed: int = 2
    judge_renders: int = 12_000  # pictures for the judges alone
    judge_seed: int = 3
    judge_holdout_seed: int = 4
    vae_steps: int = 3_200  # encoder, with a short decoder
    vae_batch: int = 24
    decoder_steps: int = 4_900
    decoder_batch: int = 12
    text_steps: int = 350
    captions: int = 4  # ways to say each thing that the UNet is conditioned on
    clip_steps: int = 600
    judge_steps: int = 900
    unet_steps: int = 3_000
    unet_batch: int = 64
    seed: int = 0
    merges: int = 2_048  # how many of CLIP's BPE merges the tokenizer keeps

    @property
    def is_packages(self) -> bool:
        """Whether the model goes into the package, in place of the committed one."""
        return self.out.resolve() == POCKET_DIR.resolve()

    def file(self, name: str) -> Path:
        """The path of a work file, its folder made."""
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work / name


def default_plan(work: Path | None = None, out: Path | None = None, device: str = "cpu") -> Plan:
    """The build of the committed weights."""
    return Plan(work=work or ROOT / "build" / "pocket", out=out or POCKET_DIR, device=device)


def reseeded(plan: Plan, seed: int) -> Plan:
    """The build with other pictures and other starts for each ``seed`` above 0, for instance to have a scorer that nothing else knows."""
    shift = 10 * seed
    return replace(
        plan, seed=plan.seed + seed, render_seed=plan.render_seed + shift, holdout_seed=plan.holdout_seed + shift,
        judge_seed=plan.judge_seed + shift, judge_holdout_seed=plan.judge_holdout_seed + shift,
    )  # fmt: skip


def tiny(work: Path, out: Path) -> Plan:
    """A build of seconds, for the tests: everything runs, nothing is learnt."""
    return Plan(
        work=work, out=out, renders=64, holdout=32, judge_renders=64, vae_steps=2, vae_batch=4,
        decoder_steps=2, decoder_batch=4, text_steps=2, captions=1, clip_steps=2, judge_steps=2, unet_steps=2, unet_batch=4,
    )  # fmt: skip
