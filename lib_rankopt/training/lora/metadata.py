"""What a LoRA file says about itself: kohya's ``ss_*`` entries, which the webui reads, and ``modelspec.*``; and the sidecar file.

Without ``ss_base_model_version`` the webui takes a file for SD1 and hides an SDXL LoRA from the cards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_rankopt.diffusion.lora.file import data_hash
from lib_rankopt.diffusion.lora.names import check_family
from lib_rankopt.errors import InvalidInputError
from lib_rankopt.training.lora.output import write_new

if TYPE_CHECKING:
    from torch import Tensor

_FOLDER = "rankopt"  # where the webui's cards expect the name of a folder of training images
_STABILITY = "https://github.com/Stability-AI/generative-models"
_SIDECAR_VERSIONS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
_PREDICTIONS = {"epsilon": "epsilon", "v": "v", "v_prediction": "v"}


@dataclass(frozen=True)
class LoraFacts:
    """How a LoRA came to be.

    Attributes:
        family: ``sd1``, ``sd2`` or ``sdxl``.
        prediction_type: ``epsilon`` or ``v_prediction`` (also ``v``).
        name: as in the prompt's ``<lora:name:1>``.
        options: the objective's, by name.
        base_name, base_sha256: file name and hash of the checkpoint; the hash may be empty.
        resolution: width and height.
        images: how many pictures it saw.
        dataset_digest: identity of the data.
        started_at, finished_at: seconds since the epoch.
        tags: how often each occurs in the prompts, for the card's tag cloud.
        comment: free text.
    """

    family: str
    prediction_type: str
    name: str
    rank: int
    alpha: float
    objective: str
    options: Mapping[str, Any]
    base_name: str
    base_sha256: str
    steps: int
    learning_rate: float
    optimizer: str
    seed: int
    resolution: tuple[int, int]
    images: int
    dataset_digest: str
    started_at: float
    finished_at: float
    tags: Mapping[str, int] = field(default_factory=dict)
    comment: str = ""
    lr_scheduler: str = "constant"
    mixed_precision: str = "no"
    epochs: int = 1


def metadata(facts: LoraFacts, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a file's metadata, all text.

    Args:
        state: the file's tensors, for ``sshs_model_hash``.

    Raises:
        InvalidInputError: an unknown family or prediction type.
    """
    check_family(facts.family)
    if facts.prediction_type not in _PREDICTIONS:
        raise InvalidInputError(f"The prediction type {str(facts.prediction_type)[:40]!r} is unknown: epsilon or v_prediction.")
    return {**_kohya(facts), **_modelspec(facts), "sshs_model_hash": data_hash(state)}


def sidecar(path: Path, description: str, family: str, activation_text: str, negative_text: str, preferred_weight: float = 1.0) -> Path:
    """Write the ``<name>.json`` next to a LoRA file that the webui's card shows; return its path.

    Args:
        path: of the LoRA file.

    Raises:
        InvalidInputError: an unknown family, a weight that is not finite, or the sidecar exists (a person may have edited it).
        StoreError: it cannot be written.
    """
    check_family(family)
    if not math.isfinite(preferred_weight):
        raise InvalidInputError(f"The preferred weight {preferred_weight} is not a finite number.")
    content = {
        "description": description,
        "sd version": _SIDECAR_VERSIONS[family],
        "activation text": activation_text,
        "preferred weight": preferred_weight,
        "negative text": negative_text,
        "notes": "",
    }
    target = path.with_suffix(".json")
    write_new(target, (json.dumps(content, indent=4, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
    return target


def _is_v(facts: LoraFacts) -> bool:
    return _PREDICTIONS[facts.prediction_type] == "v"


def _kohya(facts: LoraFacts) -> dict[str, str]:
    base = {"sd1": "sd_v1", "sd2": "sd_v2_v" if _is_v(facts) else "sd_v2", "sdxl": "sdxl_base_v1-0"}[facts.family]
    width, height = facts.resolution
    return {
        "ss_v2": str(facts.family == "sd2"),
        "ss_base_model_version": base,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(facts.rank),
        "ss_network_alpha": str(facts.alpha),
        "ss_network_args": "{}",
        "ss_output_name": facts.name,
        "ss_training_started_at": str(float(facts.started_at)),
        "ss_training_finished_at": str(float(facts.finished_at)),
        "ss_learning_rate": str(facts.learning_rate),
        "ss_optimizer": facts.optimizer,
        "ss_lr_scheduler": facts.lr_scheduler,
        "ss_num_train_images": str(facts.images),
        "ss_epoch": str(facts.epochs),
        "ss_steps": str(facts.steps),
        "ss_mixed_precision": facts.mixed_precision,
        "ss_seed": str(facts.seed),
        "ss_resolution": f"({width}, {height})",
        "ss_sd_model_name": facts.base_name,
        "ss_sd_model_hash": facts.base_sha256[:10],
        "ss_new_sd_model_hash": facts.base_sha256,
        "ss_training_comment": _comment(facts),
        "ss_bucket_info": json.dumps({"buckets": {"0": {"resolution": [width, height], "count": facts.images}}}),
        "ss_dataset_dirs": json.dumps({_FOLDER: {"n_repeats": 1, "img_count": facts.images}}),
        "ss_tag_frequency": json.dumps({_FOLDER: {tag: int(count) for tag, count in facts.tags.items()}}),
    }


def _modelspec(facts: LoraFacts) -> dict[str, str]:
    architecture = {
        "sd1": "stable-diffusion-v1",
        "sd2": "stable-diffusion-v2-768-v" if _is_v(facts) else "stable-diffusion-v2-512",
        "sdxl": "stable-diffusion-xl-v1-base",
    }[facts.family]
    finished = datetime.fromtimestamp(facts.finished_at, tz=timezone.utc)
    found = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": _STABILITY if facts.family == "sdxl" else "diffusers",
        "modelspec.title": facts.name,
        "modelspec.resolution": "x".join(map(str, facts.resolution)),
        "modelspec.date": finished.replace(microsecond=0, tzinfo=None).isoformat(),
        "modelspec.prediction_type": _PREDICTIONS[facts.prediction_type],
    }
    return {**found, **({"modelspec.description": facts.comment} if facts.comment else {})}


def _comment(facts: LoraFacts) -> str:
    # Not as JSON: the webui parses what looks like it.
    options = ", ".join(f"{key}={value}" for key, value in sorted(facts.options.items()))
    said = [f"objective {facts.objective}{f' ({options})' if options else ''}", f"dataset {facts.dataset_digest}"]
    return "; ".join([*said, *([facts.comment] if facts.comment else [])])
