"""What labels are worth: a law of the error a model makes after so many cheap and so many dear labels.

``error = floor + (chance - floor) (1 + m / scale)^-exponent`` where m counts all labels in dear ones: a cheap label is
worth ``worth`` dear ones at first, and however many there are, together no more than ``ceiling``:
``m = n_dear + worth n_cheap / (1 + worth n_cheap / ceiling)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from labelwise.errors import InputError

Floats = NDArray[np.float64]

LEAST_POINTS = 5
# What is usual, as logarithms with deviations: where the data say nothing the fit stays here.
USUAL = np.log([0.2, 30.0, 0.5, 0.3, 200.0])  # floor as a share of chance, scale, exponent, worth, ceiling
SPREAD = np.array([1.5, 2.0, 0.5, 1.5, 2.0])
LEAST_ERROR = 0.003  # of a measured error: nothing is known better


class LabelLaw(NamedTuple):
    """The law's numbers; ``chance`` is the error without any label."""

    chance: float
    floor: float
    scale: float
    exponent: float
    worth: float
    ceiling: float

    def dear_equivalent(self, n_cheap: ArrayLike, n_dear: ArrayLike) -> Floats:
        """All labels counted in dear ones, float64 of the counts' shape."""
        cheap = self.worth * np.asarray(n_cheap, dtype=np.float64)
        return np.asarray(n_dear, dtype=np.float64) + cheap / (1 + cheap / self.ceiling)

    def error(self, n_cheap: ArrayLike, n_dear: ArrayLike) -> Floats:
        """Expected error, float64 of the counts' shape."""
        grown = 1 + self.dear_equivalent(n_cheap, n_dear) / self.scale
        return self.floor + (self.chance - self.floor) * grown**-self.exponent

    def marginal_worth(self, n_cheap: float) -> float:
        """How many dear labels the next cheap one is worth after ``n_cheap``."""
        return self.worth / (1 + self.worth * n_cheap / self.ceiling) ** 2


def fit_label_law(
    n_cheap: ArrayLike, n_dear: ArrayLike, error: ArrayLike, stderr: ArrayLike, chance: float
) -> LabelLaw:
    """Fit the law to errors (points,) with standard errors, measured after so many labels; ``chance`` is known.

    Least squares in logarithms of the numbers, each drawn gently to what is usual. Raises InputError for fewer than 5
    points or a chance error outside (0, 1). Cost: some ten milliseconds.
    """
    counts = np.stack([np.asarray(n_cheap, np.float64), np.asarray(n_dear, np.float64)])  # (2, points)
    measured, spread = np.asarray(error, np.float64), np.maximum(np.asarray(stderr, np.float64), LEAST_ERROR)
    if counts.shape[1] < LEAST_POINTS:
        raise InputError(f"there are {counts.shape[1]} points: give at least {LEAST_POINTS} to fit a law to.")
    if not 0 < chance < 1:
        raise InputError(f"chance is {chance}: give the error without labels, above 0 and below 1.")

    def residuals(logs: Floats) -> Floats:
        return np.concatenate([(_law(logs, chance).error(*counts) - measured) / spread, (logs - USUAL) / SPREAD])

    low, high = USUAL - 5 * SPREAD, USUAL + 5 * SPREAD
    high[0] = 0.0  # the floor is at most chance
    return _law(least_squares(residuals, USUAL, bounds=(low, high)).x, chance)


def _law(logs: Floats, chance: float) -> LabelLaw:
    share, scale, exponent, worth, ceiling = np.exp(logs).tolist()
    return LabelLaw(chance, share * chance, scale, exponent, worth, ceiling)
