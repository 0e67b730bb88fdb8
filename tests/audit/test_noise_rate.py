"""The share of wrong labels and its interval, where the truth is known."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from labelwise.audit.cross_validation import cross_val_pred_probs
from labelwise.audit.noise_rate import estimate_noise
from labelwise.errors import InputError

Ints = np.ndarray
Floats = np.ndarray
DRAWS = 8


def uniform(truth: Ints, share: float, classes: int, rng: np.random.Generator) -> Ints:
    """A share of the labels moved to any other class."""
    moved = (truth + rng.integers(1, classes, len(truth))) % classes
    return np.where(rng.random(len(truth)) < share, moved, truth)


def to_the_next(truth: Ints, share: float, classes: int, rng: np.random.Generator) -> Ints:
    return np.where(rng.random(len(truth)) < share, (truth + 1) % classes, truth)


def of_class_0(truth: Ints, share: float, classes: int, rng: np.random.Generator) -> Ints:
    return np.where((truth == 0) & (rng.random(len(truth)) < share * classes), 1, truth)


Noise = Callable[[Ints, float, int, np.random.Generator], Ints]


def draw(classes: int, spread: float, noise: Noise, share: float, seed: int) -> tuple[Ints, Floats, Ints]:
    """Given labels, out-of-sample probabilities of a logistic regression, and true labels of 200 rows a class."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), 200)
    centres = spread * np.random.default_rng(99).normal(size=(classes, 6))
    inputs = centres[truth] + rng.normal(size=(len(truth), 6))
    given = noise(truth, share, classes, rng)
    probs = cross_val_pred_probs(LogisticRegression(), inputs, given, cv=3, num_classes=classes)
    return given, probs, truth


@pytest.mark.parametrize(
    ("classes", "spread", "noise", "share"),
    [
        (3, 1.6, uniform, 0.0),
        (3, 0.8, uniform, 0.1),
        (5, 1.6, uniform, 0.3),
        (5, 1.2, to_the_next, 0.3),
        (2, 1.6, of_class_0, 0.3),
    ],
)
def test_the_interval_holds_where_noise_depends_on_the_class_alone(
    classes: int, spread: float, noise: Noise, share: float
) -> None:
    misses = []
    for seed in range(DRAWS):
        given, probs, truth = draw(classes, spread, noise, share, seed)
        found = estimate_noise(given, probs, seed=seed)
        assert 0 <= found.low <= found.rate <= found.high <= 1
        rate = (given != truth).mean()
        misses.append(not found.low <= rate <= found.high)
    assert sum(misses) <= 1


def test_without_noise_it_reaches_down_to_none_and_says_so() -> None:
    given, probs, _ = draw(3, 0.5, uniform, 0.0, seed=0)
    found = estimate_noise(given, probs)
    assert found.low == 0
    assert any("may all be right" in note for note in found.notes)


def test_noise_between_look_alikes_is_told_low() -> None:
    """The limit that the module names: rows at a border whose labels went to the class beyond it look like overlap."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 600)
    inputs = 2.0 * truth + rng.normal(size=1200) - 1.0
    is_near = np.abs(inputs) < np.quantile(np.abs(inputs), 0.3)
    given = np.where(is_near, (inputs > 0).astype(int), truth)  # as one who sees nothing but the input would
    probs = cross_val_pred_probs(LogisticRegression(), inputs[:, None], given, num_classes=2)
    assert estimate_noise(given, probs).high < (given != truth).mean()


def test_the_noise_matrix_is_near_the_true_one() -> None:
    given, probs, truth = draw(4, 1.6, to_the_next, 0.25, seed=3)
    found = estimate_noise(given, probs)
    real = np.zeros((4, 4))
    np.add.at(real, (given, truth), 1)
    np.testing.assert_allclose(found.matrix, real / real.sum(axis=0), atol=0.1)
    np.testing.assert_allclose(found.matrix.sum(axis=0), 1)
    np.testing.assert_allclose(found.prior, 0.25, atol=0.06)


def test_a_seed_fixes_it_and_unlabelled_rows_say_nothing() -> None:
    given, probs, _ = draw(3, 1.2, uniform, 0.2, seed=1)
    found = estimate_noise(given, probs, seed=4)
    more_labels = np.concatenate([given, np.full(50, -1)])
    more_probs = np.concatenate([probs, np.full((50, 3), 1 / 3)])
    for again in (estimate_noise(given, probs, seed=4), estimate_noise(more_labels, more_probs, seed=4)):
        assert (again.rate, again.low, again.high) == (found.rate, found.low, found.high)


def test_nothing_known_is_everything_possible() -> None:
    found = estimate_noise(np.full(5, -1), np.full((5, 3), 1 / 3))
    assert (found.low, found.high) == (0, 1)
    assert found.notes


def test_many_classes_are_only_counted_and_a_note_says_so() -> None:
    labels = np.arange(202) % 101
    found = estimate_noise(labels, np.eye(101)[labels] * 0.99 + 0.01 / 101)
    assert found.rate == found.rate_counting == 0
    assert "only confident disagreements" in found.notes[0]


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_a_confidence_that_is_none(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence is"):
        estimate_noise([0, 1], [[0.5, 0.5], [0.5, 0.5]], confidence=confidence)
