"""The picture of how an image was chosen: what is seen where, and that no stranger's record breaks it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image, ImageFont

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.selection import picture
from lib_rankopt.selection.picture import draw
from lib_rankopt.selection.record import Look, from_json
from tests.selection.records import exchanged, halved, jpeg

GOLD = picture._TAKEN


def red(pixel: tuple[int, int, int]) -> bool:
    return pixel[0] > 200 and max(pixel[1:]) < 60


def grey(pixel: tuple[int, int, int]) -> bool:
    return max(pixel) - min(pixel) < 24


def middle(record, column, row):
    plan = picture._Plan.of(record)
    x, y = plan.corner(column, row)
    return x + plan.cell // 2, y + plan.cell // 2


RECORDS = {"4x3": halved(4), "8x3": halved(8), "16x6": exchanged(16, 6), "128x3": halved(128), "8x40": exchanged(8, 40)}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_sizes(record):
    image = draw(record)
    assert image.mode == "RGB"
    assert image.width >= 360
    assert max(image.size) < 6000


def test_who_went_on_is_in_colour_and_who_was_dropped_is_not():
    record = halved(8)
    image = draw(record)
    for column, look in enumerate(record.looks):
        for row in range(8):
            pixel = image.getpixel(middle(record, column, row))
            if look.scores[row] is None:
                assert pixel == picture._PAPER
            else:
                assert red(pixel) if look.alive[row] else grey(pixel), (column, row)


def test_the_one_that_was_taken_stands_on_top_and_its_path_is_gold():
    record = halved(8)
    image, plan = draw(record), picture._Plan.of(record)
    assert plan.place.index(0) == record.taken == 7
    for column in range(3):
        x, y = plan.corner(column, 7)
        assert image.getpixel((x - 2, y + 5)) == GOLD
        if column:
            assert image.getpixel((x - plan.gap // 2, y + plan.cell // 2)) == GOLD
    x, y = plan.corner(0, 6)
    assert image.getpixel((x - 2, y + 5)) != GOLD


def test_lines_follow_who_came_from_whom():
    record = exchanged(4, 3)
    plan = picture._Plan.of(record)
    assert plan.path == (2, 1, 0)
    image = draw(record)
    for column, row in enumerate(plan.path):
        x, y = plan.corner(column, row)
        assert image.getpixel((x - 2, y + 5)) == GOLD
    columns = [image.getpixel((plan.corner(1, 0)[0] - plan.gap // 2, y)) for y in range(image.height)]
    assert columns.count(GOLD) >= 3


@pytest.mark.parametrize(
    "bad",
    ["", "no base64!", base64.b64encode(b"no picture").decode(), jpeg("red")[:200], "é" * 9, "A" * 500_000, jpeg("red", (2000, 2000))],
    ids=["empty", "text", "bytes", "cut", "letters", "long", "bomb"],
)
def test_thumbnails_that_cannot_be_used_are_grey_boxes(bad):
    record = replace(halved(4), thumbnails=((bad,) * 4, *halved(4).thumbnails[1:]))
    image = draw(from_json(record.to_json()))
    assert image.getpixel(middle(record, 0, 3)) == picture._BOX
    assert red(image.getpixel(middle(record, 1, 3)))


def test_only_jpeg_is_decoded():
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), "red").save(buffer, "PNG")
    assert picture._decode(base64.b64encode(buffer.getvalue()).decode()) is None


def test_hostile_numbers_and_names_are_drawn():
    huge = 10**400
    looks = tuple(replace(look, step=huge, scores=(float("nan"), float("-inf"), huge, 1.0)) for look in halved(4).looks)
    record = replace(halved(4), policy="ранг" * 100, scorer="\n\0🦊", looks=looks, seeds=(huge, -1, 0, 1), evaluated=huge)
    assert draw(record).width >= 360


def test_nobody_needs_a_scorer_or_pictures():
    plain = replace(halved(4, "human"), scorer="", thumbnails=())
    assert draw(plain).getpixel(middle(plain, 0, 3)) == picture._BOX
    assert draw(replace(halved(4), policy="path"))


def test_a_record_larger_than_any_run_is_refused():
    look = Look(1, (1.0,) * 300, None, (True,) * 300)
    with pytest.raises(InvalidInputError, match="300 candidates"):
        draw(replace(halved(4), seeds=(1,) * 300, looks=(look,), thumbnails=()))
    with pytest.raises(InvalidInputError, match="300 looks"):
        draw(replace(halved(4), looks=halved(4).looks * 100, thumbnails=()))


def test_the_font_of_an_older_pillow_will_do(monkeypatch):
    def old(*size):
        if size:
            raise TypeError("load_default() takes 0 positional arguments but 1 was given")
        return small

    small = ImageFont.load_default()
    monkeypatch.setattr(ImageFont, "load_default", old)
    assert draw(halved(4)).size == picture._Plan.of(halved(4)).size
