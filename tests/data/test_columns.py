"""Frames as one number a column: scales, codes, missing cells, and what is refused."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelwise import InputError
from labelwise.data.columns import ColumnEncoder

NAN = np.nan


def encode(frame: pd.DataFrame, new: pd.DataFrame | None = None, categorical: Any = ()) -> list[list[float]]:
    encoder = ColumnEncoder().fit(frame, categorical)
    return encoder.transform(frame if new is None else new).tolist()


def test_numbers_come_first_then_codes_by_frequency() -> None:
    frame = pd.DataFrame({"word": ["b", "a", "b", "b", "a"], "number": [10, 20, 15, 10, 30]})
    encoder = ColumnEncoder().fit(frame)
    assert encoder.transform(frame).tolist() == [[0, 0], [0.5, 1], [0.25, 0], [0, 0], [1, 1]]
    assert encoder.cardinalities == [2]
    assert encoder.fill == [0.25]  # the median, 15
    new = pd.DataFrame({"word": ["a", "c"], "number": [40, NAN]})
    np.testing.assert_array_equal(encoder.transform(new), [[1.5, 1], [NAN, NAN]])


def test_rare_categories_share_a_code_that_new_ones_take_too() -> None:
    frame = pd.DataFrame({"x": range(7), "word": ["a", "a", "b", "c", None, "d", "d"]})
    encoder = ColumnEncoder().fit(frame)
    assert encoder.cardinalities == [3]
    np.testing.assert_array_equal(encoder.transform(frame)[:, 1], [0, 0, 2, 2, NAN, 1, 1])
    new = pd.DataFrame({"x": [0, 0], "word": ["never seen", "d"]})
    assert encoder.transform(new)[:, 1].tolist() == [2, 1]


def test_all_but_the_fifty_most_frequent_share_a_code() -> None:
    words = [f"w{number:02d}" for number in range(60)]
    frame = pd.DataFrame({"word": words * 2 + words[55:], "x": 0.0})
    encoder = ColumnEncoder().fit(frame)
    assert encoder.cardinalities == [51]
    codes = dict(zip(words, encoder.transform(frame.iloc[:60])[:, 1].tolist(), strict=True))
    assert [codes[f"w{number}"] for number in range(55, 60)] == [0, 1, 2, 3, 4]
    assert sorted(codes.values()) == [*range(50)] + [50] * 10


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, None, 3.0], [0, NAN, 1]),
        (pd.array([1, None, 3], dtype="Int64"), [0, NAN, 1]),
        (np.array([1, None, 3], dtype=object), [0, NAN, 1]),
        ([True, False, True], [1, 0, 1]),
        (pd.to_datetime(["2020-01-01", None, "2020-01-03"]), [0, NAN, 1]),
        (pd.to_datetime(["2020-01-01", None, "2020-01-03"], utc=True), [0, NAN, 1]),
        (pd.to_timedelta([1, None, 5], unit="h"), [0, NAN, 1]),
        ([7, 7, 7], [0, 0, 0]),
        ([NAN, NAN, NAN], [NAN, NAN, NAN]),
        ([-1e300, 0.0, 1e300], [0, 0.5, 1]),
        ([5e-324, 0.0, 0.0], [1, 0, 0]),
    ],
)
def test_kinds_of_numbers(values: Any, expected: list[float]) -> None:
    frame = pd.DataFrame({"x": values, "y": [0.0, 1.0, 2.0]})
    np.testing.assert_allclose(encode(frame), np.column_stack([expected, [0, 0.5, 1]]), rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        ["u", None, "v", "u", "v"],
        pd.Categorical(["u", None, "v", "u", "v"]),
        np.array(["u", NAN, "v", "u", "v"], object),
    ],
)
def test_kinds_of_categories(values: Any) -> None:
    frame = pd.DataFrame({"x": values, "y": [0.0, 1.0, 2.0, 3.0, 4.0]})
    np.testing.assert_array_equal(np.array(encode(frame))[:, 1], [0, NAN, 1, 0, 1])


@pytest.mark.parametrize("categorical", [("code",), (1,), ("code", 1), (np.int64(1),)])
def test_numbers_that_are_categories(categorical: Any) -> None:
    frame = pd.DataFrame({"y": [0.0, 1.0, 2.0, 3.0], "code": [7, 3, 7, 3]})
    assert [row[1] for row in encode(frame, categorical=categorical)] == [1, 0, 1, 0]
    read_as_float = pd.DataFrame({"y": [0.0, 0.0], "code": [3.0, NAN]})
    np.testing.assert_array_equal(np.array(encode(frame, read_as_float, categorical))[:, 1], [0, NAN])


def test_state_is_json_and_gives_the_same() -> None:
    frame = pd.DataFrame({"x": [1.0, NAN, 3.0], "word": ["a", "a", None], "z": [True, False, True]})
    encoder = ColumnEncoder().fit(frame)
    state, arrays = encoder.to_state()
    again = ColumnEncoder.from_state(json.loads(json.dumps(state)), arrays)
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    assert (again.fill, again.cardinalities) == (encoder.fill, encoder.cardinalities)


def test_no_rows_of_new_data() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "word": ["a", "a"]})
    assert ColumnEncoder().fit(frame).transform(frame.iloc[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("frame", "categorical", "message"),
    [
        (pd.DataFrame({"x": [1.0, np.inf]}), (), "column 'x' holds inf in row 1"),
        (pd.DataFrame({"x": [-np.inf, 0.0]}), (), "column 'x' holds -inf in row 0"),
        (pd.DataFrame({"x": [-1e308, 1e308]}), (), "column 'x' holds"),
        (pd.DataFrame({"x": [1.0]}), ("y",), r"names 'y', which is no column: the columns are \['x'\]"),
        (pd.DataFrame({"x": [1.0]}), (1,), "names 1, which is no column"),
        (pd.DataFrame({"x": [1.0]}), (-1,), "names -1, which is no column"),
    ],
)
def test_what_is_refused_in_fitting(frame: pd.DataFrame, categorical: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ColumnEncoder().fit(frame, categorical)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "column 'x' holds 'a', but held numbers in training"),
        ([NAN, np.inf], "column 'x' holds inf in row 1"),
        ([1.0, 1e300], r"column 'x' holds 1e\+300 in row 1"),
    ],
)
def test_what_is_refused_in_new_data(values: Any, message: str) -> None:
    encoder = ColumnEncoder().fit(pd.DataFrame({"x": [0.0, 1.0]}))
    with pytest.raises(InputError, match=message):
        encoder.transform(pd.DataFrame({"x": values}))
