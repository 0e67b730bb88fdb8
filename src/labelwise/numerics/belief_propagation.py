"""Loopy belief propagation on binary variables: pairwise couplings, and bags of which the count of ones is known."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from labelwise.errors import InputError
from labelwise.labels.bags import Bags

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
STARTS = ("neutral", "zero")
# Messages at rest: a change of log-odds by so much moves a probability by a quarter of it.
AT_REST = 1e-2


class Convergence(NamedTuple):
    """How messages came to rest. residual: the largest change of a log-odds message that the last round asked for."""

    rounds: int
    residual: float
    converged: bool


class Beliefs(NamedTuple):
    """marginals (n,) float64, the probability that each variable is 1, and how far the messages are from rest."""

    marginals: Floats
    info: Convergence


class CountFactors(NamedTuple):
    """Every bag as one factor ``exp(-strength (sum of its variables - count)^2)``."""

    bags: Bags
    strength: float


def binary_belief_propagation(
    unary: ArrayLike,
    edges: ArrayLike,
    coupling: ArrayLike,
    num_iters: int = 100,
    damping: float = 0.5,
    tol: float = 0.0,
    start: str = "neutral",
    *,
    temperature: float = 1.0,
    counts: CountFactors | None = None,
) -> Beliefs:
    """Marginals of ``P(y) ~ exp((sum_i u_i y_i + sum_(i,j) J_ij y_i y_j) / temperature)`` over y in {0, 1}^n.

    unary (n,), edges (e, 2) of different variables, each pair once, coupling (e,). Sum-product with all messages at
    once: with ``h = u_i + sum_(k != j) m_(k->i)``, ``m_(i->j) <- damping m_(i->j) + (1 - damping) (softplus(h + J_ij) -
    softplus(h))``. Exact on trees, an approximation on loops. It ends after ``num_iters`` rounds, or when no message
    wants to change by more than ``tol``.

    ``start``: messages begin at J/2, which says nothing either way, or at 0 (as published), which favours ones where
    couplings are positive: strong ones then settle in the wrong state. ``counts`` adds a factor a bag, whose messages
    are exact. A message of an edge stays between 0 and J, that of a count between its smallest and largest step, so
    nothing diverges to NaN. Raises InputError. Cost of a round: four exponentials and two logarithms an edge, two
    messages of 8 bytes each; a bag of s variables 3 s^2 multiplications and s^2 numbers of memory.
    """
    if num_iters < 1 or not 0 <= damping < 1 or not tol >= 0 or not 0 < temperature < math.inf:
        raise InputError(
            f"num_iters is {num_iters}, damping {damping}, tol {tol}, temperature {temperature}: give at least 1, a "
            "number from 0 to below 1, 0 or more, and a number above 0."
        )
    if start not in STARTS:
        raise InputError(f"start is {start!r}: choose {STARTS[0]!r} or {STARTS[1]!r}.")
    u, pairs, J = _check_potentials(unary, edges, coupling)
    u, J = u / temperature, J / temperature
    messages = np.repeat(J[:, None] / 2 if start == "neutral" else np.zeros((len(J), 1)), 2, axis=1)  # (e, 2)
    bags = None if counts is None else _BagMessages(counts, len(u), temperature)
    totals = u.copy()
    _add_messages(pairs, messages, totals)
    residual, rounds = math.inf, 0
    while rounds < num_iters and residual > tol:
        rounds += 1
        sums = u.copy()
        residual = _pair_round(pairs, J, damping, totals, messages, sums)
        if bags is not None:
            residual = max(residual, bags.round(damping, totals, sums))
        totals = sums
    return Beliefs(expit(totals), Convergence(rounds, residual, residual <= max(tol, AT_REST)))


def warn_of_unrest(info: Convergence) -> None:
    """Say that messages did not come to rest, and what to do; nothing where they did."""
    if info.converged:
        return
    warnings.warn(
        f"belief propagation is not at rest after {info.rounds} rounds, a message would still change by "
        f"{info.residual:.3g} (log-odds): weaker couplings, more damping or more rounds may settle it.",
        RuntimeWarning,
        stacklevel=3,
    )


class _BagMessages:
    """Messages (n,) from every bag to its variables, and what their next round starts from."""

    def __init__(self, counts: CountFactors, num_variables: int, temperature: float) -> None:
        bags, strength = counts
        if not 0 <= strength < math.inf:
            raise InputError(f"the strength of the counts is {strength}: give a finite number of 0 or more.")
        if len(bags.of_row) != num_variables:
            raise InputError(f"there are {len(bags.of_row)} rows in bags but {num_variables} variables: give as many.")
        self.counts, self.strength = bags.counts, strength / temperature
        self.order, self.starts = bags.members()
        self.messages, self.tilts = np.zeros(num_variables), np.zeros(len(bags))

    def round(self, damping: float, totals: Floats, sums: Floats) -> float:
        """Renew the messages, add them to ``sums`` (n,), and return the largest change asked for."""
        if self.strength == 0:
            return 0.0
        return _count_round(
            self.order, self.starts, self.counts, self.strength, damping, totals, self.messages, self.tilts, sums
        )


def _check_potentials(unary: ArrayLike, edges: ArrayLike, coupling: ArrayLike) -> tuple[Floats, Ints, Floats]:
    u, J = np.asarray(unary, dtype=np.float64), np.asarray(coupling, dtype=np.float64)
    pairs = np.asarray(edges)
    if pairs.size == 0:
        pairs = np.empty((0, 2), dtype=np.int64)
    if u.ndim != 1 or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise InputError(
            f"unary has shape {u.shape}, edges {pairs.shape} of type {pairs.dtype}: give (n,) and (e, 2) of integers."
        )
    if J.shape != (len(pairs),):
        raise InputError(f"coupling has shape {J.shape} for {len(pairs)} edges: give one number for each edge.")
    if len(pairs):
        wrong = ((pairs < 0) | (pairs >= len(u))).any(axis=1) | (pairs[:, 0] == pairs[:, 1])
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"edges row {row} is {pairs[row].tolist()}: give two different variables of 0 to {len(u) - 1}."
            )
    # One sum tells of NaN, infinity, and potentials too large to add up.
    with np.errstate(over="ignore"):
        total = np.abs(u).sum() + np.abs(J).sum()
    if not np.isfinite(total):
        raise InputError("unary or coupling hold NaN, infinity or numbers too large to add up: repair or scale them.")
    return u, pairs, J


@njit(nogil=True, cache=True)
def _log_message(h: float, J: float) -> float:
    """Softplus(h + J) - softplus(h), without overflow and without loss of digits."""
    high = h + J
    rest = math.log((1 + math.exp(-abs(high))) / (1 + math.exp(-abs(h))))
    return max(high, 0.0) - max(h, 0.0) + rest


@njit(nogil=True, cache=True)
def _add_messages(edges: Ints, messages: Floats, sums: Floats) -> None:
    for e in range(len(edges)):
        sums[edges[e, 0]] += messages[e, 0]
        sums[edges[e, 1]] += messages[e, 1]


@njit(nogil=True, cache=True)
def _pair_round(edges: Ints, coupling: Floats, damping: float, totals: Floats, messages: Floats, sums: Floats) -> float:
    """One round over all edges; messages[e, 0] goes to edges[e, 0]. New ones are added to ``sums``."""
    residual = 0.0
    for e in range(len(edges)):
        i, j, J = edges[e, 0], edges[e, 1], coupling[e]
        to_i, to_j = messages[e, 0], messages[e, 1]
        new_i, new_j = _log_message(totals[j] - to_j, J), _log_message(totals[i] - to_i, J)
        residual = max(residual, abs(new_i - to_i), abs(new_j - to_j))
        messages[e, 0] = damping * to_i + (1 - damping) * new_i
        messages[e, 1] = damping * to_j + (1 - damping) * new_j
        sums[i] += messages[e, 0]
        sums[j] += messages[e, 1]
    return residual


@njit(nogil=True, cache=True)
def _count_round(
    order: Ints,
    starts: Ints,
    counts: Ints,
    strength: float,
    damping: float,
    totals: Floats,
    messages: Floats,
    tilts: Floats,
    sums: Floats,
) -> float:
    """One round over all bags; new messages (n,) are added to ``sums``."""
    residual = 0.0
    largest = np.diff(starts).max() if len(starts) > 1 else 0
    prefix = np.empty((largest, largest + 1))
    for bag in range(len(counts)):
        rows = order[starts[bag] : starts[bag + 1]]
        if len(rows) == 0:
            continue
        odds = totals[rows] - messages[rows]  # (s,)
        new, tilts[bag] = _count_messages(odds, counts[bag], strength, tilts[bag], prefix)
        for place in range(len(rows)):
            row = rows[place]
            residual = max(residual, abs(new[place] - messages[row]))
            messages[row] = damping * messages[row] + (1 - damping) * new[place]
            sums[row] += messages[row]
    return residual


@njit(nogil=True, cache=True)
def _count_messages(odds: Floats, count: int, strength: float, tilt: float, prefix: Floats) -> tuple[Floats, float]:
    """Exact messages (s,) of ``exp(-strength (sum y - count)^2)`` to each y of log-odds (s,), and the tilt used.

    The factor times ``exp(-tilt sum y)`` is the same bell around ``centre = count - tilt / (2 strength)``, and odds
    times ``exp(tilt)`` undo it. With the tilt for which the expected sum is the centre, both are large at the same
    sums, so that plain sums of products need no logarithms and do not underflow.
    """
    size = len(odds)
    tilt = _balancing_tilt(odds, count, strength, tilt)
    centre = count - tilt / (2 * strength)
    nearest = min(max(round(centre), 0), size)
    factor = np.empty(size + 1)
    for k in range(size + 1):
        factor[k] = math.exp(-strength * ((k - centre) ** 2 - (nearest - centre) ** 2))
    p, q = 1 / (1 + np.exp(-(odds + tilt))), 1 / (1 + np.exp(odds + tilt))
    # prefix[i, k]: probability that k of the variables before i are 1.
    prefix[0, 0] = 1.0
    for i in range(size - 1):
        prefix[i + 1, 0] = q[i] * prefix[i, 0]
        for k in range(1, i + 1):
            prefix[i + 1, k] = q[i] * prefix[i, k] + p[i] * prefix[i, k - 1]
        prefix[i + 1, i + 1] = p[i] * prefix[i, i]
    # Backwards, factor[k] becomes its expectation over the variables from i on, given k ones before them.
    least, most = -strength * (2 * (size - 1 - count) + 1), strength * (2 * count - 1)
    messages = np.empty(size)
    for i in range(size - 1, -1, -1):
        if_one, if_zero = 0.0, 0.0
        for k in range(i + 1):
            if_one += prefix[i, k] * factor[k + 1]
            if_zero += prefix[i, k] * factor[k]
        ratio = math.log(max(if_one, 1e-300) / max(if_zero, 1e-300)) + tilt
        messages[i] = min(max(ratio, least), most)
        for k in range(i + 1):
            factor[k] = q[i] * factor[k] + p[i] * factor[k + 1]
    return messages, tilt


@njit(nogil=True, cache=True)
def _balancing_tilt(odds: Floats, count: int, strength: float, tilt: float) -> float:
    """The tilt for which the expected sum of the tilted odds is the centre of the tilted factor, to half a variable."""
    low, high = 2 * strength * (count - len(odds)), 2 * strength * count
    tilt = min(max(tilt, low), high)
    for _ in range(100):
        expected, slope = 0.0, 1 / (2 * strength)
        for h in odds:
            p = 1 / (1 + math.exp(-(h + tilt)))
            expected += p
            slope += p * (1 - p)
        gap = expected - (count - tilt / (2 * strength))
        if abs(gap) < 0.5:
            break
        if gap > 0:
            high = tilt
        else:
            low = tilt
        tilt -= gap / slope
        if not low < tilt < high:
            tilt = (low + high) / 2
    return tilt
