"""The estimator for numbers: units, unknown numbers, several outputs, pictures, data sets, scikit-learn's checks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.utils.data import TensorDataset

from labelwise import Classifier, InputError, Regressor


def tiny(recipe: str = "auto", **changes: Any) -> Regressor:
    """A regressor that trains in a blink."""
    fixed = {"network": "mlp-8", "epochs": 8, "batch_size": 16, "learning_rate": 0.05, "accelerator": "cpu"}
    return Regressor(recipe, **(fixed | changes))


def numbers(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X (n, 4), y (n,) far from mean 0 and deviation 1."""
    X = np.random.default_rng(seed).normal(size=(n, 4))
    return X, 1000 + 50 * (X[:, 0] - X[:, 1])


def may_fail(estimator: Any) -> dict[str, str]:
    return {"check_methods_subset_invariance": "float32 sums differ by the size of a batch in the last digit"}


@parametrize_with_checks([tiny(), tiny("c-mixup")], expected_failed_checks=may_fail)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("recipe", ["squared-error", "c-mixup", "conr"])
def test_predictions_are_in_the_units_of_y(recipe: str) -> None:
    X, y = numbers()
    new_X, new_y = numbers(seed=1)
    model = tiny(recipe).fit(X, y)
    predicted = model.predict(new_X)
    assert predicted.shape == new_y.shape
    assert predicted.dtype == np.float64
    assert model.score(new_X, new_y) == pytest.approx(r2_score(new_y, predicted))
    assert model.score(new_X, new_y) > 0.7


def test_shifting_and_scaling_the_target_shifts_and_scales_predictions() -> None:
    X, y = numbers()
    one = tiny("c-mixup").fit(X, y).predict(X)
    other = tiny("c-mixup").fit(X, 8 * y - 4096).predict(X)
    np.testing.assert_allclose(other, 8 * one - 4096, atol=1e-2)


def test_rows_with_an_unknown_number_are_as_if_left_out() -> None:
    X, y = numbers()
    Y = np.stack([y, -y], axis=1)
    Y[3, 1], Y[10, 0] = np.nan, np.nan
    known = np.delete(np.arange(len(y)), [3, 10])
    model, alone = tiny().fit(X, Y), tiny().fit(X[known], Y[known])
    assert model.train_rows_.tolist() == known.tolist()
    assert np.array_equal(model.predict(X), alone.predict(X))
    assert model.score(X, Y) == alone.score(X[known], Y[known])
    weight = np.arange(len(y)) + 1.0
    assert model.score(X, Y, weight) == alone.score(X[known], Y[known], weight[known])


def test_outputs_that_never_change_are_learnt() -> None:
    X, y = numbers()
    for constant in (0.0, 7.0, -1e9, 0.1):
        Y = np.stack([y, np.full(len(y), constant)], axis=1)
        model = tiny(epochs=40).fit(X, Y)
        assert model.target_scale_[1] == 1
        np.testing.assert_allclose(model.predict(X)[:, 1], constant, atol=0.3)
    assert tiny().fit(X, y[:, None]).predict(X).shape == (len(y), 1)


def test_validation_rows_choose_the_epoch_and_unknown_ones_do_not_count() -> None:
    X, y = numbers()
    X_val, y_val = numbers(40, seed=2)
    model = tiny(early_stopping=3, epochs=12).fit(X, y, X_val=X_val, y_val=y_val)
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores))
    assert model.score(X_val, y_val) == pytest.approx(max(scores), abs=1e-4)
    y_val[:5] = np.nan
    other = tiny(early_stopping=3, epochs=12).fit(X, y, X_val=X_val, y_val=y_val)
    assert other.score(X_val[5:], y_val[5:]) == pytest.approx(max(row["validation_score"] for row in other.history_))
    held = tiny(validation_fraction=0.25).fit(X, y)
    assert len(held.train_rows_) == 60
    assert held.target_mean_[0] == pytest.approx(y[held.train_rows_].mean())


@pytest.mark.parametrize("recipe", ["squared-error", "c-mixup", "conr"])
def test_pictures(recipe: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    y = X[:, :4].mean(axis=(1, 2)) - X[:, 4:].mean(axis=(1, 2))
    model = tiny(recipe, network="cnn", epochs=15).fit(X, y)
    assert model.predict(X).shape == (60,)
    assert model.score(X, y) > 0.3


@pytest.mark.parametrize("options", [{}, {"manifold": True}, {"partners": "batch"}])
def test_a_data_set_gives_what_its_arrays_give(options: dict[str, Any]) -> None:
    X, y = numbers()
    dataset = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(np.stack([y, -y], axis=1)))
    by_array = tiny("c-mixup", recipe_options=options).fit(X, np.stack([y, -y], axis=1)).predict(X)
    by_dataset = tiny("c-mixup", recipe_options=options).fit(dataset).predict(dataset)
    np.testing.assert_allclose(by_dataset, by_array, rtol=1e-4)


def test_an_augmentation_of_ones_own() -> None:
    X, y = numbers()
    seen = []

    def flip(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(len(inputs))
        return inputs

    dataset = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(y))
    model = tiny("conr", recipe_options={"augment": flip, "w": 0.3}, epochs=10).fit(dataset)
    assert model.score(X.astype(np.float32), y) > 0.5
    assert sum(seen) == 3 * 10 * 80
    with pytest.raises(InputError, match=r"augment\(inputs, generator\)"):
        tiny("conr").fit(dataset)


def test_saved_and_loaded(tmp_path: Path) -> None:
    X, y = numbers()
    model = tiny("conr", recipe_options={"density": "sqrt_inv", "smoothing": (5, 1.0), "w": 0.2}).fit(X, y)
    model.save(tmp_path)
    assert np.array_equal(Regressor.load(tmp_path).predict(X), model.predict(X))
    with pytest.raises(InputError, match="not a saved Classifier"):
        Classifier.load(tmp_path)


def test_among_scikit_learn_tools() -> None:
    X, y = numbers()
    search = GridSearchCV(tiny("c-mixup"), {"recipe_options": [{"bandwidth": 0.2}, {"bandwidth": 5.0}]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.5
    assert cross_val_predict(tiny(), X, np.stack([y, y], axis=1), cv=3).shape == (80, 2)


def bad_calls() -> dict[str, tuple[Any, ...]]:
    """What must be refused, by a part of the message: X, y and options of the estimator."""
    X, y = numbers(20)
    infinite = y.copy()
    infinite[4] = np.inf
    return {
        "requires y to be passed": (X, None),
        "20 examples but there are 19 labels": (X, y[:-1]),
        "infinity": (X, infinite),
        "no row whose numbers are all known": (X, np.full(20, np.nan)),
        "convert": (X, np.array(["a"] * 20)),
        r"shape \(20, 2, 2\)": (X, np.zeros((20, 2, 2))),
        r"shape \(20, 0\)": (X, np.zeros((20, 0))),
        "no recipe 'elr' for regression": (X, y, {"recipe": "elr"}),
        "leaves none to train on": (X, y, {"validation_fraction": 0.99}),
        "bandwidth is 0": (X, y, {"recipe": "c-mixup", "recipe_options": {"bandwidth": 0}}),
        "alpha is -1": (X, y, {"recipe": "c-mixup", "recipe_options": {"alpha": -1}}),
        "partners is 'some'": (X, y, {"recipe": "c-mixup", "recipe_options": {"partners": "some"}}),
        "no hidden layer": (X, y, {"recipe": "c-mixup", "recipe_options": {"manifold": True}, "network": "linear"}),
        "w is -1": (X, y, {"recipe": "conr", "recipe_options": {"w": -1}}),
        "temperature is 0": (X, y, {"recipe": "conr", "recipe_options": {"temperature": 0}}),
        "beta is nan": (X, y, {"recipe": "conr", "recipe_options": {"beta": float("nan")}}),
        "loss is 'huber'": (X, y, {"recipe": "conr", "recipe_options": {"loss": "huber"}}),
        "density weights are of one output": (
            X,
            np.stack([y, y], axis=1),
            {"recipe": "conr", "recipe_options": {"density": "inverse"}},
        ),
    }


@pytest.mark.parametrize("message", bad_calls())
def test_what_is_refused(message: str) -> None:
    X, y, *options = bad_calls()[message]
    with pytest.raises(InputError, match=message):
        tiny(**(options[0] if options else {})).fit(X, y)
    X, y = numbers(20)
    with pytest.raises(InputError, match="y_val has shape"):
        tiny().fit(X, y, X_val=X, y_val=np.stack([y, y], axis=1))
