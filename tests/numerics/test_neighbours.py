"""Neighbour pairs against all distances, and by trees against the exact search."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from labelwise.errors import InputError
from labelwise.numerics import neighbours
from labelwise.numerics.neighbours import knn_pairs, matern_half, nearest


def by_sorting(X: np.ndarray, k: int, metric: str, limit: float) -> list[list[int]]:
    """Pairs from all distances."""
    distances = cdist(X, X, metric)
    np.fill_diagonal(distances, np.inf)
    pairs = set()
    for i in range(len(X)):
        for j in np.argsort(distances[i], kind="stable")[:k].tolist():
            if distances[i, j] < limit:
                pairs.add((min(i, j), max(i, j)))
    return [list(pair) for pair in sorted(pairs)]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("limit", [None, 0.3])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_pairs_are_those_of_all_distances(metric: str, limit: float | None, k: int) -> None:
    X = np.random.default_rng(k).normal(size=(40, 3))
    expected = by_sorting(X, k, metric, np.inf if limit is None else limit)
    assert knn_pairs(X, k, metric, limit).tolist() == expected


def test_similarities() -> None:
    X = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    found = matern_half(X, np.array([[0, 1], [1, 2]]), length_scale=5.0)
    np.testing.assert_allclose(found, [np.exp(-1), 1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    pairs = knn_pairs(X, 4)
    whole = matern_half(X, pairs)
    monkeypatch.setattr(neighbours, "BLOCK_PAIRS", 7)
    assert np.array_equal(matern_half(X, pairs), whole)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_trees_find_most_neighbours_and_otherwise_near_ones(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 10))).astype(np.float32)
    exact = knn_pairs(X, 5, metric)
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 100)
    found = knn_pairs(X, 5, metric, generator=np.random.default_rng(1))
    assert np.array_equal(found, knn_pairs(X, 5, metric, generator=np.random.default_rng(1)))
    assert (found[:, 0] < found[:, 1]).all()
    assert len(np.unique(found, axis=0)) == len(found)
    common = set(map(tuple, found.tolist())) & set(map(tuple, exact.tolist()))
    assert len(common) > 0.6 * len(exact)
    assert matern_half(X, found).mean() > 0.9 * matern_half(X, exact).mean()
    counts = np.bincount(found.ravel(), minlength=len(X))
    assert counts.min() >= 5  # every row has its neighbours
    distances = cdist(X, X, metric)
    limit = float(np.median(distances[found[:, 0], found[:, 1]]))
    limited = knn_pairs(X, 5, metric, limit, generator=np.random.default_rng(1))
    assert 0 < len(limited) < len(found)
    assert distances[limited[:, 0], limited[:, 1]].max() < 1.0001 * limit


def test_rows_that_are_alike_or_alone() -> None:
    assert knn_pairs(np.zeros((1, 3)), 5).shape == (0, 2)
    assert knn_pairs(np.zeros((0, 3)), 5).shape == (0, 2)
    same = np.ones((5, 2))
    pairs = knn_pairs(same, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert np.bincount(pairs.ravel()).min() >= 1
    assert (matern_half(same, pairs) == 1).all()
    assert knn_pairs(np.zeros((4, 2)), 1).shape[1] == 2


REFUSED: dict[str, Callable[[], Any]] = {
    r"X has shape \(3,\)": lambda: knn_pairs(np.zeros(3), 1),
    "type <U1": lambda: knn_pairs(np.array([["a"], ["b"]]), 1),
    "X row 1, column 0 is not finite": lambda: knn_pairs(np.array([[0.0], [np.nan]]), 1),
    "X row 0, column 1 is not finite": lambda: matern_half(np.array([[0.0, np.inf]]), np.zeros((0, 2), dtype=int)),
    "metric is 'hamming'": lambda: knn_pairs(np.zeros((3, 2)), 1, "hamming"),
    "n_neighbors is 0": lambda: knn_pairs(np.zeros((3, 2)), 0),
    "max_distance is nan": lambda: knn_pairs(np.zeros((3, 2)), 1, max_distance=float("nan")),
    "length_scale is 0": lambda: matern_half(np.zeros((3, 2)), np.zeros((0, 2), dtype=int), 0.0),
    "give a generator": lambda: knn_pairs(np.zeros((20_001, 1)), 1),
    "give at most 100": lambda: knn_pairs(np.zeros((20_001, 1)), 101, generator=np.random.default_rng(0)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()


@pytest.mark.parametrize("by_trees", [False, True])
def test_nearest_rows_come_nearest_first(by_trees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    if by_trees:
        monkeypatch.setattr(neighbours, "EXACT_ROWS", 10)
    distances, found = nearest(X, 3, "euclidean", generator=np.random.default_rng(1))
    all_distances = cdist(X, X)
    np.fill_diagonal(all_distances, np.inf)
    np.testing.assert_allclose(np.take_along_axis(all_distances, found, axis=1), distances, rtol=1e-4, atol=1e-3)
    assert (np.diff(distances, axis=1) >= 0).all()
    if not by_trees:
        np.testing.assert_array_equal(found, np.argsort(all_distances, axis=1)[:, :3])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_have_few_neighbours(count: int) -> None:
    assert nearest(np.zeros((count, 2)), 5, "euclidean")[1].shape == (count, max(count - 1, 0))
