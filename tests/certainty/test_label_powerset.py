"""Label-sets against exhaustive enumeration in exact arithmetic, and the promise by repeated draws."""

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import labelwise
from labelwise.certainty.conformal import SplitConformal
from labelwise.certainty.label_powerset import (
    LabelPowersetICP,
    LabelSetSummary,
    nonconformity,
    p_value,
    positive_probabilities,
    rejection_rank,
)
from labelwise.errors import InputError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

LEVELS = (0.01, 0.05, 0.1, 0.15, 0.2)


def correlated_labels(
    rng: np.random.Generator, rows: int, num_labels: int, noise: float = 1.0
) -> tuple[Floats, Labels]:
    """Outputs of an imperfect, over-confident model and true labels that depend on one another."""
    logits = rng.normal(-1, 2, (rows, num_labels)) + rng.normal(0, 1, (rows, 1))
    labels = (rng.random((rows, num_labels)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    return 1 / (1 + np.exp(-2 * (logits + noise * rng.normal(size=logits.shape)))), labels


def exact_score(outputs: Any, label_set: Any, power: int) -> Fraction:
    """Equation (1) for outputs of few decimals, without any rounding."""
    return sum(
        (abs(Fraction(int(t)) - Fraction(str(o))) ** power for o, t in zip(outputs, label_set, strict=True)),
        Fraction(0),
    )


def exhaustive(
    calibration: list[Fraction], outputs: Any, power: int, epsilon: str
) -> list[tuple[Fraction, tuple[int, ...], Fraction]]:
    """All label-sets with p > epsilon as (score, label-set, p), by score, then by label-set."""
    found = []
    for label_set in itertools.product((0, 1), repeat=len(outputs)):
        score = exact_score(outputs, label_set, power)
        p = Fraction(sum(each >= score for each in calibration) + 1, len(calibration) + 1)
        if p > Fraction(epsilon):
            found.append((score, label_set, p))
    return sorted(found)


def fitted(rng: np.random.Generator, rows: int, num_labels: int, d: float = 2.0) -> LabelPowersetICP:
    return LabelPowersetICP(d).calibrate(*correlated_labels(rng, rows, num_labels))


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("decimals", [1, 3])
def test_sets_are_those_of_exhaustive_enumeration(power: int, decimals: int) -> None:
    rng = np.random.default_rng(10 * power + decimals)
    for _ in range(15):
        num_labels, rows = int(rng.integers(1, 8)), int(rng.integers(1, 25))
        outputs, labels = correlated_labels(rng, rows + 1, num_labels)
        outputs = outputs.round(decimals)  # one decimal: many equal scores, outputs of 0, 0.5 and 1
        icp = LabelPowersetICP(power).calibrate(outputs[:rows], labels[:rows])
        calibration = [exact_score(o, t, power) for o, t in zip(outputs[:rows], labels[:rows], strict=True)]
        for epsilon in ("0.01", "0.05", "0.1", "0.2", "0.29", "0.5", "0.9"):
            expected = exhaustive(calibration, outputs[rows], power, epsilon)
            (found,) = icp.prediction_set(outputs[rows:], float(epsilon))
            assert [tuple(row) for row in found.label_sets.astype(int).tolist()] == [row for _, row, _ in expected]
            np.testing.assert_allclose(found.scores, [float(score) for score, _, _ in expected], atol=1e-11)
            np.testing.assert_allclose(found.p_values, [float(p) for _, _, p in expected], rtol=1e-15)
            assert not found.is_truncated
            assert icp.set_sizes(outputs[rows:], float(epsilon)).tolist() == [len(expected)]
            is_member = tuple(labels[rows].tolist()) in {row for _, row, _ in expected}
            assert icp.contains(outputs[rows:], labels[rows:], float(epsilon)).tolist() == [is_member]


@pytest.mark.parametrize("d", [0.3, 0.5, 1.7, 8.0])
def test_sets_for_any_power_are_those_of_enumeration_in_floats(d: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        outputs, labels = correlated_labels(rng, 30, 6)
        calibration = (np.abs(labels - outputs) ** d).sum(axis=1)[:29]
        label_sets = np.array(list(itertools.product((0, 1), repeat=6)))
        scores = (np.abs(label_sets - outputs[29]) ** d).sum(axis=1)
        p_values = ((calibration >= scores[:, None]).sum(axis=1) + 1) / 30
        icp = LabelPowersetICP(d).calibrate(outputs[:29], labels[:29])
        (found,) = icp.prediction_set(outputs[29:], 0.2)
        order = np.argsort(scores)[: (p_values > 0.2).sum()]
        np.testing.assert_array_equal(found.label_sets, label_sets[order] == 1)
        np.testing.assert_allclose(found.p_values, p_values[order])


def test_lazy_walk_meets_every_label_set_once_and_the_plausible_first() -> None:
    rng = np.random.default_rng(4)
    icp = fitted(rng, 50, 8)
    outputs, _ = correlated_labels(rng, 5, 8)
    outputs[4] = 0.5  # all label-sets equally plausible
    for row in outputs:
        walked = list(icp.iter_label_sets(row))
        assert len({label_set.tobytes() for label_set, _, _ in walked}) == 2**8
        scores, p_values = [score for _, score, _ in walked], [p for _, _, p in walked]
        assert scores == sorted(scores)
        assert p_values == sorted(p_values, reverse=True)
        label_sets = np.array([label_set for label_set, _, _ in walked])
        np.testing.assert_allclose(nonconformity(np.tile(row, (2**8, 1)), label_sets), scores, atol=1e-12)
        (listed,) = icp.prediction_set(row[None], 0.0)
        assert listed.scores.tolist() == scores
        assert listed.p_values.tolist() == p_values
        np.testing.assert_array_equal(walked[0][0], row > 0.5)


def test_sixty_labels_are_walked_lazily() -> None:
    rng = np.random.default_rng(5)
    icp = fitted(rng, 99, 60)
    outputs, labels = correlated_labels(rng, 10, 60)
    sets = icp.prediction_set(outputs, 0.85, max_sets=200)
    sizes = icp.set_sizes(outputs, 0.85)
    assert any(found.is_truncated for found in sets)
    for row, found, size in zip(outputs, sets, sizes, strict=True):
        walked = list(itertools.islice(icp.iter_label_sets(row), 200))
        assert [score for _, score, _ in walked][: len(found.scores)] == found.scores.tolist()
        assert len(found.scores) == min(200, size)
        assert found.is_truncated == (size > 200)
    members = [bool((found.label_sets == t).all(axis=1).any()) for found, t in zip(sets, labels == 1, strict=True)]
    covered = icp.contains(outputs, labels, 0.85)
    assert all(is_member <= is_covered for is_member, is_covered in zip(members, covered, strict=True))


def test_all_label_sets_of_sixty_labels_are_counted_and_the_best_are_listed() -> None:
    rng = np.random.default_rng(6)
    icp = fitted(rng, 8, 60)
    outputs, labels = correlated_labels(rng, 3, 60)
    assert icp.threshold(0.1) == math.inf
    assert icp.set_sizes(outputs, 0.1).tolist() == [2.0**60] * 3
    assert icp.contains(outputs, labels, 0.1).all()
    assert icp.contains(outputs, 1 - (outputs > 0.5), 0.1).all()
    assert all(
        found.is_truncated and len(found.scores) == 50 for found in icp.prediction_set(outputs, 0.1, max_sets=50)
    )
    assert "too few" in " ".join(icp.notes(0.1))
    assert "too few" not in " ".join(icp.notes(0.2))


@pytest.mark.parametrize(
    ("epsilon", "rows", "rank"),
    [
        (0.29, 99, 29),
        (0.1, 9, 1),
        (0.05, 19, 1),
        (0.1, 8, 0),
        (0.57, 99, 57),
        (0.58, 99, 58),
        (1e-05, 99_999, 1),
        (np.float32(0.1), 9, 1),
        (0, 5, 0),
        (1, 5, 6),
        (0.999, 5, 5),
    ],
)
def test_rank_is_that_of_exact_arithmetic(epsilon: float, rows: int, rank: int) -> None:
    assert rejection_rank(epsilon, rows) == rank


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, math.nan, math.inf, "much", None, True])
def test_a_bad_epsilon_is_refused(epsilon: Any) -> None:
    with pytest.raises(InputError, match="epsilon is"):
        rejection_rank(epsilon, 10)
    with pytest.raises(InputError, match="epsilon is"):
        fitted(np.random.default_rng(0), 10, 2).contains([[0.5, 0.5]], [[0, 1]], epsilon)


def test_sets_are_nested_and_p_values_within_bounds() -> None:
    rng = np.random.default_rng(7)
    icp = fitted(rng, 30, 6)
    outputs, _ = correlated_labels(rng, 20, 6)
    for row in outputs:
        members = []
        for epsilon in (0.0, 0.03, 0.1, 0.3, 0.7, 1.0):
            (found,) = icp.prediction_set(row[None], epsilon)
            members.append({each.tobytes() for each in found.label_sets})
            assert (found.p_values >= 1 / 31).all()
            assert (found.p_values <= 1).all()
        assert all(larger >= smaller for larger, smaller in itertools.pairwise(members))
        assert len(members[0]) == len(members[1]) == 2**6
        assert not members[-1]


def test_nothing_is_plausible_where_all_calibration_rows_fit_better() -> None:
    icp = LabelPowersetICP().calibrate(np.full((9, 2), 0.1), np.zeros((9, 2), dtype=int))
    (found,) = icp.prediction_set([[0.4, 0.4]], 0.1)
    assert found.label_sets.shape == (0, 2)
    assert found.scores.shape == found.p_values.shape == (0,)
    assert icp.set_sizes([[0.4, 0.4]], 0.1).tolist() == [0.0]
    point = icp.predict([[0.4, 0.4]])
    assert (point.credibility.tolist(), point.confidence.tolist()) == ([0.1], [0.9])


def test_one_label_is_ordinary_split_conformal_prediction() -> None:
    rng = np.random.default_rng(8)
    outputs, labels = correlated_labels(rng, 60, 1)
    new_outputs, _ = correlated_labels(rng, 200, 1)
    icp = LabelPowersetICP(1.0).calibrate(outputs, labels)
    ordinary = SplitConformal("lac", allow_empty=True).conformalize(np.hstack([1 - outputs, outputs]), labels[:, 0])
    for epsilon in (0.05, 0.11, 0.2, 0.45):
        expected = ordinary.predict_sets(np.hstack([1 - new_outputs, new_outputs]), epsilon)
        found = icp.prediction_set(new_outputs, epsilon)
        members = np.zeros_like(expected)
        for row, each in enumerate(found):
            members[row, each.label_sets[:, 0].astype(int)] = True
        np.testing.assert_array_equal(members, expected)


def test_permuted_labels_permute_the_sets() -> None:
    rng = np.random.default_rng(9)
    outputs, labels = correlated_labels(rng, 40, 7)
    order = rng.permutation(7)
    plain = LabelPowersetICP().calibrate(outputs[:30], labels[:30]).prediction_set(outputs[30:], 0.2)
    permuted = LabelPowersetICP().calibrate(outputs[:30, order], labels[:30, order])
    for one, other in zip(plain, permuted.prediction_set(outputs[30:, order], 0.2), strict=True):
        assert {row.tobytes() for row in one.label_sets[:, order]} == {row.tobytes() for row in other.label_sets}
        np.testing.assert_array_equal(one.p_values, other.p_values)


def test_labels_turned_into_their_opposites_change_no_p_value() -> None:
    rng = np.random.default_rng(10)
    outputs, labels = correlated_labels(rng, 40, 7)
    plain = LabelPowersetICP().calibrate(outputs[:30], labels[:30]).prediction_set(outputs[30:], 0.2)
    turned = LabelPowersetICP().calibrate(1 - outputs[:30], 1 - labels[:30]).prediction_set(1 - outputs[30:], 0.2)
    for one, other in zip(plain, turned, strict=True):
        assert {row.tobytes() for row in ~one.label_sets} == {row.tobytes() for row in other.label_sets}
        np.testing.assert_array_equal(one.p_values, other.p_values)


def test_point_outputs_are_the_first_two_of_the_walk() -> None:
    rng = np.random.default_rng(11)
    for num_labels in (1, 2, 9):
        icp = fitted(rng, 40, num_labels)
        outputs, _ = correlated_labels(rng, 10, num_labels)
        outputs[0, 0] = 0.5  # both values of that label have the same score
        point = icp.predict(outputs)
        for row, label_set, credibility, confidence in zip(outputs, *point, strict=True):
            (best, _, first), (_, _, second) = itertools.islice(icp.iter_label_sets(row), 2)
            np.testing.assert_array_equal(label_set, best)
            assert (credibility, confidence) == (first, pytest.approx(1 - second))
        assert point.confidence[0] == pytest.approx(1 - point.credibility[0])


def test_mean_p_value_is_that_of_all_label_sets() -> None:
    rng = np.random.default_rng(12)
    icp = fitted(rng, 25, 7)
    outputs, _ = correlated_labels(rng, 6, 7)
    expected = [np.mean([p for _, _, p in icp.iter_label_sets(row)]) for row in outputs]
    np.testing.assert_allclose(icp.mean_p_value(outputs), expected)


@pytest.mark.parametrize("rows", [9, 19, 57])
@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("d", [0.5, 2.0])
def test_true_label_sets_are_missed_exactly_as_often_as_promised(rows: int, epsilon: float, d: float) -> None:
    rng = np.random.default_rng(13)
    shares = []
    for _ in range(500):
        outputs, labels = correlated_labels(rng, rows + 25, 6)
        icp = LabelPowersetICP(d).calibrate(outputs[:rows], labels[:rows])
        shares.append(1 - icp.contains(outputs[rows:], labels[rows:], epsilon).mean())
    promised = rejection_rank(epsilon, rows) / (rows + 1)
    assert promised <= epsilon
    assert abs(np.mean(shares) - promised) <= 3.5 * np.std(shares) / math.sqrt(len(shares)) + 1e-12


@pytest.mark.parametrize("epsilon", LEVELS)
def test_errors_of_one_draw_lie_within_binomial_limits(epsilon: float) -> None:
    from scipy.stats import betabinom

    rng = np.random.default_rng(14)
    icp = fitted(rng, 499, 30)
    outputs, labels = correlated_labels(rng, 2000, 30)
    missed = int((~icp.contains(outputs, labels, epsilon)).sum())
    rank = rejection_rank(epsilon, 499)
    low, high = betabinom(2000, rank, 500 - rank).interval(0.998)
    assert low <= missed <= high


def test_ties_only_make_the_sets_safer() -> None:
    rng = np.random.default_rng(15)
    shares = []
    for _ in range(600):
        outputs, labels = correlated_labels(rng, 39 + 25, 4)
        outputs = outputs.round(0)  # scores are whole numbers
        icp = LabelPowersetICP().calibrate(outputs[:39], labels[:39])
        shares.append(1 - icp.contains(outputs[39:], labels[39:], 0.2).mean())
    assert np.mean(shares) < 0.2


def test_shifted_rows_are_missed_more_often_than_promised() -> None:
    rng = np.random.default_rng(16)
    icp = fitted(rng, 400, 10)
    outputs, labels = correlated_labels(rng, 2000, 10, noise=4.0)
    assert 1 - icp.contains(outputs, labels, 0.1).mean() > 0.2


@pytest.mark.parametrize("kind", ["never seen", "no label", "all labels"])
def test_the_promise_holds_for_odd_labels(kind: str) -> None:
    rng = np.random.default_rng(17)
    shares = []
    for _ in range(400):
        outputs, labels = correlated_labels(rng, 59 + 25, 6)
        if kind == "never seen":
            outputs[:, 0] = 0.0  # a model trained without the label, which now occurs
        if kind == "no label":
            labels[:] = 0
        if kind == "all labels":
            labels[:] = 1
        icp = LabelPowersetICP().calibrate(outputs[:59], labels[:59])
        shares.append(1 - icp.contains(outputs[59:], labels[59:], 0.1).mean())
    assert abs(np.mean(shares) - 0.1) <= 3.5 * np.std(shares) / math.sqrt(len(shares))


def test_perfect_outputs_leave_one_label_set() -> None:
    labels = np.random.default_rng(18).integers(0, 2, (30, 5))
    icp = LabelPowersetICP().calibrate(labels.astype(float), labels)
    for found, row in zip(icp.prediction_set(labels.astype(float), 0.1), labels, strict=True):
        assert found.label_sets.astype(int).tolist() == [row.tolist()]
        assert found.p_values.tolist() == [1.0]


def test_a_score_equal_to_the_threshold_is_inside_whatever_the_order_of_labels() -> None:
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point.
    icp = LabelPowersetICP(1.0).calibrate([[0.1, 0.2, 0.3]] * 9, np.zeros((9, 3), dtype=int))
    assert icp.contains([[0.3, 0.2, 0.1]], [[0, 0, 0]], 0.1).all()
    assert icp.contains([[0.7, 0.2, 0.9]], [[1, 0, 1]], 0.1).all()
    assert not icp.contains([[0.3, 0.2, 0.100001]], [[0, 0, 0]], 0.1).any()
    assert p_value(0.1 + 0.2 + 0.3, [0.3 + 0.2 + 0.1]) == 1.0


def test_unknown_labels_take_no_part() -> None:
    rng = np.random.default_rng(19)
    outputs, labels = correlated_labels(rng, 40, 4)
    some = labels.copy()
    some[25:, 2] = -1
    whole, part = LabelPowersetICP().calibrate(outputs, some), LabelPowersetICP().calibrate(outputs[:25], labels[:25])
    np.testing.assert_array_equal(whole.scores, part.scores)


def test_booleans_floats_lists_and_tensors_are_the_same() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(20)
    outputs, labels = correlated_labels(rng, 20, 4)
    outputs = outputs.astype(np.float32)
    expected = LabelPowersetICP().calibrate(outputs, labels).scores
    for given_outputs, given_labels in (
        (outputs.tolist(), labels.tolist()),
        (torch.tensor(outputs), torch.tensor(labels)),
        (outputs, labels.astype(bool)),
        (outputs, labels.astype(float)),
    ):
        made = labelwise.LabelPowersetICP().calibrate(given_outputs, given_labels)
        np.testing.assert_array_equal(made.scores, expected)


def test_no_rows_give_no_sets() -> None:
    icp = fitted(np.random.default_rng(21), 20, 3)
    nothing = np.zeros((0, 3))
    assert icp.prediction_set(nothing) == []
    assert icp.set_sizes(nothing).shape == icp.mean_p_value(nothing).shape == (0,)
    assert icp.contains(nothing, np.zeros((0, 3), dtype=int)).shape == (0,)
    assert icp.predict(nothing).labels.shape == (0, 3)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        ([0.5], [1], "outputs has shape"),
        ([[]], [[]], "outputs has shape"),
        ([["a"]], [[1]], "outputs has type"),
        ([[0.5], [math.nan]], [[1], [1]], "outputs row 1, column 0 is nan"),
        ([[math.inf]], [[1]], "is inf"),
        ([[0.5, 1.5]], [[1, 0]], "column 1 is 1.5.*sigmoid"),
        ([[-0.1]], [[1]], "sigmoid"),
        ([[0.5]], [1], "labels has shape"),
        ([[0.5]], [["a"]], "labels has type"),
        ([[0.5]], [[2]], "labels row 0, column 0 is 2"),
        ([[0.5]], [[0.5]], "labels row 0, column 0 is 0.5"),
        ([[0.5]], [[math.nan]], "labels row 0, column 0 is nan"),
        ([[0.5]], [[1], [0]], r"outputs has shape \(1, 1\), labels \(2, 1\)"),
        ([[0.5]], [[1, 0]], "one label for each output"),
        ([[0.5], [0.5]], [[-1], [-1]], "no row whose labels are all known"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "no row whose labels are all known"),
    ],
)
def test_bad_calibration_is_refused(outputs: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelPowersetICP().calibrate(outputs, labels)


@pytest.mark.parametrize("d", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_power_is_refused(d: float) -> None:
    with pytest.raises(InputError, match="d is"):
        LabelPowersetICP(d)
    with pytest.raises(InputError, match="d is"):
        nonconformity([[0.5]], [[1]], d)


def test_misuse_is_refused_in_one_sentence() -> None:
    icp = fitted(np.random.default_rng(22), 20, 3)
    outputs = np.full((2, 3), 0.5)
    for call in (
        LabelPowersetICP().prediction_set,
        LabelPowersetICP().set_sizes,
        LabelPowersetICP().predict,
        LabelPowersetICP().mean_p_value,
    ):
        with pytest.raises(InputError, match="call calibrate first"):
            call(outputs)
    with pytest.raises(InputError, match="call calibrate first"):
        LabelPowersetICP().threshold(0.1)
    with pytest.raises(InputError, match="call calibrate first"):
        LabelPowersetICP().iter_label_sets(outputs[0])
    with pytest.raises(InputError, match="outputs has 2 labels, the calibration had 3"):
        icp.predict(outputs[:, :2])
    with pytest.raises(InputError, match="outputs of one row"):
        icp.iter_label_sets(outputs)
    with pytest.raises(InputError, match="max_sets is 0"):
        icp.prediction_set(outputs, max_sets=0)
    with pytest.raises(InputError, match="row 1, column 2 is unknown"):
        icp.contains(outputs, [[0, 0, 0], [0, 1, -1]])
    with pytest.raises(InputError, match="at least one score"):
        p_value([0.5], [])
    with pytest.raises(InputError, match="NaN or infinity"):
        p_value([0.5], [math.nan])


def test_state_survives_json() -> None:
    icp = fitted(np.random.default_rng(23), 40, 5, d=0.7)
    again = LabelPowersetICP.from_state(json.loads(json.dumps(icp.to_state(), allow_nan=False)))
    np.testing.assert_array_equal(again.scores, icp.scores)
    assert (again.d, again.num_labels) == (0.7, 5)
    assert again.threshold(0.1) == icp.threshold(0.1)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"d": 0, "labels": 1, "scores": [1]},
        {"d": 2.0, "labels": "x", "scores": [1]},
        {"d": 2.0, "labels": 1, "scores": [2, 1]},
        {"d": 2.0, "labels": 1, "scores": [-1]},
        {"d": 2.0, "labels": 0, "scores": [1]},
        {"d": 2.0, "labels": 1, "scores": [10**12 + 1]},
        {"d": 2.0, "labels": 1, "scores": [[1]]},
        {"d": 2.0, "labels": 1, "scores": [10**30]},
        {"d": "x", "labels": 1, "scores": [1]},
    ],
)
def test_a_damaged_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LabelPowersetICP.from_state(state)


def test_summaries_merge_to_that_of_all_rows() -> None:
    rng = np.random.default_rng(24)
    icp = fitted(rng, 60, 6)
    outputs, labels = correlated_labels(rng, 90, 6)
    covered, sizes = icp.contains(outputs, labels, 0.2), icp.set_sizes(outputs, 0.2)
    parts = []
    for rows in (slice(0, 40), slice(40, 40), slice(40, 90)):
        part = LabelSetSummary.empty(6)
        part.update(covered[rows], sizes[rows])
        parts.append(part)
    report = parts[2].merge(parts[0]).merge(parts[1]).finalize()
    assert report.empirical_error == pytest.approx(1 - covered.mean())
    assert report.average_set_size == pytest.approx(sizes.mean())
    assert report.empty_share == (sizes == 0).mean()
    assert report.single_share == (sizes == 1).mean()
    edges = [0, 1, 2, 4, 8, 16, 32, 64, 128]
    assert report.size_counts.tolist() == np.histogram(sizes, edges)[0].tolist()
    assert LabelSetSummary.empty(3).finalize()[:4] == (0.0, 0.0, 0.0, 0.0)


def test_sizes_at_the_bounds_have_a_place() -> None:
    summary = LabelSetSummary.empty(60)
    summary.update(np.array([True, True, False]), np.array([2.0**60, np.inf, 0.0]))
    assert summary.finalize().size_counts[[0, 61]].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("covered", "sizes", "message"),
    [
        ([True], [1.0, 2.0], "give bool and numbers"),
        ([1], [1.0], "give bool and numbers"),
        ([[True]], [[1.0]], "give bool and numbers"),
        ([True], [math.nan], "NaN"),
        ([True], [-1.0], "below 0"),
    ],
)
def test_bad_blocks_are_refused(covered: Any, sizes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelSetSummary.empty(3).update(covered, sizes)
    with pytest.raises(InputError, match="merge like ones"):
        LabelSetSummary.empty(3).merge(LabelSetSummary.empty(4))


def test_outputs_of_scikit_learn_keep_labels_that_training_never_saw() -> None:
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(25)
    X, labels = rng.normal(size=(80, 3)), rng.integers(0, 2, (80, 4))
    labels[:, 1], labels[:, 2] = 0, 1
    forest = RandomForestClassifier(10, random_state=0).fit(X, labels)
    outputs = positive_probabilities(forest.predict_proba(X), forest.classes_)
    assert outputs.shape == (80, 4)
    np.testing.assert_array_equal(outputs[:, 0], forest.predict_proba(X)[0][:, 1])
    assert (outputs[:, 1] == 0).all()
    assert (outputs[:, 2] == 1).all()
    with pytest.raises(InputError, match="classes_"):
        positive_probabilities(forest.predict_proba(X), forest.classes_[:2])
    with pytest.raises(InputError, match="at label 0"):
        positive_probabilities([[0.5]], [[0, 1]])
