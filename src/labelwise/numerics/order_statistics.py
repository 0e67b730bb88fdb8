"""Order statistics of numbers that do not fit into memory: exact, in a few reads and half a megabyte.

The bits of a float that is not negative, read as an integer, keep its order. So each read counts the next 16 bits of
the numbers that share the bits found so far (radix selection); counts of several parts add up, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

DIGIT_BITS = 16
DIGITS = 1 << DIGIT_BITS


class Place(NamedTuple):
    """The number at a rank, ``value``, and how many numbers equal to it come before that rank, ``ties_before``."""

    value: float
    ties_before: int


@dataclass(slots=True, eq=False)
class DigitCounts:
    """How many numbers with the leading bits ``prefix`` have each of the values of the 16 bits that follow."""

    prefix: int
    shift: int
    counts: NDArray[np.int64]  # (DIGITS,)

    @classmethod
    def empty(cls, prefix: int, shift: int) -> Self:
        """Counts of no numbers; ``shift`` bits follow those counted."""
        return cls(prefix, shift, np.zeros(DIGITS, dtype=np.int64))

    def update(self, values: NDArray[Any]) -> None:
        """Add numbers (n,) float32 or float64, none of them below 0 or NaN."""
        bits = (values + 0).view(np.dtype(f"u{values.dtype.itemsize}"))  # + 0 turns -0 into 0
        digits = bits >> bits.dtype.type(self.shift)
        if self.shift + DIGIT_BITS < 8 * values.dtype.itemsize:
            digits = digits[digits >> bits.dtype.type(DIGIT_BITS) == self.prefix]
        self.counts += np.bincount((digits & bits.dtype.type(DIGITS - 1)).astype(np.int64), minlength=DIGITS)

    def merge(self, other: DigitCounts) -> DigitCounts:
        """Counts of the numbers of both, which must have the same prefix."""
        assert (self.prefix, self.shift) == (other.prefix, other.shift)
        return DigitCounts(self.prefix, self.shift, self.counts + other.counts)


def kth_smallest(blocks: Callable[[], Iterable[NDArray[Any]]], rank: int, dtype: np.dtype[Any]) -> Place:
    """The number at ``rank``, 0 for the smallest, of all blocks() (n,) of ``dtype`` float32 or float64.

    ``blocks`` is called once for each 16 bits of the type and must give the same numbers each time, in any order and
    division. The numbers must not be negative or NaN. Raises ValueError where there are not so many.
    """
    prefix, left = 0, rank
    for shift in range(8 * dtype.itemsize - DIGIT_BITS, -1, -DIGIT_BITS):
        found = DigitCounts.empty(prefix, shift)
        for block in blocks():
            found.update(block)
        ends = np.cumsum(found.counts)
        if not 0 <= left < ends[-1]:
            raise ValueError(f"rank {rank} of {ends[-1]} numbers")
        digit = int(np.searchsorted(ends, left, side="right"))
        left -= int(ends[digit] - found.counts[digit])
        prefix = prefix << DIGIT_BITS | digit
    value = np.array([prefix], dtype=f"u{dtype.itemsize}").view(dtype)[0]
    return Place(float(value), left)


def median(values: NDArray[Any], block: int = 1 << 16) -> float:
    """Median of an array (n,) of floats, none of them below 0 or NaN, as NumPy has it, without a copy of the array."""

    def blocks() -> Iterable[NDArray[Any]]:
        return (values[start : start + block] for start in range(0, len(values), block))

    upper = kth_smallest(blocks, len(values) // 2, values.dtype)
    if len(values) % 2 or upper.ties_before:
        return upper.value
    lower = kth_smallest(blocks, len(values) // 2 - 1, values.dtype)
    return float((lower.value + upper.value) / 2)
