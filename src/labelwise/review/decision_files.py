"""Decisions as CSV and Parquet files: to look at elsewhere, to keep, and to bring reviewers' stores together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from labelwise.errors import InputError
from labelwise.files import atomic_write, guard, printable, quote, unguard
from labelwise.review.decisions import UNDO, Decision, DecisionStore, checked, stamp, taken_back

COLUMNS = tuple(field.name for field in fields(Decision))
NUMBERS = ("number", "index", "undoes")
TEXTS = tuple(name for name in COLUMNS if name not in NUMBERS)


def export_decisions(store: DecisionStore, path: Path) -> int:
    """Write all decisions and undos to a ``.csv`` or ``.parquet`` file, at once, and return how many there are.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe, which the import takes away.
    """
    encode = _of_kind(path, {".csv": _to_csv, ".parquet": _to_parquet})
    decisions = store.all()
    with atomic_write(path) as stream:
        stream.write(encode(decisions))
    return len(decisions)


def import_decisions(store: DecisionStore, path: Path, check: Callable[[Decision], None] | None = None) -> int:
    """Add the decisions of a file that was exported, from this store or another; return how many were new.

    The same file twice adds nothing. All or nothing: raises InputError, with the place, for a file that is damaged or
    that contradicts what is in the store, and where ``check`` does for one of its decisions.
    """
    decode = _of_kind(path, {".csv": _from_csv, ".parquet": _from_parquet})
    try:
        decisions = _checked_trail(decode(path.read_bytes()))
        for decision in decisions:
            if check is not None and decision.undoes is None:
                check(decision)
        return store.merge(decisions)
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}") from error


def to_csv(decisions: Iterable[Decision]) -> str:
    """The text of a CSV file."""
    buffer = io.StringIO(newline="")
    # RFC 4180 line ends: with "\n" alone the writer leaves a carriage return in a cell unquoted.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for decision in decisions:
        cells = zip(COLUMNS, astuple(decision), strict=True)
        writer.writerow([guard(cell) if name in TEXTS else cell for name, cell in cells])
    return buffer.getvalue()


def _to_csv(decisions: Iterable[Decision]) -> bytes:
    return to_csv(decisions).encode()


def _from_csv(content: bytes) -> list[dict[str, Any]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"it is no UTF-8 text ({error.reason}): restore the file") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(reader.fieldnames or ()) != COLUMNS or not text.endswith("\n"):
        raise InputError(f"its columns are not {', '.join(COLUMNS)}, or its end is missing: restore the file")
    records = []
    for row in reader:
        try:
            numbers = {name: int(row[name]) if row[name] or name != "undoes" else None for name in NUMBERS}
            records.append(numbers | {name: unguard(row[name]) for name in TEXTS})
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"line {reader.line_num} is not whole ({error}): restore the file") from error
    return records


def _to_parquet(decisions: list[Decision]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [(name, pa.int64() if name in NUMBERS else pa.string()) for name in COLUMNS]
    columns = zip(*map(astuple, decisions), strict=True) if decisions else [()] * len(COLUMNS)
    table = pa.table([list(column) for column in columns], schema=pa.schema(kinds))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _from_parquet(content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowException as error:
        raise InputError(f"it is no whole Parquet file ({error}): restore the file") from error
    if tuple(table.column_names) != COLUMNS:
        raise InputError(f"its columns are not {', '.join(COLUMNS)}: restore the file")
    return table.to_pylist()


def _checked_trail(records: Iterable[Mapping[str, Any]]) -> list[Decision]:
    """Decisions that a store could hold: in order, and each undo takes back what is there to be taken back."""
    there: dict[int, Decision] = {}
    undone: set[int] = set()
    last = 0
    latest: dict[str, str] = {}  # reviewer -> time
    for record in records:
        decision = _decision(record)
        if decision.number <= last or decision.at <= latest.get(decision.reviewer, ""):
            raise InputError(f"decision {decision.number} is out of order: restore the file")
        if decision.undoes is None:
            checked(decision)
        else:
            made = there.get(decision.undoes)
            is_right = made is not None and decision == replace(taken_back(made, decision.at), number=decision.number)
            if not is_right or decision.undoes in undone or (made is not None and made.undoes is not None):
                raise InputError(f"decision {decision.number} does not take back what it says: restore the file")
            undone.add(decision.undoes)
        there[decision.number] = decision
        last, latest[decision.reviewer] = decision.number, decision.at
    return list(there.values())


def _decision(record: Mapping[str, Any]) -> Decision:
    numbers = [record[name] for name in NUMBERS if name != "undoes" or record[name] is not None]
    if not all(type(value) is int for value in numbers) or not all(isinstance(record[name], str) for name in TEXTS):
        raise InputError(f"decision {record['number']} has a number or a text that is none: restore the file")
    if not _is_stamp(record["at"]):
        raise InputError(f"decision {record['number']} has {quote(record['at'])} for a time: restore the file")
    if (record["verdict"] == UNDO) != (record["undoes"] is not None):
        raise InputError(f"decision {record['number']} is half an undo: restore the file")
    return Decision(**record)


def _is_stamp(text: str) -> bool:
    """Whether a time is written as the store does, so that the order of texts is that of times."""
    try:
        return stamp(datetime.fromisoformat(text)) == text
    except ValueError:
        return False


def check_suffix(path: Path) -> None:
    """Raise InputError for a kind of file that decisions cannot be in."""
    _of_kind(path, dict.fromkeys((".csv", ".parquet"), check_suffix))


def _of_kind(path: Path, by_suffix: Mapping[str, Callable[..., Any]]) -> Any:
    if path.suffix not in by_suffix:
        raise InputError(f"{printable(path)}: the kind of file is not known: give a name in {' or '.join(by_suffix)}")
    return by_suffix[path.suffix]
