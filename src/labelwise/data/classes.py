"""Label cells to class names and back to int64 labels."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError
from labelwise.files import quote

UNLABELLED = -1
UNKNOWN = -2
STRANGE_TRUTH = "some true labels are not among the classes of the given labels: they count as unknown"
MAX_CLASS_NAME = 1_000  # characters of a label cell

_MINUS_ONE = str(UNLABELLED)
_INTEGER = re.compile(r"[+-]?\d+")
_BLANK = {"", "nan"}


class LabelCells(NamedTuple):
    """Distinct label cells: ``codes`` int64 (n,) into ``names``; -1 = an empty cell."""

    codes: NDArray[np.int64]
    names: list[str]


def read_labels(values: Any, place: str) -> LabelCells:
    """Give each label cell of a 1-D array (n,) of text, numbers or booleans a name; whitespace around it is dropped.

    Empty cells and NaN are unlabelled; what -1 means is for the classes to say. ``place`` names the column in
    errors. Raises InputError when the labels are numbers with fractions: a regression target.
    """
    import pandas as pd

    codes, uniques = pd.factorize(np.asarray(values))
    names = [_cell_name(value) for value in uniques]
    numbers = [_number(name) for name in names if name.lower() not in _BLANK]
    if numbers and all(number is not None for number in numbers):
        fractional = next((number for number in numbers if number is not None and not number.is_integer()), None)
        if fractional is not None:
            raise InputError(
                f"{place} holds numbers with fractions ({fractional:g}): give --task regression, "
                "or turn it into named classes first"
            )
        names = [_integer_name(name) for name in names]
    empty = np.array([name.lower() in _BLANK for name in names] + [True])  # the last entry answers code -1
    return LabelCells(np.where(empty[codes], -1, codes).astype(np.int64), names)


def _cell_name(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return str(value).strip()


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _integer_name(name: str) -> str:
    number = None if _INTEGER.fullmatch(name) else _number(name)
    return name if number is None else str(int(number))


def find_classes(cells: LabelCells, place: str) -> tuple[str, ...]:
    """The class names in order: by value when all are integers, else as text.

    Among integers -1 is no class but means unlabelled, unless -1 and 1 are all there are. Raises InputError for
    no label at all, one class only, or more classes than half the labelled rows.
    """
    used = np.unique(cells.codes[cells.codes >= 0])
    names = {cells.names[code] for code in used}
    labelled = int((cells.codes >= 0).sum())
    hint = ""
    if _MINUS_ONE in names and names != {_MINUS_ONE, "1"} and all(_INTEGER.fullmatch(name) for name in names):
        names.remove(_MINUS_ONE)
        labelled -= int(_is_minus_one(cells).sum())
        hint = " (-1 means unlabelled)"
    if not names:
        raise InputError(f"{place} is empty in every row: no example carries a label")
    if len(names) == 1:
        only = quote(next(iter(names)))
        raise InputError(f"{place} holds one class only, {only}{hint}: at least two are needed to learn")
    if len(names) > max(2, labelled / 2):
        raise InputError(
            f"{place} holds {len(names)} different values in {labelled} labelled rows: it looks like an identifier "
            "or numbers to predict: choose the column of the classes, or give --task regression for numbers"
        )
    return sort_classes(names)


def sort_classes(names: set[str]) -> tuple[str, ...]:
    """Class names by value when all are integers, else as text."""
    if all(_INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def encode_labels(cells: LabelCells, classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels int64 (n,) as positions in ``classes``; -1 = unlabelled, -2 = not one of the classes.

    A cell of -1 is unlabelled unless -1 is a class: so all blocks of a column are read alike.
    """
    position = {_MINUS_ONE: UNLABELLED} | {name: label for label, name in enumerate(classes)}
    table = [position.get(name, position.get(_integer_name(name), UNKNOWN)) for name in cells.names]
    return np.array([*table, UNLABELLED], dtype=np.int64)[cells.codes]


def minus_one_notes(cells: LabelCells, classes: Sequence[str], place: str) -> list[str]:
    """A note on how many rows count as unlabelled because their label is -1; none where there are no such rows."""
    count = 0 if _MINUS_ONE in classes else int(_is_minus_one(cells).sum())
    return [f"{place} is -1 in {count:,} rows: they are taken as unlabelled"] if count else []


def _is_minus_one(cells: LabelCells) -> NDArray[np.bool_]:
    return np.array([*(_integer_name(name) == _MINUS_ONE for name in cells.names), False])[cells.codes]
