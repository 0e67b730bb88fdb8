"""A report on a model of trees seen as a smoother: as it grows, with its wrong labels, and refitted.

Classes are outcomes too: one column each, 1 where a row has the class. Errors are means over rows and columns.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.certainty.forest_smoothers import (
    effective_parameters_by_tree,
    forest_smoother,
    local_effective_parameters,
    model_decomposition,
    self_weights,
    wrong_label_weights,
)
from labelwise.certainty.smoother_matrices import Smoother
from labelwise.errors import InputError
from labelwise.files import atomic_write
from labelwise.labels.check import UNLABELLED

Floats = NDArray[np.float64]


class TrackRecord(NamedTuple):
    """The model after its first `num_trees` trees: squared errors, shares of wrong classes, effective parameters.

    mse_redrawn: against outcomes drawn anew at the training inputs; mse_true: against noise-free ones; None where not
    given. Error rates are None for regression.
    """

    num_trees: int
    mse_train: float
    mse_test: float
    mse_redrawn: float | None
    mse_true: float | None
    error_rate_train: float | None
    error_rate_test: float | None
    p_train: float
    p_test: float


@dataclass(frozen=True, kw_only=True)
class WrongLabels:
    """What predictions make of wrong labels.

    share: of the training labels that are wrong; weight: mean weight on them at the queries; outvoted: share of the
    queries where they have more than half of the weight, None for boosting; self_weight_wrong, self_weight_right: mean
    weight of a wrong and of a right label in its own row's prediction, 0 where there is none.
    """

    share: float
    weight: float
    outvoted: float | None
    self_weight_wrong: float
    self_weight_right: float


@dataclass(frozen=True, kw_only=True)
class SmootherFindings:
    """Effective parameters at the training rows and at the queries, and what goes with them.

    trace: sum of the training rows' weights on themselves; labels_averaged: the 10%, 50% and 90% quantiles of
    1 / ||s(x)||^2 over the queries; largest_gap: between S y and the model's own predictions.
    """

    model: str
    num_trees: int
    train_rows: int
    query_rows: int
    p_train: float
    p_query: float
    trace: float
    labels_averaged: tuple[float, float, float]
    largest_gap: float
    wrong_labels: WrongLabels | None

    def to_json(self) -> str:
        """All of it as indented JSON."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the JSON, whole or not at all. Raises OutputError."""
        with atomic_write(path, text=True) as file:
            file.write(self.to_json())

    def to_text(self) -> str:
        """The same in plain lines."""
        n = self.train_rows
        low, middle, high = self.labels_averaged
        lines = [f"{self.model}: {self.num_trees} trees, {n} training rows, {self.query_rows} queries"]
        lines += [
            f"at the {where}: {p:.4g} effective parameters, {p / n:.1%} of the labels' noise variance is left"
            for where, p in (("training rows", self.p_train), ("queries", self.p_query))
        ]
        lines += [
            f"labels averaged in a prediction: {middle:.3g} (80% of the queries: {low:.3g} to {high:.3g})",
            f"weight of a training label in its own row's prediction: {self.trace / n:.1%}",
        ]
        if self.wrong_labels is not None:
            lines += _wrong_label_lines(self.wrong_labels)
        lines.append(f"largest gap between the weighted labels and the model's predictions: {self.largest_gap:.2g}")
        return "\n".join(lines) + "\n"


class SmootherReport:
    """Fit a model of trees, then look at it as a smoother: ``SmootherReport(forest).fit(X, y).measure(X_new)``.

    estimator: whatever ``forest_smoother`` takes; it is cloned, never changed. Before ``fit`` all else raises
    InputError.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone on X (n, d) and y (n,), numbers or classes. Raises InputError, also for unlabelled rows (-1)."""
        from sklearn.base import is_classifier

        labels = np.asarray(y)
        if is_classifier(self.estimator) and labels.dtype.kind in "if" and (labels == UNLABELLED).any():
            row = int((labels == UNLABELLED).argmax())
            raise InputError(f"row {row} has the label -1, unlabelled: leave it out, and number classes from 0.")
        self.model_ = _fit_clone(self.estimator, X, labels, sample_weight)
        self.X_, self.labels_, self.sample_weight_ = X, labels, sample_weight
        self.outcomes_ = self._outcomes(labels, "y", len(labels))
        return self

    def smoother(self, X_query: Any) -> Smoother:
        """Smoother (m, n) of the fitted model at X_query (m, d). Raises InputError."""
        self._refuse_unfitted()
        return forest_smoother(self.model_, self.X_, X_query, self.sample_weight_)

    def track(
        self, X_test: Any, y_test: ArrayLike, *, y_redrawn: ArrayLike | None = None, y_true: ArrayLike | None = None
    ) -> list[TrackRecord]:
        """One record a tree: errors and effective parameters at training and test rows, as the model grows.

        y_redrawn, y_true (n,): other outcomes at the training inputs, drawn anew and without noise. Raises InputError.
        Source: the experiments of section 3. Cost: all rows of both smoothers; boosting: B n (n + m).
        """
        on_test = self.smoother(X_test)
        on_train = self.smoother(self.X_)
        m, n = on_test.shape
        wanted = self._outcomes(y_test, "y_test", m)
        redrawn = None if y_redrawn is None else self._outcomes(y_redrawn, "y_redrawn", n)
        true = None if y_true is None else self._outcomes(y_true, "y_true", n)
        grown = zip(
            on_train.staged_predict(self.outcomes_),
            on_test.staged_predict(self.outcomes_),
            effective_parameters_by_tree(on_train).tolist(),
            effective_parameters_by_tree(on_test).tolist(),
            strict=True,
        )
        return [
            TrackRecord(
                num_trees=number,
                mse_train=_mse(train, self.outcomes_),
                mse_test=_mse(test, wanted),
                mse_redrawn=None if redrawn is None else _mse(train, redrawn),
                mse_true=None if true is None else _mse(train, true),
                error_rate_train=self._error_rate(train, self.outcomes_),
                error_rate_test=self._error_rate(test, wanted),
                p_train=p_train,
                p_test=p_test,
            )
            for number, (train, test, p_train, p_test) in enumerate(grown, start=1)
        ]

    def measure(self, X_query: Any, *, is_wrong: ArrayLike | None = None) -> SmootherFindings:
        """Effective parameters at the training rows and at X_query (m, d), and the weight of wrong labels.

        is_wrong (n,) bool: labels known or suspected to be wrong. Raises InputError. Cost: all rows of both smoothers,
        which for boosting on many rows is long: ``estimated_effective_parameters`` is there for it.
        """
        on_query = self.smoother(X_query)
        on_train = self.smoother(self.X_)
        own = self_weights(on_train)
        local = local_effective_parameters(on_query)
        averaged = np.quantile(len(own) / local[local > 0], (0.1, 0.5, 0.9)) if local.any() else np.zeros(3)
        return SmootherFindings(
            model=type(self.model_).__name__,
            num_trees=on_query.num_trees,
            train_rows=on_query.shape[1],
            query_rows=on_query.shape[0],
            p_train=float(local_effective_parameters(on_train).mean()),
            p_query=float(local.mean()),
            trace=float(own.sum()),
            labels_averaged=(float(averaged[0]), float(averaged[1]), float(averaged[2])),
            largest_gap=float(np.abs(on_query @ self.outcomes_ - self._predict(X_query)).max()),
            wrong_labels=None if is_wrong is None else _wrong_labels(on_query, np.asarray(is_wrong), own),
        )

    def decompose(
        self, X_query: Any, y_true: ArrayLike, rng: np.random.Generator, num_refits: int = 8
    ) -> list[dict[str, float]]:
        """``model_decomposition`` of refits on the same data with 1, 2, 4, ... and all trees; a dict each.

        y_true (m,): noise-free outcomes at X_query. rng draws the refits' random states. Raises InputError, also for a
        model without random_state. Source: section 4. Cost: num_refits fits.
        """
        self._refuse_unfitted()
        if num_refits < 1:
            raise InputError(f"num_refits is {num_refits}: give at least 1.")
        if "random_state" not in self.estimator.get_params(deep=False):
            raise InputError(f"{type(self.estimator).__name__} has no random_state: all its refits would be alike.")
        true = self._outcomes(y_true, "y_true", np.size(y_true)).ravel()
        predicted: dict[int, list[Floats]] = {}
        for state in rng.integers(2**31 - 1, size=num_refits).tolist():
            model = _fit_clone(self.estimator, self.X_, self.labels_, self.sample_weight_, random_state=state)
            smoother = forest_smoother(model, self.X_, X_query, self.sample_weight_)
            for number, staged in enumerate(smoother.staged_predict(self.outcomes_), start=1):
                if number == smoother.num_trees or number & (number - 1) == 0:
                    predicted.setdefault(number, []).append(staged.ravel())
        return [
            {"num_trees": number, **model_decomposition(np.stack(refits, axis=1), true)}
            for number, refits in predicted.items()
        ]

    def _refuse_unfitted(self) -> None:
        if not hasattr(self, "model_"):
            raise InputError("the report has no model yet: call fit first.")

    def _outcomes(self, labels: ArrayLike, name: str, num_rows: int) -> Floats:
        """Numbers (rows,), or a column for each class (rows, K)."""
        given = np.asarray(labels)
        if given.shape != (num_rows,):
            raise InputError(f"{name} has shape {given.shape}: give one value for each of {num_rows} rows.")
        if not hasattr(self.model_, "classes_"):
            numbers = given.astype(np.float64)
            if not np.isfinite(numbers).all():
                raise InputError(f"{name} row {int((~np.isfinite(numbers)).argmax())} is not finite: leave it out.")
            return numbers
        columns = given[:, None] == self.model_.classes_
        if not columns.any(axis=1).all():
            row = int((~columns.any(axis=1)).argmax())
            raise InputError(f"{name} row {row} is {given[row]!r}, a class the model was not trained on: leave it out.")
        return columns.astype(np.float64)

    def _predict(self, X: Any) -> Floats:
        return self.model_.predict_proba(X) if hasattr(self.model_, "classes_") else self.model_.predict(X)

    def _error_rate(self, predicted: Floats, outcomes: Floats) -> float | None:
        if not hasattr(self.model_, "classes_"):
            return None
        return float((predicted.argmax(axis=1) != outcomes.argmax(axis=1)).mean())


def plot_track(records: Sequence[TrackRecord], path: str | Path) -> None:
    """Draw effective parameters and errors against the number of trees, as a PNG. Raises InputError without records."""
    if not records:
        raise InputError("there are no records to draw: give what track returned.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    trees = [record.num_trees for record in records]
    panels = (("effective parameters", "p_train", "p_test"), ("mean squared error", "mse_train", "mse_test"))
    for axis, (title, train, test) in zip(figure.subplots(1, 2), panels, strict=True):
        axis.plot(trees, [getattr(record, train) for record in records], "--", label="training rows")
        axis.plot(trees, [getattr(record, test) for record in records], "-", label="test rows")
        axis.set(xlabel="trees", ylabel=title, xscale="log", ylim=(0, None))
    axis.legend(frameon=False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _fit_clone(estimator: Any, X: Any, y: NDArray[Any], sample_weight: ArrayLike | None, **params: Any) -> Any:
    from sklearn.base import clone

    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    try:
        return clone(estimator).set_params(**params).fit(X, y, **weights)
    except ValueError as error:
        raise InputError(f"{type(estimator).__name__} cannot be fitted on X and y: {error}") from error


def _wrong_labels(on_query: Smoother, is_wrong: NDArray[Any], own: Floats) -> WrongLabels:
    weights = wrong_label_weights(on_query, is_wrong)
    return WrongLabels(
        share=float(is_wrong.mean()),
        weight=float(weights.mean()),
        outvoted=float((weights > 0.5).mean()) if on_query.is_average else None,
        self_weight_wrong=_mean(own[is_wrong]),
        self_weight_right=_mean(own[~is_wrong]),
    )


def _wrong_label_lines(found: WrongLabels) -> list[str]:
    lines = [
        f"wrong labels: {found.share:.1%} of the training labels, {found.weight:.1%} of the weight at the queries",
        f"weight in their own rows' predictions: wrong labels {found.self_weight_wrong:.1%}, "
        f"right ones {found.self_weight_right:.1%}",
    ]
    if found.outvoted is not None:
        lines.append(f"queries where wrong labels have more than half of the weight: {found.outvoted:.1%}")
    return lines


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _mse(predicted: Floats, outcomes: Floats) -> float:
    return float(((predicted - outcomes) ** 2).mean())
