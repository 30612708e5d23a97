"""Who judges a pool: a scorer on pictures, a person, or the scorer where the person does not answer."""

from __future__ import annotations

import base64
import io
import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_rankopt.errors import InvalidInputError
from lib_rankopt.hosts.judging import Judging
from lib_rankopt.hosts.picks import PickBoard
from lib_rankopt.selection.settings import Selection

STEPS = 8
LATENTS = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)


def pictures(latents: Tensor) -> list[Image.Image]:
    """One grey per latent, by which the scorer below knows it."""
    return [Image.new("RGB", (200, 100), (int(latent.flatten()[0]),) * 3) for latent in latents]


class Greys:
    """Gives the pictures of :func:`pictures` these scores."""

    def __init__(self, *scores: float) -> None:
        self._scores = scores

    def score(self, images: list[Image.Image], _prompt: str) -> Tensor:
        return torch.tensor([self._scores[image.getpixel((0, 0))[0]] for image in images])


class Silent(PickBoard):
    """Nobody answers."""

    def ask(self, *_: object, **__: object) -> None:
        return None


def judging(scorer: Greys | None, policy: str = "human", path: str = "") -> Judging:
    selection = Selection(policy, 4, "clip" if scorer else "", path=path)
    return Judging(selection, "a fox", STEPS, pictures, pictures, scorer, Silent())  # type: ignore[arg-type]


def test_a_scorer_judges_in_the_order_of_the_rows() -> None:
    judge = judging(Greys(3.0, 1.0, 2.0, 0.5), "best-of-n")
    assert judge(LATENTS, (0, 1, 2, 3), STEPS).tolist() == [3.0, 1.0, 2.0, 0.5]
    assert set(judge.finished) == {0, 1, 2, 3}


def test_where_nobody_answers_the_scorer_keeps_the_better_half_and_at_the_end_the_best() -> None:
    judge = judging(Greys(3.0, 1.0, 2.0, 0.5))
    assert judge(LATENTS, (0, 1, 2, 3), 3).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert judge(LATENTS, (0, 1, 2, 3), STEPS).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_where_nobody_answers_and_nobody_scores_all_go_on_and_at_the_end_the_first() -> None:
    judge = judging(None)
    assert judge(LATENTS, (0, 1, 2, 3), 3).tolist() == [1.0] * 4
    assert judge(LATENTS[1:], (1, 2, 3), STEPS).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("broken", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_score_in_place_of_an_answer_is_refused_for_every_candidate(broken: int, value: float) -> None:
    scores = [3.0, 1.0, 2.0, 0.5]
    scores[broken] = value
    with pytest.raises(InvalidInputError, match=f"candidate {broken + 1} the score"):
        judging(Greys(*scores))(LATENTS, (0, 1, 2, 3), 3)


def test_along_a_path_nothing_is_decoded_before_the_end_and_nothing_judged() -> None:
    judge = judging(Greys(math.nan), "greedy", path="1 5@3")
    assert judge(LATENTS[:1], (0,), 3).tolist() == [0.0]
    assert not judge.finished
    assert judge(LATENTS[1:2], (1,), STEPS).tolist() == [0.0]
    assert set(judge.finished) == {1}


def test_thumbnails_are_small_jpegs_by_look_and_row() -> None:
    from lib_rankopt.selection.record import Look

    judge = judging(Greys(1.0, 2.0, 3.0, 4.0), "best-of-n")
    judge(LATENTS[1:3], (1, 2), STEPS)

    class Run:
        looks = (Look(STEPS, (None, 2.0, 3.0, None), None, (False, False, True, False)),)
        evaluated = 16

    record = judge.record(Run(), (5, 6, 7, 8))  # type: ignore[arg-type]
    assert [one is None for one in record.thumbnails[0]] == [True, False, False, True]
    small = Image.open(io.BytesIO(base64.b64decode(record.thumbnails[0][1] or "")))
    assert (small.format, small.size) == ("JPEG", (96, 48))
