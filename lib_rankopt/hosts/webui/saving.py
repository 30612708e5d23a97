"""What a saved PNG carries of us: the latent that its image began from and how it was chosen, as texts of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_rankopt.hosts import latent_text
from lib_rankopt.hosts.webui.noise import PresetFirstNoise
from lib_rankopt.selection import record_text

if TYPE_CHECKING:
    from lib_rankopt.selection.record import SelectionRecord

# Attributes of a processing object, so that no other run of the webui can meet them.
_NOISE = "rankopt_noise"
_RECORD = "rankopt_record"
_UNSAVED = "rankopt_unsaved"


def preset(p: Any, noise: PresetFirstNoise) -> None:
    """Let the batch of ``p`` begin with this noise, and its files carry it."""
    p.rng = noise
    setattr(p, _NOISE, noise)


def note_record(p: Any, record: SelectionRecord | None) -> None:
    """Let the file of the next image say how it was chosen; ``None`` where it was not."""
    setattr(p, _RECORD, record)


def image_is_done(p: Any, image: Any) -> None:
    """Note that the batch's next image is about to be saved."""
    noise, record = getattr(p, _NOISE, None), getattr(p, _RECORD, None)
    latent = noise.of_next_image() if noise is not None else None
    chunks = {} if latent is None else {latent_text.CHUNK: latent_text.encode(latent)}
    if record is not None:
        chunks[record_text.CHUNK] = record_text.write(record)
        setattr(p, _RECORD, None)
    if noise is not None or record is not None:
        setattr(p, _UNSAVED, (chunks, image.size))


def add_chunks(params: Any) -> None:
    """Add the latent to the PNG of an image that was made from one, and how it was chosen; the webui's parameters are not touched.

    Args:
        params: the webui's ``ImageSaveParams``; called for every image that it saves, before it does. Images that it saves beside the
            result (masks, grids, the state before face restoration) get none.
    """
    chunks, size = getattr(params.p, _UNSAVED, None) or ({}, None)
    if params.image.size != size:
        return
    setattr(params.p, _UNSAVED, None)
    if str(params.filename).lower().endswith(".png"):
        params.pnginfo.update(chunks)
