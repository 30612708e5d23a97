"""From the original (LDM) key layout of a single file to the keys of diffusers and transformers modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lib_rankopt.diffusion.config import ModelConfig, TextEncoderConfig
from lib_rankopt.diffusion.families import UNET
from lib_rankopt.errors import ModelError

State = dict[str, Tensor]

_VAE = "first_stage_model."
_OPEN_CLIP_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_TOP = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}


def unet_state(tensors: Mapping[str, Tensor], config: ModelConfig) -> State:
    """The UNet's tensors under diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    part = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET)}
    return _converted(convert_ldm_unet_checkpoint, part, dict(config.unet))


def vae_state(tensors: Mapping[str, Tensor], config: ModelConfig) -> State:
    """The VAE's tensors under diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    # without the losses that very old files carry
    part = {
        n: t
        for n, t in tensors.items()
        if n.startswith(_VAE) and not n.startswith((f"{_VAE}loss.", f"{_VAE}model_ema."))
    }
    return _converted(convert_ldm_vae_checkpoint, part, dict(config.vae))


def _converted(convert, part: State, config: dict) -> State:  # type: ignore[no-untyped-def, type-arg]
    try:
        return dict(convert(part, config))
    except (KeyError, AttributeError) as error:
        # a key that diffusers looks up, or a None it found in place of a tensor
        raise ModelError(f"the checkpoint is incomplete: {error} is missing") from error


def text_state(tensors: Mapping[str, Tensor], config: ModelConfig, index: int) -> State:
    """One text encoder's tensors under the names of transformers' ``CLIPTextModelWithProjection``."""
    encoder = config.text_encoders[index]
    prefix = f"conditioner.embedders.{index}." if config.family == "sdxl" else "cond_stage_model."
    if encoder.kind == "open_clip":
        part = _under(tensors, f"{prefix}model.")
        return _open_clip_state(part, encoder)
    part = _under(tensors, f"{prefix}transformer.")
    # files older than transformers 4.1 lack the inner name
    return {
        name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}": t
        for name, t in part.items()
    }


def _under(tensors: Mapping[str, Tensor], prefix: str) -> State:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _open_clip_state(part: State, encoder: TextEncoderConfig) -> State:
    state: State = {}
    layers = int(encoder.config["num_hidden_layers"])
    for name, tensor in part.items():
        if name in _OPEN_CLIP_TOP:
            state[_OPEN_CLIP_TOP[name]] = tensor
        elif name == "text_projection" and encoder.projected:
            state["text_projection.weight"] = tensor.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            number, rest = name.removeprefix("transformer.resblocks.").split(".", 1)
            # SD2 stops before the last layer, and its configuration counts one layer less than the file has
            if int(number) < layers:
                state.update(_open_clip_layer(f"text_model.encoder.layers.{number}", rest, tensor))
    return state


def _open_clip_layer(layer: str, name: str, tensor: Tensor) -> State:
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        return {
            f"{layer}.self_attn.{part}_proj.{kind}": t for part, t in zip("qkv", tensor.chunk(3), strict=True)
        }
    module, _, kind = name.rpartition(".")
    return {f"{layer}.{_OPEN_CLIP_LAYER.get(module, module)}.{kind}": tensor}
