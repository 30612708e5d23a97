"""From examples to what the loop reads: latents and text embeddings of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lib_rankopt.diffusion.loading import StableDiffusion
from lib_rankopt.training.batches import Material
from lib_rankopt.training.data.records import Example
from lib_rankopt.training.precompute import LatentCache, bucket, encode_texts
from lib_rankopt.training.processes import Processes


def prepare(
    model: StableDiffusion,
    items: Sequence[Example],
    latents: LatentCache,
    resolution: int,
    flip: bool,
    processes: Processes,
    say: Callable[[str], None],
) -> Material:
    """Compute, or read from the cache, all that a loop over these items needs. Processes divide the encoding among them.

    Raises:
        InvalidInputError: an image is gone or broken. StoreError: the disk is full.
    """
    sizes = [bucket(item.images[0].width, item.images[0].height, resolution) for item in items]
    sides = (False, True) if flip else (False,)
    needed = {(i.sha256, size, side): i for item, size in zip(items, sizes, strict=True) for i in item.images for side in sides}
    own = list(needed)[processes.rank :: processes.count]
    found = {}
    for number, (sha, size, side) in enumerate(own):
        if number % 20 == 0:
            say(f"encoding images, {number} of {len(own)}")
        found[sha, size, side] = latents.get(model, needed[sha, size, side], size, side)
    processes.wait()  # those of the others are in the cache now
    found.update((key, latents.get(model, image, *key[1:])) for key, image in needed.items() if key not in found)
    texts = encode_texts(model, [(item.prompt, size) for item, size in zip(items, sizes, strict=True)])
    return Material(items, sizes, found, texts)
