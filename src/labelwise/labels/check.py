"""The door: labels and probabilities are checked here once, so that everything behind may trust them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

UNLABELLED = -1
MAX_INT64 = np.iinfo(np.int64).max


def check_labels(labels: ArrayLike, *, num_classes: int | None = None, name: str = "labels") -> NDArray[np.int64]:
    """Labels as (n,) int64, every one a class 0 to num_classes - 1 or -1 = unlabelled.

    Integers of any width pass; floats pass when every one is a whole number. Booleans are refused, as they are more
    often a mask than a label. An array that is already int64 is returned as it is, not copied. Raises InputError.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise InputError(f"{name} has shape {given.shape}: give one class number for each example, shape (n,).")
    if len(given) == 0:
        raise InputError(f"{name} is empty: give at least one example.")
    if given.dtype.kind not in "iuf":
        raise InputError(_not_numbers(given, name))
    if given.dtype.kind == "f":
        _refuse_fractions(given, name)
    _refuse_out_of_range(given, num_classes, name)
    return given.astype(np.int64, copy=False)


def check_multilabels(labels: ArrayLike, *, first_row: int = 0, name: str = "labels") -> NDArray[np.int64]:
    """Labels of a task with several a row as (n, labels) int64: 1, 0 or -1 = unknown.

    Integers of any width and booleans pass; floats pass when every one is a whole number. An array that is already
    int64 is returned as it is, not copied. first_row: number of the first row in the messages. Raises InputError.
    """
    given = np.asarray(labels)
    if given.ndim != 2:
        raise InputError(f"{name} has shape {given.shape}: give one row for each example, one column for each label.")
    if given.dtype.kind not in "biuf":
        raise InputError(f"{name} has type {given.dtype}: give 1, 0 and -1 = unknown.")
    is_bad = ~((given == 1) | (given == 0) | (given == UNLABELLED))
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InputError(
            f"{name} row {first_row + row}, column {column} is {given[row, column]}: give 1, 0 or -1 = unknown."
        )
    return given.astype(np.int64, copy=False)


def check_presence_probs(pred_probs: ArrayLike, *, first_row: int = 0, name: str = "pred_probs") -> NDArray[Any]:
    """Probabilities (n, labels) that labels apply, each from 0 to 1 by itself; rows need not sum to 1.

    float32 and float64 are returned as they are, float16 as float32, integers as float64. first_row: number of the
    first row in the messages. Raises InputError.
    """
    probs = np.asarray(pred_probs)
    if probs.ndim != 2:
        raise InputError(f"{name} has shape {probs.shape}: give one row for each example, one column for each label.")
    if probs.dtype.kind not in "iuf":
        raise InputError(f"{name} has type {probs.dtype}: give floating-point probabilities.")
    is_bad = ~((probs >= 0) & (probs <= 1))  # NaN fails every comparison
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InputError(
            f"{name} row {first_row + row}, column {column} is {probs[row, column]:.6g}: "
            "give probabilities from 0 to 1 (a sigmoid turns logits into them)."
        )
    return probs.astype(_float_type(probs.dtype), copy=False)


def check_pred_probs(
    pred_probs: ArrayLike,
    *,
    num_rows: int | None = None,
    first_row: int = 0,
    tolerance: float = 1e-4,
    name: str = "pred_probs",
) -> NDArray[Any]:
    """Class probabilities (n, classes) whose rows are finite, not negative and sum to 1 within `tolerance`.

    float32 and float64 are returned as they are, float16 as float32, integers (one-hot rows) as float64. num_rows:
    how many rows there must be, usually the number of labels. first_row: number of the first row in the messages, for
    a block out of something larger. Raises InputError. Cost: two reads of the array, one float64 a row.
    """
    probs = np.asarray(pred_probs)
    if probs.ndim != 2:
        raise InputError(f"{name} has shape {probs.shape}: give one row for each example, one column for each class.")
    if probs.shape[0] == 0 or probs.shape[1] == 0:
        raise InputError(f"{name} has shape {probs.shape}: give at least one row and one column.")
    if probs.dtype.kind not in "iuf":
        raise InputError(f"{name} has type {probs.dtype}: give floating-point probabilities.")
    if num_rows is not None and len(probs) != num_rows:
        raise InputError(
            f"{name} has {len(probs)} rows for {num_rows} labels: give one row of probabilities for each label."
        )
    probs = probs.astype(_float_type(probs.dtype), copy=False)
    totals = probs.sum(axis=1, dtype=np.float64)  # (n,)
    # NaN fails every comparison, so the test says what is right, not what is wrong.
    is_bad = ~((np.abs(totals - 1) <= tolerance) & (probs.min(axis=1) >= 0))  # (n,)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(_what_is_wrong(probs[row], first_row + row, name))
    return probs


def check_labels_and_pred_probs(labels: ArrayLike, pred_probs: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Both of them checked, and against each other: one row of probabilities a label, one column a class."""
    given = check_labels(labels)
    probs = check_pred_probs(pred_probs, num_rows=len(given))
    return check_labels(given, num_classes=probs.shape[1]), probs


def _float_type(dtype: np.dtype[Any]) -> type[np.float32] | type[np.float64]:
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def _not_numbers(given: NDArray[Any], name: str) -> str:
    if given.dtype.kind == "b":
        return f"{name} is boolean: if these are the classes 0 and 1, not a mask, convert with .astype(int)."
    for row, value in enumerate(given.tolist()):
        if not isinstance(value, int) or isinstance(value, bool):
            return (
                f"{name} row {row} is {value!r}, not a class number: "
                "number the classes 0, 1, 2, ... and give integers, -1 where the label is unknown."
            )
    return f"{name} has type {given.dtype}: convert it to integers with .astype(int)."


def _refuse_fractions(given: NDArray[Any], name: str) -> None:
    is_bad = ~(np.isfinite(given) & (given == np.floor(given)))
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(
            f"{name} row {row} is {given[row]}, not a whole class number: give integers, -1 where the label is unknown."
        )


def _refuse_out_of_range(given: NDArray[Any], num_classes: int | None, name: str) -> None:
    is_bad = given >= MAX_INT64 if num_classes is None else given >= num_classes
    if given.dtype.kind != "u":
        is_bad |= given < UNLABELLED
    if not is_bad.any():
        return
    row = int(is_bad.argmax())
    allowed = "0, 1, 2, ..." if num_classes is None else f"0 to {num_classes - 1}"
    raise InputError(f"{name} row {row} is {given[row]}: give classes {allowed}, or -1 where the label is unknown.")


def _what_is_wrong(probs: NDArray[Any], row: int, name: str) -> str:
    """Sentence on the first fault of one row (classes,)."""
    is_odd = ~np.isfinite(probs)
    if is_odd.any():
        column = int(is_odd.argmax())
        return f"{name} row {row}, column {column} is {probs[column]}: repair or leave out that example."
    if (probs < 0).any():
        column = int((probs < 0).argmax())
        return (
            f"{name} row {row}, column {column} is {probs[column]:.6g}, below 0: "
            "give probabilities, not logits (softmax turns the one into the other)."
        )
    total = probs.sum(dtype=np.float64)
    return f"{name} row {row} sums to {total:.6g}, not 1: divide every row by its sum, or apply softmax to logits."
