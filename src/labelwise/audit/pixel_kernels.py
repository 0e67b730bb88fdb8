"""Compiled loops of the audit of masks. They hold no lock, so threads run them side by side, a strip of rows each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def scan_rows(
    probs: NDArray[Any],
    mask: NDArray[Any],
    first: int,
    stop: int,
    ignore: int,
    tolerance: float,
    temperature: float,
    given: NDArray[Any],
    own: NDArray[Any],
    best: NDArray[Any],
    best_prob: NDArray[Any],
    soft: NDArray[Any],
) -> int:
    """What an audit needs to know of the pixels of rows ``first`` to ``stop``; return how many look wrong.

    probs (classes, H, W), mask (H, W) with ``ignore`` = not labelled. Written, all (H, W): given, -1 where not
    labelled; own, the probability of the given class, 1 where not labelled; best, the likeliest class, the lower one
    where several tie, and best_prob. soft (H, 2): sums over a row of exp(-own / temperature) and of own times that.
    """
    num_classes, _, width = probs.shape
    total = np.empty(width, dtype=probs.dtype)
    low = np.empty(width, dtype=probs.dtype)
    num_wrong = 0
    for i in range(first, stop):
        top, arg = best_prob[i], best[i]
        for j in range(width):
            total[j] = low[j] = top[j] = probs[0, i, j]
            arg[j] = 0
        for k in range(1, num_classes):
            row = probs[k, i]
            for j in range(width):
                value = row[j]
                total[j] += value
                low[j] = min(low[j], value)
                is_above = value > top[j]
                top[j] = value if is_above else top[j]
                arg[j] = k if is_above else arg[j]
        weights = weighted = 0.0
        for j in range(width):
            k = mask[i, j]
            num_wrong += not (low[j] >= 0 and abs(total[j] - 1.0) <= tolerance)
            given[i, j], own[i, j] = -1, 1
            if k == ignore:
                continue
            if k < 0 or k >= num_classes:
                num_wrong += 1
                continue
            given[i, j], own[i, j] = k, probs[k, i, j]
            weight = np.exp(-np.float64(own[i, j]) / temperature)
            weights += weight
            weighted += weight * own[i, j]
        soft[i, 0], soft[i, 1] = weights, weighted
    return num_wrong
