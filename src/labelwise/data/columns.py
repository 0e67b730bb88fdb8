"""From a frame to one number a column: what a transformer over columns takes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelwise.data.encode import State, category_codes, floats, frequent_categories
from labelwise.errors import InputError


class ColumnEncoder:
    """A frame of numbers and categories to float32 (n, columns): the numbers first, then the codes of categories.

    Numbers and dates are brought from their range in the fitted rows to [0, 1]; categories become codes 0, 1, ... of
    the 50 most frequent that occur at least twice, then one code for the rest, if there is any. A missing cell is NaN,
    and so is a category never seen where there is no rest. Columns are told apart by position.

    ``fill`` (numbers,) are the medians after scaling, ``cardinalities`` (categories,) the numbers of codes.
    """

    kind: ClassVar[str] = "columns"

    def __init__(self) -> None:
        self.numbers: list[dict[str, Any]] = []
        self.categories: list[dict[str, Any]] = []

    @property
    def fill(self) -> list[float]:
        """Median of each number, scaled."""
        return [column["fill"] for column in self.numbers]

    @property
    def cardinalities(self) -> list[int]:
        """How many codes each category has."""
        return [len(column["categories"]) + column["other"] for column in self.categories]

    def fit(self, frame: Any, categorical: Sequence[str | int] = ()) -> "ColumnEncoder":
        """Learn ranges and categories of a frame of n rows.

        ``categorical`` names columns of numbers, or gives their positions, that are categories all the same. Raises
        InputError for one that is not there, and for numbers that are infinite.
        """
        named = {_position(frame, column) for column in categorical}
        self.numbers, self.categories = [], []
        for position in range(frame.shape[1]):
            series = _inferred(frame.iloc[:, position])
            if position in named or series.dtype.kind not in "biufmM":
                kept, other = frequent_categories(_texts(series))
                self.categories.append({"position": position, "categories": kept, "other": other})
            else:
                self.numbers.append({"position": position} | _range(_numbers(series)))
        self.transform(frame)  # refuses what is infinite
        return self

    def transform(self, frame: Any) -> NDArray[np.float32]:
        """Rows (n, columns) float32. Raises InputError for infinite numbers, and for words in a column of numbers."""
        encoded = np.empty((len(frame), len(self.numbers) + len(self.categories)), dtype=np.float32)
        for place, column in enumerate(self.numbers):
            encoded[:, place] = _scaled(frame, column)
        for place, column in enumerate(self.categories, len(self.numbers)):
            codes = category_codes(_texts(_inferred(frame.iloc[:, column["position"]])), column["categories"])
            is_code = (codes >= 0) & (codes < len(column["categories"]) + column["other"])
            encoded[:, place] = np.where(is_code, codes, np.nan)
        return encoded

    def to_state(self) -> State:
        """Return what ``from_state`` rebuilds the encoder from."""
        return {"kind": self.kind, "numbers": self.numbers, "categories": self.categories}, {}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "ColumnEncoder":
        """The inverse of ``to_state``."""
        encoder = cls()
        encoder.numbers, encoder.categories = state["numbers"], state["categories"]
        return encoder


def _position(frame: Any, column: str | int) -> int:
    names = frame.columns.tolist()
    if column in names:
        return names.index(column)
    if isinstance(column, (int, np.integer)) and 0 <= column < len(names):
        return int(column)
    raise InputError(f"categorical names {column!r}, which is no column: the columns are {names[:20]}")


def _inferred(series: Any) -> Any:
    """Objects that are all numbers, as an array of mixed types has them, as numbers."""
    if series.dtype.kind != "O" or series.dtype.name == "category":
        return series
    known = series.dropna().infer_objects()
    return series if known.dtype.kind not in "biufmM" else known.reindex(series.index)


def _texts(series: Any) -> Any:
    """Cells as text, None where missing; numbers alike whether they were read as whole or as decimal."""
    if series.dtype.kind in "biuf":
        series = series.astype(np.float64)
    return series.astype(object).where(series.notna(), None).map(str, na_action="ignore")


def _numbers(series: Any) -> NDArray[np.float64]:
    """Numbers (n,), dates as days since 1970; NaN where missing."""
    if series.dtype.kind == "M":
        series = series.dt.tz_localize(None) - np.datetime64(0, "s")
    return floats(series / np.timedelta64(1, "D") if series.dtype.kind == "m" else series)


def _range(values: NDArray[np.float64]) -> dict[str, float]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    scale = high - low if high > low else 1.0
    return {"low": low, "scale": scale, "fill": (float(np.median(known)) - low) / scale if len(known) else 0.0}


def _scaled(frame: Any, column: dict[str, Any]) -> NDArray[np.float32]:
    series = _inferred(frame.iloc[:, column["position"]])
    name = frame.columns[column["position"]]
    if series.dtype.kind not in "biufmM" and series.notna().any():
        raise InputError(
            f"column {name!r} holds {series.dropna().iloc[0]!r}, but held numbers in training: give numbers, NaN where "
            "one is missing"
        )
    values = _numbers(series) if series.dtype.kind in "biufmM" else np.full(len(series), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = ((values - column["low"]) / column["scale"]).astype(np.float32)
    wrong = ~np.isfinite(scaled) & ~np.isnan(values)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"column {name!r} holds {values[row]} in row {row}: repair it, or give NaN where the number is missing"
        )
    return scaled
