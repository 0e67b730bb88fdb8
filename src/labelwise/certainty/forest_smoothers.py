"""Forests as smoothers: which labels a prediction averages, how many, and what label noise is left in it.

Curth, Jeffares, van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as Self-Regularizing
Adaptive Smoothers", 2024, https://arxiv.org/abs/2402.01502.

A fitted ensemble of trees predicts with weights on the training outcomes, f(x) = sum_i s_i(x) y_i. With the weights
held fixed, noise of variance v in the outcomes leaves v ||s(x)||^2 in the prediction: about 1 / ||s(x)||^2 labels are
averaged. Three things are kept apart: that noise, how much the learned function varies from refit to refit, and how
near the best of the refits comes to the truth. Forests lower all three, and average more labels at new inputs than at
those they were trained on.

    S = forest_smoother(fitted_forest, X_train, X_new)  # holds leaves, never an m x n array
    S @ y_train, effective_parameters(S), S @ is_wrong
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse

from labelwise.card import Card
from labelwise.certainty.forest_leaves import Init, fitted_trees
from labelwise.certainty.leaf_means import Leaves, read_leaves
from labelwise.certainty.smoother_matrices import BoostingSmoother, ForestSmoother, Smoother
from labelwise.errors import InputError

Floats = NDArray[np.float64]

CARD = Card(
    number=30,
    slug="forest-smoothers",
    title="Forests as smoothers (effective parameters, what label noise is left, model variability, bias)",
    task="certainty",
    fault="noise in outcomes: wrong numbers, wrong classes",
    recipe=(),
    idea="A forest's prediction is a weighted mean of training labels; look at the weights.",
    use="smoother = labelwise.forest_smoother(forest, X_train, X_query)",
    paper="Why do Random Forests Work? Understanding Tree Ensembles as Self-Regularizing Adaptive Smoothers, 2024",
    link="https://arxiv.org/abs/2402.01502",
    authors_code="AliciaCurth/understanding-random-forests",
    licence="no licence file",
    defaults={"sample_weight": None, "init": "zero", "sigma2": 1.0},
    cost="one multiply-add a query, tree and training row in the query's leaf; boosting: rounds x rows a query",
)


def forest_smoother(estimator: Any, X_train: Any, X_query: Any, sample_weight: ArrayLike | None = None) -> Smoother:
    """Smoother S (m, n) of a fitted model of trees; ``S @ y`` is its prediction, of classes with one-hot y (n, K).

    X_train (n, d): the rows of ``fit``; X_query (m, d); sample_weight (n,): the weights of ``fit``, if any. Takes
    scikit-learn's trees, forests, extra trees, bagging, (histogram) gradient boosting with squared error, and models
    with ``apply``. Raises InputError for models that are not fitted, not linear in the outcomes, or were fitted on
    other rows. Source: sections 2.2 and 3. Cost: B (n + m) in time, about 16 B n + 4 B m bytes.
    """
    trees = fitted_trees(estimator, X_train, X_query, sample_weight)
    if trees.learning_rate is None:
        return ForestSmoother(read_leaves(trees.leaves_train, trees.leaves_query, trees.weights))
    leaves = read_leaves(trees.leaves_train, trees.leaves_query, trees.weights, keep_train=True)
    return _boosting_pair(leaves, trees.learning_rate, trees.init, sample_weight)[1]


def tree_smoother(leaf_train: ArrayLike, leaf_query: ArrayLike, sample_counts: ArrayLike | None = None) -> Smoother:
    """Smoother (m, n) of one tree from leaf ids (n,) and (m,): the mean over the query's leaf, weighted by counts (n,).

    Raises InputError for ids that are no integers and counts that are negative or all 0.
    """
    return forest_smoother_from_leaves([leaf_train], [leaf_query], None if sample_counts is None else [sample_counts])


def forest_smoother_from_leaves(
    leaves_train: Iterable[ArrayLike],
    leaves_query: Iterable[ArrayLike],
    sample_counts: Iterable[ArrayLike] | None = None,
) -> Smoother:
    """Smoother (m, n) of the mean of trees, from leaf ids (B, n) and (B, m) and how often each row was drawn (B, n).

    All three are read a tree at a time, so generators do. A tree without training rows in a query's leaf has no say
    there. Raises InputError. Cost: as ``forest_smoother``.
    """
    return ForestSmoother(read_leaves(leaves_train, leaves_query, sample_counts))


def boosting_smoother(
    leaves_train: Iterable[ArrayLike],
    leaves_query: Iterable[ArrayLike],
    learning_rate: float,
    init: Init = "zero",
    sample_weight: ArrayLike | None = None,
) -> tuple[Smoother, Smoother]:
    """Smoothers (S_train (n, n), S_query (m, n)) of squared-error boosting from leaf ids (B, n), (B, m), a round each.

    init: boosting starts from 0 or from the mean outcome. sample_weight (n,): weights of the rows in every round.
    Raises InputError. Source: appendix on gradient boosting. Cost: of ``S @ y`` B (n + m), of a row B n.
    """
    if init not in ("zero", "mean"):
        raise InputError(f"init is {init!r}: choose 'zero' or 'mean'.")
    if not np.isfinite(learning_rate):
        raise InputError(f"learning_rate is {learning_rate}: give a finite number.")
    train = list(leaves_train)
    weights = None if sample_weight is None else [sample_weight] * len(train)
    leaves = read_leaves(train, leaves_query, weights, keep_train=True)
    return _boosting_pair(leaves, learning_rate, init, sample_weight)


def local_effective_parameters(S: Any) -> Floats:
    """n ||s(x)||^2 (m,) of every query: about 1 / ||s(x)||^2 labels are averaged at x, n of them where it is 1.

    S: a smoother, or an array or sparse matrix (m, n). Raises InputError. Source: section 3.1. Cost: all rows of S.
    """
    matrix = _check_matrix(S)
    squares = np.concatenate([_squared_norms(rows) for _, rows in _row_blocks(matrix)])
    return matrix.shape[1] * squares


def effective_parameters(S: Any, n_train: int | None = None) -> float:
    """Effective parameters n / m sum_x ||s(x)||^2: n for a model that copies one label a query, 1 for the mean.

    S: as in ``local_effective_parameters``; n_train: n, by default the columns of S. p / n is the share of the labels'
    noise variance that is left in predictions. Source: equation of section 3.1. Cost: all rows of S.
    """
    mean = float(local_effective_parameters(S).mean())
    return mean if n_train is None else mean * n_train / S.shape[1]


def estimated_effective_parameters(S: Smoother, rng: np.random.Generator, num_probes: int = 32) -> tuple[float, float]:
    """Effective parameters and their standard error, from predictions of random signs: E ||S z||^2 = ||S||^2.

    For smoothers whose rows are too long or too many: boosting on many rows, shallow trees. Unbiased. Raises
    InputError below 2 probes. Cost: num_probes predictions, B (n + m) each.
    """
    if num_probes < 2:
        raise InputError(f"num_probes is {num_probes}: give at least 2, for a standard error.")
    signs = rng.integers(0, 2, size=(S.shape[1], num_probes)) * 2.0 - 1.0
    draws = S.shape[1] * ((S @ signs) ** 2).mean(axis=0)  # (num_probes,)
    return float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(num_probes))


def effective_parameters_by_tree(S: Smoother) -> Floats:
    """Effective parameters (B,) of the first 1, 2, ..., B trees. Cost: all rows of S; boosting: B n (n + m)."""
    return S.staged_effective_parameters()


def self_weights(S_train: Any) -> Floats:
    """Weight (n,) of each training row's own outcome in its own prediction: 1 is memorised. Cost: all rows of S.

    Raises InputError where S_train is not square: its queries must be the training rows.
    """
    matrix = _check_matrix(S_train)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"S_train has shape {matrix.shape}: give the smoother whose queries are the training rows.")
    return np.concatenate([rows.diagonal(start) for start, rows in _row_blocks(matrix)])


def trace_parameters(S_train: Any) -> float:
    """Trace of S_train (n, n): the classical degrees of freedom of a linear smoother. Cost: all rows of S."""
    return float(self_weights(S_train).sum())


def label_influence(S: Smoother) -> Floats:
    """Mean weight (n,) of each training label in the predictions at the queries. Cost: B (n + m)."""
    return S.column_means()


def wrong_label_weights(S: Smoother, is_wrong: ArrayLike) -> Floats:
    """Weight (m,) that each prediction gives to wrong labels; is_wrong (n,) bool, from an audit or the truth.

    With true outcomes at hand, ``S @ (given - true)`` is what wrong ones add to each prediction, trees held fixed.
    Raises InputError for a mask of other type or length. Cost: B (n + m).
    """
    wrong = np.asarray(is_wrong)
    if wrong.dtype != np.bool_ or wrong.shape != (S.shape[1],):
        raise InputError(
            f"is_wrong has shape {wrong.shape} and type {wrong.dtype}: "
            f"give a boolean for each of the {S.shape[1]} training rows."
        )
    return S @ wrong


def model_decomposition(predictions: ArrayLike, y_true: ArrayLike) -> dict[str, float]:
    """Split the error of R refits on the same data, predictions (m, R), against noise-free outcomes y_true (m,).

    avg_mse: mean error of the refits; rep_bias: error of the best of them, which is number best_index, counted from 0;
    mod_var: mean squared distance to that one; avg_excess: avg_mse - rep_bias. Raises InputError. Source: section 4.
    """
    predicted = _check_finite(predictions, "predictions", 2)
    true = _check_finite(y_true, "y_true", 1)
    if len(true) != len(predicted):
        raise InputError(f"predictions has {len(predicted)} rows for {len(true)} outcomes y_true: give one row each.")
    errors = ((predicted - true[:, None]) ** 2).mean(axis=0)  # (R,)
    best = int(errors.argmin())
    return {
        "avg_mse": float(errors.mean()),
        "rep_bias": float(errors[best]),
        "mod_var": float(((predicted - predicted[:, [best]]) ** 2).mean()),
        "avg_excess": float((errors - errors[best]).mean()),
        "best_index": best,
    }


def covariance_dof(y_draws: ArrayLike, pred_draws: ArrayLike, sigma2: float = 1.0) -> float:
    """Degrees of freedom sum_i cov(y_i, prediction_i) / sigma2 over R redraws of the outcomes, both arrays (n, R).

    Divisor R - 1. sigma2: variance of the outcomes' noise. Raises InputError. Source: appendix, after Mentch and Zhou.
    """
    outcomes, predicted = _check_finite(y_draws, "y_draws", 2), _check_finite(pred_draws, "pred_draws", 2)
    if outcomes.shape != predicted.shape:
        raise InputError(f"y_draws has shape {outcomes.shape}, pred_draws {predicted.shape}: give the same redraws.")
    if outcomes.shape[1] < 2:
        raise InputError("there is one redraw of the outcomes: give at least 2.")
    if not (np.isfinite(sigma2) and sigma2 > 0):
        raise InputError(f"sigma2 is {sigma2}: give a variance above 0.")
    deviations = (outcomes - outcomes.mean(axis=1, keepdims=True)) * (predicted - predicted.mean(axis=1, keepdims=True))
    return float(deviations.sum() / (outcomes.shape[1] - 1) / sigma2)


def average_prediction_variance(pred_draws: ArrayLike) -> float:
    """Mean over the rows of the variance (divisor R) of predictions (n, R) over redraws. Raises InputError."""
    return float(_check_finite(pred_draws, "pred_draws", 2).var(axis=1).mean())


def mars_additive(n: int, d: int, sigma: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The paper's simulated data: X (n, d) uniform on [0, 1], outcomes (n,) with noise of deviation sigma.

    The truth of X alone is ``mars_additive_mean(X)``. Raises InputError for d below 5.
    """
    if d < 5:
        raise InputError(f"d is {d}: the function has 5 inputs, give at least 5.")
    X = rng.random((n, d))
    return X, mars_additive_mean(X) + rng.normal(0.0, sigma, n)


def mars_additive_mean(X: Floats) -> Floats:
    """Noise-free outcomes (n,) of ``mars_additive`` at X (n, d)."""
    steep = 4 / (1 + np.exp(-20 * (X[:, 1] - 0.5)))
    return 0.1 * np.exp(4 * X[:, 0]) + steep + 3 * X[:, 2] + 2 * X[:, 3] + X[:, 4]


def _boosting_pair(
    leaves: Leaves, learning_rate: float, init: Init, sample_weight: ArrayLike | None
) -> tuple[Smoother, Smoother]:
    num_train = leaves.means.shape[1]
    weights = np.ones(num_train) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    start = np.zeros(num_train) if init == "zero" else weights / weights.sum()
    on_train = leaves._replace(query=leaves.train)
    return BoostingSmoother(on_train, learning_rate, start), BoostingSmoother(leaves, learning_rate, start)


def _row_blocks(matrix: Any) -> Iterator[tuple[int, Any]]:
    """Rows of S a block at a time, sparse or dense, with the number of the first."""
    if not isinstance(matrix, Smoother):
        yield 0, matrix
        return
    for start, stop in matrix.blocks():
        yield start, matrix.rows(start, stop)


def _squared_norms(rows: Any) -> Floats:
    if isinstance(rows, np.ndarray):
        return (rows**2).sum(axis=1)
    # rows**2 would sort every row first, which takes a tenth of the time of making them.
    return csr_array((rows.data**2, rows.indices, rows.indptr), shape=rows.shape).sum(axis=1)


def _check_matrix(S: Any) -> Any:
    if isinstance(S, Smoother):
        return S
    if issparse(S):
        checked = csr_array(S, copy=True)
        checked.sum_duplicates()
        return checked
    return _check_finite(S, "S", 2)


def _check_finite(values: ArrayLike, name: str, ndim: int) -> Floats:
    try:
        checked = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers: give one with {ndim} axes.") from error
    if checked.ndim != ndim or not checked.size:
        raise InputError(f"{name} has shape {checked.shape}: give {ndim} axes and at least one number.")
    is_bad = ~np.isfinite(checked)
    if is_bad.any():
        place = ", ".join(str(each) for each in np.argwhere(is_bad)[0])
        raise InputError(f"{name} is {checked[is_bad][0]} at [{place}]: give finite numbers.")
    return checked
