"""Write random weights of a real scorer's size and layout: it loads and runs like the real one, and its scores mean nothing.

    python -m tools.scorers.random_weights hpsv2.1 --out DATA_FOLDER

The file says that it is random, and every face that shows its scores says so too. A ``.pt`` file, for the package hpsv2, cannot say it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lib_rankopt import scorers
from lib_rankopt.scorers.weights import RANDOM, SUBFOLDER

MODELS = {"hpsv2.1": "ViT-H-14", "hpsv2": "ViT-H-14", "hpsv1": "ViT-L-14-quickgelu", "clip-h": "ViT-H-14"}


def tensors(model: str, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of an open_clip model, float16, with the spread of fresh weights."""
    import open_clip
    from open_clip.model import CLIP

    config: dict[str, Any] = open_clip.get_model_config(model) or {}
    with torch.device("meta"):
        shapes = {name: one.shape for name, one in CLIP(**config).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    return {name: _filled(name, tuple(shape), generator).half() for name, shape in shapes.items()}


def _filled(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name == "logit_scale":
        return torch.tensor(4.6052)
    if len(shape) < 2:
        return torch.ones(shape) if name.endswith("weight") else torch.randn(shape, generator=generator) * 0.02
    return torch.randn(shape, generator=generator) * shape[1] ** -0.5


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorer", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a data folder; the file goes below its 'scorers'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pt", action="store_true", help="as a .pt file")
    options = parser.parse_args()
    names = scorers.files(options.scorer)[0].names
    path = options.out / SUBFOLDER / next(name for name in names if name.endswith(".pt" if options.pt else ".safetensors"))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = tensors(MODELS[options.scorer], options.seed)
    torch.save({"state_dict": made}, path) if options.pt else save_file(made, path, {RANDOM: "1"})
    print(path)


if __name__ == "__main__":
    main()
