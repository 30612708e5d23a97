"""Records of selections, as runs would leave them."""

from __future__ import annotations

import base64
import io

from PIL import Image

from lib_rankopt.selection.record import Look, SelectionRecord


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
