"""`Classifier`: which labels and inputs it takes, what it says of bad ones, seeds, validation, corrections."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimator_data import pictures, points, tiny
from torch.utils.data import Dataset, TensorDataset

from labelwise import Classifier, InputError
from labelwise.training.checkpoint import load_checkpoint


def saved_bytes(model: Classifier, folder: Path) -> dict[str, bytes]:
    model.save(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- labels


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cat"]),
        np.array(["ant", "bee", "cat"], dtype=object),
        np.array([3, 7, 1000]),
        np.array([-5, -3, 2], dtype=np.int8),
        np.array([0.0, 1.0, 2.0]),
        np.array([0, 4, 9], dtype=np.uint64),
    ],
    ids=lambda names: str(names.dtype) + str(names[0]),
)
def test_names_of_classes_change_nothing_but_the_names(names: np.ndarray) -> None:
    X, y = points()
    plain, named = tiny().fit(X, y), tiny().fit(X, names[y])
    assert named.classes_.tolist() == names.tolist()
    assert np.array_equal(named.predict_logits(X), plain.predict_logits(X))
    assert named.predict(X).tolist() == names[plain.predict(X)].tolist()


def test_two_truth_values_are_two_classes() -> None:
    X, y = points(num_classes=2)
    model = tiny().fit(X, y == 1)
    assert model.classes_.tolist() == [False, True]
    assert model.score(X, y == 1) > 0.9


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    X, y = points()
    model = tiny().fit(X, y)
    expected = torch.from_numpy(model.predict_logits(X)).double().softmax(dim=1).numpy()
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)
    assert model.predict_proba(1e4 * X).sum(axis=1) == pytest.approx(np.ones(len(X)))


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_unlabelled_rows_take_no_part(dtype: type) -> None:
    X, y = points(90)
    unlabelled = np.random.default_rng(1).random(90) < 0.3
    alone = tiny().fit(X[~unlabelled], y[~unlabelled])
    strange = X.copy()
    strange[unlabelled] = 1e6  # not even for mean and spread
    model = tiny().fit(strange, np.where(unlabelled, -1, y).astype(dtype))
    assert model.classes_.tolist() == [0, 1, 2]
    assert np.array_equal(model.train_rows_, np.flatnonzero(~unlabelled))
    assert np.array_equal(model.predict_logits(X), alone.predict_logits(X))


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_minus_one_and_one_alone_are_two_classes(dtype: type) -> None:
    X, y = points(num_classes=2)
    model = tiny().fit(X, (2 * y - 1).astype(dtype))
    assert model.classes_.tolist() == [-1, 1]
    assert len(model.train_rows_) == len(X)
    assert set(model.predict(X)) == {-1, 1}


def test_minus_one_beside_others_is_no_class() -> None:
    X, y = points()
    assert tiny().fit(X, y - 1).classes_.tolist() == [0, 1]
    with pytest.raises(InputError, match="only one class"):
        tiny().fit(X[y < 2], y[y < 2] - 1)


def test_classes_may_be_told_where_the_labels_lack_some() -> None:
    X, y = points()
    names = np.array(["ant", "bee", "cat"])[y]
    model = tiny("cross-entropy").fit(X[y < 2], names[y < 2], classes=["cat", "bee", "ant", "dog"])
    assert model.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    assert model.predict_proba(X).shape == (len(X), 4)
    assert set(model.predict(X[y < 2])) == {"ant", "bee"}
    numbers = tiny().fit(X, np.where(y == 0, -1, y), classes=[0, 1, 2])
    assert len(numbers.train_rows_) == 40
    both = tiny().fit(X, np.where(y == 0, -1, y), classes=[-1, 1, 2])
    assert len(both.train_rows_) == 60
    with pytest.raises(InputError, match=r"y row 2 is 'cat', which is none of the classes \['ant', 'bee'\]"):
        tiny().fit(X, names, classes=["ant", "bee"])


# --- inputs


def test_one_data_many_forms() -> None:
    """Arrays, lists, tensors and data sets of the same numbers train the same model and get the same predictions."""
    X, y = points()
    single = X.astype(np.float32)
    dataset = TensorDataset(torch.from_numpy(single), torch.from_numpy(y))
    forms: list[tuple[Any, Any]] = [
        (single, y.tolist()),
        (single.tolist(), y),
        (np.asfortranarray(single), y),
        (torch.from_numpy(single), torch.from_numpy(y)),
        (dataset, None),
        (dataset, y),
    ]
    model = tiny().fit(X, y)
    expected = model.predict_logits(X)
    for inputs, labels in forms:
        other = tiny().fit(inputs, labels)
        assert other.n_features_in_ == 5
        assert np.array_equal(other.predict_logits(X), expected)
        assert np.array_equal(model.predict_logits(inputs), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_pictures_in_many_forms(channels: int) -> None:
    X, y = pictures(channels=channels)
    model = tiny(network="auto", epochs=3).fit(X, y)
    assert model.network_ == "cnn"
    assert model.input_shape_ == (channels, 8, 8)
    expected = model.predict_logits(X)
    channels_first = torch.from_numpy(np.moveaxis(X, -1, 1).copy())
    dataset = TensorDataset(channels_first, torch.from_numpy(y))
    forms: list[Any] = [X.astype(np.int64), X.astype(np.float32), list(X), torch.from_numpy(X), dataset]
    for inputs in forms + ([X[..., 0]] if channels == 1 else []):
        # Not to the last bit: convolutions round differently where the same numbers lie differently in memory.
        np.testing.assert_allclose(model.predict_logits(inputs), expected, rtol=1e-4, atol=1e-4)
        again = tiny(network="auto", epochs=3).fit(inputs, y)
        np.testing.assert_allclose(again.predict_logits(X), expected, rtol=1e-3, atol=1e-3)


def test_read_only_pictures_are_taken_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    X, y = pictures()
    before = X.copy()
    X.flags.writeable = False
    tiny("mixup", network="cnn").fit(X, y).predict(X)
    assert np.array_equal(X, before)
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


@pytest.mark.parametrize("shape", ["table", "pictures"])
def test_scale_and_offset_do_not_matter(shape: str) -> None:
    X, y = points() if shape == "table" else pictures(channels=3)
    network = "mlp-8" if shape == "table" else "cnn"
    plain = tiny(network=network).fit(X.astype(np.float64), y)
    factor = np.array([0.001, 1.0, 255.0, 1e4, 7.0])[: X.shape[-1]]
    moved = X * factor + 3.0
    np.testing.assert_allclose(
        tiny(network=network).fit(moved, y).predict_proba(moved), plain.predict_proba(X.astype(np.float64)), atol=2e-3
    )
    raw = tiny(network=network, standardize=False, learning_rate=1e-4).fit(X, y)
    assert not any("mean" in name for name in raw.to_state()[0] if "running" not in name)


class Drawn(Dataset):
    """Pictures read item by item, with labels under names of their own."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y, self.read = X, y, 0

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.read += 1
        return torch.from_numpy(self.X[row]).movedim(-1, 0).float(), torch.tensor(self.y[row])


def test_data_sets_of_pictures_unlabelled_rows_and_loading_processes() -> None:
    X, y = pictures()
    y = np.where(np.arange(40) % 5 == 0, -1, 3 + y)
    expected = tiny(network="cnn", epochs=2).fit(X.astype(np.float32), y)
    for workers in (0, 1):
        model = tiny(network="cnn", epochs=2, workers=workers).fit(Drawn(X, y))
        assert model.classes_.tolist() == [3, 4]
        logits = model.predict_logits(Drawn(X, y))
        np.testing.assert_allclose(logits, expected.predict_logits(X), rtol=1e-3, atol=1e-3)


def test_labels_of_a_data_set_are_those_of_its_items() -> None:
    X, y = pictures()
    told = Drawn(X, y)
    told.targets = y.tolist()
    model = tiny(network="cnn", epochs=1).fit(told)
    assert model.classes_.tolist() == [0, 1]
    assert told.read < 2 * len(X) + 5  # once to measure, once to train: not once more for labels
    told.target_transform = "anything that changes labels"
    told.y = 5 + y
    assert tiny(network="cnn", epochs=1).fit(told).classes_.tolist() == [5, 6]


def test_no_rows_get_no_predictions() -> None:
    X, y = pictures()
    model = tiny(network="cnn", epochs=1).fit(X, y)
    assert model.predict_proba(X[:0]).shape == (0, 2)
    assert model.predict(X[:0]).shape == (0,)


def test_a_second_fit_forgets_the_first() -> None:
    X, y = points()
    model = tiny(network="auto").fit(X, y)
    assert model.n_features_in_ == 5
    model.fit(*pictures())
    assert not hasattr(model, "n_features_in_")
    assert model.predict(pictures(seed=1)[0]).shape == (40,)
    assert np.array_equal(model.fit(X, y).predict_logits(X), tiny(network="auto").fit(X, y).predict_logits(X))


# --- what is refused


def spoilt(value: float) -> np.ndarray:
    X, _ = points()
    X[7, 2] = value
    return X


def spoilt_picture(value: float) -> np.ndarray:
    X = pictures()[0].astype(np.float64)
    X[4, 1, 1] = value
    return X


class Endless(Dataset):
    def __getitem__(self, row: int) -> int:
        return 0


class Items(Dataset):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (spoilt(np.nan), None, r"X row 7, column 2 holds nan: .*NaN"),
        (spoilt(-np.inf), None, "X row 7, column 2 holds -inf"),
        (spoilt(1e300), None, r"X row 7, column 2 holds 1e\+300: .*too large"),
        (spoilt_picture(np.nan), None, "picture 4 holds nan"),
        (spoilt_picture(1e300), None, r"picture 4 holds 1e\+300"),
        (np.zeros((60, 3, 9, 9)), None, r"channels first: .*np\.moveaxis"),
        (np.zeros((60, 2, 2, 2, 2)), None, r"X has shape \(60, 2, 2, 2, 2\)"),
        (np.full((60, 4, 4), "a"), None, "type <U1"),
        (np.zeros(60), None, "Expected 2D array"),
        (np.zeros((0, 4)), None, "0 sample"),
        (np.zeros((59, 4)), None, "X has 59 examples but there are 60 labels"),
        (np.zeros((59, 4, 4)), None, "X has 59 examples but there are 60 labels"),
        (Endless(), None, "without length"),
        (Items(), None, "without examples"),
        (Items(torch.zeros(3)), None, "item 0 of the data set is a Tensor: .*pair"),
        (Items(("text", 1), ("more", 0)), None, "input of item 0 of the data set is a str, not a tensor"),
        (None, "missing", "y is None"),
        (None, np.zeros(60), "only one class"),
        (None, np.full(60, -1), "only one class"),
        (None, np.linspace(0, 1, 60), "Unknown label type"),
        (None, np.where(np.arange(60) == 8, np.nan, 1.0), "y row 8 is nan: give -1"),
        (None, np.where(np.arange(60) == 8, np.inf, 1.0), "y row 8 is inf"),
        (None, np.array(["a"] * 59 + [None], dtype=object), "NoneType, str"),
        (None, np.array(["a"] * 59 + [-1], dtype=object), "int, str"),
        (None, np.array([b"a", b"b"])[np.arange(60) % 2], "bytes"),
        (None, np.eye(3)[np.arange(60) % 3], "y should be a 1d array"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(X: Any, y: Any, message: str) -> None:
    good, labels = points()
    given = None if isinstance(y, str) else (labels if y is None and not isinstance(X, Dataset) else y)
    with pytest.raises(InputError, match=message) as caught:
        tiny(network="auto").fit(good if X is None else X, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "no-such"}, "there is no recipe 'no-such' for classification; choose one of .*elr"),
        ({"recipe_options": {"no_such": 1}}, "recipe_options.*no_such"),
        ({"recipe_options": 3}, "recipe_options"),
        ({"network": "cnn"}, "network 'cnn' needs pictures"),
        ({"network": "resnet_of_dreams"}, "needs pictures"),
        ({"network": "mlp-"}, "widths"),
        ({"weights": "somewhere.safetensors"}, "weights are for a pretrained backbone on pictures"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"optimizer": "magic"}, "optimizer is 'magic'"),
        ({"precision": "13-true"}, "13-true"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"validation_fraction": -0.1}, "validation_fraction is -0.1"),
        ({"validation_fraction": np.nan}, "validation_fraction is nan"),
        ({"validation_fraction": 0.999}, "leaves none to train on"),
        ({"early_stopping": 3}, "early_stopping needs examples"),
        ({"early_stopping": 0, "validation_fraction": 0.2}, "early_stopping is 0"),
        ({"random_state": "seed"}, "random_state is 'seed'"),
        ({"random_state": 0.5}, "random_state is 0.5"),
        ({"learning_rate": 1e20, "gradient_clip": None}, "training diverged"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(changes: dict[str, Any], message: str) -> None:
    X, y = points()
    with pytest.raises(InputError, match=message) as caught:
        tiny(**({"recipe": "cross-entropy"} | changes)).fit(X, y)
    assert "\n" not in str(caught.value)


def test_new_rows_must_look_like_those_of_training() -> None:
    X, y = points()
    grey, labels = pictures()
    table, model = tiny().fit(X, y), tiny(network="cnn", epochs=1).fit(grey, labels)
    with pytest.raises(InputError, match="X has 4 features, but Classifier is expecting 5 features"):
        table.predict(X[:, :4])
    with pytest.raises(InputError, match=r"shape \(1, 8, 8\), but the model was trained on \(5,\)"):
        table.predict(grey)
    for other in (grey[:, :7], np.repeat(grey, 3, axis=3), X, Drawn(grey[:, :7], labels)):
        with pytest.raises(InputError, match=r"the model was trained on \(1, 8, 8\)"):
            model.predict(other)
    with pytest.raises(InputError, match="picture 4 holds nan"):
        model.predict(spoilt_picture(np.nan))
    with pytest.raises(InputError, match=r"X row 7, column 2 holds inf"):
        table.predict(spoilt(np.inf))


# --- seeds


def test_same_random_state_same_bytes(tmp_path: Path) -> None:
    X, y = points()
    how = {"validation_fraction": 0.2, "early_stopping": 2}
    first = saved_bytes(tiny(random_state=3, **how).fit(X, y), tmp_path / "a")
    assert saved_bytes(tiny(random_state=3, **how).fit(X, y), tmp_path / "b") == first
    assert saved_bytes(tiny(random_state=4, **how).fit(X, y), tmp_path / "c").keys() != first.keys()  # names hold sums


def test_kinds_of_random_state() -> None:
    X, y = points()

    def logits(state: Any) -> bytes:
        return tiny(random_state=state, epochs=1).fit(X, y).predict_logits(X).tobytes()

    assert logits(np.int64(5)) == logits(5)
    assert logits(np.random.RandomState(1)) == logits(np.random.RandomState(1))
    moving = np.random.RandomState(1)
    assert logits(moving) != logits(moving)
    assert logits(None) != logits(None)
    assert logits(-5) != logits(5)
    tiny(random_state=-5, epochs=1, validation_fraction=0.2).fit(X, y)


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    X, y = pictures(side=32, channels=3)
    before = states()
    for model in (tiny(network="cnn", epochs=1), tiny(network="test_resnet", epochs=1, validation_fraction=0.2)):
        model.fit(X, y).predict(X)
        model.save(tmp_path)
        Classifier.load(tmp_path).predict(X)
    assert states() == before


# --- validation


def test_validation_rows_are_held_out_by_class() -> None:
    X, y = points(100)
    y[40:] = -1
    model = tiny(validation_fraction=0.25).fit(X, y)
    assert len(model.train_rows_) == 30
    assert np.ptp(np.bincount(y[model.train_rows_])) <= 1
    held = np.setdiff1d(np.flatnonzero(y >= 0), model.train_rows_)
    assert model.score(X[held], y[held]) == pytest.approx(model.history_[-1]["validation_score"])
    alone = tiny().fit(X[model.train_rows_], y[model.train_rows_])
    assert np.array_equal(model.predict_logits(X), alone.predict_logits(X))


@pytest.mark.parametrize(("counts", "fraction"), [((1, 20), 0.2), ((2, 2), 0.75), ((2, 30), 0.03), ((5, 5), 0.8)])
def test_classes_too_small_to_be_shared_out_still_train(counts: tuple[int, int], fraction: float) -> None:
    y = np.repeat([0, 1], counts)
    X = points(len(y))[0]
    model = tiny(validation_fraction=fraction).fit(X, y)
    assert len(model.train_rows_) == len(y) - max(1, round(fraction * len(y)))
    assert model.predict_proba(X).shape == (len(y), 2)


def noisy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X, y = points(80, seed=seed)
    rng = np.random.default_rng(seed)
    return X + 2 * rng.normal(size=X.shape), np.where(rng.random(80) < 0.3, rng.integers(0, 3, 80), y)


def test_early_stopping_keeps_the_best_epoch() -> None:
    X, y = noisy()
    X_val, y_val = noisy(seed=1)
    how = {"recipe": "cross-entropy", "epochs": 30, "learning_rate": 0.03, "schedule": "constant"}
    whole = tiny(**how).fit(X, y, X_val=X_val, y_val=y_val)
    stopped = tiny(early_stopping=4, **how).fit(X, y, X_val=X_val, y_val=y_val)
    scores = [row["validation_score"] for row in whole.history_]
    assert len(whole.history_) == 30
    assert whole.best_epoch_ == int(np.argmax(scores))
    assert whole.score(X_val, y_val) == pytest.approx(scores[-1])
    waited = next(k for k in range(30) if k - int(np.argmax(scores[: k + 1])) >= 4)  # the first epoch without patience
    assert stopped.history_ == whole.history_[: waited + 1]
    assert 5 <= waited < 29
    assert stopped.best_epoch_ == int(np.argmax(scores[: waited + 1]))
    until_best = tiny(**(how | {"epochs": stopped.best_epoch_ + 1})).fit(X, y)
    assert np.array_equal(stopped.predict_logits(X), until_best.predict_logits(X))
    last = whole.predict_logits(X)
    assert whole.use_best_epoch() is whole
    until_best = tiny(**(how | {"epochs": whole.best_epoch_ + 1})).fit(X, y)
    assert np.array_equal(whole.predict_logits(X), until_best.predict_logits(X))
    assert not np.array_equal(whole.predict_logits(X), last)


def test_no_best_epoch_without_validation() -> None:
    X, y = points()
    model = tiny().fit(X, y)
    assert model.best_epoch_ is None
    with pytest.raises(InputError, match="no state of a best epoch"):
        model.use_best_epoch()


def test_validation_labels_may_be_unknown_but_not_strange() -> None:
    X, y = points()
    names = np.array(["ant", "bee", "cat"])[y]
    val = np.where(np.arange(60) < 50, -1, y)
    model = tiny().fit(X, y, X_val=X, y_val=val)
    assert model.history_[-1]["validation_score"] == pytest.approx(model.score(X[50:], y[50:]))
    by_names = tiny().fit(X, names, X_val=TensorDataset(torch.from_numpy(X).float(), torch.zeros(60)), y_val=names)
    assert by_names.history_[-1]["validation_score"] == pytest.approx(by_names.score(X, names))
    with pytest.raises(InputError, match=r"y_val row 2 is 2, which is none of the classes \[0, 1\]"):
        tiny().fit(X[y < 2], y[y < 2], X_val=X, y_val=y)
    with pytest.raises(InputError, match=r"y_val has labels of type int64, but classes are \['ant', 'bee', 'cat'\]"):
        tiny().fit(X, names, X_val=X, y_val=y)
    with pytest.raises(InputError, match="X_val requires y_val"):
        tiny().fit(X, y, X_val=X)
    with pytest.raises(InputError, match="X_val has 60 examples but there are 59 labels"):
        tiny().fit(X, y, X_val=X, y_val=y[1:])
    with pytest.raises(InputError, match="4 features"):
        tiny().fit(X, y, X_val=X[:, :4], y_val=y)


def test_watch_and_on_epoch() -> None:
    X, y = points()
    heard: list[dict[str, float]] = []
    model = tiny().fit(X, y, watch=lambda recipe, epoch: {"squared": epoch**2}, on_epoch=heard.append)
    assert [row["squared"] for row in model.history_] == [0, 1, 4, 9]
    assert heard == model.history_


# --- corrections


def test_corrections_stand_at_the_rows_they_are_for() -> None:
    X, truth = points(120)
    rng = np.random.default_rng(2)
    y = np.where(rng.random(120) < 0.2, (truth + 1) % 3, truth)
    y[rng.random(120) < 0.2] = -1
    model = tiny("elr", epochs=10, validation_fraction=0.2).fit(X, y)
    found = model.corrections_
    trained = np.isin(np.arange(120), model.train_rows_)
    assert found.targets.shape == (120, 3)
    assert np.array_equal(found.mask, trained)
    assert np.array_equal(found.weights, trained.astype(np.float32))
    assert not found.targets[~trained].any()
    assert np.array_equal(found.targets[model.train_rows_], model.recipe_.corrections().targets.numpy())
    assert (found.targets[trained].argmax(axis=1) == truth[trained]).mean() > 0.95
    wrong = trained & (y != truth)
    assert wrong.sum() > 10
    assert (found.targets[wrong].argmax(axis=1) == truth[wrong]).mean() > 0.8


def test_recipes_without_memory_correct_nothing() -> None:
    assert tiny("cross-entropy").fit(*points()).corrections_ is None


# --- precision, checkpoints


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
@pytest.mark.parametrize("recipe", ["elr", "elr-plus", "co-teaching"])
@pytest.mark.filterwarnings("ignore")
def test_any_precision_predicts_the_same_after_save_and_load(precision: str, recipe: str, tmp_path: Path) -> None:
    X, y = points()
    model = tiny(recipe, precision=precision, epochs=8, validation_fraction=0.2).fit(X, y)
    assert model.score(X, y) > 0.9
    model.save(tmp_path)
    assert np.array_equal(Classifier.load(tmp_path).predict_logits(X), model.predict_logits(X))
    assert model.predict_logits(X).dtype == np.float32


def test_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path) -> None:
    X, y = points()
    how = {"epochs": np.int64(5), "checkpoint_folder": tmp_path / "checkpoint", "checkpoint_seconds": 0.0}

    def die(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny(**how).fit(X, y, on_epoch=die)
    assert len(load_checkpoint(tmp_path / "checkpoint")[1]["history"]) == 3
    resumed = tiny(**how, resume=True)
    heard: list[dict[str, float]] = []
    resumed.fit(X, y, on_epoch=heard.append)
    assert [row["epoch"] for row in heard] == [3, 4]
    whole = tiny(epochs=5, checkpoint_seconds=0.0).fit(X, y)
    assert saved_bytes(resumed, tmp_path / "a") == saved_bytes(whole, tmp_path / "b")
