"""Subsets of numbers whose sum stays within a budget: lazily from the smallest sum up, the smallest ones, how many."""

import heapq
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_SUMS = 1 << 22  # subset sums of half the numbers that counting may hold, 32 MB

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sets = NDArray[np.bool_]


def subset_sums_best_first(gains: ArrayLike, budget: float = math.inf) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Every subset of ``gains`` (M,) >= 0 that sums to at most ``budget``, as (sum, indices), from the smallest sum up.

    Lazy: K subsets take O(K log K) time and O(K) memory whatever M is. Order among equal sums is free.
    """
    if budget < 0:
        return
    values = np.asarray(gains)
    order = np.argsort(values, kind="stable").tolist()
    rising = values[order].tolist()
    yield 0, ()
    # A subset is reached once: from the one without its last index if that follows on the one before, otherwise from
    # the one whose last index is one lower. Neither has a larger sum.
    heap = [(gain, 0, (0,)) for gain in rising[:1] if gain <= budget]
    while heap:
        total, last, chosen = heapq.heappop(heap)
        yield total, tuple(order[place] for place in chosen)
        if last + 1 == len(rising):
            continue
        for start, kept in ((total, chosen), (total - rising[last], chosen[:-1])):
            if start + rising[last + 1] <= budget:
                heapq.heappush(heap, (start + rising[last + 1], last + 1, (*kept, last + 1)))


def smallest_subset_sums(gains: Ints, budget: int, limit: int) -> tuple[Ints, Sets]:
    """The ``limit`` smallest sums (K,) of subsets of ``gains`` (M,) within ``budget``, in no order, and who is in them.

    The same as the start of `subset_sums_best_first`, some ten times faster: gains are taken in one after the other.
    A partial subset that ``limit`` others undercut may go, since whatever it is completed with completes those too.
    Returns subsets as bool (K, M). Cost: O(M limit) at most; O(K) in practice, where fewer than ``limit`` fit.
    """
    sums = np.zeros(1, dtype=np.int64)
    packed = np.zeros((1, -(-len(gains) // 8)), dtype=np.uint8)  # (K, M / 8), a bit each label
    if budget < 0:
        sums, packed = sums[:0], packed[:0]
    for label in _falling(gains, budget):
        fits = np.flatnonzero(sums <= budget - gains[label])
        extended = packed[fits]
        extended[:, label // 8] |= np.uint8(128 >> label % 8)
        sums = np.concatenate([sums, sums[fits] + gains[label]])
        packed = np.concatenate([packed, extended])
        if len(sums) > limit:
            kept = np.argpartition(sums, limit - 1)[:limit]
            sums, packed = sums[kept], packed[kept]
            budget = int(sums.max())
    return sums, np.unpackbits(packed, axis=1, count=len(gains)).astype(bool)


def count_subset_sums(gains: Ints, budgets: Ints) -> Floats:
    """How many subsets of ``gains`` (M,) sum to at most each of ``budgets`` (m,), without listing them: (m,) float64.

    Meet in the middle (Horowitz and Sahni, 1974): sums of the one half of the labels against sorted sums of the other.
    Exact, as far as float64 is; infinite where a half has more than 4 million sums, from some 10^8 subsets on. Cost:
    the sums of both halves, far fewer than the K subsets; 50 ms for K = 10^7, half a second before it gives up.
    """
    largest = int(budgets.max(initial=-1))
    if largest < 0:
        return np.zeros(len(budgets))
    order = _falling(gains, largest)
    if gains[order].sum() <= budgets.min():
        return np.full(len(budgets), np.ldexp(1.0, len(order)))
    halves = [_sums_within(gains[order[start::2]], largest) for start in (0, 1)]
    if halves[0] is None or halves[1] is None:
        return np.full(len(budgets), np.inf)
    left, right = halves[0], np.sort(halves[1])
    return np.asarray([np.searchsorted(right, budget - left, side="right").sum() for budget in budgets], np.float64)


def _falling(gains: Ints, budget: int) -> Ints:
    """Indices of the gains within the budget, the largest first: few subsets live while most gains are tried."""
    fits = np.flatnonzero(gains <= budget)
    return fits[np.argsort(-gains[fits], kind="stable")]


def _sums_within(gains: Ints, budget: int) -> Ints | None:
    """All subset sums within the budget, or None where they are too many to hold."""
    sums = np.zeros(1, dtype=np.int64)
    for gain in gains:
        sums = np.concatenate([sums, sums[sums <= budget - gain] + gain])
        if len(sums) > MAX_SUMS:
            return None
    return sums
