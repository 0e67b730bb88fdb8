"""How good predicted numbers are."""

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from labelwise.errors import InputError


class SquaredErrors:
    """Sums for R^2, one an output, updated block by block and merged: float64, so a stream of any length will do.

    ``count``, ``mean`` and ``spread`` (sum of squared distances from the mean) are of the labels, ``error`` is the sum
    of squared errors; all (outputs,).
    """

    def __init__(self, num_outputs: int) -> None:
        self.count, self.mean, self.spread, self.error = torch.zeros(4, num_outputs, dtype=torch.float64)

    def update(self, predictions: Tensor, labels: Tensor) -> Self:
        """Add rows: ``predictions`` and ``labels`` (n, outputs) float; labels of NaN are left out."""
        known = ~labels.isnan()
        values = labels.double()
        block = SquaredErrors(labels.shape[1])
        block.count = known.sum(dim=0).double()
        block.mean = values.where(known, 0.0).sum(dim=0) / block.count.clamp(min=1)
        block.spread = (values - block.mean).where(known, 0.0).square().sum(dim=0)
        block.error = (predictions.double() - values).where(known, 0.0).square().sum(dim=0)
        return self.merge(block)

    def merge(self, other: "SquaredErrors") -> Self:
        """Add another's rows."""
        total = self.count + other.count
        step = other.mean - self.mean
        share = other.count / total.clamp(min=1)
        self.spread = self.spread + other.spread + step.square() * self.count * share
        self.mean = self.mean + step * share
        self.count, self.error = total, self.error + other.error
        return self

    def r2(self) -> float:
        """Share of the labels' variance that is explained, the mean over outputs with a known label; 0 without any.

        Where all labels of an output are equal there is nothing to explain: 1 for no error at all, else 0.
        """
        equal = (self.error == 0).double()
        values = torch.where(self.spread > 0, 1 - self.error / self.spread.where(self.spread > 0, 1.0), equal)
        known = self.count > 0
        return float(values[known].mean()) if known.any() else 0.0


class RegressionMetrics(NamedTuple):
    """Mean squared error, its root, Pearson's r, and the mean absolute error in percent of the label."""

    mse: float
    rmse: float
    r: float
    mape: float


def regression_metrics(predictions: ArrayLike, y: ArrayLike) -> RegressionMetrics:
    """Compare ``predictions`` with labels ``y``, both (n,) or (n, outputs) float; the means go over all entries.

    ``r`` is signed, of population moments, the mean over the outputs whose labels differ (0 where none do, and for
    constant predictions). ``mape`` is over the entries with ``y != 0``, 0 where there is none. No rows give 0. Raises
    InputError for shapes that differ, NaN and infinity.
    """
    predicted, labels = (np.asarray(each, dtype=np.float64) for each in (predictions, y))
    if predicted.shape != labels.shape or labels.ndim not in (1, 2):
        raise InputError(f"predictions are {predicted.shape} and y {labels.shape}; give both as (n,) or (n, outputs)")
    if not (np.isfinite(predicted).all() and np.isfinite(labels).all()):
        raise InputError("predictions or y hold NaN or infinity; leave out rows whose label is not known")
    if not labels.size:
        return RegressionMetrics(0.0, 0.0, 0.0, 0.0)
    predicted, labels = (each.reshape(len(each), -1) for each in (predicted, labels))  # (n, outputs)
    mse = float(((predicted - labels) ** 2).mean())
    nonzero = labels != 0
    relative = np.abs(predicted - labels)[nonzero] / np.abs(labels[nonzero])
    mape = 100 * float(relative.mean()) if nonzero.any() else 0.0
    return RegressionMetrics(mse, float(np.sqrt(mse)), _pearson(predicted, labels), mape)


def _pearson(predicted: np.ndarray, labels: np.ndarray) -> float:
    differ = labels.std(axis=0) > 0
    if not differ.any():
        return 0.0
    left, right = (each[:, differ] - each[:, differ].mean(axis=0) for each in (predicted, labels))
    scale = np.sqrt((left**2).mean(axis=0) * (right**2).mean(axis=0))
    return float(((left * right).mean(axis=0) / np.where(scale > 0, scale, np.inf)).mean())
