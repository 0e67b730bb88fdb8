"""The estimator for bags: ids of any kind, held-out bags, pictures, data sets, files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch.utils.data import TensorDataset

from labelwise import BagClassifier, InputError, Regressor
from labelwise.labels.bags import counts_of_proportions


def tiny(recipe: str = "auto", **changes: Any) -> BagClassifier:
    """A classifier that trains in a blink."""
    fixed = {"network": "mlp-8", "epochs": 24, "batch_size": 32, "learning_rate": 0.1, "accelerator": "cpu"}
    return BagClassifier(recipe, **(fixed | changes))


def bags_of_points(num_bags: int = 16, size: int = 8, seed: int = 0) -> tuple[np.ndarray, ...]:
    """X (n, 4), bag of each row, counts, and labels that nobody trains on; rows in random order."""
    rng = np.random.default_rng(seed)
    bag_ids = rng.permutation(np.repeat(np.arange(num_bags), size))
    y = (rng.random(len(bag_ids)) < rng.random(num_bags)[bag_ids]).astype(np.int64)
    X = rng.normal(size=(len(y), 4)) + 3 * y[:, None] * np.array([1, -1, 0, 0])
    return X, bag_ids, np.bincount(bag_ids, weights=y, minlength=num_bags).astype(np.int64), y


@pytest.mark.parametrize("recipe", ["llp-bp", "dllp"])
def test_learns_instances_from_counts(recipe: str) -> None:
    X, bag_ids, counts, _ = bags_of_points()
    new_X, _, _, new_y = bags_of_points(seed=1)
    model = tiny(recipe).fit(X, bag_ids, counts)
    probs = model.predict_proba(new_X)
    assert probs.shape == (len(new_X), 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert np.array_equal(model.predict(new_X), (probs[:, 1] > 0.5).astype(int))
    assert model.score(new_X, new_y) == np.mean(model.predict(new_X) == new_y)
    assert model.score(new_X, new_y) > 0.85
    assert model.classes_.tolist() == [0, 1]


def test_ids_of_any_kind_and_counts_of_any_form_are_one() -> None:
    X, bag_ids, counts, _ = bags_of_points()
    expected = tiny(epochs=2).fit(X, bag_ids, counts).predict_proba(X)
    names = np.array([f"bag {bag:02d}" for bag in bag_ids])
    by_name = {f"bag {bag:02d}": int(count) for bag, count in enumerate(counts)}
    shares = {name: count / 8 for name, count in by_name.items()}
    for ids, given in (
        (bag_ids + 100, counts),
        (bag_ids.tolist(), dict(enumerate(counts.tolist()))),
        (names, by_name),
        (pd.Series(names), pd.Series(by_name).to_dict()),
        (names.astype(object), counts.astype(float)),
        (names, counts_of_proportions(names, shares)),
    ):
        assert np.array_equal(tiny(epochs=2).fit(X, ids, given).predict_proba(X), expected)


def test_held_out_bags_are_whole_and_take_no_part() -> None:
    X, bag_ids, counts, _ = bags_of_points()
    model = tiny(validation_fraction=0.25, early_stopping=4).fit(X, bag_ids, counts)
    trained = np.unique(bag_ids[model.train_rows_])
    assert len(trained) == 12
    assert model.train_rows_.tolist() == np.flatnonzero(np.isin(bag_ids, trained)).tolist()
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores))
    held = ~np.isin(bag_ids, trained)
    changed = X.copy()
    changed[held] += 5
    other = tiny(validation_fraction=0.25, epochs=3).fit(changed, bag_ids, counts)
    again = tiny(validation_fraction=0.25, epochs=3).fit(X, bag_ids, counts)
    assert np.array_equal(other.predict_proba(X), again.predict_proba(X))
    targets, weights, mask = model.corrections_
    assert targets.shape == (len(X), 2)
    assert not mask[held].any()
    assert (weights[~held] == 1).all()


def test_given_validation_bags_measure_agreement() -> None:
    X, bag_ids, counts, _ = bags_of_points()
    X_val, ids_val, counts_val, _ = bags_of_points(seed=2)
    model = tiny("dllp", epochs=6).fit(X, bag_ids, counts, X_val=X_val, bag_ids_val=ids_val, counts_val=counts_val)
    means = np.bincount(ids_val, weights=model.predict_proba(X_val)[:, 1]) / 8
    expected = 1 - np.sqrt(np.mean((means - counts_val / 8) ** 2))
    assert model.history_[-1]["validation_score"] == pytest.approx(expected, abs=1e-5)


def test_bags_of_unequal_sizes_one_bag_and_bags_of_one() -> None:
    X, _, _, y = bags_of_points(num_bags=8)
    sizes = np.array([1, 2, 5, 24, 32])
    bag_ids = np.empty(64, dtype=int)
    bag_ids[np.argsort(y + np.random.default_rng(1).normal(0, 0.7, 64))] = np.repeat(np.arange(5), sizes)
    model = tiny().fit(X, bag_ids, np.bincount(bag_ids, weights=y))
    assert model.score(X, y) > 0.8
    supervised = tiny("dllp").fit(X, np.arange(64), y)
    assert supervised.score(X, y) > 0.95
    assert tiny(epochs=2).fit(X, np.zeros(64), [y.sum()]).predict(X).shape == (64,)
    for count, label in ((0, 0), (64, 1)):
        assert (tiny().fit(X, np.zeros(64), [count]).predict(X) == label).all()


def test_pictures_and_data_sets() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 96)
    bag_ids = np.repeat(np.arange(12), 8)
    X = rng.integers(0, 90, (96, 8, 8, 1)) + 120 * y[:, None, None, None]
    counts = np.bincount(bag_ids, weights=y)
    model = tiny(network="cnn", epochs=8).fit(X.astype(np.uint8), bag_ids, counts)
    assert model.score(X.astype(np.uint8), y) > 0.9
    rows = X.reshape(96, -1)[:, :10].astype(np.float32)
    by_array = tiny(epochs=4).fit(rows, bag_ids, counts).predict_proba(rows)
    dataset = TensorDataset(torch.from_numpy(rows), torch.zeros(96))
    by_dataset = tiny(epochs=4).fit(dataset, bag_ids, counts).predict_proba(dataset)
    np.testing.assert_allclose(by_dataset, by_array, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["llp-bp", "dllp"])
def test_saved_loaded_cloned_and_resumed(recipe: str, tmp_path: Path) -> None:
    X, bag_ids, counts, _ = bags_of_points()
    model = tiny(recipe, epochs=4, checkpoint_folder=tmp_path / "run", checkpoint_seconds=0).fit(X, bag_ids, counts)
    model.save(tmp_path / "model")
    again = BagClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.predict(X), model.predict(X))
    with pytest.raises(InputError, match="not a saved Regressor"):
        Regressor.load(tmp_path / "model")
    files = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    tiny(recipe, epochs=4).fit(*bags_of_points(64)[:3]).save(tmp_path / "larger")
    assert sum(file.stat().st_size for file in (tmp_path / "larger").iterdir()) < files + 200
    resumed = clone(model).set_params(resume=True).fit(X, bag_ids, counts)
    assert np.array_equal(resumed.predict_proba(X), model.predict_proba(X))
    with pytest.raises(InputError, match="other settings or data"):
        clone(model).set_params(resume=True).fit(X, bag_ids, np.minimum(counts + 1, 8))


def bad_calls() -> dict[str, tuple[Any, ...]]:
    """What must be refused, by a part of the message: X, ids, counts and options of the estimator."""
    X, bag_ids, counts, _ = bags_of_points(4)
    infinite = X.copy()
    infinite[3, 1] = np.inf
    high = counts.copy()
    high[2] = 9
    return {
        "requires bag_ids and counts": (X, bag_ids, None),
        "give the bag of each row, and": (X, None, counts),
        "X row 3, column 1 holds inf": (infinite, bag_ids, counts),
        "32 examples but there are 31 bag_ids": (X, bag_ids[:-1], counts),
        "counts has 3 numbers for 4 bags": (X, bag_ids, counts[:-1]),
        "bag 2 has 8 rows but a count of 9": (X, bag_ids, high),
        "count of -1": (X, bag_ids, -np.ones(4)),
        "counts entry 0 is 0.5": (X, bag_ids, np.full(4, 0.5)),
        "counts entry 0 is nan": (X, bag_ids, np.full(4, np.nan)),
        "counts has no entry for bag 1": (X, bag_ids, {0: 1}),
        "bag_ids row 0 is nan": (X, np.full(32, np.nan), counts),
        r"bag_ids have shape \(32, 1\)": (X, bag_ids[:, None], counts),
        "0 sample": (X[:0], bag_ids[:0], []),
        "no recipe 'elr' for bags": (X, bag_ids, counts, {"recipe": "elr"}),
        "leaves none to train on": (X, bag_ids, counts, {"validation_fraction": 0.95}),
        "early_stopping needs": (X, bag_ids, counts, {"early_stopping": 2}),
        "X_val requires bag_ids_val and counts_val": (X, bag_ids, counts, {}, {"X_val": X}),
        "counts_val has 1 numbers for 4 bags": (
            X,
            bag_ids,
            counts,
            {},
            {"X_val": X, "bag_ids_val": bag_ids, "counts_val": [1]},
        ),
        "trained on": (X, bag_ids, counts, {}, {"X_val": X[:, None], "bag_ids_val": bag_ids, "counts_val": counts}),
        "bag_factor is 'all'": (X, bag_ids, counts, {"recipe_options": {"bag_factor": "all"}}),
        "does not take these recipe_options": (X, bag_ids, counts, {"recipe": "dllp", "recipe_options": {"rounds": 2}}),
    }


@pytest.mark.parametrize("message", bad_calls())
def test_what_is_refused(message: str) -> None:
    X, bag_ids, counts, *rest = bad_calls()[message]
    options, how = [*rest, {}, {}][:2]
    with pytest.raises(InputError, match=message):
        tiny(**({"epochs": 1} | options)).fit(X, bag_ids, counts, **how)
