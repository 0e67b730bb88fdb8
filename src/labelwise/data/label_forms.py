"""What the cells of a label column mean where they are not one class each: numbers, or several labels in a cell."""

import ast
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data.classes import MAX_CLASS_NAME, UNLABELLED, sort_classes
from labelwise.data.rows import RowChecks
from labelwise.errors import InputError
from labelwise.files import quote

SEPARATORS = ("|", ";")
# A comma stands in many single names, so it separates only where several labels are asked for.
ASKED_SEPARATORS = (*SEPARATORS, ",")
_LONGEST_LIST = 100_000  # characters
_MISSING = frozenset({"", "?", "#n/a", "<na>", "n/a", "na", "null", "nan", "none"})


# The names in each cell, or None where nothing is known of the row.
LabelSets = list[tuple[str, ...] | None]


def task_of_values(values: NDArray[Any]) -> str:
    """The task that label cells (n,) speak of: lists or separated names, numbers with fractions, else classes.

    A list may be written out as text, ``['a', 'b']``, as pandas does in CSV files. Names count as separated by ``|`` or
    ``;`` where fewer different names than different cells come of it: a mark that is part of single names makes more.
    """
    if any(isinstance(value, (list, tuple, np.ndarray)) for value in values):
        return "multilabel"
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        return "regression" if len(known) and (known != np.floor(known)).any() else "classification"
    if values.dtype.kind != "O":
        return "classification"
    cells = {str(value).strip() for value in values if value is not None}
    cells = {cell for cell in cells if cell.lower() not in _MISSING}
    if cells and all(_is_number(cell) for cell in cells):
        return "regression" if any(not float(cell).is_integer() for cell in cells) else "classification"
    if cells and all(_as_list(cell) is not None for cell in cells):
        return "multilabel"
    return "multilabel" if find_separator(cells) is not None else "classification"


def find_separator(cells: Iterable[str], marks: Iterable[str] = SEPARATORS) -> str | None:
    """The mark that separates several labels in a cell, None where none does."""
    cells = set(cells)
    for mark in marks:
        joined = [cell for cell in cells if mark in cell]
        parts = {part.strip() for cell in cells for part in cell.split(mark)}
        if len(joined) > 1 and len(parts - {""}) < len(cells):
            return mark
    return None


def read_numbers(values: NDArray[Any], name: str, checks: RowChecks) -> NDArray[np.float64]:
    """Numbers (n,) float64 of label cells, NaN where empty; rows with words or infinite numbers are rejected."""
    import pandas as pd

    cells = pd.Series(values, dtype=values.dtype)
    missing = cells.isna().to_numpy().copy()
    if values.dtype == object:
        text = cells.astype(str).str.strip()
        missing |= text.str.lower().isin(_MISSING).to_numpy()
        cells = text.where(~missing, None)
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    for row in np.flatnonzero(np.isnan(numbers) & ~missing).tolist():
        checks.reject_row(row, f"its {name} {quote(values[row], 40)} is not a number")
    checks.reject(np.isinf(numbers), f"its {name} is infinite")
    return np.where(np.isinf(numbers), np.nan, numbers)


def read_label_sets(values: NDArray[Any], separator: str | None) -> LabelSets:
    """Names in each cell (n,), a list or text divided by ``separator``; empty text is unknown, an empty list none.

    Nothing between two separators, or null in a list, is no name.
    """
    return [_names_in(value, separator) for value in values]


def _names_in(value: Any, separator: str | None) -> tuple[str, ...] | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, (list, tuple, np.ndarray)):
        return _without_blanks(value)
    text = str(value).strip()
    if text.lower() in _MISSING:
        return None
    listed = _as_list(text)
    if listed is not None:
        return _without_blanks(listed)
    parts = text.split(separator) if separator else [text]
    return _without_blanks(parts)


def _without_blanks(names: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(name).strip() for name in names if name is not None and str(name).strip())


def _as_list(cell: str) -> list[Any] | None:
    """The names or numbers of a list written out as text, None where it is none."""
    if not (cell.startswith("[") and cell.endswith("]") and len(cell) <= _LONGEST_LIST):
        return None
    try:
        listed = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return listed if all(isinstance(each, str | int | float | None) for each in listed) else None


def find_label_names(sets: LabelSets, place: str) -> tuple[str, ...]:
    """All names in order; raises InputError for fewer than two or one too long."""
    names = {name for each in sets if each is not None for name in each}
    if len(names) < 2:
        raise InputError(f"{place} holds {len(names)} different labels: at least two are needed to tell apart")
    too_long = next((name for name in names if len(name) > MAX_CLASS_NAME), None)
    if too_long is not None:
        raise InputError(f"{place} holds a label of {len(too_long):,} characters: shorten it")
    return sort_classes(names)


def encode_label_sets(sets: LabelSets, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Labels int64 (n, classes) of 1 and 0, a row of -1 where unknown; and row -> a name that is no class."""
    place = {name: column for column, name in enumerate(classes)}
    labels = np.zeros((len(sets), len(classes)), dtype=np.int64)
    strange: dict[int, str] = {}
    for row, names in enumerate(sets):
        if names is None:
            labels[row] = UNLABELLED
            continue
        for name in names:
            if name in place:
                labels[row, place[name]] = 1
            else:
                strange.setdefault(row, name)
    return labels, strange


def known_labels(labels: NDArray[Any], schema: dict[str, Any]) -> NDArray[Any]:
    """Labels with what is no class taken as unlabelled."""
    return labels if schema.get("task") == "regression" else np.maximum(labels, UNLABELLED)


def no_labels(rows: int, schema: dict[str, Any]) -> NDArray[Any]:
    """Labels of rows of which nothing is known, in the form of the task."""
    if schema.get("task") == "regression":
        return np.full(rows, np.nan)
    shape = (rows, len(schema["classes"])) if schema.get("task") == "multilabel" else (rows,)
    return np.full(shape, UNLABELLED, dtype=np.int64)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell) is not None
