"""The reproduction of ERASE: its splits, noise and verdict."""

import json

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.numerics.graphs import as_graph
from labelwise.reproductions import erase


def test_quick_runs_without_data_and_says_so() -> None:
    result = erase.run(seeds=1, data_dir=None, quick=True)
    json.loads(result.to_json())
    assert result.interval is None
    assert any("--data-dir" in note for note in result.notes)
    assert any("one seed" in note for note in result.notes)
    assert set(result.details["each"]) == {"planted, asymm 0.4", "planted, symm 0.5"}
    difference = result.methods[erase.METHOD].mean - result.baselines[erase.BASELINE].mean
    assert result.difference == pytest.approx(difference)
    labels = result.details["labels of training nodes that are right"]
    assert result.holds == (difference > 0 and labels["pseudo-labels"] > labels["given"])


def test_a_missing_folder_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="planetoid"):
        erase.run(seeds=1, data_dir=tmp_path)


def test_parts_share_no_node_and_planted_links_join_the_like() -> None:
    papers = erase.planted_citations(0)
    parts = [papers.train, papers.validation, papers.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(papers.classes)))
    assert np.bincount(papers.classes[papers.train]).tolist() == [20] * 4
    assert np.bincount(papers.classes[papers.validation]).tolist() == [20] * 4
    row, column = as_graph(papers.graph).matrix().nonzero()
    assert 0.75 < (papers.classes[row] == papers.classes[column]).mean() < 0.95


@pytest.mark.parametrize("noise", erase.NOISES)
def test_only_training_nodes_have_labels(noise) -> None:
    papers = erase.planted_citations(0)
    labels = erase.noisy_labels(papers, noise, seed=2)
    assert np.array_equal(np.flatnonzero(labels >= 0), papers.train)
    shares = [erase.given_right(papers, noise, seed) for seed in range(30)]
    assert np.mean(shares) == pytest.approx(1 - noise[1], abs=0.03)
    assert not np.array_equal(labels, erase.noisy_labels(papers, noise, seed=3))


def test_the_validation_nodes_choose_the_rate(monkeypatch) -> None:
    low, high = erase.RATES
    made = {low: erase.Trial(0.7, 0.1, 0.2, low), high: erase.Trial(0.6, 0.9, 0.9, high)}
    monkeypatch.setattr(erase, "train_once", lambda *arguments: made[arguments[-1]])
    assert erase.best_of_rates(erase.METHOD, "cora", None, erase.NOISES[0], 0, 5) == made[low]


@pytest.mark.parametrize(("name", "count", "classes"), [("cora", 2708, 7), ("citeseer", 3327, 6)])
def test_citation_networks(data_dir, name: str, count: int, classes: int) -> None:
    papers = erase.read_citations(name, data_dir)
    assert papers.features.shape[0] == papers.graph.shape[0] == count
    assert np.bincount(papers.classes[papers.train]).tolist() == [20] * classes
    assert [len(papers.validation), len(papers.test)] == [500, 1000]
    assert len(set(papers.train) | set(papers.validation) | set(papers.test)) == 1500 + 20 * classes
    assert as_graph(papers.graph).num_nodes == count
