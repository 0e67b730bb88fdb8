"""The estimator for one cluster of a graph, found from a seed and labels that may be wrong."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from labelwise.errors import InputError
from labelwise.methods.graphs.local_clustering import (
    AnyGraph,
    Diffusion,
    FlowDiffusion,
    Labels,
    Sink,
    check_node_labels,
    label_factor,
    warn_of_overflow,
)
from labelwise.numerics.graphs import (
    Ints,
    Neighbourhoods,
    Reweighted,
    as_neighbourhoods,
    check_nodes,
    conductance,
    sweep_cut,
)


class Run(NamedTuple):
    """One source mass of the grid. cluster: ids ascending; fits: False where the graph has no room for that mass, so
    that there is no cluster.
    """

    source_mass: float
    cluster: Ints
    conductance: float
    converged: bool
    fits: bool


class LocalClusterer(BaseEstimator):
    """Find the cluster around seed nodes by flow diffusion, on edges weighted by noisy labels (or none).

    ``target_size`` is roughly the cluster's number of nodes; with ``sink="degree"``, which suits graphs of uneven
    degrees, roughly the sum of their degrees. Each ``mass_grid`` times that much mass is poured on the seeds, evenly,
    and the run whose cluster has the least conductance (in the weighted graph) is kept. ``rounding`` makes a cluster
    of what the mass filled: ``support`` is all of it, ``sweep`` its best prefix by height.

    ``epsilon`` weighs edges whose ends carry different labels, ``unknown_weight`` those with an unlabelled end (-1).
    ``trust_seeds`` counts the seeds as labelled 1 whatever their label says. ``solver`` is ``push`` (fast, up to
    ``tol``, warns where ``max_passes`` do not suffice) or ``exact`` (linear systems, for small clusters).

    Time and memory of ``fit`` depend on what the mass reaches, not on the graph, if the graph was checked before:
    ``graph = as_graph(adjacency)`` from ``labelwise.numerics.graphs``, once for many fits.

    Attributes: ``cluster_`` (node ids, ascending), ``conductance_``, ``source_mass_``, ``converged_``, ``diffusion_``
    (heights of the run that was kept), ``runs_`` (all runs).
    """

    def __init__(
        self,
        target_size: float,
        *,
        epsilon: float = 0.05,
        unknown_weight: float = 1.0,
        trust_seeds: bool = True,
        sink: Sink = "ones",
        mass_grid: Sequence[float] = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0),
        rounding: str = "support",
        solver: str = "push",
        tol: float = 1e-4,
        max_passes: int = 10_000,
    ) -> None:
        self.target_size = target_size
        self.epsilon = epsilon
        self.unknown_weight = unknown_weight
        self.trust_seeds = trust_seeds
        self.sink = sink
        self.mass_grid = mass_grid
        self.rounding = rounding
        self.solver = solver
        self.tol = tol
        self.max_passes = max_passes

    def fit(self, graph: AnyGraph, seeds: ArrayLike, labels: Labels | None = None) -> Self:
        """Find the cluster of ``seeds`` (an id or several).

        graph: what ``as_graph`` takes, or a ``Graph``. labels: 1 = in the cluster, 0 = not, -1 = unknown, as (n,) or
        as a function from node ids (m,) to their labels, which is asked for the nodes that the mass reaches and about
        as many more (to see which side of a cut is the smaller); None: the graph as it is. Raises InputError for bad
        input and where the graph around the seeds has no room for the least mass.
        """
        masses = self._masses()
        original = as_neighbourhoods(graph)
        start = check_nodes(seeds, original.num_nodes, name="seeds")
        if len(start) == 0:
            raise InputError("seeds are empty: give at least one node of the cluster.")
        weighted = self._weighted(original, start, labels)
        flow = FlowDiffusion(weighted, self.sink, tol=self.tol)
        self.runs_: list[Run] = []
        best: tuple[Run, Diffusion] | None = None
        for mass, before in zip(masses, [0.0, *masses], strict=False):
            flow.pour(dict.fromkeys(start.tolist(), (mass - before) / len(start)))
            found = flow.settle_exactly() if self.solver == "exact" else flow.settle(self.max_passes)
            run = self._run(weighted, mass, found)
            self.runs_.append(run)
            if not run.fits:
                break
            if best is None or _is_better(run, best[0]):
                best = run, found
        if best is None:
            raise InputError(
                f"the graph around the seeds has no room for the mass {masses[0]:g}: "
                "give a smaller target_size or an epsilon above 0."
            )
        kept, self.diffusion_ = best
        if not kept.converged:
            warn_of_overflow(self.diffusion_)
        self.cluster_, self.conductance_ = kept.cluster, kept.conductance
        self.source_mass_, self.converged_ = kept.source_mass, kept.converged
        return self

    def _masses(self) -> list[float]:
        for name, allowed in (("rounding", ("support", "sweep")), ("solver", ("push", "exact"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}: choose {allowed[0]!r} or {allowed[1]!r}.")
        if not 0 < self.target_size < np.inf:
            raise InputError(f"target_size is {self.target_size}: give roughly the number of nodes of the cluster.")
        factors = np.unique(np.asarray(self.mass_grid, dtype=np.float64))
        if len(factors) == 0 or not ((factors > 0) & (factors < np.inf)).all():
            raise InputError(f"mass_grid is {self.mass_grid}: give factors above 0, such as 1.5, 2 and 3.")
        return (factors * self.target_size).tolist()

    def _weighted(self, graph: Neighbourhoods, seeds: Ints, labels: Labels | None) -> Neighbourhoods:
        if labels is None:
            return graph
        given = labels if callable(labels) else check_node_labels(labels, graph.num_nodes)
        trusted = seeds.tolist() if self.trust_seeds else ()
        return Reweighted(graph, label_factor(given, self.epsilon, unknown_weight=self.unknown_weight, trusted=trusted))

    def _run(self, graph: Neighbourhoods, mass: float, found: Diffusion) -> Run:
        if not found.fits:
            return Run(mass, np.empty(0, dtype=np.int64), 0.0, converged=False, fits=False)
        if self.rounding == "sweep":
            cluster, cut = sweep_cut(graph, found.nodes, found.x)
        else:
            cluster, cut = found.support, conductance(graph, found.support)
        return Run(mass, cluster, cut, found.converged, found.fits)


def _is_better(run: Run, other: Run) -> bool:
    """Less conductance; anything is better than no cluster, which cuts nothing."""
    if len(run.cluster) == 0 or len(other.cluster) == 0:
        return len(run.cluster) > len(other.cluster)
    return run.conductance < other.conductance
