"""How an image was chosen, as a picture: looks from left to right, candidates from top to bottom, and who goes on from whom."""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from lib_rankopt.selection.record import Look, SelectionRecord

_MOST_ROWS, _MOST_LOOKS = 256, 200
_MOST_THUMBNAIL_PIXELS, _MOST_THUMBNAIL_TEXT = 512 * 512, 400_000
_CELLS = ((96, 700), (72, 1000), (52, 1500), (36, 2600), (24, 10**6))  # sides of the thumbnails, and how high the picture may be with them
_FLAT = 3  # how many times as wide it may be
_SMOOTH = 6_000_000  # pixels up to which lines are drawn at twice the size, for smooth edges
_WORDS = 60

_PAPER, _BOX, _LINE, _DIM, _INK = (18, 21, 30), (43, 48, 64), (74, 82, 110), (154, 162, 184), (238, 240, 246)
_TAKEN, _FRAME = (255, 197, 61), (96, 106, 140)
_LABELS, _HEAD, _FOOT, _SCORE, _EDGE = 64, 34, 40, 17, 16
_FADED = 0.42  # what is left of the thumbnail of a dropped candidate


def draw(record: SelectionRecord) -> Image.Image:
    """Draw how an image was chosen.

    Candidates that went on longest stand on top, the better ones first. Whoever was dropped at a look is dimmed there; the path of the
    image that was taken is gold. A thumbnail that is missing or cannot be read is a grey box.

    Returns:
        An RGB picture, of some hundred to some thousand pixels a side.

    Raises:
        InvalidInputError: more candidates or looks than any run has.
    """
    rows, looks = len(record.seeds), len(record.looks)
    if rows > _MOST_ROWS or looks > _MOST_LOOKS:
        raise InvalidInputError(f"{rows} candidates in {looks} looks are not drawn; {_MOST_ROWS} and {_MOST_LOOKS} are the most.")
    plan = _Plan.of(record)
    image = Image.new("RGB", plan.size, _PAPER)
    _draw_lines(image, record, plan)
    for column, look in enumerate(record.looks):
        for row in range(rows):
            if look.scores[row] is not None:
                _draw_candidate(image, record, plan, column, row)
    _draw_words(image, record, plan)
    return image


@dataclass(frozen=True)
class _Plan:
    """Where everything stands.

    Attributes:
        cell: side of a thumbnail. gap: from one column to the next, across which the lines run.
        place: from top, by row.
        path: row that the taken image was at, by look.
    """

    cell: int
    gap: int
    place: tuple[int, ...]
    path: tuple[int, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, record: SelectionRecord) -> _Plan:
        rows, looks = len(record.seeds), len(record.looks)
        for cell, most in _CELLS:
            gap = max(30, cell * 5 // 8)
            width = _LABELS + looks * (cell + gap) - gap + 2 * _EDGE
            height = _HEAD + rows * _pitch(cell) + _FOOT
            if height <= most and width <= _FLAT * most:
                break
        order = sorted(range(rows), key=lambda row: _rank(record, row))
        place = tuple(order.index(row) for row in range(rows))
        return cls(cell, gap, place, record.lineage(), (max(width, 360), height))

    @property
    def scored(self) -> bool:
        """Whether there is room for numbers."""
        return self.cell >= 36

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """Upper left corner of a thumbnail."""
        return _EDGE + _LABELS + column * (self.cell + self.gap), _HEAD + self.place[row] * _pitch(self.cell)


def _pitch(cell: int) -> int:
    return cell + (_SCORE + 11 if cell >= 36 else 8)


def _rank(record: SelectionRecord, row: int) -> tuple[int, float, int]:
    """Whoever stayed longest comes first, then whoever was better there."""
    stayed = [column for column, look in enumerate(record.looks) if look.scores[row] is not None]
    last = stayed[-1] if stayed else -1
    score = _number(record.looks[last].scores[row]) if stayed else None
    marked = bool(stayed) and record.looks[last].alive[row]  # equal scores must not put the taken one below another
    return -last, -math.inf if marked and last == len(record.looks) - 1 else -(score or 0.0), row


def _children(look: Look) -> list[tuple[int, int]]:
    """``(parent, child)`` of every row that goes on."""
    return [(row if look.parents is None else look.parents[row], row) for row, alive in enumerate(look.alive) if alive]


# -- lines
def _draw_lines(image: Image.Image, record: SelectionRecord, plan: _Plan) -> None:
    scale = 2 if plan.size[0] * plan.size[1] <= _SMOOTH else 1
    layer = Image.new("RGB", (plan.size[0] * scale, plan.size[1] * scale), _PAPER) if scale > 1 else image
    pen = ImageDraw.Draw(layer)
    taken: list[tuple[int, int, int]] = []
    for column, look in enumerate(record.looks[:-1]):
        for parent, child in _children(look):
            if (parent, child) == plan.path[column : column + 2]:
                taken.append((column, parent, child))
            elif look.scores[parent] is not None:
                _curve(pen, plan, scale, (column, parent, child), _LINE, 2)
    for one in taken:  # above all others
        _curve(pen, plan, scale, one, _TAKEN, 4)
    if scale > 1:
        image.paste(layer.resize(plan.size, Image.Resampling.BOX))


def _curve(
    pen: ImageDraw.ImageDraw, plan: _Plan, scale: int, edge: tuple[int, int, int], color: tuple[int, int, int], width: int
) -> None:
    column, parent, child = edge
    left, top = plan.corner(column, parent)
    right, bottom = plan.corner(column + 1, child)
    x0, y0, x1, y1 = left + plan.cell, top + plan.cell / 2, right, bottom + plan.cell / 2
    points = []
    for part in range(25):
        t = part / 24
        bend = t * t * (3 - 2 * t)
        points.append(((x0 + (x1 - x0) * t) * scale, (y0 + (y1 - y0) * bend) * scale))
    pen.line(points, fill=color, width=width * scale, joint="curve")


# -- candidates
def _draw_candidate(image: Image.Image, record: SelectionRecord, plan: _Plan, column: int, row: int) -> None:
    look, cell = record.looks[column], plan.cell
    x, y = plan.corner(column, row)
    taken = plan.path[column] == row
    goes_on = taken or any(parent == row for parent, _ in _children(look))
    picture = _thumbnail(record, column, row, cell)
    if not goes_on:
        grey = picture.convert("L").convert("RGB")
        picture = Image.blend(Image.new("RGB", picture.size, _PAPER), grey, _FADED)
    frame, thick = (_TAKEN, 3) if taken else (_FRAME if goes_on else _BOX, 1)
    pen = ImageDraw.Draw(image)
    pen.rectangle([x - thick, y - thick, x + cell - 1 + thick, y + cell - 1 + thick], fill=frame)
    image.paste(picture, (x, y))
    if plan.scored:
        color = _TAKEN if taken else _INK if goes_on else _DIM
        _centred(pen, (x + cell / 2, y + cell + 4), _score_text(record, column, row), 12, color, cell + plan.gap - 4)


def _thumbnail(record: SelectionRecord, column: int, row: int, cell: int) -> Image.Image:
    box = Image.new("RGB", (cell, cell), _BOX)
    text = record.thumbnails[column][row] if record.thumbnails else None
    picture = None if text is None else _decode(text)
    if picture is not None:
        larger = cell / max(picture.size)
        picture = picture.resize([max(1, round(side * larger)) for side in picture.size], Image.Resampling.LANCZOS)
        box.paste(picture, ((cell - picture.width) // 2, (cell - picture.height) // 2))
    return box


def _decode(text: str) -> Image.Image | None:
    """Return a JPEG in base64 as RGB, ``None`` for whatever else a stranger's file may hold."""
    if len(text) > _MOST_THUMBNAIL_TEXT:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("JPEG",)) as opened:
            if opened.width * opened.height > _MOST_THUMBNAIL_PIXELS:
                return None
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, binascii.Error, Image.DecompressionBombError):
        return None


def _score_text(record: SelectionRecord, column: int, row: int) -> str:
    if record.policy == "path":  # nobody was asked
        return ""
    score = _number(record.looks[column].scores[row])
    if record.policy == "human":
        return "picked" if score else ""
    return "?" if score is None else f"{score:.3g}" if abs(score) < 1e4 else f"{score:.1e}"


def _number(score: object) -> float | None:
    """A score as a finite number."""
    try:
        found = float(score)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


# -- words
def _draw_words(image: Image.Image, record: SelectionRecord, plan: _Plan) -> None:
    pen = ImageDraw.Draw(image)
    for column, look in enumerate(record.looks):
        x, _ = plan.corner(column, 0)
        last = column == len(record.looks) - 1
        words = "final" if last else f"step {_whole(look.step + 1)}"
        _centred(pen, (x + plan.cell / 2, 9), words, 13, _INK if last else _DIM, plan.cell + plan.gap - 4)
    for row, seed in enumerate(record.seeds):
        y = plan.corner(0, row)[1] + plan.cell / 2
        color = _TAKEN if row == record.taken else _INK
        if plan.scored:
            _text(pen, (_EDGE, y - 15), f"#{row + 1}", 13, color, _LABELS - 8)
            _text(pen, (_EDGE, y + 2), _whole(seed), 10, _DIM, _LABELS - 8)
        else:
            _text(pen, (_EDGE, y - 8), f"#{row + 1}", 12, color, _LABELS - 8)
    judge = f"judged by {_plain(record.scorer)}" if record.scorer else "no scorer"
    if record.policy == "human":
        judge = "picked by a person" + (f", or by {_plain(record.scorer)}" if record.scorer else "")
    foot = f"{_plain(record.policy)}  ·  {judge}  ·  {_whole(record.evaluated)} model evaluations"
    _text(pen, (_EDGE, plan.size[1] - 27), foot, 13, _DIM, plan.size[0] - 2 * _EDGE)


def _centred(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], words: str, size: int, color: tuple[int, int, int], width: float
) -> None:
    font = _font(size)
    words = _fitting(pen, words, font, width)
    _text(pen, (place[0] - pen.textlength(words, font=font) / 2, place[1]), words, size, color, width)


def _text(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], words: str, size: int, color: tuple[int, int, int], width: float
) -> None:
    font = _font(size)
    pen.text((round(place[0]), round(place[1])), _fitting(pen, words, font, width), fill=color, font=font)


def _fitting(pen: ImageDraw.ImageDraw, words: str, font: Any, width: float) -> str:
    """Cut words off where they get too long."""
    if pen.textlength(words, font=font) <= width:
        return words
    while words and pen.textlength(words + "..", font=font) > width:
        words = words[:-1]
    return words + ".."


def _font(size: int) -> Any:
    """Pillow's own font; before Pillow 10.1 there is only one size of it."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def _plain(words: str) -> str:
    """What the old font can write."""
    return "".join(one if " " <= one <= "~" else "?" for one in words[:_WORDS])


def _whole(number: int) -> str:
    return str(number) if abs(number) < 10**20 else "?"
