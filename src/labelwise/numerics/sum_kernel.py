"""The compiled loop of exact sums."""

from typing import Any

from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def add_exactly(bits: NDArray[Any], words: NDArray[Any]) -> None:
    """Add float64 numbers, given as their bits (n,) int64, to words (words,) int64 of 32 bits; then carry."""
    low_word = 0xFFFFFFFF
    for value in bits:
        exponent = (value >> 52) & 0x7FF
        mantissa = value & 0xFFFFFFFFFFFFF
        if exponent:
            mantissa |= 1 << 52
            exponent -= 1
        place, shift = exponent >> 5, exponent & 31
        low = (mantissa & low_word) << shift
        high = (mantissa >> 32) << shift
        sign = 1 if value >= 0 else -1
        words[place] += sign * (low & low_word)
        words[place + 1] += sign * ((low >> 32) + (high & low_word))
        words[place + 2] += sign * (high >> 32)
    for place in range(len(words) - 1):
        carry = words[place] >> 32
        words[place] -= carry << 32
        words[place + 1] += carry
