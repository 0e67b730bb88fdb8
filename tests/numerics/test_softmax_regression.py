"""Softmax regression against scikit-learn and against its own optimality condition."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from labelwise.numerics.softmax_regression import fit_softmax, predict_softmax, with_intercept


def draw(num_classes: int, rows: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_classes)
    y = rng.integers(0, num_classes, rows)
    return rng.normal(size=(rows, 5)) + np.eye(num_classes, 5)[y], y


@pytest.mark.parametrize("num_classes", [3, 5])
def test_it_is_logistic_regression(num_classes: int) -> None:
    X, y = draw(num_classes)
    model = LogisticRegression(C=1 / 0.5, tol=1e-10, max_iter=5000, fit_intercept=False).fit(with_intercept(X), y)
    found = fit_softmax(X, y, num_classes, 0.5, max_steps=2000)
    np.testing.assert_allclose(predict_softmax(X, found), model.predict_proba(with_intercept(X)), atol=2e-3)


def test_a_prior_is_where_it_starts_and_ends_without_rows() -> None:
    X, y = draw(3)
    prior = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_array_equal(fit_softmax(X[:0], y[:0], 3, 1.0, prior), prior)
    np.testing.assert_allclose(fit_softmax(X, y, 3, 1e9, prior), prior, atol=1e-6)
    found = fit_softmax(X, y, 3, 2.0, prior, max_steps=2000)
    slopes = with_intercept(X).T @ (predict_softmax(X, found) - np.eye(3)[y]) + 2.0 * (found - prior)
    assert np.abs(slopes).max() < 0.02  # the gradient is 0 at the optimum


def test_one_class_and_no_prior() -> None:
    X, _ = draw(2)
    assert predict_softmax(X, fit_softmax(X, np.zeros(len(X), dtype=np.int64), 2, 0.1)).argmax(axis=1).sum() == 0
    np.testing.assert_allclose(predict_softmax(X[:3], np.zeros((6, 4))), 0.25)
