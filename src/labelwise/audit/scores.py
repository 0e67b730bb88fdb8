"""Label quality scores, low = suspicious (cleanlab/rank.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.evidence import SLACK, Floats, Ints
from labelwise.audit.summary import ConfidenceSummary
from labelwise.errors import InputError
from labelwise.labels.check import check_labels_and_pred_probs

SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
UNLABELLED_SCORE = 1.0


def label_quality_scores(
    labels: ArrayLike, pred_probs: ArrayLike, method: str = "self_confidence", adjust: bool = False
) -> Floats:
    """Quality of each given label, (n,) float64 in 0 to 1, low = suspicious; unlabelled rows get 1.

    labels: (n,), -1 = unlabelled. pred_probs: (n, classes), out-of-sample. method: 'self_confidence' = p[given];
    'normalized_margin' = (p[given] - max of the others + 1) / 2; 'confidence_weighted_entropy' = log(r + 1) / r with r
    = entropy / (log(classes) p[given]). adjust: subtract the class thresholds first, which helps rare classes; not
    for the entropy. Raises InputError. Cost: O(n) for the first, one read of the array for the others.
    """
    check_choice(method, SCORES, "method")
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    if adjust and method == "confidence_weighted_entropy":
        raise InputError("adjust does not apply to confidence_weighted_entropy: choose another method or adjust=False.")
    scores = np.full(len(given), UNLABELLED_SCORE)
    rows = np.flatnonzero(given >= 0)
    labelled = probs if len(rows) == len(given) else probs[rows]
    if adjust:
        labelled = adjusted(given[rows], labelled)
    scores[rows] = _score(given[rows], labelled, method)
    return scores


def adjusted(labels: Ints, pred_probs: NDArray[Any]) -> Floats:
    """Probabilities (n, classes) minus the class thresholds, lifted above 0 and renormalised, float64."""
    summary = ConfidenceSummary.empty(pred_probs.shape[1])
    summary.add_own_probs(labels, pred_probs[np.arange(len(labels)), labels])
    thresholds = summary.finalize()
    lifted = pred_probs - thresholds + thresholds.max()  # (n, classes)
    return lifted / lifted.sum(axis=1, keepdims=True)


def margin_score(own_prob: NDArray[Any], other_prob: NDArray[Any]) -> Floats:
    """Normalised margin from the probability of the given and of the likeliest other class, all (n,)."""
    return (own_prob.astype(np.float64) - other_prob + 1) / 2


def entropy_score(own_prob: NDArray[Any], entropy: Floats) -> Floats:
    """Confidence-weighted entropy from p[given] and the normalised entropy, all (n,)."""
    ratio = entropy / np.maximum(own_prob.astype(np.float64), SLACK)
    return np.log(ratio + 1) / np.maximum(ratio, SLACK)


def normalized_entropy(pred_probs: NDArray[Any]) -> Floats:
    """Entropy of each row (n, classes) divided by log(classes), (n,) float64; 0 log 0 = 0, and 0 for one class."""
    if pred_probs.shape[1] == 1:
        return np.zeros(len(pred_probs))
    probs = pred_probs.astype(np.float64, copy=False)
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return -np.einsum("ij,ij->i", probs, logs) / np.log(probs.shape[1])


def check_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    """Raise InputError unless value is one of choices."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}: choose one of {', '.join(choices)}.")


def _score(labels: Ints, pred_probs: NDArray[Any], method: str) -> Floats:
    rows = np.arange(len(labels))
    own_prob = pred_probs[rows, labels].astype(np.float64)
    if method == "self_confidence":
        return own_prob
    if method == "confidence_weighted_entropy":
        return entropy_score(own_prob, normalized_entropy(pred_probs))
    others = pred_probs.copy()
    # Adjusted probabilities are never below 0, so -1 is below all of them.
    others[rows, labels] = -1
    return margin_score(own_prob, np.maximum(others.max(axis=1), 0))
