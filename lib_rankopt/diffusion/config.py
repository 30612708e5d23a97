"""The shape of a model: a bundled family's, or read from an LDM ``.yaml`` or a diffusers folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_rankopt.errors import ModelError

FAMILIES = ("sd1", "sd2", "sdxl")
_BUNDLED = Path(__file__).parent / "configs"
# what reading a value of the wrong kind out of a parsed configuration raises
_WRONG = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


@dataclass(frozen=True)
class TextEncoderConfig:
    """One text encoder.

    Attributes:
        kind: key layout in a single file, ``"clip"`` (transformers') or ``"open_clip"``.
        config: arguments of ``transformers.CLIPTextConfig``.
        pad_token: what fills a chunk after its end token.
        tokenizer: folder with the vocabulary; ``None`` for CLIP's own, which comes with open_clip.
        projected: whether the pooled, projected output is used (SDXL's second encoder).
    """

    kind: str
    config: Mapping[str, Any]
    pad_token: str = "<|endoftext|>"
    tokenizer: Path | None = None
    projected: bool = False


@dataclass(frozen=True)
class BetaSchedule:
    """Training noise: ``count`` variances from ``start`` to ``end``.

    Attributes:
        schedule: ``"linear"``, or ``"scaled_linear"`` for even steps of the root.
    """

    start: float
    end: float
    count: int
    schedule: str = "scaled_linear"


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a model but its weights.

    Attributes:
        family: one of :data:`FAMILIES`.
        prediction_type: ``"epsilon"``, ``"v_prediction"``, or ``None`` where only the weights can tell (SD2
            files).
        image_size: pixels a side that the model was trained at.
        unet, vae: arguments of diffusers' ``UNet2DConditionModel`` and ``AutoencoderKL``.
    """

    family: str
    prediction_type: str | None
    image_size: int
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoders: tuple[TextEncoderConfig, ...]
    betas: BetaSchedule

    @property
    def scaling_factor(self) -> float:
        return float(self.vae["scaling_factor"])

    @property
    def latent_channels(self) -> int:
        return int(self.vae["latent_channels"])

    @property
    def downscale(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.vae["block_out_channels"]) - 1)


def bundled(family: str) -> ModelConfig:
    """The published shape of a family."""
    raw = json.loads((_BUNDLED / f"{family}.json").read_text(encoding="utf-8"))
    encoders = [TextEncoderConfig(**encoder) for encoder in raw.pop("text_encoders")]
    if family == "sdxl":
        encoders[1] = replace(encoders[1], projected=True)
    return ModelConfig(**{**raw, "text_encoders": tuple(encoders), "betas": BetaSchedule(**raw["betas"])})


def from_ldm_yaml(path: Path) -> ModelConfig:
    """Read an LDM configuration, as it lies beside a checkpoint.

    Text encoders named by a hub id get the family's own shape; a local folder in ``version:`` (absolute, or
    relative to the file) brings its ``config.json`` and vocabulary.

    Raises:
        ModelError: unreadable, not an LDM configuration, or of a family that is not supported.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        params = document["model"]["params"]
        unet = (params.get("unet_config") or params["network_config"])["params"]
        vae = params["first_stage_config"]["params"]
        family = _family_of_width(_first(unet["context_dim"]), params)
        base = bundled(family)
        found = ModelConfig(
            family=family,
            prediction_type=_prediction_of_yaml(params, base),
            image_size=int(params.get("image_size", base.image_size // 8))
            * 2 ** (len(vae["ddconfig"]["ch_mult"]) - 1),
            unet=_unet_of_yaml(unet),
            vae={
                **_vae_of_yaml(vae["ddconfig"]),
                "scaling_factor": float(params.get("scale_factor", base.scaling_factor)),
            },
            text_encoders=_text_encoders_of_yaml(params, base, path.parent),
            betas=BetaSchedule(
                float(params.get("linear_start", base.betas.start)),
                float(params.get("linear_end", base.betas.end)),
                int(params.get("timesteps", base.betas.count)),
            ),
        )
        _check(found, path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ModelError(f"{path}: cannot read this configuration: {error}") from error
    except _WRONG as error:
        raise ModelError(
            f"{path}: this is not a Stable Diffusion (LDM) configuration: {error!r} is missing or wrong"
        ) from error
    return found


def _check(config: ModelConfig, where: Path) -> None:
    """Check the values that the building of the modules does not.

    Raises:
        ModelError: naming the value.
    """
    betas, channels, factor = config.betas, config.vae["latent_channels"], config.scaling_factor
    problem = None
    if betas.count < 2:
        problem = f"it has {betas.count} noise levels, but there must be at least 2"
    elif not 0 < betas.start <= betas.end < 1:
        problem = f"its noise goes from {betas.start} to {betas.end}, but must rise between 0 and 1"
    elif isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        problem = f"the latent channels (z_channels) are {channels!r}, but must be a whole number from 1"
    elif not math.isfinite(factor) or factor == 0:
        problem = f"the latents' scale factor is {factor}"
    elif config.image_size < config.downscale:
        problem = f"the image size is {config.image_size} pixels, less than one latent cell ({config.downscale})"
    if problem is not None:
        raise ModelError(f"{where}: this configuration cannot be used: {problem}")


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)


def _family_of_width(width: int, params: Mapping[str, Any]) -> str:
    if "network_config" in params or width == 2048:
        return "sdxl"
    target = str(params.get("cond_stage_config", {}).get("target", ""))
    return "sd2" if "OpenCLIP" in target or width == 1024 else "sd1"


def _prediction_of_yaml(params: Mapping[str, Any], base: ModelConfig) -> str | None:
    if base.family == "sdxl":
        scaling = json.dumps(params.get("denoiser_config", {}))
        return "v_prediction" if "VScaling" in scaling else "epsilon"
    return "v_prediction" if params.get("parameterization", "eps") == "v" else "epsilon"


def _unet_of_yaml(p: Mapping[str, Any]) -> dict[str, Any]:
    mults = list(p["channel_mult"])
    attends = [2**level in p["attention_resolutions"] for level in range(len(mults))]
    channels = [p["model_channels"] * mult for mult in mults]
    per_head = p.get("num_head_channels", -1)
    depth = p.get("transformer_depth", 1)
    config: dict[str, Any] = {
        "in_channels": p["in_channels"],
        "out_channels": p["out_channels"],
        "sample_size": p.get("image_size", 64),
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "layers_per_block": p["num_res_blocks"],
        "cross_attention_dim": _first(p["context_dim"]),
        # diffusers' name is misleading: for these models it is the number of heads
        "attention_head_dim": [c // per_head for c in channels] if per_head > 0 else p["num_heads"],
        "use_linear_projection": bool(p.get("use_linear_in_transformer", False)),
        "transformer_layers_per_block": [max(1, d) for d in depth] if isinstance(depth, list) else depth,
    }
    if p.get("num_classes") == "sequential":
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": p["adm_in_channels"],
        }
    return config


def _vae_of_yaml(p: Mapping[str, Any]) -> dict[str, Any]:
    channels = [p["ch"] * mult for mult in p["ch_mult"]]
    return {
        "in_channels": p["in_channels"],
        "out_channels": p["out_ch"],
        "latent_channels": p["z_channels"],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": p["num_res_blocks"],
        "sample_size": p["resolution"],
    }


def _text_encoders_of_yaml(
    params: Mapping[str, Any], base: ModelConfig, folder: Path
) -> tuple[TextEncoderConfig, ...]:
    version = params.get("cond_stage_config", {}).get("params", {}).get("version")
    if (
        base.family != "sd1"
        or not version
        or (str(version).startswith("openai/") and not (folder / version).exists())
    ):
        return base.text_encoders
    home = Path(version) if Path(version).is_absolute() else folder / version
    if not (home / "config.json").is_file():
        raise ModelError(f"the text encoder folder {home}, named by the configuration, has no config.json")
    return (replace(base.text_encoders[0], config=read_json(home / "config.json"), tokenizer=home),)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: missing, unreadable or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object")
    return value


def from_diffusers(folder: Path) -> ModelConfig:
    """Read the shape of a diffusers folder from its ``config.json`` files.

    Raises:
        ModelError: no such pipeline, one that is not supported, or values that cannot be.
    """
    try:
        found = _from_diffusers(folder)
        _check(found, folder)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {error}") from error
    except _WRONG as error:
        raise ModelError(f"{folder}: its configuration is broken: {error!r} is missing or wrong") from error
    return found


def _from_diffusers(folder: Path) -> ModelConfig:
    index = read_json(folder / "model_index.json")
    family = _family_of_pipeline(folder, str(index.get("_class_name")))
    unet, vae = read_json(folder / "unet/config.json"), read_json(folder / "vae/config.json")
    scheduler = read_json(folder / "scheduler/scheduler_config.json")
    if unet.get("in_channels") != vae.get("latent_channels", 4):
        raise ModelError(
            f"{folder}: the UNet takes {unet.get('in_channels')} channels, so this is an inpainting or editing model, "
            "which is not supported"
        )
    if family != "sdxl" and unet.get("cross_attention_dim") == 1024:
        family = "sd2"
    return ModelConfig(
        family=family,
        prediction_type=str(scheduler.get("prediction_type") or "epsilon"),
        image_size=_size_of_diffusers(unet, vae),
        unet=_public(unet),
        vae={"scaling_factor": 0.18215, "latent_channels": 4, **_public(vae)},
        text_encoders=_text_encoders_of_diffusers(folder, family),
        betas=BetaSchedule(
            float(scheduler.get("beta_start", 0.0001)),
            float(scheduler.get("beta_end", 0.02)),
            int(scheduler.get("num_train_timesteps", 1000)),
            str(scheduler.get("beta_schedule", "linear")),
        ),
    )


def _family_of_pipeline(folder: Path, pipeline: str) -> str:
    families = {"StableDiffusionPipeline": "sd1", "StableDiffusionXLPipeline": "sdxl"}
    if pipeline not in families:
        raise ModelError(f"{folder} holds a {pipeline}; supported are {' and '.join(families)}")
    return families[pipeline]


def _size_of_diffusers(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    cells = _first(unet.get("sample_size") or 64)
    return cells * 2 ** (len(vae.get("block_out_channels", [0] * 4)) - 1)


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _text_encoders_of_diffusers(folder: Path, family: str) -> tuple[TextEncoderConfig, ...]:
    names = ("", "_2") if family == "sdxl" else ("",)
    return tuple(
        TextEncoderConfig(
            kind="clip",
            config=read_json(folder / f"text_encoder{name}" / "config.json"),
            pad_token=_pad_token(folder / f"tokenizer{name}"),
            tokenizer=folder / f"tokenizer{name}",
            projected=name == "_2",
        )
        for name in names
    )


def _pad_token(folder: Path) -> str:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            token = read_json(folder / name).get("pad_token")
            if token:
                return str(token["content"] if isinstance(token, dict) else token)
    return "<|endoftext|>"
