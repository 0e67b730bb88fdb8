"""Potentials of a Gibbs distribution over binary labels in which bags have their counts and near rows agree."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError
from labelwise.labels.bags import Bags, check_bags

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Potentials(NamedTuple):
    """unary (n,) float64; edges (e, 2), i < j, sorted by i then j; coupling (e,) float64."""

    unary: Floats
    edges: Ints
    coupling: Floats


def bag_potentials(
    pairs: ArrayLike,
    sims: ArrayLike,
    bag_ids: ArrayLike,
    bag_counts: ArrayLike,
    bag_lambda: float,
    sim_lambda: float,
) -> Potentials:
    """Potentials of ``-bag_lambda sum_b (sum_(i in b) y_i - c_b)^2 - sim_lambda sum_(i,j) k_ij (y_i - y_j)^2``.

    pairs (m, 2), each once, and sims (m,) are the neighbours; bag_ids (n,) are 0 to B - 1, bag_counts (B,). All pairs
    of a bag are edges; one that is a pair of neighbours too stands once, its couplings added. Raises InputError.
    Cost: 24 bytes an edge, of which a bag of s rows has s (s - 1) / 2.
    """
    check_weights(bag_lambda=bag_lambda, sim_lambda=sim_lambda)
    return pair_potentials(pairs, sims, check_bags(bag_ids, bag_counts), bag_lambda, sim_lambda)


def pair_potentials(pairs: ArrayLike, sims: ArrayLike, bags: Bags, bag_lambda: float, sim_lambda: float) -> Potentials:
    """The potentials of bags as pairs and of similarities, united."""
    near = similarity_potentials(pairs, sims, bags, sim_lambda)
    unary = near.unary - bag_lambda * (1.0 - 2.0 * bags.counts[bags.of_row])
    count = max(len(unary), 1)
    keys, edges = near.edges @ [count, 1], _bag_keys(bags)
    coupling = np.full(len(edges), -2.0 * bag_lambda)
    places = np.searchsorted(edges, keys)
    is_both = np.zeros(len(keys), dtype=bool)
    if len(edges):
        is_both = edges[np.minimum(places, len(edges) - 1)] == keys
    coupling[places[is_both]] += near.coupling[is_both]
    edges = np.insert(edges, places[~is_both], keys[~is_both])
    coupling = np.insert(coupling, places[~is_both], near.coupling[~is_both])
    return Potentials(unary, np.stack(np.divmod(edges, count), axis=1), coupling)


def similarity_potentials(pairs: ArrayLike, sims: ArrayLike, bags: Bags, sim_lambda: float) -> Potentials:
    """The potentials of similarities alone."""
    count = len(bags.of_row)
    edges, weights = _check_similarities(pairs, sims, count)
    unary = np.bincount(edges.ravel(), weights=np.repeat(-sim_lambda * weights, 2), minlength=count)  # (n,)
    return Potentials(unary.astype(np.float64, copy=False), edges, 2.0 * sim_lambda * weights)


def _check_similarities(pairs: ArrayLike, sims: ArrayLike, count: int) -> tuple[Ints, Floats]:
    """Pairs (m, 2), i < j, sorted by i then j, and their similarities (m,)."""
    given, weights = np.asarray(pairs), np.asarray(sims, dtype=np.float64)
    if given.size == 0:
        given = np.empty((0, 2), dtype=np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu" or weights.shape != (len(given),):
        raise InputError(
            f"pairs have shape {given.shape} and type {given.dtype}, sims {weights.shape}: "
            "give integers (m, 2) and one similarity for each pair."
        )
    wrong = ((given < 0) | (given >= count)).any(axis=1) | (given[:, 0] == given[:, 1])
    # NaN fails every comparison, so the test says what is right, not what is wrong.
    wrong |= ~((weights >= 0) & (weights < np.inf))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"pairs row {row} is {given[row].tolist()} with similarity {weights[row]}: "
            f"give two different rows of 0 to {count - 1} and a finite similarity of 0 or more."
        )
    edges = np.sort(given.astype(np.int64), axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges = edges[order]
    is_repeat = (edges[1:] == edges[:-1]).all(axis=1)
    if is_repeat.any():
        row = int(order[int(is_repeat.argmax()) + 1])
        raise InputError(f"pairs row {row} is {given[row].tolist()}, which stands there twice: give each pair once.")
    return edges, weights[order]


def _bag_keys(bags: Bags) -> Ints:
    """Keys i n + j, i < j, of all pairs within bags, sorted."""
    order, starts = bags.members()
    count, sizes = len(order), bags.sizes
    parts = []
    for size in np.unique(sizes[sizes > 1]).tolist():
        members = order[starts[:-1][sizes == size][:, None] + np.arange(size)]  # (bags, size), ascending
        low, high = np.triu_indices(size, 1)
        parts.append((members[:, low] * count + members[:, high]).ravel())
    keys = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    keys.sort()
    return keys


def check_weights(**weights: float | None) -> None:
    """Raise InputError for weights that are negative or not finite; None passes."""
    for name, value in weights.items():
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}: give a finite number of 0 or more.")
