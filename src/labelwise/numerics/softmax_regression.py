"""Softmax regression that may start from, and be held near, weights learnt from other labels."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

Floats = NDArray[np.float64]


def fit_softmax(
    X: NDArray[np.floating],
    labels: NDArray[np.int64],
    num_classes: int,
    penalty: float,
    prior: Floats | None = None,
    max_steps: int = 100,
) -> Floats:
    """Weights W (features + 1, classes) that minimise ``sum_i -log p_i[label] + penalty / 2 |W - prior|^2``.

    X (n, features); labels (n,) int64 classes; the last row of W is the intercept; prior None means 0. Without rows
    W is the prior. The problem is convex, so the start decides nothing. Cost: two products with X a step of L-BFGS.
    """
    inputs = with_intercept(X)
    start = np.zeros((inputs.shape[1], num_classes)) if prior is None else prior
    if len(labels) == 0:
        return start
    rows = np.arange(len(labels))

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(start.shape)
        logs = log_softmax(inputs @ weights, axis=1)  # (n, classes)
        gap = weights - start
        slopes = np.exp(logs)
        slopes[rows, labels] -= 1
        value = -logs[rows, labels].sum() + penalty / 2 * (gap**2).sum()
        return float(value), (inputs.T @ slopes + penalty * gap).ravel()

    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return np.asarray(found.x, dtype=np.float64).reshape(start.shape)


def predict_softmax(X: NDArray[np.floating], weights: Floats) -> Floats:
    """Probabilities (n, classes) of rows X (n, features) under weights of `fit_softmax`."""
    return np.asarray(softmax(with_intercept(X) @ weights, axis=1))


def with_intercept(X: NDArray[np.floating]) -> Floats:
    """X (n, features) as float64 with a last column of ones."""
    return np.hstack([np.asarray(X, dtype=np.float64), np.ones((len(X), 1))])
