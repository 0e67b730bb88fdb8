"""Graphs: the door, conversions, conductance and sweep cuts against networkx and against plain loops."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse

from labelwise.errors import InputError
from labelwise.numerics.graphs import (
    Graph,
    Neighbourhoods,
    Reweighted,
    as_graph,
    as_neighbourhoods,
    check_nodes,
    conductance,
    graph_from_edges,
    sweep_cut,
)


def dense(graph: Graph) -> np.ndarray:
    return graph.matrix().toarray()


def random_matrix(rng: np.random.Generator, n: int, *, loops: bool = False, density: float = 0.2) -> np.ndarray:
    upper = np.triu(rng.random((n, n)) < density, 0 if loops else 1) * rng.uniform(0.5, 2, (n, n))
    return np.maximum(upper, upper.T)


@pytest.mark.parametrize("seed", range(5))
def test_every_way_in_gives_the_same_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, 17, loops=True)
    heads, tails = np.nonzero(np.triu(matrix))
    swap = rng.random(len(heads)) < 0.5
    edges = np.column_stack([np.where(swap, tails, heads), np.where(swap, heads, tails)])
    order = rng.permutation(len(edges))
    sparse = scipy.sparse.coo_array(matrix)
    shuffled = rng.permutation(sparse.nnz)
    unsorted = scipy.sparse.coo_array(
        (sparse.data[shuffled], (sparse.row[shuffled], sparse.col[shuffled])), shape=sparse.shape
    )
    ways = [
        matrix,
        sparse,
        scipy.sparse.csc_matrix(matrix),
        unsorted,
        nx.from_numpy_array(matrix),
    ]
    graphs = [as_graph(way) for way in ways]
    graphs.append(graph_from_edges(edges[order], 17, matrix[heads, tails][order]))
    for graph in graphs:
        np.testing.assert_array_equal(dense(graph), matrix)
        assert graph.num_nodes == 17
        np.testing.assert_allclose(graph.degree(np.arange(17)), matrix.sum(axis=1))
    assert as_graph(graphs[0]) is graphs[0]


def test_what_comes_in_is_not_changed() -> None:
    # Entries out of order and one of them in two parts.
    matrix = scipy.sparse.csr_array((np.array([3.0, 2, 1, 1, 3]), [2, 1, 0, 0, 0], [0, 2, 4, 5]), shape=(3, 3))
    before = matrix.data.copy(), matrix.indices.copy()
    assert dense(as_graph(matrix)).tolist() == [[0, 2, 3], [2, 0, 0], [3, 0, 0]]
    np.testing.assert_array_equal(matrix.data, before[0])
    np.testing.assert_array_equal(matrix.indices, before[1])


def test_rows_in_any_order_and_twice() -> None:
    matrix = random_matrix(np.random.default_rng(0), 12)
    matrix[3] = matrix[:, 3] = 0
    nodes = np.array([5, 3, 5, 0])
    rows = as_graph(matrix).rows(nodes)
    assert rows.counts.tolist() == (matrix[nodes] > 0).sum(axis=1).tolist()
    np.testing.assert_array_equal(rows.neighbours, np.nonzero(matrix[nodes])[1])
    np.testing.assert_array_equal(rows.weights, matrix[nodes][matrix[nodes] > 0])
    empty = as_graph(matrix).rows(np.empty(0, dtype=np.int64))
    assert [len(part) for part in empty] == [0, 0, 0]


def test_a_reweighted_graph_keeps_its_degrees() -> None:
    matrix = random_matrix(np.random.default_rng(1), 10)
    graph = as_graph(matrix)
    view = Reweighted(graph, lambda heads, tails: 1.0 / (1 + np.abs(heads - tails)))
    i, j = np.indices(matrix.shape)
    np.testing.assert_allclose(
        [view.rows(np.array([k])).weights.sum() for k in range(10)], (matrix / (1 + abs(i - j))).sum(axis=1)
    )
    np.testing.assert_array_equal(view.degree(np.arange(10)), graph.degree(np.arange(10)))
    assert as_neighbourhoods(view) is view
    assert isinstance(view, Neighbourhoods)


ADJACENCY = np.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((2, 3)), "shape \\(2, 3\\).*square"),
        (np.empty((0, 0)), "at least one node"),
        (np.ones(3), "adjacency matrix"),
        ("graph", "adjacency matrix"),
        (np.array([["a", "b"], ["b", "a"]]), "adjacency matrix"),
        (ADJACENCY * np.nan, "nan between nodes 0 and 0"),
        (np.array([[0, np.inf], [np.inf, 0]]), "inf between nodes 0 and 1"),
        (-ADJACENCY, "-1.0 between nodes 0 and 1"),
        (ADJACENCY.astype(complex), "adjacency matrix"),
        (scipy.sparse.csr_array(ADJACENCY.astype(complex)), "real numbers"),
        (np.array([[0, 1], [0, 0]]), "from node 0 to 1 and back.*undirected"),
        (np.array([[0, 0], [1, 0]]), "from node 1 to 0 and back"),
        (np.array([[0, 1.0], [1.001, 0]]), "different weights"),
        (nx.DiGraph([(0, 1)]), "directed"),
        (nx.Graph(), "no nodes"),
    ],
)
def test_bad_graphs_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_graph(given)


def test_a_broken_sparse_matrix_is_refused() -> None:
    matrix = scipy.sparse.csr_array(ADJACENCY)
    matrix.indices = np.array([1, 7], dtype=matrix.indices.dtype)
    with pytest.raises(InputError, match="not a sound sparse matrix"):
        as_graph(matrix)


def test_rounding_is_no_direction() -> None:
    assert as_graph(np.array([[0, 1.0], [1.0 + 1e-15, 0]])).num_nodes == 2


@pytest.mark.parametrize(
    ("edges", "num_nodes", "weights", "message"),
    [
        ([[0, 1]], 0, None, "num_nodes is 0"),
        ([0, 1], 2, None, "pairs of integers"),
        ([[0, 1, 2]], 3, None, "pairs of integers"),
        ([[0.0, 1.0]], 2, None, "pairs of integers"),
        ([[0, 1], [1, 2]], 2, None, r"row 1 is \[1, 2\].*0 to 1"),
        ([[0, -1]], 2, None, r"row 0 is \[0, -1\]"),
        ([[0, 1], [1, 2], [1, 0]], 3, None, "rows 0 and 2 both join nodes 0 and 1"),
        ([[0, 1]], 2, [1, 2], "one number for each edge"),
        ([[0, 1]], 2, ["a"], "one number for each edge"),
        ([[0, 1]], 2, [np.nan], "nan between nodes"),
        ([[0, 1]], 2, [-2], "-2.0 between nodes"),
    ],
)
def test_bad_edges_are_refused(edges: Any, num_nodes: int, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_from_edges(edges, num_nodes, weights)


def test_graphs_without_edges() -> None:
    for graph in (graph_from_edges([], 3), as_graph(np.zeros((3, 3)))):
        assert graph.num_nodes == 3
        assert graph.degree(np.arange(3)).tolist() == [0, 0, 0]
        assert conductance(graph, [0, 1]) == 0


@pytest.mark.parametrize("nodes", [[0.5], [[0, 1]], ["a"], [5], [-1], [1, 1], [True]])
def test_bad_nodes_are_refused(nodes: Any) -> None:
    with pytest.raises(InputError, match="nodes h"):
        check_nodes(nodes, 5)


def test_nodes_may_be_one_or_none() -> None:
    assert check_nodes(3, 5).tolist() == [3]
    assert check_nodes([], 5).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_conductance_is_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, 30)
    nodes = np.flatnonzero(rng.random(30) < rng.random())
    ours = conductance(as_graph(matrix), nodes)
    rest = np.setdiff1d(np.arange(30), nodes)
    volumes = matrix[nodes].sum(), matrix[rest].sum()
    if min(volumes) == 0:
        assert ours == 0
    else:
        assert ours == pytest.approx(
            nx.conductance(nx.from_numpy_array(matrix), set(nodes.tolist()), set(rest.tolist()), weight="weight")
        )


def test_conductance_of_what_cuts_nothing_is_0() -> None:
    graph = graph_from_edges([[0, 1], [2, 2]], 4)
    for nodes in ([], [0, 1, 2, 3], [0, 1], [3], [2]):
        assert conductance(graph, nodes) == 0
    assert conductance(graph, [0]) == 1
    assert conductance(graph, [0, 2]) == pytest.approx(1 / 1)  # volumes 2 and 1


def brute_sweep(matrix: np.ndarray, scores: np.ndarray) -> tuple[list[int], float]:
    order = sorted((i for i in range(len(scores)) if scores[i] > 0), key=lambda i: (-scores[i], i))
    best: tuple[list[int], float] = ([], 0.0)
    for size in range(1, min(len(order), len(matrix) - 1) + 1):
        inside = np.isin(np.arange(len(matrix)), order[:size])
        cut = matrix[inside][:, ~inside].sum()
        found = cut / min(matrix[inside].sum(), matrix[~inside].sum()) if cut > 0 else 0.0
        if size == 1 or found < best[1] - 1e-12:
            best = sorted(order[:size]), found
    return best


@pytest.mark.parametrize("seed", range(30))
def test_sweep_cut_is_the_best_prefix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    matrix = random_matrix(rng, n, loops=seed % 2 == 0, density=rng.uniform(0.05, 0.6))
    scores = rng.integers(-1, 4, n).astype(float)  # ties, zeros, negatives
    shown = rng.permutation(n)[: int(rng.integers(1, n + 1))]
    nodes, found = sweep_cut(as_graph(matrix), shown, scores[shown])
    alone = np.where(np.isin(np.arange(n), shown), scores, 0)
    expected = brute_sweep(matrix, alone)
    assert nodes.tolist() == expected[0]
    assert found == pytest.approx(expected[1], abs=1e-12)


def test_sweep_cut_of_one_node_and_of_none() -> None:
    assert sweep_cut(graph_from_edges([], 1), [0], [1.0])[0].tolist() == [0]
    assert sweep_cut(graph_from_edges([[0, 1]], 2), [0, 1], [0.0, -1.0])[0].tolist() == []


@pytest.mark.parametrize(("scores", "message"), [([1.0], "one for each node"), ([1.0, np.nan], "node 1 is NaN")])
def test_bad_scores_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep_cut(graph_from_edges([[0, 1]], 3), [0, 1], scores)
