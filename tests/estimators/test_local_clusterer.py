"""LocalClusterer: what it finds, which run it keeps, what it reads and refuses."""

import inspect
from typing import Any

import networkx as nx
import numpy as np
import pytest
from sklearn.base import clone

import labelwise
from labelwise import LocalClusterer
from labelwise.errors import InputError
from labelwise.methods.graphs.local_clustering import CARD, flow_diffusion, label_edge_weights, set_f1
from labelwise.numerics.graphs import Reweighted, as_graph, conductance, graph_from_edges, sweep_cut


def two_groups(seed: int = 0, size: int = 40) -> tuple[Any, np.ndarray, np.ndarray]:
    """Graph, members of the first group, and labels of which a fifth is wrong."""
    rng = np.random.default_rng(seed)
    graph = nx.planted_partition_graph(5, size, 0.3, 0.02, seed=seed)
    truth = np.arange(5 * size) < size
    return graph, np.flatnonzero(truth), np.where(rng.random(5 * size) < 0.8, truth, ~truth).astype(int)


def test_it_finds_the_group_and_labels_help_on_average() -> None:
    with_labels, without, labels_alone = [], [], []
    for seed in range(5):
        graph, group, labels = two_groups(seed)
        model = LocalClusterer(40)
        with_labels.append(set_f1(model.fit(graph, 3, labels).cluster_, group))
        without.append(set_f1(model.fit(graph, 3).cluster_, group))
        labels_alone.append(set_f1(np.flatnonzero(labels), group))
    assert np.mean(with_labels) > 0.7
    assert np.mean(with_labels) > np.mean(labels_alone) + 0.1
    assert np.mean(without) > 0.5


@pytest.mark.parametrize("rounding", ["support", "sweep"])
@pytest.mark.parametrize("solver", ["push", "exact"])
def test_it_keeps_the_run_of_least_conductance(rounding: str, solver: str) -> None:
    graph, _, labels = two_groups(1)
    labels[5] = 1
    model = LocalClusterer(40, mass_grid=(3, 1.5, 2), rounding=rounding, solver=solver).fit(graph, 5, labels)
    weighted = label_edge_weights(graph, labels)
    assert [run.source_mass for run in model.runs_] == [60, 80, 120]
    for run in model.runs_:
        found = flow_diffusion(weighted, {5: run.source_mass}, tol=1e-6)
        cluster = sweep_cut(weighted, found.nodes, found.x)[0] if rounding == "sweep" else found.support
        assert run.cluster.tolist() == cluster.tolist()
        assert run.conductance == pytest.approx(conductance(weighted, run.cluster))
        assert run.converged
        assert run.fits
    best = min(model.runs_, key=lambda run: run.conductance)
    assert model.cluster_.tolist() == best.cluster.tolist()
    assert (model.conductance_, model.source_mass_, model.converged_) == (best.conductance, best.source_mass, True)
    assert model.diffusion_.source.sum() == pytest.approx(best.source_mass)


def test_a_checked_graph_and_other_forms_give_the_same() -> None:
    graph, _, labels = two_groups(2)
    expected = LocalClusterer(40).fit(graph, [1, 2], labels).cluster_
    adjacency = nx.to_scipy_sparse_array(graph)
    view = Reweighted(as_graph(graph), lambda heads, tails: np.ones(len(heads)))
    for form in (adjacency, adjacency.toarray(), as_graph(graph), view):
        assert LocalClusterer(40).fit(form, [1, 2], labels).cluster_.tolist() == expected.tolist()


def test_labels_may_be_a_function_that_is_asked_for_few_nodes() -> None:
    graph = nx.ring_of_cliques(200, 10)
    asked: set[int] = set()

    def labels(nodes: np.ndarray) -> np.ndarray:
        asked.update(nodes.tolist())
        return (nodes < 10).astype(int)

    model = LocalClusterer(10, mass_grid=(1.0, 1.25)).fit(graph, 4, labels)
    assert set_f1(model.cluster_, np.arange(10)) > 0.8
    assert len(asked) < 200


def test_a_wrong_label_of_the_seed_costs_only_those_who_do_not_trust_it() -> None:
    graph, group, _ = two_groups(3)
    labels = np.isin(np.arange(200), group).astype(int)
    labels[7] = 0
    trusting, doubting = (LocalClusterer(40, trust_seeds=trust).fit(graph, 7, labels) for trust in (True, False))
    assert set_f1(trusting.cluster_, group) > 0.95
    assert set_f1(doubting.cluster_, group) < set_f1(trusting.cluster_, group) - 0.1
    assert labels[7] == 0


def test_sinks_of_degree_suit_uneven_degrees() -> None:
    graph = nx.karate_club_graph()
    club = np.array([node for node, club in graph.nodes("club") if club == "Mr. Hi"])
    volume = sum(degree for _, degree in graph.degree(club.tolist(), weight="weight"))
    labels = np.isin(np.arange(34), club).astype(int)
    labels[[1, 5, 20, 30]] = 1 - labels[[1, 5, 20, 30]]
    model = LocalClusterer(volume, sink="degree").fit(graph, 0, labels)
    assert set_f1(model.cluster_, club) > 0.8
    # The larger masses of the grid have no room in so small a graph.
    assert [run.fits for run in model.runs_] == sorted((run.fits for run in model.runs_), reverse=True)
    assert not model.runs_[-1].fits
    assert len(model.runs_[-1].cluster) == 0


def test_too_little_mass_gives_an_empty_cluster_and_no_empty_one_beats_another() -> None:
    graph = graph_from_edges([[0, 1], [1, 2], [2, 3], [3, 4]], 5)
    assert LocalClusterer(1.0, mass_grid=(0.5, 1.0)).fit(graph, 2).cluster_.tolist() == []
    assert LocalClusterer(1.0, mass_grid=(0.5, 1.5)).fit(graph, 2).cluster_.tolist() == [2]


def test_mass_is_shared_between_seeds() -> None:
    graph = graph_from_edges([[0, 1], [2, 3], [3, 4]], 5)
    model = LocalClusterer(2, mass_grid=(1.5,)).fit(graph, [4, 0])
    assert model.diffusion_.source[np.isin(model.diffusion_.nodes, [0, 4])].tolist() == [1.5, 1.5]
    assert model.cluster_.tolist() == [0, 4]


def test_passes_that_do_not_suffice_are_told() -> None:
    graph = nx.path_graph(60)
    with pytest.warns(RuntimeWarning, match="not at rest"):
        model = LocalClusterer(20, mass_grid=(2,), max_passes=2).fit(graph, 30)
    assert not model.converged_
    assert LocalClusterer(20, mass_grid=(2,), solver="exact", max_passes=2).fit(graph, 30).converged_


def test_it_is_a_scikit_learn_estimator() -> None:
    graph, _, labels = two_groups(4)
    model = LocalClusterer(40, epsilon=0.2).fit(graph, 0, labels)
    twin = clone(model)
    assert not hasattr(twin, "cluster_")
    assert twin.get_params()["epsilon"] == 0.2
    assert twin.set_params(target_size=30).target_size == 30
    again = clone(model).fit(graph, 0, labels)
    assert again.cluster_.tolist() == model.cluster_.tolist()
    assert labelwise.LocalClusterer is LocalClusterer


def test_the_card_tells_the_defaults() -> None:
    options = inspect.signature(LocalClusterer).parameters
    assert {name: np.array(value).tolist() for name, value in CARD.defaults.items()} == {
        name: np.array(options[name].default).tolist() for name in CARD.defaults
    }


GRAPH = graph_from_edges([[0, 1], [1, 2]], 3)


@pytest.mark.parametrize(
    ("options", "seeds", "labels", "message"),
    [
        ({"target_size": 0}, 0, None, "target_size is 0"),
        ({"target_size": np.nan}, 0, None, "target_size is nan"),
        ({"mass_grid": ()}, 0, None, "mass_grid"),
        ({"mass_grid": (1.0, -1.0)}, 0, None, "mass_grid"),
        ({"rounding": "best"}, 0, None, "'support' or 'sweep'"),
        ({"solver": "fast"}, 0, None, "'push' or 'exact'"),
        ({"epsilon": 2}, 0, [0, 1, 1], "epsilon is 2"),
        ({"sink": "two"}, 0, None, "'ones' or 'degree'"),
        ({"tol": 0}, 0, None, "tol is 0"),
        ({"max_passes": 0}, 0, None, "max_passes is 0"),
        ({"target_size": 50}, 0, None, "no room for the mass 62.5"),
        ({}, [], None, "seeds are empty"),
        ({}, 3, None, "seeds hold 3"),
        ({}, [0, 0], None, "seeds hold 0 twice"),
        ({}, 0.5, None, "integer node ids"),
        ({}, 0, [0, 1], "2 labels for 3 nodes"),
        ({}, 0, [0, 5, 1], "label of node 1 is 5"),
        ({}, 0, [0.0, np.nan, 1.0], "one integer a node"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], seeds: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LocalClusterer(**{"target_size": 2, "mass_grid": (1.25,)} | options).fit(GRAPH, seeds, labels)


def test_a_bad_graph_is_refused() -> None:
    with pytest.raises(InputError, match="undirected"):
        LocalClusterer(2).fit(np.array([[0, 1], [0, 0]]), 0)
