"""How many labels are wrong, and how they go wrong, with an interval.

Two views of the same out-of-sample probabilities q (n, K) err on opposite sides.

*Likelihood* (after Sukhbaatar et al., 2015, and Patrini et al., CVPR 2017). True classes follow
``c_i = softmax(s log q_i + b)`` and given labels ``P(given = j | i) = sum_k T[j, k] c_ik``; s, b and the noise matrix
T are those that make the given labels most likely. It assumes that a wrong label depends on the row through its true
class alone. Where hard rows are mislabelled more often than easy ones, as with people, some of that noise looks like
overlap of the classes, so this view errs low.

*Counting* (confident learning, Northcutt et al., 2021). The calibrated confident joint counts rows that look
confidently like another class. The model's own errors on hard rows are counted too, so this view errs high.

The likelihood view errs low also where the model has learnt the noise so well that its probabilities are those of the
given labels, with nothing left for T to explain: classes that overlap and labels that are wrong then look alike.

The estimate lies between the two, ``COUNTING_WEIGHT`` of the way from the first to the second; the interval reaches
from the first to the second, widened on both sides by the sampling error of a bootstrap over rows. A model that
over-fits wrong labels makes confident errors on other rows, which both views count; so the lower end goes further down
by the views' difference, at most ``MODEL_ERROR`` (on scikit-learn's digits and CIFAR-10N, over-fitted logistic
regressions put the likelihood view 1 to 6 points too high). It reaches down to 0 where a likelihood-ratio test does not
reject that all labels are right. Notes say so, and where the views differ by more than ``LARGEST_DIFFERENCE``. The
interval holds as long as the truth lies between what the two views can mistake; it does not where wrong labels follow
from the input itself, which nothing in labels and probabilities can show.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import chdtri, ndtri

from labelwise.audit.confident_learning import calibrate_confident_joint, confident_joint
from labelwise.errors import InputError
from labelwise.labels.check import check_labels_and_pred_probs

Array = NDArray[np.float64]

COUNTING_WEIGHT = 0.25
# Most that the lower end allows for errors of the model, beyond the sampling error.
MODEL_ERROR = 0.05
# The views must differ by more than this for a note to say that they do.
LARGEST_DIFFERENCE = 0.05
# Beyond these the likelihood is fitted on a random part of the rows, or not at all.
MOST_ROWS = 20_000
MOST_CLASSES = 100
BOOTSTRAP_ROUNDS = 20
BOOTSTRAP_ROWS = 5_000


class NoiseEstimate(NamedTuple):
    """Share of wrong labels with an interval, and the noise matrix behind it.

    ``matrix`` is (K, K), entry [given, true], columns sum to 1; ``prior`` (K,) the shares of the true classes.
    ``rate_likelihood`` and ``rate_counting`` are the two views; ``notes`` are sentences for the report.
    """

    rate: float
    low: float
    high: float
    matrix: Array
    prior: Array
    rate_likelihood: float
    rate_counting: float
    notes: tuple[str, ...] = ()


class NoiseModel(NamedTuple):
    """The likelihood's parameters: sharpness s, class offsets b (K,), noise matrix T (K, K) [given, true]."""

    sharpness: float
    offsets: Array
    matrix: Array


def estimate_noise(
    labels: ArrayLike, pred_probs: ArrayLike, *, seed: int = 0, confidence: float = 0.95
) -> NoiseEstimate:
    """Estimate the share of wrong labels from given labels and out-of-sample probabilities.

    ``labels`` (n,) int64, -1 left out; ``pred_probs`` (n, K) of a model that was trained on such labels but not on the
    row it predicts. Without known labels the interval is [0, 1]. Raises InputError for labels or probabilities that
    are none. Cost: some hundred passes over at most 20,000 rows; with more than 100 classes only the counting view is
    taken, and a note says so.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence}; give the share of intervals that hold, above 0 and below 1")
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    known = given >= 0
    given, probs = given[known], probs[known].astype(np.float64)
    classes = probs.shape[1]
    if not len(given):
        note = "No label is known, so nothing can be said about wrong ones."
        return NoiseEstimate(0.0, 0.0, 1.0, np.eye(classes), np.full(classes, 1 / classes), 0.0, 0.0, (note,))
    rng = np.random.default_rng(seed)

    counting, counted = _counting(given, probs)
    if classes > MOST_CLASSES:
        low, high, note = counting_interval(counting, len(given), classes, confidence=confidence)
        return NoiseEstimate(counting, low, high, counted, _prior(given, counted), counting, counting, (note,))

    width, spread = ndtri(0.5 + confidence / 2), _sampling_error(counting, len(given))
    notes = []
    if len(given) > MOST_ROWS:
        rows = rng.choice(len(given), MOST_ROWS, replace=False)
        notes.append(f"The noise model was fitted on {MOST_ROWS:,} rows drawn at random.")
        given, probs = given[rows], probs[rows]
    logs = np.log(np.clip(probs, 1e-6, 1.0))
    model = fit_noise_model(given, logs)
    rate = _rate(model, given, logs)
    error = max(_bootstrap_error(model, given, logs, rng), spread)
    may_be_right = not _noise_is_needed(model, given, logs, confidence)
    if may_be_right:
        notes.append("The labels may all be right: overlap of the classes would explain them as well as noise does.")
    if abs(rate - counting) > LARGEST_DIFFERENCE:
        notes.append(
            f"Two ways of estimating the share of wrong labels differ: {rate:.0%} and {counting:.0%}. Classes that "
            "overlap look like wrong labels here, so rely on the interval, not on the single figure."
        )
    lower, upper = min(rate, counting), max(rate, counting)
    matrix = (1 - COUNTING_WEIGHT) * model.matrix + COUNTING_WEIGHT * counted
    return NoiseEstimate(
        rate=(1 - COUNTING_WEIGHT) * rate + COUNTING_WEIGHT * counting,
        low=0.0 if may_be_right else max(0.0, lower - min(upper - lower, MODEL_ERROR) - width * error),
        high=min(1.0, upper + width * error),
        matrix=matrix,
        prior=_prior(given, matrix),
        rate_likelihood=rate,
        rate_counting=counting,
        notes=tuple(notes),
    )


def counting_interval(
    rate: float, num_rows: int, num_classes: int, *, confidence: float = 0.95
) -> tuple[float, float, str]:
    """Ends of the interval where a rate was only counted, by its sampling error, and a note that says so."""
    reach = float(ndtri(0.5 + confidence / 2)) * _sampling_error(rate, num_rows)
    note = f"With {num_classes} classes only confident disagreements were counted, which errs on the high side."
    return max(0.0, rate - reach), min(1.0, rate + reach), note


def _sampling_error(rate: float, num_rows: int) -> float:
    return float(np.sqrt(max(rate * (1 - rate), 1 / num_rows) / num_rows))


def fit_noise_model(
    labels: NDArray[np.int64], logs: Array, *, start: NoiseModel | None = None, steps: int = 200
) -> NoiseModel:
    """Fit sharpness, offsets and noise matrix by maximum likelihood (L-BFGS with the exact gradient).

    ``labels`` (n,) int64 without -1, ``logs`` (n, K) logarithms of the probabilities. The matrix starts with 0.9 on
    its diagonal, which settles which column belongs to which class.
    """
    count, classes = logs.shape
    onehot = _onehot(labels, classes)
    if start is None:
        start = NoiseModel(1.0, np.zeros(classes), np.eye(classes) * (0.9 - 0.1 / classes) + 0.1 / classes)
    first = np.concatenate([[np.log(start.sharpness)], start.offsets, np.log(np.maximum(start.matrix, 1e-6)).ravel()])

    def objective(parameters: Array) -> tuple[float, Array]:
        model = _unpack(parameters, classes)
        clean = _clean_probs(model, logs)  # (n, K)
        joint = clean * model.matrix[labels]  # (n, K) P(given, true = k)
        likely = np.maximum(joint.sum(axis=1), 1e-300)  # (n,)
        posterior = joint / likely[:, None]  # (n, K) P(true = k | given)
        by_label = onehot.T @ posterior  # (K, K) [given, true]
        pull = (clean - posterior) / count  # gradient in the scores s log q + b
        matrix_gradient = (model.matrix * by_label.sum(axis=0) - by_label) / count
        gradient = [[model.sharpness * (pull * logs).sum()], pull.sum(axis=0), matrix_gradient.ravel()]
        return float(-np.log(likely).mean()), np.concatenate(gradient)

    found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return _unpack(found.x, classes)


def posterior_true(labels: NDArray[np.int64], logs: Array, model: NoiseModel) -> Array:
    """P(true = k | given label, row) under the model, (n, K)."""
    joint = _clean_probs(model, logs) * model.matrix[labels]
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)


def _bootstrap_error(model: NoiseModel, labels: NDArray[np.int64], logs: Array, rng: np.random.Generator) -> float:
    """Standard deviation of the rate when the model is fitted anew on rows drawn with replacement."""
    rates = []
    size = min(len(labels), BOOTSTRAP_ROWS)
    for _ in range(BOOTSTRAP_ROUNDS):
        rows = rng.integers(0, len(labels), size)
        drawn, drawn_logs = labels[rows], logs[rows]
        rates.append(_rate(fit_noise_model(drawn, drawn_logs, start=model, steps=15), drawn, drawn_logs))
    # The error of a mean over fewer rows, brought to that over all.
    return float(np.std(rates, ddof=1) * np.sqrt(size / len(labels)))


def _noise_is_needed(model: NoiseModel, labels: NDArray[np.int64], logs: Array, confidence: float) -> bool:
    """Likelihood-ratio test of the noise matrix against the identity, s and b fitted in both."""
    count, classes = logs.shape
    onehot = _onehot(labels, classes)

    def without_noise(parameters: Array) -> tuple[float, Array]:
        clean = _clean_probs(NoiseModel(float(np.exp(parameters[0])), parameters[1:], np.eye(classes)), logs)
        pull = (clean - onehot) / count  # (n, K)
        gradient = [[np.exp(parameters[0]) * (pull * logs).sum()], pull.sum(axis=0)]
        likely = np.maximum(clean[np.arange(count), labels], 1e-300)
        return float(-np.log(likely).mean()), np.concatenate(gradient)

    bounds = [(-5.0, 5.0)] + [(-30.0, 30.0)] * classes
    found = minimize(without_noise, np.zeros(1 + classes), jac=True, method="L-BFGS-B", bounds=bounds)
    likely = (_clean_probs(model, logs) * model.matrix[labels]).sum(axis=1)
    gain = 2.0 * (np.log(np.maximum(likely, 1e-300)).sum() + count * found.fun)
    used = len(np.unique(labels))
    return bool(gain > chdtri(max(used * (used - 1), 1), 1 - confidence))


def _onehot(labels: NDArray[np.int64], classes: int) -> csr_array:
    count = len(labels)
    return csr_array((np.ones(count), labels, np.arange(count + 1)), shape=(count, classes))


def _rate(model: NoiseModel, labels: NDArray[np.int64], logs: Array) -> float:
    posterior = posterior_true(labels, logs, model)
    return float(1.0 - posterior[np.arange(len(labels)), labels].mean())


def _unpack(parameters: Array, classes: int) -> NoiseModel:
    scores = parameters[1 + classes :].reshape(classes, classes)
    matrix = np.exp(scores - scores.max(axis=0))
    sharpness = float(np.exp(np.clip(parameters[0], -5.0, 5.0)))
    return NoiseModel(sharpness, parameters[1 : 1 + classes], matrix / matrix.sum(axis=0))


def _clean_probs(model: NoiseModel, logs: Array) -> Array:
    scores = model.sharpness * logs + model.offsets
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _counting(labels: NDArray[np.int64], probs: Array) -> tuple[float, Array]:
    """Rate and noise matrix by the calibrated confident joint; a class without counts keeps its labels."""
    joint = calibrate_confident_joint(confident_joint(labels, probs, calibrate=False), labels).astype(np.float64)
    columns = joint.sum(axis=0)
    matrix = np.where(columns > 0, joint / np.maximum(columns, 1.0), np.eye(len(joint)))
    return float(1.0 - np.trace(joint) / max(joint.sum(), 1.0)), matrix


def _prior(labels: NDArray[np.int64], matrix: Array) -> Array:
    """Shares of the true classes that explain the given ones, by expectation maximisation."""
    classes = len(matrix)
    given = np.bincount(labels, minlength=classes) / len(labels)
    prior = given.copy() + 1e-12
    for _ in range(200):
        explained = np.maximum(matrix @ prior, 1e-300)
        prior = prior * (matrix.T @ (given / explained))
        prior /= prior.sum()
    return prior
