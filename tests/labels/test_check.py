"""The door refuses bad input with its place and a remedy, and lets good input through unchanged."""

from typing import Any

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.labels.check import (
    check_labels,
    check_labels_and_pred_probs,
    check_multilabels,
    check_pred_probs,
    check_presence_probs,
)

HALVES = np.full((4, 2), 0.5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_become_int64(dtype: type) -> None:
    checked = check_labels(np.array([0, 2, 1], dtype=dtype), num_classes=3)
    assert checked.dtype == np.int64
    assert checked.tolist() == [0, 2, 1]


def test_lists_and_unlabelled_rows_pass() -> None:
    assert check_labels([-1, 0, -1]).tolist() == [-1, 0, -1]


def test_int64_labels_are_not_copied() -> None:
    labels = np.array([0, 1])
    assert check_labels(labels) is labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "is empty"),
        (3, "shape"),
        ([[0, 1]], r"shape \(1, 2\)"),
        ([0, 1, 2], "row 2 is 2: give classes 0 to 1"),
        ([0, -2, -3], "row 1 is -2"),
        ([0.0, 0.5], "row 1 is 0.5"),
        ([0.0, np.nan], "row 1 is nan"),
        ([np.inf, 0.0], "row 0 is inf"),
        ([1e300, 0.0], "row 0 is 1e"),
        (np.array([0, 2**63], dtype=np.uint64), "row 1 is 9223372036854775808"),
        ([True, False], "boolean"),
        (["cat", "dog"], "row 0 is 'cat'"),
        (np.array([0, None], dtype=object), "row 1 is None"),
        (np.array([0, 1], dtype=object), "type object"),
        ([0j, 1j], "row 0 is 0j"),
    ],
)
def test_bad_labels_are_refused(labels: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_labels(labels, num_classes=2)  # type: ignore[arg-type]


def test_huge_labels_are_refused_without_a_number_of_classes() -> None:
    for labels in (np.array([0, 2**63], dtype=np.uint64), np.array([0, 1e300])):
        with pytest.raises(InputError, match="row 1"):
            check_labels(labels)


def test_name_stands_in_the_message() -> None:
    with pytest.raises(InputError, match=r"^train\.csv row 0"):
        check_labels([9], num_classes=2, name="train.csv")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_good_probabilities_are_returned_as_they_are(dtype: type) -> None:
    probs = HALVES.astype(dtype)
    assert check_pred_probs(probs) is probs


def test_other_number_types_are_converted() -> None:
    assert check_pred_probs(HALVES.astype(np.float16)).dtype == np.float32
    assert check_pred_probs([[1, 0], [0, 1]]).dtype == np.float64


def with_entry(row: int, column: int, value: float) -> np.ndarray:
    probs = HALVES.copy()
    probs[row, column] = value
    return probs


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (with_entry(2, 1, np.nan), "row 12, column 1 is nan"),
        (with_entry(1, 0, np.inf), "row 11, column 0 is inf"),
        (with_entry(1, 0, -np.inf), "row 11, column 0 is -inf"),
        (with_entry(3, 1, -0.5), "row 13, column 1 is -0.5, below 0"),
        (with_entry(0, 1, 0.7), "row 10 sums to 1.2, not 1"),
        (np.array([[1.5, -0.5]]), "row 10, column 1 is -0.5"),
        (np.zeros((2, 3)), "row 10 sums to 0"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.array([["a"]]), "type <U1"),
    ],
)
def test_bad_probabilities_are_refused(probs: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_pred_probs(probs, first_row=10)


def test_the_first_bad_row_is_named() -> None:
    probs = with_entry(1, 0, np.nan)
    probs[3] = 7
    with pytest.raises(InputError, match="row 1"):
        check_pred_probs(probs)


def test_tolerance_of_the_row_sum() -> None:
    check_pred_probs([[0.5, 0.50009]])
    with pytest.raises(InputError, match="sums to"):
        check_pred_probs([[0.5, 0.50011]])


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="4 rows for 3 labels"):
        check_labels_and_pred_probs([0, 1, 0], HALVES)
    with pytest.raises(InputError, match="row 3 is 2: give classes 0 to 1"):
        check_labels_and_pred_probs([0, 1, 0, 2], HALVES)


@pytest.mark.parametrize("given", [[[1, 0], [-1, 1]], [[1.0, 0.0], [-1.0, 1.0]], np.array([[1, 0], [-1, 1]], np.int8)])
def test_several_labels_a_row_become_int64(given: Any) -> None:
    found = check_multilabels(given)
    assert found.dtype == np.int64
    assert found.tolist() == [[1, 0], [-1, 1]]


def test_several_labels_may_be_boolean_and_int64_is_not_copied() -> None:
    assert check_multilabels([[True, False]]).tolist() == [[1, 0]]
    given = np.array([[1, 0]], dtype=np.int64)
    assert check_multilabels(given) is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 0], "one column for each label"),
        ([["yes"]], "give 1, 0 and -1"),
        ([[0, 0], [0, 2]], "row 1, column 1 is 2"),
        ([[0.5]], "row 0, column 0 is 0.5"),
        ([[np.nan]], "is nan"),
        ([[np.inf]], "is inf"),
        ([[-2]], "is -2"),
    ],
)
def test_bad_labels_of_several_a_row_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_multilabels(given)


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([0.5], r"shape \(1,\)"),
        ([["a"]], "type"),
        ([[0.5, np.nan]], "row 7, column 1 is nan"),
        ([[0.5, 0.2], [np.inf, 0.5]], "row 8, column 0 is inf"),
        ([[-1e-9]], "row 7, column 0 is -1e-09.*sigmoid"),
        ([[2]], "row 7, column 0 is 2"),
    ],
)
def test_bad_probabilities_of_presence_are_refused(probs: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_presence_probs(probs, first_row=7)  # type: ignore[arg-type]


def test_probabilities_of_presence_need_not_sum_to_one() -> None:
    probs = np.array([[1.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    assert check_presence_probs(probs) is probs
    assert check_presence_probs(probs.astype(np.float16)).dtype == np.float32
    assert check_presence_probs([[1, 0]]).dtype == np.float64
    assert check_presence_probs(np.empty((0, 2))).shape == (0, 2)


def test_the_first_row_of_a_block_of_multilabels_counts() -> None:
    with pytest.raises(InputError, match="row 11, column 1 is 2"):
        check_multilabels([[1, 0], [0, 2]], first_row=10)
