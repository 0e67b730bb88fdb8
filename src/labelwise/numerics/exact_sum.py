"""Sums of floats without rounding: the same bits in whatever order and division the numbers come.

A float64 is a whole number of 2^-1074, so a sum of them is an integer of at most some 2,200 bits; it is kept in words
of 32 bits, with room for carries (a small superaccumulator: Neal, "Fast exact summation", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32
NUM_WORDS = 70
UNIT = Fraction(1, 1 << 1074)
# A word takes less than 2^33 from each number, and an int64 holds 2^63.
NUMBERS_AT_A_TIME = 1 << 28


@dataclass(slots=True, eq=False)
class ExactSum:
    """Sum of finite numbers: ``count`` of them, ``words`` (NUM_WORDS,) int64, lowest first, in units of 2^-1074."""

    count: int
    words: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Self:
        """Sum of no numbers."""
        return cls(0, np.zeros(NUM_WORDS, dtype=np.int64))

    def update(self, values: NDArray[Any]) -> None:
        """Add numbers (n,), all finite."""
        from labelwise.numerics.sum_kernel import add_exactly

        for start in range(0, len(values), NUMBERS_AT_A_TIME):
            part = np.ascontiguousarray(values[start : start + NUMBERS_AT_A_TIME], dtype=np.float64)
            add_exactly(part.view(np.int64), self.words)
        self.count += len(values)

    def merge(self, other: ExactSum) -> ExactSum:
        """Sum of the numbers of both."""
        return ExactSum(self.count + other.count, self.words + other.words)

    def finalize(self) -> Fraction:
        """The sum itself; ``float`` of it rounds once, correctly."""
        return UNIT * sum(int(word) << (WORD_BITS * place) for place, word in enumerate(self.words))

    def mean(self) -> float:
        """Mean of the numbers, rounded once; 0 of none."""
        return float(self.finalize() / max(self.count, 1))
