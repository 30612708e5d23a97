"""A whole run: data, preparation, the loop, exported files. The folder of :mod:`.folder` says meanwhile how far it is."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from lib_rankopt.diffusion import checkpoint, loading
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.lora import file
from lib_rankopt.diffusion.memory import is_out_of_memory
from lib_rankopt.errors import GenerationError, InvalidInputError, RankOptError
from lib_rankopt.training import objectives, presets
from lib_rankopt.training.batches import Material
from lib_rankopt.training.config import TrainingConfig
from lib_rankopt.training.data.examples import split
from lib_rankopt.training.data.records import Example, Feedback, Split
from lib_rankopt.training.folder import RunFolder, RunStatus
from lib_rankopt.training.loop import Trainer
from lib_rankopt.training.lora import check, metadata, output
from lib_rankopt.training.network import LoraNetwork
from lib_rankopt.training.objectives.base import Objective
from lib_rankopt.training.precompute import LatentCache, bucket, encode_texts, without_encoders

_MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEAST_GAIN = 0.95
_SAY_SECONDS = 1.0  # each writing of the status is synced to the disk
_PATIENCE = 3  # validations in a row with a rising winner error
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
    """

    def __init__(
        self, folder: RunFolder, base: Path, feedback: Feedback, output: Path, cache: Path, report: Report | None = None
    ) -> None:
        self.folder, self.base, self.feedback, self.output, self.cache = folder, base, feedback, output, cache
        self.config = folder.config()
        self.objective = objectives.create(self.config.objective, self.config.options)
        self.status = replace(folder.status(), state="preparing", error=None)
        self._report = report or (lambda _line: None)
        self._started = time.time()
        self._worse = 0

    def start(self, device: torch.device) -> RunStatus:
        """Do all of it; return the last status.

        Raises:
            RankOptError: what went wrong and what to do; the status says it too, and the last checkpoint is whole.
        """
        try:
            self._all(device)
        except (RuntimeError, MemoryError) as error:
            failure: RankOptError = error if isinstance(error, RankOptError) else _told(error, self.config)
            self._say(state="failed", error=str(failure))
            raise failure from error
        except RankOptError as error:
            self._say(state="failed", error=str(error))
            raise
        return self.status

    def _all(self, device: torch.device) -> None:
        self._say(stage="reading the checkpoint", pid=os.getpid())
        identity = checkpoint.sha256_of(self.base)
        parts = split(self.feedback, self.objective, self.config.held_out, self.config.seed, identity)
        self._say(stage="reading data", summary=parts.summary, counts=parts.counts)
        model = loading.load(self.base, device, _dtype(self.config, device))
        training, held_out = self._prepare(model, parts, identity)
        model = without_encoders(model)
        if self.config.gradient_checkpointing:
            model.unet.enable_gradient_checkpointing()  # type: ignore[operator]
            model.unet.train()
        network = LoraNetwork(model, self.config.rank, self.config.scale_alpha, self.config.targets, self.config.seed)
        if self.config.compile:
            model.unet.compile()
        trainer = Trainer(network, self.objective, training, self.config)
        latest = self._latest()
        if latest is not None:
            trainer.load(latest)
        self._say(state="training", stage="training", step=trainer.step, steps=self.config.steps)
        self._loop(trainer, held_out, identity, parts)

    def _prepare(self, model: StableDiffusion, parts: Split, identity: str) -> tuple[Material, Material]:
        wanted = self.config.resolution or model.config.image_size
        latents = LatentCache(self.cache, identity)
        made = []
        for items, sides in ((parts.training, (False, True) if self.config.flip else (False,)), (parts.held_out_pairs, (False,))):
            own = [replace(item, prompt=self.objective.prompt(item.prompt, item.label)) for item in items]
            sizes = [bucket(item.images[0].width, item.images[0].height, wanted) for item in own]
            needed = {(i.sha256, size, side): i for item, size in zip(own, sizes, strict=True) for i in item.images for side in sides}
            moments = {}
            for number, ((sha, size, side), image) in enumerate(needed.items()):
                if number % 20 == 0:
                    self._say(stage=f"encoding images, {number} of {len(needed)}")
                moments[sha, size, side] = latents.get(model, image, size, side)
            texts = encode_texts(model, [(item.prompt, size) for item, size in zip(own, sizes, strict=True)])
            made.append(Material(own, sizes, moments, texts))
        return made[0], made[1]

    def _loop(self, trainer: Trainer, held_out: Material, identity: str, parts: Split) -> None:
        # of what was trained before a pause or a kill, the metrics tell
        accuracies = [line["implicit_accuracy"] for line in self.folder.metrics() if line.get("validation")]
        latest, best = accuracies[-1] if accuracies else 0.0, max(accuracies, default=0.0)
        begun, first, said = time.monotonic(), trainer.step, 0.0
        while trainer.step < self.config.steps:
            order = self.folder.command()
            if order != "run":
                trainer.save(self._checkpoint(trainer.step))
                self._say(state="paused" if order == "pause" else "cancelled", stage="", step=trainer.step)
                return
            line = {"step": trainer.step + 1, **trainer.update()}
            self._note(line)
            step = trainer.step
            over = step == self.config.steps
            if held_out.items and self.config.validate_every and (over or step % self.config.validate_every == 0):
                found = trainer.validate(held_out)
                latest = found["implicit_accuracy"]
                self._note({"step": step, "validation": True, **found})
                self._watch(found, step)
            now = time.monotonic()
            if over or now - said >= _SAY_SECONDS:
                said = now
                self._say(step=step, eta_seconds=(now - begun) / (step - first) * (self.config.steps - step))
            if over or step % self.config.save_every == 0:
                path = self._export(trainer, identity, parts)
                trainer.save(self._checkpoint(step))
                self._drop_old()
                better = latest >= best  # without validations all are 0, and the newest is the best
                best = max(best, latest)
                self._say(step=step, outputs=(*self.status.outputs, str(path)), best=str(path) if better else self.status.best)
        self._say(state="finished", stage="", eta_seconds=0.0)

    def _note(self, line: dict[str, Any]) -> None:
        self.folder.log_metrics(line)
        self._report(line)

    def _watch(self, found: dict[str, float], step: int) -> None:
        """Both errors of a pair can rise while their difference looks better and better."""
        self._worse = self._worse + 1 if found["winner_drift"] > 0 else 0
        if self._worse == _PATIENCE:
            text = f"Step {step}: preferred images are explained worse than before training. Stop, or lower the learning rate."
            self._say(alarms=(*self.status.alarms, text))

    def _export(self, trainer: Trainer, identity: str, parts: Split) -> Path:
        network = trainer.network
        with network.weights(trainer.exported):
            modules = network.modules()
        gain = check.gain(modules, network.base_weights())
        if gain < _LEAST_GAIN and trainer.step == self.config.steps:
            text = f"In half precision only {gain:.0%} of the change arrives: train longer, or with a higher learning rate."
            self._say(alarms=(*self.status.alarms, text))
        config, family = self.config, network.model.config.family
        side = config.resolution or network.model.config.image_size
        title = f"{config.name or 'lora'}-{config.objective}-{trainer.step:04d}"
        path = output.new_path(self.output, title)
        facts = metadata.LoraFacts(
            family=family,
            prediction_type=network.model.config.prediction_type or "epsilon",
            name=path.stem,
            rank=config.rank,
            alpha=config.scale_alpha,
            objective=config.objective,
            options=config.options,
            base_name=self.base.name,
            base_sha256=identity,
            steps=trainer.step,
            learning_rate=config.learning_rate or self.objective.learning_rate,
            optimizer=config.optimizer,
            seed=config.seed,
            resolution=(side, side),
            images=parts.counts["images"],
            dataset_digest=digest(parts.training),
            started_at=self._started,
            finished_at=time.time(),
            tags=Counter(item.prompt for item in parts.training),
            lr_scheduler="constant_with_warmup" if config.warmup else "constant",
            mixed_precision=_MIXED[network.model.dtype],
            epochs=-(-trainer.step * config.batch_size * config.accumulation // len(parts.training)),
            comment=f"Rank-Optimize, {self.objective.title}",
        )
        state = file.to_state(modules, family)
        output.write(path, state, metadata.metadata(facts, state))
        said = f"{self.objective.title}, {trainer.step} steps, {datetime.now(timezone.utc):%Y-%m-%d}"
        metadata.sidecar(path, said, family, self.objective.activation_text, self.objective.negative_text)
        return path

    def _checkpoint(self, step: int) -> Path:
        return self.folder.path / "checkpoints" / f"step-{step:06d}.pt"

    def _latest(self) -> Path | None:
        return max((self.folder.path / "checkpoints").glob("step-*.pt"), default=None)

    def _drop_old(self) -> None:
        for old in sorted((self.folder.path / "checkpoints").glob("step-*.pt"))[:-2]:
            old.unlink(missing_ok=True)

    def _say(self, **changes: Any) -> None:
        self.status = self.folder.say(replace(self.status, **changes))


def digest(items: tuple[Example, ...]) -> str:
    """Identity of training data: equal items in equal order give equal digests."""
    lines = (f"{item.prompt}\0{','.join(i.sha256 for i in item.images)}\0{item.tiers}\0{item.label}\n" for item in items)
    return sha256("".join(lines).encode()).hexdigest()


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
