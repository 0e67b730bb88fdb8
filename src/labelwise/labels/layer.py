"""Corrections as a layer on top of given labels: who changed what, when and why; nothing given is overwritten."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels


@dataclass(frozen=True, slots=True)
class Change:
    """One row's part of an action. ``undoes`` is the number of the action that this one takes back, or None.

    ``when`` is a UTC time as ISO 8601; ``before`` and ``after`` are labels, -1 = unlabelled. A change with the same
    label on both sides is a confirmation: somebody looked, and the label stays.
    """

    action: int
    index: int
    before: int
    after: int
    who: str
    when: str
    why: str = ""
    undoes: int | None = None


COLUMNS = tuple(field.name for field in fields(Change))
NUMBERS = ("action", "index", "before", "after", "undoes")


class LabelLayer:
    """Given labels (n,) int64 and an append-only trail of actions; taking one back is an action too.

    ``num_classes`` limits what labels may be given and set. Raises InputError for labels that are none.
    """

    def __init__(self, given: ArrayLike, *, num_classes: int | None = None) -> None:
        self._given = check_labels(given, num_classes=num_classes).copy()
        self._given.flags.writeable = False
        self._num_classes = num_classes
        self._current = self._given.copy()
        self._trail: list[Change] = []

    @property
    def given(self) -> NDArray[np.int64]:
        """Labels as they came, (n,), read-only."""
        return self._given

    def current(self) -> NDArray[np.int64]:
        """Return the labels with all corrections applied, (n,), a copy."""
        return self._current.copy()

    def history(self) -> tuple[Change, ...]:
        """Return the whole trail, oldest first."""
        return tuple(self._trail)

    def correct(
        self, indices: ArrayLike, labels: ArrayLike, who: str, why: str = "", when: datetime | None = None
    ) -> None:
        """Set rows ``indices`` (m,) to ``labels``, (m,) or one for all, as one action.

        ``when`` has a time zone; the default is now. All or nothing: raises InputError, with nothing changed, for a
        row that is not there or comes twice, a label that is none, or an empty ``who``.
        """
        rows = self._check_rows(indices)
        if not len(rows):
            return
        values = np.atleast_1d(np.asarray(labels))
        if len(values) not in (1, len(rows)):
            raise InputError(f"there are {len(rows)} indices but {len(values)} labels: give one label, or one a row.")
        values = np.broadcast_to(check_labels(values, num_classes=self._num_classes), rows.shape)
        if not who.strip():
            raise InputError("who is empty: name the person or the program that corrects.")
        action, stamp = self._next_action(), _stamp(when)
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            self._append(Change(action, row, int(self._current[row]), value, who, stamp, why))

    def undo(self, n: int = 1, *, who: str = "", why: str = "undo", when: datetime | None = None) -> int:
        """Take back the last ``n`` actions that still stand, newest first; return how many that were.

        ``who`` is by default whoever made the action that is taken back. An undo is never itself undone.
        """
        if n < 1:
            raise InputError(f"n is {n}: give the number of actions to take back, at least 1.")
        stamp = _stamp(when)
        undone = {change.undoes for change in self._trail}
        made = {change.action for change in self._trail if change.undoes is None}
        last = sorted(made - undone, reverse=True)[:n]
        for target in last:
            action = self._next_action()
            for change in [each for each in self._trail if each.action == target]:
                back = Change(action, change.index, change.after, change.before, who or change.who, stamp, why, target)
                self._append(back)
        return len(last)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the trail as JSON-able records, one a changed row."""
        return [asdict(change) for change in self._trail]

    @classmethod
    def from_records(
        cls, given: ArrayLike, records: Iterable[Mapping[str, Any]], *, num_classes: int | None = None
    ) -> Self:
        """Replay a trail on given labels; raises InputError where a record is damaged or does not fit them."""
        layer = cls(given, num_classes=num_classes)
        for number, record in enumerate(records):
            layer._append(layer._check_record(number, record))
        return layer

    def save(self, path: str | Path) -> None:
        """Write the trail to a ``.csv`` or ``.json`` file, at once: a reader sees the old file or the new one."""
        path = Path(path)
        if path.suffix == ".json":
            text = json.dumps({"rows": len(self._given), "changes": self.to_records()}, indent=1) + "\n"
        else:
            _refuse_unknown_suffix(path)
            text = _to_csv(self.to_records())
        _write_and_rename(path, text)

    @classmethod
    def load(cls, path: str | Path, given: ArrayLike, *, num_classes: int | None = None) -> Self:
        """Read a trail that ``save`` wrote and replay it on ``given``; raises InputError where that fails."""
        path = Path(path)
        _refuse_unknown_suffix(path)
        try:
            text = path.read_bytes().decode("utf-8")
            records = json.loads(text)["changes"] if path.suffix == ".json" else _from_csv(text)
            return cls.from_records(given, records, num_classes=num_classes)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no trail of corrections can be read ({error}): restore the file.") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def _check_rows(self, indices: ArrayLike) -> NDArray[np.int64]:
        rows = np.atleast_1d(np.asarray(indices))
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise InputError(f"indices has shape {rows.shape} and type {rows.dtype}: give row numbers, not a mask.")
        outside = rows[(rows < 0) | (rows >= len(self._given))]
        if len(outside):
            raise InputError(f"row {outside[0]} is not there: give rows from 0 to {len(self._given) - 1}.")
        unique, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            raise InputError(f"row {unique[counts.argmax()]} comes twice in indices: give every row once.")
        return rows.astype(np.int64)

    def _check_record(self, number: int, record: Mapping[str, Any]) -> Change:
        """One record as a change that may follow what the trail holds so far."""
        if not isinstance(record, Mapping) or set(record) != set(COLUMNS):
            raise InputError(f"record {number} has not the fields {', '.join(COLUMNS)}: restore the file.")
        change = Change(**record)
        numbers = (change.action, change.index, change.before, change.after)
        if not all(type(value) is int for value in numbers) or not isinstance(change.who, str):
            raise InputError(f"record {number} has a number that is none: restore the file.")
        if not 0 <= change.index < len(self._given) or self._current[change.index] != change.before:
            raise InputError(
                f"record {number} says that row {change.index} was {change.before}, which these labels deny: "
                "replay the trail on the labels that it was made for."
            )
        check_labels([change.after], num_classes=self._num_classes, name=f"record {number}, after,")
        if change.action not in (self._next_action() - 1, self._next_action()):
            raise InputError(f"record {number} has action {change.action} out of order: restore the file.")
        return change

    def _next_action(self) -> int:
        return self._trail[-1].action + 1 if self._trail else 0

    def _append(self, change: Change) -> None:
        self._trail.append(change)
        self._current[change.index] = change.after


def _stamp(when: datetime | None) -> str:
    when = when or datetime.now(UTC)
    if when.tzinfo is None:
        raise InputError(f"when is {when}, without a time zone: give for instance datetime.now(UTC).")
    return when.astimezone(UTC).isoformat(timespec="seconds")


def _refuse_unknown_suffix(path: Path) -> None:
    if path.suffix not in (".csv", ".json"):
        raise InputError(f"{path}: the kind of file is not known: give a name that ends in .csv or .json.")


def _to_csv(records: Iterable[Mapping[str, Any]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _from_csv(text: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""))):
        try:
            numbers = {name: None if name == "undoes" and not row[name] else int(row[name]) for name in NUMBERS}
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"record {number} has a number that is none ({error}): restore the file.") from error
        records.append({**row, **numbers})
    return records


def _write_and_rename(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another place.") from error
