"""The best of many against brute force; score files of other programs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_rankopt.errors import InvalidInputError, StoreError
from lib_rankopt.evaluation import score_caches
from lib_rankopt.evaluation.select import Scales, Scored, best

CANDIDATES = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=40)
LIMITS = st.one_of(st.none(), st.integers(1, 12))


def brute(candidates: list[Scored], top: int | None, per_group: int | None) -> list[Scored]:
    """By sorting everything."""
    order = sorted(candidates, key=lambda one: (-one.score, one.name))
    if per_group is not None:
        order = [one for one in order if [other.group for other in order[: order.index(one)]].count(one.group) < per_group]
    return order[:top]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(CANDIDATES, LIMITS, LIMITS, st.randoms(use_true_random=False))
def test_as_brute_force_in_any_order(values: list[tuple[int, str]], top: int | None, per_group: int | None, rng: random.Random) -> None:
    candidates = [Scored(f"{i:03d}", float(score), group) for i, (score, group) in enumerate(values)]
    wanted = brute(candidates, top, per_group)
    assert best(iter(candidates), top, per_group) == wanted
    rng.shuffle(candidates)
    assert best(candidates, top, per_group) == wanted


def test_ties_go_by_name() -> None:
    assert [one.name for one in best([Scored("b", 1), Scored("c", 1), Scored("a", 1)], top=2)] == ["a", "b"]
    assert [one.name for one in best([Scored("b", 1, "x"), Scored("a", 1, "x"), Scored("z", 0, "y")], per_group=1)] == ["a", "z"]


@pytest.mark.parametrize("limits", [(0, None), (None, 0), (-1, 2)])
def test_limits_below_one_are_refused(limits: tuple[int | None, int | None]) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        best([], *limits)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="broken"):
        best([Scored("broken", float("nan"))], top=1)


def test_several_scorers_count_alike() -> None:
    rng = np.random.default_rng(3)
    values = {"a": rng.normal(20, 1, 50), "b": rng.normal(0.2, 0.01, 50), "same": np.ones(50)}
    rows = [{name: float(column[i]) for name, column in values.items()} for i in range(50)]
    scales = Scales(list(values))
    for row in rows:
        scales.learn(row)
    standard = sum((values[n] - values[n].mean()) / values[n].std() for n in ("a", "b"))
    np.testing.assert_allclose([scales.total(row) for row in rows], standard, atol=1e-9)
    assert Scales(["a"]).total({"a": 7.5}) == 7.5


def test_caches_of_both_kinds_come_back(tmp_path: Path) -> None:
    rows = [("0/0.png", "a fox", 21.5), ("1/1.png", 'quoted "fox"\n🦊', -3.0)]
    assert score_caches.write(tmp_path / "pickscore.json", rows) == 2
    assert json.loads((tmp_path / "pickscore.json").read_text()) == {"0/0.png": 21.5, "1/1.png": -3.0}
    score_caches.write(tmp_path / "c.jsonl", [*rows, ("0/0.png", "another", 1.0)])
    assert json.loads((tmp_path / "c.jsonl").read_text().splitlines()[0]) == {"0/0.png": {"a fox": 21.5}}
    by_path, by_caption = score_caches.read(tmp_path / "pickscore.json", ""), score_caches.read(tmp_path / "c.jsonl", "")
    assert (len(by_path), len(by_caption)) == (2, 3)
    assert by_path.get(["elsewhere/0/0.png", "0/0.png"], "whatever") == 21.5
    assert by_caption.get(["0/0.png"], "another") == 1.0
    assert by_caption.get(["0/0.png"], "a third") is None
    with pytest.raises(InvalidInputError, match="several captions"):
        score_caches.write(tmp_path / "d.json", [*rows, ("0/0.png", "another", 1.0)])
    assert not (tmp_path / "d.json").exists()
    with pytest.raises(InvalidInputError, match=r"\.json"):
        score_caches.write(tmp_path / "d.csv", rows)
    with pytest.raises(StoreError):
        score_caches.write(tmp_path / "c.jsonl" / "d.json", rows)


def test_lines_of_ours_are_read_by_scorer(tmp_path: Path) -> None:
    line = {"file": "a.png", "bytes": 3, "modified": 1.0, "prompt": "x", "scores": {"clip": 2.0, "hpsv2": 0.3}, "errors": {}}
    (tmp_path / "s.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({"summary": []}) + "\n")
    assert score_caches.read(tmp_path / "s.jsonl", "hpsv2").get(["a.png"], "") == 0.3
    with pytest.raises(InvalidInputError, match="several scorers"):
        score_caches.read(tmp_path / "s.jsonl", "")


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": "high"}', '{"a": {"b": true}}', '{"a": NaN}'])
def test_files_that_hold_no_scores_are_refused_with_their_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"good": 1}\n' + text + "\n")
    with pytest.raises(InvalidInputError, match=r"s\.jsonl, line 2"):
        score_caches.read(tmp_path / "s.jsonl", "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        score_caches.read(tmp_path / "none.json", "")
