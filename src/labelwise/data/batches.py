"""CSV and Parquet files as batches of rows that keep their place in the file."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data.examples import Rejection
from labelwise.data.rows import row_location
from labelwise.errors import InputError
from labelwise.files import printable, quote

_BLOCK_BYTES = 1 << 24  # of CSV text; also the longest CSV row
_MAX_HEADER_BYTES = 1 << 20
_DELIMITERS = ",;\t|"


class Batch(NamedTuple):
    """``table``: a pyarrow table of m rows; ``positions`` int64 (m,) in the file; rows that could not be read."""

    table: Any
    positions: NDArray[np.int64]
    rejected: list[Rejection]


def column_names(path: Path) -> list[str]:
    """The column names of a CSV or Parquet file; raises InputError for unreadable files and duplicate names."""
    names = _parquet_names(path) if _is_parquet(path) else _csv_header(path)[0]
    duplicate = next((name for name, count in Counter(names).items() if count > 1), None)
    if duplicate is not None:
        raise InputError(f"{printable(path)} has two columns named {quote(duplicate)}: rename one of them")
    if not names or not any(names):
        raise InputError(f"{printable(path)} has no column names: write them into its first row")
    return names


def read_batches(path: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[Batch]:
    """Read a file of any size, at most ``rows`` rows at a time; ``columns`` reads only those of a Parquet file.

    CSV cells are text. CSV rows with too many or too few fields are rejected.
    """
    if _is_parquet(path):
        yield from _parquet_batches(path, rows, columns)
        return
    for batch in _csv_batches(path):
        yield from _split(batch, rows)


def _split(batch: Batch, rows: int) -> Iterator[Batch]:
    for start in range(0, max(len(batch.positions), 1), rows):
        rejected = batch.rejected if start == 0 else []
        yield Batch(batch.table.slice(start, rows), batch.positions[start : start + rows], rejected)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in {".parquet", ".pq"}


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{printable(path)} is not a readable Parquet file: write it again") from error


def _parquet_names(path: Path) -> list[str]:
    with _open_parquet(path) as file:
        return list(file.schema_arrow.names)


def _parquet_batches(path: Path, rows: int, columns: Sequence[str] | None) -> Iterator[Batch]:
    import pyarrow as pa

    start = 0
    with _open_parquet(path) as file:
        # Top-level names: `columns=` of pyarrow reads "a.b" as a field of a struct, so only plain names are passed.
        wanted = None if columns is None or any("." in name for name in columns) else list(columns)
        try:
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                table = pa.Table.from_batches([batch])
                table.validate(full=True)  # text that is not UTF-8 would fail in the middle of the work
                yield Batch(table, np.arange(start, start + len(table), dtype=np.int64), [])
                start += len(table)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            place = f"{printable(path)} is damaged after row {start}"
            raise InputError(f"{place}: write the Parquet file again") from error


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Column names and the delimiter, the most frequent of comma, semicolon, tab and bar in the first line."""
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    # The sample may end within a character: drop the tail that does not decode.
    text = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode(start)
    first = text.lstrip("\r\n").splitlines()[:1]
    if first and ("\0" in first[0] or "\ufffd" in first[0]):
        check_csv_text(path)
    if not first or not first[0].strip():
        raise InputError(f"{printable(path)} has no header: write the column names into its first row")
    delimiter = max(_DELIMITERS, key=lambda mark: (first[0].count(mark), -_DELIMITERS.index(mark)))
    try:
        return next(csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=delimiter)), delimiter
    except csv.Error as error:
        raise InputError(f"the first row of {printable(path)} is not a header of column names") from error


def check_csv_text(path: Path) -> None:
    """Read a CSV file's bytes once; raises InputError where it is not UTF-8 text, with the byte offset."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            if b"\0" in block:
                raise InputError(
                    f"{printable(path)} holds a NUL at byte {offset + block.index(0)}: it is not a text file in "
                    "UTF-8, save it as CSV with UTF-8 encoding"
                )
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset - pending + error.start) from error
            offset += len(block)
    if decoder.getstate()[0]:
        raise _not_utf8(path, offset - len(decoder.getstate()[0]))


def _not_utf8(path: Path, offset: int) -> InputError:
    return InputError(f"{printable(path)} is not UTF-8 text at byte {offset}: save it with UTF-8 encoding")


def _csv_batches(path: Path) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    check_csv_text(path)
    names, delimiter = _csv_header(path)
    invalid: list[Any] = []

    def remember(row: Any) -> str:
        invalid.append(row)
        return "skip"

    try:
        reader = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=remember
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        position = 0
        last = None
        for record in reader:
            positions, rejected, position = _place_rows(len(record), position, invalid)
            table = pa.Table.from_batches([record])
            last = table.slice(len(table) - 1) if len(table) else last
            yield Batch(table, positions, rejected)
        _check_quotes(path, last)
        # Rows after the last good one.
        _, rejected, _ = _place_rows(0, position, invalid)
        if rejected:
            yield Batch(reader.schema.empty_table(), np.zeros(0, dtype=np.int64), rejected)
    except pa.ArrowException as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"{printable(path)} cannot be read as CSV ({detail}): check its quotes and rows") from error


def _place_rows(count: int, position: int, invalid: list[Any]) -> tuple[NDArray[np.int64], list[Rejection], int]:
    """Positions of the next ``count`` good rows, the rejected rows among and right after them, and what follows.

    Arrow reports an invalid row with its record number, the header being 1, before it hands out the rows that follow.
    """
    runs: list[NDArray[np.int64]] = []
    rejected: list[Rejection] = []
    while invalid and invalid[0].number - 2 <= position + count:
        row = invalid.pop(0)
        index = row.number - 2
        runs.append(np.arange(position, index, dtype=np.int64))
        count -= index - position
        position = index + 1
        reason = f"has {row.actual_columns} fields where the header has {row.expected_columns}: check its quotes"
        rejected.append(Rejection(index, row_location(index), reason))
    runs.append(np.arange(position, position + count, dtype=np.int64))
    return np.concatenate(runs), rejected, position + count


def _check_quotes(path: Path, last: Any) -> None:
    """A quote that is never closed swallows all rows after it into one cell of the last row."""
    if last is None or not any("\n" in str(column[0].as_py()) for column in last.columns):
        return
    with path.open("rb") as file:
        quotes = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))
    if quotes % 2:
        raise InputError(f"{printable(path)} opens a quote that is never closed: its last row swallows the rest")
