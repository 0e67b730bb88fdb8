"""The estimator for numbers: any regression recipe, any network, on arrays, pictures or torch data sets."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from torch import Tensor
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.inputs import Inputs, read_inputs, read_numbers, take_rows
from labelwise.training.data import TrainingData
from labelwise.training.loop import Watch
from labelwise.training.resume import Row
from labelwise.training.task import REGRESSION


class Regressor(RegressorMixin, NetworkEstimator):
    """Train a network on numbers, with any regression recipe of ``labelwise methods``; default ``squared-error``.

    X is an array (n, features), pictures (n, height, width[, channels]) as bytes or floats, or a torch data set of
    (x, y) pairs whose pictures are (channels, height, width). y (n,) or (n, outputs) holds numbers, NaN where unknown:
    a row with an unknown number takes no part in training, and unknown numbers none in scores.

    Recipes see targets brought to mean 0 and deviation 1 (each output by its own, measured on the training rows), so
    their widths and windows are in deviations; predictions are in the units of y. The parameters are those of
    ``labelwise.estimators.base.NetworkEstimator``. ``validation_fraction`` holds out rows to measure R^2 on after each
    epoch and, with ``early_stopping``, to stop by. Fitting costs ``epochs`` forward and backward passes over the data,
    times the card's ``cost``.

    Attributes: ``target_mean_`` and ``target_scale_`` (outputs,), ``history_`` (one dict an epoch), ``best_epoch_``
    (0-based), ``network_``, ``backbone_name_``, ``recipe_``, ``train_rows_`` (positions of the rows trained on),
    ``corrections_`` (None: no recipe of this task corrects numbers).
    """

    task = REGRESSION
    default_recipe = "squared-error"

    def fit(
        self,
        X: Inputs,
        y: Any = None,
        *,
        X_val: Inputs | None = None,
        y_val: Any = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on ``X`` and numbers ``y``; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        Raises InputError where rows and numbers do not match, where no row is known, or where the options do not fit
        the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        given = read_inputs(self, X, reset=True)
        y = read_numbers(given, y)
        self.target_shape_ = y.shape[1:]
        targets = y.reshape(len(y), -1)  # (n, outputs)
        rows = np.flatnonzero(~np.isnan(targets).any(axis=1))
        if not len(rows):
            raise InputError("y has no row whose numbers are all known (not NaN): give at least one to train on")
        pretrained = self._choose_network(given)
        inputs = self._to_features(given)
        held = rows[:0]
        if X_val is None and self.validation_fraction > 0:
            rows, held = self._hold_out(rows, settings.seed)
        self._measure_targets(targets[rows])
        validation = None
        if X_val is not None:
            validation = self._given_validation(X_val, y_val)
        elif len(held):
            validation = self._targets(take_rows(inputs, held), targets[held])
        self._train(
            self._targets(take_rows(inputs, rows), targets[rows]),
            settings,
            validation=validation,
            pretrained=pretrained,
            watch=watch,
            on_epoch=on_epoch,
        )
        self.train_rows_ = rows
        self.corrections_ = None
        return self

    def predict(self, X: Inputs) -> np.ndarray:
        """Return the predicted numbers, (n,) or (n, outputs) float64 as y was, in the units of y."""
        outputs = self._predict(X).astype(np.float64)
        return (outputs * self.target_scale_ + self.target_mean_).reshape(-1, *self.target_shape_)

    def score(self, X: Inputs, y: Any, sample_weight: Any = None) -> float:
        """Return R^2, the mean over outputs, of the rows of y that are known."""
        y = np.asarray(y, dtype=np.float64)
        known = ~np.isnan(y.reshape(len(y), -1)).any(axis=1)
        if known.all():
            return float(super().score(X, y, sample_weight))
        from sklearn.metrics import r2_score

        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(r2_score(y[known], self.predict(X)[known], sample_weight=weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _num_outputs(self) -> int:
        return len(self.target_mean_)

    def _task_state(self) -> dict[str, Any]:
        return {
            "target_mean": self.target_mean_.tolist(),
            "target_scale": self.target_scale_.tolist(),
            "target_shape": list(self.target_shape_),
        }

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.target_mean_ = np.array(state["target_mean"], dtype=np.float64)
        self.target_scale_ = np.array(state["target_scale"], dtype=np.float64)
        self.target_shape_ = tuple(state["target_shape"])

    def _measure_targets(self, targets: np.ndarray) -> None:
        """Note mean and deviation of known numbers (m, outputs); a constant output keeps deviation 1."""
        self.target_mean_ = targets.mean(axis=0)
        scale = targets.std(axis=0)
        # A spread that is rounding error of the mean would blow noise up to unit size.
        self.target_scale_ = np.where(scale > 1e-12 * np.abs(self.target_mean_), scale, 1.0)

    def _targets(self, inputs: Tensor | Dataset, targets: np.ndarray) -> TrainingData:
        """Training data with standardised numbers (m, outputs) float32."""
        return self._data(inputs, ((targets - self.target_mean_) / self.target_scale_).astype(np.float32))

    def _given_validation(self, X_val: Inputs, y_val: Any) -> TrainingData:
        inputs = self._read(X_val)
        y = read_numbers(inputs, y_val, suffix="_val")
        if y.shape[1:] != self.target_shape_:
            raise InputError(
                f"y_val has shape {y.shape}, but y has {self.target_shape_} after the rows: give them alike"
            )
        return self._targets(inputs, y.reshape(len(y), -1))
