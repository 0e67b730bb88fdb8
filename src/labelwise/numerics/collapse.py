"""Whether representations have collapsed: all rows nearly alike, or few directions used."""

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

GRID_POINTS = 100
_TINY = 1e-12


class Spread:
    """Standard deviation of each column over rows, updated block by block and merged: float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(1, dtype=torch.float64)  # (d,)
        self.squares = torch.zeros(1, dtype=torch.float64)  # (d,), summed squared distances from the mean

    def update(self, rows: Tensor) -> Self:
        """Add rows (n, d) float."""
        block = Spread()
        if len(rows):
            values = rows.double()
            block.count, block.mean = len(rows), values.mean(dim=0)
            block.squares = (values - block.mean).square().sum(dim=0)
        return self.merge(block)

    def merge(self, other: "Spread") -> Self:
        """Add another's rows."""
        total = self.count + other.count
        step, share = other.mean - self.mean, other.count / max(total, 1)
        self.squares = self.squares + other.squares + step.square() * self.count * share
        self.mean = self.mean + step * share
        self.count = total
        return self

    def mean_deviation(self) -> float:
        """Mean over columns of the deviation (n in the divisor); 0 without rows."""
        return float((self.squares / max(self.count, 1)).sqrt().mean())


class CollapseMetrics(NamedTuple):
    """Near 0 where all rows have one representation; ``effective_rank`` is then below about 1.

    ``variance``: mean over columns of the variance over rows. ``variance_of_means``: variance over rows of the mean of
    a row. ``effective_rank``: how many directions the rows use, exp of the entropy of the singular values (Roy and
    Vetterli 2007). ``divergence`` and ``distance``: between the densities of the values of two rows, Kullback-Leibler
    and Euclidean, the mean over pairs of rows.
    """

    variance: float
    variance_of_means: float
    effective_rank: float
    divergence: float
    distance: float


def collapse_metrics(
    representations: NDArray[np.floating], rng: np.random.Generator, num_pairs: int = 100
) -> CollapseMetrics:
    """Measure representations (n, d) float; ``rng`` draws ``num_pairs`` pairs of different rows.

    With fewer than two rows all are 0. Cost: a singular value decomposition of (n, d), so pass some thousand rows at
    most, and num_pairs x 100 x d exponentials.
    """
    rows = np.asarray(representations, dtype=np.float64)
    if len(rows) < 2:
        return CollapseMetrics(0.0, 0.0, 0.0, 0.0, 0.0)
    first = rng.integers(0, len(rows), num_pairs)
    second = (first + rng.integers(1, len(rows), num_pairs)) % len(rows)
    divergences, distances = zip(*(_compare(rows[a], rows[b]) for a, b in zip(first, second, strict=True)), strict=True)
    return CollapseMetrics(
        variance=float(rows.var(axis=0).mean()),
        variance_of_means=float(rows.mean(axis=1).var()),
        effective_rank=effective_rank(rows),
        divergence=float(np.mean(divergences)),
        distance=float(np.mean(distances)),
    )


def effective_rank(rows: Floats) -> float:
    """Exp of the entropy of the singular values (as shares) of rows (n, d) about their mean; 0 where all are equal."""
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if values.sum() <= _TINY * max(1.0, np.abs(rows).max(initial=0.0)):
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _compare(first: Floats, second: Floats) -> tuple[float, float]:
    """Kullback-Leibler divergence and Euclidean distance of the densities of two rows' values, on a common grid."""
    grid = np.linspace(min(first.min(), second.min()), max(first.max(), second.max()), GRID_POINTS)
    p, q = (_density(values, grid) for values in (first, second))
    return float((p * np.log(p / q)).sum()), float(np.linalg.norm(p - q))


def _density(values: Floats, grid: Floats) -> Floats:
    """Gaussian kernel density of values (d,) on a grid, by Scott's rule, as shares that sum to 1."""
    step = grid[1] - grid[0]
    width = max(values.std() * len(values) ** -0.2, step, _TINY)  # nothing narrower than the grid is to be seen
    density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(axis=1) + _TINY
    return density / density.sum()
