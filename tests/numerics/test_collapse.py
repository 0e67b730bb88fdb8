"""Signs of collapse: against NumPy and SciPy, and where the answer is known."""

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from labelwise.numerics.collapse import Spread, collapse_metrics, effective_rank


def test_spread_of_blocks_is_that_of_all_rows() -> None:
    rows = np.random.default_rng(0).normal(50, [1, 2, 0.01], (101, 3))
    streamed, halves = Spread(), [Spread(), Spread()]
    for number, block in enumerate(np.split(rows, [0, 1, 40, 41])):
        streamed.update(torch.from_numpy(block))
        halves[number % 2].update(torch.from_numpy(block))
    assert streamed.mean_deviation() == pytest.approx(rows.std(axis=0).mean(), rel=1e-9)
    assert halves[0].merge(halves[1]).mean_deviation() == pytest.approx(rows.std(axis=0).mean(), rel=1e-9)
    assert Spread().mean_deviation() == 0
    assert Spread().update(torch.zeros(0, 3)).mean_deviation() == 0
    assert Spread().update(torch.ones(7, 3)).mean_deviation() == 0


def test_effective_rank_where_it_is_known() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    corners = np.concatenate([np.eye(4), -np.eye(4)])  # four directions alike, about a mean of zero
    assert effective_rank(corners @ directions[:4] + 3) == pytest.approx(4)
    assert effective_rank(np.outer(np.arange(9.0), directions[0])) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.full((9, 5), 0.1)) == 0
    assert effective_rank(corners * [1, 1, 1e-9, 1e-9]) == pytest.approx(2, abs=1e-6)


def test_metrics_of_rows_that_are_all_alike_are_zero() -> None:
    row = np.random.default_rng(0).normal(size=30)
    for rows in (np.tile(row, (12, 1)), np.ones((5, 4)), np.zeros((3, 1)), row[None], np.zeros((0, 4))):
        found = collapse_metrics(rows, np.random.default_rng(1))
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_variances_are_those_of_numpy() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    found = collapse_metrics(rows, np.random.default_rng(1), num_pairs=3)
    assert found.variance == pytest.approx(rows.var(axis=0).mean(), rel=1e-5)
    assert found.variance_of_means == pytest.approx(rows.mean(axis=1).var(), rel=1e-5)


def test_densities_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(0, 1, 400), rng.normal(1, 2, 400)])
    found = collapse_metrics(rows, np.random.default_rng(1), num_pairs=1)
    grid = np.linspace(rows.min(), rows.max(), 100)
    p, q = (density / density.sum() for density in (gaussian_kde(row)(grid) for row in rows))
    either = [(p * np.log(p / q)).sum(), (q * np.log(q / p)).sum()]  # whichever row was drawn first
    assert min(abs(found.divergence - each) for each in either) < 0.02 * max(either)
    assert found.distance == pytest.approx(np.linalg.norm(p - q), rel=0.02)


def test_pairs_are_of_different_rows() -> None:
    far = np.array([[0.0] * 9, [5.0] * 9])
    found = collapse_metrics(far, np.random.default_rng(0), num_pairs=50)
    alone = collapse_metrics(far, np.random.default_rng(1), num_pairs=1)
    assert found.distance == pytest.approx(alone.distance)
    assert found.distance > 0.1
