"""The reproduction of local clustering: its graphs and labels are what it says, its verdict follows its numbers."""

import json

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.reproductions import local_clustering, reproduce
from labelwise.reproductions.local_clustering import EASY, HARD, Planted, flipped_labels, planted_graph


@pytest.fixture(scope="module")
def quick_result():
    return reproduce("local-graph-clustering", seeds=3, quick=True)


def test_quick_runs_without_data_and_says_so(quick_result) -> None:
    assert quick_result.holds
    assert any("--data-dir" in note for note in quick_result.notes)
    assert set(quick_result.details) == {"checks", "planted", "planted_where_the_graph_suffices"}
    json.loads(quick_result.to_json())


def test_the_difference_is_to_the_best_baseline(quick_result) -> None:
    best = max(summary.mean for summary in quick_result.baselines.values())
    assert quick_result.difference == pytest.approx(quick_result.methods["lfd"].mean - best)
    assert quick_result.seeds == len(quick_result.methods["lfd"].values) == 3


def test_a_planted_graph_has_the_edges_it_should() -> None:
    counts = []
    for seed in range(10):
        graph = planted_graph(HARD, np.random.default_rng(seed)).matrix().toarray()
        assert np.array_equal(graph, graph.T)
        assert set(np.unique(graph)) <= {0, 1}
        assert not graph.diagonal().any()
        counts.append([graph[:100, :100].sum() / 2, graph[:100, 100:].sum(), graph[100:, 100:].sum() / 2])
    expected = [0.1 * 100 * 99 / 2, 0.006 * 100 * 1900, 0.006 * 1900 * 1899 / 2]
    np.testing.assert_allclose(np.mean(counts, axis=0), expected, rtol=0.05)


def test_every_pair_can_be_drawn() -> None:
    full = planted_graph(Planted(7, 3, 1.0, 1.0, 1.0), np.random.default_rng(0))
    assert (full.matrix().toarray() == 1 - np.eye(7)).all()
    parts = planted_graph(Planted(7, 3, 1.0, 0.0, 1.0), np.random.default_rng(0)).matrix().toarray()
    assert parts[:3, :3].sum() == 6
    assert parts[3:, 3:].sum() == 12
    assert parts[:3, 3:].sum() == 0


def test_labels_are_right_as_often_as_they_should() -> None:
    target = np.arange(30_000)
    labels = flipped_labels(100_000, target, (0.6, 0.9), np.random.default_rng(0))
    assert labels[:30_000].mean() == pytest.approx(0.6, abs=0.01)
    assert labels[30_000:].mean() == pytest.approx(0.1, abs=0.01)


def test_labels_alone_score_what_the_formula_says() -> None:
    """F1 in expectation is about 2 a1 k / (k + a1 k + (1 - a0) (n - k))."""
    found = [local_clustering.planted_f1(EASY, (0.8, 0.9), seed)["labels"] for seed in range(3)]
    assert np.mean(found) == pytest.approx(2 * 80 / (100 + 80 + 0.1 * 1900), abs=0.04)


def test_one_seed_is_noted_and_a_missing_folder_refused(tmp_path) -> None:
    assert any("one seed" in note for note in reproduce("local-graph-clustering", seeds=1, quick=True).notes)
    with pytest.raises(InputError, match="planetoid"):
        local_clustering.run(seeds=1, data_dir=tmp_path)


def test_known_nodes_have_known_labels() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(200) < 60
    features = rng.normal(size=(200, 5)) + truth[:, None]
    inside, outside = np.arange(25), np.arange(100, 125)
    labels = local_clustering.classifier_labels(features, inside, outside)
    assert labels[inside].all()
    assert not labels[outside].any()
    assert (labels == truth).mean() > 0.8


@pytest.mark.slow
def test_cora_in_full(data_dir) -> None:
    result = reproduce("local-graph-clustering", seeds=2, data_dir=data_dir)
    assert {"cora", "citeseer"} <= set(result.details)
    assert result.details["checks"]["cora: lfd above fd"]
