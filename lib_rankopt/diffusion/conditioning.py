"""Run the text encoders: prompt text to what the UNet is told."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib_rankopt.diffusion.denoiser import Conditioning
from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.diffusion.prompts import Chunk, chunks, empty_chunk

# below this share of its spread, a mean says nothing and dividing by it would give anything up to
# not-a-number
_MEANINGLESS_MEAN = 1e-5


@torch.inference_mode()
def encode_prompts(
    model: StableDiffusion, prompt: str, negative: str, size: tuple[int, int], clip_skip: int = 1
) -> tuple[Conditioning, Conditioning]:
    """Encode a prompt and its negative; the shorter one is filled with empty chunks, as the UNet sees both in
    one batch.

    Args:
        model: loaded model.
        prompt, negative: in the syntax of :mod:`prompts`, of any length.
        size: width and height in pixels, which SDXL is told.
        clip_skip: 1 is the last layer, 2 the one before; SD1 only, as in the webui.

    Returns:
        Positive and negative conditioning, context ``[1, 77 * chunks, width]`` each.
    """
    cut = [(chunks(prompt, t), chunks(negative, t)) for t in model.tokenizers]
    longest = max(len(side) for pair in cut for side in pair)
    positive, negative_cond = (
        _encode(
            model, [_filled(pair[side], longest, i, model) for i, pair in enumerate(cut)], size, clip_skip
        )
        for side in (0, 1)
    )
    if model.config.family == "sdxl" and not negative:
        # SDXL was trained to see zeros, not an empty sentence, where there is no prompt
        assert negative_cond.pooled is not None
        zeros = torch.zeros_like(negative_cond.context), torch.zeros_like(negative_cond.pooled)
        negative_cond = Conditioning(*zeros, negative_cond.time_ids)
    return positive, negative_cond


def _filled(parts: list[Chunk], count: int, encoder: int, model: StableDiffusion) -> list[Chunk]:
    return parts + [empty_chunk(model.tokenizers[encoder])] * (count - len(parts))


def _encode(
    model: StableDiffusion, parts: list[list[Chunk]], size: tuple[int, int], clip_skip: int
) -> Conditioning:
    layer = {"sd1": clip_skip, "sd2": 1, "sdxl": 2}[model.config.family]
    normed = model.config.family != "sdxl"
    encoded = [
        _run(encoder, side, layer, normed) for encoder, side in zip(model.text_encoders, parts, strict=True)
    ]
    context = torch.cat([context for context, _ in encoded], dim=-1).to(model.dtype)
    if normed:
        return Conditioning(context)
    width, height = size
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], device=model.device, dtype=model.dtype)
    return Conditioning(context, encoded[-1][1].to(model.dtype), time_ids)


def _run(encoder: nn.Module, parts: list[Chunk], layer: int, normed: bool) -> tuple[Tensor, Tensor]:
    """Context ``[1, 77 * chunks, width]`` and the first chunk's pooled output ``[1, width]``."""
    device = next(encoder.parameters()).device
    tokens = torch.tensor([part.tokens for part in parts], device=device)
    output = encoder(input_ids=tokens, output_hidden_states=True)
    if layer == 1 and normed:
        context = output.last_hidden_state
    else:
        context = output.hidden_states[-layer]
        if normed:
            context = getattr(encoder, "text_model", encoder).final_layer_norm(context)
    weights = torch.tensor([part.weights for part in parts], device=device)
    weighted = [emphasise(row, weight) for row, weight in zip(context.float(), weights, strict=True)]
    pooled = getattr(output, "text_embeds", None)
    return torch.cat(weighted)[None], (pooled if pooled is not None else output.pooler_output)[:1]


def emphasise(context: Tensor, weights: Tensor) -> Tensor:
    """Weigh the rows of one chunk, then restore its mean: the webui's "Original" emphasis.

    Where the new mean is practically zero beside the spread, it is left as it is: a text encoder whose last
        norm has no bias gives such
    means, and the ratio would blow the prompt up, in the webui even to not-a-number.

    Args:
        context: ``[77, width]``.
        weights: ``[77]``.
    """
    if bool((weights == 1).all()):
        return context
    weighted = context * weights[:, None]
    before, after = context.mean(), weighted.mean()
    if after.abs() <= _MEANINGLESS_MEAN * weighted.std() or before.abs() <= _MEANINGLESS_MEAN * context.std():
        return weighted
    return weighted * (before / after)
