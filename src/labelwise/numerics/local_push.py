"""Mass that spreads over a graph from where it was poured, reading only what it reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numba import njit
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg, splu

from labelwise.numerics.graphs import Floats, Ints, Neighbourhoods, row_sums

# Numbers (m,) of nodes (m,).
OfNodes = Callable[[Ints], Floats]
# Passes that go by before a linear system is solved instead: about what it costs to set that up.
PASSES_BEFORE_LEAP = 300
# The exact solver calls a node full that is above its floor by this share of all mass.
ROUNDING = 1e-12
# Spreads consecutive ids over the table (the golden ratio times 2^64).
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class LocalPush:
    """The part of a graph that mass has reached, and how it lies there.

    A node above its limit (its floor and some slack) is pushed: it keeps the floor, and `pass_on` of the excess goes
    to its neighbours in proportion to the edges' weights; self-loops carry nothing. Nodes have places 0, 1, ... in the
    order in which they were reached; the rows of those above their limit were read ("expanded"). Mass only moves
    outwards, so more can be poured on at any time. Time and memory are those of the rows read.

    Arrays (t,) by place: nodes, source, mass, moved (excess pushed away so far), floor, limit, degree (0 until
    expanded).
    """

    def __init__(self, graph: Neighbourhoods, floor: OfNodes, slack: OfNodes, pass_on: float = 1.0) -> None:
        self.graph, self.read_floor, self.read_slack, self.pass_on = graph, floor, slack, pass_on
        self.table = PlaceTable()
        self.source, self.mass, self.moved, self.floor, self.limit, self.degree = (np.empty(0) for _ in range(6))
        self.is_expanded = np.empty(0, dtype=bool)
        self.expanded = np.empty(0, dtype=np.int64)  # (k,) places in the order of expansion
        self.row_ends = np.zeros(1, dtype=np.int64)  # (k + 1,) row of expanded[r]: entries row_ends[r] to row_ends[r+1]
        # (entries,) places, and the share of the row's weight; shares cannot overflow where weights are tiny.
        self.neighbours, self.shares = np.empty(0, dtype=np.int64), np.empty(0)
        self.num_pushes = self.num_passes = 0

    @property
    def nodes(self) -> Ints:
        """Ids of the nodes by place, (t,)."""
        return self.table.ids

    def pour(self, nodes: Ints, amounts: Floats) -> None:
        """Add mass (m,) to different nodes (m,)."""
        places = self._reach(nodes)
        self.source[places] += amounts
        self.mass[places] += amounts

    def push(self, max_passes: int) -> bool:
        """Push until no node is above its limit, `max_passes` is reached, or the mass turns out to have no room.

        Returns whether no node is above its limit. Each pass goes once over the expanded nodes. Where many passes do
        not suffice, as little leaks from the expanded nodes to others, conjugate gradients take them to the state that
        the passes are approaching.
        """
        start = last_leap = self.num_passes
        while (self.mass > self.limit).any():
            self._expand(self.limit)
            if self.num_passes - start >= max_passes:
                return False
            if self.pass_on == 1 and self.num_passes - last_leap >= PASSES_BEFORE_LEAP:
                if not self.fits():
                    return False
                self._leap()
                last_leap = self.num_passes
            passes, pushes = _pass_over(
                self.expanded,
                self.row_ends,
                self.neighbours,
                self.shares,
                self.floor,
                self.limit,
                self.is_expanded,
                self.pass_on,
                self.mass,
                self.moved,
                min(PASSES_BEFORE_LEAP, start + max_passes - self.num_passes),
            )
            self.num_passes += passes
            self.num_pushes += pushes
        return True

    def solve(self) -> bool:
        """Bring all that is above its floor to rest exactly (for pass_on 1); returns False where there is no room.

        The expanded nodes are full in the end, so their heights solve a linear system; what then is above its floor is
        expanded, until nothing is, beyond rounding.
        """
        slack = ROUNDING * self.source.sum()
        while (self.mass > self.floor + slack).any():
            self._expand(self.floor + slack)
            if not self.fits():
                return False
            laplacian, rows = self._laplacian()
            self._set_heights(splu(laplacian).solve(self._excess()), rows)
            self.mass[self.expanded] = self.floor[self.expanded]
        return True

    def _leap(self) -> None:
        """Fill the expanded nodes to their floor by conjugate gradients; nothing changes where those do not get there.

        Solved to a tenth of the slack between floor and limit, and held against all of it.
        """
        laplacian, rows = self._laplacian()
        before = self.moved, self.mass
        slack = float((self.limit - self.floor)[self.expanded].min())
        heights, _ = cg(
            laplacian,
            self._excess(),
            self.heights()[self.expanded],
            rtol=0.0,
            atol=slack / 10,
            maxiter=2 * len(self.expanded),
            M=scipy.sparse.diags_array(1 / self.degree[self.expanded]),
        )
        self._set_heights(heights, rows)
        # A node short of mass may stay so, as pushes only take away from those that have too much.
        if not ((self.floor - self.mass)[self.expanded] <= slack).all():
            self.moved, self.mass = before

    def _excess(self) -> Floats:
        """What was poured on the expanded nodes above their floor, (k,)."""
        return (self.source - self.floor)[self.expanded]

    def _set_heights(self, heights: Floats, rows: Any) -> None:
        """Let the expanded nodes (k,) have pushed away these heights; rows: their weights (k, t) CSR."""
        heights = np.maximum(heights, 0)
        self.moved = np.zeros(len(self.nodes))
        self.moved[self.expanded] = heights * self.degree[self.expanded]
        self.mass = self.source - self.moved + rows.T @ heights
        self.num_pushes += len(self.expanded)

    def fits(self) -> bool:
        """Whether every connected part that mass has reached still has a node that is not expanded.

        With less mass than room, some node always stays below its floor, so it is never expanded.
        """
        if self.pass_on < 1:
            return True
        _, part = connected_components(self._adjacency(), directed=False)  # (t,)
        return bool(np.bincount(part, weights=~self.is_expanded).all())

    def heights(self) -> Floats:
        """What each node has pushed away, over its degree, (t,)."""
        return np.divide(self.moved, self.degree, out=np.zeros(len(self.moved)), where=self.degree > 0)

    def _expand(self, limit: Floats) -> None:
        """Read the rows of all nodes above the limit (t,) that were not expanded yet."""
        new = np.flatnonzero((self.mass > limit) & ~self.is_expanded)
        if len(new) == 0:
            return
        rows = self.graph.rows(self.nodes[new])
        heads = np.repeat(np.arange(len(new)), rows.counts)  # (entries,)
        kept = (rows.weights > 0) & (rows.neighbours != self.nodes[new][heads])
        counts = np.bincount(heads[kept], minlength=len(new))
        self.is_expanded[new] = True
        degree = row_sums(rows, np.where(kept, rows.weights, 0))  # (new,)
        self.degree[new] = degree
        self.neighbours = np.concatenate([self.neighbours, self._reach(rows.neighbours[kept])])
        self.shares = np.concatenate([self.shares, rows.weights[kept] / degree[heads[kept]]])
        self.expanded = np.concatenate([self.expanded, new])
        self.row_ends = np.concatenate([self.row_ends, self.row_ends[-1] + np.cumsum(counts)])

    def _reach(self, ids: Ints) -> Ints:
        """Places of nodes (m,), given out where they are new."""
        known = len(self.nodes)
        places = self.table.places(ids)
        new = self.nodes[known:]
        if len(new) > 0:
            zeros = np.zeros(len(new))
            self.source, self.mass, self.moved, self.degree = (
                np.concatenate([values, zeros]) for values in (self.source, self.mass, self.moved, self.degree)
            )
            floor = self.read_floor(new)  # (new,)
            self.floor = np.concatenate([self.floor, floor])
            self.limit = np.concatenate([self.limit, floor + self.read_slack(new)])
            self.is_expanded = np.concatenate([self.is_expanded, zeros.astype(bool)])
        return places

    def _adjacency(self) -> Any:
        """Weights of the expanded nodes' rows at their places, (t, t) CSR."""
        shape = (len(self.nodes), len(self.nodes))
        heads = np.repeat(self.expanded, np.diff(self.row_ends))
        weights = self.shares * self.degree[heads]
        return scipy.sparse.coo_array((weights, (heads, self.neighbours)), shape=shape).tocsr()

    def _laplacian(self) -> tuple[Any, Any]:
        """Laplacian between the expanded nodes (k, k) CSC, and their rows (k, t) CSR."""
        rows = self._adjacency()[self.expanded]
        inner = scipy.sparse.diags_array(self.degree[self.expanded]) - rows[:, self.expanded]
        return scipy.sparse.csc_array(inner), rows


class PlaceTable:
    """Gives ids the places 0, 1, 2, ... in the order in which it first sees them; memory grows with what it saw."""

    def __init__(self) -> None:
        self._keys = np.full(64, -1, dtype=np.int64)
        self._places = np.empty(64, dtype=np.int64)
        self._ids = np.empty(32, dtype=np.int64)
        self._count = 0

    @property
    def ids(self) -> Ints:
        """Ids by place."""
        return self._ids[: self._count]

    def places(self, ids: Ints) -> Ints:
        """Places (m,) of ids (m,) int64, >= 0."""
        if 2 * (self._count + len(ids)) > len(self._keys):
            self._grow(self._count + len(ids))
        places = np.empty(len(ids), dtype=np.int64)
        self._count = _look_up(ids, self._keys, self._places, self._ids, self._count, places)
        return places

    def _grow(self, needed: int) -> None:
        size = 1 << int(4 * needed - 1).bit_length()
        ids = np.empty(size // 2, dtype=np.int64)
        ids[: self._count] = self.ids
        self._keys, self._places, self._ids = np.full(size, -1, dtype=np.int64), np.empty(size, dtype=np.int64), ids
        again = np.empty(self._count, dtype=np.int64)
        _look_up(ids[: self._count].copy(), self._keys, self._places, ids, 0, again)


@njit(nogil=True, cache=True)
def _look_up(
    ids: NDArray[Any], keys: NDArray[Any], places: NDArray[Any], known: NDArray[Any], count: int, found: NDArray[Any]
) -> int:
    """Write the place of each id to found; new ids go into the table and to known. Returns how many are known."""
    mask = len(keys) - 1
    for k in range(len(ids)):
        slot = np.int64((np.uint64(ids[k]) * HASH_FACTOR) >> np.uint64(32)) & mask
        while keys[slot] >= 0 and keys[slot] != ids[k]:
            slot = (slot + 1) & mask
        if keys[slot] < 0:
            keys[slot], places[slot], known[count] = ids[k], count, ids[k]
            count += 1
        found[k] = places[slot]
    return count


@njit(nogil=True, cache=True)
def _pass_over(
    expanded: NDArray[Any],
    row_ends: NDArray[Any],
    neighbours: NDArray[Any],
    shares: NDArray[Any],
    floor: NDArray[Any],
    limit: NDArray[Any],
    is_expanded: NDArray[Any],
    pass_on: float,
    mass: NDArray[Any],
    moved: NDArray[Any],
    max_passes: int,
) -> tuple[int, int]:
    """Pass over the expanded nodes until all are at rest or another node overflows; returns passes and pushes."""
    num_pushes = 0
    for number in range(max_passes):
        before = num_pushes
        for row in range(len(expanded)):
            i = expanded[row]
            if mass[i] <= limit[i] or (pass_on == 1 and row_ends[row] == row_ends[row + 1]):
                continue
            excess = mass[i] - floor[i]
            mass[i] = floor[i]
            moved[i] += excess
            for entry in range(row_ends[row], row_ends[row + 1]):
                mass[neighbours[entry]] += pass_on * excess * shares[entry]
            num_pushes += 1
        if num_pushes == before:
            return number + 1, num_pushes
        for i in range(len(mass)):
            if mass[i] > limit[i] and not is_expanded[i]:
                return number + 1, num_pushes
    return max_passes, num_pushes
