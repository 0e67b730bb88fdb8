"""The estimator for bags: rows come in groups of which only the number of positives is known."""

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
from labelwise.labels.bags import Bags, Counts, name_bags
from labelwise.training.data import TrainingData
from labelwise.training.loop import Watch
from labelwise.training.resume import Row
from labelwise.training.task import BAGS


class BagClassifier(ClassifierMixin, NetworkEstimator):
    """Learn which rows are positive from counts of positives in bags, with any recipe for bags; default ``llp-bp``.

    X is an array (n, features), pictures (n, height, width[, channels]) as bytes or floats, or a torch data set of
    (x, anything) pairs whose pictures are (channels, height, width). Every row is in one bag; bags may differ in size,
    and the trained model needs none.

    The parameters are those of ``labelwise.estimators.base.NetworkEstimator``; a batch holds whole bags, about
    ``batch_size`` rows. ``validation_fraction`` holds out bags to measure on after each epoch how near mean predictions
    come to the bags' proportions (1 - RMSE), and, with ``early_stopping``, to stop by: no row's label is needed to
    choose a model. Fitting costs ``epochs`` forward and backward passes over the data, times the card's ``cost``.

    Attributes: ``classes_`` (0 and 1), ``history_`` (one dict an epoch), ``best_epoch_`` (0-based), ``network_``,
    ``backbone_name_``, ``recipe_``, ``train_rows_`` (positions of the rows trained on), ``corrections_`` (targets,
    weights, mask of all n rows, 0 and False where a row was not trained on; None where the recipe keeps none).
    """

    task = BAGS
    default_recipe = "llp-bp"

    def fit(
        self,
        X: Inputs,
        bag_ids: Any = None,
        counts: Counts | None = None,
        *,
        X_val: Inputs | None = None,
        bag_ids_val: Any = None,
        counts_val: Counts | None = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on ``X``; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        ``bag_ids`` (n,) say in any words which bag a row is in. ``counts`` are the positives of each bag, as
        ``{id: count}`` or a list in the order of the sorted ids; ``counts_of_proportions`` in
        ``labelwise.labels.bags`` makes them of proportions. Raises InputError where rows, bags and counts do not
        match, or where the options do not fit the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        given = read_inputs(self, X, reset=True)
        bags = _read_bags(given, bag_ids, counts)
        self.classes_ = np.array([0, 1])
        pretrained = self._choose_network(given)
        inputs = self._to_features(given)
        rows, validation = np.arange(len(bags.of_row)), None
        if X_val is not None:
            inputs_val = self._read(X_val)
            bags_val = _read_bags(inputs_val, bag_ids_val, counts_val, suffix="_val")
            validation = self._data(inputs_val, bags_val.rows())
        elif self.validation_fraction > 0:
            kept, held = self._hold_out(np.arange(len(bags)), settings.seed)
            rows = np.flatnonzero(np.isin(bags.of_row, kept))
            validation = self._rows_of(inputs, bags, np.flatnonzero(np.isin(bags.of_row, held)))
        self._train(
            self._rows_of(inputs, bags, rows),
            settings,
            validation=validation,
            pretrained=pretrained,
            watch=watch,
            on_epoch=on_epoch,
        )
        self.train_rows_ = rows
        found = self.recipe_.corrections()
        self.corrections_ = None if found is None else found.spread(rows, len(bags.of_row))
        return self

    def predict_proba(self, X: Inputs) -> np.ndarray:
        """Return the probabilities of being negative and positive, (n, 2) float64 whose rows sum to 1."""
        positive = expit(self._predict(X)[:, 0].astype(np.float64))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: Inputs) -> np.ndarray:
        """Return 1 where a row is more probably positive, else 0, (n,) int64."""
        return (self._predict(X)[:, 0] > 0).astype(np.int64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _num_outputs(self) -> int:
        return 1

    def _task_state(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.classes_ = np.array(state["classes"], dtype=np.int64)

    def _rows_of(self, inputs: Tensor | Dataset, bags: Bags, rows: np.ndarray) -> TrainingData:
        return self._data(take_rows(inputs, rows), bags.rows()[rows])


def _read_bags(inputs: Tensor | Dataset, bag_ids: Any, counts: Counts | None, *, suffix: str = "") -> Bags:
    if bag_ids is None or counts is None:
        raise InputError(
            f"X{suffix} requires bag_ids{suffix} and counts{suffix}: give the bag of each row, and the number of "
            "positives of each bag"
        )
    bags = name_bags(bag_ids, counts, suffix=suffix)
    count = len(inputs)  # type: ignore[arg-type]
    if count != len(bags.of_row):
        raise InputError(
            f"X{suffix} has {count} examples but there are {len(bags.of_row)} bag_ids{suffix}; give one a row"
        )
    return bags
