"""Which items come when: a function of seed and number, so that a resumed run draws what the killed one would have drawn."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from lib_rankopt.training.data.records import Example


class Order:
    """Batches of item numbers, all of one bucket each.

    Args:
        items: the training examples.
        buckets: of each item; images of one batch must have one size.
        liked_share: share of liked items among those drawn, whatever their number; ``None``: every item once per epoch.
    """

    def __init__(
        self, items: Sequence[Example], buckets: Sequence[Hashable], size: int, seed: int, liked_share: float | None = None
    ) -> None:
        self._size, self._seed, self._liked = size, seed, liked_share
        groups: dict[Hashable, list[int]] = {}
        for number, key in enumerate(buckets):
            groups.setdefault(key, []).append(number)
        self._groups = list(groups.values())
        # per group: liked and disliked item numbers
        self._classes = [{label: [i for i in group if items[i].label == label] for label in (1, -1)} for group in self._groups]
        self._per_epoch = sum(-(-len(group) // size) for group in self._groups)
        self._latest: tuple[int, list[list[int]]] = (-1, [])

    def batch(self, number: int) -> list[int]:
        """Item numbers of the batch of that number, counted from 0 over the whole run."""
        if self._liked is not None:
            return self._drawn(random.Random(f"{self._seed} labels {number}"))
        epoch, place = divmod(number, self._per_epoch)
        if self._latest[0] != epoch:
            self._latest = (epoch, self._epoch(epoch))
        return self._latest[1][place]

    def _epoch(self, epoch: int) -> list[list[int]]:
        chance = random.Random(f"{self._seed} epoch {epoch}")
        batches = []
        for group in self._groups:
            shuffled = chance.sample(group, len(group))
            while len(shuffled) % self._size:  # the last batch is filled with others of the bucket, or with the same again
                shuffled += chance.sample(group, min(len(group), self._size - len(shuffled) % self._size))
            batches += [shuffled[i : i + self._size] for i in range(0, len(shuffled), self._size)]
        chance.shuffle(batches)
        return batches

    def _drawn(self, chance: random.Random) -> list[int]:
        classes = chance.choices(self._classes, [len(group) for group in self._groups])[0]
        picked = []
        for _ in range(self._size):
            wanted = 1 if chance.random() < (self._liked or 0) else -1
            picked.append(chance.choice(classes[wanted] or classes[-wanted]))
        return picked
