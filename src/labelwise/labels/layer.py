"""Corrections as a layer on top of given labels: who changed what, when and why; nothing given is overwritten."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.files import atomic_write, guard, unguard
from labelwise.labels.check import check_labels
from labelwise.labels.corrections import Corrections


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
TEXTS = ("who", "when", "why")


class LabelLayer:
    """Given labels (n,) int64 and an append-only trail of actions; taking one back is an action too.

    Where actions touch the same row, the later one holds. ``num_classes`` limits what labels may be given and set.
    Raises InputError for labels that are none.
    """

    def __init__(self, given: ArrayLike, *, num_classes: int | None = None) -> None:
        self._given = check_labels(given, num_classes=num_classes).copy()
        self._given.flags.writeable = False
        self._num_classes = num_classes
        self._current = self._given.copy()
        self._actions: list[list[Change]] = []
        self._undone: set[int] = set()

    @property
    def given(self) -> NDArray[np.int64]:
        """Labels as they came, (n,), read-only."""
        return self._given

    def current(self) -> NDArray[np.int64]:
        """Return the labels with all corrections applied, (n,), a copy."""
        return self._current.copy()

    def history(self) -> tuple[Change, ...]:
        """Return the whole trail, oldest first."""
        return tuple(change for action in self._actions for change in action)

    def to_corrections(self, num_classes: int | None = None) -> Corrections:
        """Return the current labels as one-hot targets (n, classes) float32, weights 1 and mask True.

        Unlabelled rows get 0 and False. Raises InputError where the number of classes is neither given nor known.
        """
        num_classes = self._num_classes if num_classes is None else num_classes
        if num_classes is None:
            raise InputError("num_classes is not known: give the number of classes.")
        labels = check_labels(self._current, num_classes=num_classes, name="current labels")
        mask = labels >= 0
        targets = np.zeros((len(labels), num_classes), dtype=np.float32)
        targets[mask, labels[mask]] = 1.0
        return Corrections(targets, mask.astype(np.float32), mask)

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
        number, stamp = len(self._actions), _stamp(when)
        self._append(
            [
                Change(number, row, int(self._current[row]), value, who, stamp, why)
                for row, value in zip(rows.tolist(), values.tolist(), strict=True)
            ]
        )

    def undo(self, n: int = 1, *, who: str = "", why: str = "undo", when: datetime | None = None) -> int:
        """Take back the last ``n`` actions that still stand, newest first; return how many that were.

        ``who`` is by default whoever made the action that is taken back. An undo is never itself undone.
        """
        if n < 1:
            raise InputError(f"n is {n}: give the number of actions to take back, at least 1.")
        stamp = _stamp(when)
        last = self._standing()[::-1][:n]
        for target in last:
            number, by = len(self._actions), who if who.strip() else self._actions[target][0].who
            self._append(
                [
                    Change(number, made.index, made.after, made.before, by, stamp, why, target)
                    for made in self._actions[target]
                ]
            )
        return len(last)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the trail as JSON-able records, one a changed row."""
        return [asdict(change) for change in self.history()]

    @classmethod
    def from_records(
        cls, given: ArrayLike, records: Iterable[Mapping[str, Any]], *, num_classes: int | None = None
    ) -> Self:
        """Replay a trail on given labels; raises InputError where a record is damaged or does not fit them."""
        layer = cls(given, num_classes=num_classes)
        changes = [_to_change(number, record) for number, record in enumerate(records)]
        for _, action in groupby(changes, key=attrgetter("action")):
            layer._replay(list(action))
        return layer

    def save(self, path: str | Path) -> None:
        """Write the trail to a ``.csv`` or ``.json`` file, at once: a reader sees the old file or the new one."""
        path = Path(path)
        if path.suffix == ".json":
            text = json.dumps({"rows": len(self._given), "changes": self.to_records()}, indent=1) + "\n"
        else:
            _refuse_unknown_suffix(path)
            text = _to_csv(self.to_records())
        with atomic_write(path) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, path: str | Path, given: ArrayLike, *, num_classes: int | None = None) -> Self:
        """Read a trail that ``save`` wrote and replay it on ``given``; raises InputError where that fails."""
        path = Path(path)
        _refuse_unknown_suffix(path)
        try:
            text = path.read_bytes().decode("utf-8")
            records = _from_json(text, len(np.asarray(given))) if path.suffix == ".json" else _from_csv(text)
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

    def _replay(self, action: list[Change]) -> None:
        """Append one action out of a file, if ``correct`` or ``undo`` could have made it."""
        first, name = action[0], f"action {action[0].action}"
        if first.action != len(self._actions):
            raise InputError(f"{name} is out of order: restore the file.")
        shared = {(change.who, change.when, change.why, change.undoes) for change in action}
        if len(shared) > 1 or not first.who.strip():
            raise InputError(f"{name} has no one who made it at one time: restore the file.")
        rows = self._check_rows([change.index for change in action])
        check_labels([change.after for change in action], num_classes=self._num_classes, name=f"{name}, after,")
        before = np.array([change.before for change in action])
        differs = self._current[rows] != before
        if differs.any():
            place = int(differs.argmax())
            raise InputError(
                f"{name} says that row {rows[place]} was {before[place]}, which these labels deny: "
                "replay the trail on the labels that it was made for."
            )
        if first.undoes is not None and not self._takes_back(action, first.undoes):
            raise InputError(f"{name} does not take back what action {first.undoes} did: restore the file.")
        self._append(action)

    def _takes_back(self, action: list[Change], target: int) -> bool:
        if target not in self._standing():
            return False
        made = {(change.index, change.before, change.after) for change in self._actions[target]}
        return made == {(change.index, change.after, change.before) for change in action}

    def _standing(self) -> list[int]:
        """Numbers of the actions that were not taken back, oldest first; an undo is none of them."""
        return [
            number
            for number, action in enumerate(self._actions)
            if action[0].undoes is None and number not in self._undone
        ]

    def _append(self, action: list[Change]) -> None:
        self._actions.append(action)
        if action[0].undoes is not None:
            self._undone.add(action[0].undoes)
        for change in action:
            self._current[change.index] = change.after


def _to_change(number: int, record: Mapping[str, Any]) -> Change:
    if not isinstance(record, Mapping) or set(record) != set(COLUMNS):
        raise InputError(f"record {number} has not the fields {', '.join(COLUMNS)}: restore the file.")
    numbers = [record[name] for name in NUMBERS if name != "undoes" or record[name] is not None]
    if not all(type(value) is int for value in numbers) or not all(isinstance(record[name], str) for name in TEXTS):
        raise InputError(f"record {number} has a number or a text that is none: restore the file.")
    try:
        has_zone = datetime.fromisoformat(record["when"]).tzinfo is not None
    except ValueError:
        has_zone = False
    if not has_zone:
        raise InputError(f"record {number} has {record['when']!r} for a time with its zone: restore the file.")
    return Change(**record)


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
    # RFC 4180 line ends: with "\n" alone the writer leaves a carriage return in a cell unquoted.
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for record in records:
        writer.writerow({**record, **{name: guard(record[name]) for name in TEXTS}})
    return buffer.getvalue()


def _from_csv(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(reader.fieldnames or ()) != COLUMNS or not text.endswith("\n"):
        raise InputError(f"the columns are not {', '.join(COLUMNS)}, or the end is missing: restore the file.")
    records: list[dict[str, Any]] = []
    for number, row in enumerate(reader):
        try:
            numbers = {name: None if name == "undoes" and row[name] == "" else int(row[name]) for name in NUMBERS}
            texts = {name: unguard(row[name]) for name in TEXTS}
        except (AttributeError, ValueError, TypeError) as error:
            raise InputError(f"record {number} is not whole ({error}): restore the file.") from error
        records.append({**row, **numbers, **texts})
    return records


def _from_json(text: str, num_rows: int) -> list[dict[str, Any]]:
    document = json.loads(text)
    if document["rows"] != num_rows:
        raise InputError(
            f"the trail is of {document['rows']} labels, but there are {num_rows}: give the labels it was made for."
        )
    return document["changes"]
