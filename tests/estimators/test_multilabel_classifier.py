"""MultiLabelClassifier: what it takes and gives, unknown labels, validation, files, scikit-learn's tools."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from torch.utils.data import TensorDataset

from labelwise import Classifier, InputError, MultiLabelClassifier, audit_multilabel
from labelwise.methods import find_recipe


def tiny(recipe: str = "auto", **changes: Any) -> MultiLabelClassifier:
    """A classifier that trains in a blink."""
    fixed = {"network": "mlp-16", "epochs": 8, "batch_size": 16, "learning_rate": 0.05, "accelerator": "cpu"}
    return MultiLabelClassifier(recipe, **(fixed | changes))


def examples(n: int = 90, seed: int = 0, *, unknown: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """X (n, 5), y (n, 3): label k applies where feature k is high."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < 0.4).astype(np.int64)
    X = rng.normal(size=(n, 5))
    X[:, :3] += 4 * y
    y[rng.random(y.shape) < unknown] = -1
    return X, y


@pytest.mark.parametrize("recipe", ["multilabel-cross-entropy", "pu-mlc"])
def test_learns_probabilities_and_labels(recipe: str) -> None:
    X, y = examples(unknown=0.3)
    new_X, new_y = examples(seed=1)
    model = tiny(recipe, optimizer="adamw", learning_rate=0.02, epochs=20).fit(X, y)
    probs = model.predict_proba(new_X)
    assert probs.shape == new_y.shape
    assert probs.dtype == np.float64
    assert ((probs > 0) & (probs < 1)).all()
    np.testing.assert_array_equal(model.predict(new_X), probs > 0.5)
    np.testing.assert_allclose(probs, 1 / (1 + np.exp(-model.predict_logits(new_X).astype(np.float64))))
    expected = average_precision_score(new_y, model.predict_logits(new_X), average="macro")
    assert model.score(new_X, new_y) == pytest.approx(expected)
    assert expected > 0.9
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.corrections_ is None


def test_the_default_recipe_leaves_unknown_labels_out() -> None:
    X, y = examples(unknown=0.3)
    model, named = tiny().fit(X, y), tiny("multilabel-cross-entropy").fit(X, y)
    assert np.array_equal(model.predict_logits(X), named.predict_logits(X))
    new_X, new_y = examples(seed=1)
    hidden = new_y.copy()
    hidden[:40, 1] = -1
    assert model.score(new_X, hidden) == pytest.approx(
        np.mean(
            [
                average_precision_score(new_y[hidden[:, k] >= 0, k], model.predict_logits(new_X)[hidden[:, k] >= 0, k])
                for k in range(3)
            ]
        )
    )


def test_positives_alone_are_learnt_among_the_unknown(tmp_path: Path) -> None:
    X, y = examples()
    positives = np.where(y == 1, 1, -1)
    model, named = tiny().fit(X, positives), tiny("pu-mlc").fit(X, positives)
    assert np.array_equal(model.predict_logits(X), named.predict_logits(X))
    model.save(tmp_path)
    assert np.array_equal(MultiLabelClassifier.load(tmp_path).predict_logits(X), model.predict_logits(X))
    positives[0] = y[0]
    assert type(tiny().fit(X, positives).recipe_) is find_recipe("multilabel-cross-entropy")


def test_labels_may_be_of_any_kind_of_numbers() -> None:
    X, y = examples()
    expected = tiny(epochs=2).fit(X, y).predict_logits(X)
    for same in (y.astype(bool), y.astype(np.uint8), y.astype(float), y.tolist(), pd.DataFrame(y), torch.from_numpy(y)):
        assert np.array_equal(tiny(epochs=2).fit(X, same).predict_logits(X), expected)


def test_a_data_set_gives_what_its_arrays_give() -> None:
    X, y = examples(unknown=0.2)
    dataset = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(y))
    for recipe in ("auto", "pu-mlc"):
        by_array, by_dataset = tiny(recipe).fit(X, y), tiny(recipe).fit(dataset)
        np.testing.assert_allclose(by_dataset.predict_proba(dataset), by_array.predict_proba(X), rtol=1e-4, atol=1e-6)


def test_pictures_and_local_global_convolutions() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((60, 2)) < 0.5).astype(np.int64)
    X = rng.integers(0, 80, (60, 16, 16, 3))
    X[:, :8] += 150 * y[:, 0, None, None, None]
    X[:, 8:] += 100 * y[:, 1, None, None, None]
    options = {"local_global": True}
    model = tiny("pu-mlc", network="cnn", recipe_options=options, optimizer="adamw", learning_rate=0.003, epochs=6)
    assert model.fit(X.astype(np.uint8), y).score(X.astype(np.uint8), y) > 0.8


def test_validation_rows_have_a_known_label_and_choose_the_epoch() -> None:
    X, y = examples()
    y[5:60] = -1
    model = tiny(validation_fraction=0.2, early_stopping=3, epochs=12).fit(X, y)
    held = np.setdiff1d(np.arange(90), model.train_rows_)
    assert len(held) == 7
    assert (y[held] >= 0).all()
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores))
    assert model.score(X[held], y[held]) == pytest.approx(max(scores))
    X_val, y_val = examples(40, seed=2)
    given = tiny(early_stopping=2).fit(X, y, X_val=X_val, y_val=y_val)
    assert given.train_rows_.tolist() == list(range(90))
    best = max(row["validation_score"] for row in given.history_)
    assert given.score(X_val, y_val) == pytest.approx(best)


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}])
def test_saved_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    X, y = examples(unknown=0.2)
    model = tiny("pu-mlc", recipe_options=options).fit(X, y)
    model.save(tmp_path)
    again = MultiLabelClassifier.load(tmp_path)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.classes_.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="not a saved Classifier"):
        Classifier.load(tmp_path)


def test_resumes_from_a_checkpoint(tmp_path: Path) -> None:
    X, y = examples(unknown=0.2)
    whole = tiny("pu-mlc").fit(X, y)

    class StoppedError(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise StoppedError

    how = {"checkpoint_folder": tmp_path, "checkpoint_seconds": 0}
    with pytest.raises(StoppedError):
        tiny("pu-mlc", **how).fit(X, y, on_epoch=stop)
    assert np.array_equal(tiny("pu-mlc", resume=True, **how).fit(X, y).predict_logits(X), whole.predict_logits(X))


def test_among_scikit_learn_tools() -> None:
    X, y = examples()
    search = GridSearchCV(tiny("pu-mlc"), {"recipe_options": [{"gamma": 0.0}, {"gamma": 0.55}]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.5
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()
    probs = cross_val_predict(tiny(), X, y, cv=3, method="predict_proba")
    assert audit_multilabel(y, probs).scores.shape == (90,)


def test_boundary_rows() -> None:
    X, y = examples(20)
    assert tiny(epochs=1).fit(X[:1], y[:1]).predict(X).shape == (20, 3)
    one = tiny(epochs=1).fit(X, y[:, :1])
    assert one.predict_proba(X).shape == (20, 1)
    for same in (np.ones_like(y), np.zeros_like(y)):
        model = tiny("pu-mlc", epochs=2).fit(X, same)
        assert np.isfinite(model.predict_proba(X)).all()
    assert tiny(epochs=1).fit(X, np.zeros_like(y)).score(X, np.zeros_like(y)) == 0
    sparse = -np.ones_like(y)
    sparse[3, 1] = 1
    assert tiny(epochs=2).fit(X, sparse).predict(X).shape == (20, 3)


def bad_calls() -> dict[str, tuple[Any, ...]]:
    """What must be refused, by a part of the message: X, y and options of the estimator."""
    X, y = examples(20)
    changed = {value: y.astype(float) for value in (2, 0.5, np.nan, np.inf)}
    for value, labels in changed.items():
        labels[4, 1] = value
    return {
        "requires y to be passed": (X, None),
        "20 examples but y has 19 rows": (X, y[:-1]),
        r"y has shape \(20,\)": (X, y[:, 0]),
        r"y has shape \(20, 3, 1\)": (X, y[:, :, None]),
        "y has 0 columns": (X, y[:, :0]),
        "y row 4, column 1 is 2": (X, changed[2]),
        "y row 4, column 1 is 0.5": (X, changed[0.5]),
        "y row 4, column 1 is nan": (X, changed[np.nan]),
        "y row 4, column 1 is inf": (X, changed[np.inf]),
        "y has type": (X, np.full((20, 3), "yes")),
        "no known label": (X, -np.ones_like(y)),
        "no recipe 'elr' for multilabel": (X, y, {"recipe": "elr"}),
        "leaves none to train on": (X, y, {"validation_fraction": 0.99}),
        "gamma is -1": (X, y, {"recipe": "pu-mlc", "recipe_options": {"gamma": -1}}),
        "no 3x3 convolution": (X, y, {"recipe": "pu-mlc", "recipe_options": {"local_global": True}}),
        "unknown is 'some'": (X, y, {"recipe_options": {"unknown": "some"}}),
    }


@pytest.mark.parametrize("message", bad_calls())
def test_what_is_refused(message: str) -> None:
    X, y, *options = bad_calls()[message]
    with pytest.raises(InputError, match=message):
        tiny(**(options[0] if options else {})).fit(X, y)
    X, y = examples(20)
    with pytest.raises(InputError, match="y_val has 2 columns: give one for each class, 3 as in training"):
        tiny().fit(X, y, X_val=X, y_val=y[:, :2])
