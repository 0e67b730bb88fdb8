"""Compiled loops of the streaming audit. They hold no lock, so threads run them side by side.

Probabilities that are not negative keep their order when their bits are read as integers; integer maxima need no care
for NaN, which lets the compiler use vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Classes k with the same k % LANES share one running maximum, so that the loop over classes is one of vectors.
LANES = 64
# Lanes j with the same j % GROUPS share one maximum in the search for a bar.
GROUPS = 8
# Largest probabilities kept of each row.
KEPT = 3
# In place of a class: that it takes another read of the row to know it.
OPEN = -2


def scan(
    probs: NDArray[Any],
    bits: NDArray[Any],
    labels: NDArray[Any],
    tolerance: float,
    top_class: NDArray[Any],
    top_bits: NDArray[Any],
    own_prob: NDArray[Any],
) -> int:
    """Keep the largest KEPT probabilities of each row and that of the given class; return how many rows look wrong.

    probs (rows, classes) float, bits the same memory as integers; labels (rows,). Written: top_class (rows, KEPT), -1
    where there are fewer classes; top_bits (rows, KEPT); own_prob (rows,), 1 where unlabelled. Ties: lower class first.
    """
    loop = _scan_few if probs.shape[1] < LANES else _scan_many
    return int(loop(probs, bits, labels, tolerance, top_class, top_bits, own_prob))


@njit(nogil=True, cache=True)
def _scan_few(
    probs: NDArray[Any],
    bits: NDArray[Any],
    labels: NDArray[Any],
    tolerance: float,
    top_class: NDArray[Any],
    top_bits: NDArray[Any],
    own_prob: NDArray[Any],
) -> int:
    """`scan` of fewer than LANES classes."""
    num_rows, num_classes = probs.shape
    num_suspect = 0
    for i in range(num_rows):
        own_prob[i] = probs[i, labels[i]] if labels[i] >= 0 else 1
        total, signs = probs.dtype.type(0), bits.dtype.type(0)
        top = _empty_top(bits)
        for k in range(num_classes):
            total += probs[i, k]
            signs |= bits[i, k]
            top = _insert(bits[i, k], k, top, False)
        num_suspect += not (signs >= 0 and abs(total - 1.0) <= tolerance)
        _store(i, top, top_class, top_bits)
    return num_suspect


@njit(nogil=True, cache=True)
def _scan_many(
    probs: NDArray[Any],
    bits: NDArray[Any],
    labels: NDArray[Any],
    tolerance: float,
    top_class: NDArray[Any],
    top_bits: NDArray[Any],
    own_prob: NDArray[Any],
) -> int:
    """`scan` of at least LANES classes."""
    num_rows, num_classes = probs.shape
    full = num_classes - num_classes % LANES
    lane_max = np.empty(LANES, dtype=bits.dtype)
    num_suspect = 0
    for i in range(num_rows):
        row = bits[i]
        own_prob[i] = probs[i, labels[i]] if labels[i] >= 0 else 1
        num_suspect += not _is_plain(probs[i], row, tolerance)
        top = _empty_top(bits)
        _fill_lanes(row, full, lane_max)
        # The largest of a row lie in the lanes with the largest maxima.
        bar = _low_bar(lane_max)
        for j in range(LANES):
            if lane_max[j] >= bar:
                for k in range(j, full, LANES):
                    if row[k] >= bar:
                        top = _insert(row[k], k, top, True)
        for k in range(full, num_classes):
            if row[k] > top[2]:
                top = _insert(row[k], k, top, False)
        _store(i, top, top_class, top_bits)
    return num_suspect


# The sum may be taken in any order: it only decides whether the row gets the exact check.
@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _is_plain(probs: NDArray[Any], bits: NDArray[Any], tolerance: float) -> bool:
    total, signs = probs.dtype.type(0), bits.dtype.type(0)
    for k in range(len(probs)):
        total += probs[k]
        signs |= bits[k]
    return signs >= 0 and abs(total - 1.0) <= tolerance


@njit(nogil=True, cache=True)
def _fill_lanes(row: NDArray[Any], full: int, lane_max: NDArray[Any]) -> None:
    lane_max[:] = 0
    for start in range(0, full, LANES):
        part = row[start : start + LANES]
        for j in range(LANES):
            lane_max[j] = max(lane_max[j], part[j])


@njit(nogil=True, cache=True)
def _low_bar(lane_max: NDArray[Any]) -> int:
    """A value that at least three classes reach, and few more: the third largest of the groups' maxima."""
    first = second = third = lane_max.dtype.type(0)
    for group in range(GROUPS):
        value = lane_max[group]
        for j in range(group + GROUPS, LANES, GROUPS):
            value = max(value, lane_max[j])
        third, second, first = max(third, min(second, value)), max(second, min(first, value)), max(first, value)
    return third


@njit(nogil=True, cache=True, inline="always")
def _empty_top(bits: NDArray[Any]) -> Any:
    """Three largest values of none, below every probability, and their classes."""
    none = bits.dtype.type(-1)
    return none, none, none, -1, -1, -1


@njit(nogil=True, cache=True, inline="always")
def _insert(value: Any, k: Any, top: Any, any_order: bool) -> Any:
    """Place class k among the three largest (values, then classes): by value, equal values by class.

    any_order: whether classes may come otherwise than in rising order. Masks, for branches would be mispredicted.
    """
    first, second, third, class_1, class_2, class_3 = top
    above_1, above_2, above_3 = -np.int64(value > first), -np.int64(value > second), -np.int64(value > third)
    if any_order:
        above_1 |= -np.int64((value == first) & (k < class_1))
        above_2 |= -np.int64((value == second) & (k < class_2))
        above_3 |= -np.int64((value == third) & (k < class_3))
    return (
        max(first, value),
        max(second, min(first, value)),
        max(third, min(second, value)),
        _pick(above_1, k, class_1),
        _pick(above_1, class_1, _pick(above_2, k, class_2)),
        _pick(above_2, class_2, _pick(above_3, k, class_3)),
    )


@njit(nogil=True, cache=True, inline="always")
def _pick(mask: Any, a: Any, b: Any) -> Any:
    """Return a where mask is -1, b where it is 0."""
    return (a & mask) | (b & ~mask)


@njit(nogil=True, cache=True, inline="always")
def _store(i: int, top: Any, top_class: NDArray[Any], top_bits: NDArray[Any]) -> None:
    # As a probability, what is missing or a negative zero is 0.
    top_bits[i, 0], top_bits[i, 1], top_bits[i, 2] = max(top[0], 0), max(top[1], 0), max(top[2], 0)
    top_class[i, 0], top_class[i, 1], top_class[i, 2] = top[3], top[4], top[5]


@njit(nogil=True, cache=True)
def add_words(
    labels: NDArray[Any],
    own_prob: NDArray[Any],
    class_counts: NDArray[Any],
    high: NDArray[Any],
    low: NDArray[Any],
    word: float,
) -> None:
    """Add rows to the sums of a `ConfidenceSummary`; labels and own_prob (rows,), the sums (classes,)."""
    for i in range(len(labels)):
        k = labels[i]
        if k < 0:
            continue
        scaled = np.float64(own_prob[i]) * word
        whole = np.floor(scaled)
        class_counts[k] += 1
        high[k] += np.int64(whole)
        low[k] += np.int64(np.rint((scaled - whole) * word))


@njit(nogil=True, cache=True)
def settle(
    labels: NDArray[Any],
    top_class: NDArray[Any],
    top_prob: NDArray[Any],
    bars: NDArray[Any],
    other: NDArray[Any],
    other_prob: NDArray[Any],
    guess: NDArray[Any],
) -> int:
    """Write the evidence that follows from each row's largest probabilities; return how many guesses stay open.

    bars (classes,): thresholds less the slack. Written, all (rows,): other, other_prob and guess of `Evidence`; guess
    is OPEN where a class beyond those kept may be the confident one.
    """
    lowest_bar = bars.min()
    num_open = 0
    for i in range(len(labels)):
        other[i], other_prob[i], guess[i] = -1, 0, -1
        if labels[i] < 0:
            continue
        best = top_class[i, 0]
        place = 1 if best == labels[i] else 0
        other[i], other_prob[i] = top_class[i, place], top_prob[i, place]
        if top_prob[i, 0] >= bars[best]:
            guess[i] = best
            continue
        num_confident = 0
        for place in range(1, KEPT):
            k = top_class[i, place]
            if k >= 0 and top_prob[i, place] >= bars[k]:
                num_confident += 1
                guess[i] = k
        if num_confident > 1:
            guess[i] = best
        elif len(bars) > KEPT and top_prob[i, KEPT - 1] >= lowest_bar:
            guess[i] = OPEN
            num_open += 1
    return num_open


@njit(nogil=True, cache=True)
def count_pairs(labels: NDArray[Any], guess: NDArray[Any], counts: NDArray[Any]) -> None:
    """Add rows to counts (classes, classes) of [label, guess]; rows with -1 in either are not counted."""
    for i in range(len(labels)):
        if labels[i] >= 0 and guess[i] >= 0:
            counts[labels[i], guess[i]] += 1


@njit(nogil=True, cache=True)
def keep_largest_margins(
    probs: NDArray[Any],
    labels: NDArray[Any],
    first_row: int,
    pair_starts: NDArray[Any],
    pair_class: NDArray[Any],
    starts: NDArray[Any],
    sizes: NDArray[Any],
    bars: NDArray[Any],
    margins: NDArray[Any],
    rows: NDArray[Any],
) -> None:
    """For each pair (given j, other k) keep the rows with the largest p[k] - p[j], and others while there is room.

    Pairs of class j are pair_starts[j] to pair_starts[j + 1]; pair_class is their k. The room of a pair, starts[pair]
    to starts[pair + 1], is twice what is wanted: when it is full, the worse half goes, and bars[pair], -inf at first,
    rises to the worst margin that stays. Equal margins: the lower row is better.
    """
    for i in range(len(labels)):
        j = labels[i]
        if j < 0:
            continue
        own = np.float64(probs[i, j])
        for pair in range(pair_starts[j], pair_starts[j + 1]):
            margin = np.float64(probs[i, pair_class[pair]]) - own
            if margin >= bars[pair]:
                _keep(margin, first_row + i, pair, starts, sizes, bars, margins, rows)


@njit(nogil=True, cache=True)
def merge_margins(
    starts: NDArray[Any],
    sizes: NDArray[Any],
    bars: NDArray[Any],
    margins: NDArray[Any],
    rows: NDArray[Any],
    other_sizes: NDArray[Any],
    other_margins: NDArray[Any],
    other_rows: NDArray[Any],
) -> None:
    """Add what another thread kept."""
    for pair in range(len(sizes)):
        for place in range(starts[pair], starts[pair] + other_sizes[pair]):
            if other_margins[place] >= bars[pair]:
                _keep(other_margins[place], other_rows[place], pair, starts, sizes, bars, margins, rows)


@njit(nogil=True, cache=True)
def mark_largest_margins(
    starts: NDArray[Any], sizes: NDArray[Any], margins: NDArray[Any], rows: NDArray[Any], mask: NDArray[Any]
) -> None:
    """Set mask (all rows,) at the rows wanted of each pair."""
    for pair in range(len(sizes)):
        start, wanted = starts[pair], (starts[pair + 1] - starts[pair]) // 2
        if sizes[pair] > wanted:
            _best_first(margins, rows, start, start + sizes[pair], wanted)
        for place in range(start, start + min(sizes[pair], wanted)):
            mask[rows[place]] = True


@njit(nogil=True, cache=True)
def _keep(
    margin: float,
    row: int,
    pair: int,
    starts: NDArray[Any],
    sizes: NDArray[Any],
    bars: NDArray[Any],
    margins: NDArray[Any],
    rows: NDArray[Any],
) -> None:
    start = starts[pair]
    room = starts[pair + 1] - start
    if sizes[pair] == room:
        sizes[pair] = room // 2
        bars[pair] = _best_first(margins, rows, start, start + room, room // 2)
    margins[start + sizes[pair]], rows[start + sizes[pair]] = margin, row
    sizes[pair] += 1


@njit(nogil=True, cache=True)
def _best_first(margins: NDArray[Any], rows: NDArray[Any], start: int, stop: int, count: int) -> float:
    """Bring the best ``count`` of the entries start to stop to the front; return the worst margin of them (Hoare)."""
    low, high, last = start, stop - 1, start + count - 1
    while low < high:
        margin, row = margins[(low + high) // 2], rows[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while _is_better(margins[left], rows[left], margin, row):
                left += 1
            while _is_better(margin, row, margins[right], rows[right]):
                right -= 1
            if left <= right:
                margins[left], margins[right] = margins[right], margins[left]
                rows[left], rows[right] = rows[right], rows[left]
                left += 1
                right -= 1
        # Entries from low to right are at least as good as the pivot, those from left to high at most.
        if last <= right:
            high = right
        elif last >= left:
            low = left
        else:
            break
    return margins[last]


@njit(nogil=True, cache=True, inline="always")
def _is_better(margin_a: float, row_a: int, margin_b: float, row_b: int) -> bool:
    return margin_a > margin_b or (margin_a == margin_b and row_a < row_b)
