"""Budgets, draws, frontiers, regimes and ranks against exact arithmetic, repeated draws and plain loops."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from labelwise.audit.elicitation import (
    MIXED,
    QUALITY,
    QUANTITY,
    UNDECIDED,
    Oracle,
    allocate_budget,
    api_batch_size_epochs,
    centroid_features,
    classify_regime,
    draw_probabilities,
    few_shot_prefix,
    pareto_frontier,
    roc_auc,
    total_cost,
    uncertainty_sample,
)
from labelwise.errors import InputError


def two(positive: object) -> np.ndarray:
    p = np.asarray(positive, dtype=float)
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("cost_low", [0.1, 0.3, 0.07, 1.0])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.29, 0.7, 1.0])
def test_a_budget_is_never_overspent_and_nothing_more_could_be_bought(cost_low: float, fraction: float) -> None:
    for tenths in range(0, 400, 7):
        budget = tenths / 10
        n_low, n_high = allocate_budget(budget, fraction, cost_low, 1.0)
        low, money = Fraction(str(cost_low)), Fraction(str(budget))
        assert n_low * low + n_high <= money < (n_low + 1) * low + n_high
        assert n_high <= Fraction(str(fraction)) * money < n_high + 1
        assert total_cost(n_low, n_high, cost_low) <= budget


def test_decimal_prices_lose_no_label_to_rounding() -> None:
    # In floats 0.3 / 0.1 is below 3, and 0.29 * 100 below 29.
    assert allocate_budget(0.3, 0.0) == (3, 0)
    assert allocate_budget(100, 0.29) == (710, 29)


def test_the_ends_of_a_whole_budget() -> None:
    assert allocate_budget(16, 0.0) == (160, 0)
    assert allocate_budget(16, 1.0) == (0, 16)
    assert allocate_budget(0, 0.5) == (0, 0)


@pytest.mark.parametrize(
    "arguments",
    [(-1, 0.5), (math.nan, 0.5), (math.inf, 0.5), (4, -0.1), (4, 1.1), (4, math.nan), (4, 0.5, 0.0), (4, 0.5, 0.1, -1)],
)
def test_a_budget_that_makes_no_sense_is_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(InputError):
        allocate_budget(*arguments)


def test_temperature_zero_takes_the_most_uncertain_and_reversed_the_least() -> None:
    positive = np.random.default_rng(0).uniform(size=30)
    by_distance = np.argsort(np.abs(positive - 0.5))
    rng = np.random.default_rng(1)
    for weights in ("entropy", "margin"):
        top = uncertainty_sample(two(positive), 8, 0.0, weights=weights, rng=rng)
        least = uncertainty_sample(two(positive), 8, 0.0, True, weights, rng=rng)
        assert set(top) == set(by_distance[:8])
        assert set(least) == set(by_distance[-8:])


@pytest.mark.parametrize("temperature", [0.0, 0.25, 3.0])
@pytest.mark.parametrize("positive", [[0.5] * 5, [0.0, 1.0, 0.5, 0.2, 0.5], [1.0] * 5])
@pytest.mark.parametrize("most_confident", [False, True])
def test_all_rows_drawn_are_a_permutation(temperature: float, positive: list[float], most_confident: bool) -> None:
    drawn = uncertainty_sample(two(positive), 5, temperature, most_confident, rng=np.random.default_rng(0))
    assert sorted(drawn) == [0, 1, 2, 3, 4]
    chances = draw_probabilities(two(positive), temperature, most_confident)
    assert chances.sum() == pytest.approx(1)
    assert np.isfinite(chances).all()


def test_draws_follow_their_probabilities() -> None:
    probs, rng = two([0.1, 0.3, 0.45, 0.8, 0.97]), np.random.default_rng(0)
    chances = draw_probabilities(probs, 0.5)
    pairs = [tuple(uncertainty_sample(probs, 2, 0.5, rng=rng)) for _ in range(20_000)]
    for a, b in itertools.permutations(range(5), 2):
        expected = chances[a] * chances[b] / (1 - chances[a])  # one after the other, without replacement
        deviation = math.sqrt(expected * (1 - expected) / len(pairs))
        assert abs(pairs.count((a, b)) / len(pairs) - expected) < 4.5 * deviation


def test_a_very_low_temperature_is_temperature_zero() -> None:
    probs = two([0.1, 0.45, 0.44])
    np.testing.assert_allclose(draw_probabilities(probs, 1e-9), draw_probabilities(probs, 0.0))
    np.testing.assert_allclose(draw_probabilities(probs, 0.0), [0, 1, 0])


def test_many_classes_are_sampled_too() -> None:
    probs = np.array([[0.98, 0.01, 0.01], [0.34, 0.33, 0.33], [0.5, 0.49, 0.01]])
    assert list(np.argsort(-draw_probabilities(probs))) == [1, 2, 0]
    assert draw_probabilities(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("probs", "n", "temperature"),
    [
        (two([0.2]), 2, 1.0),
        (two([0.2]), -1, 1.0),
        (two([0.2]), 1, -1.0),
        (two([0.2]), 1, math.nan),
        (two([math.nan]), 1, 1.0),
        (two([1.2]), 1, 1.0),
        (np.array([0.2, 0.3]), 1, 1.0),
    ],
)
def test_bad_draws_are_refused(probs: np.ndarray, n: int, temperature: float) -> None:
    with pytest.raises(InputError):
        uncertainty_sample(probs, n, temperature, rng=np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(20))
def test_the_frontier_is_what_nothing_dominates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost, accuracy = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 12) / 6
    found = pareto_frontier(cost, accuracy)
    kept = {
        (cost[i], accuracy[i])
        for i in range(12)
        if not any(
            (cost[j] <= cost[i] and accuracy[j] > accuracy[i]) or (cost[j] < cost[i] and accuracy[j] >= accuracy[i])
            for j in range(12)
        )
    }
    assert [(cost[i], accuracy[i]) for i in found] == sorted(kept)
    assert (np.diff(cost[found]) > 0).all()
    assert (np.diff(accuracy[found]) > 0).all()


def test_frontier_boundaries() -> None:
    assert pareto_frontier([], []).tolist() == []
    assert pareto_frontier([1, 1], [0.5, 0.5]).tolist() == [0]
    with pytest.raises(InputError):
        pareto_frontier([1, math.nan], [0.5, 0.5])
    with pytest.raises(InputError):
        pareto_frontier([1], [0.5, 0.5])


@pytest.mark.parametrize(
    ("accuracy", "stderr", "regime"),
    [
        ([0.9, 0.8, 0.7], [0.01] * 3, QUANTITY),
        ([0.7, 0.8, 0.9], [0.01] * 3, QUALITY),
        ([0.7, 0.9, 0.7], [0.01] * 3, MIXED),
        ([0.7, 0.9, 0.89], [0.01] * 3, QUALITY),  # the mix leads one end by no more than the noise
        ([0.7, 0.71, 0.7], [0.05] * 3, UNDECIDED),
        ([0.7, 0.7, 0.7], [0.0] * 3, UNDECIDED),
    ],
)
def test_regimes(accuracy: list[float], stderr: list[float], regime: str) -> None:
    assert classify_regime([0, 0.5, 1], accuracy, stderr) == regime
    assert classify_regime([1, 0.5, 0], accuracy[::-1], stderr) == regime


def test_a_regime_needs_both_ends() -> None:
    with pytest.raises(InputError, match="ends 0 and 1"):
        classify_regime([0, 0.5], [0.5, 0.5], [0.1, 0.1])


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, score = np.append(rng.integers(0, 2, 40), [0, 1]), rng.integers(0, 8, 42) / 8
    assert roc_auc(y, score) == pytest.approx(roc_auc_score(y, score))
    with pytest.raises(InputError, match="one class"):
        roc_auc(np.ones(3), [1, 2, 3])


def test_hosted_fine_tuning() -> None:
    found = [api_batch_size_epochs(n) for n in (1, 7, 29, 30, 1023, 1024, 4095, 4096, 16383, 16384)]
    assert found == [(1, 100), (1, 15), (1, 4), (1, 3), (1, 3), (2, 3), (2, 3), (8, 2), (8, 2), (8, 1)]
    with pytest.raises(InputError):
        api_batch_size_epochs(0)


def test_few_shot_prompts() -> None:
    prompts = few_shot_prefix(["a", "b"], [0.5, 0.2], ["q"] * 50, rng=np.random.default_rng(0))
    assert set(prompts) == {"a\n1\n\nb\n0\n\nq\n", "b\n0\n\na\n1\n\nq\n"}
    assert few_shot_prefix([], [], ["q"], rng=np.random.default_rng(0)) == ["q\n"]


def test_centroids() -> None:
    found = centroid_features([[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], [0, 1, 1], 3)
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 0, 0]])


def test_an_oracle_counts_what_it_sells() -> None:
    oracle = Oracle([1, 0, 1], cost=2.5)
    assert oracle.query([2, 1]).tolist() == [1, 0]
    assert oracle.query([2, 0]).tolist() == [1, 1]
    assert (oracle.num_queries, oracle.spent, sorted(oracle.queried)) == (3, 7.5, [0, 1, 2])
    with pytest.raises(InputError):
        oracle.query([3])
