"""Objectives: what all of them keep to, and their values and gradients against formulas written out by hand in double precision."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

from lib_rankopt.errors import InvalidInputError, NotFoundError
from lib_rankopt.training import objectives
from lib_rankopt.training.objectives import Errors

Row = list[float]
ByHand = Callable[[Row], float]
"""Loss of one item as a function of its policy errors."""

_COLUMNS = {"experts": 1, "labels": 1, "pairs": 2, "lists": 4}


def make_errors(name: str, n: int = 5, seed: int = 0, spread: float = 2e-4) -> Errors:
    """Errors of a plausible size for an objective; for lists with ties and a place without image."""
    objective = objectives.get(name)
    k = _COLUMNS[objective.kind] + int(objective.samples_policy)
    generator = torch.Generator().manual_seed(seed)
    reference = 0.1 + 0.05 * torch.rand(n, k, generator=generator)
    policy = reference + spread * torch.randn(n, k, generator=generator)
    return Errors(
        policy=policy.requires_grad_(),
        reference=reference if objective.needs_reference else None,
        labels=torch.tensor([[1.0 if i % 2 == 0 else -1.0] for i in range(n)]) if objective.kind == "labels" else None,
        tiers=torch.tensor([[0, 1, 1, -1]] * n) if objective.kind == "lists" else None,
        overlap=0.2 * torch.rand(n, generator=generator) + 0.05 if objective.kind == "pairs" else None,
        level=1e-5 if objective.uses_level else 0.0,
    )


def gradient(objective: Any, errors: Errors) -> torch.Tensor:
    return torch.autograd.grad(objective(errors).items.sum(), errors.policy)[0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slopes(by_hand: ByHand, row: Row, step: float = 1e-7) -> Row:
    """Central differences of a formula."""
    result = []
    for i in range(len(row)):
        up, down = list(row), list(row)
        up[i] += step
        down[i] -= step
        result.append((by_hand(up) - by_hand(down)) / (2 * step))
    return result


def check(objective: Any, errors: Errors, by_hand: Callable[[int], ByHand], rel: float = 2e-3) -> None:
    """Values and gradients of all items against formulas; ``rel`` allows for float32 differences of errors (ulp 1.5e-8 at 0.15)."""
    items, grad = objective(errors).items, gradient(objective, errors)
    for i, row in enumerate(errors.policy.detach().double().tolist()):
        formula = by_hand(i)
        assert items[i].item() == pytest.approx(formula(row), rel=rel, abs=1e-9)
        wanted = slopes(formula, row)
        assert grad[i].tolist() == pytest.approx(wanted, rel=rel, abs=rel * max(map(abs, wanted)) + 1e-9)


def reference_rows(errors: Errors) -> list[Row]:
    assert errors.reference is not None
    return errors.reference.double().tolist()


@pytest.mark.parametrize("name", objectives.names())
class TestConformance:
    def test_items_are_float32_and_one_each(self, name: str) -> None:
        items = objectives.create(name)(make_errors(name)).items
        assert items.dtype == torch.float32
        assert items.shape == (5,)
        assert items.isfinite().all()

    @pytest.mark.parametrize("spread", [0.0, 2e-4, 0.5])
    def test_gradients_are_finite(self, name: str, spread: float) -> None:
        grad = gradient(objectives.create(name), make_errors(name, spread=spread))
        assert grad.isfinite().all()

    def test_step_0_has_a_gradient(self, name: str) -> None:
        assert (gradient(objectives.create(name), make_errors(name, spread=0.0)).abs().sum(1) > 0).all()

    def test_items_do_not_look_at_each_other(self, name: str) -> None:
        errors = make_errors(name)
        cut = {f.name: value[2:3] if isinstance(value := getattr(errors, f.name), torch.Tensor) else value for f in fields(errors)}
        objective = objectives.create(name)
        torch.testing.assert_close(objective(Errors(**cut)).items, objective(errors).items[2:3])

    def test_watched_carry_no_gradient(self, name: str) -> None:
        for key, value in objectives.create(name)(make_errors(name)).watched.items():
            assert not value.requires_grad, key
            assert value.shape in ((), (5,)), key
            assert value.isfinite().all(), key

    def test_texts(self, name: str) -> None:
        objective = objectives.get(name)
        assert objective.name == name
        assert objective.title
        assert len(re.findall(r"[.!?](?=\s|$)", objective.explanation)) == 2
        assert objective.explanation.endswith(".")

    def test_options_have_help_and_defaults(self, name: str) -> None:
        for option in fields(objectives.get(name)):
            assert option.metadata["help"], option.name

    def test_unknown_option(self, name: str) -> None:
        with pytest.raises(InvalidInputError, match="no_such"):
            objectives.create(name, {"no_such": 1})

    def test_options_refuse_values_of_another_type(self, name: str) -> None:
        for option in fields(objectives.get(name)):
            with pytest.raises(InvalidInputError, match=option.name):
                objectives.create(name, {option.name: [1]})

    def test_prompt_of_liked_is_kept(self, name: str) -> None:
        assert objectives.create(name).prompt("a cat", 1) == "a cat"


def test_unknown_name() -> None:
    with pytest.raises(NotFoundError, match="nope"):
        objectives.get("nope")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *[(name, "beta", value) for name in ("dpo", "ipo", "sdpo", "lpo", "kto") for value in (0, -1.0, math.nan, math.inf, True, "5")],
        ("kto", "utility", "cheerful"),
        ("kto", "liked_share", 1.1),
        ("kto", "liked_share", -0.1),
        ("kto", "liked_weight", -1),
        ("kto", "disliked_weight", math.nan),
        ("hinge", "margin", -0.001),
        ("hinge", "lag", -1),
        ("hinge", "lag", 1.5),
        ("csft", "bad_prefix", None),
        ("csft", "bad_prefix", ""),
    ],
)
def test_bad_options(name: str, option: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=option):
        objectives.create(name, {option: value})


def test_kto_refuses_to_learn_nothing() -> None:
    with pytest.raises(InvalidInputError, match="both 0"):
        objectives.create("kto", {"liked_weight": 0, "disliked_weight": 0})


class TestCsft:
    def test_value(self) -> None:
        check(objectives.create("csft"), make_errors("csft"), lambda _: lambda row: row[0])

    def test_prefixes(self) -> None:
        default = objectives.create("csft")
        assert default.prompt("a cat", -1) == "Weird image. a cat"
        assert (default.negative_text, default.activation_text) == ("Weird image.", "")
        other = objectives.create("csft", {"bad_prefix": "bad image, ", "good_prefix": "good image, "})
        assert (other.prompt("a cat", 1), other.prompt("a cat", -1)) == ("good image, a cat", "bad image, a cat")
        assert (other.negative_text, other.activation_text) == ("bad image,", "good image,")


class TestPairs:
    @pytest.mark.parametrize("beta", [2000.0, 5000.0])
    def test_dpo_by_hand(self, beta: float) -> None:
        errors = make_errors("dpo")
        reference = reference_rows(errors)

        def by_hand(i: int) -> ByHand:
            (w, l) = reference[i]  # noqa: E741
            return lambda e: math.log(1 + math.exp(0.5 * beta * ((e[0] - w) - (e[1] - l))))

        check(objectives.create("dpo", {"beta": beta}), errors, by_hand)

    @pytest.mark.parametrize("beta", [500.0, 2500.0])
    def test_ipo_by_hand(self, beta: float) -> None:
        errors = make_errors("ipo")
        reference = reference_rows(errors)
        check(
            objectives.create("ipo", {"beta": beta}),
            errors,
            lambda i: lambda e: (-((e[0] - reference[i][0]) - (e[1] - reference[i][1])) - 1 / (2 * beta)) ** 2,
        )

    def test_step_0_values(self) -> None:
        for name, value in (("dpo", math.log(2)), ("sdpo", math.log(2)), ("ipo", 1 / (4 * 2500.0**2))):
            items = objectives.create(name)(make_errors(name, spread=0.0)).items
            assert items.tolist() == pytest.approx([value] * 5, rel=1e-6)

    @pytest.mark.parametrize("name", ["dpo", "ipo"])
    def test_swapped_images_flip_the_gradient_at_step_0(self, name: str) -> None:
        errors = make_errors(name, spread=0.0)
        assert errors.reference is not None
        swapped = Errors(policy=errors.policy.detach().flip(1).requires_grad_(), reference=errors.reference.flip(1))
        objective = objectives.create(name)
        before, after = gradient(objective, errors), gradient(objective, swapped).flip(1)
        torch.testing.assert_close(after, -before)
        assert (before[:, 0] > 0).all()
        assert (before[:, 1] < 0).all()

    @pytest.mark.parametrize("name", ["dpo", "ipo", "sdpo"])
    def test_watched(self, name: str) -> None:
        errors = Errors(
            policy=torch.tensor([[0.1, 0.2], [0.3, 0.2]], requires_grad=True),
            reference=torch.tensor([[0.2, 0.2], [0.2, 0.2]]),
            overlap=torch.tensor([0.2, -0.1]),
        )
        watched = objectives.create(name)(errors).watched
        assert watched["implicit_accuracy"].tolist() == [1, 0]
        assert watched["winner_drift"].tolist() == pytest.approx([-0.1, 0.1])
        assert watched["loser_drift"].tolist() == [0, 0]
        assert (watched["logit"] > 0).tolist() == [True, False]


class TestSdpo:
    def test_value_is_that_of_dpo(self) -> None:
        errors = make_errors("sdpo")
        assert torch.equal(objectives.create("sdpo")(errors).items, objectives.create("dpo")(errors).items)

    def test_gradient_of_the_loser_is_scaled(self) -> None:
        reference = torch.full((4, 2), 0.1)
        overlap = torch.tensor([0.2, 0.05, -0.3, 0.0])
        errors = Errors(policy=torch.full((4, 2), 0.1, requires_grad=True), reference=reference, overlap=overlap)
        guard = [0.5, 1.0, 1.0, 1.0]  # 0.1 / 0.2; 0.1 / 0.05 cut to 1; nothing to guard against
        plain, guarded = gradient(objectives.create("dpo"), errors), gradient(objectives.create("sdpo"), errors)
        assert torch.equal(guarded[:, 0], plain[:, 0])
        assert (guarded[:, 1] / plain[:, 1]).tolist() == pytest.approx(guard)
        assert objectives.create("sdpo")(errors).watched["guard"].tolist() == pytest.approx(guard)

    def test_a_step_on_the_outputs_never_raises_the_error_of_the_winner(self) -> None:
        """Residuals as free parameters: JJᵀ is the identity. DPO fails where the residuals point the same way and the loser's is larger."""
        generator = torch.Generator().manual_seed(3)
        size = 64
        winner = torch.randn(200, size, generator=generator)
        mix = torch.rand(200, 1, generator=generator) * 4 - 2
        loser = mix * winner + 0.5 * torch.randn(200, size, generator=generator)

        def change(name: str) -> torch.Tensor:
            # both images share the change of the output: a step moves r_w and r_l by the same vector
            shift = torch.zeros(200, size, requires_grad=True)
            policy = torch.stack([(winner + shift).square().mean(1), (loser + shift).square().mean(1)], 1)
            overlap = (winner * loser).mean(1)
            errors = Errors(policy=policy, reference=policy.detach(), overlap=overlap)
            (grad,) = torch.autograd.grad(objectives.create(name)(errors).items.sum(), shift)
            return -(winner * grad).mean(1)  # half the slope of E_w along descent

        scale = 1e-4 * change("dpo").abs().max()
        assert (change("sdpo") <= scale).all()
        assert (change("dpo") > scale).any()


class TestLpo:
    @staticmethod
    def brute_force(reference: Row, tiers: list[int], beta: float) -> ByHand:
        def loss(policy: Row) -> float:
            present = [i for i, tier in enumerate(tiers) if tier >= 0]
            score = {i: -0.5 * beta * (policy[i] - reference[i]) for i in present}
            terms = []
            for i in present:
                worse = [j for j in present if tiers[j] > tiers[i]]
                if worse:
                    total = math.exp(score[i]) + sum(math.exp(score[j]) for j in worse)
                    terms.append(-math.log(math.exp(score[i]) / total))
            return sum(terms) / len(terms) if terms else 0.0

        return loss

    def test_two_images_are_dpo(self) -> None:
        pairs = make_errors("dpo")
        lists = Errors(policy=pairs.policy, reference=pairs.reference, tiers=torch.tensor([[0, 1]] * 5))
        torch.testing.assert_close(objectives.create("lpo")(lists).items, objectives.create("dpo")(pairs).items)
        torch.testing.assert_close(gradient(objectives.create("lpo"), lists), gradient(objectives.create("dpo"), pairs))

    def test_ties_and_padding_by_hand(self) -> None:
        tiers = [[0, 1, 2, 3], [0, 0, 1, 2], [0, 1, 1, -1], [0, 2, 2, 2], [0, 1, -1, -1], [0, 0, 0, 0], [0, -1, -1, -1], [0, 0, -1, 1]]
        made = make_errors("lpo", n=len(tiers))
        errors = Errors(policy=made.policy, reference=made.reference, tiers=torch.tensor(tiers))
        reference = reference_rows(errors)
        check(objectives.create("lpo", {"beta": 3000.0}), errors, lambda i: self.brute_force(reference[i], tiers[i], 3000.0))

    def test_no_comparison_gives_no_loss_and_no_gradient(self) -> None:
        made = make_errors("lpo", n=2)
        errors = Errors(policy=made.policy, reference=made.reference, tiers=torch.tensor([[0, 0, 0, -1], [0, -1, -1, -1]]))
        assert objectives.create("lpo")(errors).items.tolist() == [0, 0]
        assert not gradient(objectives.create("lpo"), errors).any()

    @pytest.mark.parametrize("rubbish", [math.nan, math.inf, 1e6])
    def test_rubbish_in_the_padding_does_not_matter(self, rubbish: float) -> None:
        clean = make_errors("lpo")
        policy = clean.policy.detach().clone()
        policy[:, 3] = rubbish
        dirty = Errors(policy=policy.requires_grad_(), reference=clean.reference, tiers=clean.tiers)
        objective = objectives.create("lpo")
        assert torch.equal(objective(dirty).items, objective(clean).items)
        assert torch.equal(gradient(objective, dirty), gradient(objective, clean))
        assert all(value.isfinite().all() for value in objective(dirty).watched.values())


class TestKto:
    @pytest.mark.parametrize("utility", ["kahneman_tversky", "loss_averse", "risk_seeking"])
    @pytest.mark.parametrize("level", [-3e-4, 0.0, 1e-4])
    def test_by_hand(self, utility: str, level: float) -> None:
        made = make_errors("kto", n=6)
        errors = Errors(policy=made.policy, reference=made.reference, labels=made.labels, level=level)
        reference = reference_rows(errors)
        utilities = {
            "kahneman_tversky": sigmoid,
            "loss_averse": lambda u: math.log(sigmoid(u)),
            "risk_seeking": lambda u: -math.log(sigmoid(-u)),
        }

        def by_hand(i: int) -> ByHand:
            sign, weight = (1, 1.5) if i % 2 == 0 else (-1, 0.5)

            def loss(row: Row) -> float:
                gain = -(row[0] - reference[i][0])
                return weight * (1 - utilities[utility](sign * 2000.0 * (gain - max(0.0, level))))

            return loss

        options = {"beta": 2000.0, "utility": utility, "liked_weight": 1.5, "disliked_weight": 0.5}
        check(objectives.create("kto", options), errors, by_hand)

    def test_step_0(self) -> None:
        made = make_errors("kto", spread=0.0)
        errors = Errors(policy=made.policy, reference=made.reference, labels=made.labels)
        objective = objectives.create("kto")
        assert objective(errors).items.tolist() == [0.5] * 5
        grad = gradient(objective, errors)[:, 0]
        assert grad.tolist() == pytest.approx([2500 / 4, -2500 / 4, 2500 / 4, -2500 / 4, 2500 / 4])


class TestHinge:
    @pytest.mark.parametrize("margin", [0.0, 0.001])
    def test_by_hand(self, margin: float) -> None:
        errors = make_errors("hinge", n=12, spread=1e-3)
        reference = reference_rows(errors)
        formulas = lambda i: lambda e: max(0.0, margin + (e[0] - reference[i][0]) - (e[1] - reference[i][1]))  # noqa: E731
        check(objectives.create("hinge", {"margin": margin}), errors, formulas)
        active = objectives.create("hinge", {"margin": margin})(errors).watched["active"]
        assert 0 < active.mean() < 1

    def test_step_0(self) -> None:
        assert objectives.create("hinge")(make_errors("hinge", spread=0.0)).items.tolist() == pytest.approx([0.001] * 5)

    def test_a_sample_without_gradient_leaves_gated_sft(self) -> None:
        """``lag`` 0: the sample's error under the policy is 0 and constant."""
        generator = torch.Generator().manual_seed(1)
        expert = (0.1 + 0.005 * torch.randn(50, generator=generator)).requires_grad_()
        drift = 0.002 * torch.rand(50, generator=generator)
        reference = torch.stack([torch.full((50,), 0.1), drift], 1)
        errors = Errors(policy=torch.stack([expert, torch.zeros(50)], 1), reference=reference)
        (got,) = torch.autograd.grad(objectives.create("hinge")(errors).items.sum(), expert)
        (sft,) = torch.autograd.grad(objectives.create("sft")(errors).items.sum(), expert, retain_graph=True)
        gate = [0.001 + (e - 0.1) + d > 0 for e, d in zip(expert.tolist(), drift.tolist(), strict=True)]
        assert 0 < sum(gate) < 50
        assert torch.equal(got, sft * torch.tensor(gate))
