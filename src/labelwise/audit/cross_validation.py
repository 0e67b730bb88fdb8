"""Out-of-sample probabilities by cross-validation, and a classifier that prunes its own suspected label errors.

An audit is only as honest as its probabilities: each must come from a model that was not trained on that example.
`PrunedClassifier` is the train-time use of confident learning: Northcutt, Jiang, Chuang, "Confident Learning:
Estimating Uncertainty in Dataset Labels", JAIR 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from labelwise.audit.confident_learning import find_label_issues
from labelwise.errors import InputError
from labelwise.labels.check import check_labels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cross_val_pred_probs(
    estimator: Any,
    X: Any,
    labels: ArrayLike,
    *,
    cv: int = 5,
    random_state: int | None = 0,
    groups: ArrayLike | None = None,
    num_classes: int | None = None,
) -> Floats:
    """Class probabilities of every example by a model that was not trained on it, (n, classes) float64, rows sum to 1.

    estimator: anything with `fit` and `predict_proba` that scikit-learn can clone; it is left untouched. X: array (n,
    ...), sparse matrix, data frame or list. labels: (n,) int64; rows with -1 are predicted, never trained on. groups:
    (n,) names; examples of one group fall into one fold. The folds are stratified by label as far as possible. A
    class that a fold's training part lacks gets probability 0 there, and the rest of the row is renormalised.
    random_state decides the folds only. num_classes: default highest label + 1.

    Raises InputError for lengths that differ, fewer examples (or groups) than folds, and a training part without any
    label. Cost: `cv` fits on (cv - 1) / cv of the labelled data.
    """
    given = _check_labels(labels, _num_rows(X), num_classes)  # (n,)
    num_columns = int(given.max()) + 1 if num_classes is None else num_classes
    fold = _stratified_folds(given, cv, random_state, groups)  # (n,)

    pred_probs = np.zeros((len(given), num_columns))
    for k in range(cv):
        train = np.flatnonzero((fold != k) & (given >= 0))
        held_out = np.flatnonzero(fold == k)
        if len(train) == 0:
            raise InputError(
                f"no labelled example is left to train on when fold {k} is held out: label more rows or lower cv."
            )
        if len(held_out):
            model = _fit(estimator, X, given, train)
            pred_probs[held_out] = _pred_probs(model, _take(X, held_out), num_columns)
    return pred_probs


class PrunedClassifier(ClassifierMixin, BaseEstimator):
    """Scikit-learn classifier that cross-validates, drops the suspected label errors and trains again on the rest.

    estimator: the classifier to train. cv, random_state: as in `cross_val_pred_probs`. filter_by, frac_noise: as in
    `find_label_issues`. Integer label -1 means unlabelled: such a row is left out of training.

    After `fit`: `classes_`, `pred_probs_` (n, classes) out-of-sample, `label_issues_` (n,) bool, `num_pruned_`, and the
    final `estimator_`. Cost: cv + 1 fits.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        cv: int = 5,
        filter_by: str = "prune_by_noise_rate",
        frac_noise: float = 1.0,
        random_state: int | None = 0,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.filter_by = filter_by
        self.frac_noise = frac_noise
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> PrunedClassifier:
        """Cross-validate, prune, refit. X: array (n, ...), sparse matrix, data frame or list; y: (n,) classes of any
        type.
        """
        self.classes_, labels = _encode(np.asarray(y))
        self.pred_probs_ = cross_val_pred_probs(
            self.estimator,
            X,
            labels,
            cv=self.cv,
            random_state=self.random_state,
            groups=groups,
            num_classes=len(self.classes_),
        )
        labelled = np.flatnonzero(labels >= 0)
        self.label_issues_ = np.zeros(len(labels), dtype=bool)
        self.label_issues_[labelled] = find_label_issues(
            labels[labelled], self.pred_probs_[labelled], filter_by=self.filter_by, frac_noise=self.frac_noise
        )
        self.num_pruned_ = int(self.label_issues_.sum())
        self.estimator_ = _fit(self.estimator, X, labels, labelled[~self.label_issues_[labelled]])
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Class probabilities (n, classes), columns in the order of `classes_`; a class pruned away altogether gets
        0.
        """
        check_is_fitted(self)
        return _pred_probs(self.estimator_, X, len(self.classes_))

    def predict(self, X: Any) -> NDArray[Any]:
        """Most likely class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class _OneClass:
    """Stands in for a model when the training labels hold one class only, which many classifiers refuse."""

    def __init__(self, label: int) -> None:
        self.classes_ = np.asarray([label])

    def predict_proba(self, X: Any) -> Floats:
        return np.ones((_num_rows(X), 1))


def _fit(estimator: Any, X: Any, labels: Ints, rows: Ints) -> Any:
    present = np.unique(labels[rows])
    if len(present) == 1:
        return _OneClass(int(present[0]))
    return clone(estimator).fit(_take(X, rows), labels[rows])


def _pred_probs(model: Any, X: Any, num_classes: int) -> Floats:
    pred_probs = np.zeros((_num_rows(X), num_classes))
    pred_probs[:, np.asarray(model.classes_, dtype=np.int64)] = model.predict_proba(X)
    totals = pred_probs.sum(axis=1, keepdims=True)  # (n, 1)
    # A one-vs-rest model may give every class 0: it then knows nothing.
    return np.divide(pred_probs, totals, out=np.full_like(pred_probs, 1 / num_classes), where=totals > 0)


def _stratified_folds(labels: Ints, cv: int, random_state: int | None, groups: ArrayLike | None) -> Ints:
    """Fold of each row, (n,). Unlabelled rows are a stratum of their own."""
    if not 2 <= cv <= len(labels):
        raise InputError(
            f"cv is {cv} for {len(labels)} examples: give a number of folds from 2 to the number of examples."
        )
    rng = np.random.default_rng(random_state)
    if groups is not None:
        return _grouped_folds(labels, cv, rng, np.asarray(groups))
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    # Dealing out class after class like cards keeps both the classes and the folds even, however rare a class is.
    fold[by_class] = np.arange(len(labels)) % cv
    return fold


def _grouped_folds(labels: Ints, cv: int, rng: np.random.Generator, groups: NDArray[Any]) -> Ints:
    if groups.shape != labels.shape:
        raise InputError(f"groups has shape {groups.shape}, labels {labels.shape}: give one group name an example.")
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < cv:
        raise InputError(f"there are {len(names)} groups for {cv} folds: lower cv or give finer groups.")
    counts = np.zeros((len(names), int(labels.max()) + 2))  # (groups, strata), stratum 0 = unlabelled
    np.add.at(counts, (group, labels + 1), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    shuffled = rng.permutation(len(names))
    largest_first = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    load = np.zeros((cv, counts.shape[1]))  # share of every stratum in each fold
    fold_of_group = np.empty(len(names), dtype=np.int64)
    for g in largest_first:
        # The increase of the squared load is least where the group's classes are scarce so far.
        fold_of_group[g] = ((load + shares[g]) ** 2 - load**2).sum(axis=1).argmin()
        load[fold_of_group[g]] += shares[g]
    return fold_of_group[group]


def _encode(y: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    is_known = y >= 0 if y.dtype.kind == "i" else np.ones(y.shape, dtype=bool)
    if not is_known.any():
        raise InputError("y has no labelled row: give at least one label other than -1.")
    classes, codes = np.unique(y[is_known], return_inverse=True)
    labels = np.full(y.shape, -1, dtype=np.int64)
    labels[is_known] = codes
    return classes, labels


def _check_labels(labels: ArrayLike, num_rows: int, num_classes: int | None) -> Ints:
    given = check_labels(labels, num_classes=num_classes)
    if len(given) != num_rows:
        raise InputError(
            f"labels has {len(given)} rows, X has {num_rows}: give one label an example, -1 if unlabelled."
        )
    if given.max() < 0:
        raise InputError("labels has no labelled row: give at least one label other than -1.")
    return given


def _num_rows(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _take(X: Any, rows: Ints) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "shape"):
        return X[rows]
    return [X[i] for i in rows]
