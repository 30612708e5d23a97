"""The perceptual hash, and groups of near duplicates."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.collected.phash import near_duplicates, phash


def picture(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    """Blobs and lines: something with edges and surfaces."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h = (float(v) for v in rng.uniform(0, 1, 4) * [size[0], size[1], size[0] / 2, size[1] / 2])
        draw.ellipse((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def distance(one: int, other: int) -> int:
    """In how many of 64 bits two hashes differ; they may be signed."""
    return bin((one ^ other) & (2**64 - 1)).count("1")


def brute(hashes: np.ndarray, most: int) -> list[list[int]]:
    """Connected groups, by looking at all pairs."""
    values = [int(v) for v in hashes]
    group = list(range(len(values)))
    for i in range(len(values)):
        for j in range(i):
            if distance(values[i], values[j]) <= most and group[i] != group[j]:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if g == old else g for g in group]
    found: dict[int, list[int]] = {}
    for place, g in enumerate(group):
        found.setdefault(g, []).append(place)
    return sorted(g for g in found.values() if len(g) > 1)


def around(rng: np.random.Generator, count: int, centres: int) -> np.ndarray:
    """Hashes around some centres, 0 to 7 bits from them."""
    found = rng.integers(0, 2**64, centres, dtype=np.uint64)[rng.integers(0, centres, count)]
    for place in range(count):
        for bit in rng.choice(64, int(rng.integers(0, 8)), replace=False):
            found[place] ^= np.uint64(1) << np.uint64(bit)
    return found


def test_equal_to_the_package_that_people_use() -> None:
    imagehash = pytest.importorskip("imagehash")
    apart = []
    for seed in range(40):
        for image in (picture(seed), picture(seed, (64, 640)).convert("RGBA"), picture(seed).convert("L")):
            theirs = int(str(imagehash.phash(image)), 16)
            apart.append(distance(phash(image), theirs))
    assert max(apart) <= 2
    assert np.mean(np.array(apart) == 0) > 0.95


def test_the_same_picture_in_another_file_is_near() -> None:
    for seed in range(10):
        image = picture(seed)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=60)
        again = Image.open(file)
        assert distance(phash(image), phash(again)) <= 4
        assert distance(phash(image), phash(image.resize((150, 110), Image.Resampling.BICUBIC))) <= 4


def test_other_pictures_are_far() -> None:
    hashes = [phash(picture(seed)) for seed in range(30)]
    apart = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 4
    assert 24 < np.mean(apart) < 40


def test_a_number_that_databases_take() -> None:
    found = [phash(picture(seed)) for seed in range(20)]
    assert all(-(2**63) <= value < 2**63 for value in found)
    assert all(value < 0 for value in found)  # the first bit is that of brightness
    assert phash(Image.new("RGB", (9, 9))) == 0


def test_even_pictures_have_one_hash_whatever_their_colour() -> None:
    assert len({phash(Image.new("RGB", (size, 50), colour)) for size in (1, 17, 512) for colour in ("grey", "#123456", "white")}) == 1


@pytest.mark.parametrize("most", [0, 1, 2, 4, 8])
def test_groups_are_those_of_comparing_all_with_all(most: int) -> None:
    hashes = around(np.random.default_rng(most), 250, 12)
    assert [list(group) for group in near_duplicates(hashes, most)] == brute(hashes, most)


def test_groups_of_hashes_that_share_most_bits() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 2**14, 400, dtype=np.uint64) << np.uint64(25)
    assert [list(group) for group in near_duplicates(hashes, 2)] == brute(hashes, 2)


def test_signed_and_unsigned_hashes_are_the_same() -> None:
    hashes = around(np.random.default_rng(3), 100, 5)
    signed = near_duplicates(hashes.view(np.int64))
    assert [list(group) for group in signed] == [list(group) for group in near_duplicates(hashes)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_hashes_have_no_groups(count: int) -> None:
    assert near_duplicates(np.zeros(count, dtype=np.int64)) == []


def test_equal_hashes_are_a_group() -> None:
    assert [list(group) for group in near_duplicates(np.zeros(5, dtype=np.int64))] == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(("hashes", "most"), [(np.zeros(3, np.int32), 4), (np.zeros((2, 2), np.int64), 4), (np.zeros(3, np.int64), 9)])
def test_what_is_no_row_of_hashes_is_refused(hashes: np.ndarray, most: int) -> None:
    with pytest.raises(InvalidInputError):
        near_duplicates(hashes, most)


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    copies = rng.choice(100_000, 500, replace=False)
    hashes = np.concatenate([hashes, hashes[copies] ^ np.uint64(0b1011)])
    started = time.monotonic()
    found = near_duplicates(hashes)
    assert time.monotonic() - started < 20
    assert {tuple(group) for group in found} >= {(int(one), 100_000 + place) for place, one in enumerate(copies)}
