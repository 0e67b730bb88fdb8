"""Prediction sets against a slow version, MAPIE, and the coverage theorem by repeated draws."""

import json
import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from labelwise.certainty.conformal import (
    CoverageSummary,
    SplitConformal,
    conformal_rank,
    conformal_scores,
    corrected_thresholds,
    coverage,
    plain_thresholds,
    plausible_matrices,
)
from labelwise.errors import InputError
from labelwise.labels.noise import apply_matrix, pair_matrix, symmetric_matrix

Probs = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSES = 10
# Distance of the classes at which the best classifier is right for 60% and 98% of the rows.
MEDIOCRE, ACCURATE = 1.77, 4.1
NOISES = {"symmetric 36%": symmetric_matrix(CLASSES, 0.4), "pair 30%": pair_matrix(CLASSES, 0.3)}


def gaussian_classes(
    rng: np.random.Generator, rows: int, distance: float, classes: int = CLASSES
) -> tuple[Probs, Labels]:
    """Rows of overlapping Gaussian classes: exact posterior probabilities and true labels."""
    labels = rng.integers(0, classes, rows)
    points = rng.normal(size=(rows, classes))
    points[np.arange(rows), labels] += distance
    exponents = np.exp(distance * (points - points.max(axis=1, keepdims=True)))
    return exponents / exponents.sum(axis=1, keepdims=True), labels


@cache
def many_rows(distance: float) -> tuple[Probs, Labels]:
    return gaussian_classes(np.random.default_rng(99), 20_000, distance)


def slow_corrected(scores: Probs, labels: Labels, matrix: Probs, rank: int, margin: float) -> float:
    """Try every score as threshold, from the largest down, until one covers too few."""
    count, inverse = len(labels), np.linalg.inv(matrix)
    least = min(sum(min(inverse[k, j], 0.0) for k in range(len(inverse))) for j in range(len(inverse)))

    def sure(threshold: float) -> float:
        terms = np.array(
            [
                sum(inverse[k, labels[i]] for k in range(scores.shape[1]) if scores[i, k] <= threshold)
                for i in range(count)
            ]
        )
        plain = scores[np.arange(count), labels] <= threshold
        return float(terms.sum() + least - margin * math.sqrt(count) * np.std(terms - plain, ddof=1))

    found = math.inf
    for threshold in sorted(set(scores.ravel()), reverse=True):
        if sure(threshold) < rank - 1e-9:
            break
        found = threshold
    return found


def threshold_of(thresholds: Probs, alpha: float) -> float:
    """Threshold of the rank that ``alpha`` asks for; infinity where there are too few rows for it."""
    rank = conformal_rank(len(thresholds), alpha)
    return float(thresholds[rank - 1]) if rank <= len(thresholds) else math.inf


def mean_coverage(
    matrix: Probs | None,
    distance: float,
    *,
    rows: int = 200,
    alpha: float = 0.1,
    margin: float = 1.0,
    draws: int = 200,
    repeats_noise: bool = False,
    score: str = "lac",
) -> tuple[float, float, float]:
    """Mean of the true coverage over draws of the calibration rows, its standard error, and the mean size of sets."""
    test_probs, test_labels = many_rows(distance)
    seen = (lambda probs: probs @ matrix.T) if repeats_noise and matrix is not None else (lambda probs: probs)
    scores = conformal_scores(seen(test_probs), score)
    own, everything = np.sort(scores[np.arange(len(scores)), test_labels]), np.sort(scores, axis=None)
    rng = np.random.default_rng(7)
    shares, sizes = [], []
    for _ in range(draws):
        probs, labels = gaussian_classes(rng, rows, distance)
        calibration = conformal_scores(seen(probs), score)
        given = labels if matrix is None else apply_matrix(labels, matrix, rng)
        if matrix is None or math.isinf(margin):
            thresholds = plain_thresholds(calibration, given)
        else:
            thresholds = corrected_thresholds(calibration, given, matrix, margin)
        threshold = threshold_of(thresholds, alpha)
        shares.append(np.searchsorted(own, threshold, side="right") / len(own))
        sizes.append(np.searchsorted(everything, threshold, side="right") / len(own))
    return float(np.mean(shares)), float(np.std(shares) / math.sqrt(draws)), float(np.mean(sizes))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_are_those_of_mapie(alpha: float) -> None:
    pytest.importorskip("mapie", reason="MAPIE is the peer to compare with")
    from mapie.classification import SplitConformalClassifier

    rng = np.random.default_rng(0)
    probs, labels = gaussian_classes(rng, 300, MEDIOCRE)
    new_probs, _ = gaussian_classes(rng, 500, MEDIOCRE)

    class Given:
        """A fitted classifier whose inputs are its probabilities."""

        classes_ = np.arange(CLASSES)
        __sklearn_is_fitted__ = staticmethod(lambda: True)

        def fit(self, inputs: Probs, labels: Labels) -> "Given":
            return self

        def predict_proba(self, inputs: Probs) -> Probs:
            return np.asarray(inputs)

        def predict(self, inputs: Probs) -> Labels:
            return np.asarray(inputs).argmax(axis=1)

    theirs = SplitConformalClassifier(Given(), confidence_level=1 - alpha, conformity_score="lac", prefit=True)
    theirs.conformalize(probs, labels)
    _, expected = theirs.predict_set(new_probs)
    sets = SplitConformal(allow_empty=True).conformalize(probs, labels, alphas=[alpha]).predict_sets(new_probs, alpha)
    np.testing.assert_array_equal(sets, expected[:, :, 0])


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_randomised_aps_covers_exactly_as_often_as_promised(alpha: float) -> None:
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(300):
        probs, labels = gaussian_classes(rng, 57, MEDIOCRE)
        new_probs, new_labels = gaussian_classes(rng, 300, MEDIOCRE)
        made = SplitConformal("aps", allow_empty=True).conformalize(probs, labels, uniforms=rng.random(57))
        shares.append(coverage(made.predict_sets(new_probs, alpha, uniforms=rng.random(300)), new_labels))
    slack = 3.5 * float(np.std(shares)) / math.sqrt(len(shares))
    assert 1 - alpha - slack <= float(np.mean(shares)) <= 1 - alpha + 1 / 58 + slack


def test_lac_and_aps_scores_of_a_row_by_hand() -> None:
    probs = [[0.5, 0.2, 0.3]]
    np.testing.assert_allclose(conformal_scores(probs, "lac"), [[0.5, 0.8, 0.7]])
    np.testing.assert_allclose(conformal_scores(probs, "aps"), [[0.5, 1.0, 0.8]])


def test_aps_scores_are_those_of_the_slow_version() -> None:
    probs, _ = gaussian_classes(np.random.default_rng(1), 30, MEDIOCRE)
    slow = [[sum(other for other in row if other >= own) for own in row] for row in probs]
    np.testing.assert_allclose(conformal_scores(probs, "aps"), slow)


def test_equal_probabilities_go_by_class_order() -> None:
    np.testing.assert_allclose(conformal_scores([[0.25, 0.5, 0.25]], "aps"), [[0.75, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("count", "alpha", "rank"), [(9, 0.1, 9), (10, 0.1, 10), (19, 0.1, 18), (99, 0.1, 90), (1, 0.5, 1), (4, 0.2, 4)]
)
def test_threshold_is_the_score_of_that_rank(count: int, alpha: float, rank: int) -> None:
    assert conformal_rank(count, alpha) == rank
    probs = np.random.default_rng(0).permutation(np.arange(1, count + 1)) / (count + 1)
    made = SplitConformal().conformalize(np.column_stack([1 - probs, probs]), np.zeros(count, dtype=int))
    assert made.threshold(alpha) == pytest.approx(rank / (count + 1))


@pytest.mark.parametrize(("count", "alpha"), [(1, 0.49), (8, 0.1), (98, 0.01)])
def test_too_few_rows_promise_nothing(count: int, alpha: float) -> None:
    assert conformal_rank(count, alpha) > count
    made = SplitConformal().conformalize(np.full((count, 2), 0.5), np.zeros(count, dtype=int))
    assert made.threshold(alpha) == math.inf
    assert made.predict_sets([[1.0, 0.0]], alpha).all()
    assert "too few" in " ".join(made.notes(alpha))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.1, np.nan])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        conformal_rank(1, alpha)
    with pytest.raises(InputError, match="alpha"):
        SplitConformal().conformalize([[0.5, 0.5]], [0], alphas=[alpha])


@pytest.mark.parametrize("rows", [20, 57, 200])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_coverage_of_right_labels_is_exact(rows: int, alpha: float) -> None:
    share, error, _ = mean_coverage(None, MEDIOCRE, rows=rows, alpha=alpha, draws=1500)
    slack = 3.5 * error + 0.003  # the last is the error of the 20,000 test rows
    assert 1 - alpha - slack <= share <= 1 - alpha + 1 / (rows + 1) + slack


def test_wide_sets_are_never_empty_unless_asked() -> None:
    probs, labels = gaussian_classes(np.random.default_rng(2), 500, ACCURATE)
    new_probs, _ = gaussian_classes(np.random.default_rng(3), 500, ACCURATE)
    lean = SplitConformal(allow_empty=True).conformalize(probs, labels).predict_sets(new_probs, 0.3)
    full = SplitConformal().conformalize(probs, labels).predict_sets(new_probs, 0.3)
    empty = ~lean.any(axis=1)
    assert empty.any()
    np.testing.assert_array_equal(full[~empty], lean[~empty])
    np.testing.assert_array_equal(full[empty], np.eye(CLASSES, dtype=bool)[new_probs[empty].argmax(axis=1)])


@pytest.mark.parametrize("matrix", [symmetric_matrix(3, 0.4), pair_matrix(3, 0.3), pair_matrix(3, 0.7), np.eye(3)])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_corrected_thresholds_are_those_of_the_slow_version(matrix: Probs, margin: float) -> None:
    rng = np.random.default_rng(5)
    for _ in range(3):
        probs, labels = gaussian_classes(rng, 40, MEDIOCRE, classes=3)
        given = apply_matrix(labels, matrix, rng)
        for scores in (conformal_scores(probs), conformal_scores(probs).round(1)):  # rounded: many ties
            found = corrected_thresholds(scores, given, matrix, margin)
            for rank in (1, 12, 30, 36, 40):
                assert found[rank - 1] == slow_corrected(scores, given, matrix, rank, margin)


@pytest.mark.parametrize("margin", [0.0, 1.0, 3.0])
def test_without_noise_the_corrected_thresholds_are_the_plain_ones(margin: float) -> None:
    for rows in (5, 30, 99, 200):
        probs, labels = gaussian_classes(np.random.default_rng(rows), rows, MEDIOCRE)
        scores = conformal_scores(probs)
        expected = plain_thresholds(scores, labels)
        np.testing.assert_array_equal(corrected_thresholds(scores, labels, np.eye(CLASSES), margin), expected)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("distance", [MEDIOCRE, ACCURATE], ids=["mediocre", "accurate"])
@pytest.mark.parametrize("repeats_noise", [False, True])
def test_noisy_calibration_labels_keep_the_promise_with_smaller_sets(
    noise: str, distance: float, repeats_noise: bool
) -> None:
    options = {"repeats_noise": repeats_noise}
    plain, _, plain_size = mean_coverage(NOISES[noise], distance, margin=math.inf, **options)
    careful, _, careful_size = mean_coverage(NOISES[noise], distance, margin=1.0, **options)
    exact, error, exact_size = mean_coverage(NOISES[noise], distance, margin=0.0, **options)
    slack = 3 * error + 0.003
    assert plain >= 0.9
    assert plain_size > exact_size
    assert careful_size >= exact_size
    assert careful >= 0.9
    # Without margin the mean keeps the promise up to the error of the draws, and hardly exceeds it.
    assert 0.9 - slack <= exact <= 0.93


def test_noisy_labels_keep_the_promise_with_aps() -> None:
    share, error, size = mean_coverage(NOISES["symmetric 36%"], MEDIOCRE, margin=0.0, score="aps")
    _, _, plain_size = mean_coverage(NOISES["symmetric 36%"], MEDIOCRE, margin=math.inf, score="aps")
    assert share >= 0.9 - 3 * error - 0.003
    assert size < plain_size


def test_the_margin_holds_in_most_single_draws_and_shrinks_with_more_rows() -> None:
    matrix = NOISES["symmetric 36%"]
    few, _, _ = mean_coverage(matrix, MEDIOCRE, margin=1.0)
    many, error, _ = mean_coverage(matrix, MEDIOCRE, rows=2000, margin=1.0, draws=40)
    assert 0.9 - 3 * error <= many < few


def test_a_model_that_repeats_mostly_wrong_labels_gets_larger_sets_than_plain() -> None:
    matrix = pair_matrix(CLASSES, 0.6)
    plain, _, _ = mean_coverage(matrix, ACCURATE, margin=math.inf, repeats_noise=True)
    share, _, _ = mean_coverage(matrix, ACCURATE, margin=1.0, repeats_noise=True)
    assert plain < 0.85
    assert share >= 0.9


@pytest.mark.parametrize("rows", [1, 5, 8])
def test_too_few_noisy_rows_give_all_classes(rows: int) -> None:
    probs, labels = gaussian_classes(np.random.default_rng(0), rows, ACCURATE)
    made = SplitConformal().conformalize(probs, labels, noise_matrix=symmetric_matrix(CLASSES, 0.2), alphas=[0.1])
    assert made.threshold(0.1) == math.inf
    assert made.predict_sets(probs, 0.1).all()


@pytest.mark.parametrize(
    "matrix", [np.full((3, 3), 1 / 3), 1e-4 * np.eye(3) + (1 - 1e-4) / 3], ids=["singular", "near"]
)
def test_a_matrix_that_hardly_tells_classes_apart_promises_nothing_from_given_labels(matrix: Probs) -> None:
    probs, labels = gaussian_classes(np.random.default_rng(0), 50, MEDIOCRE, classes=3)
    made = SplitConformal().conformalize(probs, labels, noise_matrix=matrix)
    assert made.predict_sets(probs, 0.1).all()
    assert "every set holds all classes" in " ".join(made.notes(0.1))
    plain = SplitConformal().conformalize(probs, labels)
    safe = SplitConformal().conformalize(probs, labels, noise_matrix=matrix, assume_dispersive=True)
    np.testing.assert_array_equal(safe.thresholds, plain.thresholds)


def test_dispersive_noise_never_needs_more_than_the_plain_threshold() -> None:
    matrix, rng = NOISES["symmetric 36%"], np.random.default_rng(4)
    probs, labels = gaussian_classes(rng, 200, MEDIOCRE)
    given = apply_matrix(labels, matrix, rng)
    plain = SplitConformal().conformalize(probs, given).thresholds
    free = SplitConformal().conformalize(probs, given, noise_matrix=matrix, margin=2.0).thresholds
    capped = (
        SplitConformal().conformalize(probs, given, noise_matrix=matrix, margin=2.0, assume_dispersive=True).thresholds
    )
    np.testing.assert_array_equal(capped, np.minimum(free, plain))
    assert (free > plain).any()


def test_several_matrices_give_the_largest_of_their_thresholds() -> None:
    rng = np.random.default_rng(6)
    probs, labels = gaussian_classes(rng, 150, ACCURATE)
    given = apply_matrix(labels, NOISES["symmetric 36%"], rng)
    stack = plausible_matrices(NOISES["symmetric 36%"], 0.36, 0.2, 0.45)
    # Wrong labels are the off-diagonal share, alike for all classes here.
    np.testing.assert_allclose(
        [1 - matrix.trace() / CLASSES for matrix in stack], [0.36 * f for f in (20 / 36, 1, 45 / 36)]
    )
    each = [SplitConformal().conformalize(probs, given, noise_matrix=matrix).thresholds for matrix in stack]
    worst = SplitConformal().conformalize(probs, given, noise_matrix=stack).thresholds
    np.testing.assert_array_equal(worst, np.max(each, axis=0))
    with pytest.raises(InputError, match="rising order"):
        plausible_matrices(np.eye(2), 0.2, 0.3, 0.4)


def test_two_classes_and_one_class_in_the_labels() -> None:
    rng = np.random.default_rng(0)
    probs, labels = gaussian_classes(rng, 200, 2.0, classes=2)
    matrix = symmetric_matrix(2, 0.4)
    made = SplitConformal().conformalize(probs, apply_matrix(labels, matrix, rng), noise_matrix=matrix)
    new_probs, new_labels = gaussian_classes(rng, 2000, 2.0, classes=2)
    assert coverage(made.predict_sets(new_probs, 0.1), new_labels) >= 0.87
    alone = SplitConformal().conformalize(probs, np.zeros(200, dtype=int), noise_matrix=matrix)
    assert not np.isnan(alone.thresholds).any()


def test_a_single_class_is_always_in_the_set() -> None:
    made = SplitConformal().conformalize(np.ones((30, 1)), np.zeros(30, dtype=int), noise_matrix=[[1.0]])
    assert made.predict_sets(np.ones((4, 1)), 0.1).all()


def test_a_score_equal_to_the_threshold_is_inside() -> None:
    probs = np.tile([0.7, 0.3], (20, 1))
    made = SplitConformal(allow_empty=True).conformalize(probs, np.zeros(20, dtype=int))
    assert made.predict_sets(probs, 0.1).tolist() == [[True, False]] * 20


def test_unlabelled_rows_take_no_part() -> None:
    probs, labels = gaussian_classes(np.random.default_rng(0), 60, MEDIOCRE)
    some = labels.copy()
    some[40:] = -1
    part = SplitConformal().conformalize(probs[:40], labels[:40])
    whole = SplitConformal().conformalize(probs, some)
    np.testing.assert_array_equal(whole.thresholds, part.thresholds)
    assert whole.num_rows == 40


@pytest.mark.parametrize(
    ("probs", "labels", "options", "message"),
    [
        ([[0.5, 0.5]], [-1], {}, "no known label"),
        ([[np.nan, 0.5]], [0], {}, "nan"),
        ([[np.inf, 0.5]], [0], {}, "inf"),
        ([[0.9, 0.9]], [0], {}, "sums to 1.8"),
        ([[0.5, 0.5]], [0, 1], {}, "one row each"),
        ([[0.5, 0.5]], [2], {}, "0 to 1"),
        ([[0.5, 0.5]], [0], {"noise_matrix": np.eye(3)}, "3 classes"),
        ([[0.5, 0.5]], [0], {"noise_matrix": [[np.nan, 0.0], [0.0, 1.0]]}, "nan"),
        ([[0.5, 0.5]], [0], {"noise_matrix": [[0.5, 0.0], [0.0, 1.0]]}, "column 0"),
        ([[0.5, 0.5]], [0], {"noise_matrix": np.eye(2), "margin": -1.0}, "margin"),
    ],
)
def test_bad_calibration_is_refused(probs: object, labels: object, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitConformal().conformalize(probs, labels, **options)  # type: ignore[arg-type]


def test_unknown_scores_and_nan_are_refused() -> None:
    with pytest.raises(InputError, match="choose one of lac, aps"):
        SplitConformal("raps")
    with pytest.raises(InputError, match="choose one of lac, aps"):
        conformal_scores([[1.0]], "raps")
    with pytest.raises(InputError, match="uniforms belong to the score aps"):
        conformal_scores([[1.0]], "lac", [0.5])
    with pytest.raises(InputError, match="numbers from 0 to 1"):
        conformal_scores([[1.0]], "aps", [1.5])


def test_an_alpha_between_measured_ones_takes_the_stricter_threshold() -> None:
    probs, labels = gaussian_classes(np.random.default_rng(0), 500, MEDIOCRE)
    made = SplitConformal().conformalize(probs, labels, alphas=[0.05, 0.2])
    assert made.threshold(0.19) == made.threshold(0.05)
    assert made.threshold(0.2) < made.threshold(0.05)
    with pytest.raises(InputError, match=r"alpha 0.04 is below those that were kept"):
        made.threshold(0.04)
    with pytest.raises(InputError, match="call conformalize first"):
        SplitConformal().threshold(0.1)


def test_state_survives_json() -> None:
    probs, labels = gaussian_classes(np.random.default_rng(0), 30, MEDIOCRE)
    made = SplitConformal("aps", allow_empty=True).conformalize(probs, labels)
    again = SplitConformal.from_state(json.loads(json.dumps(made.to_state(), allow_nan=False)))
    np.testing.assert_array_equal(again.thresholds, made.thresholds)
    assert math.isinf(again.threshold(0.01))
    assert (again.score, again.allow_empty, again.num_rows) == ("aps", True, 30)


def test_coverage_counts_known_rows() -> None:
    sets = np.array([[True, False], [True, False], [False, False]])
    assert coverage(sets, [0, 1, -1]) == 0.5
    assert coverage(sets, [-1, -1, -1]) == 0.0


def test_coverage_summaries_merge_to_that_of_all_rows() -> None:
    rng = np.random.default_rng(8)
    sets, labels = rng.random((40, 4)) < 0.5, rng.integers(-1, 3, 40)  # class 3 has no row
    parts = []
    for rows in (slice(0, 13), slice(13, 13), slice(13, 40)):
        part = CoverageSummary.empty(4)
        if rows.start < rows.stop:
            part.update(sets[rows], labels[rows])
        parts.append(part)
    report = parts[2].merge(parts[0]).merge(parts[1]).finalize()
    known = [row for row in range(40) if labels[row] >= 0]
    assert report.coverage == sum(sets[row, labels[row]] for row in known) / len(known) == coverage(sets, labels)
    assert report.mean_size == sets.sum() / 40
    assert report.class_counts.tolist() == [sum(labels == k) for k in range(4)]
    assert report.class_coverage[3] == 0.0
    assert report.class_coverage[0] == sets[labels == 0, 0].mean()
    assert report.size_counts.tolist() == np.bincount(sets.sum(axis=1), minlength=5).tolist()
    with pytest.raises(InputError, match="merge like ones"):
        parts[0].merge(CoverageSummary.empty(3))
