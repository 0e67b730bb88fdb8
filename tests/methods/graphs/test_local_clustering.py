"""Flow diffusion on noisily labelled graphs: optimality, its laws, locality, boundaries, refused input."""

import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.methods.graphs.local_clustering import (
    Diffusion,
    FlowDiffusion,
    flow_diffusion,
    flow_diffusion_exact,
    label_edge_weights,
    label_factor,
    personalized_pagerank_push,
    set_f1,
)
from labelwise.numerics.graphs import Graph, Ints, Reweighted, Rows, as_graph, graph_from_edges

TOL = 1e-6
SOLVERS = (lambda *given: flow_diffusion(*given, tol=TOL), flow_diffusion_exact)


def random_graph(rng: np.random.Generator, n: int, density: float = 0.2) -> Graph:
    """Connected, with weights."""
    upper = np.triu(rng.random((n, n)) < density, 1)
    upper[np.arange(n - 1), np.arange(1, n)] = True
    weights = upper * rng.uniform(0.5, 2, (n, n))
    return as_graph(np.maximum(weights, weights.T))


def everywhere(found: Diffusion, values: np.ndarray, num_nodes: int) -> np.ndarray:
    full = np.zeros(num_nodes)
    full[found.nodes] = values
    return full


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", range(10))
def test_optimality(seed: int, solver: Callable[..., Diffusion]) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 40))
    graph = random_graph(rng, n)
    sink = rng.uniform(0, 2, n)
    source = np.zeros(n)
    source[rng.permutation(n)[:2]] = rng.uniform(0.1, 0.45, 2) * sink.sum()
    found = solver(graph, source, sink)
    x, mass = everywhere(found, found.x, n), everywhere(found, found.mass, n)
    matrix = graph.matrix().toarray()
    laplacian = np.diag(matrix.sum(axis=1)) - matrix
    np.testing.assert_allclose(mass, source - laplacian @ x, atol=1e-9 * x.max(initial=1))
    assert (x >= 0).all()
    assert (mass <= sink + TOL).all()
    assert (np.abs(mass - sink)[x > 0] <= TOL).all()
    assert mass.sum() == pytest.approx(source.sum(), abs=1e-9)
    assert found.converged
    assert found.fits
    assert found.overflow <= TOL
    assert found.objective == pytest.approx(x @ laplacian @ x / 2 + x @ (sink - source))
    assert found.support.tolist() == np.flatnonzero(x > 0).tolist()
    # A minimum: no feasible step improves.
    for _ in range(20):
        other = np.maximum(x + rng.normal(0, 0.1, n), 0)
        assert other @ laplacian @ other / 2 + other @ (sink - source) >= found.objective - n * TOL


@pytest.mark.parametrize("seed", range(8))
def test_pushes_come_to_the_exact_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = Reweighted(random_graph(rng, 50), label_factor(rng.integers(0, 2, 50)))
    pushed = flow_diffusion(graph, {3: 30.0}, tol=1e-10)
    exact = flow_diffusion_exact(graph, {3: 30.0})
    np.testing.assert_allclose(everywhere(pushed, pushed.x, 50), everywhere(exact, exact.x, 50), atol=1e-6)
    assert pushed.support.tolist() == exact.nodes[exact.x > 1e-9].tolist()


@pytest.mark.parametrize("length", [3, 300])
def test_a_path_by_hand(length: int) -> None:
    """Mass M at the end of a long path fills M nodes; node i passes on what is left, so heights are sums of 1..k."""
    graph = graph_from_edges([[i, i + 1] for i in range(length + 2)], length + 3)
    found = flow_diffusion(graph, {0: float(length) + 0.5}, tol=1e-9)
    flows = length + 0.5 - np.arange(1, length + 1)  # what edge (i, i + 1) carries
    expected = np.cumsum(flows[::-1])[::-1]
    np.testing.assert_allclose(everywhere(found, found.x, length + 3)[:length], expected, atol=1e-4)
    assert found.support.tolist() == list(range(length))
    # Plain pushes would need about length^2 passes.
    assert found.num_passes < 10_000


def test_numbers_of_the_nodes_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    graph = random_graph(rng, 40)
    order = rng.permutation(40)
    moved = as_graph(graph.matrix().toarray()[np.ix_(order, order)])
    found = flow_diffusion(graph, {5: 25.0}, tol=1e-10)
    again = flow_diffusion(moved, {int(np.flatnonzero(order == 5)[0]): 25.0}, tol=1e-10)
    np.testing.assert_allclose(everywhere(again, again.x, 40), everywhere(found, found.x, 40)[order], atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_laws_of_weights_and_labels(solver: Callable[..., Diffusion]) -> None:
    rng = np.random.default_rng(1)
    graph, labels = random_graph(rng, 30), rng.integers(0, 2, 30)
    plain = solver(graph, {0: 20.0})

    def same(found: Diffusion, scale: float = 1.0) -> bool:
        x, y = everywhere(found, found.x, 30), everywhere(plain, plain.x, 30)
        return bool(np.allclose(x * scale, y, atol=1e-4)) and set(found.support) == set(plain.support)

    assert same(solver(Reweighted(graph, label_factor(labels, 1.0)), {0: 20.0}))
    assert same(solver(Reweighted(graph, label_factor(np.ones(30, int))), {0: 20.0}))
    assert same(solver(Reweighted(graph, label_factor(np.full(30, -1))), {0: 20.0}))
    assert same(solver(Graph(graph.indptr, graph.indices, 7 * graph.weights), {0: 20.0}), scale=7)
    assert not same(solver(Reweighted(graph, label_factor(labels)), {0: 20.0}))
    one, other = (solver(Reweighted(graph, label_factor(each)), {0: 20.0}) for each in (labels, 1 - labels))
    np.testing.assert_array_equal(one.x, other.x)


def test_the_exact_solution_lets_nothing_overflow() -> None:
    graph = graph_from_edges([[0, 1], [1, 2], [2, 3]], 4)
    found = flow_diffusion_exact(graph, {0: 2 + 1e-7})
    assert found.support.tolist() == [0, 1]
    assert found.overflow <= 1e-11
    np.testing.assert_allclose(found.mass, [1, 1, 1e-7], atol=1e-11)


def test_pushes_can_be_finished_exactly() -> None:
    graph = random_graph(np.random.default_rng(4), 40)
    flow = FlowDiffusion(graph, tol=0.5)
    flow.pour({0: 25.0})
    coarse, fine, exact = flow.settle(), flow.settle_exactly(), flow_diffusion_exact(graph, {0: 25.0})
    assert coarse.overflow > 0.01
    np.testing.assert_allclose(everywhere(fine, fine.x, 40), everywhere(exact, exact.x, 40), atol=1e-9)


def test_self_loops_carry_nothing_but_count_in_degrees() -> None:
    edges = [[0, 1], [1, 2], [2, 3]]
    plain = flow_diffusion(graph_from_edges(edges, 4), {0: 2.5})
    looped = graph_from_edges([*edges, [0, 0], [1, 1]], 4)
    found = flow_diffusion(looped, {0: 2.5})
    np.testing.assert_array_equal(found.x, plain.x)
    assert looped.degree(np.arange(4)).tolist() == [2, 3, 2, 1]


def test_the_support_grows_with_the_mass_and_earlier_work_counts() -> None:
    rng = np.random.default_rng(2)
    graph = random_graph(rng, 60, 0.1)
    flow, last = FlowDiffusion(graph, tol=1e-8), Diffusion(*[np.empty(0)] * 5, 0, 0, True, True)
    for step in range(1, 11):
        flow.pour({7: 5.0})
        found = flow.settle()
        alone = flow_diffusion(graph, {7: 5.0 * step}, tol=1e-8)
        np.testing.assert_allclose(everywhere(found, found.x, 60), everywhere(alone, alone.x, 60), atol=1e-5)
        assert set(last.support) <= set(found.support)
        last = found
    assert len(last.support) > 30


def test_right_labels_keep_the_mass_in_the_cluster() -> None:
    rng = np.random.default_rng(3)
    matrix = np.triu(
        rng.random((200, 200)) < np.where(np.add.outer(np.arange(200) < 30, np.arange(200) < 30), 0.1, 0.1), 1
    )
    matrix[:30, :30] = np.triu(rng.random((30, 30)) < 0.4, 1)
    labels = (np.arange(200) < 30).astype(int)
    graph = Reweighted(as_graph((matrix | matrix.T).astype(float)), label_factor(labels, 1e-6))
    found = flow_diffusion_exact(graph, {0: 29.0})
    assert set(found.support) <= set(range(30))
    assert len(found.support) >= 27
    assert set_f1(found.support, np.arange(30)) > 0.94


@pytest.mark.parametrize("solver", SOLVERS)
def test_epsilon_0_cuts(solver: Callable[..., Diffusion]) -> None:
    graph = graph_from_edges([[0, 1], [1, 2], [2, 3], [3, 4]], 5)
    cut = Reweighted(graph, label_factor(np.array([1, 1, 1, 0, 0]), 0.0))
    assert solver(cut, {0: 2.5}).support.tolist() == [0, 1]
    assert set(solver(cut, {0: 2.5}).nodes) <= {0, 1, 2}
    with pytest.raises(InputError, match=r"source mass 3\.5 is more than the sinks take"):
        solver(cut, {0: 3.5})
    with pytest.raises(InputError, match="more than the sinks take"):
        solver(graph_from_edges([[0, 1]], 3), {2: 1.5})  # an isolated node
    # Two parts, of which one has no room although there is room in all.
    with pytest.raises(InputError, match="more than the sinks take"):
        solver(cut, {0: 3.5, 4: 0.1})


def test_mass_that_the_seed_takes_goes_nowhere() -> None:
    graph = graph_from_edges([[0, 1], [1, 2]], 3)
    for mass in (0.5, 1.0):
        found = flow_diffusion(graph, {1: mass})
        assert len(found.support) == 0
        assert found.mass.tolist() == [mass]
        assert found.objective == 0
    full = flow_diffusion(graph, {1: 3.0}, tol=1e-6)  # all sinks together: full to the brim
    np.testing.assert_allclose(full.mass, 1, atol=1e-5)


def test_sinks_of_degree_are_those_of_the_original_graph() -> None:
    graph = graph_from_edges([[0, 1], [1, 2], [2, 0], [2, 3]], 4)
    view = Reweighted(graph, label_factor(np.array([1, 1, 0, 0]), 0.1))
    found = flow_diffusion(view, {0: 7.5}, "degree")
    assert everywhere(found, found.sink, 4).tolist() == [2, 2, 3, 1]
    assert set(flow_diffusion(view, {0: 7.5}, graph.degree(np.arange(4))).support) == set(found.support)


def hostile_graphs(rng: np.random.Generator, count: int) -> Any:
    """Sparse, disconnected, star, path, cycle, isolated nodes, self-loops; a third with weights from 1e-3 to 1e3."""
    for trial in range(count):
        n, seed = int(rng.integers(1, 60)), int(rng.integers(2**31))
        kind = trial % 8
        if kind == 0:
            graph = nx.gnp_random_graph(n, 0.3 * rng.random(), seed=seed)
        elif kind == 1:
            graph = nx.star_graph(n)
        elif kind == 2:
            graph = nx.path_graph(n)
        elif kind == 3:
            graph = nx.disjoint_union(nx.complete_graph(max(1, n // 2)), nx.empty_graph(5))
        elif kind == 4:
            graph = nx.barabasi_albert_graph(n + 3, 2, seed=seed)
        elif kind == 5:
            graph = nx.cycle_graph(n + 3)
        elif kind == 6:
            graph = nx.gnp_random_graph(n, 0.1, seed=seed)
            graph.add_edges_from((i, i) for i in range(0, n, 3))
        else:
            graph = nx.disjoint_union(nx.path_graph(n), nx.gnp_random_graph(n, 0.2, seed=seed))
        if trial % 3 == 0:
            for edge in graph.edges:
                graph.edges[edge]["weight"] = 10 ** rng.uniform(-3, 3)
        yield as_graph(graph)


def check_hostile_graphs(count: int) -> None:
    rng = np.random.default_rng(0)
    settled = refused = unsettled = 0
    for graph in hostile_graphs(rng, count):
        n = graph.num_nodes
        view = Reweighted(graph, label_factor(rng.integers(-1, 2, n), float(rng.choice([0, 1e-3, 0.05, 0.5, 1]))))
        sink = str(rng.choice(["ones", "degree"]))
        room = n if sink == "ones" else graph.degree(np.arange(n)).sum()
        seed, mass = int(rng.integers(n)), rng.uniform(0.01, 1.1) * room + 0.01
        ranks = personalized_pagerank_push(view, seed)
        assert np.isfinite(ranks.x).all()
        assert (ranks.mass >= 0).all()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                found = flow_diffusion(view, {seed: mass}, sink)
        except InputError:
            refused += 1
            continue
        for values in (found.x, found.mass):
            assert np.isfinite(values).all()
            assert (values >= 0).all()
        assert found.mass.sum() == pytest.approx(mass, rel=1e-6)
        assert found.converged == (found.overflow <= 1e-4)
        settled, unsettled = settled + found.converged, unsettled + (not found.converged)
    assert settled > count / 2
    assert refused > count / 10
    assert unsettled < count / 50


def test_nothing_diverges_on_hostile_graphs() -> None:
    check_hostile_graphs(160)


@pytest.mark.slow
def test_nothing_diverges_on_many_hostile_graphs() -> None:
    check_hostile_graphs(2000)


def test_a_diffusion_that_did_not_come_to_rest_says_so() -> None:
    graph = graph_from_edges([[i, i + 1] for i in range(99)], 100)
    with pytest.warns(
        RuntimeWarning, match=r"not at rest after 3 passes, a node holds .* more than its sink: raise max"
    ):
        found = flow_diffusion(graph, {50: 80.0}, max_passes=3)
    assert not found.converged
    assert found.fits
    assert found.overflow > 1
    assert found.mass.sum() == pytest.approx(80)


class CountingGraph:
    """A ring of cliques of any size, whose rows exist only when they are asked for."""

    def __init__(self, num_cliques: int, size: int = 20) -> None:
        self.num_nodes, self.size, self.asked = num_cliques * size, size, 0

    def rows(self, nodes: Ints) -> Rows:
        first = nodes // self.size * self.size
        cliques = first[:, None] + np.arange(self.size)  # (m, size), itself in it as a self-loop
        links = np.column_stack([nodes - self.size, nodes + self.size]) % self.num_nodes
        neighbours = np.hstack([cliques, links])
        self.asked += neighbours.size
        return Rows(np.full(len(nodes), self.size + 2), neighbours.ravel(), np.ones(neighbours.size))

    def degree(self, nodes: Ints) -> np.ndarray:
        return np.full(len(nodes), self.size + 2.0)


def test_only_what_the_mass_reaches_is_read() -> None:
    asked = []
    for num_cliques in (100, 10**12):
        graph = CountingGraph(num_cliques)
        read: list[int] = []

        def labels(nodes: Ints, read: list[int] = read) -> np.ndarray:
            read += nodes.tolist()
            return (nodes // 20 == 50).astype(int)

        found = flow_diffusion(Reweighted(graph, label_factor(labels)), {1010: 35.0})
        asked.append(graph.asked)
        assert len(found.nodes) < 300
        assert set(read) == set(found.nodes)
    assert asked[0] == asked[1] < 3000


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_pagerank_is_that_of_networkx(alpha: float) -> None:
    graph = nx.karate_club_graph()
    seeds = {0: 0.5, 33: 0.5}
    expected = nx.pagerank(graph, alpha=1 - alpha, personalization=seeds, tol=1e-14, max_iter=10_000)
    found = personalized_pagerank_push(graph, list(seeds), alpha=alpha, tol=1e-13)
    ranks = everywhere(found, found.x, 34) * as_graph(graph).degree(np.arange(34))
    np.testing.assert_allclose(ranks, [expected[node] for node in range(34)], atol=1e-9)


def test_coarse_pagerank_keeps_its_promise() -> None:
    graph = as_graph(nx.connected_watts_strogatz_graph(3000, 6, 0.1, seed=0))
    found = personalized_pagerank_push(graph, 5, alpha=0.2, tol=1e-3)
    degree = graph.degree(found.nodes)
    assert (found.mass <= 1e-3 * degree).all()
    assert (found.x * degree).sum() + found.mass.sum() == pytest.approx(1)
    assert graph.degree(found.support).sum() <= 1 / (1e-3 * 0.2)  # Andersen, Chung, Lang, theorem 1
    assert len(found.nodes) < 3000


def test_weights_of_edges_follow_the_labels() -> None:
    labels = [1, 1, 0, -1]
    graph = graph_from_edges([[i, j] for i in range(4) for j in range(i)], 4, [1, 2, 3, 4, 5, 6])
    expected = np.array([[0, 1, 0.2, 4 * 0.5], [1, 0, 0.3, 5 * 0.5], [0.2, 0.3, 0, 6 * 0.5], [2, 2.5, 3, 0]])
    weighted = label_edge_weights(graph, labels, 0.1, unknown_weight=0.5)
    np.testing.assert_allclose(weighted.matrix().toarray(), expected)
    trusting = label_edge_weights(graph, np.array(labels, dtype=np.int8), 0.1, trusted=[2, 3])
    np.testing.assert_allclose(trusting.weights, graph.weights)
    as_bool = label_edge_weights(graph, np.array([True, True, False, False]), 0.1)
    np.testing.assert_allclose(as_bool.matrix().toarray()[0], [0, 1, 0.2, 0.4])


def test_edges_keep_their_weight_as_often_as_the_paper_says() -> None:
    """An edge inside stays whole with chance a1^2 + (1 - a1)^2, one that leaves with a1 (1 - a0) + (1 - a1) a0."""
    rng = np.random.default_rng(0)
    a1, a0, n = 0.7, 0.9, 200_000
    inside, other, outside = rng.random(n) < a1, rng.random(n) < a1, rng.random(n) > a0
    factor = label_factor(np.concatenate([inside, other, outside]).astype(int), 0.0)
    first = np.arange(n)
    assert factor(first, first + n).mean() == pytest.approx(a1**2 + (1 - a1) ** 2, abs=0.005)
    assert factor(first, first + 2 * n).mean() == pytest.approx(a1 * (1 - a0) + (1 - a1) * a0, abs=0.005)


@pytest.mark.parametrize(
    ("found", "target", "expected"),
    [([], [1], 0), ([1], [], 0), ([], [], 0), ([1, 2], [2, 1], 1), ([1, 2, 3], [3], 0.5), ([1], [2], 0)],
)
def test_f1(found: list[int], target: list[int], expected: float) -> None:
    assert set_f1(found, target) == expected


GRAPH = graph_from_edges([[0, 1], [1, 2]], 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flow_diffusion(GRAPH, {3: 1.0}), "source hold 3"),
        (lambda: flow_diffusion(GRAPH, {0: -1.0}), "mass of node 0 is -1.0"),
        (lambda: flow_diffusion(GRAPH, {0: np.nan}), "mass of node 0 is nan"),
        (lambda: flow_diffusion(GRAPH, {0: np.inf}), "mass of node 0 is inf"),
        (lambda: flow_diffusion(GRAPH, {}), "no mass"),
        (lambda: flow_diffusion(GRAPH, {0: 0.0}), "no mass"),
        (lambda: flow_diffusion(GRAPH, [1.0, 2.0]), "one number for each node"),
        (lambda: flow_diffusion(GRAPH, ["a", "b", "c"]), "one number for each node"),
        (lambda: flow_diffusion(GRAPH, [0, 0, -2]), "mass of node 2 is -2"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, "two"), "'ones' or 'degree'"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, [1, 1]), "3 numbers"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, [1, np.nan, 1]), "sink of node 1 is nan"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, [-1, 1, 1]), "sink of node 0 is -1.0"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, tol=0.0), "tol is 0.0"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, tol=np.nan), "tol is nan"),
        (lambda: flow_diffusion(GRAPH, {0: 2.0}, max_passes=0), "max_passes is 0"),
        (lambda: flow_diffusion(GRAPH, {0: 99.0}), "source mass 99 is more than the sinks take"),
        (lambda: label_factor([0, 1], 1.5), "epsilon is 1.5"),
        (lambda: label_factor([0, 1], np.nan), "epsilon is nan"),
        (lambda: label_factor([0, 1], unknown_weight=-1), "unknown_weight is -1"),
        (lambda: label_factor([0.0, 1.0]), "one integer a node"),
        (lambda: label_factor([[0, 1]]), "one integer a node"),
        (lambda: label_edge_weights(GRAPH, [0, 1]), "2 labels for 3 nodes"),
        (lambda: label_edge_weights(GRAPH, [0, 1, 2]), "label of node 2 is 2"),
        (lambda: label_edge_weights(GRAPH, [0, -2, 1]), "label of node 1 is -2"),
        (lambda: flow_diffusion(Reweighted(GRAPH, label_factor([0, 1])), {2: 2.0}), "2 labels but a node 2"),
        (lambda: flow_diffusion(Reweighted(GRAPH, label_factor(lambda nodes: [0])), {1: 2.0}), "one label for each"),
        (lambda: personalized_pagerank_push(GRAPH, []), "seeds are empty"),
        (lambda: personalized_pagerank_push(GRAPH, 3), "seeds hold 3"),
        (lambda: personalized_pagerank_push(GRAPH, 0, alpha=1.0), "alpha is 1.0"),
        (lambda: personalized_pagerank_push(GRAPH, 0, tol=-1.0), "tol is -1.0"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
