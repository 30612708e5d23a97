"""What readers and writers of preference data share: tiers, pairs, captions, identities of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from hashlib import blake2b
from math import isfinite
from typing import Any

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.store.formats.base import FeedbackEntry, FeedbackKind, ImageEntry, Row
from lib_rankopt.store.formats.text import clean, word

Tiers = tuple[tuple[int, ...], ...]
MOST_IMAGES = 256  # of one ranking; what has more is taken for a damaged file
LONGEST_KEY = 1024  # signs of an image's uid
_LONGEST_TOKEN = 128
FIRST: Tiers = ((0,), (1,))
SECOND: Tiers = ((1,), (0,))
TIE: Tiers = ((0, 1),)


def tiers_of(ranks: Sequence[float]) -> Tiers:
    """Positions by rank, lower ranks better; equal ranks are ties, gaps mean nothing."""
    tiers: dict[float, list[int]] = {}
    for position, rank in enumerate(ranks):
        tiers.setdefault(rank, []).append(position)
    return tuple(tuple(tiers[rank]) for rank in sorted(tiers))


def ranks_of(tiers: Tiers) -> list[int]:
    """Ranks by position, from 1; images of one tier share a rank."""
    found = {position: rank for rank, tier in enumerate(tiers, 1) for position in tier}
    return [found[position] for position in range(len(found))]


def compared(count: int) -> FeedbackKind:
    """What a comparison of so many images is called."""
    return "pair" if count == 2 else "ranking"


def choice(best: int, count: int) -> Tiers:
    """Tiers of one that was chosen among ``count``."""
    return ((best,), tuple(i for i in range(count) if i != best))


def pairs(tiers: Tiers) -> Iterator[tuple[int, int, bool]]:
    """All n(n−1)/2 pairs of positions: the better one, the worse one, and whether they are equal (then in the order shown)."""
    ranks = ranks_of(tiers)
    for a in range(len(ranks)):
        for b in range(a + 1, len(ranks)):
            yield (b, a, False) if ranks[b] < ranks[a] else (a, b, ranks[a] == ranks[b])


def choices(tiers: Tiers) -> Iterator[tuple[int, tuple[int, ...]]]:
    """What tiers say as choices: each position with all those of lower tiers. Ties go unsaid."""
    for at, tier in enumerate(tiers[:-1]):
        worse = tuple(position for lower in tiers[at + 1 :] for position in lower)
        yield from ((better, worse) for better in tier)


def caption(answer: FeedbackEntry, image: ImageEntry) -> str:
    """The prompt that an answer is about one of its images under."""
    return image.prompt if answer.prompt is None else answer.prompt


def numbers(value: object, name: str) -> list[float]:
    """Return a list of finite numbers.

    Raises:
        InvalidInputError: no list, too long, or of something else.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MOST_IMAGES:
        raise InvalidInputError(f"{name} is {str(value)[:80]!r}, no list of numbers")
    for one in value:
        if isinstance(one, bool) or not isinstance(one, (int, float)) or not isfinite(one):
            raise InvalidInputError(f"{name} holds {str(one)[:80]!r}, no number")
    return value


def plain(value: Any, depth: int = 4) -> Any:
    """Return a stranger's value as JSON that every database takes: times as text, bytes and not-a-number as null."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if depth and isinstance(value, Mapping):
        return {clean(str(key)): plain(one, depth - 1) for key, one in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [plain(one, depth - 1) for one in value]
    return None


def about(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """What a row says under these names, without what it does not say."""
    found = {name: plain(row.get(name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def moment(value: object) -> str:
    """Return a time as ISO 8601 in UTC; empty where it is none. Times without a zone are taken as UTC."""
    if isinstance(value, str) and value:
        text = value.strip().replace("Z", "+00:00") if value.strip().endswith("Z") else value.strip()
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return ""
    if not isinstance(value, datetime):
        return ""
    try:
        aware = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return ""
    return aware.isoformat()


def rater(value: object) -> str:
    """Return whom a row names as the one who said something, as text; empty where it is nobody, or not a number."""
    named = plain(value)
    return "" if named is None else str(named)[:200]


def written_token(row: Mapping[str, Any]) -> str:
    """Return the token that one of our own formats has written into a row.

    Raises:
        InvalidInputError: there is none, or it is too long to be one of ours.
    """
    token = word(row, "token")
    if not 0 < len(token) <= _LONGEST_TOKEN:
        raise InvalidInputError(f"token is {token[:80]!r}; 1 to {_LONGEST_TOKEN} signs are expected")
    return token


_BITS = 27  # 16 MiB: one wrong suspicion in 4,000 rows at a million rows
_MOST_REPEATS = 200_000


class Occurrences:
    """Tokens for rows that have no identity but what they say: a digest, with a number where the same is said again.

    Costs the same memory for every file. What was said before is known by a Bloom filter, whose rare wrong suspicion numbers a row that
    was the first: no harm, as it is the same at each reading.
    """

    def __init__(self) -> None:
        self._seen = bytearray(1 << (_BITS - 3))
        self._repeats: dict[bytes, int] = {}
        self._made = 0

    def token(self, *parts: str) -> str:
        """The next row's."""
        digest = blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16)
        raw = digest.digest()
        self._made += 1
        bits = int.from_bytes(raw[:8], "little")
        first, second = bits & ((1 << _BITS) - 1), bits >> (64 - _BITS)
        seen = self._seen
        if seen[first >> 3] >> (first & 7) & 1 and seen[second >> 3] >> (second & 7) & 1:
            return self._again(raw)
        seen[first >> 3] |= 1 << (first & 7)
        seen[second >> 3] |= 1 << (second & 7)
        return digest.hexdigest()

    def _again(self, raw: bytes) -> str:
        if raw not in self._repeats and len(self._repeats) >= _MOST_REPEATS:
            return f"{raw.hex()}@{self._made}"
        self._repeats[raw] = self._repeats.get(raw, 1) + 1
        return f"{raw.hex()}-{self._repeats[raw]}"


def ending(rows: Iterable[Row], end: int) -> Iterator[Row]:
    """The same rows, the last one's ``done`` being ``end``: what follows it in the file is nothing."""
    held: Row | None = None
    for row in rows:
        if held is not None:
            yield held
        held = row
    if held is not None:
        yield replace(held, done=max(end, held.done))
