"""Local graph clustering with noisy labels (Back de Luca, Fountoulakis, Yang, ICLR 2024,
https://arxiv.org/abs/2310.08031).

Mass is poured on a seed node; each node keeps what its sink takes and hands the rest to its neighbours, in proportion
to the edges' weights. Edges whose ends carry different labels are cut down to `epsilon`, so the mass stays in the
cluster although many labels are wrong. Only what the mass reaches is ever read. Answers wrong labels of nodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.numerics.graphs import (
    EdgeFactor,
    Floats,
    Graph,
    Ints,
    Neighbourhoods,
    Reweighted,
    as_graph,
    as_neighbourhoods,
    check_nodes,
)
from labelwise.numerics.local_push import LocalPush, OfNodes

# What `as_graph` takes, or anything that can be asked for rows (`Neighbourhoods`).
AnyGraph = Any
# Labels (n,) or a function from nodes (m,) to their labels (m,).
Labels = ArrayLike | Callable[[Ints], ArrayLike]
# Mass a node: {node: mass} or (n,).
Source = Mapping[int, float] | ArrayLike
# 'ones', 'degree' (of the original graph), or a number a node (n,).
Sink = str | ArrayLike


def label_factor(
    labels: Labels, epsilon: float = 0.05, *, unknown_weight: float = 1.0, trusted: Iterable[int] = ()
) -> EdgeFactor:
    """Factor of an edge: 1 where the labels of its ends agree, `epsilon` where they differ.

    labels: 1 = in the cluster, 0 = not, -1 = unknown; an edge with an unknown end gets `unknown_weight`. trusted:
    nodes that count as labelled 1. Labels are read, and checked, only where an edge is asked for. Raises InputError.
    """
    for name, value in (("epsilon", epsilon), ("unknown_weight", unknown_weight)):
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}: give a number from 0 to 1.")
    given = labels if callable(labels) else _label_array(labels)
    certain = np.unique(np.fromiter(trusted, dtype=np.int64))

    def read(nodes: Ints) -> NDArray[Any]:
        if not callable(given) and nodes.max(initial=-1) >= len(given):
            raise InputError(f"there are {len(given)} labels but a node {nodes.max()}: give one label for each node.")
        found = _label_array(given(nodes)) if callable(given) else given[nodes]
        if found.shape != nodes.shape:
            raise InputError(f"labels gave shape {found.shape} for {len(nodes)} nodes: return one label for each.")
        is_bad = (found < -1) | (found > 1)
        if is_bad.any():
            place = int(is_bad.argmax())
            raise InputError(f"the label of node {nodes[place]} is {found[place]}: give 0 or 1, or -1 where unknown.")
        if len(certain) == 0:
            return found
        nearest = certain[np.minimum(np.searchsorted(certain, nodes), len(certain) - 1)]  # (m,)
        return np.where(nodes == nearest, 1, found)

    def factor(heads: Ints, tails: Ints) -> Floats:
        of_heads, of_tails = read(heads), read(tails)
        agreement = np.where(of_heads == of_tails, 1.0, epsilon)
        return np.where((of_heads < 0) | (of_tails < 0), unknown_weight, agreement)

    return factor


def label_edge_weights(
    graph: AnyGraph,
    labels: ArrayLike,
    epsilon: float = 0.05,
    *,
    unknown_weight: float = 1.0,
    trusted: Iterable[int] = (),
) -> Graph:
    """The whole graph with each weight times its `label_factor`.

    `Reweighted(graph, label_factor(labels))` has the same weights, worked out only where a diffusion comes.
    """
    graph = as_graph(graph)
    given = check_node_labels(labels, graph.num_nodes)
    factor = label_factor(given, epsilon, unknown_weight=unknown_weight, trusted=trusted)
    rows = Reweighted(graph, factor).rows(np.arange(graph.num_nodes))
    return Graph(graph.indptr, graph.indices, rows.weights)


def check_node_labels(labels: ArrayLike, num_nodes: int) -> NDArray[Any]:
    """Labels as (n,) integers, one a node; their values are checked where they are read. Raises InputError."""
    given = _label_array(labels)
    if len(given) != num_nodes:
        raise InputError(f"there are {len(given)} labels for {num_nodes} nodes: give one label for each node.")
    return given


@dataclass(frozen=True, slots=True, eq=False)
class Diffusion:
    """Where a diffusion came to rest. Arrays (t,) run over the nodes it reached, ids ascending; others hold nothing.

    x: height of each node, so that weight times difference of heights is the flow over an edge. mass: what lies on a
    node in the end; source: what was poured on it; sink: what it takes. converged: no node is above its sink by more
    than the tolerance. fits: False where some part of the graph got more than its sinks take, so that no solution is.
    """

    nodes: Ints
    x: Floats
    mass: Floats
    source: Floats
    sink: Floats
    num_pushes: int
    num_passes: int
    converged: bool
    fits: bool

    @property
    def support(self) -> Ints:
        """Ids of the nodes with x > 0, ascending."""
        return self.nodes[self.x > 0]

    @property
    def overflow(self) -> float:
        """The most that a node holds above its sink."""
        return float(np.max(self.mass - self.sink, initial=0.0))

    @property
    def objective(self) -> float:
        """The dual objective 1/2 x^T L x + x^T (sink - source), where L x is what has left each node."""
        return float(self.x @ ((self.source - self.mass) / 2 + self.sink - self.source))


class FlowDiffusion:
    """A flow diffusion that can be given more mass: what was done for less mass counts for more. See `flow_diffusion`.

    Heights only grow with the mass, so a rising series of masses costs about as much as the last of them alone.
    """

    def __init__(self, graph: AnyGraph, sink: Sink = "ones", *, tol: float = 1e-4) -> None:
        _check_positive("tol", tol)
        self._graph = as_neighbourhoods(graph)
        self._reached = LocalPush(
            self._graph, floor=_sink_reader(sink, self._graph), slack=lambda nodes: np.full(len(nodes), tol)
        )

    def pour(self, source: Source) -> None:
        """Add mass. Raises InputError for ids that are no nodes, and for mass that is negative or not finite."""
        self._reached.pour(*_source_arrays(source, self._graph.num_nodes))

    def settle(self, max_passes: int = 10_000) -> Diffusion:
        """Push until all is at rest, or for `max_passes`."""
        _check_positive("max_passes", max_passes)
        return _diffusion(self._reached, self._reached.push(int(max_passes)))

    def settle_exactly(self) -> Diffusion:
        """Bring it to rest by linear systems, see `flow_diffusion_exact`."""
        return _diffusion(self._reached, self._reached.solve())


def flow_diffusion(
    graph: AnyGraph, source: Source, sink: Sink = "ones", *, tol: float = 1e-4, max_passes: int = 10_000
) -> Diffusion:
    """Minimise 1/2 x^T L x + x^T (sink - source) over x >= 0 by pushes, L the Laplacian (2-norm flow diffusion).

    A push hands all that a node holds above its sink to its neighbours. Passes go over the nodes reached so far, in
    the order in which they were reached: the optimum is unique, so order only changes speed. In the end no node holds
    more than its sink + tol, and those with x > 0 hold their sink up to tol. Where `max_passes` end first, `converged`
    is False and a RuntimeWarning says what is left. Raises InputError for bad input, and where mass has no room: more
    of it than sinks in the part of the graph that it can reach. Time and memory: a push costs its node's entries;
    they depend on what is reached, not on the graph.
    """
    flow = FlowDiffusion(graph, sink, tol=tol)
    flow.pour(source)
    found = _fitting(flow.settle(max_passes))
    if not found.converged:
        warn_of_overflow(found)
    return found


def flow_diffusion_exact(graph: AnyGraph, source: Source, sink: Sink = "ones") -> Diffusion:
    """The same minimum by active sets: solve for the nodes that are full, add those that overflow, repeat.

    Exact up to rounding. As local as the pushes, but every round factorises the Laplacian of the nodes so far: for
    small clusters, and where sinks barely suffice, so that pushes take long. `num_pushes` counts heights solved for.
    """
    flow = FlowDiffusion(graph, sink)
    flow.pour(source)
    return _fitting(flow.settle_exactly())


def personalized_pagerank_push(
    graph: AnyGraph, seeds: ArrayLike, *, alpha: float = 0.15, tol: float = 1e-6, max_passes: int = 10_000
) -> Diffusion:
    """Approximate personalised PageRank by pushes, the local baseline (Andersen, Chung, Lang, FOCS 2006).

    alpha: chance to return to the seeds at each step. A node whose residual is above tol times its original degree
    keeps alpha of it and passes the rest on. Of the result, `mass` holds the residuals and `x` the PageRank over the
    degree, by which to take a sweep cut.
    """
    local = as_neighbourhoods(graph)
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}: give a number between 0 and 1.")
    _check_positive("tol", tol)
    _check_positive("max_passes", max_passes)
    start = check_nodes(seeds, local.num_nodes, name="seeds")
    if len(start) == 0:
        raise InputError("seeds are empty: give at least one node.")
    reached = LocalPush(
        local,
        floor=lambda nodes: np.zeros(len(nodes)),
        slack=lambda nodes: tol * local.degree(nodes),
        pass_on=1 - alpha,
    )
    reached.pour(start, np.full(len(start), 1 / len(start)))
    return _diffusion(reached, reached.push(int(max_passes)), scale=alpha)


def set_f1(found: ArrayLike, target: ArrayLike) -> float:
    """2 |found and target| / (|found| + |target|) of two sets of node ids; 0 where they share none."""
    found, target = np.unique(found), np.unique(target)
    common = len(np.intersect1d(found, target, assume_unique=True))
    return 2 * common / (len(found) + len(target)) if common else 0.0


def warn_of_overflow(found: Diffusion) -> None:
    """Say that a diffusion did not come to rest, and what to do."""
    warnings.warn(
        f"the diffusion is not at rest after {found.num_passes} passes, a node holds {found.overflow:.3g} more than "
        "its sink: raise max_passes or tol, give less mass, or solve exactly.",
        RuntimeWarning,
        stacklevel=3,
    )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise InputError(f"{name} is {value}: give a finite number above 0.")


def _fitting(found: Diffusion) -> Diffusion:
    if found.fits:
        return found
    raise InputError(
        f"the source mass {found.source.sum():g} is more than the sinks take in the part of the graph that it can "
        "reach: give less mass, larger sinks, or an epsilon above 0."
    )


def _diffusion(reached: LocalPush, converged: bool, *, scale: float = 1.0) -> Diffusion:
    order = np.argsort(reached.nodes)
    return Diffusion(
        nodes=reached.nodes[order],
        x=scale * reached.heights()[order],
        mass=reached.mass[order],
        source=reached.source[order],
        sink=reached.floor[order],
        num_pushes=reached.num_pushes,
        num_passes=reached.num_passes,
        converged=converged,
        fits=converged or reached.fits(),
    )


def _label_array(labels: ArrayLike) -> NDArray[Any]:
    given = np.asarray(labels)
    if given.ndim != 1 or given.dtype.kind not in "biu":
        raise InputError(
            f"labels have shape {given.shape} and type {given.dtype}: give one integer a node, "
            "1 = in the cluster, 0 = not, -1 = unknown."
        )
    return given


def _sink_reader(sink: Sink, graph: Neighbourhoods) -> OfNodes:
    if isinstance(sink, str):
        if sink not in ("ones", "degree"):
            raise InputError(f"sink is {sink!r}: choose 'ones' or 'degree', or give one number for each node.")
        return graph.degree if sink == "degree" else lambda nodes: np.ones(len(nodes))
    values = np.asarray(sink)
    if values.shape != (graph.num_nodes,) or values.dtype.kind not in "iuf":
        raise InputError(
            f"sink has shape {values.shape} and type {values.dtype}: give {graph.num_nodes} numbers, one for each node."
        )

    def read(nodes: Ints) -> Floats:
        found = values[nodes].astype(np.float64)
        is_good = (found >= 0) & (found < np.inf)
        if not is_good.all():
            place = int(is_good.argmin())
            raise InputError(f"the sink of node {nodes[place]} is {found[place]}: give finite numbers, 0 or more.")
        return found

    return read


def _source_arrays(source: Source, num_nodes: int) -> tuple[Ints, Floats]:
    """Nodes (m,) with mass above 0, and the mass."""
    if isinstance(source, Mapping):
        nodes, mass = check_nodes(list(source), num_nodes, name="source"), np.asarray(list(source.values()))
    else:
        nodes, mass = np.arange(num_nodes), np.asarray(source)
    if mass.shape != nodes.shape or mass.dtype.kind not in "iuf":
        raise InputError(
            f"source has shape {mass.shape} and type {mass.dtype}: give {{node: mass}} or one number for each node."
        )
    is_good = (mass >= 0) & (mass < np.inf)
    if not is_good.all():
        place = int(is_good.argmin())
        raise InputError(f"the source mass of node {nodes[place]} is {mass[place]}: give finite numbers, 0 or more.")
    if not mass.any():
        raise InputError("source holds no mass: give at least one node some.")
    return nodes[mass > 0], mass[mass > 0].astype(np.float64)


CARD = Card(
    number=18,
    slug="local-graph-clustering",
    title="Local graph clustering with noisy labels (label-based flow diffusion)",
    task="graphs",
    fault="wrong labels of nodes",
    recipe=(),
    idea="Pour mass on a seed and let it flow over edges whose ends agree: the cluster is where it stays.",
    use="labelwise.LocalClusterer(target_size=200).fit(graph, seeds, labels).cluster_",
    paper="Local Graph Clustering with Noisy Labels, ICLR 2024",
    link="https://arxiv.org/abs/2310.08031",
    authors_code="s-h-yang/WFD (the solver, in Julia; the paper's own experiments were not published)",
    licence="none given",
    defaults={"epsilon": 0.05, "sink": "ones", "mass_grid": [1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0], "tol": 1e-4},
    cost="the rows of the nodes that the mass reaches; neither time nor memory depends on the size of the graph",
)
