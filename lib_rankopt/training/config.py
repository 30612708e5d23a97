"""Everything that a training run is told, as one frozen record: the same names on the command line, in files, the API and the tab."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.derive import checked_weights

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
OPTIMIZERS = ("adamw", "adamw8bit")
TARGETS = ("full", "attention")


def _option(default: Any, text: str, **extra: Any) -> Any:
    kind = {"default_factory": default} if callable(default) else {"default": default}
    return field(**kind, metadata={"help": text, **extra})


@dataclass(frozen=True)
class TrainingConfig:
    """See each field's ``help``. 0 in a number that has an automatic value means automatic.

    Raises:
        InvalidInputError: a value that cannot be used; the message names field, value and what is allowed.
    """

    base: str = _option("pocket", "checkpoint to train on: a single file, a diffusers folder, or pocket")
    data: tuple[str, ...] = _option(tuple, "studies (id or name), folders or .jsonl files; all studies of the base where none is given")
    objective: str = _option("dpo", "sft, csft, dpo, ipo, sdpo, lpo, kto or hinge")
    options: dict[str, Any] = _option(dict, "options of the objective, such as beta")  # noqa: RUF009  (makes a field)
    label_weights: dict[str, float] = _option(  # noqa: RUF009  (makes a field)
        dict, "how much labels count that were concluded from an action, 0 to 1, such as saved=0.5 (default: the webui's settings)"
    )
    name: str = _option("", "name of the LoRA (default: lora)")
    rank: int = _option(16, "rank of the LoRA", least=1, most=1024)
    alpha: float = _option(0.0, "alpha of the LoRA (default: its rank)", least=0, most=4096)
    targets: str = _option("full", "modules of the UNet: full (attention, feed-forward, projections) or attention", choices=TARGETS)
    steps: int = _option(200, "updates", least=1, most=1_000_000)
    learning_rate: float = _option(0.0, "learning rate (default: the objective's)", least=0, most=1)
    batch_size: int = _option(8, "items per forward pass and process", least=1, most=4096)
    accumulation: int = _option(1, "forward passes per update", least=1, most=4096)
    warmup: float = _option(0.05, "share of the updates over which the learning rate rises", least=0, most=1)
    clip: float = _option(1.0, "largest norm of the gradient, 0 for none", least=0, most=1e6)
    optimizer: str = _option("adamw", "adamw, or adamw8bit where bitsandbytes is installed", choices=OPTIMIZERS)
    weight_decay: float = _option(0.01, "weight decay of AdamW", least=0, most=10)
    ema: float = _option(0.0, "decay of the moving average of the LoRA that is exported, 0 for none", least=0, most=0.999999)
    prompt_dropout: float = _option(0.1, "share of items trained without their prompt", least=0, most=1)
    flip: bool = _option(True, "mirror half of the images, those of one item alike")
    resolution: int = _option(0, "pixels a side on average (default: the base's)", least=0, most=4096)
    precision: str = _option("auto", "of the frozen base: fp32, bf16 or fp16; the LoRA is fp32 always", choices=PRECISIONS)
    gradient_checkpointing: bool = _option(False, "less memory, a third more time")
    compile: bool = _option(False, "torch.compile the UNet")
    seed: int = _option(0, "seed of order, noise and initial LoRA", least=0, most=2**32 - 1)
    held_out: float = _option(0.1, "share of the prompts kept back for validation", least=0, most=0.9)
    save_every: int = _option(100, "updates between checkpoints and exported files", least=1, most=1_000_000)
    sample_prompts: tuple[str, ...] = _option(tuple, "prompts of the sample sheets (default: three, kept back from training if possible)")
    sample_every: int = _option(100, "updates between sample sheets, 0 for none", least=0, most=1_000_000)
    tensorboard: bool = _option(False, "also write TensorBoard files into the run's folder")
    validate_every: int = _option(50, "updates between validations, 0 for none", least=0, most=1_000_000)
    preset: str = _option("", "6gb, 8gb, 12gb or 24gb: batch, accumulation, checkpointing and precision that fit such a card")

    def __post_init__(self) -> None:
        for name in ("data", "sample_prompts"):
            given = getattr(self, name)
            texts = [given] if isinstance(given, str) else given  # one name in a file needs no list
            if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                raise InvalidInputError(f"{name} is {str(given)[:80]!r}; a list of texts is expected.")
            object.__setattr__(self, name, tuple(texts))
        for name in ("options", "label_weights"):
            if not isinstance(getattr(self, name), dict):
                raise InvalidInputError(f"{name} is {str(getattr(self, name))[:80]!r}; names with values are expected.")
        checked_weights(self.label_weights)
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata, one.default)

    @property
    def scale_alpha(self) -> float:
        """Alpha as it is written."""
        return self.alpha or float(self.rank)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _check(name: str, value: Any, rule: Any, default: Any) -> None:
    if "choices" in rule and value not in rule["choices"]:
        raise InvalidInputError(f"{name} is {value!r}; it must be one of {', '.join(rule['choices'])}.")
    if "least" not in rule:
        if default is not MISSING and type(value) is not type(default):
            raise InvalidInputError(f"{name} is {value!r}; a {type(default).__name__} is expected.")
        return
    whole = isinstance(default, int)
    good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not good or not rule["least"] <= value <= rule["most"]:
        kind = "whole number" if whole else "number"
        raise InvalidInputError(f"{name} is {value!r}; a {kind} from {rule['least']} to {rule['most']} is expected.")


def from_dict(values: dict[str, Any]) -> TrainingConfig:
    """Build a configuration; a preset is applied first, and what is named beside it counts more.

    Raises:
        InvalidInputError: an unknown name, or a value that cannot be used.
    """
    from lib_rankopt.training import presets

    known = [f.name for f in fields(TrainingConfig)]
    for name in values:
        if name not in known:
            raise InvalidInputError(f"There is no training setting {name!r}; known are {', '.join(known)}.")
    fitted = presets.values(values["preset"]) if values.get("preset") else {}
    return TrainingConfig(**{**fitted, **values})


def read(path: Path) -> dict[str, Any]:
    """Values of a configuration file, JSON or YAML.

    Raises:
        InvalidInputError: it cannot be read, or is no table of names and values.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"{path}: this configuration cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path}: names and values are expected, one a line, such as 'objective: dpo'.")
    return found
