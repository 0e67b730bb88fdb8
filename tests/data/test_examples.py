from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelwise.data.examples import Examples, Rejection, concatenate, duplicates
from labelwise.errors import InputError


def examples_of(inputs: Any, given: list[int], kind: Any = "arrays", **more: Any) -> Examples:
    n = len(given)
    fields = {"truth": None, "index": np.arange(10, 10 + n), "locations": [f"at {row}" for row in range(n)]} | more
    return Examples("test", kind, inputs, np.array(given, dtype=np.int64), ("a", "b", "c"), **fields)


def slow_groups(rows: list[Any]) -> list[list[int]]:
    seen: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        seen.setdefault(row, []).append(place)
    return [places for places in seen.values() if len(places) > 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("width", [1, 3, 8, 17])
def test_duplicates_agree_with_a_dictionary(dtype: Any, width: int) -> None:
    inputs = np.random.default_rng(width).integers(0, 3, (300, width)).astype(dtype)
    found = duplicates(examples_of(inputs, [0] * 300))
    assert [group.rows.tolist() for group in found] == slow_groups([row.tobytes() for row in inputs])


def test_words_swapped_between_places_are_no_duplicates() -> None:
    inputs = np.array([[1, 2], [2, 1], [0, 3], [-1, 4]], dtype=np.float64)
    assert duplicates(examples_of(inputs, [0] * 4)) == []


def test_zero_and_minus_zero_are_equal() -> None:
    inputs = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    assert len(duplicates(examples_of(inputs, [0, 1]))) == 1


def test_duplicates_of_texts_and_tables() -> None:
    texts = np.array(["x", "y", "x", "", ""], dtype=object)
    assert [group.rows.tolist() for group in duplicates(examples_of(texts, [0] * 5, "texts"))] == [[0, 2], [3, 4]]
    frame = pd.DataFrame({"n": [1.0, np.nan, 1.0, np.nan], "c": ["u", None, "v", None]})
    assert [group.rows.tolist() for group in duplicates(examples_of(frame, [0] * 4, "table"))] == [[1, 3]]


def test_conflict_needs_two_known_labels() -> None:
    inputs = np.array([[1], [1], [2], [2], [3], [3]], dtype=np.float32)
    found = duplicates(examples_of(inputs, [0, 1, 2, -1, 1, 1]))
    assert [group.conflicting for group in found] == [True, False, False]


def test_no_rows_no_duplicates() -> None:
    assert duplicates(examples_of(np.zeros((0, 2), dtype=np.float32), [])) == []


def test_subset_keeps_places_and_truth() -> None:
    data = examples_of(
        np.arange(4.0)[:, None], [0, 1, -1, 2], truth=np.array([2, 1, 0, 2]), split=np.array(["train"] * 4)
    )
    by_mask = data.subset(np.array([False, True, False, True]))
    by_rows = data.subset([1, 3])
    assert by_mask.index.tolist() == by_rows.index.tolist() == [11, 13]
    assert [by_mask.location(row) for row in (0, 1)] == ["at 1", "at 3"]
    assert by_mask.truth is not None
    assert by_mask.truth.tolist() == [1, 2]
    with pytest.raises(InputError, match="mask has 2 rows"):
        data.subset(np.array([True, False]))


def test_locations_may_be_a_function_of_the_position() -> None:
    data = examples_of(np.arange(4.0)[:, None], [0, 1, 1, 2], locations=lambda index: f"row {index + 1}")
    assert data.subset([3]).location(0) == "row 14"


def test_blocks_join_to_the_same() -> None:
    rejected = [Rejection(3, "row 4", "bad")]
    data = examples_of(np.arange(7.0)[:, None], [0, 1, 2, 0, 1, 2, -1], rejected=rejected, notes=["n"])
    joined = concatenate(list(data.blocks(3)))
    assert joined.inputs.tolist() == data.inputs.tolist()
    assert joined.index.tolist() == data.index.tolist()
    assert joined.rejected == rejected
    assert joined.notes == ["n"]
    with pytest.raises(InputError):
        concatenate([])
