"""Compiled loops of the audit of multi-labels. They hold no lock, so threads run them side by side, rows each.

An entry is one label of one example: 1 = present, 0 = absent, -1 = unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Weight of the lower score where two are averaged, and how many of a row's lowest scores count: what the others would
# add to the average is below the rounding of float64, as 0.2^24 is.
ALPHA = 0.8
LOWEST_KEPT = 24


@njit(nogil=True, cache=True)
def add_entries(
    probs: NDArray[Any],
    labels: NDArray[Any],
    counts: NDArray[Any],
    high: NDArray[Any],
    low: NDArray[Any],
    word: float,
) -> tuple[int, int]:
    """Add a block's known entries to the sums of a `ConfidenceSummary`; return how many entries are unknown, and bad.

    probs (rows, classes) float, labels (rows, classes) integers. The sums (2 classes,) are of entries that are absent
    (2k) and present (2k + 1), of the probability that they are so. Bad: no label, or no probability from 0 to 1.
    """
    one = probs.dtype.type(1)
    num_unknown = num_bad = 0
    for i in range(probs.shape[0]):
        for k in range(probs.shape[1]):
            given, prob = labels[i, k], probs[i, k]
            if given < -1 or given > 1 or not (prob >= 0 and prob <= 1):
                num_bad += 1
                continue
            if given < 0:
                num_unknown += 1
                continue
            own = prob if given == 1 else one - prob
            scaled = np.float64(own) * word
            whole = np.floor(scaled)
            place = 2 * k + given
            counts[place] += 1
            high[place] += np.int64(whole)
            low[place] += np.int64(np.rint((scaled - whole) * word))
    return num_unknown, num_bad


@njit(nogil=True, cache=True)
def score_rows(probs: NDArray[Any], labels: NDArray[Any], scores: NDArray[Any]) -> None:
    """Write the quality of each row's labels (rows,): an average that leans to the row's worst entries.

    The probabilities of what is given, largest first, each averaged into those before it with weight ALPHA. A row
    without a known entry has 1.
    """
    one = probs.dtype.type(1)
    lowest = np.empty(LOWEST_KEPT)  # ascending
    for i in range(probs.shape[0]):
        size = 0
        for k in range(probs.shape[1]):
            given = labels[i, k]
            if given < 0:
                continue
            own = np.float64(probs[i, k] if given == 1 else one - probs[i, k])
            if size == LOWEST_KEPT and own >= lowest[size - 1]:
                continue
            size = min(size + 1, LOWEST_KEPT)
            place = size - 1
            while place > 0 and lowest[place - 1] > own:
                lowest[place] = lowest[place - 1]
                place -= 1
            lowest[place] = own
        score = 1.0 if size == 0 else lowest[size - 1]
        for place in range(size - 2, -1, -1):
            score = ALPHA * lowest[place] + (1 - ALPHA) * score
        scores[i] = score


@njit(nogil=True, cache=True)
def find_doubtful(
    probs: NDArray[Any],
    labels: NDArray[Any],
    bars: NDArray[Any],
    slack: float,
    counts: NDArray[Any],
    places: NDArray[Any],
) -> tuple[int, int]:
    """Count what the model is confident of, and note the doubtful entries; return how many are these, and bad ones.

    bars (classes, 2): thresholds of absent and present, less the slack. Written: counts (classes, 2, 2) of known
    entries [class, given, confident]; places (rows * classes,), flat positions, ascending, of known entries that the
    model clearly disputes and of unknown ones that it is confident are present.
    """
    one = probs.dtype.type(1)
    num_classes = probs.shape[1]
    found = num_bad = 0
    for i in range(probs.shape[0]):
        for k in range(num_classes):
            given, present = labels[i, k], probs[i, k]
            if given < -1 or given > 1 or not (present >= 0 and present <= 1):
                num_bad += 1
                continue
            absent = one - present
            guess = -1
            if present >= bars[k, 1] and (absent < bars[k, 0] or present > absent):
                guess = 1
            elif absent >= bars[k, 0]:
                guess = 0
            if given < 0:
                is_doubtful = guess == 1
            else:
                if guess >= 0:
                    counts[k, given, guess] += 1
                # Equal ones dispute in favour of absent, as in an argmax.
                if given == 1:
                    is_doubtful = absent >= np.float64(present) + slack
                else:
                    is_doubtful = present > np.float64(absent) + slack
            if is_doubtful:
                places[found] = i * num_classes + k
                found += 1
    return found, num_bad


@njit(nogil=True, cache=True)
def first_of_groups(groups: NDArray[Any], limits: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask (m,) of the entries that are among the first ``limits[g]`` of their group g; groups (m,)."""
    taken = np.zeros(len(limits), dtype=np.int64)
    mask = np.zeros(len(groups), dtype=np.bool_)
    for place in range(len(groups)):
        group = groups[place]
        mask[place] = taken[group] < limits[group]
        taken[group] += 1
    return mask
