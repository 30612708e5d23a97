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
    found = {}
    own = [key for number, key in enumerate(needed) if number % processes.count == processes.rank]
    for keys in (own, [] if processes.count == 1 else needed):
        for number, (sha, size, side) in enumerate(keys):
            if number % 20 == 0 and keys is own:
                say(f"encoding images, {number} of {len(own)}")
            found[sha, size, side] = latents.get(model, needed[sha, size, side], size, side)
        processes.wait()
    texts = encode_texts(model, [(item.prompt, size) for item, size in zip(items, sizes, strict=True)])
    return Material(items, sizes, found, texts)
