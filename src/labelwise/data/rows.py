"""What all readers of rows share: collecting the rows to reject, texts, splits, places."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError
from labelwise.files import quote

MAX_TEXT = 1_000_000  # characters of a text; longer ones are rejected

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "train",
    "valid": "train",
    "validation": "train",
    "dev": "train",
    "": "train",
    "test": "test",
    "testing": "test",
}


def row_location(index: int) -> str:
    """A data row for messages, counted from 1 without the header."""
    return f"row {index + 1}"


class RowChecks:
    """Collects why rows of one block are rejected; the first reason of a row stands."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._reasons: dict[int, str] = {}

    def reject(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Reject the rows where ``bad`` (n,) is True."""
        for row in np.flatnonzero(bad).tolist():
            self._reasons.setdefault(row, reason)

    def reject_row(self, row: int, reason: str) -> None:
        """Reject one row."""
        self._reasons.setdefault(row, reason)

    def kept(self) -> NDArray[np.int64]:
        """Positions (m,) of the rows that stay."""
        keep = np.ones(self._rows, dtype=bool)
        keep[list(self._reasons)] = False
        return np.flatnonzero(keep)

    def reasons(self) -> list[tuple[int, str]]:
        """Rejected rows in order, with their reason."""
        return sorted(self._reasons.items())

    def texts(self, values: NDArray[np.object_]) -> NDArray[np.object_]:
        """Reject empty texts and those of more than a million characters; return the texts (n,)."""
        empty = np.array([not isinstance(value, str) or not value.strip() for value in values], dtype=bool)
        lengths = np.array([len(value) if isinstance(value, str) else 0 for value in values], dtype=np.int64)
        self.reject(empty, "the text is empty")
        for row in np.flatnonzero(lengths > MAX_TEXT).tolist():
            self.reject_row(row, f"the text has {lengths[row]:,} characters, more than the limit of {MAX_TEXT:,}")
        return values


def decode_split(values: Any, place: str) -> NDArray[np.str_]:
    """Values (n,) of a split column as "train" and "test"; validation rows count as training rows.

    Raises InputError for any other word.
    """
    import pandas as pd

    codes, uniques = pd.factorize(np.asarray(values))
    words = ["" if value is None else str(value).strip().lower() for value in uniques]
    unknown = next((word for word in words if word not in _SPLITS), None)
    if unknown is not None:
        raise InputError(f"{place} holds {quote(unknown)}: use the words train and test")
    return np.array([*(_SPLITS[word] for word in words), "train"], dtype=str)[codes]


def holds_split(values: Any) -> bool:
    """Whether a column (n,) reads as a split with both train and test rows."""
    import pandas as pd

    words = {str(value).strip().lower() for value in pd.unique(np.asarray(values)) if value is not None}
    return words <= set(_SPLITS) and {"train", "test"} <= {_SPLITS[word] for word in words}
