"""Names and shapes of original (LDM) checkpoints, written from the architecture, not from a converter."""

from __future__ import annotations

from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class UNetLayout:
    """LDM's ``UNetModel`` arguments; ``depth`` is the number of transformer blocks per level, 0 for none."""

    channels: int = 320
    mults: tuple[int, ...] = (1, 2, 4, 4)
    depth: tuple[int, ...] = (1, 1, 1, 0)
    middle_depth: int = 1
    context: int = 768
    linear: bool = False
    label_width: int | None = None
    in_channels: int = 4
    blocks: int = 2


SD1 = UNetLayout()
SD2 = UNetLayout(context=1024, linear=True)
SDXL = UNetLayout(
    mults=(1, 2, 4), depth=(0, 2, 10), middle_depth=10, context=2048, linear=True, label_width=2816
)


def _pair(shapes: Shapes, name: str, weight: tuple[int, ...]) -> None:
    shapes[f"{name}.weight"] = weight
    shapes[f"{name}.bias"] = weight[:1]


def _norm(shapes: Shapes, name: str, width: int) -> None:
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)


def _resnet(shapes: Shapes, name: str, ins: int, outs: int, embedding: int) -> None:
    _norm(shapes, f"{name}.in_layers.0", ins)
    _pair(shapes, f"{name}.in_layers.2", (outs, ins, 3, 3))
    _pair(shapes, f"{name}.emb_layers.1", (outs, embedding))
    _norm(shapes, f"{name}.out_layers.0", outs)
    _pair(shapes, f"{name}.out_layers.3", (outs, outs, 3, 3))
    if ins != outs:
        _pair(shapes, f"{name}.skip_connection", (outs, ins, 1, 1))


def _transformer(shapes: Shapes, name: str, width: int, depth: int, layout: UNetLayout) -> None:
    kernel = () if layout.linear else (1, 1)
    _norm(shapes, f"{name}.norm", width)
    _pair(shapes, f"{name}.proj_in", (width, width, *kernel))
    _pair(shapes, f"{name}.proj_out", (width, width, *kernel))
    for i in range(depth):
        block = f"{name}.transformer_blocks.{i}"
        for attention, source in (("attn1", width), ("attn2", layout.context)):
            shapes[f"{block}.{attention}.to_q.weight"] = (width, width)
            shapes[f"{block}.{attention}.to_k.weight"] = (width, source)
            shapes[f"{block}.{attention}.to_v.weight"] = (width, source)
            _pair(shapes, f"{block}.{attention}.to_out.0", (width, width))
        _pair(shapes, f"{block}.ff.net.0.proj", (8 * width, width))
        _pair(shapes, f"{block}.ff.net.2", (width, 4 * width))
        for norm in ("norm1", "norm2", "norm3"):
            _norm(shapes, f"{block}.{norm}", width)


def unet(layout: UNetLayout, prefix: str = "model.diffusion_model.") -> Shapes:
    shapes: Shapes = {}
    base, embedding = layout.channels, 4 * layout.channels
    _pair(shapes, "time_embed.0", (embedding, base))
    _pair(shapes, "time_embed.2", (embedding, embedding))
    if layout.label_width is not None:
        _pair(shapes, "label_emb.0.0", (embedding, layout.label_width))
        _pair(shapes, "label_emb.0.2", (embedding, embedding))
    _pair(shapes, "input_blocks.0.0", (base, layout.in_channels, 3, 3))
    skips, width, number = [base], base, 1
    for level, mult in enumerate(layout.mults):
        for _ in range(layout.blocks):
            _resnet(shapes, f"input_blocks.{number}.0", width, base * mult, embedding)
            width = base * mult
            if layout.depth[level]:
                _transformer(shapes, f"input_blocks.{number}.1", width, layout.depth[level], layout)
            skips.append(width)
            number += 1
        if level < len(layout.mults) - 1:
            _pair(shapes, f"input_blocks.{number}.0.op", (width, width, 3, 3))
            skips.append(width)
            number += 1
    _resnet(shapes, "middle_block.0", width, width, embedding)
    _transformer(shapes, "middle_block.1", width, layout.middle_depth, layout)
    _resnet(shapes, "middle_block.2", width, width, embedding)
    number = 0
    for level in reversed(range(len(layout.mults))):
        for i in range(layout.blocks + 1):
            _resnet(
                shapes,
                f"output_blocks.{number}.0",
                width + skips.pop(),
                base * layout.mults[level],
                embedding,
            )
            width, place = base * layout.mults[level], 1
            if layout.depth[level]:
                _transformer(shapes, f"output_blocks.{number}.1", width, layout.depth[level], layout)
                place = 2
            if level and i == layout.blocks:
                _pair(shapes, f"output_blocks.{number}.{place}.conv", (width, width, 3, 3))
            number += 1
    _norm(shapes, "out.0", base)
    _pair(shapes, "out.2", (4, base, 3, 3))
    return {prefix + name: shape for name, shape in shapes.items()}


def _vae_resnet(shapes: Shapes, name: str, ins: int, outs: int) -> None:
    _norm(shapes, f"{name}.norm1", ins)
    _pair(shapes, f"{name}.conv1", (outs, ins, 3, 3))
    _norm(shapes, f"{name}.norm2", outs)
    _pair(shapes, f"{name}.conv2", (outs, outs, 3, 3))
    if ins != outs:
        _pair(shapes, f"{name}.nin_shortcut", (outs, ins, 1, 1))


def _vae_middle(shapes: Shapes, name: str, width: int) -> None:
    for block in ("block_1", "block_2"):
        _vae_resnet(shapes, f"{name}.{block}", width, width)
    _norm(shapes, f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        _pair(shapes, f"{name}.attn_1.{part}", (width, width, 1, 1))


def vae(
    channels: int = 128,
    mults: tuple[int, ...] = (1, 2, 4, 4),
    blocks: int = 2,
    prefix: str = "first_stage_model.",
) -> Shapes:
    shapes: Shapes = {}
    widths = [channels * mult for mult in mults]
    _pair(shapes, "encoder.conv_in", (channels, 3, 3, 3))
    width = channels
    for level, outs in enumerate(widths):
        for i in range(blocks):
            _vae_resnet(shapes, f"encoder.down.{level}.block.{i}", width, outs)
            width = outs
        if level < len(widths) - 1:
            _pair(shapes, f"encoder.down.{level}.downsample.conv", (width, width, 3, 3))
    _vae_middle(shapes, "encoder.mid", width)
    _norm(shapes, "encoder.norm_out", width)
    _pair(shapes, "encoder.conv_out", (8, width, 3, 3))
    _pair(shapes, "decoder.conv_in", (width, 4, 3, 3))
    _vae_middle(shapes, "decoder.mid", width)
    for level in reversed(range(len(widths))):
        for i in range(blocks + 1):
            _vae_resnet(shapes, f"decoder.up.{level}.block.{i}", width, widths[level])
            width = widths[level]
        if level:
            _pair(shapes, f"decoder.up.{level}.upsample.conv", (width, width, 3, 3))
    _norm(shapes, "decoder.norm_out", width)
    _pair(shapes, "decoder.conv_out", (3, width, 3, 3))
    _pair(shapes, "quant_conv", (8, 8, 1, 1))
    _pair(shapes, "post_quant_conv", (4, 4, 1, 1))
    return {prefix + name: shape for name, shape in shapes.items()}


def clip_text(
    width: int = 768,
    layers: int = 12,
    vocabulary: int = 49408,
    hidden: int | None = None,
    prefix: str = "cond_stage_model.transformer.",
) -> Shapes:
    """transformers' CLIPTextModel, as SD1 and SDXL's first encoder carry it."""
    shapes: Shapes = {"embeddings.position_ids": (1, 77)}
    shapes["embeddings.token_embedding.weight"] = (vocabulary, width)
    shapes["embeddings.position_embedding.weight"] = (77, width)
    hidden = hidden or 4 * width
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            _pair(shapes, f"{layer}.self_attn.{part}", (width, width))
        _norm(shapes, f"{layer}.layer_norm1", width)
        _pair(shapes, f"{layer}.mlp.fc1", (hidden, width))
        _pair(shapes, f"{layer}.mlp.fc2", (width, hidden))
        _norm(shapes, f"{layer}.layer_norm2", width)
    _norm(shapes, "final_layer_norm", width)
    return {f"{prefix}text_model.{name}": shape for name, shape in shapes.items()}


def open_clip_text(
    width: int = 1024,
    layers: int = 24,
    vocabulary: int = 49408,
    projection: int | None = None,
    prefix: str = "cond_stage_model.model.",
) -> Shapes:
    """open_clip's text tower, as SD2 and SDXL's second encoder carry it."""
    shapes: Shapes = {
        "positional_embedding": (77, width),
        "text_projection": (width, projection or width),
        "logit_scale": (),
        "token_embedding.weight": (vocabulary, width),
    }
    for i in range(layers):
        block = f"transformer.resblocks.{i}"
        _norm(shapes, f"{block}.ln_1", width)
        shapes[f"{block}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{block}.attn.in_proj_bias"] = (3 * width,)
        _pair(shapes, f"{block}.attn.out_proj", (width, width))
        _norm(shapes, f"{block}.ln_2", width)
        _pair(shapes, f"{block}.mlp.c_fc", (4 * width, width))
        _pair(shapes, f"{block}.mlp.c_proj", (width, 4 * width))
    _norm(shapes, "ln_final", width)
    return {prefix + name: shape for name, shape in shapes.items()}


def full(family: str) -> Shapes:
    """All tensors of a published checkpoint of a family, with the schedule's buffers that such files carry."""
    parts = {
        "sd1": lambda: unet(SD1) | vae() | clip_text(),
        "sd2": lambda: unet(SD2) | vae() | open_clip_text(),
        "sdxl": lambda: (
            unet(SDXL)
            | vae()
            | clip_text(prefix="conditioner.embedders.0.transformer.")
            | open_clip_text(1280, 32, prefix="conditioner.embedders.1.model.")
        ),
    }
    buffers: Shapes = dict.fromkeys(("betas", "alphas_cumprod", "sqrt_alphas_cumprod"), (1000,))
    return parts[family]() | (buffers if family != "sdxl" else {})
