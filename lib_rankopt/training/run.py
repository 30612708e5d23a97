"""A whole run: data, preparation, the loop, exported files. The folder of :mod:`.folder` says meanwhile how far it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lib_rankopt.diffusion import checkpoint, loading
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.memory import is_out_of_memory
from lib_rankopt.errors import GenerationError, InvalidInputError, MissingDependencyError, RankOptError
from lib_rankopt.training import objectives, presets
from lib_rankopt.training.alarms import Watch
from lib_rankopt.training.batches import Material
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.examples import split
from lib_rankopt.training.data.records import Example, Feedback
from lib_rankopt.training.export import Origin, export, gain
from lib_rankopt.training.folder import RunFolder, RunStatus, write_file
from lib_rankopt.training.loop import Trainer
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.objectives.base import Objective
from lib_rankopt.training.precompute import LatentCache, without_encoders
from lib_rankopt.training.prepare import prepare
from lib_rankopt.training.processes import Processes
from lib_rankopt.training.samples import SampleSheets

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEAST_GAIN = 0.95
_SAY_SECONDS = 1.0  # each writing of the status is synced to the disk
_SAMPLED = 3  # prompts of a sample sheet
_OFFERED = 8  # held-out prompts that are named, for trying the result
Report = Callable[[dict[str, Any]], None]


class Run:
    """One training run in a folder.

    Args:
        folder: where configuration, status, metrics and checkpoints lie; with a checkpoint in it the run goes on from there.
        base: path of the checkpoint to train on.
        feedback: what is learnt from.
        output: folder of the exported LoRA files.
        cache: folder of latents that several runs share.
        report: is told every line of metrics.
        processes: that train together; only the first one writes.
    """

    def __init__(
        self,
        folder: RunFolder,
        base: Path,
        feedback: Feedback,
        output: Path,
        cache: Path,
        report: Report | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.folder, self.base, self.feedback, self.output, self.cache = folder, base, feedback, output, cache
        self.processes = processes or Processes()
        self.config = folder.config()
        self.objective = objectives.create(self.config.objective, self.config.options)
        self.status = replace(folder.status(), state="preparing", error=None)
        self._report = report or (lambda _line: None)
        warmup = round(self.config.warmup * self.config.steps)
        self._watch = Watch(self.config.clip, warmup, float(getattr(self.objective, "beta", 0.0)))
        self._board: Any = None

    def start(self, device: torch.device) -> RunStatus:
        """Do all of it; return the last status.

        Raises:
            RankOptError: what went wrong and what to do; the status says it too, and the last checkpoint is whole.
        """
        try:
            self._all(device)
        except (RuntimeError, MemoryError) as error:
            failure: RankOptError = error if isinstance(error, RankOptError) else _told(error, self.config)
            self._fail(failure)
            raise failure from error
        except RankOptError as error:
            self._fail(error)
            raise
        finally:
            if self._board is not None:
                self._board.close()  # it writes in a thread, minutes later
        return self.status

    def _all(self, device: torch.device) -> None:
        self._say(stage="reading the checkpoint", pid=os.getpid())
        self._board = _tensorboard(self.folder.path) if self.config.tensorboard and self.processes.is_main else None
        started = time.time()
        identity = checkpoint.sha256_of(self.base)
        parts = split(self.feedback, self.objective, self.config.held_out, self.config.seed, identity)
        held = tuple(dict.fromkeys(pair.prompt for pair in (*parts.held_out_pairs, *parts.held_out)))
        self._say(stage="reading data", summary=parts.summary, counts=parts.counts, prompts=held[:_OFFERED])
        model = loading.load(self.base, device, _dtype(self.config, device))
        training = self._material(model, parts.training, self.config.flip, identity)
        held_out = self._material(model, parts.held_out_pairs, False, identity)
        sheets = self._sheets(model, tuple(dict.fromkeys((*held, *(item.prompt for item in parts.training)))))
        model = without_encoders(model)
        if self.config.gradient_checkpointing:
            model.unet.enable_gradient_checkpointing()  # type: ignore[operator]
            model.unet.train()
        network = LoraNetwork(model, self.config.rank, self.config.scale_alpha, self.config.targets, self.config.seed)
        if self.config.compile:
            network.compile()
        trainer = Trainer(network, self.objective, training, self.config, self.processes)
        latest = self._latest()
        if latest is not None:
            trainer.load(latest)
        self._say(state="training", stage="training", step=trainer.step, steps=self.config.steps)
        per_update = self.config.batch_size * self.config.accumulation * self.processes.count
        origin = Origin(self.config, self.objective, self.base, identity, parts, started, per_update)
        self._loop(trainer, held_out, origin, sheets)

    def _material(self, model: StableDiffusion, examples: Sequence[Example], flip: bool, identity: str) -> Material:
        items = [replace(one, prompt=self.objective.prompt(one.prompt, one.label)) for one in examples]
        wanted = self.config.resolution or model.config.image_size
        say: Callable[[str], None] = lambda text: self._say(stage=text)  # noqa: E731
        return prepare(model, items, LatentCache(self.cache, identity), wanted, flip, self.processes, say)

    def _sheets(self, model: StableDiffusion, prompts: tuple[str, ...]) -> SampleSheets | None:
        if not self.config.sample_every or not self.processes.is_main:
            return None
        side = self.config.resolution or model.config.image_size
        chosen = self.config.sample_prompts or prompts[:_SAMPLED]
        sheets = SampleSheets(model, chosen, self.objective.negative_text, (side, side), self.config.seed)
        self.folder.note_sample_prompts(sheets.prompts)
        return sheets

    def _loop(self, trainer: Trainer, held_out: Material, origin: Origin, sheets: SampleSheets | None) -> None:
        # of what was trained before a pause or a kill, the metrics tell
        before = [line for line in self.folder.metrics() if line["step"] <= trainer.step]
        for line in before:
            self._watch.look(line)  # what it raised then is among the alarms
        accuracies = [line["implicit_accuracy"] for line in before if line.get("validation")]
        latest, best = accuracies[-1] if accuracies else 0.0, max(accuracies, default=0.0)
        begun, first, said = time.monotonic(), trainer.step, 0.0
        while trainer.step < self.config.steps:
            order = self.processes.said(self.folder.command())
            if order != "run":
                self._keep(trainer)
                self._say(state="paused" if order == "pause" else "cancelled", stage="", step=trainer.step)
                return
            line = {"step": trainer.step + 1, **trainer.update()}
            self._note(line)
            step = trainer.step
            over = step == self.config.steps
            if held_out.items and _due(self.config.validate_every, step, over):
                found = trainer.validate(held_out)
                latest = found["implicit_accuracy"]
                self._note({"step": step, "validation": True, **found})
            card = self._sample(trainer, sheets) if _due(self.config.sample_every, step, over) else None
            now = time.monotonic()
            if over or now - said >= _SAY_SECONDS:
                said = now
                self._say(step=step, eta_seconds=(now - begun) / (step - first) * (self.config.steps - step))
            if _due(self.config.save_every, step, over):
                better = latest >= best  # without validations all are 0, and the newest is the best
                best = max(best, latest)
                # before the checkpoint: a run that goes on from that does not write this file again
                self._export(trainer, origin, card, better)
                self._keep(trainer)
        self._say(state="finished", stage="", eta_seconds=0.0)

    def _sample(self, trainer: Trainer, sheets: SampleSheets | None) -> Image.Image | None:
        """Write a sample sheet; return the picture for the card. A card without the memory for it trains on."""
        if sheets is None:
            return None
        self._say(stage="drawing samples")
        try:
            sheet, card = sheets.draw(trainer.network, trainer.exported)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._alarm("Memory does not suffice for samples, which are left out. Training goes on.")
            return None
        except MissingDependencyError as error:
            self._alarm(f"Samples are left out, and training goes on: {error}")
            return None
        finally:
            self._say(stage="training")
        path = self.folder.path / "samples" / f"step-{trainer.step:06d}.png"
        write_file(path, lambda file: sheet.save(file, "PNG"))
        if self._board is not None:
            import numpy as np

            self._board.add_image("samples", np.asarray(sheet), trainer.step, dataformats="HWC")
        return card

    def _note(self, line: dict[str, Any]) -> None:
        if not self.processes.is_main:
            return
        self.folder.log_metrics(line)
        self._report(line)
        for sentence in self._watch.look(line):
            self._alarm(sentence)
        if self._board is not None:
            group = "validation" if line.get("validation") else "training"
            for name, value in line.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{group}/{name}", value, line["step"])

    def _export(self, trainer: Trainer, origin: Origin, card: Image.Image | None, better: bool) -> None:
        if not self.processes.is_main:
            return
        if trainer.step == self.config.steps:
            arrives = gain(trainer.network, trainer.exported)
            if arrives < _LEAST_GAIN:
                self._alarm(f"In half precision only {arrives:.0%} of the change arrives: train longer, or with a higher learning rate.")
        path = str(export(trainer.network, trainer.exported, trainer.step, origin, self.output, card))
        self._say(step=trainer.step, outputs=(*self.status.outputs, path), best=path if better else self.status.best)

    def _keep(self, trainer: Trainer) -> None:
        if not self.processes.is_main:
            return
        folder = self.folder.path / "checkpoints"
        trainer.save(folder / f"step-{trainer.step:06d}.pt")
        for old in sorted(folder.glob("step-*.pt"))[:-2]:
            old.unlink(missing_ok=True)

    def _latest(self) -> Path | None:
        return max((self.folder.path / "checkpoints").glob("step-*.pt"), default=None)

    def _alarm(self, sentence: str) -> None:
        if sentence not in self.status.alarms:
            self._say(alarms=(*self.status.alarms, sentence))

    def _say(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        if self.processes.is_main:
            self.status = self.folder.say(self.status)

    def _fail(self, error: RankOptError) -> None:
        """Whichever process fails says so: the others are ended without a word."""
        self.status = self.folder.say(replace(self.status, state="failed", error=str(error)))


def _due(every: int, step: int, over: bool) -> bool:
    return bool(every) and (over or step % every == 0)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(f"tensorboard files need tensorboard ({error}); install it with: pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))


def _dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    if config.precision != "auto":
        return _DTYPES[config.precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32


def _told(error: BaseException, config: TrainingConfig) -> RankOptError:
    if is_out_of_memory(error):
        advice = f"Train with preset {presets.smaller(config.preset)}, or a smaller batch_size."
        return GenerationError(f"Memory ran out ({str(error)[:120]}). {advice}")
    return GenerationError(f"Training failed: {error}")


def check_objective(config: TrainingConfig) -> Objective:
    """The objective of a configuration, made only to see whether it can be.

    Raises:
        NotFoundError, InvalidInputError: no such objective or option.
    """
    if config.objective == "spo":
        raise InvalidInputError("spo is not built yet; take dpo for pairs, kto for likes.")
    return objectives.create(config.objective, config.options)
