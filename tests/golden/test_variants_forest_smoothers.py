"""Random cases with the fields of 30-forest-smoothers.json, against the spec written out in dense NumPy."""

from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, forest_smoothers
from comparison import mismatches

SEEDS = range(6)


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any]) -> None:
    listed = {name: None if value is None else np.asarray(value).tolist() for name, value in inputs.items()}
    computed = forest_smoothers.run({"inputs": listed, "params": params, "expected": expected}, None)
    assert mismatches({name: np.asarray(value).tolist() for name, value in expected.items()}, computed, 1e-9) == []


def tree_rows(train: np.ndarray, query: np.ndarray, counts: np.ndarray) -> np.ndarray:
    together = (query[:, None] == train[None, :]) * counts
    return together / together.sum(axis=1, keepdims=True)


def parameters(S: np.ndarray) -> float:
    return S.shape[1] / S.shape[0] * (S**2).sum()


def random_leaves(rng: np.random.Generator, num_trees: int, n: int, m: int, counts: np.ndarray | None) -> Any:
    """Leaf ids, far apart and negative too, such that every leaf of a query holds a drawn training row."""
    ids = rng.permutation(np.arange(-3, 40) * int(rng.choice([1, 7, 10**12])))[: rng.integers(2, 8)]
    train = rng.choice(ids, (num_trees, n))
    drawn = [np.ones(n, dtype=bool) if counts is None else counts[b] > 0 for b in range(num_trees)]
    # A training row that was not drawn sits with one that was.
    for b in range(num_trees):
        alone = ~np.isin(train[b], train[b][drawn[b]])
        train[b][alone] = train[b][drawn[b]][0]
    return train, np.stack([rng.choice(train[b][drawn[b]], m) for b in range(num_trees)])


@pytest.mark.parametrize("is_bootstrap", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_forest(seed: int, is_bootstrap: bool) -> None:
    rng = np.random.default_rng(seed)
    num_trees, n, m = (int(each) for each in rng.integers(1, 12, 3))
    counts = rng.multinomial(n, np.full(n, 1 / n), num_trees) if is_bootstrap else None
    train, query = random_leaves(rng, num_trees, n, m, counts)
    y = rng.normal(size=n)
    weights = np.ones((num_trees, n)) if counts is None else counts

    on_train = np.stack([tree_rows(train[b], train[b], weights[b]) for b in range(num_trees)])
    on_test = np.stack([tree_rows(train[b], query[b], weights[b]) for b in range(num_trees)])
    grown = [
        [parameters(on_train[: k + 1].mean(axis=0)), parameters(on_test[: k + 1].mean(axis=0))]
        for k in range(num_trees)
    ]
    expected = {
        "S_train": on_train.mean(axis=0),
        "S_test": on_test.mean(axis=0),
        "pred_test": on_test.mean(axis=0) @ y,
        "effective_params_train_test_after_each_tree": grown,
        "trace_train": float(np.trace(on_train.mean(axis=0))),
    }
    check({"leaf_ids_train": train, "leaf_ids_test": query, "bootstrap_counts": counts, "y_train": y}, {}, expected)


@pytest.mark.parametrize("init", ["zero", "mean"])
@pytest.mark.parametrize("seed", SEEDS)
def test_boosting(seed: int, init: str) -> None:
    rng = np.random.default_rng(seed)
    rounds, n, m = (int(each) for each in rng.integers(1, 12, 3))
    rate = float(rng.choice([0.05, 0.5, 1.0]))
    train, query = random_leaves(rng, rounds, n, m, None)
    y = rng.normal(size=n)

    start = 1 / n if init == "mean" else 0.0
    S_train, S_test, grown = np.full((n, n), start), np.full((m, n), start), []
    for k in range(rounds):
        T_train = tree_rows(train[k], train[k], np.ones(n))
        T_test = tree_rows(train[k], query[k], np.ones(n))
        for leaf in np.unique(train[k]):
            correction = S_train[train[k] == leaf].mean(axis=0)
            T_train[train[k] == leaf] -= correction
            T_test[query[k] == leaf] -= correction
        S_train, S_test = S_train + rate * T_train, S_test + rate * T_test
        grown.append([parameters(S_train), parameters(S_test)])
    expected = {
        "S_train": S_train,
        "S_test": S_test,
        "pred_test": S_test @ y,
        "effective_params_train_test_after_each_tree": grown,
        "trace_train": float(np.trace(S_train)),
    }
    inputs = {"leaf_ids_train": train, "leaf_ids_test": query, "y_train": y}
    check(inputs, {"learning_rate": rate, "init": init}, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_decomposition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, refits = (int(each) for each in rng.integers(1, 9, 2))
    predictions, true = rng.normal(size=(m, refits)), rng.normal(size=m)
    errors = [float(np.mean((predictions[:, r] - true) ** 2)) for r in range(refits)]
    best = errors.index(min(errors))
    expected = {
        "avg_mse": np.mean(errors),
        "best_index": best,
        "rep_bias": errors[best],
        "mod_var": np.mean([np.mean((predictions[:, r] - predictions[:, best]) ** 2) for r in range(refits)]),
        "avg_excess": np.mean(errors) - errors[best],
    }
    check({"predictions": predictions, "y_true": true}, {}, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_degrees_of_freedom(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, redraws = int(rng.integers(1, 9)), int(rng.integers(2, 9))
    y, predicted = rng.normal(size=(n, redraws)), rng.normal(size=(n, redraws))
    expected = {
        "dof_sum_cov": sum(float(np.cov(y[i], predicted[i])[0, 1]) for i in range(n)),
        "avg_pred_variance": float(np.mean([np.var(predicted[i]) for i in range(n)])),
    }
    check({"y_draws": y, "pred_draws": predicted}, {}, expected)


@pytest.mark.parametrize(
    ("inputs", "params", "expected"),
    [
        ({"leaf_ids_train": [[0]], "leaf_ids_test": [[0]], "y_train": [1.0]}, {}, {"S_train": [[1.0]]}),
        ({"predictions": [[0.0]], "y_true": [0.0]}, {"sigma2": 1.0}, {"avg_mse": 0.0}),
        ({"predictions": [[0.0]], "y_true": [0.0], "weights": [1.0]}, {}, {"avg_mse": 0.0}),
        ({"predictions": [[0.0]], "y_true": [0.0]}, {}, {"median_mse": 0.0}),
    ],
)
def test_what_is_not_known_is_refused(inputs: Any, params: Any, expected: Any) -> None:
    with pytest.raises(UnknownCase):
        forest_smoothers.run({"inputs": inputs, "params": params, "expected": expected}, None)
