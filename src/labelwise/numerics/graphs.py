"""Undirected graphs in compressed sparse rows: the door where they are checked, views, conductance and sweep cuts.

What is local here asks a graph for nothing but some of its rows (`Neighbourhoods`), so it costs what it visits and not
what the graph holds. A self-loop is one entry of its row: it counts once in the degree and never in a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
from numba import njit
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# Factors (m,) of the edges from heads (m,) to tails (m,); the same in both directions.
EdgeFactor = Callable[[Ints, Ints], Floats]

# The two directions of an edge may differ by rounding.
SYMMETRY_TOLERANCE = 1e-9


class Rows(NamedTuple):
    """Rows of the adjacency matrix one after the other."""

    counts: Ints  # (rows,) entries of each row
    neighbours: Ints  # (entries,)
    weights: Floats  # (entries,)


@runtime_checkable
class Neighbourhoods(Protocol):
    """A graph that can be asked for some of its rows."""

    @property
    def num_nodes(self) -> int:
        """How many nodes there are; they are 0 to num_nodes - 1."""

    def rows(self, nodes: Ints) -> Rows:
        """Neighbours of the nodes, with the weights of the edges."""

    def degree(self, nodes: Ints) -> Floats:
        """Sum of each node's edge weights (m,), before any reweighting."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """An undirected graph as the CSR form of its adjacency matrix. Make one with `as_graph` or `graph_from_edges`,
    which check it; everything behind trusts it.

    indptr (n + 1,), indices (entries,) int32 or int64, ascending in each row; weights (entries,) float64, >= 0. Every
    edge between two nodes stands in both rows, a self-loop once.
    """

    indptr: NDArray[Any]
    indices: NDArray[Any]
    weights: Floats

    @property
    def num_nodes(self) -> int:
        """How many nodes there are."""
        return len(self.indptr) - 1

    def rows(self, nodes: Ints) -> Rows:
        """Neighbours of the nodes (m,), with the weights of the edges; costs their entries."""
        starts = self.indptr[nodes].astype(np.int64)  # (m,)
        counts = self.indptr[nodes + 1] - starts
        entries = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)  # (entries,)
        return Rows(counts, self.indices[entries].astype(np.int64), self.weights[entries])

    def degree(self, nodes: Ints) -> Floats:
        """Sum of each node's edge weights, (m,); costs their entries."""
        rows = self.rows(nodes)
        return row_sums(rows, rows.weights)

    def matrix(self) -> scipy.sparse.csr_array:
        """The adjacency matrix (n, n), on the same memory."""
        size = (self.num_nodes, self.num_nodes)
        return scipy.sparse.csr_array((self.weights, self.indices, self.indptr), shape=size)


@dataclass(frozen=True, slots=True, eq=False)
class Reweighted:
    """A graph whose edge weights are multiplied by a factor, computed only where somebody asks.

    Degrees stay those of the original graph.
    """

    graph: Neighbourhoods
    factor: EdgeFactor

    @property
    def num_nodes(self) -> int:
        """How many nodes there are."""
        return self.graph.num_nodes

    def rows(self, nodes: Ints) -> Rows:
        """Neighbours of the nodes (m,), with the new weights."""
        rows = self.graph.rows(nodes)
        return rows._replace(weights=rows.weights * self.factor(np.repeat(nodes, rows.counts), rows.neighbours))

    def degree(self, nodes: Ints) -> Floats:
        """Degrees (m,) in the original graph."""
        return self.graph.degree(nodes)


def row_sums(rows: Rows, values: Floats) -> Floats:
    """Sum of values (entries,) over each row; 0 for an empty row."""
    of_row = np.repeat(np.arange(len(rows.counts)), rows.counts)
    return np.bincount(of_row, weights=values, minlength=len(rows.counts)).astype(np.float64, copy=False)


def as_graph(given: Any, *, name: str = "graph") -> Graph:
    """An undirected graph from an adjacency matrix (SciPy sparse or square array) or a networkx graph.

    A `Graph` is returned as it is, so that many questions to one graph cost one check. Rows are numbered as in the
    matrix, or in the order of the networkx graph's `nodes`. Raises InputError for what is not square, not symmetric
    (beyond rounding) or has weights that are negative or not finite. Cost: a few reads of the matrix; it is copied
    where types or the order of entries call for it.
    """
    if isinstance(given, Graph):
        return given
    if hasattr(given, "is_directed"):
        given = _networkx_matrix(given, name)
    matrix = _csr(given, name)
    if matrix.data.dtype.kind not in "biuf":
        raise InputError(f"{name} has weights of type {matrix.data.dtype}: give real numbers.")
    weights = matrix.data.astype(np.float64, copy=False)
    _check_weights(matrix, weights, name)
    row, column = _first_asymmetric(matrix.indptr, matrix.indices, weights, SYMMETRY_TOLERANCE)
    if row >= 0:
        raise InputError(
            f"{name} has different weights from node {row} to {column} and back: "
            "give an undirected graph, for instance A.maximum(A.T)."
        )
    return Graph(matrix.indptr, matrix.indices, weights)


def as_neighbourhoods(given: Any) -> Neighbourhoods:
    """What can be asked for rows as it is, such as a `Reweighted` graph; else `as_graph` of it."""
    return given if isinstance(given, Neighbourhoods) else as_graph(given)


def graph_from_edges(edges: ArrayLike, num_nodes: int, weights: ArrayLike | None = None) -> Graph:
    """An undirected graph from edges (m, 2), each given once in either direction, and weights (m,), 1 if left out.

    Raises InputError for ids outside 0 to num_nodes - 1, an edge given twice, or bad weights. Cost: one sort.
    """
    if num_nodes < 1:
        raise InputError(f"num_nodes is {num_nodes}: give at least 1.")
    pairs = np.asarray(edges)
    if pairs.size == 0:
        pairs = np.empty((0, 2), dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise InputError(
            f"edges have shape {pairs.shape} and type {pairs.dtype}: give pairs of integers, shape (m, 2)."
        )
    outside = ((pairs < 0) | (pairs >= num_nodes)).any(axis=1)  # (m,)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(f"edges row {row} is {pairs[row].tolist()}: give node ids 0 to {num_nodes - 1}.")
    values = np.ones(len(pairs)) if weights is None else np.asarray(weights)
    if values.shape != (len(pairs),) or values.dtype.kind not in "biuf":
        raise InputError(
            f"weights have shape {values.shape} and type {values.dtype} for {len(pairs)} edges: "
            "give one number for each edge."
        )
    low, high = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1).astype(np.int64)
    _refuse_repeated(low, high, num_nodes)
    proper = low != high
    heads, tails = np.concatenate([low, high[proper]]), np.concatenate([high, low[proper]])
    both = np.concatenate([values, values[proper]])
    return as_graph(scipy.sparse.coo_array((both, (heads, tails)), shape=(num_nodes, num_nodes)), name="edges")


def conductance(graph: Neighbourhoods, nodes: ArrayLike) -> float:
    """Weight of the edges that leave the nodes over the smaller of the two volumes (sums of degrees in `graph`).

    0 where no weight leaves, so also for no nodes and for all. Cost: about the entries of the nodes' rows.
    """
    inside = check_nodes(nodes, graph.num_nodes)
    rows = graph.rows(inside)
    volume = float(rows.weights.sum())
    cut = float(rows.weights[~np.isin(rows.neighbours, inside)].sum())
    return cut / min(volume, _rest(graph, volume, len(inside))) if cut > 0 else 0.0


def sweep_cut(graph: Neighbourhoods, nodes: ArrayLike, scores: ArrayLike) -> tuple[Ints, float]:
    """The prefix of least conductance among nodes (m,) in descending order of scores (m,); ids ascending.

    Equal scores are ordered by node id; of equal conductances the shorter prefix wins; the prefix of all the graph's
    nodes does not compete. Only nodes of score above 0 take part; without any the result is empty with conductance 0.
    Cost: about the entries of the nodes' rows, and a sort of the nodes.
    """
    ids, values = check_nodes(nodes, graph.num_nodes), np.asarray(scores, dtype=np.float64)
    if values.shape != ids.shape:
        raise InputError(f"scores have shape {values.shape} for {len(ids)} nodes: give one for each node.")
    if np.isnan(values).any():
        raise InputError(f"the score of node {ids[np.isnan(values)][0]} is NaN: leave the node out or repair it.")
    ids, values = ids[values > 0], values[values > 0]
    order = ids[np.lexsort((ids, -values))]  # (k,)
    if len(order) == 0:
        return order, 0.0
    rows = graph.rows(order)
    rank_of_entry = np.repeat(np.arange(len(order)), rows.counts)  # (entries,)
    by_id = np.argsort(order)
    place = np.minimum(np.searchsorted(order, rows.neighbours, sorter=by_id), len(order) - 1)
    is_inside = order[by_id[place]] == rows.neighbours  # (entries,)
    other_rank = np.where(is_inside, by_id[place], len(order))
    # An entry between two nodes of the order is inside every prefix that holds the later of them.
    later = np.maximum(rank_of_entry, other_rank)[is_inside]
    inner = np.cumsum(np.bincount(later, weights=rows.weights[is_inside], minlength=len(order)))  # (k,)
    volume = np.cumsum(np.bincount(rank_of_entry, weights=rows.weights, minlength=len(order)))
    cut = np.maximum(volume - inner, 0)
    # Rounding leaves a trace of weight where nothing is cut.
    cut[cut <= 1e-12 * volume] = 0
    rest = _rest(graph, float(volume[-1]), len(order)) + (volume[-1] - volume)
    smaller = np.minimum(volume, rest)
    found = np.divide(cut, smaller, out=np.zeros(len(order)), where=cut > 0)
    best = int(found[: graph.num_nodes - 1].argmin()) if graph.num_nodes > 1 else 0
    return np.sort(order[: best + 1]), float(found[best])


def check_nodes(nodes: ArrayLike, num_nodes: int, *, name: str = "nodes") -> Ints:
    """Node ids as (m,) int64; an empty list passes. Raises InputError for ids that are no nodes or stand twice."""
    ids = np.atleast_1d(np.asarray(nodes))
    if ids.size == 0:
        return np.empty(0, dtype=np.int64)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(f"{name} have shape {ids.shape} and type {ids.dtype}: give a list of integer node ids.")
    is_bad = (ids < 0) | (ids >= num_nodes)
    if is_bad.any():
        raise InputError(f"{name} hold {ids[is_bad][0]}: give node ids 0 to {num_nodes - 1}.")
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        raise InputError(f"{name} hold {distinct[counts > 1][0]} twice: give every node once.")
    return ids.astype(np.int64)


def _rest(graph: Neighbourhoods, volume: float, size: int) -> float:
    """Volume of the graph without a part of that volume and size; infinity where that is the larger of the two."""
    # Only the smaller one matters to a conductance, so reading stops there: the cost stays near that of the part.
    seen, start = 0.0, 0
    while start < graph.num_nodes:
        seen += float(graph.rows(np.arange(start, min(start + size, graph.num_nodes))).weights.sum())
        if seen > 2.000001 * volume:
            return np.inf
        start, size = start + size, 2 * size
    return seen - volume


def _networkx_matrix(given: Any, name: str) -> Any:
    import networkx  # type: ignore[import-untyped]

    if given.is_directed():
        raise InputError(f"{name} is directed: give an undirected graph, for instance graph.to_undirected().")
    if len(given) == 0:
        raise InputError(f"{name} has no nodes: give at least one.")
    return networkx.to_scipy_sparse_array(given, format="csr")


def _csr(given: Any, name: str) -> Any:
    """CSR with sorted rows and no entry twice; a copy where that had to be made."""
    if not scipy.sparse.issparse(given):
        given = np.asarray(given)
        if given.ndim != 2 or given.dtype.kind not in "biuf":
            raise InputError(
                f"{name} has shape {given.shape} and type {given.dtype}: give an adjacency matrix (n, n), "
                "a networkx graph, or make one of edges with graph_from_edges."
            )
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] == 0:
        raise InputError(f"{name} has shape {given.shape}: give a square adjacency matrix with at least one node.")
    try:
        matrix = scipy.sparse.csr_array(given)
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise InputError(f"{name} is not a sound sparse matrix ({error}): build it anew from its entries.") from error
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _check_weights(matrix: Any, weights: Floats, name: str) -> None:
    # NaN fails every comparison, so the test says what is right, not what is wrong.
    is_bad = ~((weights >= 0) & (weights < np.inf))
    if is_bad.any():
        entry = int(is_bad.argmax())
        row = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
        raise InputError(
            f"{name} has weight {weights[entry]} between nodes {row} and {matrix.indices[entry]}: "
            "give finite weights of 0 or more."
        )


def _refuse_repeated(low: Ints, high: Ints, num_nodes: int) -> None:
    keys = low * num_nodes + high  # (m,)
    order = np.argsort(keys, kind="stable")
    is_repeat = np.diff(keys[order]) == 0
    if is_repeat.any():
        place = int(is_repeat.argmax())
        first, second = order[place], order[place + 1]
        raise InputError(
            f"edges rows {first} and {second} both join nodes {low[first]} and {high[first]}: give each edge once."
        )


@njit(nogil=True, cache=True)
def _first_asymmetric(
    indptr: NDArray[Any], indices: NDArray[Any], weights: NDArray[Any], tolerance: float
) -> tuple[int, int]:
    """Row and column of an entry without its equal on the other side; (-1, -1) if there is none."""
    num_nodes = len(indptr) - 1
    # Rows are read in order, so the entries of row j must be met in order too, by the rows they point to.
    cursor = indptr[:-1].copy()
    for i in range(num_nodes):
        for entry in range(indptr[i], indptr[i + 1]):
            j = indices[entry]
            mirror = cursor[j]
            if mirror == indptr[j + 1] or indices[mirror] != i:
                return i, j
            if abs(weights[mirror] - weights[entry]) > tolerance * max(weights[mirror], weights[entry]):
                return i, j
            cursor[j] += 1
    return -1, -1
