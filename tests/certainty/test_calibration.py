"""Temperature and calibration measures against slow versions, scikit-learn, and temperatures put in by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss

from labelwise.certainty.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    area_under_risk_coverage,
    brier_score,
    excess_aurc,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    softmax,
)
from labelwise.errors import InputError
from labelwise.labels.noise import apply_matrix, pair_matrix, symmetric_matrix


def random_case(seed: int, rows: int = 200, classes: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.5), rows), rng.integers(0, classes, rows)


def slow_ece(probs: NDArray[np.float64], labels: NDArray[np.int64], n_bins: int) -> float:
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        rows = [i for i, p in enumerate(probs) if low < max(p) <= high]
        if rows:
            accuracy = sum(int(np.argmax(probs[i])) == labels[i] for i in rows) / len(rows)
            total += len(rows) * abs(accuracy - sum(max(probs[i]) for i in rows) / len(rows))
    return total / len(probs)


def slow_aurc(confidence: list[float], correct: list[bool]) -> float:
    ranked = [right for _, right in sorted(zip(confidence, correct, strict=True), key=lambda pair: -pair[0])]
    return sum(ranked[:k].count(False) / k for k in range(1, len(ranked) + 1)) / len(ranked)


def labelled_by_softmax(temperature: float, rows: int = 20_000) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits whose labels are drawn from ``softmax(logits / temperature)``."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (rows, 5))
    labels = (rng.random((rows, 1)) > np.cumsum(softmax(logits, temperature), axis=1)).sum(axis=1)
    return logits, np.minimum(labels, 4)


def test_softmax_survives_large_logits_and_no_rows() -> None:
    assert softmax([[1000.0, 0.0], [-1000.0, -1000.0]]).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert softmax(np.zeros((0, 3))).shape == (0, 3)
    assert softmax([[2.0, 0.0]], 2.0)[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_softmax_refuses_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        softmax([[1.0, 0.0]], temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    logits, labels = labelled_by_softmax(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("matrix", [symmetric_matrix(5, 0.4), pair_matrix(5, 0.3)], ids=["symmetric", "pair"])
def test_temperature_is_recovered_from_noisy_labels_only_with_the_matrix(matrix: NDArray[np.float64]) -> None:
    logits, labels = labelled_by_softmax(1.5)
    given = apply_matrix(labels, matrix, np.random.default_rng(0))
    assert fit_temperature(logits, given, matrix) == pytest.approx(1.5, rel=0.05)
    assert fit_temperature(logits, given) > 2.0


def test_temperature_is_the_best_of_a_grid() -> None:
    logits, labels = labelled_by_softmax(2.0, 300)
    best = fit_temperature(logits, labels)
    likelihood = log_loss(labels, softmax(logits, best), labels=range(5))
    assert all(
        likelihood <= log_loss(labels, softmax(logits, t), labels=range(5)) + 1e-9 for t in np.geomspace(0.1, 10)
    )


def test_temperature_stops_at_its_bounds() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, [0, 1]) == pytest.approx(LOWEST_TEMPERATURE, rel=0.01)
    assert fit_temperature(logits, [1, 0]) == pytest.approx(HIGHEST_TEMPERATURE, rel=0.01)


def test_temperature_ignores_unlabelled_rows() -> None:
    logits, labels = labelled_by_softmax(2.0, 300)
    more = np.vstack([logits, np.full((50, 5), 7.0)])
    assert fit_temperature(more, np.append(labels, np.full(50, -1))) == fit_temperature(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels", "matrix", "message"),
    [
        ([[1.0, 0.0]], [-1], None, "no known label"),
        (np.zeros((0, 2)), [], None, "no known label"),
        ([[np.nan, 0.0]], [0], None, "row 0, column 0 is nan"),
        ([[np.inf, 0.0]], [0], None, "row 0, column 0 is inf"),
        ([[1.0, 0.0]], [0, 1], None, "one row for each label"),
        ([[1.0, 0.0]], [2], None, "0 to 1"),
        ([1.0, 0.0], [0, 1], None, "shape"),
        ([[1.0, 0.0]], [0], np.eye(3), "3 classes"),
        ([[1.0, 0.0]], [0], [[0.5, 0.5], [0.1, 0.5]], "sums to"),
    ],
)
def test_temperature_refuses_bad_input(logits: object, labels: object, matrix: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_temperature(logits, labels, matrix)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_bins", [1, 2, 10, 15])
def test_calibration_error_is_that_of_the_slow_version(n_bins: int) -> None:
    for seed in range(5):
        probs, labels = random_case(seed)
        assert expected_calibration_error(probs, labels, n_bins) == pytest.approx(slow_ece(probs, labels, n_bins))


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probs = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    assert reliability_bins(probs, [0, 0, 0], 4).counts.tolist() == [0, 1, 1, 1]
    assert reliability_bins([[0.0, 0.0]], [0], 4).counts.tolist() == [1, 0, 0, 0]


def test_empty_bins_hold_zero() -> None:
    bins = reliability_bins([[0.9, 0.1], [0.9, 0.1]], [0, 1], 10)
    assert bins.counts.tolist() == [0] * 8 + [2, 0]
    assert bins.accuracy[8] == 0.5
    assert bins.confidence.sum() == pytest.approx(0.9)


def test_equally_probable_classes_predict_the_first() -> None:
    assert reliability_bins([[0.5, 0.5], [0.5, 0.5]], [0, 1], 1).accuracy.tolist() == [0.5]


def test_no_bin_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        reliability_bins([[1.0, 0.0]], [0], 0)


def test_likelihood_and_brier_are_those_of_sklearn() -> None:
    probs, labels = random_case(1)
    assert negative_log_likelihood(probs, labels) == pytest.approx(log_loss(labels, probs, labels=range(4)))
    multiclass = brier_score_loss(labels, probs, labels=range(4), scale_by_half=False)
    assert brier_score(probs, labels) == pytest.approx(multiclass)


def test_brier_of_two_classes_is_twice_that_of_sklearn() -> None:
    probs, labels = random_case(2, classes=2)
    assert brier_score(probs, labels) == pytest.approx(2 * brier_score_loss(labels, probs[:, 1]))


def test_extremes_of_the_measures() -> None:
    sure = np.eye(3)
    assert brier_score(sure, [0, 1, 2]) == 0.0
    assert brier_score(sure, [1, 2, 0]) == 2.0
    assert negative_log_likelihood(sure, [0, 1, 2]) == 0.0
    assert negative_log_likelihood(sure, [1, 2, 0]) == pytest.approx(-np.log(1e-12))
    assert expected_calibration_error(sure, [0, 1, 2]) == 0.0
    assert expected_calibration_error(sure, [1, 2, 0]) == 1.0


@pytest.mark.parametrize("measure", [expected_calibration_error, negative_log_likelihood, brier_score])
def test_measures_without_known_rows_are_zero(measure: object) -> None:
    assert measure([[0.5, 0.5], [1.0, 0.0]], [-1, -1]) == 0.0  # type: ignore[operator]
    assert measure(np.zeros((0, 2)), []) == 0.0  # type: ignore[operator]


@pytest.mark.parametrize("measure", [expected_calibration_error, negative_log_likelihood, brier_score])
def test_measures_refuse_nan_and_wrong_lengths(measure: object) -> None:
    with pytest.raises(InputError, match="row 0, column 0 is nan"):
        measure([[np.nan, 0.5]], [0])  # type: ignore[operator]
    with pytest.raises(InputError, match="one row for each label"):
        measure([[0.5, 0.5]], [0, 1])  # type: ignore[operator]


def test_risk_coverage_is_that_of_the_slow_version() -> None:
    rng = np.random.default_rng(0)
    for rows in (1, 2, 7, 100):
        confidence, correct = rng.random(rows).round(1), rng.random(rows) < 0.7
        assert area_under_risk_coverage(confidence, correct) == pytest.approx(
            slow_aurc(confidence.tolist(), correct.tolist())
        )


def test_excess_is_the_area_beyond_the_best_order_of_all() -> None:
    rng = np.random.default_rng(1)
    for rows in (1, 5, 50):
        confidence, correct = rng.random(rows), rng.random(rows) < 0.6
        best = slow_aurc(correct.astype(float).tolist(), correct.tolist())
        excess = excess_aurc(confidence, correct)
        assert excess == pytest.approx(area_under_risk_coverage(confidence, correct) - best, abs=1e-12)
        assert excess >= -1e-12


def test_risk_coverage_at_its_extremes() -> None:
    assert area_under_risk_coverage([], []) == excess_aurc([], []) == 0.0
    assert area_under_risk_coverage([0.1, 0.9], [True, True]) == 0.0
    assert area_under_risk_coverage([0.1, 0.9], [False, False]) == 1.0
    assert excess_aurc([0.1, 0.9], [False, False]) == pytest.approx(0.0)


def test_ties_of_confidence_keep_their_order() -> None:
    assert area_under_risk_coverage([0.5, 0.5], [True, False]) == 0.25
    assert area_under_risk_coverage([0.5, 0.5], [False, True]) == 0.75


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [([0.1], [True, False], "one of each a row"), ([np.nan], [True], "row 0 is nan"), ([0.1], [2], "neither true")],
)
def test_risk_coverage_refuses_bad_input(confidence: list[float], correct: list[bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        area_under_risk_coverage(confidence, correct)
