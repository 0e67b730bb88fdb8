import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_array
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from labelwise.certainty import smoother_matrices
from labelwise.certainty.forest_smoothers import (
    average_prediction_variance,
    boosting_smoother,
    covariance_dof,
    effective_parameters,
    effective_parameters_by_tree,
    estimated_effective_parameters,
    forest_smoother,
    forest_smoother_from_leaves,
    label_influence,
    local_effective_parameters,
    mars_additive,
    mars_additive_mean,
    model_decomposition,
    self_weights,
    trace_parameters,
    tree_smoother,
    wrong_label_weights,
)
from labelwise.certainty.smoother_report import SmootherReport, plot_track
from labelwise.errors import InputError

N, M = 120, 60
RNG = np.random.default_rng(0)
X, Y = mars_additive(N, 6, 1.0, RNG)
X_NEW, _ = mars_additive(M, 6, 1.0, RNG)
CLASSES = np.digitize(Y, np.quantile(Y, [0.5, 0.8]))
WEIGHTS = RNG.uniform(0.1, 3.0, N)

REGRESSORS = {
    "tree": DecisionTreeRegressor(max_leaf_nodes=7),
    "forest": RandomForestRegressor(20, max_features=1 / 3, random_state=0),
    "forest without bootstrap": RandomForestRegressor(20, bootstrap=False, max_features=0.4, random_state=0),
    "forest of half samples": RandomForestRegressor(20, max_samples=0.5, min_samples_leaf=4, random_state=0),
    "extra trees": ExtraTreesRegressor(20, random_state=0),
    "extra trees with bootstrap": ExtraTreesRegressor(20, bootstrap=True, random_state=0),
    "bagging": BaggingRegressor(DecisionTreeRegressor(max_leaf_nodes=9), 12, max_features=0.6, random_state=0),
    "pasting": BaggingRegressor(n_estimators=12, bootstrap=False, max_samples=0.5, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=30, random_state=0),
    "boosting from zero": GradientBoostingRegressor(n_estimators=30, init="zero", learning_rate=0.5, random_state=0),
    "histogram boosting": HistGradientBoostingRegressor(max_iter=30),
}
CLASSIFIERS = {
    "tree": DecisionTreeClassifier(max_depth=3),
    "forest": RandomForestClassifier(20, random_state=0),
    "forest, balanced draws": RandomForestClassifier(20, class_weight="balanced", random_state=0),
    "extra trees": ExtraTreesClassifier(20, max_depth=4, random_state=0),
    "bagging": BaggingClassifier(random_state=0),
}


def full_tree(**options: Any) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(random_state=0, **options)


@pytest.mark.parametrize("name", REGRESSORS)
def test_weighted_labels_are_the_models_predictions(name: str) -> None:
    model = REGRESSORS[name].fit(X, Y)
    for inputs in (X, X_NEW):
        smoother = forest_smoother(model, X, inputs)
        # Histogram boosting sums float32 gradients.
        np.testing.assert_allclose(smoother @ Y, model.predict(inputs), atol=1e-6 if "histogram" in name else 1e-12)
        np.testing.assert_allclose(smoother.toarray() @ Y, smoother @ Y, atol=1e-12)
        assert smoother.shape == (len(inputs), N)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weighted_labels_are_the_models_probabilities(name: str) -> None:
    model = CLASSIFIERS[name].fit(X, CLASSES)
    smoother = forest_smoother(model, X, X_NEW)
    np.testing.assert_allclose(smoother @ np.eye(3)[CLASSES], model.predict_proba(X_NEW), atol=1e-12)


def test_predictions_while_growing() -> None:
    forest = REGRESSORS["forest"].fit(X, Y)
    by_tree = np.cumsum([tree.predict(X_NEW) for tree in forest.estimators_], axis=0)
    staged = forest_smoother(forest, X, X_NEW).staged_predict(Y)
    np.testing.assert_allclose(list(staged), by_tree / np.arange(1, 21)[:, None], atol=1e-12)

    boosting = REGRESSORS["boosting"].fit(X, Y)
    staged = forest_smoother(boosting, X, X_NEW).staged_predict(Y)
    np.testing.assert_allclose(list(staged), list(boosting.staged_predict(X_NEW)), atol=1e-12)


@pytest.mark.parametrize("name", REGRESSORS)
def test_measures_agree_with_the_dense_matrix(name: str) -> None:
    model = REGRESSORS[name].fit(X, Y)
    on_train, on_new = forest_smoother(model, X, X), forest_smoother(model, X, X_NEW)
    dense = on_new.toarray()
    np.testing.assert_allclose(local_effective_parameters(on_new), N * (dense**2).sum(axis=1))
    assert effective_parameters(on_new) == pytest.approx(N * (dense**2).sum() / M)
    assert effective_parameters(on_new) == pytest.approx(effective_parameters(dense))
    assert effective_parameters(on_new) == pytest.approx(effective_parameters(coo_array(dense)))
    assert effective_parameters_by_tree(on_new)[-1] == pytest.approx(effective_parameters(dense))
    assert trace_parameters(on_train) == pytest.approx(np.trace(on_train.toarray()))
    np.testing.assert_allclose(label_influence(on_new), dense.mean(axis=0), atol=1e-14)


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_many_blocks_give_what_one_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = REGRESSORS[name].fit(X, Y)
    smoother = forest_smoother(model, X, X)
    wanted = smoother.toarray(), effective_parameters_by_tree(smoother), self_weights(smoother)
    monkeypatch.setattr(smoother_matrices, "BLOCK_WEIGHTS", 700)
    assert len(list(smoother.blocks())) > 3
    found = smoother.toarray(), effective_parameters_by_tree(smoother), self_weights(smoother)
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in REGRESSORS if "boosting" not in name])
def test_forests_average(name: str) -> None:
    model = REGRESSORS[name].fit(X, Y)
    smoother = forest_smoother(model, X, X_NEW)
    dense = smoother.toarray()
    assert smoother.is_average
    assert dense.min() >= 0
    np.testing.assert_allclose(dense.sum(axis=1), 1)
    assert 1 <= effective_parameters(smoother) <= N


def test_the_parameters_of_a_mean_are_at_most_the_mean_of_the_parameters() -> None:
    model = ExtraTreesRegressor(10, max_leaf_nodes=12, random_state=0).fit(X, Y)
    trees = [effective_parameters(forest_smoother(tree, X, X_NEW)) for tree in model.estimators_]
    assert effective_parameters(forest_smoother(model, X, X_NEW)) < np.mean(trees)


def test_an_interpolating_tree_copies_one_label() -> None:
    tree = full_tree().fit(X, Y)
    on_train, on_new = forest_smoother(tree, X, X), forest_smoother(tree, X, X_NEW)
    np.testing.assert_array_equal(on_train.toarray(), np.eye(N))
    assert set(np.unique(on_new.toarray())) == {0.0, 1.0}
    assert effective_parameters(on_train) == effective_parameters(on_new) == trace_parameters(on_train) == N


def test_a_single_leaf_is_the_mean() -> None:
    for smoother in (
        tree_smoother(np.zeros(8), np.zeros(3)),
        forest_smoother(full_tree(max_depth=1, min_samples_leaf=60).fit(X, np.ones(N)), X, X_NEW),
    ):
        n = smoother.shape[1]
        np.testing.assert_allclose(smoother.toarray(), np.full(smoother.shape, 1 / n))
        assert effective_parameters(smoother) == pytest.approx(1)
    assert effective_parameters(tree_smoother(np.zeros(8), np.zeros(3)), n_train=4) == pytest.approx(0.5)


def test_one_training_row() -> None:
    smoother = tree_smoother([5], [5, 5])
    np.testing.assert_array_equal(smoother.toarray(), [[1.0], [1.0]])
    assert effective_parameters(smoother) == 1


def test_leaves_without_training_rows_have_no_say() -> None:
    train, query = [[0, 0, 1], [2, 2, 2]], [[0, 1, 7], [2, 9, 9]]
    counts = [[1, 1, 0], [0, 1, 3]]  # so leaf 1 of the first tree is empty
    smoother = forest_smoother_from_leaves(train, query, counts)
    wanted = np.array([[0.25, 0.375, 0.375], [0, 0, 0], [0, 0, 0]])  # only the first query is known to any tree
    np.testing.assert_allclose(smoother.toarray(), wanted)
    np.testing.assert_allclose(smoother @ [4.0, 8.0, 8.0], wanted @ [4.0, 8.0, 8.0])
    np.testing.assert_allclose(local_effective_parameters(smoother), 3 * (wanted**2).sum(axis=1))
    np.testing.assert_allclose(effective_parameters_by_tree(smoother), [0.5, (wanted**2).sum()])
    np.testing.assert_allclose(label_influence(smoother), wanted.mean(axis=0))

    one_knows = forest_smoother_from_leaves([[0, 1], [0, 1]], [[0], [5]])
    np.testing.assert_allclose(one_knows.toarray(), [[1.0, 0.0]])  # the tree that knows decides


def test_boosting_that_interpolates_in_its_first_round_stays() -> None:
    rng = np.random.default_rng(1)
    train = [np.arange(N), *rng.integers(0, 5, (4, N))]
    query = [rng.integers(0, N, M), *rng.integers(0, 5, (4, M))]
    on_train, on_query = boosting_smoother(train, query, learning_rate=1.0)
    np.testing.assert_allclose(on_train.toarray(), np.eye(N), atol=1e-12)
    np.testing.assert_allclose(on_query @ Y, Y[query[0]], atol=1e-12)


def test_one_round_of_boosting_is_a_share_of_the_tree() -> None:
    rng = np.random.default_rng(1)
    train, query = rng.integers(0, 9, N), rng.integers(0, 9, M)
    _, smoother = boosting_smoother([train], [query], learning_rate=0.3)
    np.testing.assert_allclose(smoother.toarray(), 0.3 * tree_smoother(train, query).toarray())
    assert not smoother.is_average


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_outcome_noise_is_inflated_as_the_parameters_say(name: str) -> None:
    smoother = forest_smoother(REGRESSORS[name].fit(X, Y), X, X_NEW)
    noise = 2.0 * np.random.default_rng(0).normal(size=(N, 5000))
    variance = (smoother @ noise).var(axis=1).mean()
    assert variance == pytest.approx(4.0 * effective_parameters(smoother) / N, rel=0.05)


def test_covariance_dof_of_fixed_weights_is_the_trace() -> None:
    smoother = forest_smoother(REGRESSORS["forest"].fit(X, Y), X, X)
    draws = Y[:, None] + 2.0 * np.random.default_rng(0).normal(size=(N, 5000))
    found = covariance_dof(draws, smoother @ draws, sigma2=4.0)
    assert found == pytest.approx(trace_parameters(smoother), rel=0.05)
    assert average_prediction_variance(smoother @ draws) == pytest.approx(
        4.0 * effective_parameters(smoother) / N, rel=0.05
    )


@pytest.mark.parametrize("name", ["forest", "boosting", "tree"])
def test_estimates_cover_the_exact_parameters(name: str) -> None:
    smoother = forest_smoother(REGRESSORS[name].fit(X, Y), X, X_NEW)
    exact = effective_parameters(smoother)
    misses = []
    for seed in range(200):
        value, error = estimated_effective_parameters(smoother, np.random.default_rng(seed), num_probes=30)
        misses.append((value - exact) / error)
    assert abs(np.mean(misses)) < 0.3  # unbiased up to the chance of 200 draws
    assert np.mean(np.abs(misses) < 2.05) > 0.9  # t interval of 30 draws: 95%


def test_memory_grows_with_rows_not_with_their_square() -> None:
    rng = np.random.default_rng(0)
    n, num_trees = 20_000, 10
    leaves = [rng.permutation(n) // 2 for _ in range(num_trees)]  # leaves of 2
    tracemalloc.start()
    smoother = forest_smoother_from_leaves(leaves, leaves)
    parameters = effective_parameters(smoother)
    influence = label_influence(smoother)
    boosted, _ = boosting_smoother(leaves, leaves, 0.1)
    estimated_effective_parameters(boosted, rng, num_probes=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n * 8 / 60
    np.testing.assert_allclose(influence, 1 / n)  # every label is in one leaf of two a tree
    # A row holds its own label B times and B others once or, seldom, twice: ||s||^2 is near (B^2 + B) / (2B)^2.
    assert parameters == pytest.approx(n * (num_trees + 1) / (4 * num_trees), rel=0.01)


def test_sample_weights() -> None:
    tree = full_tree(max_leaf_nodes=6).fit(X, Y, sample_weight=WEIGHTS)
    boosting = GradientBoostingRegressor(n_estimators=20).fit(X, Y, sample_weight=WEIGHTS)
    histogram = HistGradientBoostingRegressor(max_iter=20).fit(X, Y, sample_weight=WEIGHTS)
    forest = RandomForestRegressor(20, random_state=0).fit(X, Y, sample_weight=WEIGHTS)
    for model in (tree, boosting, histogram, forest):
        smoother = forest_smoother(model, X, X_NEW, sample_weight=WEIGHTS)
        np.testing.assert_allclose(smoother @ Y, model.predict(X_NEW), atol=1e-6)
    for model in (tree, boosting):
        with pytest.raises(InputError, match="sample_weight"):
            forest_smoother(model, X, X_NEW)


def test_class_weights_are_the_rows_weights() -> None:
    model = ExtraTreesClassifier(10, max_depth=3, class_weight={0: 1.0, 1: 5.0, 2: 2.0}, random_state=0)
    model.fit(X, CLASSES)
    with pytest.raises(InputError, match="class_weight"):
        forest_smoother(model, X, X_NEW)
    smoother = forest_smoother(model, X, X_NEW, sample_weight=np.array([1.0, 5.0, 2.0])[CLASSES])
    np.testing.assert_allclose(smoother @ np.eye(3)[CLASSES], model.predict_proba(X_NEW), atol=1e-12)


def test_histogram_boosting_with_missing_values_and_categories() -> None:
    rng = np.random.default_rng(0)
    inputs = X.copy()
    inputs[rng.random(inputs.shape) < 0.2] = np.nan
    inputs[:, 5] = rng.integers(0, 6, N)
    model = HistGradientBoostingRegressor(max_iter=20, categorical_features=[5]).fit(inputs, Y + inputs[:, 5] % 2)
    assert any(tree.nodes["is_categorical"].any() for (tree,) in model._predictors)
    smoother = forest_smoother(model, inputs, inputs[:50])
    np.testing.assert_allclose(smoother @ (Y + inputs[:, 5] % 2), model.predict(inputs[:50]), atol=1e-6)


class ApplyOnly:
    """A model of trees that is no scikit-learn estimator."""

    def __init__(self, one_tree: bool) -> None:
        self.one_tree = one_tree

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        leaves = np.stack([inputs[:, 0] > 0.5, inputs[:, 1] > 0.3], axis=1).astype(int)
        return leaves[:, 0] if self.one_tree else leaves


@pytest.mark.parametrize("one_tree", [False, True])
def test_any_model_with_apply(one_tree: bool) -> None:
    smoother = forest_smoother(ApplyOnly(one_tree), X, X_NEW)
    means = [
        [Y[(X[:, column] > cut) == (row[column] > cut)].mean() for row in X_NEW] for column, cut in ((0, 0.5), (1, 0.3))
    ]
    np.testing.assert_allclose(smoother @ Y, means[0] if one_tree else np.mean(means, axis=0))


def test_leaves_may_come_from_generators() -> None:
    model = REGRESSORS["forest without bootstrap"].fit(X, Y)
    smoother = forest_smoother_from_leaves(
        (tree.apply(X) for tree in model.estimators_), (tree.apply(X_NEW) for tree in model.estimators_)
    )
    np.testing.assert_allclose(smoother @ Y, model.predict(X_NEW), atol=1e-12)


def test_wrong_labels() -> None:
    model = REGRESSORS["forest"].fit(X, Y)
    smoother = forest_smoother(model, X, X_NEW)
    is_wrong = np.random.default_rng(0).random(N) < 0.3
    dense = smoother.toarray()
    np.testing.assert_allclose(wrong_label_weights(smoother, is_wrong), dense[:, is_wrong].sum(axis=1))
    assert not wrong_label_weights(smoother, np.zeros(N, dtype=bool)).any()
    np.testing.assert_allclose(wrong_label_weights(smoother, np.ones(N, dtype=bool)), 1)


def test_decomposition() -> None:
    one = model_decomposition([[1.0], [3.0]], [0.0, 0.0])
    assert one == {"avg_mse": 5.0, "rep_bias": 5.0, "mod_var": 0.0, "avg_excess": 0.0, "best_index": 0}
    tie = model_decomposition([[1.0, -1.0]], [0.0])
    assert (tie["best_index"], tie["mod_var"]) == (0, 2.0)
    rng = np.random.default_rng(0)
    found = model_decomposition(rng.normal(size=(9, 5)), rng.normal(size=9))
    assert found["rep_bias"] <= found["avg_mse"]
    assert found["avg_excess"] == pytest.approx(found["avg_mse"] - found["rep_bias"])


def test_mars_data() -> None:
    inputs, y = mars_additive(20_000, 7, 2.0, np.random.default_rng(0))
    assert inputs.shape == (20_000, 7)
    assert inputs.min() >= 0
    assert inputs.max() <= 1
    noise = y - mars_additive_mean(inputs)
    assert noise.std() == pytest.approx(2.0, rel=0.03)
    assert abs(noise.mean()) < 0.06
    corner = mars_additive_mean(np.array([[1, 0.5, 1, 1, 1, 9.0]]))
    assert corner[0] == pytest.approx(0.1 * np.e**4 + 2 + 3 + 2 + 1)


FITTED = RandomForestRegressor(5, random_state=0).fit(X, Y)
WHOLE = RandomForestRegressor(5, bootstrap=False, random_state=0).fit(X, Y)
REFUSED: dict[str, tuple[Any, str]] = {
    "not fitted": (lambda: forest_smoother(RandomForestRegressor(), X, X), "call fit first"),
    "no trees": (lambda: forest_smoother(LinearRegression().fit(X, Y), X, X), "no `apply`"),
    "bagged lines": (
        lambda: forest_smoother(BaggingRegressor(LinearRegression()).fit(X, Y), X, X),
        "bag decision trees",
    ),
    "few training rows": (lambda: forest_smoother(FITTED, X[:50], X), "X_train of fit"),
    "other training rows": (lambda: forest_smoother(FITTED, X[::-1], X), "not grown on these rows"),
    "more training rows": (lambda: forest_smoother(WHOLE, np.concatenate([X, X_NEW]), X), "not grown on these rows"),
    "columns": (lambda: forest_smoother(FITTED, X[:, :3], X), "X_train cannot be read"),
    "columns, bagging": (
        lambda: forest_smoother(REGRESSORS["bagging"].fit(X, Y), X, X[:, :3]),
        "X_query has shape",
    ),
    "columns, histogram": (
        lambda: forest_smoother(REGRESSORS["histogram boosting"].fit(X, Y), X, X[:, :3]),
        "X_query cannot be read",
    ),
    "infinite input": (lambda: forest_smoother(FITTED, X, np.full((2, 6), np.inf)), "X_query cannot be read"),
    "no query": (lambda: forest_smoother(FITTED, X, X[:0]), "X_query cannot be read"),
    "medians": (
        lambda: forest_smoother(full_tree(criterion="absolute_error", max_depth=2).fit(X, Y), X, X),
        "medians",
    ),
    "monotonic": (
        lambda: forest_smoother(full_tree(monotonic_cst=[1, 0, 0, 0, 0, 0]).fit(X, Y), X, X),
        "monotonic_cst",
    ),
    "other loss": (
        lambda: forest_smoother(GradientBoostingRegressor(loss="huber", n_estimators=2).fit(X, Y), X, X),
        "not linear",
    ),
    "boosted classes": (
        lambda: forest_smoother(GradientBoostingClassifier(n_estimators=2).fit(X, CLASSES), X, X),
        "not linear",
    ),
    "histogram classes": (
        lambda: forest_smoother(HistGradientBoostingClassifier(max_iter=2).fit(X, CLASSES), X, X),
        "not linear",
    ),
    "shrunken leaves": (
        lambda: forest_smoother(HistGradientBoostingRegressor(max_iter=2, l2_regularization=1.0).fit(X, Y), X, X),
        "l2_regularization",
    ),
    "rows kept back": (
        lambda: forest_smoother(GradientBoostingRegressor(n_iter_no_change=2).fit(X, Y), X, X),
        "rows back",
    ),
    "rows kept back, histogram": (
        lambda: forest_smoother(HistGradientBoostingRegressor(early_stopping=True).fit(X, Y), X, X),
        "early_stopping=False",
    ),
    "other rows, histogram": (
        lambda: forest_smoother(REGRESSORS["histogram boosting"].fit(X, Y), X[:90], X),
        "X_train of fit",
    ),
    "subsampled boosting": (
        lambda: forest_smoother(GradientBoostingRegressor(subsample=0.5, n_estimators=3).fit(X, Y), X, X),
        "rows back",
    ),
    "boosting from a model": (
        lambda: forest_smoother(GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(X, Y), X, X),
        "starts from",
    ),
    "weights of wrong length": (lambda: forest_smoother(WHOLE, X, X, np.ones(3)), "sample_weight has 3"),
    "negative weights": (lambda: forest_smoother(WHOLE, X, X, -np.ones(N)), "no weight"),
    "nan weights": (lambda: forest_smoother(WHOLE, X, X, np.full(N, np.nan)), "no weight"),
    "no tree": (lambda: forest_smoother_from_leaves([], []), "at least one"),
    "trees differ": (lambda: forest_smoother_from_leaves([[0]], [[0], [0]]), "differ in trees"),
    "rows differ": (lambda: forest_smoother_from_leaves([[0], [0, 1]], [[0], [0]]), "same rows"),
    "no training row": (lambda: tree_smoother([], [0]), "at least one"),
    "no query row": (lambda: tree_smoother([0], []), "at least one"),
    "leaf ids in two axes": (lambda: tree_smoother([[0]], [0]), "one leaf id"),
    "fractional leaf": (lambda: tree_smoother([0.5], [0]), "whole numbers"),
    "nan leaf": (lambda: tree_smoother([np.nan], [0]), "whole numbers"),
    "named leaf": (lambda: tree_smoother(["a"], [0]), "whole numbers"),
    "negative count": (lambda: tree_smoother([0, 0], [0], [1, -1]), "row 1 the weight -1"),
    "infinite count": (lambda: tree_smoother([0, 0], [0], [np.inf, 1]), "row 0 the weight inf"),
    "nothing drawn": (lambda: tree_smoother([0, 0], [0], [0, 0]), "no row"),
    "count lengths": (lambda: tree_smoother([0, 0], [0], [1]), "have shape"),
    "boosting start": (lambda: boosting_smoother([[0]], [[0]], 0.1, init="median"), "'zero' or 'mean'"),
    "learning rate": (lambda: boosting_smoother([[0]], [[0]], np.nan), "learning_rate"),
    "outcomes short": (lambda: forest_smoother(FITTED, X, X) @ Y[:5], "120 training rows"),
    "outcomes nan": (lambda: forest_smoother(FITTED, X, X) @ np.where(np.arange(N) == 7, np.nan, Y), "row 7"),
    "outcomes named": (lambda: forest_smoother(FITTED, X, X) @ np.full(N, "a"), "not numbers"),
    "not square": (lambda: trace_parameters(forest_smoother(FITTED, X, X_NEW)), "training rows"),
    "S nan": (lambda: effective_parameters(np.array([[np.nan, 1.0]])), "finite"),
    "S empty": (lambda: effective_parameters(np.zeros((0, 3))), "at least one"),
    "S a vector": (lambda: effective_parameters(np.ones(3)), "2 axes"),
    "one probe": (
        lambda: estimated_effective_parameters(forest_smoother(FITTED, X, X), np.random.default_rng(0), 1),
        "at least 2",
    ),
    "mask of numbers": (lambda: wrong_label_weights(forest_smoother(FITTED, X, X), np.ones(N)), "boolean"),
    "mask too short": (lambda: wrong_label_weights(forest_smoother(FITTED, X, X), [True]), "120 training rows"),
    "decomposition lengths": (lambda: model_decomposition(np.ones((3, 2)), np.ones(2)), "3 rows for 2"),
    "decomposition inf": (lambda: model_decomposition([[np.inf]], [0.0]), "finite"),
    "decomposition empty": (lambda: model_decomposition(np.ones((0, 2)), []), "at least one"),
    "dof of one draw": (lambda: covariance_dof(np.ones((3, 1)), np.ones((3, 1))), "at least 2"),
    "dof shapes": (lambda: covariance_dof(np.ones((3, 2)), np.ones((2, 2))), "same redraws"),
    "dof sigma": (lambda: covariance_dof(np.ones((3, 2)), np.ones((3, 2)), sigma2=0.0), "above 0"),
    "few inputs": (lambda: mars_additive(3, 4, 1.0, np.random.default_rng(0)), "at least 5"),
    "report not fitted": (lambda: SmootherReport(FITTED).measure(X), "call fit"),
    "report unlabelled": (
        lambda: SmootherReport(RandomForestClassifier(2)).fit(X, np.where(np.arange(N) == 3, -1, CLASSES)),
        "row 3 has the label -1",
    ),
    "report lengths": (lambda: SmootherReport(FITTED).fit(X, Y[:9]), "cannot be fitted"),
    "report test lengths": (lambda: SmootherReport(FITTED).fit(X, Y).track(X_NEW, Y), "y_test has shape"),
    "report nan": (lambda: SmootherReport(FITTED).fit(X, Y).track(X_NEW, np.full(M, np.nan)), "row 0 is not finite"),
    "report new class": (
        lambda: SmootherReport(RandomForestClassifier(2)).fit(X, CLASSES).track(X_NEW, np.full(M, 9)),
        "not trained on",
    ),
    "report refits": (
        lambda: SmootherReport(FITTED).fit(X, Y).decompose(X_NEW, np.ones(M), np.random.default_rng(0), 0),
        "at least 1",
    ),
    "nothing to draw": (lambda: plot_track([], "nowhere.png"), "no records"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_the_place_and_the_remedy(name: str) -> None:
    action, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        action()


def test_report_tracks_what_the_dense_matrices_give() -> None:
    forest = RandomForestRegressor(6, bootstrap=False, max_features=1 / 3, random_state=3)
    y_new = mars_additive_mean(X_NEW)
    records = SmootherReport(forest).fit(X, Y).track(X_NEW, y_new, y_true=mars_additive_mean(X))
    model = RandomForestRegressor(6, bootstrap=False, max_features=1 / 3, random_state=3).fit(X, Y)
    for number, record in enumerate(records, start=1):
        trees = model.estimators_[:number]
        predicted = np.mean([tree.predict(X_NEW) for tree in trees], axis=0)
        dense = np.mean([forest_smoother(tree, X, X_NEW).toarray() for tree in trees], axis=0)
        assert record.num_trees == number
        assert record.mse_test == pytest.approx(((predicted - y_new) ** 2).mean())
        assert record.p_test == pytest.approx(N * (dense**2).sum() / M)
        assert record.p_train == pytest.approx(N)
        assert record.mse_train == pytest.approx(0, abs=1e-12)
        assert record.mse_true == pytest.approx(((Y - mars_additive_mean(X)) ** 2).mean())
        assert record.mse_redrawn is record.error_rate_test is None


def test_report_on_classes(tmp_path) -> None:
    names = np.array(["low", "mid", "top"])[CLASSES]
    is_wrong = np.arange(N) % 4 == 0
    report = SmootherReport(RandomForestClassifier(30, random_state=0)).fit(X, names)
    found = report.measure(X_NEW, is_wrong=is_wrong)
    smoother = forest_smoother(report.model_, X, X_NEW)
    weights = smoother.toarray()[:, is_wrong].sum(axis=1)
    own = np.diag(forest_smoother(report.model_, X, X).toarray())
    assert found.largest_gap < 1e-12
    assert found.p_query == pytest.approx(effective_parameters(smoother))
    assert found.trace == pytest.approx(own.sum())
    assert found.wrong_labels is not None
    assert found.wrong_labels.share == 0.25
    assert found.wrong_labels.weight == pytest.approx(weights.mean())
    assert found.wrong_labels.outvoted == pytest.approx((weights > 0.5).mean())
    assert found.wrong_labels.self_weight_wrong == pytest.approx(own[is_wrong].mean())
    assert found.labels_averaged[1] == pytest.approx(np.median(1 / (smoother.toarray() ** 2).sum(axis=1)))

    found.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["wrong_labels"]["share"] == 0.25
    assert f"{found.p_query:.4g} effective parameters" in found.to_text()

    record = report.track(X_NEW, report.model_.predict(X_NEW))[-1]
    assert record.error_rate_train == pytest.approx(1 - report.model_.score(X, names))
    assert record.error_rate_test == 0.0
    assert record.p_test == pytest.approx(found.p_query)


@pytest.mark.parametrize("is_wrong", [np.zeros(N, dtype=bool), np.ones(N, dtype=bool)])
def test_no_or_only_wrong_labels_give_0_never_nan(is_wrong: np.ndarray) -> None:
    wrong = SmootherReport(RandomForestClassifier(5, random_state=0)).fit(X, CLASSES).measure(X_NEW, is_wrong=is_wrong)
    assert wrong.wrong_labels is not None
    assert wrong.wrong_labels.weight == pytest.approx(float(is_wrong[0]))
    missing = wrong.wrong_labels.self_weight_right if is_wrong[0] else wrong.wrong_labels.self_weight_wrong
    assert missing == 0.0
    assert "NaN" not in wrong.to_json()


def test_report_on_one_class_and_on_boosting() -> None:
    one = SmootherReport(RandomForestClassifier(3, random_state=0)).fit(X, np.zeros(N, dtype=int)).measure(X_NEW)
    assert one.p_query == pytest.approx(one.p_train)  # single leaves: all rows are alike
    boosting = SmootherReport(GradientBoostingRegressor(n_estimators=20, random_state=0)).fit(X, Y)
    found = boosting.measure(X_NEW, is_wrong=np.arange(N) < 9)
    assert found.wrong_labels is not None
    assert found.wrong_labels.outvoted is None
    assert found.largest_gap < 1e-10
    assert found.p_query == pytest.approx(boosting.track(X_NEW, mars_additive_mean(X_NEW))[-1].p_test)


def test_report_refits_on_the_same_data() -> None:
    true = mars_additive_mean(X_NEW)
    report = SmootherReport(RandomForestRegressor(6, max_features=1 / 3)).fit(X, Y)
    found = report.decompose(X_NEW, true, np.random.default_rng(5), num_refits=3)
    assert [row["num_trees"] for row in found] == [1, 2, 4, 6]
    states = np.random.default_rng(5).integers(2**31 - 1, size=3).tolist()
    refits = [RandomForestRegressor(6, max_features=1 / 3, random_state=state).fit(X, Y) for state in states]
    wanted = model_decomposition(np.stack([model.predict(X_NEW) for model in refits], axis=1), true)
    assert found[-1] == pytest.approx({"num_trees": 6, **wanted})
    assert report.decompose(X_NEW, true, np.random.default_rng(0), num_refits=1)[0]["mod_var"] == 0


def test_refits_of_a_classifier() -> None:
    report = SmootherReport(RandomForestClassifier(4)).fit(X, CLASSES)
    found = report.decompose(X_NEW, np.zeros(M, dtype=int), np.random.default_rng(0), num_refits=3)
    assert 0 < found[-1]["rep_bias"] <= found[-1]["avg_mse"] <= 1


def test_ensembling_and_distance_smooth() -> None:
    rng = np.random.default_rng(0)
    forest = RandomForestRegressor(30, bootstrap=False, max_features=1 / 3, random_state=0).fit(X, Y)
    parameters = []
    for offset in (0.0, 0.1, 0.3):
        by_tree = effective_parameters_by_tree(forest_smoother(forest, X, X + rng.uniform(-offset, offset, X.shape)))
        assert by_tree[0] == pytest.approx(N)  # one full tree copies one label, wherever it is asked
        parameters.append(by_tree[-1])
    assert parameters[0] == pytest.approx(N)
    assert parameters[0] > 2 * parameters[1] > 2 * parameters[2]


def test_plot(tmp_path) -> None:
    records = SmootherReport(FITTED).fit(X, Y).track(X_NEW, mars_additive_mean(X_NEW))
    plot_track(records, tmp_path / "track.png")
    assert (tmp_path / "track.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
