"""Examples as every room sees them: inputs, given labels, and for each row its place in the source."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE

Kind = Literal["images", "table", "texts", "arrays"]
TASKS = ("classification", "multilabel", "regression", "segmentation", "nodes", "bags")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_HASH_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True)
class Rejection:
    """A row or file that was not used: position in the source, where it is, and why."""

    index: int
    location: str
    reason: str


@dataclass(frozen=True)
class Examples:
    """n examples of one kind, with what the source says about each.

    inputs: images uint8 (n, H, W, 1 or 3); arrays float32 (n, ...); table a pandas frame of n rows with float64
    (numbers), object (text categories, None where missing) and datetime64 columns; texts an object array (n,) of str.
    given: labels in the form of the task. classification, nodes: int64 (n,), -1 = unlabelled. multi-label: int64
    (n, classes) of 1, 0, -1 = unknown. regression: float64 (n,), NaN = unknown. segmentation: int64 (n, H, W), 255 =
    ignore. bags: int64 (n,), of which only the counts in each of ``bags`` (n,) are known. original: the same form as
    they came, where people decided otherwise on some since, else None. truth: the same form or None; only ever used to
    score. edges: int64 (2, m) positions of the linked rows, both ways, for the task nodes.
    index: int64 (n,), position in the source, which rejected rows do not shift. split: (n,) of "train" and "test",
    or None where the source declares no held-out rows. locations: one place a row, or a function of the position in
    the source. schema: JSON-able, what is needed to read other data of the same form.
    """

    name: str
    kind: Kind
    inputs: Any
    given: NDArray[Any]
    classes: tuple[str, ...]
    truth: NDArray[Any] | None
    index: NDArray[np.int64]
    locations: Sequence[str] | Callable[[int], str]
    split: NDArray[np.str_] | None = None
    rejected: list[Rejection] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    task: str = "classification"
    bags: NDArray[Any] | None = None
    edges: NDArray[np.int64] | None = None
    original: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.given)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def is_test(self) -> NDArray[np.bool_]:
        """(n,) bool: rows that the source holds out for testing."""
        declared = np.full(len(self), "train") if self.split is None else self.split
        return np.asarray(declared) == "test"

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """(n,) bool: rows of which at least one label is known."""
        return has_label(self.given, self.task)

    @property
    def as_given(self) -> NDArray[Any]:
        """The labels as they came, whatever people decided since."""
        return self.given if self.original is None else self.original

    def location(self, row: int) -> str:
        """The file or row in the source of the ``row``-th example, for messages and lists."""
        if callable(self.locations):
            return self.locations(int(self.index[row]))
        return self.locations[row]

    def subset(self, rows: ArrayLike) -> "Examples":
        """The examples at ``rows``, a bool mask (n,) or positions (m,); classes and schema stay, rejections too."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise InputError(f"the mask has {len(chosen)} rows, the data {len(self)}: give one value for each row")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        return replace(
            self,
            inputs=take_rows(self.inputs, chosen),
            given=self.given[chosen],
            truth=None if self.truth is None else self.truth[chosen],
            index=self.index[chosen],
            split=None if self.split is None else self.split[chosen],
            locations=self.locations if callable(self.locations) else [self.locations[row] for row in chosen],
            bags=None if self.bags is None else self.bags[chosen],
            edges=None if self.edges is None else _edges_among(self.edges, chosen, len(self)),
        )

    def blocks(self, block_rows: int) -> Iterator["Examples"]:
        """The examples in order, at most ``block_rows`` at a time; rejections come with the first block."""
        for start in range(0, max(len(self), 1), block_rows):
            block = self.subset(np.arange(start, min(start + block_rows, len(self))))
            yield block if start == 0 else replace(block, rejected=[])


def has_label(labels: NDArray[Any], task: str) -> NDArray[np.bool_]:
    """(n,) bool: rows of which at least one label is known; ``labels`` (n, ...) in the form of the task."""
    if task == "regression":
        return ~np.isnan(labels)
    if task == "segmentation":
        return np.asarray((labels != IGNORE).any(axis=(1, 2)))
    return np.asarray((labels >= 0).any(axis=1)) if labels.ndim == 2 else labels >= 0


def _edges_among(edges: NDArray[np.int64], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The edges (2, k) whose both ends are among ``rows``, in positions of those."""
    place = np.full(count, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    moved = place[edges]  # (2, m)
    return moved[:, (moved >= 0).all(axis=0)]


def take_rows(inputs: Any, rows: NDArray[np.int64]) -> Any:
    """Rows of an array or of a pandas frame, by position."""
    return inputs[rows] if isinstance(inputs, np.ndarray) else inputs.iloc[rows].reset_index(drop=True)


def concatenate(blocks: Sequence[Examples]) -> Examples:
    """Join blocks of the same source, in order; raises InputError when there is none."""
    if not blocks:
        raise InputError("no examples to join: give at least one block")
    first = blocks[0]
    if len(blocks) == 1:
        return first
    notes = dict.fromkeys(note for block in blocks for note in block.notes)
    truths = [block.truth for block in blocks if block.truth is not None]
    splits = [block.split for block in blocks if block.split is not None]
    return replace(
        first,
        inputs=_join_inputs([block.inputs for block in blocks]),
        given=np.concatenate([block.given for block in blocks]),
        truth=np.concatenate(truths) if len(truths) == len(blocks) else None,
        index=np.concatenate([block.index for block in blocks]),
        split=np.concatenate(splits) if len(splits) == len(blocks) else None,
        locations=first.locations
        if callable(first.locations)
        else [block.location(row) for block in blocks for row in range(len(block))],
        bags=None if first.bags is None else np.concatenate([block.bags for block in blocks if block.bags is not None]),
        rejected=[rejection for block in blocks for rejection in block.rejected],
        notes=list(notes),
    )


def _join_inputs(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


class DuplicateGroup(NamedTuple):
    """Rows (m,) int64 with the same input, and whether two of them carry different given labels."""

    rows: NDArray[np.int64]
    conflicting: bool


def duplicates(examples: Examples) -> list[DuplicateGroup]:
    """Groups of rows whose inputs are exactly equal, in order of their first row.

    Rows are compared by a 64-bit hash of all their bytes: one pass over the inputs, then a sort of n integers.
    """
    hashes = row_hashes(examples.inputs)  # (n,)
    order = np.argsort(hashes, kind="stable")  # (n,)
    starts = np.flatnonzero(np.r_[True, np.diff(hashes[order]) != 0]) if len(order) else np.zeros(0, dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(order)])
    groups = [order[start : start + size] for start, size in zip(starts, sizes, strict=True) if size > 1]
    groups.sort(key=lambda rows: int(rows[0]))
    labelled = examples.is_labelled
    return [DuplicateGroup(rows, _labels_differ(examples.given[rows[labelled[rows]]])) for rows in groups]


def _labels_differ(known: NDArray[Any]) -> bool:
    return bool(len(known) and (known != known[0]).any())


def fingerprints(inputs: Any) -> list[str]:
    """A short text for each row, the same for the same content wherever the row stands."""
    return [f"{number:016x}" for number in row_hashes(inputs).tolist()]


def row_hashes(inputs: Any) -> NDArray[np.uint64]:
    """A 64-bit hash (n,) of all bytes of each row."""
    if not isinstance(inputs, np.ndarray):
        import pandas as pd

        return np.asarray(pd.util.hash_pandas_object(inputs, index=False), dtype=np.uint64)
    if inputs.dtype == object:
        import pandas as pd

        return np.asarray(pd.util.hash_array(inputs), dtype=np.uint64)
    rows = inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))
    step = max(1, _HASH_BLOCK_BYTES // max(1, rows.shape[1] * rows.itemsize))
    blocks = [_hash_block(rows[start : start + step]) for start in range(0, len(rows), step)]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.uint64)


def _hash_block(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash each row (m, d) of numbers: mix every 8-byte word with its place, then add them up."""
    # Adding zero turns -0.0 into 0.0: equal numbers must have equal bytes.
    raw = np.ascontiguousarray(rows + rows.dtype.type(0)).view(np.uint8)  # (m, bytes)
    padded = np.zeros((len(raw), -(-raw.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : raw.shape[1]] = raw
    words = padded.view(np.uint64)  # (m, words)
    words ^= np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _GOLDEN
    for shift, factor in ((30, _MIX[0]), (27, _MIX[1])):
        words ^= words >> np.uint64(shift)
        words *= factor
    words ^= words >> np.uint64(31)
    return words.sum(axis=1, dtype=np.uint64)
