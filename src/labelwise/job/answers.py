"""What a saved model answers for new rows, in cells of a table; one kind of answer a task."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from labelwise.certainty.calibration import softmax
from labelwise.estimators.bag_classifier import BagClassifier
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.classifier import Classifier
from labelwise.estimators.multilabel_classifier import MultiLabelClassifier
from labelwise.estimators.regressor import Regressor
from labelwise.labels.cells import set_cell

if TYPE_CHECKING:
    from labelwise.job.model import Model

ESTIMATORS: dict[str, type[NetworkEstimator]] = {
    "classification": Classifier,
    "multilabel": MultiLabelClassifier,
    "regression": Regressor,
    "bags": BagClassifier,
}


class Answers(Protocol):
    """Names of the cells, and the cells of encoded rows."""

    def header(self, model: "Model") -> list[str]:
        """Names of the cells."""

    def cells(self, model: "Model", encoded: np.ndarray, alpha: float) -> Iterator[list[Any]]:
        """Cells of each row of ``encoded`` (n, ...)."""


class ClassAnswers:
    """Label, prediction set and calibrated probabilities."""

    def header(self, model: "Model") -> list[str]:
        """Names of the cells."""
        return ["predicted", "prediction_set", *(f"p({name})" for name in model.classes)]

    def cells(self, model: "Model", encoded: np.ndarray, alpha: float) -> Iterator[list[Any]]:
        """Cells of each row."""
        probs = softmax(model.estimator.predict_logits(encoded), model.temperature)
        sets = None if model.conformal is None else model.conformal.predict_sets(probs, alpha)
        for row, best in enumerate(probs.argmax(axis=1)):
            members = [] if sets is None else [model.classes[k] for k in np.flatnonzero(sets[row])]
            yield [model.classes[best], set_cell(members), *_rounded(probs[row])]


class LabelAnswers:
    """The labels that are likelier present than not, and the probability of each."""

    def header(self, model: "Model") -> list[str]:
        """Names of the cells."""
        return ["predicted", *(f"p({name})" for name in model.classes)]

    def cells(self, model: "Model", encoded: np.ndarray, alpha: float) -> Iterator[list[Any]]:
        """Cells of each row."""
        for probs in model.estimator.predict_proba(encoded):
            yield [set_cell(model.classes[k] for k in np.flatnonzero(probs > 0.5)), *_rounded(probs)]


class NumberAnswers:
    """The number and, where the trust step ran, the ends of its interval."""

    def header(self, model: "Model") -> list[str]:
        """Names of the cells."""
        return ["predicted", "low", "high"]

    def cells(self, model: "Model", encoded: np.ndarray, alpha: float) -> Iterator[list[Any]]:
        """Cells of each row."""
        half = model.half_width
        for middle in model.estimator.predict(encoded).tolist():
            ends = ["", ""] if half is None else [_six_digits(middle - half), _six_digits(middle + half)]
            yield [_six_digits(middle), *ends]


class BagAnswers:
    """The class of a single row and its probability of being positive."""

    def header(self, model: "Model") -> list[str]:
        """Names of the cells."""
        return ["predicted", f"p({model.classes[1]})"]

    def cells(self, model: "Model", encoded: np.ndarray, alpha: float) -> Iterator[list[Any]]:
        """Cells of each row."""
        for prob in model.estimator.predict_proba(encoded)[:, 1].tolist():
            yield [model.classes[int(prob > 0.5)], round(prob, 6)]


ANSWERS: dict[str, Answers] = {
    "classification": ClassAnswers(),
    "multilabel": LabelAnswers(),
    "regression": NumberAnswers(),
    "bags": BagAnswers(),
}


def _rounded(probs: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in probs]


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
