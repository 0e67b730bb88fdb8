"""What there is to look at: one file of doubted labels, written once by a run and mapped into memory by the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError
from labelwise.files import atomic_write, printable

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "review.arrow"
BLOBS = ("picture", "given_mask", "suggested_mask")
# Small enough that a page of items reads little beside itself, large enough that a million make few batches.
ITEMS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Item:
    """One label to look at, as shown; ``position`` is its place in the file, ``index`` its row in the source.

    ``example`` tells the row, and the mask that is suggested, from any other by what is in them. ``part`` names one of
    several labels of a row, else it is empty. ``given`` is empty where nothing was given. ``probs`` are the likeliest
    classes with their probabilities, ``neighbours`` positions of the nearest rows. ``blobs`` says which pictures the
    item has.
    """

    position: int
    index: int
    part: str
    example: str
    location: str
    given: str
    suggested: str
    score: float
    suspect: bool
    why: str
    given_prob: float
    suggested_prob: float
    probs: tuple[tuple[str, float], ...]
    text: str | None
    fields: tuple[tuple[str, str], ...]
    neighbours: tuple[int, ...]
    blobs: tuple[str, ...]


def _schema(metadata: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    pairs = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
    return pa.schema(
        [
            ("index", pa.int64()),
            ("part", pa.string()),
            ("example", pa.string()),
            ("location", pa.string()),
            ("given", pa.string()),
            ("suggested", pa.string()),
            ("score", pa.float32()),
            ("suspect", pa.bool_()),
            ("why", pa.string()),
            ("given_prob", pa.float32()),
            ("suggested_prob", pa.float32()),
            ("probs", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float32())]))),
            ("text", pa.string()),
            ("fields", pairs),
            ("neighbours", pa.list_(pa.int32())),
            *((name, pa.binary()) for name in BLOBS),
        ],
        metadata,
    )


class ItemWriter:
    """Appends blocks of items to a file under way; see ``write_items``."""

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        import pyarrow as pa

        self._schema = schema
        self._writer = pa.ipc.new_file(stream, schema)

    def write(self, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        """Append items, a sequence a column, worst first; a column that is left out is empty.

        ``probs`` and ``fields`` hold lists of (name, value). Text that is no valid UTF-8 is written with escapes.
        """
        import pyarrow as pa

        count = len(columns["index"])
        arrays = [_column(field, columns.get(field.name), count) for field in self._schema]
        self._writer.write_table(pa.table(arrays, schema=self._schema), max_chunksize=ITEMS_AT_ONCE)

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


@contextmanager
def write_items(
    path: Path, *, task: str, classes: Sequence[str], name: str, colours: Sequence[str] = ()
) -> Iterator[ItemWriter]:
    """Yield a writer of items; the file becomes ``path`` when the block ends well. Raises OutputError.

    ``colours`` are those of the classes in masks, as ``#rrggbb``, or empty.
    """
    lists = {"classes": json.dumps(list(classes)), "colours": json.dumps(list(colours))}
    described = {"task": task, "name": printable(name)} | lists
    with atomic_write(path) as stream:
        writer = ItemWriter(stream, _schema(described))
        yield writer
        writer.close()


class Items:
    """The items of a run, worst first; numbers as arrays, all else read where it is asked for.

    The file is mapped, not loaded: a million items take the memory of their few columns of numbers.
    """

    def __init__(self, batches: list[pa.RecordBatch], metadata: Mapping[bytes, bytes]) -> None:
        self._batches = batches
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])  # (batches + 1,)
        self.task, self.name = (metadata[key].decode() for key in (b"task", b"name"))
        self.classes: list[str] = json.loads(metadata[b"classes"])
        self.colours: list[str] = json.loads(metadata[b"colours"])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that ``write_items`` wrote; raises InputError where there is none or it is damaged."""
        import pyarrow as pa

        if not path.is_file():
            raise InputError(
                f"{printable(path)} does not exist: there is nothing to look at; run or audit the data first, with "
                "this folder as --out"
            )
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            expected = _schema({})
            if not reader.schema.equals(expected):
                raise InputError(f"{printable(path)} holds no items to review: run or audit the data again")
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            return cls(batches, reader.schema.metadata)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise InputError(f"{printable(path)} is damaged ({error}): run or audit the data again") from error

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Rows in the source, (n,)."""
        return self._numbers("index", np.int64)

    @cached_property
    def score(self) -> NDArray[np.float32]:
        """Quality of each given label, (n,): the lower, the more doubtful."""
        return self._numbers("score", np.float32)

    @cached_property
    def suspect(self) -> NDArray[np.bool_]:
        """Whether each label is under suspicion, (n,)."""
        return self._numbers("suspect", np.bool_)

    @cached_property
    def given_prob(self) -> NDArray[np.float32]:
        """Probability of the given label, (n,), NaN where the task has none."""
        return self._numbers("given_prob", np.float32)

    @cached_property
    def suggested_prob(self) -> NDArray[np.float32]:
        """Probability of the suggested label, (n,), NaN where the task has none."""
        return self._numbers("suggested_prob", np.float32)

    @cached_property
    def neighbours(self) -> NDArray[np.int32]:
        """Positions of the nearest rows of each item, (n, k), -1 where there are fewer."""
        columns = [batch.column("neighbours") for batch in self._batches]
        counts = [_as_array(column.value_lengths()) for column in columns]
        width = int(max((count.max(initial=0) for count in counts), default=0))
        near = np.full((len(self), width), -1, dtype=np.int32)
        for column, count, start in zip(columns, counts, self._starts, strict=False):
            block = near[start : start + len(count)]
            block[np.arange(width) < count[:, None]] = _as_array(column.flatten())
        return near

    @property
    def cells(self) -> list[str]:
        """The different labels that were given or suggested, as shown; codes are places in this list."""
        return self._coded[0]

    @property
    def given_code(self) -> NDArray[np.int32]:
        """The given label of each item as a place in ``cells``, (n,)."""
        return self._coded[1]

    @property
    def suggested_code(self) -> NDArray[np.int32]:
        """The suggested label of each item as a place in ``cells``, (n,)."""
        return self._coded[2]

    def item(self, position: int) -> Item:
        """One item; raises IndexError where there is none."""
        batch, row = self._find(position)
        # A slice reads its own row; a column's cell by cell would do the same in a dozen calls.
        record = batch.slice(row, 1).drop_columns(list(BLOBS)).to_pylist()[0]
        record["probs"] = tuple((each["name"], each["value"]) for each in record["probs"] or ())
        record["fields"] = tuple((each["name"], each["value"]) for each in record["fields"] or ())
        record["neighbours"] = tuple(record["neighbours"] or ())
        blobs = tuple(name for name in BLOBS if batch.column(name)[row].is_valid)
        return Item(position=position, blobs=blobs, **record)

    def blob(self, position: int, column: str) -> bytes | None:
        """A picture of an item as a PNG or JPEG file, None where it has none; ``column`` is one of ``BLOBS``."""
        if column not in BLOBS:
            raise KeyError(column)
        batch, row = self._find(position)
        value = batch.column(column)[row]
        return value.as_py() if value.is_valid else None

    def position(self, index: int, part: str = "") -> int | None:
        """Where the item of a row of the source, and of one of its labels, stands; None where there is none."""
        order, ordered = self._by_index
        first, last = np.searchsorted(ordered, [index, index + 1])
        for position in order[first:last].tolist():
            batch, row = self._find(position)
            if batch.column("part")[row].as_py() == part:
                return int(position)
        return None

    def example(self, position: int) -> str:
        """What tells the row of an item from others; see ``Item``."""
        batch, row = self._find(position)
        return str(batch.column("example")[row].as_py())

    @cached_property
    def _by_index(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        order = np.argsort(self.index, kind="stable").astype(np.int32)
        return order, self.index[order]

    @cached_property
    def _coded(self) -> tuple[list[str], NDArray[np.int32], NDArray[np.int32]]:
        import pyarrow as pa

        both = [batch.column(name) for name in ("given", "suggested") for batch in self._batches]
        if not both:
            return [], np.zeros(0, np.int32), np.zeros(0, np.int32)
        coded = pa.chunked_array(both).dictionary_encode().combine_chunks()
        codes = _as_array(coded.indices)
        return coded.dictionary.to_pylist(), codes[: len(self)], codes[len(self) :]

    def _find(self, position: int) -> tuple[pa.RecordBatch, int]:
        if not 0 <= position < len(self):
            raise IndexError(position)
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self._batches[number], int(position - self._starts[number])

    def _numbers(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        parts = [_as_array(batch.column(name)) for batch in self._batches]
        return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)


def _as_array(column: pa.Array) -> NDArray[Any]:
    """Numbers of a column, what is missing as NaN or 0. Arrow's own conversion would load pandas first."""
    if column.type == "bool":
        column = column.cast("uint8")
    if column.null_count:
        column = column.fill_null(np.nan if column.type == "float" else 0)
    return np.from_dlpack(column)


def _column(field: pa.Field, values: Any, count: int) -> pa.Array:
    import pyarrow as pa

    if values is None:
        return pa.array([_EMPTY.get(field.name)] * count, field.type)
    if field.name in ("probs", "fields"):
        values = [[{"name": _valid(name), "value": _valid(value)} for name, value in pairs or ()] for pairs in values]
    elif pa.types.is_string(field.type):
        values = [_valid(value) for value in values]
    return pa.array(values, field.type)


_EMPTY: dict[str, Any] = dict.fromkeys(("part", "example", "location", "why"), "") | {"suspect": False}
_EMPTY |= dict.fromkeys(("given_prob", "suggested_prob"), np.nan)


def _valid(value: Any) -> Any:
    """Text without lone surrogates, which stand for the bytes of undecodable file names; all else as it is."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
