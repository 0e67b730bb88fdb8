"""How well out-of-sample probabilities explain given labels that may be wrong."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.noise_rate import MOST_CLASSES, MOST_ROWS, NoiseModel, fit_noise_model, posterior_true
from labelwise.labels.check import check_labels_and_pred_probs


class Explanation:
    """The noise model fitted to given labels (n,), -1 left out, and out-of-sample probabilities (n, classes).

    Large inputs are fitted on every m-th row. Cost: some hundred passes over at most 20,000 rows.
    """

    model: NoiseModel

    def __init__(self, labels: ArrayLike, pred_probs: ArrayLike) -> None:
        self.labels, probs = check_labels_and_pred_probs(labels, pred_probs)
        self.logs = np.log(np.clip(probs.astype(np.float64), 1e-6, 1.0))
        known = np.flatnonzero(self.labels >= 0)
        known = known[:: -(-len(known) // MOST_ROWS)] if len(known) else known
        self.model = fit_noise_model(self.labels[known], self.logs[known])

    def true_probs(self) -> NDArray[np.float64]:
        """P(true class | row, given label), (n, classes); for unlabelled rows P(true class | row)."""
        unlabelled = self.labels < 0
        found = posterior_true(np.maximum(self.labels, 0), self.logs, self.model)
        if unlabelled.any():
            flat = self.model._replace(matrix=np.ones_like(self.model.matrix))
            found[unlabelled] = posterior_true(np.zeros(unlabelled.sum(), int), self.logs[unlabelled], flat)
        return found


def mean_log_likelihood(labels: ArrayLike, pred_probs: ArrayLike) -> float:
    """Mean over labelled rows of ``log P(given label | row)`` under the fitted noise model, at most 0.

    Of two sets of out-of-sample probabilities the one with the larger value explains the labels better, whether it
    leans to the given labels, as plain models do, or to the true ones, as robust ones do. Beyond 100 classes no noise
    model is fitted and the probabilities are taken as they are.
    """
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    known = given >= 0
    given, probs = given[known], probs[known].astype(np.float64)
    if probs.shape[1] > MOST_CLASSES:
        return float(np.log(np.clip(probs[np.arange(len(given)), given], 1e-6, 1.0)).mean())
    explained = Explanation(given, probs)
    model = explained.model
    scores = model.sharpness * explained.logs + model.offsets
    clean = np.exp(scores - scores.max(axis=1, keepdims=True))
    clean /= clean.sum(axis=1, keepdims=True)
    return float(np.log(np.maximum((clean * model.matrix[given]).sum(axis=1), 1e-300)).mean())
