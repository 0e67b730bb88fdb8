"""Noise models against the binomial law: rates, transition matrices, what may never change, what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency

from labelwise.errors import InputError
from labelwise.labels.noise import (
    CIFAR10_PAIRS,
    apply_matrix,
    check_noise_matrix,
    drop_labels,
    empirical_matrix,
    human_votes,
    instance_dependent,
    miss_positives,
    move_symmetric,
    noise_rate,
    pair_matrix,
    redraw_symmetric,
    scale_noise,
    symmetric_matrix,
)

# A right model fails a comparison so often; the seeds are fixed, so it either passes or does not.
RARE = 1e-4
ASYMMETRIC = np.array([[0.7, 0.0, 0.1, 0.0], [0.2, 1.0, 0.3, 0.0], [0.1, 0.0, 0.6, 0.5], [0.0, 0.0, 0.0, 0.5]])

Noise = Callable[[Any, np.random.Generator], np.ndarray]


def noises(num_classes: int, rate: float) -> dict[str, Noise]:
    """Every noise model with one rate; the features of a row are drawn from its own number."""

    def by_features(labels: Any, rng: np.random.Generator) -> np.ndarray:
        features = np.random.default_rng(0).normal(size=(len(labels), 6))
        return instance_dependent(labels, features, rate, num_classes, rng)

    return {
        "symmetric matrix": lambda y, rng: apply_matrix(y, symmetric_matrix(num_classes, rate), rng),
        "others matrix": lambda y, rng: apply_matrix(y, symmetric_matrix(num_classes, rate, include_self=False), rng),
        "pairs": lambda y, rng: apply_matrix(y, pair_matrix(num_classes, rate), rng),
        "redraw": lambda y, rng: redraw_symmetric(y, rate, num_classes, rng),
        "move": lambda y, rng: move_symmetric(y, rate, num_classes, rng),
        "instance": by_features,
    }


NAMES = list(noises(2, 0.5))


def share_of_wrong(name: str, num_classes: int, rate: float) -> float:
    """How many labels end wrong where the label itself is (or is not) among what is drawn."""
    return rate * (num_classes - 1) / num_classes if name in ("symmetric matrix", "redraw") else rate


def assert_binomial(count: int, total: int, share: float) -> None:
    if share in (0.0, 1.0):
        assert count == share * total
    else:
        assert binomtest(int(count), int(total), share).pvalue > RARE


def assert_follows(given: np.ndarray, truth: np.ndarray, matrix: np.ndarray) -> None:
    """Each count of [given, true] lies within the binomial limits of the matrix."""
    for true in range(len(matrix)):
        rows = given[truth == true]
        for label in range(len(matrix)):
            assert_binomial((rows == label).sum(), len(rows), matrix[label, true])


# --- rates and transition matrices


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("num_classes", "rate"), [(2, 0.3), (4, 0.2), (5, 0.8), (10, 0.45), (3, 0.02), (3, 0.97)])
def test_the_rate_is_the_one_asked_for(name: str, num_classes: int, rate: float) -> None:
    truth = np.arange(8000) % num_classes
    rng = np.random.default_rng(1)
    wrong = np.mean([(noises(num_classes, rate)[name](truth, rng) != truth) for _ in range(5)], axis=0)
    share = share_of_wrong(name, num_classes, rate)
    assert_binomial(round(wrong.sum() * 5), 5 * len(truth), share)
    for true in range(num_classes):
        rows = wrong[truth == true]
        assert_binomial(round(rows.sum() * 5), 5 * len(rows), share)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("symmetric matrix", 0.6 * np.eye(4) + 0.1),
        ("redraw", 0.6 * np.eye(4) + 0.1),
        ("others matrix", 0.6 * np.eye(4) + 0.4 / 3 * (1 - np.eye(4))),
        ("move", 0.6 * np.eye(4) + 0.4 / 3 * (1 - np.eye(4))),
        ("pairs", 0.6 * np.eye(4) + 0.4 * np.roll(np.eye(4), 1, axis=0)),
    ],
)
def test_labels_go_where_they_should(name: str, matrix: np.ndarray) -> None:
    truth = np.repeat(np.arange(4), [4000, 3000, 2000, 1000])
    rng = np.random.default_rng(2)
    given = np.concatenate([noises(4, 0.4)[name](truth, rng) for _ in range(5)])
    assert_follows(given, np.tile(truth, 5), matrix)


def test_a_matrix_is_read_by_column() -> None:
    truth = np.repeat(np.arange(4), [9000, 100, 5000, 2000])
    given = apply_matrix(truth, ASYMMETRIC, np.random.default_rng(3))
    assert_follows(given, truth, ASYMMETRIC)
    np.testing.assert_allclose(empirical_matrix(given, truth, 4), ASYMMETRIC, atol=0.05)


def test_rows_are_drawn_independently() -> None:
    """Neighbouring rows, and a second draw from the same generator, know nothing of each other."""
    truth = np.zeros(20000, dtype=np.int64)
    rng = np.random.default_rng(4)
    first, second = (apply_matrix(truth, symmetric_matrix(3, 0.6), rng) for _ in range(2))
    for one, other in ((first[:-1], first[1:]), (first, second)):
        table = np.bincount(3 * one + other, minlength=9).reshape(3, 3)
        assert chi2_contingency(table).pvalue > RARE


@pytest.mark.parametrize("rate", [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_counts_are_exact_where_they_are_promised(rate: float, count: int) -> None:
    """`redraw_symmetric` draws so many of all, `move_symmetric` moves so many of each class."""
    truth = np.repeat([0, 1, 2], [count, 1, 3])
    for seed in range(20):
        moved = move_symmetric(truth, rate, 3, np.random.default_rng(seed))
        for true, size in ((0, count), (1, 1), (2, 3)):
            assert (moved[truth == true] != true).sum() == round(rate * size)
        # Over very many classes a drawn label is never its own: what is redrawn can be counted.
        redrawn = redraw_symmetric(truth, rate, 2**40, np.random.default_rng(seed))
        assert (redrawn != truth).sum() == round(rate * len(truth))


def test_redrawn_rows_are_chosen_uniformly() -> None:
    truth = np.arange(10) % 2
    rng = np.random.default_rng(5)
    changed = sum(redraw_symmetric(truth, 0.5, 2**40, rng) != truth for _ in range(2000))
    for count in changed:
        assert_binomial(count, 2000, 0.5)


def test_closed_forms() -> None:
    np.testing.assert_allclose(symmetric_matrix(2, 0.4), [[0.8, 0.2], [0.2, 0.8]])
    np.testing.assert_allclose(symmetric_matrix(2, 0.4, include_self=False), [[0.6, 0.4], [0.4, 0.6]])
    np.testing.assert_allclose(symmetric_matrix(3, 1.0), np.full((3, 3), 1 / 3))
    np.testing.assert_allclose(symmetric_matrix(3, 1.0, include_self=False), (1 - np.eye(3)) / 2)
    np.testing.assert_allclose(pair_matrix(3, 0.25), [[0.75, 0, 0.25], [0.25, 0.75, 0], [0, 0.25, 0.75]])
    np.testing.assert_allclose(pair_matrix(3, 0.25, {0: 2}), [[0.75, 0, 0], [0, 1, 0], [0.25, 0, 1]])
    np.testing.assert_allclose(pair_matrix(2, 0.5, {0: 0}), np.eye(2))
    for rate in (0.0, 0.3, 1.0):
        for matrix in (symmetric_matrix(5, rate), symmetric_matrix(5, rate, include_self=False), pair_matrix(5, rate)):
            np.testing.assert_allclose(check_noise_matrix(matrix, 5), matrix)


def test_the_two_conventions_meet_in_the_wrong_share() -> None:
    """Redrawing a share e over all K classes is moving e (K - 1) / K to the others."""
    np.testing.assert_allclose(symmetric_matrix(10, 0.5), symmetric_matrix(10, 0.45, include_self=False))


def test_confusions_of_cifar10() -> None:
    classes = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    named = {(classes[true], classes[given]) for true, given in CIFAR10_PAIRS.items()}
    assert named == {("truck", "car"), ("bird", "plane"), ("cat", "dog"), ("dog", "cat"), ("deer", "horse")}
    truth = np.arange(20000) % 10
    given = apply_matrix(truth, pair_matrix(10, 0.4, CIFAR10_PAIRS), np.random.default_rng(6))
    for true in range(10):
        assert_binomial((given[truth == true] != true).sum(), 2000, 0.4 if true in CIFAR10_PAIRS else 0.0)


def test_scaled_noise_has_so_many_times_the_wrong_labels() -> None:
    np.testing.assert_allclose(scale_noise(ASYMMETRIC, 0.0), np.eye(4))
    np.testing.assert_allclose(scale_noise(ASYMMETRIC, 1.0), ASYMMETRIC)
    for factor in (0.5, 1.5, 2.0, 100.0):
        scaled = check_noise_matrix(scale_noise(ASYMMETRIC, factor))
        ratio = (1 - scaled.diagonal()) / np.maximum(1 - ASYMMETRIC.diagonal(), 1e-12)
        np.testing.assert_allclose(ratio, [min(factor, 2.0), 0, min(factor, 2.0), min(factor, 2.0)])
    np.testing.assert_allclose(scale_noise(np.eye(3), 7.0), np.eye(3))


# --- noise that depends on the input


def two_kinds(n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of 5 classes, features that take two values, and which value each row has."""
    kind = np.arange(n) // 5 % 2
    features = np.array([[1.0, 0.0, 2.0, 5.0], [-1.0, 3.0, 0.0, -5.0]])[kind]
    return np.arange(n) % 5, features, kind


def p_value_of_kind(given: np.ndarray, truth: np.ndarray, kind: np.ndarray, true: int) -> float:
    """Whether the wrong labels of one class follow the kind of row, by the chi-squared test."""
    wrong = (truth == true) & (given != true)
    table = np.bincount(5 * kind[wrong] + given[wrong], minlength=10).reshape(2, 5)
    return float(chi2_contingency(np.delete(table, true, axis=1)).pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_instance_dependent_noise_follows_the_input(seed: int) -> None:
    truth, features, kind = two_kinds()
    given = instance_dependent(truth, features, 0.5, 5, np.random.default_rng(seed))
    assert all(p_value_of_kind(given, truth, kind, true) < 1e-6 for true in range(5))
    assert_binomial((given != truth).sum(), len(truth), 0.5)
    # The same rows with features that tell nothing, and the noise of a matrix, do not.
    shuffled = np.random.default_rng(seed).permutation(kind)
    plain = apply_matrix(truth, symmetric_matrix(5, 0.5, include_self=False), np.random.default_rng(seed))
    assert all(p_value_of_kind(given, truth, shuffled, true) > RARE for true in range(5))
    assert all(p_value_of_kind(plain, truth, kind, true) > RARE for true in range(5))


def test_each_class_has_a_confusion_of_its_own() -> None:
    """Rows with the same features but other true classes are confused with other classes."""
    truth, features, kind = two_kinds(20000)
    given = instance_dependent(truth, features, 1.0, 5, np.random.default_rng(0))
    for k in (0, 1):
        table = [np.bincount(given[(kind == k) & (truth == true)], minlength=5)[2:] for true in (0, 1)]
        assert chi2_contingency(table).pvalue < 1e-6


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 0.95])
def test_instance_dependent_rate_near_the_ends(rate: float) -> None:
    """Cutting the rows' flip probabilities at 0 and 1 must not move their mean."""
    truth = np.arange(50000) % 3
    features = np.random.default_rng(1).normal(size=(50000, 2))
    given = instance_dependent(truth, features, rate, 3, np.random.default_rng(2))
    assert_binomial((given != truth).sum(), 50000, rate)


def test_instance_dependent_noise_takes_features_of_any_shape_and_scale() -> None:
    truth, features, _ = two_kinds(500)

    def draw(inputs: np.ndarray) -> list[int]:
        return instance_dependent(truth, inputs, 0.5, 5, np.random.default_rng(3)).tolist()

    expected = draw(features)
    assert draw(features.reshape(500, 2, 2)) == expected
    assert draw(1e6 * features + 17.0) == expected
    assert draw(features * np.array([1.0, 10.0, 1e-3, 7.0])) == expected
    for odd in (np.zeros((500, 3)), np.zeros((500, 0)), np.arange(500), features.astype(np.uint8)):
        assert_binomial((np.array(draw(odd)) != truth).sum(), 500, 0.5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((4, 2)), "give one row for each label"),
        (3.0, "give one row for each label"),
        ([[0.0, 1.0], [np.nan, 0.0], [0.0, 0.0]], "features row 1, column 0 is nan"),
        ([[0.0, 1.0], [0.0, 0.0], [0.0, -np.inf]], "features row 2, column 1 is -inf"),
    ],
)
def test_bad_features_are_refused(features: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        instance_dependent([0, 1, 0], features, 0.2, 2, np.random.default_rng(0))


# --- votes


def test_votes_err_by_each_workers_own_matrix_and_independently() -> None:
    truth = np.arange(20000) % 4
    workers = np.stack([ASYMMETRIC, symmetric_matrix(4, 0.5), np.eye(4)])
    votes = human_votes(truth, workers, np.random.default_rng(7))
    assert votes.shape == (20000, 3)
    for worker, matrix in enumerate(workers):
        assert_follows(votes[:, worker], truth, matrix)
    for true in range(4):
        rows = votes[truth == true]
        table = np.bincount(4 * rows[:, 0] + rows[:, 1], minlength=16).reshape(4, 4)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        assert len(table) == 1 or chi2_contingency(table).pvalue > RARE


def test_votes_on_unlabelled_rows_are_unknown() -> None:
    votes = human_votes([-1, 0, -1], np.stack([symmetric_matrix(2, 1.0)] * 2), np.random.default_rng(0))
    assert votes[[0, 2]].tolist() == [[-1, -1], [-1, -1]]
    assert set(votes[1]) <= {0, 1}


@pytest.mark.parametrize("matrices", [np.eye(2), np.zeros((0, 2, 2)), 3.0, np.full((1, 2, 2), 0.7)])
def test_bad_workers_are_refused(matrices: Any) -> None:
    with pytest.raises(InputError, match="matri"):
        human_votes([0, 1], matrices, np.random.default_rng(0))


# --- what holds for all


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_labels(name: str) -> None:
    truth = np.arange(300) % 3
    noise = noises(3, 0.5)[name]
    first = noise(truth, np.random.default_rng(8))
    assert np.array_equal(noise(truth, np.random.default_rng(8)), first)
    assert not np.array_equal(noise(truth, np.random.default_rng(9)), first)
    moving = np.random.default_rng(8)
    assert np.array_equal(noise(truth, moving), first)
    assert not np.array_equal(noise(truth, moving), first)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_global_is_drawn_from_and_true_labels_stay(name: str) -> None:
    truth = np.arange(50) % 3
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    given = noises(3, 0.9)[name](truth, np.random.default_rng(0))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert np.array_equal(truth, np.arange(50) % 3)
    assert given is not truth
    assert given.dtype == np.int64


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_unlabelled_rows_stay_unlabelled(name: str, rate: float) -> None:
    truth = np.where(np.arange(90) % 4 == 0, -1, np.arange(90) % 3)
    given = noises(3, rate)[name](truth, np.random.default_rng(0))
    assert np.array_equal(given == -1, truth == -1)
    assert given.max() <= 2
    nothing = noises(3, rate)[name]([-1, -1], np.random.default_rng(0))
    assert nothing.tolist() == [-1, -1]


@pytest.mark.parametrize("name", NAMES)
def test_rates_of_0_and_1(name: str) -> None:
    truth = np.arange(3000) % 3
    assert np.array_equal(noises(3, 0.0)[name](truth, np.random.default_rng(0)), truth)
    all_wrong = noises(3, 1.0)[name](truth, np.random.default_rng(0))
    if name in ("symmetric matrix", "redraw"):
        assert_binomial((all_wrong == truth).sum(), 3000, 1 / 3)
    else:
        assert not (all_wrong == truth).any()


@pytest.mark.parametrize("name", NAMES)
def test_one_class_alone_and_empty_classes(name: str) -> None:
    alone = np.zeros(400, dtype=np.int64)
    given = noises(5, 0.5)[name](alone, np.random.default_rng(0))
    assert_binomial((given != 0).sum(), 400, share_of_wrong(name, 5, 0.5))
    assert set(given) == ({0, 1} if name == "pairs" else {0, 1, 2, 3, 4})
    assert noises(1, 0.0)[name]([0, 0, -1], np.random.default_rng(0)).tolist() == [0, 0, -1]
    if name in ("others matrix", "move", "instance"):
        with pytest.raises(InputError, match="num_classes is 1: labels can move"):
            noises(1, 0.5)[name]([0, 0], np.random.default_rng(0))
    else:
        assert noises(1, 0.5)[name]([0, 0, -1], np.random.default_rng(0)).tolist() == [0, 0, -1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan, np.inf])
def test_rates_that_are_none_are_refused(name: str, rate: float) -> None:
    with pytest.raises(InputError, match="give the share of labels as a number from 0 to 1"):
        noises(3, rate)[name]([0, 1, 2], np.random.default_rng(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 3], "row 1 is 3: give classes 0 to 2"), ([0, -2], "row 1 is -2"), ([], "empty"), ([0.5], "row 0 is 0.5")],
)
def test_labels_that_are_none_are_refused(name: str, labels: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        noises(3, 0.2)[name](labels, np.random.default_rng(0))


class Extreme(np.random.Generator):
    """Draws the smallest and the largest uniform there are."""

    def random(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        return np.where(np.arange(size) % 2 == 0, 0.0, np.nextafter(1.0, 0.0))


def test_the_ends_of_the_uniform_reach_only_classes_that_have_a_share() -> None:
    short = np.array([[0.0, 0.0, 1 / 3], [1 - 3e-7, 0.5, 2 / 3], [0.0, 0.5, 0.0]])  # sums within tolerance
    rng = Extreme(np.random.PCG64(0))
    assert apply_matrix([0, 0, 1, 1, 2, 2], short, rng).tolist() == [1, 1, 1, 2, 0, 1]
    assert apply_matrix([0, 0, 1, 1], (1 + 1e-7) * np.eye(2), rng).tolist() == [0, 0, 1, 1]


# --- matrices that are none, and measures


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3)[:2], r"shape \(2, 3\)"),
        (np.zeros((0, 0)), r"shape \(0, 0\)"),
        ([0.5, 0.5], r"shape \(2,\)"),
        ([[1.0, np.nan], [0.0, 1.0]], "row 0, column 1 is nan"),
        ([[1.0, 0.0], [np.inf, 1.0]], "row 1, column 0 is inf"),
        ([[1.2, 0.0], [-0.2, 1.0]], "row 1, column 0 is -0.2"),
        ([[0.9, 0.3], [0.1, 0.6]], "column 1 sums to 0.9, not 1 .* divide every column"),
        ([[0.9, 0.1], [0.2, 0.8]], r"column 0 sums to 1.1, not 1 .*\[given, true\].* transpose it"),
        (np.zeros((2, 2)), "column 0 sums to 0, not 1"),
    ],
)
def test_bad_matrices_are_refused(matrix: Any, message: str) -> None:
    for use in (
        check_noise_matrix,
        lambda m: apply_matrix([0, 1], m, np.random.default_rng(0)),
        lambda m: scale_noise(m, 1),
    ):
        with pytest.raises(InputError, match=message):
            use(matrix)


def test_other_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="T is for 2 classes, not 3"):
        check_noise_matrix(np.eye(2), 3, name="T")
    with pytest.raises(InputError, match="pairs has 0 > 3, but classes go from 0 to 2"):
        pair_matrix(3, 0.1, {0: 3})
    with pytest.raises(InputError, match="pairs has -1 > 0"):
        pair_matrix(3, 0.1, {-1: 0})
    for factor in (-0.1, np.nan):
        with pytest.raises(InputError, match="factor is"):
            scale_noise(np.eye(2), factor)


def test_measures_count_rows_where_both_are_known() -> None:
    given, truth = [0, 1, 1, -1, 2, 0], [0, 0, 1, 1, -1, 2]
    assert noise_rate(given, truth) == 0.5
    expected = np.array([[0.5, 0, 1], [0.5, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(empirical_matrix(given, truth, 3), expected)
    assert noise_rate([-1, 0], [0, -1]) == 0.0
    np.testing.assert_array_equal(empirical_matrix([-1, 0], [0, -1], 2), np.zeros((2, 2)))
    np.testing.assert_array_equal(empirical_matrix([1], [0], 3), [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="2 given labels but 3 true ones"):
        noise_rate([0, 1], [0, 1, 2])
    with pytest.raises(InputError, match="truth row 0 is 5"):
        empirical_matrix([0], [5], 3)


def test_dropped_labels_are_unknown_and_the_rest_stays() -> None:
    labels = np.random.default_rng(0).integers(-1, 2, (400, 5))
    given = drop_labels(labels, 0.3, np.random.default_rng(1))
    kept = given != -1
    assert np.array_equal(given[kept], labels[kept])
    known = int((labels != -1).sum())
    assert binomtest(int(kept.sum()), known, 0.3).pvalue > RARE
    np.testing.assert_array_equal(drop_labels(labels, 0.3, np.random.default_rng(1)), given)
    np.testing.assert_array_equal(drop_labels(labels, 1, np.random.default_rng(1)), labels)
    assert (drop_labels(labels, 0, np.random.default_rng(1)) == -1).all()


def test_missed_positives_are_absent_and_the_rest_stays() -> None:
    labels = np.random.default_rng(0).integers(-1, 2, (400, 5))
    given = miss_positives(labels, 0.4, np.random.default_rng(1))
    positive = labels == 1
    assert np.array_equal(given[~positive], labels[~positive])
    assert set(given[positive]) == {0, 1}
    assert binomtest(int((given[positive] == 0).sum()), int(positive.sum()), 0.4).pvalue > RARE
    np.testing.assert_array_equal(miss_positives(labels, 0, np.random.default_rng(1)), labels)
    assert not (miss_positives(labels, 1, np.random.default_rng(1)) == 1).any()


@pytest.mark.parametrize("corrupt", [drop_labels, miss_positives])
def test_bad_multilabels_and_rates_are_refused(corrupt: Any) -> None:
    rng = np.random.default_rng(0)
    for labels, rate, message in (
        ([[1, 0]], 1.5, "rate is 1.5"),
        ([[1, 0]], np.nan, "rate is nan"),
        ([[1, 2]], 0.5, "row 0, column 1 is 2"),
        ([1, 0], 0.5, "shape"),
    ):
        with pytest.raises(InputError, match=message):
            corrupt(labels, rate, rng)
