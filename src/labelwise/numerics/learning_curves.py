"""How fast a class is being learnt: a curve fitted to its scores, and the epoch in which it has levelled off.

The curve is ``f(x) = a (1 - exp(-x^b / c))``, as in Liu et al., CVPR 2022 (ADELE): a network learns right labels first
and memorises wrong ones once the curve is flat.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeWarning, curve_fit

from labelwise.errors import InputError

Floats = NDArray[np.float64]

LEAST_POINTS = 4
# Slopes are taken a hair after each epoch: at 0 that of b < 1 is infinite.
AFTER = 1e-6
LAST_SIGMA = 0.1


class LearningCurve(NamedTuple):
    """The three numbers of a fitted curve: its height, its exponent, and how slowly it rises."""

    a: float
    b: float
    c: float


def learning_curve(x: ArrayLike, a: float, b: float, c: float) -> Floats:
    """Height ``a (1 - exp(-x^b / c))`` at times x (n,) of 0 or more, float64."""
    with np.errstate(over="ignore", divide="ignore"):
        return -a * np.expm1(-(np.asarray(x, dtype=np.float64) ** b) / c)


def learning_curve_slope(x: ArrayLike, a: float, b: float, c: float) -> Floats:
    """Slope ``(a b / c) exp(-x^b / c) x^(b-1)`` at times x (n,) above 0, float64."""
    times = np.asarray(x, dtype=np.float64)
    return a * b / c * np.exp(-(times**b) / c) * times ** (b - 1.0)


def fit_learning_curve(scores: ArrayLike, interval: float = 1.0) -> LearningCurve:
    """Fit the curve to scores (n,) from 0 to 1, ``interval`` epochs apart, late ones weighing more.

    Least squares with deviations that fall geometrically from 1 to 0.1, 0 <= a, b <= 1 and c >= 0, from (1, 1, 1), at
    n times spread evenly from 0 to ``n interval`` (both included, as published). Raises InputError for fewer than 4
    scores, those that are no shares, and where no fit is found. Cost: about a millisecond.
    """
    values = _check_scores(scores)
    count = len(values)
    if count < LEAST_POINTS:
        raise InputError(f"there are {count} scores: give at least {LEAST_POINTS} to fit a curve to.")
    times = np.linspace(0.0, count * interval, count)
    sigma = np.geomspace(1.0, LAST_SIGMA, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, which nobody reads
        try:
            found, _ = curve_fit(
                learning_curve,
                times,
                values,
                p0=(1.0, 1.0, 1.0),
                sigma=sigma,
                absolute_sigma=True,
                method="trf",
                bounds=((0.0, 0.0, 0.0), (1.0, 1.0, np.inf)),
            )
        except RuntimeError as error:
            raise InputError(f"no curve fits these {count} scores ({error}): give more of them.") from error
    return LearningCurve(*map(float, found))


def relative_change(curve: LearningCurve, num_epochs: int) -> Floats:
    """How far the slope has fallen in epochs 1 to num_epochs - 1, as a share of that in epoch 1; above 1 counts as 0.

    ``| |f'(t)| - |f'(1)| | / |f'(1)|`` (num_epochs - 1,), from the quotient of the slopes, which stays finite where
    both vanish.
    """
    times = np.arange(1, num_epochs, dtype=np.float64) + AFTER
    first = 1.0 + AFTER
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        exponent = -(times**curve.b - first**curve.b) / curve.c
        quotient = np.exp(exponent) * (times / first) ** (curve.b - 1.0)
    change = np.abs(quotient - 1.0)
    return np.where(change <= 1.0, change, 0.0)


def num_flat(scores: ArrayLike, increment: float) -> int:
    """How many scores at the start a curve is to leave out: up to the last before the first rise of ``increment``."""
    values = _check_scores(scores)
    rises = np.flatnonzero(~(np.diff(values) < increment))
    return int(rises[0]) if len(rises) else max(len(values) - 1, 0)


def correction_epoch(
    scores: ArrayLike, n_epochs: int, r: float = 0.9, interval: float = 1.0, skip_flat: float | None = None
) -> int | None:
    """The 0-based epoch from which a class's labels are to be corrected, given its scores (n,) so far.

    That is one more than the number of epochs below ``n_epochs`` in which the slope of the fitted curve has fallen by
    no more than the share ``r`` since epoch 1. A flat beginning (rises below ``skip_flat``) is cut off and added back.
    None where fewer than 4 scores are left, where none is above 0, or where no curve fits. Raises InputError.
    """
    values = _check_scores(scores)
    if not 0 <= r <= 1:
        raise InputError(f"r is {r}: give the share by which the slope must fall, from 0 to 1.")
    cut = 0 if skip_flat is None else num_flat(values, skip_flat)
    if len(values) - cut < LEAST_POINTS or not values.any():
        return None
    try:
        curve = fit_learning_curve(values[cut:], interval)
    except InputError:
        return None
    return 1 + int((relative_change(curve, n_epochs) <= r).sum()) + cut


def _check_scores(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores have shape {values.shape}: give one number an epoch, shape (n,).")
    is_bad = ~((values >= 0) & (values <= 1))
    if is_bad.any():
        place = int(is_bad.argmax())
        raise InputError(f"score {place} is {values[place]}: give shares from 0 to 1.")
    return values
