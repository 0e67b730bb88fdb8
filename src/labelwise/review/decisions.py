"""What reviewers decided: a store that only grows, safe for several reviewers at once and for a kill at any moment."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from labelwise.errors import InputError
from labelwise.files import printable, quote

FILE = "decisions.sqlite"
VERDICTS = ("keep", "accept", "other", "both", "cannot_tell", "exclude")
UNDO = "undo"
# What a verdict says of the label that it chooses.
WITHOUT_LABEL = ("cannot_tell", "exclude")

_APPLICATION = 0x6C777264  # "lwrd" in the header of the file: a store of decisions
_VERSION = 1
_LONGEST_NAME, _LONGEST_NOTE = 100, 10_000
_LARGEST = 2**63 - 1
_WAIT_SECONDS = 30.0
_CREATE = f"""
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY,
    "index" INTEGER NOT NULL,
    part TEXT NOT NULL,
    verdict TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    at TEXT NOT NULL,
    note TEXT NOT NULL,
    undoes INTEGER REFERENCES decisions (number),
    example TEXT NOT NULL,
    UNIQUE (reviewer, at)
) STRICT;
CREATE INDEX undone ON decisions (undoes) WHERE undoes IS NOT NULL;
CREATE TRIGGER never_changed BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TRIGGER never_removed BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
CREATE TRIGGER never_replaced BEFORE INSERT ON decisions
    WHEN EXISTS (SELECT 1 FROM decisions WHERE number = NEW.number OR (reviewer = NEW.reviewer AND at = NEW.at))
    BEGIN SELECT RAISE(ABORT, 'decisions are only added'); END;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of one reviewer on one label: ``index`` is its row in the source, ``part`` as in ``Item``.

    ``example`` tells what was in that row, as in ``Item``, for rows may move. ``before`` is the given label, ``after``
    the chosen one, both as cells; ``after`` is empty where the verdict chooses none. ``at`` is a UTC time as ISO 8601;
    a reviewer's times strictly rise, so that reviewer and time name a decision in every store. An undo takes back the
    decision with the number ``undoes``, and has its labels swapped.
    """

    number: int
    index: int
    part: str
    verdict: str
    before: str
    after: str
    reviewer: str
    at: str
    note: str = ""
    undoes: int | None = None
    example: str = ""


COLUMNS = tuple(field.name for field in fields(Decision))
_SELECT = "SELECT " + ", ".join(f'"{name}"' for name in COLUMNS) + " FROM decisions "
_INSERT = f"INSERT INTO decisions VALUES ({', '.join('?' * len(COLUMNS))})"
_NOT_TAKEN_BACK = "undoes IS NULL AND number NOT IN (SELECT undoes FROM decisions WHERE undoes IS NOT NULL)"


class DecisionStore:
    """Decisions in one SQLite file on a local disk; threads may share a store, processes open their own.

    A decision that ``add`` or ``undo`` returned is on the disk. Nothing is ever changed or removed. All methods raise
    InputError where the file cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.RLock()
        with self._explained():
            # Transactions are begun by hand: reads and the write that rests on them must be one.
            self._connection = sqlite3.connect(
                self._path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        with self._lock:
            self._connection.close()

    def add(
        self,
        *,
        index: int,
        part: str = "",
        example: str = "",
        verdict: str,
        before: str,
        after: str,
        reviewer: str,
        note: str = "",
    ) -> Decision:
        """Add a decision and return it once it is on the disk; it replaces the reviewer's earlier one on that label.

        One that is the reviewer's last already is returned as it is: it was sent again because its answer was lost.
        Raises InputError for an unknown verdict, labels that the verdict contradicts, an empty or over-long name.
        """
        part, before, after, reviewer, note = map(_valid, (part, before, after, reviewer.strip(), note))
        made = checked(Decision(0, index, part, verdict, before, after, reviewer, "", note, None, example))
        with self._writing():
            last = self._read("WHERE reviewer = ? ORDER BY at DESC LIMIT 1", made.reviewer)
            if last and replace(last[0], number=0, at="") == made:
                return last[0]
            return self._append(replace(made, at=self._now(made.reviewer)))

    def undo(self, reviewer: str) -> Decision | None:
        """Take back the reviewer's last decision that still stands; None where there is none.

        What the reviewer had decided on that label before stands again. Others' decisions are left alone.
        """
        reviewer = _valid(reviewer.strip())
        with self._writing():
            last = self._read(f"WHERE reviewer = ? AND {_NOT_TAKEN_BACK} ORDER BY at DESC LIMIT 1", reviewer)
            if not last:
                return None
            return self._append(taken_back(last[0], self._now(reviewer)))

    def all(self, since: int = 0) -> list[Decision]:
        """Decisions and undos with a number above ``since``, in the order in which they came."""
        with self._lock, self._explained():
            return self._read("WHERE number > ? ORDER BY number", since)

    def standing(self) -> list[Decision]:
        """Each reviewer's present decision on each label, in the order in which they came. O(n log n)."""
        # SQLite takes the other columns of a group from the row that has the maximum.
        kinds = 'reviewer, part, example, "index"'
        grouped = _SELECT.replace(" FROM", ", max(at) FROM") + f"WHERE {_NOT_TAKEN_BACK} GROUP BY {kinds}"
        with self._lock, self._explained():
            rows = self._connection.execute(f"{grouped} ORDER BY number").fetchall()
        return [Decision(*row[:-1]) for row in rows]

    def merge(self, decisions: Iterable[Decision]) -> int:
        """Add decisions of another store, in their order, and return how many were new.

        Those that are there already are passed over. All or nothing: raises InputError for one that contradicts what is
        in the store.
        """
        with self._writing():
            return self._merge(decisions)

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode only FULL forces every commit to the disk before it is acknowledged.
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._writing():
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                for statement in _statements(_CREATE):
                    self._connection.execute(statement)
            application, version = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
        if application != _APPLICATION:
            raise InputError(f"{printable(self._path)} is a database of something else: name another file")
        if version > _VERSION:
            raise InputError(
                f"{printable(self._path)} was written by a newer labelwise (form {version}, known is {_VERSION}): "
                "update labelwise"
            )

    def _append(self, decision: Decision) -> Decision:
        last = self._connection.execute("SELECT coalesce(max(number), 0) FROM decisions").fetchone()[0]
        numbered = replace(decision, number=last + 1)
        self._connection.execute(_INSERT, astuple(numbered))
        return numbered

    def _merge(self, decisions: Iterable[Decision]) -> int:
        known = {(each.reviewer, each.at): each for each in self._read("")}
        number_here: dict[int, int] = {}
        added = 0
        for each in decisions:
            here = replace(each, undoes=None if each.undoes is None else number_here[each.undoes])
            there = known.get((each.reviewer, each.at))
            if there is None:
                there = self._append(here)
                added += 1
            elif there != replace(here, number=there.number):
                raise InputError(
                    f"decision {each.number}, by {quote(each.reviewer)} at {each.at}, is another one in this store: "
                    "one of the two was changed by hand; import the file as it was exported"
                )
            number_here[each.number] = there.number
        return added

    def _now(self, reviewer: str) -> str:
        """The time, or just after the reviewer's last decision where the clock was set back."""
        query = "SELECT max(at) FROM decisions WHERE reviewer = ?"
        last = self._connection.execute(query, (reviewer,)).fetchone()[0]
        now = datetime.now(UTC)
        if last is not None:
            now = max(now, datetime.fromisoformat(last) + timedelta(microseconds=1))
        return stamp(now)

    def _read(self, condition: str, *values: Any) -> list[Decision]:
        return [Decision(*row) for row in self._connection.execute(_SELECT + condition, values)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction that excludes other writers; on the disk when the block has ended."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"{printable(self._path)}: the decisions cannot be read or written ({error}): see that it is a file of "
                "decisions, its folder can be written and the disk has space, or restore a copy"
            ) from error


def checked(decision: Decision) -> Decision:
    """The decision; raises InputError where it is none that a reviewer can make."""
    if not 0 <= decision.index <= _LARGEST:
        raise InputError(f"index is {decision.index}: give the row of the source, 0 or more")
    if decision.verdict not in VERDICTS:
        raise InputError(f"the verdict {quote(decision.verdict)} is not known: choose one of {', '.join(VERDICTS)}")
    check_name(decision.reviewer)
    if len(decision.note) > _LONGEST_NOTE:
        raise InputError(f"the note has {len(decision.note)} characters: use at most {_LONGEST_NOTE}")
    expected = {"keep": decision.before} | dict.fromkeys(WITHOUT_LABEL, "")
    after = expected.get(decision.verdict, decision.after)
    if decision.after != after:
        raise InputError(f"{decision.verdict} cannot set the label {quote(decision.after)}: give {quote(after)}")
    return decision


def check_name(reviewer: str) -> None:
    """Raise InputError for a name that no reviewer can have."""
    if not reviewer.strip() or len(reviewer) > _LONGEST_NAME:
        raise InputError(f"the reviewer has no name of 1 to {_LONGEST_NAME} characters: say who decides")


def taken_back(made: Decision, at: str) -> Decision:
    """The undo of a decision."""
    return replace(made, verdict=UNDO, before=made.after, after=made.before, at=at, note="", undoes=made.number)


def _valid(text: str) -> str:
    """Text without lone surrogates, which no file of UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stamp(when: datetime) -> str:
    """Text of one length, so that its order is that of time."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would end the transaction that it is called in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
