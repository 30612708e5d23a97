"""Made images and answers of any size, as a data set has them; the same for the same numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from lib_rankopt.store.collected.records import FeedbackDraft, ImageDraft

BATCH = 5000
"""Rows that come together, as an import makes them."""
WORDS = 20_000
RATERS = ("anna", "ben", "carl", "dora", "emil", "fritz", "gerda", "hans", "ida")
RARE_RATER = "visitor"
_ABC = "abcdefghijklmnoprstuvw"


@dataclass(frozen=True)
class Made:
    """Made data of one size; the same for the same numbers."""

    images: int
    feedback: int
    prompts: int
    order: str
    words: tuple[str, ...]

    def prompt(self, number: int) -> str:
        """Twelve words, few of them frequent, and a number."""
        pick = random.Random(number)
        # a word's place by a power of a uniform number: much like the words of a language
        chosen = (self.words[int(WORDS * pick.random() ** 3)] for _ in range(12))
        return f"{' '.join(chosen)}, no {number}"

    def image(self, at: int) -> ImageDraft:
        """Image number ``at``."""
        prompt = self.prompt(at * self.prompts // self.images)
        model = "model-rare" if at % 10_000 == 77 else f"model-{at % 5}"
        return ImageDraft(f"images/{at:08d}.png", prompt, f"images/{at:08d}.png", width=512, height=512, model=model)

    def answer(self, at: int, pick: random.Random) -> FeedbackDraft:
        """Answer number ``at``: of ten, five labels, four pairs and a ranking of four; one image of a hundred is never spoken of."""
        here = self.images if self.order == "random" else max(8, min(self.images, (at // BATCH + 1) * BATCH * self.images // self.feedback))
        first = 0 if self.order == "random" else max(0, here - max(8, 2 * BATCH * self.images // self.feedback))
        kind = at % 10
        count = 4 if kind == 9 else 2 if kind > 4 else 1
        keys: list[str] = []
        while len(keys) < count:
            image = pick.randrange(first, here)
            key = f"images/{image - (image % 100 == 99):08d}.png"
            if key not in keys:
                keys.append(key)
        rater = RARE_RATER if at % 50_000 == 49_999 else RATERS[at % len(RATERS)]
        if count == 1:
            return FeedbackDraft("like" if kind < 3 else "dislike", (keys[0],), ((0,),), f"answer {at}", rater=rater)
        if count == 2:
            tiers = ((0, 1),) if kind == 8 and at % 100 == 8 else ((at % 2,), (1 - at % 2,))
            return FeedbackDraft("pair", tuple(keys), tiers, f"answer {at}", rater=rater)
        return FeedbackDraft("ranking", tuple(keys), ((1,), (0, 2), (3,)), f"answer {at}", rater=rater)

    def batches(self) -> Iterator[tuple[list[ImageDraft], list[FeedbackDraft]]]:
        """Images and the answers about them, in the order of a data set (or first all images)."""
        pick = random.Random(7)
        rounds = -(-max(self.images, self.feedback) // BATCH)
        made = said = 0
        if self.order == "random":
            for start in range(0, self.images, BATCH):
                yield [self.image(at) for at in range(start, min(self.images, start + BATCH))], []
            made = self.images
        for at in range(1, rounds + 1):
            images, answers = self.images * at // rounds, self.feedback * at // rounds
            new = [self.image(n) for n in range(made, images)]
            made = max(made, images)
            yield new, [self.answer(n, pick) for n in range(said, answers)]
            said = answers


def made(images: int, feedback: int, prompts: int, order: str) -> Made:
    """Made data; its words are always the same."""
    pick = random.Random(1)
    words = tuple("".join(pick.choice(_ABC) for _ in range(pick.randint(3, 9))) for _ in range(WORDS))
    return Made(images, feedback, prompts or max(1, images // 5), order, words)
