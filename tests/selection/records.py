"""Records of selections, as runs would leave them, and a stand-in for such runs. Without torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from PIL import Image

from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.selection.record import Look, SelectionRecord
from lib_rankopt.selection.settings import Selection


def jpeg(color: tuple[int, int, int] | str, size: tuple[int, int] = (96, 96)) -> str:
    """A thumbnail of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


def halved(rows: int = 4, policy: str = "halving") -> SelectionRecord:
    """Halving, in which the last half goes on at every look; the one with the highest number is taken. All thumbnails are red."""
    looks, names, alive = [], [], list(range(rows))
    for step in (4, 9, 20):
        kept = alive[-1:] if step == 20 else alive[len(alive) // 2 :]
        scores = tuple(0.2 + 0.01 * row if row in alive else None for row in range(rows))
        looks.append(Look(step, scores, None, tuple(row in kept for row in range(rows))))
        names.append(tuple(jpeg("red") if row in alive else None for row in range(rows)))
        alive = kept
    return SelectionRecord(policy, "clip", 20, tuple(100 + row for row in range(rows)), tuple(looks), 80, tuple(names))


def exchanged(rows: int = 16, looks: int = 6) -> SelectionRecord:
    """A run in which every row goes on from its neighbour, and row 0 is taken; without thumbnails."""
    following = tuple((row + 1) % rows for row in range(rows))
    found = [Look(step, tuple(float(row) for row in range(rows)), following, (True,) * rows) for step in range(looks - 1)]
    last = Look(looks, tuple(float(row) for row in range(rows)), None, tuple(row == 0 for row in range(rows)))
    return SelectionRecord("resample", "clip", looks, tuple(range(rows)), (*found, last), rows * looks)


def choose(
    selection: Selection,
    image: Image.Image,
    request: tuple[str, int, int],
    picks: PickBoard,
    stopped: Callable[[], bool],
) -> SelectionRecord:
    """Return how an image was chosen: candidates are tints of it, of whom the last ones go on; a person is really asked.

    Args:
        request: prompt, steps, seed.
    """
    prompt, steps, seed = request
    shown = {row: tinted(image, row) for row in range(selection.pool)}
    alive, looks, names = list(shown), [], []
    for step in (0, steps // 2, steps):
        last = step == steps
        kept = alive[-1:] if last else alive[len(alive) // 2 :]
        if selection.policy == "human" and len(alive) > 1:
            asked = picks.ask(
                {row: shown[row] for row in alive}, prompt=prompt, step=step if last else step + 1, steps=steps,
                seconds=selection.wait_seconds, default="the last one is taken" if last else "the last ones go on", stopped=stopped,
            )  # fmt: skip
            kept = list(asked or kept)[: 1 if last else None]
        scores = tuple((float(row in kept) if selection.policy == "human" else float(row)) if row in alive else None for row in shown)
        looks.append(Look(step, scores, None, tuple(row in kept for row in shown)))
        names.append(tuple(_small(shown[row]) if row in alive else None for row in shown))
        alive = kept
    seeds = tuple(seed + row for row in shown)
    return SelectionRecord(selection.policy, selection.scorer, steps, seeds, tuple(looks), steps * selection.pool, tuple(names))


def tinted(image: Image.Image, row: int) -> Image.Image:
    """Return a candidate that is told from the others."""
    return Image.blend(image, Image.new("RGB", image.size, ("red", "green", "blue", "yellow", "white")[row % 5]), 0.3)


def _small(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.resize((96, 96)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()
