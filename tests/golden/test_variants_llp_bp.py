"""Random cases with the fields of 40-llp-bp.json against its equations in plain NumPy."""

import itertools
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, llp_bp
from comparison import mismatches


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-8) -> None:
    listed = {name: np.asarray(value).tolist() for name, value in inputs.items()}
    wanted = {name: np.asarray(value).tolist() for name, value in expected.items()}
    computed = llp_bp.run({"inputs": listed, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, atol) == []


def potentials(
    pairs: list[tuple[int, int]], sims: np.ndarray, ids: np.ndarray, counts: np.ndarray, bag: float, sim: float
) -> dict[str, Any]:
    """u and J entry by entry."""
    n = len(ids)
    J = {(i, j): -2 * bag for i, j in itertools.combinations(range(n), 2) if ids[i] == ids[j]}
    u = np.array([-bag * (1 - 2 * counts[ids[i]]) for i in range(n)], dtype=float)
    for (i, j), k in zip(pairs, sims, strict=True):
        J[i, j] = J.get((i, j), 0.0) + 2 * sim * k
        u[i] -= sim * k
        u[j] -= sim * k
    index = sorted(J)
    return {"unary_potential": u, "pair_index": index, "pair_potential": [J[edge] for edge in index]}


def marginals(found: dict[str, Any], num_iters: int, damping: float, temperature: float) -> dict[str, Any]:
    """Damped sum-product from zero messages by matrices, and exact marginals by enumeration."""
    u, n = found["unary_potential"] / temperature, len(found["unary_potential"])
    J, linked = np.zeros((n, n)), np.zeros((n, n), dtype=bool)
    for (i, j), weight in zip(found["pair_index"], found["pair_potential"], strict=True):
        J[i, j] = J[j, i] = weight / temperature
        linked[i, j] = linked[j, i] = True
    messages = np.zeros((n, n))  # from row to column
    for _ in range(num_iters):
        h = (u + messages.sum(axis=0))[:, None] - messages.T
        new = np.where(linked, np.logaddexp(0, h + J) - np.logaddexp(0, h), 0)
        messages = damping * messages + (1 - damping) * new
    Y = np.array(list(itertools.product((0, 1), repeat=n)))
    weights = np.exp(Y @ u + np.einsum("mi,ij,mj->m", Y, np.triu(J), Y))
    return {
        "bp_marginals": 1 / (1 + np.exp(-(u + messages.sum(axis=0)))),
        "exact_marginals": weights @ Y / weights.sum(),
    }


@pytest.mark.parametrize("seed", range(12))
def test_given_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, int(rng.integers(1, 5)))  # unequal bags
    counts, ids = rng.integers(0, sizes + 1), np.repeat(np.arange(len(sizes)), sizes)
    pairs = [pair for pair in itertools.combinations(range(len(ids)), 2) if rng.random() < 0.4]
    sims = rng.uniform(0, 1, len(pairs))
    params = {
        "bag_lambda": float(rng.uniform(0, 0.5)) * (seed % 4 > 0),
        "sim_lambda": float(rng.uniform(0, 0.5)) * (seed % 3 > 0),
        "num_iters": 500,
        "damping": float(rng.uniform(0.2, 0.8)),
        "temperature": float(rng.choice([1.0, 2.0])),
    }
    found = potentials(pairs, sims, ids, counts, params["bag_lambda"], params["sim_lambda"])
    expected = found | marginals(found, 500, params["damping"], params["temperature"])
    order = rng.permutation(len(pairs))
    given = {"pairs": [pairs[place] for place in order], "similarities": sims[order]}
    check(given | {"bag_sizes": sizes, "bag_counts": counts}, params, expected)


@pytest.mark.parametrize("seed", range(12))
def test_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k, limit = int(rng.integers(2, 10)), int(rng.integers(1, 4)), float(rng.choice([0.4, 2.5]))
    X, ids = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    counts = rng.integers(0, np.bincount(ids, minlength=3) + 1)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    gaps = 1 - unit @ unit.T if seed % 2 else np.linalg.norm(X[:, None] - X, axis=2)
    np.fill_diagonal(gaps, np.inf)
    near = {
        (min(i, int(j)), max(i, int(j)))
        for i in range(n)
        for j in np.argsort(gaps[i])[: min(k, n - 1)]
        if gaps[i, j] < limit
    }
    pairs = sorted(near)
    sims = np.array([np.exp(-np.linalg.norm(X[i] - X[j])) for i, j in pairs])
    threshold = float(rng.uniform(0.3, 0.7))
    params = {
        "n_neighbors": k,
        "metric": "cosine" if seed % 2 else "euclidean",
        "kernel": "matern_half: exp(-euclidean distance)",
        "neighbor_distance_threshold": limit,
        "bag_size": 4,
        "bag_lambda": 0.3,
        "sim_lambda": 0.4,
        "num_iters": 400,
        "damping": 0.5,
        "threshold": threshold,
    }
    found = potentials(pairs, sims, ids, counts, 0.3, 0.4)
    beliefs = marginals(found, 400, 0.5, 1.0)
    hard = (beliefs["bp_marginals"] >= threshold).astype(int)
    given = {"features": X, "bag_ids": ids, "bag_counts": counts}
    pairs_found = {"neighbor_pairs": pairs, "similarities": sims} if pairs else {}
    check(given, params, found | beliefs | {"hard_pseudo_labels": hard} | pairs_found)


@pytest.mark.parametrize("seed", range(5))
def test_loss(seed: int) -> None:
    rng = np.random.default_rng(seed)
    B, N, weight = int(rng.integers(1, 5)), int(rng.integers(1, 6)), float(rng.uniform(0, 2))
    p, y = rng.uniform(0.01, 0.99, (B, N)), rng.integers(0, 2, (B, N))
    r, c = rng.uniform(0.01, 0.99, B), rng.uniform(0, 1, B)
    instance = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    bag = -(c * np.log(r) + (1 - c) * np.log(1 - r)).mean()
    inputs = {"instance_probs": p, "pseudo_labels": y, "bag_probs": r, "bag_proportions": c}
    check(
        inputs, {"loss_lambda": weight}, {"instance_loss": instance, "bag_loss": bag, "loss": instance + weight * bag}
    )


@pytest.mark.parametrize(
    "case",
    [
        {"inputs": {"pairs": []}, "params": {}, "expected": {}},
        {"inputs": {key: [] for key in llp_bp.GIVEN_PAIRS}, "params": {"bag_lambda": 1}, "expected": {}},
        {"inputs": {key: [] for key in llp_bp.GIVEN_PAIRS}, "params": {"decay": 1}, "expected": {}},
        {"inputs": {key: [] for key in llp_bp.FEATURES}, "params": {"kernel": "rbf"}, "expected": {}},
        {"inputs": {key: [[0.5]] for key in llp_bp.LOSS}, "params": {}, "expected": {"auc": 1}},
    ],
)
def test_what_is_unknown_fails(case: dict[str, Any]) -> None:
    with pytest.raises(UnknownCase):
        llp_bp.run(case, None)
