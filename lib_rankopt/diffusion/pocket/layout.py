"""Names of the pocket model's tensors: the original (LDM) layout of its single file, and diffusers'.

Both ways of an explicit table, so that the writer of the file and the exporter cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lib_rankopt.diffusion.pocket.architecture import UNET_CONFIG, VAE_CONFIG

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."

State = dict[str, Tensor]

_UNET_TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_UNET_INNER = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def unet_blocks() -> dict[str, str]:
    """LDM's names of the UNet's blocks to diffusers' (without prefix)."""
    levels, layers = len(UNET_CONFIG["block_out_channels"]), UNET_CONFIG["layers_per_block"]
    names = dict(_UNET_TOP)
    for i in range(levels):
        with_attention = UNET_CONFIG["down_block_types"][i].startswith("CrossAttn")
        for j in range(layers):
            block = f"input_blocks.{(layers + 1) * i + j + 1}"
            names[f"{block}.0"] = f"down_blocks.{i}.resnets.{j}"
            if with_attention:
                names[f"{block}.1"] = f"down_blocks.{i}.attentions.{j}"
        if i < levels - 1:
            names[f"input_blocks.{(layers + 1) * (i + 1)}.0.op"] = f"down_blocks.{i}.downsamplers.0.conv"
    for i in range(levels):
        with_attention = UNET_CONFIG["up_block_types"][i].startswith("CrossAttn")
        for j in range(layers + 1):
            block = f"output_blocks.{(layers + 1) * i + j}"
            names[f"{block}.0"] = f"up_blocks.{i}.resnets.{j}"
            if with_attention:
                names[f"{block}.1"] = f"up_blocks.{i}.attentions.{j}"
        if i < levels - 1:
            names[f"{block}.{1 + with_attention}.conv"] = f"up_blocks.{i}.upsamplers.0.conv"
    return names


def vae_blocks() -> dict[str, str]:
    """LDM's names of the VAE's blocks to diffusers' (without prefix)."""
    levels, layers = len(VAE_CONFIG["block_out_channels"]), VAE_CONFIG["layers_per_block"]
    names = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for side in ("encoder", "decoder"):
        names |= {f"{side}.conv_in": f"{side}.conv_in", f"{side}.conv_out": f"{side}.conv_out"}
        names |= {f"{side}.norm_out": f"{side}.conv_norm_out"}
        names |= {f"{side}.mid.block_{j + 1}": f"{side}.mid_block.resnets.{j}" for j in range(2)}
        for mine, theirs in _VAE_ATTENTION.items():
            names[f"{side}.mid.attn_1.{mine}"] = f"{side}.mid_block.attentions.0.{theirs}"
    for i in range(levels):
        up = levels - 1 - i
        names |= {f"encoder.down.{i}.block.{j}": f"encoder.down_blocks.{i}.resnets.{j}" for j in range(layers)}
        names |= {f"decoder.up.{up}.block.{j}": f"decoder.up_blocks.{i}.resnets.{j}" for j in range(layers + 1)}
        if i < levels - 1:
            names[f"encoder.down.{i}.downsample.conv"] = f"encoder.down_blocks.{i}.downsamplers.0.conv"
            names[f"decoder.up.{up}.upsample.conv"] = f"decoder.up_blocks.{i}.upsamplers.0.conv"
    return names


def _renamed(state: Mapping[str, Tensor], blocks: Mapping[str, str], inner: Mapping[str, str]) -> State:
    """`state` with the longest fitting block name, and the name inside it, replaced."""
    result = {}
    for name, tensor in state.items():
        block = max((b for b in blocks if name.startswith(b + ".")), key=len)
        rest = name[len(block) + 1 :]
        part = next((p for p in inner if rest.startswith(p + ".")), None)
        if part is not None:
            rest = inner[part] + rest[len(part) :]
        result[f"{blocks[block]}.{rest}"] = tensor
    return result


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {theirs: mine for mine, theirs in table.items()}


def _is_vae_projection(name: str) -> bool:
    return ".attn_1." in name and name.endswith(".weight") and ".norm." not in name


def to_ldm(unet: Mapping[str, Tensor], vae: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> State:
    """One LDM state of the three parts' (diffusers' and transformers' names)."""
    state = {UNET + n: t for n, t in _renamed(unet, _inverse(unet_blocks()), _inverse(_UNET_INNER)).items()}
    shortcut = {"conv_shortcut": "nin_shortcut"}
    for name, tensor in _renamed(vae, _inverse(vae_blocks()), shortcut).items():
        state[VAE + name] = tensor[:, :, None, None] if _is_vae_projection(name) else tensor
    for name, tensor in text.items():
        if not name.endswith("position_ids"):
            state[TEXT + (name if name.startswith("text_model.") else f"text_model.{name}")] = tensor
    return state


def from_ldm(state: Mapping[str, Tensor]) -> tuple[State, State, State]:
    """UNet, VAE (diffusers' names) and text encoder (transformers' names) of an LDM state."""
    unet = {n.removeprefix(UNET): t for n, t in state.items() if n.startswith(UNET)}
    vae = {
        n.removeprefix(VAE): t.flatten(1) if _is_vae_projection(n) else t for n, t in state.items() if n.startswith(VAE)
    }
    text = {n.removeprefix(TEXT): t for n, t in state.items() if n.startswith(TEXT)}
    return _renamed(unet, unet_blocks(), _UNET_INNER), _renamed(vae, vae_blocks(), {"nin_shortcut": "conv_shortcut"}), text


def ldm_yaml(tokenizer: str) -> str:
    """The `.yaml` that goes beside the single file; `tokenizer` is the folder that `version:` names."""
    widths, vae_widths = UNET_CONFIG["block_out_channels"], VAE_CONFIG["block_out_channels"]
    return _YAML.format(
        tokenizer=tokenizer,
        model_channels=widths[0],
        channel_mult=[w // widths[0] for w in widths],
        blocks=UNET_CONFIG["layers_per_block"],
        heads=UNET_CONFIG["attention_head_dim"],
        context=UNET_CONFIG["cross_attention_dim"],
        ch=vae_widths[0],
        ch_mult=[w // vae_widths[0] for w in vae_widths],
        vae_blocks=VAE_CONFIG["layers_per_block"],
        resolution=VAE_CONFIG["sample_size"],
        latent=UNET_CONFIG["sample_size"],
        scale=VAE_CONFIG["scaling_factor"],
    )


_YAML = """\
model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: 1000
    first_stage_key: "jpg"
    cond_stage_key: "txt"
    image_size: {latent}
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    monitor: val/loss_simple_ema
    scale_factor: {scale}
    use_ema: False
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: {latent}
        in_channels: 4
        out_channels: 4
        model_channels: {model_channels}
        attention_resolutions: [ 4, 2, 1 ]
        num_res_blocks: {blocks}
        channel_mult: {channel_mult}
        num_heads: {heads}
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: {context}
        use_checkpoint: False
        legacy: False
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: {resolution}
          in_channels: 3
          out_ch: 3
          ch: {ch}
          ch_mult: {ch_mult}
          num_res_blocks: {vae_blocks}
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {tokenizer}
"""
