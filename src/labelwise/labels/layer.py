"""Corrections as a layer on top of given labels: who changed what, when and why; nothing given is overwritten."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels


@dataclass(frozen=True)
class Change:
    """One entry of the trail. ``undoes`` is the number of the entry that this one takes back, or None."""

    number: int
    index: int
    before: int
    after: int
    who: str
    when: str
    why: str = ""
    undoes: int | None = None


class LabelLayer:
    """Given labels (n,) int64 and an append-only trail of changes; undoing a change is a change too."""

    def __init__(self, given: ArrayLike) -> None:
        self.given = check_labels(given).copy()
        self.given.flags.writeable = False
        self._current = self.given.copy()
        self._trail: list[Change] = []

    def correct(
        self, indices: ArrayLike, labels: ArrayLike, who: str, why: str = "", when: datetime | None = None
    ) -> None:
        """Set the labels of rows ``indices`` (m,); raises InputError for a row that is not there."""
        rows, values = np.atleast_1d(np.asarray(indices)), np.atleast_1d(np.asarray(labels))
        values = check_labels(np.broadcast_to(values, rows.shape))
        outside = rows[(rows < 0) | (rows >= len(self.given))]
        if len(outside):
            raise InputError(f"row {outside[0]} is not among the {len(self.given)} labels; rows count from 0")
        stamp = _stamp(when)
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            self._append(row, value, who, stamp, why, None)

    def undo(self, count: int = 1, *, who: str = "", when: datetime | None = None) -> int:
        """Take back the last ``count`` changes that still stand; return how many were taken back."""
        undone = {change.undoes for change in self._trail}
        standing = [change for change in self._trail if change.undoes is None and change.number not in undone]
        for change in reversed(standing[-count:] if count > 0 else []):
            self._append(change.index, change.before, who or change.who, _stamp(when), "undo", change.number)
        return min(max(count, 0), len(standing))

    def current(self) -> NDArray[np.int64]:
        """Return the labels with all changes applied, (n,), a copy."""
        return self._current.copy()

    def history(self) -> tuple[Change, ...]:
        """Return the whole trail, oldest first."""
        return tuple(self._trail)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the trail as JSON-able records."""
        return [asdict(change) for change in self._trail]

    @classmethod
    def from_records(cls, given: ArrayLike, records: Iterable[dict[str, Any]]) -> "LabelLayer":
        """Replay a trail on given labels; raises InputError where it does not fit them."""
        layer = cls(given)
        for record in records:
            change = Change(**record)
            if not 0 <= change.index < len(layer.given) or layer._current[change.index] != change.before:
                raise InputError(
                    f"change {change.number} says that row {change.index} was {change.before}, which these labels deny; "
                    "replay the trail on the labels that it was made for"
                )
            layer._trail.append(change)
            layer._current[change.index] = change.after
        return layer

    def _append(self, row: int, value: int, who: str, when: str, why: str, undoes: int | None) -> None:
        before = int(self._current[row])
        self._trail.append(Change(len(self._trail), row, before, value, who, when, why, undoes))
        self._current[row] = value


def _stamp(when: datetime | None) -> str:
    return (when or datetime.now(UTC)).isoformat(timespec="seconds")
