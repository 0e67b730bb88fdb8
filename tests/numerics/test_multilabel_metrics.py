"""Metrics of multi-labels against scikit-learn's, with unknown entries, ties and empty classes."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from labelwise.numerics.multilabel_metrics import average_precision, f1_scores, mean_average_precision


def draw(seed: int, *, unknown: float = 0.0, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, classes), of which half the cases have ties, and labels."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 60)), int(rng.integers(least, 6)))
    labels = (rng.random(shape) < rng.uniform(0.1, 0.9, shape[1])).astype(np.int64)
    scores = rng.normal(size=shape) + labels
    labels[rng.random(shape) < unknown] = -1
    return np.round(scores, 1) if seed % 2 else scores, labels


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_scikit_learn(seed: int) -> None:
    scores, labels = draw(seed, unknown=0.3)
    expected = []
    for k in range(labels.shape[1]):
        known = labels[:, k] >= 0
        has_positive = (labels[:, k] == 1).any()
        expected.append(average_precision_score(labels[known, k], scores[known, k]) if has_positive else 0.0)
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=1e-12)
    has_positive = (labels == 1).any(axis=0)
    mean = np.mean(np.array(expected)[has_positive]) if has_positive.any() else 0.0
    assert mean_average_precision(scores, labels) == pytest.approx(mean)


@pytest.mark.parametrize("seed", range(20))
def test_f1_is_that_of_scikit_learn(seed: int) -> None:
    scores, labels = draw(seed, least=2)  # one column scikit-learn takes for two classes
    found = f1_scores(scores > 0.5, labels)
    for average in ("micro", "macro"):
        expected = f1_score(labels, (scores > 0.5).astype(int), average=average, zero_division=0)
        assert getattr(found, average) == pytest.approx(expected)


def test_unknown_entries_do_not_count() -> None:
    scores, labels = draw(2, unknown=0.4)
    said = scores > 0.5
    changed = scores.copy()
    changed[labels == -1] = 100
    assert np.array_equal(average_precision(changed, labels), average_precision(scores, labels))
    assert f1_scores(changed > 0.5, labels) == f1_scores(said, labels)
    known = [(said[:, k][labels[:, k] >= 0], labels[:, k][labels[:, k] >= 0]) for k in range(labels.shape[1])]
    macro = np.mean([f1_score(truth, guess, zero_division=0) for guess, truth in known])
    assert f1_scores(said, labels).macro == pytest.approx(macro)


def test_boundary_rows_give_numbers() -> None:
    empty = np.zeros((0, 2)), np.zeros((0, 2), dtype=np.int64)
    unknown = np.ones((3, 2)), -np.ones((3, 2), dtype=np.int64)
    for scores, labels in (empty, unknown):
        assert mean_average_precision(scores, labels) == 0
        assert f1_scores(scores > 0, labels) == (0, 0)
    assert f1_scores(np.zeros((3, 0)), np.zeros((3, 0), dtype=np.int64)) == (0, 0)
    ones = np.ones((4, 1), dtype=np.int64)
    assert mean_average_precision(np.zeros((4, 1)), ones) == 1
    assert mean_average_precision(np.array([[np.inf], [np.inf], [0.0]]), np.array([[1], [0], [0]])) == 0.5
    assert f1_scores(ones, ones) == (1, 1)
