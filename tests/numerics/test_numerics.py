"""Losses, mixup and schedules against their formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional

from labelwise.memory.teacher import ema_decay
from labelwise.numerics.losses import reduce_rows, soft_cross_entropy
from labelwise.numerics.mixup import MixupPairs, draw_mixup, mix
from labelwise.numerics.schedules import learning_rate_factor, sigmoid_rampup


def test_rampup() -> None:
    assert sigmoid_rampup(0, 10) == pytest.approx(math.exp(-5))
    assert sigmoid_rampup(5, 10) == pytest.approx(math.exp(-1.25))
    assert sigmoid_rampup(10, 10) == sigmoid_rampup(1e9, 10) == 1.0
    assert sigmoid_rampup(-3, 10) == pytest.approx(math.exp(-5))
    assert sigmoid_rampup(0, 0) == sigmoid_rampup(7, 0) == 1.0


def test_ema_decay() -> None:
    assert [ema_decay(t, 0.9) for t in (0, 1, 4, 100)] == pytest.approx([0.0, 0.5, 0.8, 0.9])
    assert ema_decay(4, 0.9, ramp_steps=10) == pytest.approx(0.9 * math.exp(-1.25))
    assert ema_decay(9, 0.9, ramp_steps=10) == pytest.approx(0.9)
    assert ema_decay(3, 0.9, ramp_steps=0) == pytest.approx(0.9)


def test_learning_rates() -> None:
    assert [learning_rate_factor("constant", epoch, 4) for epoch in range(4)] == [1, 1, 1, 1]
    cosine = [learning_rate_factor("cosine", epoch, 4) for epoch in range(4)]
    assert cosine == pytest.approx([1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4])
    steps = [learning_rate_factor("steps", epoch, 8) for epoch in range(8)]
    assert steps == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    warm = [learning_rate_factor("constant", epoch, 9, warmup_epochs=3) for epoch in range(5)]
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert learning_rate_factor("cosine", 0, 1) == 1
    with pytest.raises(ValueError, match="schedule"):
        learning_rate_factor("linear", 0, 1)


@pytest.mark.parametrize("shape", [(1, 2), (4, 3), (2, 5, 3)])
def test_soft_cross_entropy_against_torch(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, generator=rng, dtype=torch.float64)
    targets = torch.rand(*shape, generator=rng, dtype=torch.float64)  # rows need not sum to 1
    flat = functional.cross_entropy(logits.flatten(0, -2), targets.flatten(0, -2))
    torch.testing.assert_close(soft_cross_entropy(logits, targets), flat)
    rows = soft_cross_entropy(logits, targets, reduction="none")
    assert rows.shape == shape[:-1]
    torch.testing.assert_close(soft_cross_entropy(logits, targets, reduction="sum"), rows.sum())
    mask = torch.zeros(shape[:-1], dtype=torch.bool)
    assert soft_cross_entropy(logits, targets, mask) == 0  # nobody is kept: 0, not NaN
    mask[0] = True
    torch.testing.assert_close(soft_cross_entropy(logits, targets, mask), rows[mask].mean())


def test_soft_cross_entropy_of_extreme_logits() -> None:
    logits = torch.tensor([[1e4, -1e4]])
    assert soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]])) == 0
    assert soft_cross_entropy(logits, torch.tensor([[0.0, 1.0]])) == 2e4
    assert soft_cross_entropy(logits, torch.tensor([[0.0, 0.0]])) == 0  # a row without mass


def test_reductions() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    assert reduce_rows(values) == 3
    assert reduce_rows(values, "sum") == 9
    assert reduce_rows(values, mask=torch.tensor([1, 0, 1])) == 3.5
    assert reduce_rows(values, "none", torch.tensor([1, 0, 1])).tolist() == [1, 0, 6]
    assert reduce_rows(torch.zeros(0)) == 0
    spoilt = torch.tensor([1.0, math.nan])
    assert reduce_rows(spoilt, mask=torch.tensor([True, False])) == 1  # what is masked does not spoil the rest
    with pytest.raises(ValueError, match="reduction"):
        reduce_rows(values, "median")


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    rng = torch.Generator().manual_seed(0)
    weights = [draw_mixup(1, alpha, rng).weight for _ in range(1500)]
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    folded = [draw_mixup(1, alpha, rng, at_least_half=True).weight for _ in range(200)]
    assert min(folded) >= 0.5


def test_extreme_alphas() -> None:
    rng = torch.Generator().manual_seed(0)
    for alpha in (0.0, -1.0):
        assert draw_mixup(3, alpha, rng).weight == 1.0
    for alpha in (1e-3, 1e4):
        weights = [draw_mixup(2, alpha, rng).weight for _ in range(100)]
        assert all(0 <= weight <= 1 for weight in weights)


def test_draws_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first = draw_mixup(5, 1.0, torch.Generator().manual_seed(3))
    second = draw_mixup(5, 1.0, torch.Generator().manual_seed(3))
    assert first.weight == second.weight
    assert torch.equal(first.partner, second.partner)
    assert sorted(first.partner.tolist()) == list(range(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_mix() -> None:
    values = torch.arange(6.0).reshape(3, 2)
    pairs = MixupPairs(torch.tensor([2, 1, 0]), 0.75)
    expected = np.array(
        [
            [0.75 * v + 0.25 * w for v, w in zip(a, b, strict=True)]
            for a, b in zip(values, values[[2, 1, 0]], strict=True)
        ]
    )
    np.testing.assert_allclose(mix(values, pairs), expected)
    assert mix(values, MixupPairs(torch.tensor([2, 1, 0]), 1.0)) is values
