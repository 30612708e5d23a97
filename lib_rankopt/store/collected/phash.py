"""Images that look alike: a perceptual hash, and groups of hashes that are close to each other. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_rankopt.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

BITS = 64
_SIDE, _LOW = 32, 8
_FURTHEST = 8


def phash(image: Image.Image) -> int:
    """Return the DCT hash of an image: 64 bits as a signed number, the first bit the highest.

    The picture is made grey and 32×32 (Lanczos), transformed (DCT-II over rows and columns), and of its 8×8 lowest frequencies, row by
    row, each that is above their median gives a 1. Pictures that differ by size, compression or a little colour differ by few bits.
    """
    from PIL import Image as Pillow

    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Pillow.Resampling.LANCZOS), dtype=np.float64)
    rows = _cosines()
    # rounded: of an even picture the rest are zeros, and not the noise of adding up
    low = np.round(rows @ grey @ rows.T, 6)
    bits = (low > np.median(low)).ravel()
    return int(np.packbits(bits).view(">u8")[0].astype(np.uint64).view(np.int64))


def _cosines() -> NDArray[np.float64]:
    """The 8 lowest rows of the DCT-II of 32 values; its scale does not matter to a median."""
    place, frequency = np.arange(_SIDE), np.arange(_LOW)
    return np.cos(np.pi * (2 * place[None, :] + 1) * frequency[:, None] / (2 * _SIDE))


def near_duplicates(hashes: NDArray[Any], distance: int = 4) -> list[NDArray[np.int64]]:
    """Return groups of hashes that are at most ``distance`` bits apart, exactly: none is missed.

    Groups are connected: the first may be further from the last than from the one between them. Where ``distance`` bits differ and the
    64 are cut into ``distance + 2`` bands, at least two bands are the same (pigeonhole principle); so only hashes that share two bands
    are compared. Time grows with their number: about that of hashes times the number of pairs of bands, unless most of them look alike.

    Args:
        hashes: ``[n]``, 64-bit integers, signed or not.
        distance: 0 to 8 bits.

    Returns:
        positions in ``hashes``, ascending in each group of two or more; groups by their first position.

    Raises:
        InvalidInputError: another distance, or no 64-bit integers.
    """
    if not 0 <= distance <= _FURTHEST:
        raise InvalidInputError(f"Hashes {distance} bits apart are not near duplicates; take 0 to {_FURTHEST}.")
    if hashes.ndim != 1 or hashes.dtype not in (np.dtype(np.int64), np.dtype(np.uint64)):
        raise InvalidInputError(f"Hashes are a row of 64-bit integers, not {hashes.dtype} {hashes.shape}.")
    plain, which = np.unique(hashes.view(np.uint64), return_inverse=True)
    group = np.arange(len(plain))
    if distance:
        for left, right in _close(plain, distance):
            group = _joined(group, left, right)
    return _groups(group[which.ravel()])


def _close(plain: NDArray[np.uint64], distance: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of positions that are close enough; some come more than once."""
    bands = distance + 2
    # bits taken in turn: neighbouring frequencies of one kind of picture are alike, and a band of them would sort little
    masks = [np.uint64(sum(1 << bit for bit in range(band, BITS, bands))) for band in range(bands)]
    for one, other in combinations(masks, 2):
        key = plain & (one | other)
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.arange(len(key) - 1)
        for step in range(1, len(key)):
            first = first[: np.searchsorted(first, len(key) - step)]
            first = first[key[first] == key[first + step]]
            if not len(first):
                break
            left, right = order[first], order[first + step]
            near = _count(plain[left] ^ plain[right]) <= distance
            if near.any():
                yield left[near], right[near]


def _count(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Set bits of each word: by twos, fours and eights, then the bytes added up by a product."""
    u = np.uint64
    words = words - ((words >> u(1)) & u(0x5555555555555555))
    words = (words & u(0x3333333333333333)) + ((words >> u(2)) & u(0x3333333333333333))
    words = (words + (words >> u(4))) & u(0x0F0F0F0F0F0F0F0F)
    total: NDArray[np.uint64] = (words * u(0x0101010101010101)) >> u(56)
    return total


def _joined(group: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give both ends of each pair the lower group of the two, until nothing changes."""
    while True:
        one, other = group[left], group[right]
        apart = one != other
        if not apart.any():
            return group
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        np.minimum.at(group, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := group[group], group):
            group = shorter


def _groups(group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(group, kind="stable")
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    found = [part for part in np.split(order, cuts) if len(part) > 1]
    return sorted(found, key=lambda part: int(part[0]))
