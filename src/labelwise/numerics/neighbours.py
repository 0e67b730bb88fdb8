"""Nearest neighbours as pairs of rows: exact for some ten thousand rows, by random trees for millions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Reals = NDArray[np.floating]
METRICS = ("cosine", "euclidean")
# Exact search compares all rows with all: 20,000 of them take seconds, a million would take hours.
EXACT_ROWS = 20_000
NUM_TREES, LEAF_ROWS, MOST_NEIGHBOURS = 4, 256, 100
BLOCK_PAIRS = 1 << 18


def nearest(
    X: ArrayLike, n_neighbors: int, metric: str = "cosine", *, generator: np.random.Generator | None = None
) -> tuple[Reals, Ints]:
    """Distances and row numbers (n, k) of the rows nearest to each row of X (n, d), nearest first.

    A row is no neighbour of itself; k is ``n_neighbors``, or n - 1 where that is less. Up to 20,000 rows the search is
    exact, n^2 distances in blocks. Beyond, ``generator`` draws four trees that halve the rows along random directions,
    and neighbours are searched within leaves of 256 rows: O(n log n), most of the true neighbours and otherwise near
    ones; where fewer than k were met, distances are infinite. Raises InputError.
    """
    rows = _check_rows(X)
    if metric not in METRICS:
        raise InputError(f"metric is {metric!r}: choose one of {', '.join(METRICS)}.")
    if n_neighbors < 1:
        raise InputError(f"n_neighbors is {n_neighbors}: give at least 1.")
    count = len(rows)
    k = min(n_neighbors, count - 1)
    if k < 1:
        return np.zeros((count, 0)), np.zeros((count, 0), dtype=np.int64)
    if count <= EXACT_ROWS:
        return _exact(rows, k, metric)
    if generator is None:
        raise InputError(f"{count} rows are searched by random trees: give a generator to draw them.")
    if k > MOST_NEIGHBOURS:
        raise InputError(f"n_neighbors is {k}: among {count} rows give at most {MOST_NEIGHBOURS}.")
    distances, found = _by_trees(rows, k, metric, generator)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(found, order, axis=1)


def knn_pairs(
    X: ArrayLike,
    n_neighbors: int,
    metric: str = "cosine",
    max_distance: float | None = None,
    *,
    generator: np.random.Generator | None = None,
) -> Ints:
    """Pairs (m, 2) int64 of rows of X (n, d), i < j, sorted: either is among the other's ``nearest`` ones.

    ``max_distance`` drops pairs at that distance or further. Raises InputError.
    """
    if max_distance is not None and not max_distance >= 0:
        raise InputError(f"max_distance is {max_distance}: give 0 or more.")
    distances, found = nearest(X, n_neighbors, metric, generator=generator)
    is_near = np.isfinite(distances) if max_distance is None else distances < max_distance
    heads, places = np.nonzero(is_near)
    tails = found[heads, places]
    count = len(distances)
    keys = np.unique(np.minimum(heads, tails) * count + np.maximum(heads, tails))
    return np.stack(np.divmod(keys, max(count, 1)), axis=1)


def matern_half(X: ArrayLike, pairs: Ints, length_scale: float = 1.0) -> Floats:
    """``exp(-|x_i - x_j| / length_scale)`` of pairs (m, 2) of rows of X (n, d), (m,) float64: the Matern-1/2 kernel."""
    if not 0 < length_scale < math.inf:
        raise InputError(f"length_scale is {length_scale}: give a number above 0.")
    rows = _check_rows(X)
    distances = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        distances[block] = np.linalg.norm(rows[pairs[block, 0]] - rows[pairs[block, 1]], axis=1)
    return np.exp(-distances / length_scale)


def _check_rows(X: ArrayLike) -> Reals:
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        raise InputError(f"X has shape {rows.shape} and type {rows.dtype}: give numbers as (n, features).")
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise InputError(f"X row {row}, column {column} is not finite: repair or leave out that row.")
    return rows


def _exact(rows: Reals, k: int, metric: str) -> tuple[Reals, Ints]:
    """Distances and ids (n, k) of the nearest rows."""
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    with config_context(working_memory=64):
        return NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(rows).kneighbors()


def _by_trees(rows: Reals, k: int, metric: str, generator: np.random.Generator) -> tuple[Reals, Ints]:
    """Distances and ids (n, k) of near rows, infinite where fewer were met."""
    points = rows.astype(np.float32)
    if metric == "cosine":
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    squares = np.full((len(points), NUM_TREES * k), np.inf, dtype=np.float32)
    found = np.zeros((len(points), NUM_TREES * k), dtype=np.int32)
    for tree in range(NUM_TREES):
        columns = slice(tree * k, (tree + 1) * k)
        for leaf in _leaves(points, generator):
            near = points[leaf]  # (s, d)
            norms = np.einsum("ij,ij->i", near, near)  # (s,)
            gaps = np.maximum(norms[:, None] + norms - 2 * near @ near.T, 0)  # (s, s)
            np.fill_diagonal(gaps, np.inf)
            places = np.argpartition(gaps, k - 1, axis=1)[:, :k]
            squares[leaf, columns] = np.take_along_axis(gaps, places, axis=1)
            found[leaf, columns] = leaf[places]
    squares, found = _distinct(squares, found)
    places = np.argpartition(squares, k - 1, axis=1)[:, :k]
    squares, found = np.take_along_axis(squares, places, axis=1), np.take_along_axis(found, places, axis=1)
    # On the unit sphere half a squared distance is one minus the cosine.
    return squares * np.float32(0.5) if metric == "cosine" else np.sqrt(squares), found.astype(np.int64)


def _leaves(points: NDArray[np.float32], generator: np.random.Generator) -> Iterator[Ints]:
    """Rows of each leaf of a tree that halves them along random directions; every leaf has over 128 rows."""
    parts = [np.arange(len(points))]
    while parts:
        rows = parts.pop()
        if len(rows) <= LEAF_ROWS:
            yield rows
            continue
        along = points[rows] @ generator.standard_normal((points.shape[1],), dtype=np.float32)  # (m,)
        halves = np.argpartition(along, len(rows) // 2)
        parts += [rows[halves[: len(rows) // 2]], rows[halves[len(rows) // 2 :]]]


def _distinct(squares: NDArray[np.float32], found: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rows of ids with infinite distance wherever an id stands again."""
    order = np.argsort(found, axis=1, kind="stable")
    found, squares = np.take_along_axis(found, order, axis=1), np.take_along_axis(squares, order, axis=1)
    squares[:, 1:][found[:, 1:] == found[:, :-1]] = np.inf
    return squares, found
