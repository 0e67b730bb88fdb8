"""What to look at next: suspects in an order that learns from what a person has decided so far.

A static order ranks labels by how much a model doubts them. Decisions tell more: that doubts about one pair of classes
are mostly right and about another mostly wrong, how large a doubt has to be, and that errors lie together. Each of
these shifts a label's chance of being wrong by no more than the decisions can bear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

# Settled on digits with redrawn labels and on adult with planted errors; benchmarks/active_order.py has other data. How
# many decisions an effect needs to be believed by half, as few of a kind may be chance, and how far weights go from
# the static order.
HALF_PAIR, HALF_CLASS, HALF_NEAR = 20.0, 40.0, 5.0
FEWEST_DECISIONS = 15
SPREAD_OF_WEIGHTS, SPREAD_OF_INTERCEPT = 0.3, 3.0


class Doubts(NamedTuple):
    """What is known of n labels before anybody looks.

    ``features`` (n, d) numbers that may say more the larger they are, the first of them the doubt of the static order;
    ``given`` and ``suggested`` (n,) codes of both labels; ``near`` (n, k) positions of neighbours, -1 for none.
    """

    features: Floats
    given: Ints
    suggested: Ints
    near: Ints


def doubts(
    given: ArrayLike, suggested: ArrayLike, given_prob: ArrayLike, suggested_prob: ArrayLike, near: ArrayLike
) -> Doubts:
    """Gather what is known of n labels in static order, the most doubtful first.

    given, suggested: (n,) codes. given_prob, suggested_prob: (n,) probabilities, NaN where a task has none. near:
    (n, k) positions, -1 for none. Raises InputError for shapes that differ. O(n k).
    """
    codes, guesses = np.asarray(given, dtype=np.int32), np.asarray(suggested, dtype=np.int32)
    count = len(codes)
    neighbours = np.asarray(near, dtype=np.int32)
    probs = [np.asarray(each, dtype=np.float32) for each in (given_prob, suggested_prob)]
    if any(len(each) != count for each in (guesses, *probs, neighbours)):
        raise InputError(f"there are {count} given labels, but other counts of what belongs to them: give one a label.")
    same, other, known = (np.zeros(count, dtype=np.float32) for _ in range(3))
    for column in neighbours.T:  # one at a time: all at once would take the memory of many
        there = column >= 0
        around = codes[column]
        same += there & (around == codes)
        other += there & (around == guesses)
        known += there
    place = 1 - (np.arange(count, dtype=np.float32) + 0.5) / max(count, 1)  # (n,) from 1, the worst, to 0
    known = np.maximum(known, 1)
    columns = [_logit(place), *(np.nan_to_num(_logit(each), nan=0.0) for each in probs), same / known, other / known]
    return Doubts(np.column_stack(columns), codes, guesses, neighbours)


def active_order(known: Doubts, decided: ArrayLike, is_error: ArrayLike) -> Ints:
    """Positions (n,) of all labels, first what is most likely wrong given the decisions so far.

    decided: (m,) positions that were looked at; is_error: (m,) whether the label was wrong there. Labels that were
    looked at keep their place by the same chance. With fewer than 15 decisions, or all alike, the order is the static
    one. O(n d + n k) and a sort.
    """
    chances = chance_of_error(known, decided, is_error)
    return (
        np.arange(len(known.given), dtype=np.int32)
        if chances is None
        else np.argsort(-chances, kind="stable").astype(np.int32)
    )


def chance_of_error(known: Doubts, decided: ArrayLike, is_error: ArrayLike) -> Floats | None:
    """How likely each label is wrong (n,), up to a common shift; None where the decisions do not tell yet."""
    rows, errors = np.asarray(decided, dtype=np.int64), np.asarray(is_error, dtype=bool)
    if len(rows) < FEWEST_DECISIONS or errors.all() or not errors.any():
        return None
    mean, scale = known.features.mean(axis=0), np.maximum(known.features.std(axis=0), 1e-9)
    seen = np.column_stack([np.ones(len(rows)), (known.features[rows] - mean) / scale])  # (m, 1 + d)
    constant, *weights = _fit(seen, errors).astype(np.float32)
    chances = _expit(known.features @ (weights / scale) + (constant - mean @ (weights / scale)))
    pairs = known.given.astype(np.int64) * (int(known.suggested.max()) + 1) + known.suggested
    for kinds, half in ((known.given, HALF_CLASS), (pairs, HALF_PAIR)):
        chances += _effect(kinds, rows, errors - chances[rows], half)
    return chances + _near_effect(known.near, rows, errors - chances[rows])


def _fit(features: Floats, errors: NDArray[np.bool_], steps: int = 25) -> Floats:
    """Weights (d,) of a logistic regression, drawn to 1 on the static order's doubt and to 0 elsewhere, by Newton."""
    prior = np.zeros(features.shape[1])
    prior[1] = 1.0
    precision = np.full(features.shape[1], SPREAD_OF_WEIGHTS**-2)
    precision[0] = SPREAD_OF_INTERCEPT**-2
    weights = prior.copy()
    for _ in range(steps):
        chances = _expit(features @ weights)
        slope = features.T @ (errors - chances) - precision * (weights - prior)
        curve = (features * (chances * (1 - chances))[:, None]).T @ features + np.diag(precision)
        step = np.linalg.solve(curve, slope)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _effect(kinds: Ints, rows: Ints, surprises: Floats, half: float) -> Floats:
    """Mean surprise of the decisions on each kind of label, drawn towards 0 where they are few, (n,)."""
    found, kind = np.unique(kinds[rows], return_inverse=True)
    effect = (np.bincount(kind, surprises) / (np.bincount(kind) + half)).astype(np.float32)  # (kinds seen,)
    place = np.minimum(np.searchsorted(found, kinds), len(found) - 1)
    return np.where(found[place] == kinds, effect[place], np.float32(0))


def _near_effect(near: Ints, rows: Ints, surprises: Floats) -> Floats:
    """Mean surprise of the decisions on each label's neighbours, drawn towards 0, (n,)."""
    surprise, is_seen = np.zeros((2, len(near) + 1), dtype=np.float32)  # the last stands for no neighbour
    surprise[rows], is_seen[rows] = surprises, 1.0
    total, count = np.zeros((2, len(near)), dtype=np.float32)
    for column in near.T:
        total += surprise[column]
        count += is_seen[column]
    return total / (count + HALF_NEAR)


def _expit(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))))


def _logit(share: Floats) -> Floats:
    clipped = np.clip(share, 1e-6, 1 - 1e-6)
    return np.log(clipped) - np.log1p(-clipped)
