"""Probabilities in files, a block of rows at a time.

Files are read with plain reads into a buffer that is used again: the pages of a mapped file would count as memory of
the process, and a fresh array for each block costs as much as reading it.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError
from labelwise.labels.check import check_labels

Ints = NDArray[np.int64]
BLOCK_BYTES = 1 << 20
# Few enough that what is computed of them stays in the cache, many enough to outweigh the calls.
RANGE_ROWS = 1 << 16
DEFAULT_COLUMN = "pred_probs"


class Block(NamedTuple):
    """Rows ``start`` to ``stop``; ``load(buffer)`` gives them, (rows, classes) float32 or float64, C order."""

    start: int
    stop: int
    load: Callable[[NDArray[np.uint8]], NDArray[Any]]


class Source(Protocol):
    """Where probabilities come from. ``dtype`` is that of the blocks; ``buffer_bytes`` what a block needs to load."""

    num_rows: int
    num_classes: int
    dtype: np.dtype[Any]
    buffer_bytes: int

    def blocks(self) -> Iterator[Block]:
        """All rows, in order."""
        ...


def open_pred_probs(path: Path, columns: str | Sequence[str] | None = None) -> Source:
    """Source for a .npy or .parquet file.

    columns: of a Parquet file, a list column or one column a class; by default 'pred_probs', and where there is none,
    every column of floating-point numbers, in their order.
    """
    _check_exists(path)
    if path.suffix == ".npy":
        return NpySource(path)
    if path.suffix == ".parquet":
        return ParquetSource(path, _default_columns(path) if columns is None else columns)
    raise InputError(f"{path} is neither .npy nor .parquet: save the probabilities with numpy.save.")


def read_labels(path: Path, column: str, num_classes: int) -> Ints:
    """Labels (n,) int64 out of a .npy file or a column of a .parquet file. Raises InputError."""
    _check_exists(path)
    if path.suffix == ".npy":
        return check_labels(_load_npy(path, None), num_classes=num_classes, name=str(path))
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with _whole_parquet(path):
            _check_columns(pq.read_schema(path).names, [column], path)
            values = pq.read_table(path, columns=[column]).column(0)
        if values.null_count:
            row = int(np.asarray(values.is_null()).argmax())
            raise InputError(f"{path} row {row} has no {column}: give -1 where the label is unknown.")
        return check_labels(values.to_numpy(), num_classes=num_classes, name=f"{path} column {column}")
    raise InputError(f"{path} is neither .npy nor .parquet: save the labels with numpy.save.")


def map_npy(path: Path) -> NDArray[Any]:
    """The array in a .npy file, mapped for reading. Raises InputError."""
    if path.suffix != ".npy":
        raise InputError(f"{path} is no .npy file: save the array with numpy.save.")
    _check_exists(path)
    array: NDArray[Any] = _load_npy(path, "r")
    return array


class NpySource:
    """A (n, classes) array in a .npy file, C order."""

    def __init__(self, path: Path) -> None:
        # Maps the file without touching its pages: only shape, type and place of the data are wanted.
        array = _load_npy(path, "r")
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(f"{path} has shape {array.shape}: give one row for each example, one column a class.")
        if array.dtype.kind != "f":
            raise InputError(f"{path} has type {array.dtype}: give float32 or float64 probabilities.")
        if not array.flags.c_contiguous:
            raise InputError(f"{path} is stored column by column: save numpy.ascontiguousarray of it.")
        self.path = path
        self.num_rows, self.num_classes = array.shape
        self.dtype = np.dtype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
        self._stored_type = array.dtype
        self._offset = int(array.offset)
        self._row_bytes = self.num_classes * array.dtype.itemsize
        self._rows = max(1, BLOCK_BYTES // self._row_bytes)
        self.buffer_bytes = self._rows * self._row_bytes

    def blocks(self) -> Iterator[Block]:
        """All rows, in order."""
        for start in range(0, self.num_rows, self._rows):
            stop = min(start + self._rows, self.num_rows)
            yield Block(start, stop, partial(self._load, start, stop))

    def _load(self, start: int, stop: int, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        wanted = buffer[: (stop - start) * self._row_bytes]
        # Opened anew, as a file position cannot be shared between threads.
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._offset + start * self._row_bytes)
            fill(file, wanted, f"{self.path} ends before row {stop - 1}")
        block = wanted.view(self._stored_type).reshape(stop - start, self.num_classes)
        return block.astype(self.dtype, copy=False)


class ParquetSource:
    """Probabilities in a Parquet file: one list column, or one number column a class, in the order of the classes."""

    buffer_bytes = 0

    def __init__(self, path: Path, columns: str | Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self.columns = [columns] if isinstance(columns, str) else list(columns)
        self.num_classes = 0  # not known before the first row is read
        with _whole_parquet(path), pq.ParquetFile(path) as file:
            _check_columns(file.schema_arrow.names, self.columns, path)
            self.num_rows = file.metadata.num_rows
            if self.num_rows == 0:
                raise InputError(f"{path} has no rows: give at least one example.")
            first = self._to_array(next(file.iter_batches(1, columns=self.columns)), 0)
        if first.shape[1] == 0:
            raise InputError(f"{path} row 0 has no probabilities: give one for each class.")
        self.num_classes = first.shape[1]
        self.dtype = first.dtype

    def blocks(self) -> Iterator[Block]:
        """All rows, in order."""
        import pyarrow.parquet as pq

        rows = max(1, 4 * BLOCK_BYTES // (self.num_classes * self.dtype.itemsize))
        with _whole_parquet(self.path), pq.ParquetFile(self.path) as file:
            start = 0
            for batch in file.iter_batches(rows, columns=self.columns):
                stop = start + batch.num_rows
                yield Block(start, stop, partial(self._load, batch, start))
                start = stop

    def _load(self, batch: Any, start: int, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        return self._to_array(batch, start)

    def _to_array(self, batch: Any, start: int) -> NDArray[Any]:
        self._refuse_nulls(batch, start)
        if len(self.columns) > 1 or not _is_list(batch.schema.field(0).type):
            block = np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])
        else:
            block = self._from_lists(batch.column(0), start)
        if block.dtype.kind != "f":
            raise InputError(f"{self.path} has type {block.dtype}: give float32 or float64 probabilities.")
        dtype = np.float32 if block.dtype.itemsize <= 4 else np.float64
        return np.ascontiguousarray(block, dtype=dtype)

    def _from_lists(self, lists: Any, start: int) -> NDArray[Any]:
        import pyarrow.compute as pc

        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        expected = self.num_classes or int(lengths[0])
        if (lengths != expected).any():
            row = int((lengths != expected).argmax())
            raise InputError(
                f"{self.path} row {start + row} has {lengths[row]} probabilities, row 0 has {expected}: "
                "give one for each class."
            )
        return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), expected)

    def _refuse_nulls(self, batch: Any, start: int) -> None:
        for name, column in zip(self.columns, batch.columns, strict=True):
            if column.null_count:
                row = start + int(np.asarray(column.is_null()).argmax())
                raise InputError(f"{self.path} row {row} has no {name}: repair or leave out that example.")


class RowReader:
    """Rows of an array (n, ...), some at a time; a file mapped for reading is read plainly, into one buffer.

    What `read` gives of such a file holds until the next call.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self._path, self._offset = _mapped_file(array)
        self._buffer = np.empty(0, dtype=np.uint8)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop``. Raises InputError for a file that was cut short."""
        if self._path is None:
            return self.array[start:stop]
        row_bytes = self.array.nbytes // len(self.array)
        wanted = (stop - start) * row_bytes
        if len(self._buffer) < wanted:
            self._buffer = np.empty(wanted, dtype=np.uint8)
        buffer = self._buffer[:wanted]
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._offset + start * row_bytes)
            fill(file, buffer, f"{self._path} ends before row {stop - 1}")
        return buffer.view(self.array.dtype).reshape(stop - start, *self.array.shape[1:])


def _mapped_file(array: NDArray[Any]) -> tuple[Path | None, int]:
    """The file that an array maps as a whole, for reading, and where it begins there; None of any other array."""
    if not isinstance(array, np.memmap) or array.mode != "r" or not array.filename:
        return None, 0
    # A part of a mapped file is an array on an array, and keeps the offset of the whole.
    is_whole = isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
    path = Path(array.filename)
    return (path, int(array.offset)) if is_whole and path.is_file() else (None, 0)


def fill(file: FileIO, buffer: NDArray[np.uint8], fault: str) -> None:
    """Read from a file until the buffer (bytes,) is full. Raises InputError, which begins with ``fault``."""
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:].data)
        if not count:
            raise InputError(f"{fault}: the file is cut short, write it again.")
        done += count


def read_rows(source: Source, rows: Ints) -> NDArray[Any]:
    """Probabilities (m, classes) of ``rows`` (m,), ascending; blocks without any of them are not loaded."""
    buffer = np.empty(source.buffer_bytes, dtype=np.uint8)
    parts = []
    for block in source.blocks():
        first, last = np.searchsorted(rows, [block.start, block.stop])
        if first < last:
            parts.append(block.load(buffer)[rows[first:last] - block.start])  # a copy, as the buffer is used again
    return np.concatenate(parts)


def for_each_block(
    source: Source, num_threads: int, make_worker: Callable[[], Callable[[int, NDArray[Any]], None]]
) -> None:
    """Call worker(first row, block) for every block; make_worker() is called once for each thread.

    The blocks are handed out in order, so whatever thread meets bad input, the error raised is that of the lowest row.
    """
    blocks = source.blocks()
    lock = threading.Lock()
    failures: list[tuple[int, BaseException]] = []

    def run() -> None:
        worker = make_worker()
        buffer = np.empty(source.buffer_bytes, dtype=np.uint8)
        while True:
            with lock:
                block = None if failures else next(blocks, None)
            if block is None:
                return
            try:
                worker(block.start, block.load(buffer))
            except BaseException as error:
                with lock:
                    failures.append((block.start, error))
                return

    with ThreadPoolExecutor(num_threads) as pool:
        for done in [pool.submit(run) for _ in range(num_threads)]:
            done.result()
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]


def for_each_range(num_rows: int, num_threads: int, work: Callable[[slice], None]) -> None:
    """Call work(rows) for ranges that together are all rows, in several threads."""
    ranges = [slice(start, min(start + RANGE_ROWS, num_rows)) for start in range(0, num_rows, RANGE_ROWS)]
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(work, ranges))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load_npy(path: Path, mmap_mode: Any) -> Any:
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path} is not a readable .npy file of numbers, whole and without pickled objects: "
            "write it again with numpy.save."
        ) from error


@contextmanager
def _whole_parquet(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file, or damaged: write it again.") from error


def _default_columns(path: Path) -> str | list[str]:
    import pyarrow.parquet as pq
    import pyarrow.types as types

    with _whole_parquet(path):
        schema = pq.read_schema(path)
    numbers = [field.name for field in schema if types.is_floating(field.type)]
    return DEFAULT_COLUMN if DEFAULT_COLUMN in schema.names or not numbers else numbers


def _is_list(arrow_type: Any) -> bool:
    import pyarrow.types as types

    return types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type)


def _check_columns(found: list[str], wanted: list[str], path: Path) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: choose among {', '.join(found[:20])}.")


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path of a .npy or .parquet file.")
