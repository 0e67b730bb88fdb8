"""Bags of instances of which only the number of positives is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Counts = Mapping[Any, int] | ArrayLike


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """Disjoint bags that cover n instances. Make them with `check_bags`; everything behind trusts them.

    of_row (n,) int64: the bag of each instance, 0 to B - 1; counts (B,) int64: how many of its instances are positive.
    """

    of_row: Ints
    counts: Ints

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def sizes(self) -> Ints:
        """How many instances each bag has, (B,)."""
        return np.bincount(self.of_row, minlength=len(self))

    @property
    def proportions(self) -> Floats:
        """Share of positives in each bag, (B,); 0 for an empty one."""
        return self.counts / np.maximum(self.sizes, 1)

    def members(self) -> tuple[Ints, Ints]:
        """Rows (n,) in the order of their bags, and where each bag starts among them, (B + 1,)."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        return np.argsort(self.of_row, kind="stable"), starts

    def sums(self, values: ArrayLike) -> Floats:
        """Sum of values (n,) over each bag, (B,); 0 for an empty one."""
        weights = np.asarray(values, dtype=np.float64)
        return np.bincount(self.of_row, weights=weights, minlength=len(self)).astype(np.float64, copy=False)

    def rows(self) -> Ints:
        """The bag and its count beside each instance, (n, 2): the labels that training sees."""
        return np.stack([self.of_row, self.counts[self.of_row]], axis=1)


def check_bags(bag_ids: ArrayLike, bag_counts: ArrayLike) -> Bags:
    """Bags from the bag of each instance (n,), 0 to B - 1, and the number of positives of each bag (B,).

    Whole floats pass as integers; a bag may be empty. Raises InputError for anything else, counts below 0 or above a
    bag's size.
    """
    ids, counts = _whole(bag_ids, "bag_ids"), _whole(bag_counts, "bag_counts")
    outside = (ids < 0) | (ids >= len(counts))
    if outside.any():
        row = int(outside.argmax())
        raise InputError(f"bag_ids row {row} is {ids[row]}, but there are counts for bags 0 to {len(counts) - 1}.")
    bags = Bags(ids, counts)
    _check_counts(counts, bags.sizes, np.arange(len(counts)))
    return bags


def name_bags(bag_ids: Any, counts: Counts, *, suffix: str = "") -> Bags:
    """Bags from ids (n,) of any kind, and counts as ``{id: count}`` or as (B,) in the order of the sorted ids.

    ``suffix`` as in ``bag_ids_val`` goes into the messages. Raises InputError where ids and counts do not match.
    """
    ids = np.asarray(bag_ids)
    if ids.ndim != 1 or len(ids) == 0:
        raise InputError(f"bag_ids{suffix} have shape {ids.shape}: give the bag of each row, shape (n,).")
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        row = int((~np.isfinite(ids)).argmax())
        raise InputError(f"bag_ids{suffix} row {row} is {ids[row]}: leave out rows whose bag is not known.")
    try:
        names, of_row = np.unique(ids, return_inverse=True)
    except TypeError as error:
        raise InputError(f"bag_ids{suffix} mix ids of several kinds: give all as text or all as numbers.") from error
    given = _in_order(counts, names, suffix) if isinstance(counts, Mapping) else counts
    numbers = _whole(given, f"counts{suffix}")
    if len(numbers) != len(names):
        raise InputError(f"counts{suffix} has {len(numbers)} numbers for {len(names)} bags: give one for each bag.")
    _check_counts(numbers, np.bincount(of_row), names)
    return Bags(of_row.astype(np.int64), numbers)


def bags_of_rows(rows: Ints) -> Bags:
    """Bags from what `Bags.rows` gives, also of some of its rows; (n, 2) int64, bags numbered anew.

    Raises InputError for another shape or type, a bag with two counts, and counts that a bag cannot have.
    """
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype != np.int64:
        raise InputError(
            f"labels of bags have shape {rows.shape} and type {rows.dtype}: "
            "give the bag and its count for each row, shape (n, 2) int64."
        )
    names, first, of_row = np.unique(rows[:, 0], return_index=True, return_inverse=True)
    counts = rows[first, 1]
    differs = counts[of_row] != rows[:, 1]
    if differs.any():
        row = int(differs.argmax())
        raise InputError(
            f"row {row} gives bag {rows[row, 0]} the count {rows[row, 1]}, another row {counts[of_row[row]]}: "
            "give every row the count of its whole bag."
        )
    _check_counts(counts, np.bincount(of_row, minlength=len(names)), names)
    return Bags(of_row.astype(np.int64), counts)


def counts_of_proportions(bag_ids: ArrayLike, proportions: Mapping[Any, float]) -> dict[Any, int]:
    """Counts of bags whose proportions of positives are known, rounded to the nearest whole number of rows.

    Raises InputError for a bag without proportion and for proportions outside 0 to 1.
    """
    names, sizes = np.unique(np.asarray(bag_ids), return_counts=True)
    shares = np.array(_in_order(proportions, names, "", "proportions"), dtype=np.float64)
    # NaN fails every comparison, so the test says what is right, not what is wrong.
    wrong = ~((shares >= 0) & (shares <= 1))
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(f"the proportion of bag {names[place]} is {shares[place]}: give a number from 0 to 1.")
    return dict(zip(names.tolist(), np.rint(shares * sizes).astype(int).tolist(), strict=True))


def _in_order(given: Mapping[Any, Any], names: NDArray[Any], suffix: str, what: str = "counts") -> list[Any]:
    known = names.tolist()
    missing = [name for name in known if name not in given]
    if missing:
        raise InputError(f"{what}{suffix} has no entry for bag {missing[0]!r}: give one for each bag.")
    strange = set(given) - set(known)
    if strange:
        raise InputError(f"{what}{suffix} names bag {min(strange, key=str)!r}, which no row is in: leave it out.")
    return [given[name] for name in known]


def _whole(values: ArrayLike, name: str) -> Ints:
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise InputError(f"{name} have shape {given.shape} and type {given.dtype}: give a list of whole numbers.")
    if given.dtype.kind == "f":
        wrong = ~(np.isfinite(given) & (given == np.floor(given)))
        if wrong.any():
            place = int(wrong.argmax())
            raise InputError(f"{name} entry {place} is {given[place]}: give whole numbers.")
    return given.astype(np.int64, copy=False)


def _check_counts(counts: Ints, sizes: Ints, names: NDArray[Any]) -> None:
    wrong = (counts < 0) | (counts > sizes)
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(
            f"bag {names.tolist()[place]!r} has {sizes[place]} rows but a count of {counts[place]}: give 0 to its "
            "number of rows, and leave out the rows of bags whose count is not known."
        )
