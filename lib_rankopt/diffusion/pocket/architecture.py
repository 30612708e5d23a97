"""Shapes of the pocket model's parts. SD1's topology throughout; only the widths are smaller."""

from __future__ import annotations

from typing import Any

IMAGE_SIZE = 64  # pixels
LATENT_SIZE = 8  # rows and columns
SCALE_FACTOR = 0.18215  # SD1's; the VAE's own convolutions are scaled so that it is right here too
CONTEXT = 64  # width of the text encoder's output
TOKENS = 77  # length of a tokenised prompt

UNET_CONFIG: dict[str, Any] = {
    "sample_size": LATENT_SIZE,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 64, 64),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": 8,  # diffusers' name for SD1's number of heads
}

VAE_CONFIG: dict[str, Any] = {
    "sample_size": IMAGE_SIZE,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (64, 64, 64, 64),
    "layers_per_block": 0,
    "norm_num_groups": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": SCALE_FACTOR,
}

SCHEDULER_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def text_config(vocabulary: int) -> dict[str, Any]:
    """Arguments of transformers' CLIPTextConfig; the last two ids of `vocabulary` begin and end a text."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": CONTEXT,
        "intermediate_size": 4 * CONTEXT,
        "projection_dim": CONTEXT,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
