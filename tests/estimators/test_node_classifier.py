"""NodeClassifier: what it takes, what it refuses, what it gives."""

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone

from labelwise import NodeClassifier
from labelwise.errors import InputError
from labelwise.numerics.graphs import graph_from_edges


def planted(seed: int = 0, size: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 4), classes (n,) and edges (m, 2) of three groups, most edges within a group."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), size)
    X = rng.normal(size=(3 * size, 4)) + 1.5 * np.eye(4)[truth]
    pairs = np.argwhere(np.triu(np.ones((3 * size, 3 * size)), 1))
    alike = truth[pairs[:, 0]] == truth[pairs[:, 1]]
    return X, truth, pairs[rng.random(len(pairs)) < np.where(alike, 4 / size, 0.4 / size)]


X, TRUTH, EDGES = planted()
GRAPH = graph_from_edges(EDGES, len(X)).matrix()
Y = np.where(np.arange(len(X)) % 3 == 0, TRUTH, -1)


def tiny(recipe: str = "auto", **options: Any) -> NodeClassifier:
    fixed: dict[str, Any] = {"network": "gcn-8", "epochs": 3, "accelerator": "cpu", "learning_rate": 0.02}
    if recipe in ("auto", "erase"):
        fixed["recipe_options"] = {"embedding_size": 8}
    return NodeClassifier(recipe, **(fixed | options))


@pytest.mark.parametrize("recipe", ["erase", "node-cross-entropy"])
def test_learns_from_some_labels_of_which_some_are_wrong(recipe: str) -> None:
    noisy = Y.copy()
    noisy[::9] = (noisy[::9] + 1) % 3  # a third of them
    model = tiny(recipe, epochs=40, network="gat-2x8").fit(X, noisy, graph=GRAPH)
    assert (model.predict() == TRUTH).mean() > 0.8
    probs = model.predict_proba()
    assert probs.shape == (len(X), 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X, GRAPH), model.predict())
    assert model.score(X, TRUTH, GRAPH) == pytest.approx((model.predict() == TRUTH).mean())
    if recipe == "erase":
        found = model.corrections_
        assert found is not None
        assert found.targets.shape == (len(X), 3)
        right = found.targets.argmax(axis=1) == TRUTH
        assert right[model.train_rows_].mean() > (noisy == TRUTH)[model.train_rows_].mean() + 0.1


def test_graphs_of_every_form_are_one() -> None:
    forms: list[Any] = [
        GRAPH,
        GRAPH.toarray(),
        EDGES,
        EDGES[:, ::-1].tolist(),
        nx.from_scipy_sparse_array(GRAPH),
        scipy.sparse.coo_matrix(GRAPH),
    ]
    found = [tiny().fit(X, Y, graph=form).predict_logits() for form in forms]
    for logits in found[1:]:
        np.testing.assert_allclose(logits, found[0], atol=1e-4)


def test_sparse_features_are_taken_by_rows() -> None:
    counts = np.maximum(np.round(X), 0)
    words = scipy.sparse.csr_array(counts)
    model = tiny("node-cross-entropy").fit(words, Y, graph=GRAPH)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    by_hand = tiny("node-cross-entropy", standardize=False).fit(scipy.sparse.csr_array(shares), Y, graph=GRAPH)
    np.testing.assert_allclose(model.predict_logits(), by_hand.predict_logits(), atol=1e-4)
    with pytest.raises(InputError, match="not sparse, but the model was trained on 4 and sparse"):
        model.predict(counts, GRAPH)


def test_columns_are_standardised() -> None:
    moved = X * [1, 100, 0.01, 5] + [0, 7, 0, -3]
    first, second = (tiny("node-cross-entropy").fit(each, Y, graph=GRAPH) for each in (X, moved))
    np.testing.assert_allclose(first.predict_logits(), second.predict_logits(), atol=1e-3)


def test_a_model_predicts_for_another_graph() -> None:
    model = tiny(epochs=40).fit(X, TRUTH, graph=GRAPH)
    others, truth, edges = planted(seed=1, size=50)
    assert model.score(others, truth, edges) > 0.8
    assert model.score(others, np.full(len(others), -1), edges) == 0
    alone = model.predict(others[:1], scipy.sparse.csr_array((1, 1)))
    assert alone.shape == (1,)


def test_labels_to_measure_on_do_not_train() -> None:
    y_val = np.where(np.arange(len(X)) % 3 == 1, TRUTH, -1)
    y_val[0] = TRUTH[0]
    model = tiny(epochs=8, early_stopping=8).fit(X, Y, graph=GRAPH, y_val=y_val)
    assert 0 not in model.train_rows_
    assert set(model.train_rows_) == set(np.flatnonzero((Y >= 0) & (y_val < 0)))
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores))
    assert model.score(X, y_val, GRAPH) == pytest.approx(max(scores))


def test_a_share_of_the_labels_is_held_out() -> None:
    model = tiny(validation_fraction=0.2).fit(X, Y, graph=GRAPH)
    assert len(model.train_rows_) == 24
    assert len(model.history_) == 3
    assert "validation_score" in model.history_[0]


def test_classes_of_any_kind(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cat", "dog"])
    model = tiny().fit(X, names[TRUTH], graph=GRAPH, classes=names)
    assert set(model.predict()) <= set(names[:3])
    assert model.predict_proba()[:, 3].max() < 1e-12
    model.save(tmp_path)
    again = NodeClassifier.load(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(X, EDGES), model.predict_proba())
    with pytest.raises(InputError, match="read from a file holds no nodes"):
        again.predict()


def test_killed_and_resumed_gives_the_same(tmp_path: Path) -> None:
    whole = tiny(epochs=6).fit(X, Y, graph=GRAPH)

    class StopError(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise StopError

    with pytest.raises(StopError):
        tiny(epochs=6, checkpoint_folder=tmp_path, checkpoint_seconds=0).fit(X, Y, graph=GRAPH, on_epoch=stop)
    again = tiny(epochs=6, checkpoint_folder=tmp_path, checkpoint_seconds=0, resume=True).fit(X, Y, graph=GRAPH)
    np.testing.assert_array_equal(again.predict_logits(), whole.predict_logits())
    assert len(again.history_) == 6


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_other_precisions(precision: str) -> None:
    options: dict[str, Any] = {"network": "gat-2x4", "epochs": 40, "precision": precision}
    model = tiny(**options).fit(scipy.sparse.csr_array(np.maximum(X, 0)), TRUTH, graph=GRAPH)
    assert (model.predict() == TRUTH).mean() > 0.8


def test_clones_are_unfitted_and_alike() -> None:
    model = tiny(weight_decay=0.1).fit(X, Y, graph=GRAPH)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "recipe_")
    np.testing.assert_array_equal(twin.fit(X, Y, graph=GRAPH).predict_logits(), model.predict_logits())


def test_memory_does_not_grow_with_the_square() -> None:
    count = 200_000  # its square, in bytes alone, is 40 GB
    ring = np.column_stack([np.arange(count), np.roll(np.arange(count), 1)])
    features = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    labels = np.where(np.arange(count) % 1000 == 0, features[:, 0] > 0, -1).astype(int)
    model = tiny(network="gat-1x2", epochs=1, recipe_options={"embedding_size": 2}).fit(features, labels, graph=ring)
    assert model.predict().shape == (count,)


def spoilt(value: float) -> np.ndarray:
    table = X.copy()
    table[5, 2] = value
    return table


ASYMMETRIC = scipy.sparse.csr_array(np.triu(GRAPH.toarray()))


@pytest.mark.parametrize(
    ("table", "labels", "graph", "options", "message"),
    [
        (X, Y, None, {}, "graph is missing"),
        (X, None, GRAPH, {}, "requires y"),
        (X, Y[:-1], GRAPH, {}, "90 examples but there are 89 labels"),
        (X[:-1], Y[:-1], GRAPH, {}, "graph has 90 nodes but X has 89 rows"),
        (X, Y, ASYMMETRIC, {}, "different weights from node"),
        (X, Y, -GRAPH, {}, "weights of 0 or more"),
        (X, Y, GRAPH * np.nan, {}, "finite weights"),
        (X, Y, GRAPH[:5], {}, "square"),
        (X, Y, np.array([[0, 1], [1, 2], [2, 90]]), {}, "row 2 is .2, 90."),
        (X, Y, np.array([[0, 1], [1, 0], [2, 3]]), {}, "rows 0 and 1 both join"),
        (X, Y, EDGES.astype(float), {}, "pairs of integers"),
        (X, Y, nx.DiGraph([(0, 1)]), {}, "is directed"),
        (X, Y, "graph", {}, "adjacency matrix"),
        (spoilt(np.nan), Y, GRAPH, {}, "X row 5, column 2 holds nan"),
        (spoilt(np.inf), Y, GRAPH, {}, "X row 5, column 2 holds inf"),
        (scipy.sparse.csr_array(spoilt(np.inf)), Y, GRAPH, {}, "X row 5, column 2 holds inf"),
        (scipy.sparse.csr_array(spoilt(1e300)), Y, GRAPH, {}, "too large"),
        (X[:, :0], Y, GRAPH, {}, "0 feature"),
        (X[:0], Y[:0], GRAPH, {}, "0 sample"),
        (X, np.full(len(X), -1), GRAPH, {}, "only one class"),
        (X, np.zeros(len(X), dtype=int), GRAPH, {}, "only one class"),
        (X, np.where(Y < 0, np.nan, Y), GRAPH, {}, "give -1 where the label is unknown"),
        (X, Y, GRAPH, {"y_val": Y}, "no node is labelled"),
        (X, Y, GRAPH, {"y_val": Y[:4]}, "90 examples but there are 4 labels"),
        (X, Y, GRAPH, {"y_val": Y + 5}, "none of the classes"),
        (X, Y, GRAPH, {"classes": [0, 1]}, "none of the classes"),
    ],
)
def test_bad_input(table: Any, labels: Any, graph: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny().fit(table, labels, graph=graph, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet18"}, "none for the nodes"),
        ({"recipe": "elr"}, "no recipe 'elr' for nodes"),
        ({"recipe_options": {"alpha": 2}}, "alpha is 2"),
        ({"recipe_options": {"lambda_": 2}}, "recipe_options"),
        ({"early_stopping": 3}, "early_stopping needs"),
        ({"epochs": 0}, "epochs is 0"),
        ({"random_state": "x"}, "random_state"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**options).fit(X, Y, graph=GRAPH)


def test_other_features_are_refused_in_prediction() -> None:
    model = tiny().fit(X, Y, graph=GRAPH)
    with pytest.raises(InputError, match="features"):
        model.predict(X[:, :3], GRAPH)
    with pytest.raises(InputError, match="graph is missing"):
        model.predict(X)
    with pytest.raises(InputError, match="holds a graph already"):
        model.predict(model.nodes_, GRAPH)
