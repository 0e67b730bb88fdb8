"""Random cases with the golden file's fields, against the spec written out with dense matrices and plain loops."""

from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, local_graph_clustering
from comparison import mismatches


def solve(weights: np.ndarray, source: np.ndarray, sink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights and final mass: start with what overflows at once, solve, add what then overflows."""
    laplacian = np.diag(weights.sum(axis=1)) - weights
    full, x = source > sink, np.zeros(len(source))
    while True:
        s = np.flatnonzero(full)
        x[s] = np.linalg.solve(laplacian[np.ix_(s, s)], (source - sink)[s])
        mass = source - laplacian @ x
        more = ~full & (mass > sink + 1e-9)
        if not more.any():
            return x, mass
        full |= more


def conductance(weights: np.ndarray, inside: np.ndarray) -> float:
    cut = weights[inside][:, ~inside].sum()
    return float(cut / min(weights[inside].sum(), weights[~inside].sum()))


def f1(found: np.ndarray, target: list[int]) -> float:
    return 2 * len(set(found.tolist()) & set(target)) / (len(found) + len(target)) if len(found) else 0.0


def random_case(seed: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 40))
    upper = np.triu(rng.random((n, n)) < rng.uniform(0.15, 0.6), 1)
    upper[np.arange(n - 1), np.arange(1, n)] = True  # connected
    edges = np.argwhere(upper)
    rng.shuffle(edges)
    labels = rng.integers(0, 2, n)
    epsilon = float(rng.choice([0.01, 0.05, 0.3, 1.0]))
    target = np.flatnonzero(rng.random(n) < 0.4).tolist() or [0]
    sink_name = ("ones", "degree")[seed % 2]
    seed_node = int(rng.integers(n))
    plain = (upper | upper.T).astype(float)
    weights = plain * np.where(labels[:, None] == labels, 1.0, epsilon)
    sink = plain.sum(axis=1) if sink_name == "degree" else np.ones(n)
    source = np.zeros(n)
    source[seed_node] = sink.sum() * rng.uniform(0.3, 0.95) if seed % 7 else sink[seed_node]  # now and then no flow
    x, mass = solve(weights, source, sink)
    support = np.flatnonzero(x > 1e-9)
    unweighted, _ = solve(plain, source, sink)
    plain_support = np.flatnonzero(unweighted > 1e-9)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    expected: dict[str, Any] = {
        "edge_weights": weights[edges[:, 0], edges[:, 1]],
        "x": x,
        "final_mass": mass,
        "support": support,
        "support_f1": f1(support, target),
        "objective": x @ laplacian @ x / 2 + x @ (sink - source),
        "unweighted_x": unweighted,
        "unweighted_support": plain_support,
        "unweighted_f1": f1(plain_support, target),
    }
    if len(support) > 0:
        order = sorted(support, key=lambda i: (-x[i], i))
        prefixes = [np.isin(np.arange(n), order[:k]) for k in range(1, min(len(order), n - 1) + 1)]
        best = min(prefixes, key=lambda inside: (round(conductance(weights, inside), 9), inside.sum()))
        expected |= {
            "conductance_weighted": conductance(weights, np.isin(np.arange(n), support)),
            "sweep_cluster": np.flatnonzero(best),
            "sweep_conductance": conductance(weights, best),
        }
    inputs = {"num_nodes": n, "edges": edges, "labels": labels, "target": target}
    params = {"seed_node": seed_node, "epsilon": epsilon, "source_mass": float(source.sum()), "sink": sink_name}
    return inputs, params, expected


@pytest.mark.parametrize("seed", range(60))
def test_diffusion(seed: int) -> None:
    inputs, params, expected = random_case(seed)
    listed = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in inputs.items()}
    wanted = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in expected.items()}
    computed = local_graph_clustering.run({"inputs": listed, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, 1e-7) == []


@pytest.mark.parametrize("change", [{"inputs": {"features": []}}, {"params": {"gamma": 1}}, {"expected": {"y": 1}}])
def test_what_is_not_known_is_refused(change: dict[str, Any]) -> None:
    inputs, params, expected = random_case(1)
    case = {"inputs": inputs, "params": params, "expected": expected}
    with pytest.raises(UnknownCase):
        local_graph_clustering.run({name: part | change.get(name, {}) for name, part in case.items()}, None)
