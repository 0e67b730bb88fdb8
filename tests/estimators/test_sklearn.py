"""The estimators among scikit-learn's tools: its own checks, clones, pipelines, searches, cross-validation."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from estimator_data import points, tiny
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from labelwise.methods import find_recipe


# One network, and two that teach each other; no check is expected to fail.
@parametrize_with_checks([tiny("elr", epochs=6), tiny("co-teaching", epochs=8)])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_clones_are_unfitted_and_alike() -> None:
    X, y = points()
    model = tiny("ps-kd", recipe_options={"alpha_T": 0.7}, early_stopping=2, validation_fraction=0.2).fit(X, y)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "recipe_")
    assert np.array_equal(twin.fit(X, y).predict_logits(X), model.predict_logits(X))


def test_parameters_can_be_set_and_are_used() -> None:
    X, y = points()
    model = tiny("elr").set_params(recipe="mixup", epochs=2, recipe_options={"alpha": 0.5}).fit(X, y)
    assert type(model.recipe_) is find_recipe("mixup")
    assert model.recipe_.alpha == 0.5
    assert len(model.history_) == 2
    with pytest.raises(ValueError, match="no_such_parameter"):
        model.set_params(no_such_parameter=1)


def test_the_recipe_is_by_default_that_of_the_task() -> None:
    X, y = points()
    model = tiny("auto").fit(X, y)
    assert np.array_equal(model.predict_logits(X), tiny("elr").fit(X, y).predict_logits(X))


def test_pipeline() -> None:
    X, y = points()
    scaler = StandardScaler().fit(X)
    alone = tiny().fit(scaler.transform(X), y)
    pipeline = make_pipeline(StandardScaler(), tiny()).fit(X, y)
    assert np.array_equal(pipeline.predict_proba(X), alone.predict_proba(scaler.transform(X)))
    assert pipeline.score(X, y) > 0.9


def test_grid_search_over_recipes_and_their_options() -> None:
    X, y = points(seed=3)
    y[:15] = (y[:15] + 1) % 3
    grid = [
        {"recipe": ["elr"], "recipe_options": [{"lambda_": 0.0}, {"lambda_": 3.0}]},
        {"recipe": ["label-smoothing"], "recipe_options": [{"smoothing": 0.2}], "epochs": [1, 6]},
    ]
    folds = StratifiedKFold(2)
    search = GridSearchCV(tiny(), grid, cv=folds).fit(X, y)
    tried = search.cv_results_["params"]
    assert len(tried) == 4
    scores = [cross_val_score(tiny().set_params(**params), X, y, cv=folds).mean() for params in tried]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], scores)
    assert len(set(scores)) > 1  # the options reach the training
    best = tiny().set_params(**search.best_params_).fit(X, y)
    assert np.array_equal(search.predict_proba(X), best.predict_proba(X))


def test_cross_validated_predictions_are_those_of_the_folds() -> None:
    X, y = points()
    names = np.array(["ant", "bee", "cat"])[y]
    folds = StratifiedKFold(3)
    probs = cross_val_predict(tiny(), X, names, cv=folds, method="predict_proba")
    by_hand = np.zeros((len(X), 3))
    for train, test in folds.split(X, names):
        by_hand[test] = tiny().fit(X[train], names[train]).predict_proba(X[test])
    assert np.array_equal(probs, by_hand)
    assert (probs.argmax(axis=1) == y).mean() > 0.9


def test_tables_keep_their_column_names() -> None:
    X, y = points()
    table = pd.DataFrame(X, columns=list("abcde"))
    model = tiny().fit(table, pd.Series(y, name="label"))
    assert model.feature_names_in_.tolist() == list("abcde")
    assert np.array_equal(model.predict_logits(table), tiny().fit(X, y).predict_logits(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[list("edcba")])
