"""The estimator for single labels: any recipe, any network, on arrays, pictures or torch data sets."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from labelwise.errors import InputError
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.inputs import Inputs, read_inputs, read_labels, sklearn_errors, take_rows
from labelwise.training.data import TrainingData
from labelwise.training.loop import Watch
from labelwise.training.resume import Row
from labelwise.training.task import CLASSIFICATION


class Classifier(ClassifierMixin, NetworkEstimator):
    """Train a network on labels that may be wrong, with any recipe of ``labelwise methods``; default ``elr``.

    X is an array (n, features), pictures (n, height, width[, channels]) as bytes or floats, or a torch data set of
    (x, y) pairs whose pictures are (channels, height, width). y holds class labels of any kind. A number -1 means
    unlabelled: such rows take no part in training. Only where y holds -1 and 1 and nothing else, both are classes.

    The parameters are those of ``labelwise.estimators.base.NetworkEstimator``. ``validation_fraction`` holds out
    given, possibly wrong, labels to measure each epoch on and, with ``early_stopping``, to stop by; pass
    ``X_val, y_val`` to ``fit`` where clean ones exist. Fitting costs ``epochs`` forward and backward passes over the
    data, times the card's ``cost``.

    Attributes: ``classes_``, ``history_`` (one dict an epoch), ``best_epoch_`` (0-based), ``network_``,
    ``backbone_name_``, ``recipe_``, ``train_rows_`` (positions of the rows trained on), ``corrections_`` (targets,
    weights, mask of all n rows, 0 and False where a row was not trained on; None where the recipe keeps none).
    """

    task = CLASSIFICATION
    default_recipe = "elr"

    def fit(
        self,
        X: Inputs,
        y: Any = None,
        *,
        X_val: Inputs | None = None,
        y_val: Any = None,
        classes: Any = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on ``X`` and given labels ``y``; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        ``classes`` are all that there may be, where ``y`` may lack some. Raises InputError where rows and labels do
        not match, where there are fewer than two classes, or where the options do not fit the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        given = read_inputs(self, X, reset=True)
        y = read_labels(given, y)
        self.classes_ = find_classes(y, classes)
        labels = self._positions(y, "y")
        pretrained = self._choose_network(given)
        inputs = self._to_features(given)
        rows = np.flatnonzero(labels >= 0)
        validation = None
        if X_val is not None:
            validation = self._given_validation(X_val, y_val)
        elif self.validation_fraction > 0:
            rows, held = self._hold_out(rows, settings.seed, labels[rows])
            validation = self._data(take_rows(inputs, held), labels[held])
        self._train(
            self._data(take_rows(inputs, rows), labels[rows]),
            settings,
            validation=validation,
            pretrained=pretrained,
            watch=watch,
            on_epoch=on_epoch,
        )
        self.train_rows_ = rows
        found = self.recipe_.corrections()
        self.corrections_ = None if found is None else found.spread(rows, len(labels))
        return self

    def predict_logits(self, X: Inputs) -> np.ndarray:
        """Return logits (n, classes) float32."""
        return self._predict(X)

    def predict_proba(self, X: Inputs) -> np.ndarray:
        """Return class probabilities (n, classes) float64 whose rows sum to 1, columns in the order of ``classes_``."""
        logits = self.predict_logits(X).astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def predict(self, X: Inputs) -> np.ndarray:
        """Return the most probable class of each row, (n,)."""
        best = self.predict_logits(X).argmax(axis=1)
        return self.classes_[best]

    def _num_outputs(self) -> int:
        return len(self.classes_)

    def _task_state(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "classes_dtype": self.classes_.dtype.str}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.classes_ = np.array(state["classes"], dtype=np.dtype(state["classes_dtype"]))

    def _given_validation(self, X_val: Inputs, y_val: Any) -> TrainingData:
        inputs = self._read(X_val)
        labels = self._positions(read_labels(inputs, y_val, suffix="_val"), "y_val")
        return self._data(inputs, labels)

    def _positions(self, y: np.ndarray, name: str) -> np.ndarray:
        """Positions in ``classes_`` (n,) int64, -1 for unlabelled rows; raises InputError for any other label."""
        if _are_numbers(y) != _are_numbers(self.classes_):
            raise InputError(
                f"{name} has labels of type {y.dtype}, but classes are {self.classes_.tolist()}: give those"
            )
        positions = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
        known = self.classes_[positions] == y
        is_strange = ~known & (y != -1)
        if is_strange.any():
            row = int(is_strange.argmax())
            raise InputError(
                f"{name} row {row} is {y.tolist()[row]!r}, which is none of the classes {self.classes_.tolist()}: "
                "leave out that row, or give examples of that class to train on"
            )
        return np.where(known, positions, -1).astype(np.int64)


def find_classes(y: np.ndarray, classes: Any) -> np.ndarray:
    """Distinct classes in order: those given, or those in ``y``, where the number -1 usually means unlabelled."""
    _check_kind(y)
    found = np.unique(y if classes is None else np.asarray(classes))
    if classes is None and _are_numbers(found) and not np.array_equal(found, [-1, 1]):
        found = found[found != -1]
    if len(found) < 2:
        raise InputError(
            f"Classifier can't train when only one class is present (the classes are {found.tolist()}): "
            "give labels of at least two"
        )
    return found


def _check_kind(y: np.ndarray) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int((~np.isfinite(y)).argmax())
        raise InputError(f"y row {row} is {y[row]}: give -1 where the label is unknown")
    if y.dtype.kind == "S":
        raise InputError("y holds bytes: decode them to text, as in np.char.decode(y)")
    kinds = sorted({type(label).__name__ for label in y.tolist()}) if y.dtype.kind == "O" else []
    if len(kinds) > 1:
        raise InputError(f"y mixes labels of the kinds {', '.join(kinds)}: give all as text or all as whole numbers")
    with sklearn_errors():
        check_classification_targets(y)


def _are_numbers(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "iuf"
