"""The leaves of an ensemble as sparse means over training rows: what its smoother matrix is made of."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from labelwise.errors import InputError

# Leaves are numbered by a table while ids span at most this many times the rows, 30 times as fast as by sorting them.
WIDEST_TABLE = 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Leaves(NamedTuple):
    """The trees of an ensemble of B trees, n training rows and m queries.

    means: sparse (all leaves, n), one row a leaf: the weights with which it averages outcomes; empty for a leaf
    without training rows. starts (B + 1,): where each tree's leaves begin in `means`. query (B, m), train (B, n) int32:
    the leaf of each row, counted from its tree's start; train is empty (0, n) where it was not asked for.
    """

    means: csr_array
    starts: Ints
    query: NDArray[np.int32]
    train: NDArray[np.int32]

    def of_tree(self, tree: int) -> csr_array:
        """Rows of `means` (leaves of the tree, n), sharing memory with it."""
        first, last = self.starts[tree], self.starts[tree + 1]
        indptr = self.means.indptr[first : last + 1]
        inside = slice(indptr[0], indptr[-1])
        shape = (last - first, self.means.shape[1])
        return csr_array((self.means.data[inside], self.means.indices[inside], indptr - indptr[0]), shape=shape)


def read_leaves(
    leaves_train: Iterable[ArrayLike],
    leaves_query: Iterable[ArrayLike],
    weights: Iterable[ArrayLike] | None = None,
    *,
    keep_train: bool = False,
) -> Leaves:
    """Sparse leaf means from leaf ids of training rows (n,) and queries (m,) and the rows' weights (n,), a tree each.

    Ids are any integers, trees are numbered apart; weights count how often a row was drawn, default 1. All three may
    be generators: one tree is held at a time. keep_train: keep the training rows' leaves too. Raises InputError.
    Cost: one read of the ids.
    """
    data: list[Any] = []
    columns: list[Any] = []
    lengths: list[Any] = []
    queries: list[Any] = []
    trains: list[Any] = []
    sizes: tuple[int, int] | None = None
    for tree, (train, query, weight) in enumerate(_zip_trees(leaves_train, leaves_query, weights)):
        ids, asked = _check_ids(train, f"leaves_train, tree {tree}"), _check_ids(query, f"leaves_query, tree {tree}")
        sizes = sizes or (len(ids), len(asked))
        if (len(ids), len(asked)) != sizes:
            raise InputError(
                f"tree {tree} has leaves for {len(ids)} training rows and {len(asked)} queries, "
                f"the first for {sizes[0]} and {sizes[1]}: give every tree the same rows."
            )
        mass = _check_weights(weight, len(ids), tree)
        numbers, num_leaves = _number(np.concatenate([ids, asked]))
        means = _tree_means(numbers[: len(ids)], mass, num_leaves)
        data.append(means.data)
        columns.append(means.indices)
        lengths.append(np.diff(means.indptr))
        queries.append(numbers[len(ids) :].copy())  # a view would keep the training rows' numbers
        if keep_train:
            trains.append(numbers[: len(ids)])
    if sizes is None:
        raise InputError("there are no trees: give the leaves of at least one.")
    starts = np.cumsum([0, *map(len, lengths)])
    indptr = np.cumsum(_join([np.zeros(1, dtype=np.int64), *lengths]))
    means = csr_array((_join(data), _join(columns), indptr), shape=(starts[-1], sizes[0]))
    kept = np.stack(trains) if keep_train else np.empty((0, sizes[0]), dtype=np.int32)
    return Leaves(means, starts, np.stack(queries), kept)


def _join(parts: list[Any]) -> Any:
    """The parts one after the other; the list is emptied, so that they are not held twice for long."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


def _zip_trees(
    train: Iterable[ArrayLike], query: Iterable[ArrayLike], weights: Iterable[ArrayLike] | None
) -> Iterator[tuple[Any, Any, Any]]:
    nothing = object()
    given = (train, query) if weights is None else (train, query, weights)
    for found in zip_longest(*given, fillvalue=nothing):
        if any(each is nothing for each in found):
            raise InputError("leaves_train, leaves_query and the weights differ in trees: give one row a tree in each.")
        yield found[0], found[1], found[2] if len(found) == 3 else None


def _tree_means(leaf: NDArray[np.int32], weights: Floats, num_leaves: int) -> csr_array:
    """Sparse (leaves, n): row l averages the training rows in leaf l; rows without weight are left out."""
    mass = np.bincount(leaf, weights=weights, minlength=num_leaves)  # (leaves,)
    drawn = np.flatnonzero(weights)
    shares = weights[drawn] / mass[leaf[drawn]]
    in_order = csr_array((shares, leaf[drawn], np.arange(len(drawn) + 1)), shape=(len(drawn), num_leaves)).T.tocsr()
    in_order.indices = drawn.astype(np.int32)[in_order.indices]
    return in_order


def _number(ids: Ints) -> tuple[NDArray[np.int32], int]:
    """Leaves numbered from 0 in the order of their ids, and how many there are."""
    low = ids.min()
    span = int(ids.max()) - int(low) + 1
    if span > WIDEST_TABLE * len(ids):
        known, numbers = np.unique(ids, return_inverse=True)
        return numbers.astype(np.int32), len(known)
    is_used = np.zeros(span, dtype=bool)
    is_used[ids - low] = True
    number_of = np.cumsum(is_used, dtype=np.int32) - np.int32(1)
    return number_of[ids - low], int(number_of[-1]) + 1


def _check_ids(values: ArrayLike, name: str) -> Ints:
    ids = np.asarray(values)
    if ids.ndim != 1 or not len(ids):
        raise InputError(f"{name} has shape {ids.shape}: give one leaf id for each row, at least one.")
    if ids.dtype.kind == "f" and np.isfinite(ids).all() and (ids == np.floor(ids)).all():
        return ids.astype(np.int64)
    if ids.dtype.kind not in "iu":
        raise InputError(f"{name} holds {ids.dtype} that are not whole numbers: give integer leaf ids.")
    return ids.astype(np.int64)


def _check_weights(values: ArrayLike | None, num_rows: int, tree: int) -> Floats:
    if values is None:
        return np.ones(num_rows)
    weights = np.asarray(values, dtype=np.float64)
    if weights.shape != (num_rows,):
        raise InputError(f"weights of tree {tree} have shape {weights.shape}: give one for each of {num_rows} rows.")
    is_bad = ~(np.isfinite(weights) & (weights >= 0))
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(
            f"tree {tree} gives row {row} the weight {weights[row]}: give how often it was drawn, 0 or more."
        )
    if not weights.any():
        raise InputError(f"tree {tree} was grown on no row: leave it out, or give its counts.")
    return weights
