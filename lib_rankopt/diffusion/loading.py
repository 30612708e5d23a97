"""Load a Stable Diffusion model from a diffusers folder or a single file, without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_rankopt.diffusion import checkpoint, config, convert, families
from lib_rankopt.diffusion.config import BetaSchedule, ModelConfig, TextEncoderConfig
from lib_rankopt.diffusion.denoiser import Conditioning, NoiseSchedule
from lib_rankopt.diffusion.tokenizer import ClipTokenizer, clip_tokenizer, tokenizer_from
from lib_rankopt.errors import MissingDependencyError, ModelError

_COMPONENT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
_V_THRESHOLD = -1.0
# how early versions of diffusers named the VAE's attention
_OLD_ATTENTION = re.compile(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class StableDiffusion:
    """A loaded model, in evaluation mode, without gradients.

    Attributes:
        config: its shape and family; ``prediction_type`` is settled.
        unet, vae: diffusers modules.
        text_encoders: transformers ``CLIPTextModel`` (or with projection, SDXL's second), one or two.
        tokenizers: one per text encoder.
        device, dtype: of the UNet and the text encoders. SDXL's VAE stays in float32, as it overflows in half
            precision.
    """

    config: ModelConfig
    unet: nn.Module
    vae: nn.Module
    text_encoders: tuple[nn.Module, ...]
    tokenizers: tuple[ClipTokenizer, ...]
    device: torch.device
    dtype: torch.dtype

    @property
    def schedule(self) -> NoiseSchedule:
        """The model's noise levels."""
        return NoiseSchedule(alphas_cumprod(self.config.betas))

    def predict(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The UNet: eps or v of ``x`` ``[n, C, h, w]`` at (fractional) timesteps ``[n]``, float32."""
        added = None
        if cond.pooled is not None:
            added = {"text_embeds": cond.pooled, "time_ids": cond.time_ids}
        output = self.unet(x.to(self.dtype), t, cond.context, added_cond_kwargs=added, return_dict=False)[0]
        return output.float()

    def encode(self, pixels: Tensor) -> Tensor:
        """Clean latents of images ``[n, 3, H, W]`` in -1 … 1: float32 ``[n, C, h, w]``, the most probable ones."""
        weight = next(self.vae.parameters())
        distribution = self.vae.encode(pixels.to(weight.device, weight.dtype), return_dict=False)[0]
        return distribution.mode().float() * self.config.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        """Images of clean latents ``[n, C, h, w]``: float32 ``[n, 3, H, W]``, -1 … 1 and a little beyond."""
        vae_dtype = next(self.vae.parameters()).dtype
        return self.vae.decode((latent / self.config.scaling_factor).to(vae_dtype), return_dict=False)[
            0
        ].float()


def alphas_cumprod(betas: BetaSchedule) -> Tensor:
    """Float32 ``[count]``, computed in double precision.

    Raises:
        ModelError: unknown kind of schedule.
    """
    if betas.schedule not in ("scaled_linear", "linear"):
        raise ModelError(f"noise schedule {betas.schedule!r} is not supported; known: scaled_linear, linear")
    power = 0.5 if betas.schedule == "scaled_linear" else 1.0
    steps = torch.linspace(betas.start**power, betas.end**power, betas.count, dtype=torch.float64) ** (
        1 / power
    )
    return (1 - steps).cumprod(0).float()


def read_config(path: Path) -> ModelConfig:
    """Family and shape of a model without loading its weights; for pickles they are read all the same.

    ``prediction_type`` is ``None`` where only the loaded weights can tell.

    Raises:
        ModelError: missing, broken or unsupported.
    """
    if path.is_dir():
        return config.from_diffusers(path)
    return _config_of_file(path, checkpoint.read_shapes(path))


def load(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StableDiffusion:
    """Load a model.

    Args:
        path: a diffusers folder, or a single file with or without its LDM ``.yaml`` beside it.
        device: where the modules go.
        dtype: of UNet and text encoders, ``torch.float16`` or ``bfloat16`` on GPUs.

    Raises:
        ModelError: missing, broken, incomplete or unsupported; the message names the family seen.
        MissingDependencyError: diffusers, transformers or open_clip is not installed.
    """
    if path.is_dir():
        shape = config.from_diffusers(path)
        states = _states_of_folder(path, shape)
    else:
        tensors = checkpoint.read_tensors(path)
        shape = _config_of_file(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        states = _states_of_file(tensors, shape, path)
        del tensors
    return _settled(assemble(shape, states, device, dtype, where=str(path)), str(path))


def _config_of_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    yaml = path.with_suffix(".yaml")
    if yaml.is_file() and f"{families.UNET}input_blocks.0.0.weight" in shapes:
        families.require_plain_input(shapes, str(path))
        families.require_parts(shapes, str(path))
        found = config.from_ldm_yaml(yaml)
    else:
        found = config.bundled(families.detect(shapes, str(path)))
    # merge tools mark v-prediction models with an empty tensor of this name
    return replace(found, prediction_type="v_prediction") if "v_pred" in shapes else found


@dataclass
class States:
    """Weights of all parts under the names of diffusers and transformers; emptied as they are used."""

    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: list[dict[str, Tensor]]


def _states_of_file(tensors: dict[str, Tensor], shape: ModelConfig, path: Path) -> States:
    try:
        return States(
            convert.unet_state(tensors, shape),
            convert.vae_state(tensors, shape),
            [convert.text_state(tensors, shape, i) for i in range(len(shape.text_encoders))],
        )
    except ImportError as error:
        raise _missing(error) from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _states_of_folder(folder: Path, shape: ModelConfig) -> States:
    names = ["text_encoder", "text_encoder_2"][: len(shape.text_encoders)]
    return States(
        _component(folder / "unet"),
        _vae_names(_component(folder / "vae")),
        [_text_names(_component(folder / name)) for name in names],
    )


def _component(folder: Path) -> dict[str, Tensor]:
    try:
        for name in _COMPONENT_FILES:
            for file in (folder / name, folder / name.replace(".", ".fp16.", 1)):
                if file.is_file():
                    return checkpoint.read_tensors(file)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {error}") from error
    raise ModelError(
        f"{folder}: no weights here; looked for {', '.join(_COMPONENT_FILES)} and their fp16 variants"
    )


def _vae_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under today's names of the attention; many published SD1 and SD2 folders have the old ones."""
    renamed = {}
    for name, tensor in state.items():
        old = _OLD_ATTENTION.fullmatch(name)
        renamed[f"{old[1]}.{_ATTENTION[old[2]]}.{old[3]}" if old else name] = tensor
    return renamed


def _text_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers from 5.6 on writes CLIPTextModel without the ``text_model.`` that every older file has."""
    return {
        n if n.startswith(("text_model.", "text_projection.")) else f"text_model.{n}": t
        for n, t in state.items()
    }


def assemble(
    shape: ModelConfig,
    states: States,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    where: str = "the model",
) -> StableDiffusion:
    """Build the modules of a shape and fill them, part by part so that no part is held twice.

    Raises:
        ModelError: the configuration cannot be built; weights are missing, left over or of another shape, some of
            which are named.
        MissingDependencyError: diffusers or transformers is not installed.
    """
    try:
        from diffusers import AutoencoderKL, UNet2DConditionModel
    except ImportError as error:
        raise _missing(error) from error
    target = torch.device(device)
    vae_dtype = torch.float32 if shape.family == "sdxl" else dtype
    # unlike the constructors, from_config passes over keys that only other versions know
    unet = _filled(
        lambda: UNet2DConditionModel.from_config(dict(shape.unet)), states.unet, f"{where}: UNet", target, dtype
    )
    states.unet = {}
    vae = _filled(
        lambda: AutoencoderKL.from_config(dict(shape.vae)), states.vae, f"{where}: VAE", target, vae_dtype
    )
    states.vae = {}
    encoders = []
    for encoder in shape.text_encoders:
        state = states.text.pop(0)
        encoders.append(_text_encoder(encoder, state, f"{where}: text encoder", target, dtype))
    tokenizers = tuple(_tokenizer(encoder) for encoder in shape.text_encoders)
    return StableDiffusion(shape, unet, vae, tuple(encoders), tokenizers, target, dtype)


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"loading a model needs diffusers and transformers ({error}); install them with: pip install diffusers transformers"
    )


def _tokenizer(encoder: TextEncoderConfig) -> ClipTokenizer:
    if encoder.tokenizer is None:
        return clip_tokenizer(encoder.pad_token)
    return tokenizer_from(encoder.tokenizer, encoder.pad_token)


def outlines(shape: ModelConfig, where: str = "the model") -> tuple[nn.Module, tuple[nn.Module, ...]]:
    """UNet and text encoders of a shape on the meta device: the names and shapes of all weights, without memory for them.

    Raises:
        ModelError: the configuration cannot be built. MissingDependencyError: diffusers or transformers is not installed.
    """
    try:
        from diffusers import UNet2DConditionModel
    except ImportError as error:
        raise _missing(error) from error
    try:
        with torch.device("meta"):
            return UNet2DConditionModel.from_config(dict(shape.unet)), tuple(_empty_encoder(one) for one in shape.text_encoders)
    except _build_errors() as error:
        raise ModelError(f"{where}: its configuration cannot be built: {error}") from error


def _empty_encoder(encoder: TextEncoderConfig) -> nn.Module:
    try:
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    except ImportError as error:
        raise _missing(error) from error
    raw: dict[str, Any] = dict(encoder.config)
    kind = CLIPTextModelWithProjection if encoder.projected else CLIPTextModel
    model: nn.Module = kind(CLIPTextConfig.from_dict(raw.get("text_config") or raw))
    return model


def _text_encoder(
    encoder: TextEncoderConfig, state: dict[str, Tensor], where: str, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    if not encoder.projected:
        state.pop("text_projection.weight", None)

    def build() -> nn.Module:
        model = _empty_encoder(encoder)
        if not hasattr(model, "text_model"):
            renamed = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
            state.clear()
            state.update(renamed)
        return model

    return _filled(build, state, where, device, dtype)


def _filled(
    build: Callable[[], nn.Module],
    state: dict[str, Tensor],
    where: str,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Module:
    try:
        module = _built(build)
    except _build_errors() as error:
        raise ModelError(f"{where}: its configuration cannot be built: {error}") from error
    have, need = set(state), set(module.state_dict())
    # transformers kept the positions as a buffer in the file up to 4.30
    missing = sorted(name for name in need - have if not name.endswith("position_ids"))
    unexpected = sorted(name for name in have - need if not name.endswith("position_ids"))
    if missing or unexpected:
        problems = _names("lacks", missing) + _names("has unknown", unexpected)
        raise ModelError(f"{where}: {problems}the file is incomplete or of another model")
    for name, tensor in state.items():
        state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    try:
        module.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        lines = str(error).split("\n")[1:3]
        raise ModelError(f"{where}: shapes do not fit: {' '.join(line.strip() for line in lines)}") from error
    _real_buffers(module)
    return module.to(device).eval().requires_grad_(False)


def _names(verb: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{verb} {', '.join(names[:3])}{more}; "


def _built(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module without memory for its weights, nor the seconds that random ones take."""
    with torch.device("meta"):
        return build()


def _build_errors() -> tuple[type[Exception], ...]:
    """What modules and their configurations raise when a value has the wrong kind or does not fit the others."""
    plain = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError)
    try:
        # transformers' from version 5 on; it is derived from nothing else
        from huggingface_hub.errors import StrictDataclassError
    except ImportError:
        return plain
    return (*plain, StrictDataclassError)


def _real_buffers(module: nn.Module) -> None:
    """Fill the one buffer that is in no state dict: CLIP's position numbers."""
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:
            owner, _, leaf = name.rpartition(".")
            if leaf != "position_ids":
                raise ModelError(
                    f"cannot fill the buffer {name}; this version of transformers or diffusers is not supported"
                )
            module.get_submodule(owner).register_buffer(
                leaf, torch.arange(buffer.shape[-1])[None], persistent=False
            )


def _settled(model: StableDiffusion, where: str) -> StableDiffusion:
    if model.config.prediction_type is not None:
        return model
    kind = "v_prediction" if _looks_like_v(model, where) else "epsilon"
    return replace(model, config=replace(model.config, prediction_type=kind))


def _looks_like_v(model: StableDiffusion, where: str) -> bool:
    """Whether an SD2 UNet predicts v: at the last timestep, an eps model returns about its input, a v model something
    far below it.

    The probe and its threshold are the webui's (``modules/sd_models_config.py``): 0.5 everywhere in the latent and in
    two text tokens. It runs in float32 on the CPU, so that the answer does not depend on where the model will run.

    Raises:
        ModelError: the UNet answers with values that are not finite.
    """
    width = int(model.config.unet["cross_attention_dim"])
    x = torch.full((1, model.config.latent_channels, 8, 8), 0.5)
    context, t = torch.full((1, 2, width), 0.5), torch.tensor([model.config.betas.count - 1])
    probed = replace(model, device=torch.device("cpu"), dtype=torch.float32)
    # outside inference mode, which would leave weights that cannot be trained
    model.unet.to(probed.device, probed.dtype)
    with torch.inference_mode():
        difference = (probed.predict(x, t, Conditioning(context)) - x).mean().item()
    model.unet.to(model.device, model.dtype)
    if not math.isfinite(difference):
        raise ModelError(f"{where}: the UNet returns not-a-number or infinite values; the checkpoint may be damaged")
    return difference < _V_THRESHOLD
