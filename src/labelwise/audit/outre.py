"""How usual each pair of label and residual is: the score OUTRE, by the mean distance to the nearest half.

Labels and residuals are brought to mean 0 and deviation 1, the residuals then to deviation 5; a pair's score is
exp(-d / median d), with d its mean distance to the nearest half of all pairs (Zhou et al., "Detecting errors in
numerical data via any regression model", 2023, https://arxiv.org/abs/2305.16583; cleanlab.regression.rank).

For half of n neighbours the published code holds n x n/2 distances. Here none are held: they are added up as they are
computed. Beyond MOST_POINTS rows the neighbours are counted in cells of a grid, each as if it lay at its mean; the
distances are then off by less than one part in a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.evidence import Floats, Ints
from labelwise.numerics.exact_sum import ExactSum
from labelwise.numerics.order_statistics import median

RESIDUAL_SCALE = 5.0
NEIGHBOUR_SHARE = 0.5
TINY = 1e-100
# Rows up to which the neighbours are the rows themselves.
MOST_POINTS = 32_768
GRID = 96
QUERIES_AT_A_TIME = 1024
# Mean distances below this are rounding: such a pair lies where half of all lie.
SMALLEST_MEAN = np.sqrt(100 * np.finfo(np.float64).eps)
LOWEST_SCALE = 1e-6
# Features are added up in whole 2^-32; their absolute values sum to at most 5 n, so that int64 holds 10^8 rows.
FIXED_POINT = float(1 << 32)

# Blocks of (labels, residuals), both (rows,) float64; the same at every call.
Blocks = Callable[[], Iterable[tuple[Floats, Floats]]]


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Means and deviations of labels and residuals."""

    label_mean: float
    label_deviation: float
    residual_mean: float
    residual_deviation: float

    @classmethod
    def fit(cls, blocks: Blocks) -> Self:
        """Two reads of the rows; exact sums, so that no division into blocks changes a bit."""
        sums = ExactSum.empty(), ExactSum.empty()
        for columns in blocks():
            for total, column in zip(sums, columns, strict=True):
                total.update(column)
        means = [total.mean() for total in sums]
        squares = ExactSum.empty(), ExactSum.empty()
        for columns in blocks():
            for total, column, mean in zip(squares, columns, means, strict=True):
                total.update((column - mean) ** 2)
        deviations = [np.sqrt(total.mean()) for total in squares]
        return cls(means[0], deviations[0], means[1], deviations[1])

    def __call__(self, labels: Floats, residuals: Floats) -> Floats:
        """Features (rows, 2)."""
        return np.column_stack(
            [
                (labels - self.label_mean) / (self.label_deviation + TINY),
                RESIDUAL_SCALE * ((residuals - self.residual_mean) / (self.residual_deviation + TINY)),
            ]
        )


@dataclass(slots=True, eq=False)
class CellSummary:
    """Features counted in the cells of a grid, with their sums as whole numbers: merges in any order, bit for bit.

    ``edges`` two of (GRID - 1,); ``counts`` (GRID^2,) and ``sums`` (GRID^2, 2) int64.
    """

    edges: tuple[Floats, Floats]
    counts: Ints
    sums: Ints

    @classmethod
    def empty(cls, edges: tuple[Floats, Floats]) -> Self:
        """Summary of no rows."""
        num_cells = (len(edges[0]) + 1) * (len(edges[1]) + 1)
        return cls(edges, np.zeros(num_cells, dtype=np.int64), np.zeros((num_cells, 2), dtype=np.int64))

    def update(self, features: Floats) -> None:
        """Add features (rows, 2)."""
        first, second = (np.searchsorted(edges, features[:, i]) for i, edges in enumerate(self.edges))
        cells = first * (len(self.edges[1]) + 1) + second
        self.counts += np.bincount(cells, minlength=len(self.counts))
        np.add.at(self.sums, cells, np.rint(features * FIXED_POINT).astype(np.int64))

    def merge(self, other: CellSummary) -> CellSummary:
        """Summary of the rows of both; the edges must be the same."""
        return CellSummary(self.edges, self.counts + other.counts, self.sums + other.sums)

    def finalize(self) -> tuple[Floats, Floats]:
        """Means (2, cells) of the cells that are not empty, and how many rows each holds (cells,)."""
        is_used = self.counts > 0
        counts = self.counts[is_used].astype(np.float64)
        return np.ascontiguousarray((self.sums[is_used] / FIXED_POINT / counts[:, None]).T), counts


def outre_scores(blocks: Blocks, num_rows: int, num_threads: int, out: Floats) -> None:
    """Write the scores of all rows to ``out`` (num_rows,), low = unusual.

    Cost: up to MOST_POINTS rows n^2 distances, beyond n times at most GRID^2; four reads. Memory: one block and the
    grid.
    """
    standardise = Standardiser.fit(blocks)
    points, weights = _points(blocks, standardise, num_rows)
    num_neighbours = int(np.ceil(NEIGHBOUR_SHARE * num_rows))
    start = 0
    with ThreadPoolExecutor(num_threads) as pool:
        for labels, residuals in blocks():
            features = standardise(labels, residuals)
            stop = start + len(features)
            _mean_distances(features, points, weights, num_neighbours, out[start:stop], pool)
            start = stop
    scale = max(median(out), LOWEST_SCALE)
    for start in range(0, num_rows, 1 << 16):
        part = out[start : start + (1 << 16)]
        part[:] = np.where(part < SMALLEST_MEAN, 1.0, np.exp(-part / scale))


def _points(blocks: Blocks, standardise: Standardiser, num_rows: int) -> tuple[Floats, Floats]:
    """Points (2, m) and the number of rows that each stands for (m,)."""
    if num_rows <= MOST_POINTS:
        features = np.concatenate([standardise(*columns) for columns in blocks()])
        return np.ascontiguousarray(features.T), np.ones(num_rows)
    cells = CellSummary.empty(_edges(blocks, standardise, num_rows))
    for columns in blocks():
        cells.update(standardise(*columns))
    return cells.finalize()


def _edges(blocks: Blocks, standardise: Standardiser, num_rows: int) -> tuple[Floats, Floats]:
    """Quantiles of evenly spaced rows."""
    step, start, parts = -(-num_rows // MOST_POINTS), 0, []
    for labels, residuals in blocks():
        rows = slice(-start % step, None, step)
        parts.append(standardise(labels[rows], residuals[rows]))
        start += len(labels)
    sample, shares = np.concatenate(parts), np.arange(1, GRID) / GRID
    return np.quantile(sample[:, 0], shares), np.quantile(sample[:, 1], shares)


def _mean_distances(
    features: Floats, points: Floats, weights: Floats, num: int, means: NDArray[Any], pool: ThreadPoolExecutor
) -> None:
    from labelwise.audit.neighbour_kernels import mean_distances

    order = _path(features)
    parts = [order[start : start + QUERIES_AT_A_TIME] for start in range(0, len(order), QUERIES_AT_A_TIME)]
    list(pool.map(lambda part: mean_distances(features, part, points, weights, num, means), parts))


def _path(features: Floats) -> Ints:
    """An order of the rows (n, 2) in which neighbours are near: up and down through strips of equal size."""
    num_strips = max(1, int(np.sqrt(len(features) / 3)))
    strips = np.empty(len(features), dtype=np.int64)
    strips[np.argsort(features[:, 0], kind="stable")] = np.arange(len(features)) * num_strips // len(features)
    return np.lexsort((np.where(strips % 2, -features[:, 1], features[:, 1]), strips))
