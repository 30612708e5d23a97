"""What every optimiser must do. Each ``check_*`` takes a maker ``make(seed=…) -> Optimizer`` and asserts one promise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_rankopt.errors import ConflictError, InvalidInputError
from lib_rankopt.optimizers import Optimizer, Proposal, RoundFeedback, Scores
from lib_rankopt.optimizers.ranking import scores_of, tiers_from_scores

SHAPE = (4, 12, 12)
DIMENSION = 4 * 12 * 12

Maker = Callable[..., Optimizer]
Judge = Callable[[Tensor], float]


def linear_judge(seed: int = 5) -> Judge:
    """A linear reward of unit standard deviation on the shell."""
    target = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    target /= target.norm()
    return lambda x: float((x.double() * target).sum())


def ranked(proposals: Sequence[Proposal], judge: Judge) -> RoundFeedback:
    """The full ranking of a round by a judge."""
    return RoundFeedback(len(proposals), (tiers_from_scores([judge(p.latent) for p in proposals]),))


def scored(proposals: Sequence[Proposal], judge: Judge) -> RoundFeedback:
    """The same ranking with the numbers behind it, as a scorer gives them."""
    values = [judge(p.latent) for p in proposals]
    return RoundFeedback(len(proposals), (tiers_from_scores(values),), scores=(scores_of(values, "judge"),))


def play(
    optimizer: Optimizer,
    judge: Judge,
    rounds: int,
    n: int = 8,
    answer: Callable[[Sequence[Proposal], Judge], RoundFeedback] = ranked,
) -> list[list[Proposal]]:
    """Run whole rounds; return what was proposed."""
    seen = []
    for _ in range(rounds):
        proposals = optimizer.ask(n)
        seen.append(proposals)
        optimizer.tell(answer(proposals, judge))
    return seen


def same(a: Sequence[Proposal], b: Sequence[Proposal]) -> bool:
    """True when two rounds are equal to the last bit."""
    return len(a) == len(b) and all(
        p.origin == q.origin and torch.equal(p.latent, q.latent) for p, q in zip(a, b, strict=True)
    )


def assert_on_shell(proposals: Sequence[Proposal]) -> None:
    """Norm within 0.1 %, right shape and type, finite."""
    for p in proposals:
        assert p.latent.shape == SHAPE
        assert p.latent.dtype == torch.float32
        assert p.latent.device.type == "cpu"
        assert abs(float(p.latent.double().norm()) / DIMENSION**0.5 - 1.0) < 1e-3


def check_determinism(make: Maker) -> None:
    """Same seed, same answers: same proposals. Another seed: others. No global generator is read or moved."""
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    first = play(make(seed=7), linear_judge(), 6)
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), np.random.get_state()[2], random.getstate())
    second = play(make(seed=7), linear_judge(), 6)
    after = (torch.get_rng_state(), np.random.get_state()[1], np.random.get_state()[2], random.getstate())
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert not same(first[0], make(seed=8).ask(8))


def check_replay(make: Maker) -> None:
    """Replaying mixed answers on a new instance gives the identical next round; changing a returned list does nothing."""
    judge = linear_judge()
    live, answers = make(seed=3), []
    for r in range(12):
        proposals = live.ask(8 if r != 4 else 5)
        full = ranked(proposals, judge)
        kinds = [
            full,
            RoundFeedback(full.size, (full.rankings[0][:3],)),
            RoundFeedback(full.size, pairs=((0, 1), (2, 3), (3, 2), (4, 0))),
            RoundFeedback(full.size),
            RoundFeedback(full.size, (((1, 0), (2,)),), shown=(0, 1, 2, 4)),
            RoundFeedback(full.size, none_better=True),
            RoundFeedback(full.size, (full.rankings[0], full.rankings[0][::-1], ((2,), (3, 4)))),
            scored(proposals, judge),
            RoundFeedback(full.size, (full.rankings[0], full.rankings[0]), scores=(None, scored(proposals, judge).scores[0])),
        ]
        answers.append(kinds[r % len(kinds)])
        proposals.clear()
        live.tell(answers[-1])
        _ = (live.incumbent, live.state())
    replayed = make(seed=3)
    for r, answer in enumerate(answers):
        replayed.ask(8 if r != 4 else 5)
        replayed.tell(answer)
    assert same(live.ask(8), replayed.ask(8))
    assert live.incumbent is None or torch.equal(live.incumbent, replayed.incumbent)
    assert live.state() == replayed.state()


def check_display_order(make: Maker) -> None:
    """Answers in places on screen, translated into candidates, give the same search whatever the order on screen."""
    judge, plain, mixed = linear_judge(), make(seed=4), make(seed=4)
    rng = random.Random(9)
    for _ in range(5):
        a, b = plain.ask(8), mixed.ask(8)
        assert same(a, b)
        plain.tell(ranked(a, judge))
        order = rng.sample(range(8), 8)
        on_screen = tiers_from_scores([judge(b[i].latent) for i in order])
        mixed.tell(RoundFeedback(8, (tuple(tuple(order[place] for place in tier) for tier in on_screen),)))
    assert same(plain.ask(8), mixed.ask(8))


def check_tier_order(make: Maker) -> None:
    """The order of names inside a tier means nothing."""
    a, b = make(seed=4), make(seed=4)
    for tiers in (((0, 1, 2), (3, 4)), ((5, 1), (0,), (2, 6)), ((7, 3, 2, 1),)):
        assert same(a.ask(8), b.ask(8))
        a.tell(RoundFeedback(8, (tiers,)))
        b.tell(RoundFeedback(8, (tuple(t[::-1] for t in tiers),)))
    assert same(a.ask(8), b.ask(8))


def check_shell(make: Maker) -> None:
    """Every proposal and the incumbent stay on the shell, for every size of round, whatever is answered."""
    optimizer, judge = make(seed=2), linear_judge()
    for n in (8, 2, 16, 3, 4, 8, 5, 8, 8, 8):
        proposals = optimizer.ask(n)
        assert 2 <= len(proposals) <= n
        assert_on_shell(proposals)
        optimizer.tell(ranked(proposals, judge))
        if optimizer.incumbent is not None:
            assert_on_shell([Proposal(optimizer.incumbent, "incumbent")])
    assert all(np.isfinite(v) for v in optimizer.state().values.values())
    assert optimizer.state().rounds_told == 10


def check_improvement(make: Maker, rounds: int, least: float) -> None:
    """The incumbent climbs a linear reward by at least ``least`` standard deviations (mean of 6 seeds)."""
    gains = []
    for seed in range(6):
        optimizer, judge = make(seed=seed), linear_judge(seed + 50)
        play(optimizer, judge, rounds)
        assert optimizer.incumbent is not None
        gains.append(judge(optimizer.incumbent))
    assert sum(gains) / len(gains) > least


def check_inversion(make: Maker, rounds: int) -> None:
    """From one state, a ranking and its reverse move the search in opposite directions (mean of 8 seeds)."""
    judge, cosines = linear_judge(), []
    for seed in range(8):
        up, down = make(seed=seed), make(seed=seed)
        play(up, judge, rounds)
        play(down, judge, rounds)
        start = up.incumbent
        assert start is not None
        proposals = up.ask(8)
        down.ask(8)
        answer = ranked(proposals, judge)
        up.tell(answer)
        down.tell(RoundFeedback(8, (answer.rankings[0][::-1],)))
        a, b = (o.incumbent.double() - start.double() for o in (up, down))
        assert float(a.norm()) > 0
        cosines.append(float((a * b).sum() / (a.norm() * b.norm())))
    assert sum(cosines) / len(cosines) < -0.3


def check_scores(make: Maker) -> None:
    """With numbers behind the rankings it stays on the shell, climbs, and hears the order alone: any growing function gives the same."""
    judge, optimizer, warped = linear_judge(), make(seed=2), make(seed=2)
    seen = play(optimizer, judge, 10, answer=scored)
    again = play(warped, lambda x: math.exp(3.0 * judge(x)) - 7.0, 10, answer=scored)
    assert all(same(a, b) for a, b in zip(seen, again, strict=True))
    for proposals in seen:
        assert_on_shell(proposals)
    assert optimizer.incumbent is not None
    assert judge(optimizer.incumbent) > max(judge(p.latent) for p in seen[0])


def check_no_move(make: Maker) -> None:
    """Skips and all-tied answers leave the incumbent alone, and other candidates come next."""
    optimizer = make(seed=6)
    play(optimizer, linear_judge(), 4)
    start = optimizer.incumbent
    assert start is not None
    everything_tied = RoundFeedback(8, ((tuple(range(8)),),))
    contradicting = RoundFeedback(8, pairs=((0, 1), (1, 0)))
    nothing_seen = RoundFeedback(8, shown=())
    for answer in (RoundFeedback(8), everything_tied, contradicting, nothing_seen):
        before = optimizer.ask(8)
        optimizer.tell(answer)
        assert torch.equal(optimizer.incumbent, start)
        after = optimizer.ask(8)
        assert not same(before, after)
        optimizer.tell(RoundFeedback(8))


def check_first_round_skips(make: Maker) -> None:
    """A study may begin with rounds that say nothing."""
    optimizer, seen = make(seed=6), []
    assert optimizer.incumbent is None
    for answer in (RoundFeedback(8), RoundFeedback(8, ((tuple(range(8)),),)), RoundFeedback(8, none_better=True)):
        seen.append(optimizer.ask(8))
        optimizer.tell(answer)
    assert not same(seen[0], seen[1])
    assert not same(seen[1], seen[2])
    assert_on_shell(optimizer.ask(8))


def check_none_better(make: Maker) -> None:
    """``none_better`` again and again keeps the search where it is (within a turn of 30 degrees), on the shell."""
    optimizer = make(seed=6)
    play(optimizer, linear_judge(), 4)
    start = optimizer.incumbent
    assert start is not None
    for _ in range(4):
        assert_on_shell(optimizer.ask(8))
        optimizer.tell(RoundFeedback(8, none_better=True))
    assert optimizer.incumbent is not None
    assert float((optimizer.incumbent.double() * start.double()).sum()) / DIMENSION > 0.86


def check_partial_round(make: Maker) -> None:
    """An interrupted round counts with what was shown; hidden candidates may not be named."""
    optimizer = make(seed=6)
    optimizer.ask(8)
    with pytest.raises(InvalidInputError, match="7"):
        optimizer.tell(RoundFeedback(8, (((7,),),), shown=(0, 1, 2)))
    optimizer.tell(RoundFeedback(8, (((2,),),), shown=(0, 1, 2)))
    assert_on_shell(optimizer.ask(8))
    assert optimizer.incumbent is not None


BAD_ANSWERS: tuple[tuple[RoundFeedback, str], ...] = (
    (RoundFeedback(7, (((0,),),)), "7"),
    (RoundFeedback(8, (((8,),),)), "8"),
    (RoundFeedback(8, (((-1,),),)), "-1"),
    (RoundFeedback(8, (((1,), (1,)),)), "1"),
    (RoundFeedback(8, (((4, 4),),)), "4"),
    (RoundFeedback(8, pairs=((3, 3),)), "3"),
    (RoundFeedback(8, pairs=((0, 11),)), "11"),
    (RoundFeedback(8, shown=(0, 1, 9)), "9"),
    (RoundFeedback(8, shown=(0, 1, 1)), "1"),
    (RoundFeedback(8, ((("2",),),)), "2"),  # type: ignore[arg-type]
    (RoundFeedback(8, (((True,),),)), "True"),
    (RoundFeedback(8, (((2.0,),),)), "2.0"),  # type: ignore[arg-type]
    (RoundFeedback(8, (((2,),),), scores=(Scores("s", (1.0,)),)), "2 tiers"),
    (RoundFeedback(8, (((2,),),), scores=(None, None)), "2 sets of scores"),
    (RoundFeedback(8, (((2,),),), scores=(Scores("s", (1.0, 1.0)),)), "fall"),
    (RoundFeedback(8, (((2,),),), scores=(Scores("s", (1.0, math.nan)),)), "finite"),
)


def check_bad_answers(make: Maker) -> None:
    """A wrong answer is refused, names what was wrong, and changes nothing."""
    judge, clean, teased = linear_judge(), make(seed=1), make(seed=1)
    for _ in range(4):
        a, b = clean.ask(8), teased.ask(8)
        assert same(a, b)
        for answer, named in BAD_ANSWERS:
            with pytest.raises(InvalidInputError, match=named):
                teased.tell(answer)
        clean.tell(ranked(a, judge))
        teased.tell(ranked(b, judge))
    assert same(clean.ask(8), teased.ask(8))


def check_order_of_calls(make: Maker) -> None:
    """Ask and tell alternate; a refused call changes nothing."""
    optimizer, reference = make(seed=1), make(seed=1)
    with pytest.raises(ConflictError):
        optimizer.tell(RoundFeedback(8))
    for n in (1, 0, -3, 2.5, True):
        with pytest.raises(InvalidInputError):
            optimizer.ask(n)  # type: ignore[arg-type]
    first = optimizer.ask(8)
    with pytest.raises(ConflictError):
        optimizer.ask(8)
    assert same(first, reference.ask(8))
    optimizer.tell(RoundFeedback(8, (((1,),),)))
    reference.tell(RoundFeedback(8, (((1,),),)))
    with pytest.raises(ConflictError):
        optimizer.tell(RoundFeedback(8, (((1,),),)))
    assert same(optimizer.ask(8), reference.ask(8))


def check_nonsense(make: Maker) -> None:
    """Random, contradicting, incomplete answers for 25 rounds: always finite, always on the shell."""
    optimizer, rng = make(seed=11), random.Random(0)
    for _ in range(25):
        n = rng.choice((2, 3, 6, 8, 12))
        proposals = optimizer.ask(n)
        assert_on_shell(proposals)
        size = len(proposals)
        rankings = tuple(
            tuple((i,) for i in rng.sample(range(size), rng.randint(1, size))) for _ in range(rng.randint(0, 3))
        )
        pairs = tuple(tuple(rng.sample(range(size), 2)) for _ in range(rng.randint(0, 4)))
        optimizer.tell(RoundFeedback(size, rankings, pairs, None, rng.random() < 0.2))  # type: ignore[arg-type]
        assert all(np.isfinite(v) for v in optimizer.state().values.values())


CHECKS: tuple[Callable[[Maker], None], ...] = (
    check_determinism,
    check_replay,
    check_display_order,
    check_tier_order,
    check_shell,
    check_scores,
    check_no_move,
    check_first_round_skips,
    check_none_better,
    check_partial_round,
    check_bad_answers,
    check_order_of_calls,
    check_nonsense,
)
