"""The estimator for several labels a row: any recipe of its task, any network, on arrays, pictures or data sets."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from torch import Tensor
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.inputs import Inputs, read_inputs, take_rows
from labelwise.labels.check import check_multilabels
from labelwise.numerics.multilabel_metrics import mean_average_precision
from labelwise.training.loop import Watch
from labelwise.training.resume import Row
from labelwise.training.task import MULTILABEL


class MultiLabelClassifier(ClassifierMixin, NetworkEstimator):
    """Train a network that says which labels apply to a row, with any multi-label recipe of ``labelwise methods``.

    X is an array (n, features), pictures (n, height, width[, channels]) as bytes or floats, or a torch data set of
    (x, y) pairs whose pictures are (channels, height, width). y (n, classes) holds 1 where a label applies, 0 where it
    does not and -1 where that is not known. Rows of which nothing is known take part: ``pu-mlc`` learns from them.

    The recipe ``auto`` is ``multilabel-cross-entropy``, which leaves unknown entries out, or ``pu-mlc`` where no label
    is known to be absent; take that also where absent ones are few or cannot be relied on. The parameters are those of
    ``labelwise.estimators.base.NetworkEstimator``. ``validation_fraction`` holds out rows with a known label to measure
    mean average precision on after each epoch and, with ``early_stopping``, to stop by. Fitting costs ``epochs``
    forward and backward passes over the data, times the card's ``cost``.

    Attributes: ``classes_`` (columns of y), ``knows_absent_`` (whether y holds a 0), ``history_`` (one dict an epoch),
    ``best_epoch_`` (0-based), ``network_``, ``backbone_name_``, ``recipe_``, ``train_rows_`` (positions of the rows
    trained on), ``corrections_`` (None: no recipe of this task corrects labels).
    """

    task = MULTILABEL
    default_recipe = "multilabel-cross-entropy"
    positives_recipe = "pu-mlc"

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
        """Train on ``X`` and given labels ``y``; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        Raises InputError where rows and labels do not match, where no label is known, or where the options do not fit
        the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        given = read_inputs(self, X, reset=True)
        labels = _read_labels(given, y)
        is_known = (labels >= 0).any(axis=1)
        if not is_known.any():
            raise InputError("y has no known label (all are -1): give at least one 1 or 0 to train on")
        self.classes_ = np.arange(labels.shape[1])
        self.knows_absent_ = bool((labels == 0).any())
        pretrained = self._choose_network(given)
        inputs = self._to_features(given)
        rows, validation = np.arange(len(labels)), None
        if X_val is not None:
            inputs_val = self._read(X_val)
            validation = self._data(inputs_val, _read_labels(inputs_val, y_val, labels.shape[1], suffix="_val"))
        elif self.validation_fraction > 0:
            _, held = self._hold_out(np.flatnonzero(is_known), settings.seed)
            rows = np.setdiff1d(rows, held)
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
        self.corrections_ = None
        return self

    def predict_logits(self, X: Inputs) -> np.ndarray:
        """Return logits (n, classes) float32: above 0 where a label is likelier to apply than not."""
        return self._predict(X)

    def predict_proba(self, X: Inputs) -> np.ndarray:
        """Return the probability that each label applies, (n, classes) float64; rows need not sum to 1."""
        return expit(self.predict_logits(X).astype(np.float64))

    def predict(self, X: Inputs) -> np.ndarray:
        """Return the labels with a probability above a half, (n, classes) int64, 1 or 0."""
        return (self.predict_logits(X) > 0).astype(np.int64)

    def score(self, X: Inputs, y: Any, sample_weight: None = None) -> float:
        """Return mean average precision over the known labels of ``y``, of the classes with a known positive."""
        return mean_average_precision(self.predict_logits(X), check_multilabels(y, name="y"))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags

    def _recipe_name(self) -> str:
        if self.recipe == "auto" and not self.knows_absent_:
            return self.positives_recipe
        return super()._recipe_name()

    def _num_outputs(self) -> int:
        return len(self.classes_)

    def _task_state(self) -> dict[str, Any]:
        return {"num_classes": len(self.classes_), "knows_absent": self.knows_absent_}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.classes_ = np.arange(int(state["num_classes"]))
        self.knows_absent_ = bool(state["knows_absent"])


def _read_labels(inputs: Tensor | Dataset, y: Any, num_classes: int | None = None, *, suffix: str = "") -> np.ndarray:
    """Labels (n, classes) int64 that fit the inputs; those of a data set's items where ``y`` is None."""
    if y is None and not isinstance(inputs, Dataset):
        raise InputError(f"X{suffix} requires y{suffix} to be passed, but the target y is None: give one row of labels")
    count = len(inputs)  # type: ignore[arg-type]
    if y is None:
        y = np.stack([np.asarray(inputs[row][1]) for row in range(count)])
    labels = check_multilabels(y, name=f"y{suffix}")
    if len(labels) != count:
        raise InputError(
            f"X{suffix} has {count} examples but y{suffix} has {len(labels)} rows; give one row an example"
        )
    if labels.shape[1] == 0 or (num_classes is not None and labels.shape[1] != num_classes):
        raise InputError(
            f"y{suffix} has {labels.shape[1]} columns: give one for each class"
            + ("" if num_classes is None else f", {num_classes} as in training")
        )
    return labels
