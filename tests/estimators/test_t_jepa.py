"""TJEPA: tables of numbers, words and missing cells in, representations out; scikit-learn's checks; what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from labelwise import TJEPA, InputError
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint

OPTIONS = {"pred_dim": 8, "pred_heads": 2, "pred_layers": 1, "pred_feedforward": 8, "ema_start": 0.9}


def tiny(**changes: Any) -> TJEPA:
    """An estimator that trains in a blink."""
    fixed = {"dim": 8, "heads": 2, "layers": 1, "feedforward": 8, "epochs": 3, "batch_size": 16, "accelerator": "cpu"}
    return TJEPA(**({"recipe_options": OPTIONS} | fixed | changes))


def table(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Numbers, words, whole numbers and dates, some of them missing."""
    rng = np.random.default_rng(seed)
    hidden = rng.random(n)
    frame = pd.DataFrame(
        {
            "age": 20 + 50 * hidden,
            "town": np.array(["Ulm", "Bonn", "Kiel"])[(3 * hidden).astype(int)],
            "rooms": (5 * hidden).astype(int),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta((1000 * hidden).astype(int), unit="D"),
        }
    )
    frame.loc[3, "age"], frame.loc[5, "town"] = np.nan, None
    return frame


# No check is expected to fail.
@parametrize_with_checks([tiny(epochs=2)])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_representations_of_a_table() -> None:
    X = table()
    model = tiny().fit(X)
    Z = model.transform(X)
    assert Z.shape == (60, (1 + 4) * 8)
    assert Z.dtype == np.float32
    assert np.isfinite(Z).all()
    assert np.array_equal(model.transform_tokens(X).reshape(60, -1), Z)
    assert np.array_equal(tiny().fit_transform(X), Z)
    assert not np.array_equal(tiny(random_state=1).fit_transform(X), Z)
    assert model.transform(X.iloc[[7]]).shape == (1, 40)
    assert model.feature_names_in_.tolist() == list(X.columns)
    assert [row["epoch"] for row in model.history_] == [0, 1, 2]


def test_labels_are_ignored_and_rows_held_out_do_not_train() -> None:
    X = table()
    assert np.array_equal(tiny().fit(X, np.arange(60)).transform(X), tiny().fit(X).transform(X))
    model = tiny(validation_fraction=0.25).fit(X)
    assert len(model.train_rows_) == 45
    held = np.setdiff1d(np.arange(60), model.train_rows_)
    spread = model.transform(X.iloc[held]).std(axis=0).mean()
    assert model.history_[-1]["validation_score"] == pytest.approx(spread, rel=1e-4)


def test_signs_of_collapse_are_of_the_training_rows() -> None:
    X = table()
    model = tiny().fit(X)
    Z = model.transform(X).astype(np.float64)
    assert model.collapse_.variance == pytest.approx(Z.var(axis=0).mean(), rel=1e-3)
    assert 1 < model.collapse_.effective_rank < 40
    same = tiny().fit(pd.concat([X.iloc[[0]]] * 9, ignore_index=True))
    np.testing.assert_allclose(same.collapse_, 0, atol=1e-6)


def test_an_array_is_a_frame_without_names() -> None:
    X = table()[["age", "rooms"]].assign(code=np.arange(60) % 3)
    model = tiny(categorical=("code",)).fit(X)
    by_position = tiny(categorical=(2,)).fit(X.to_numpy())
    assert np.array_equal(model.transform(X), by_position.transform(X.to_numpy()))
    assert not np.array_equal(tiny().fit(X).transform(X), model.transform(X))
    words = table()[["age", "town"]]
    assert np.array_equal(tiny().fit(words).transform(words), tiny().fit(words.to_numpy()).transform(words.to_numpy()))


def test_units_of_a_number_and_names_of_categories_do_not_matter() -> None:
    X = table().drop(columns="since")
    other = X.assign(age=8 * X["age"] - 64, town=X["town"].map({"Ulm": "z", "Bonn": "b", "Kiel": "k"}))
    np.testing.assert_allclose(tiny().fit_transform(other), tiny().fit_transform(X), atol=1e-4)


def test_new_rows_may_lack_cells_that_training_rows_had() -> None:
    X = table().dropna()
    model = tiny().fit(X)
    new = X.copy()
    new["age"], new["town"], new["since"] = np.nan, "never seen", pd.NaT
    Z = model.transform(new)
    assert np.isfinite(Z).all()
    assert np.array_equal(Z, model.transform(new.assign(town=None)))
    median = new.assign(age=X["age"].median(), town=None)
    assert np.allclose(model.transform(median), Z, atol=1e-5)  # a column that never lacked a cell takes its median


@pytest.mark.parametrize("reg_tokens", [0, 1, 3])
def test_learned_tokens_may_be_more_or_none(reg_tokens: int) -> None:
    model = tiny(reg_tokens=reg_tokens).fit(table())
    assert model.transform_tokens(table()).shape == (60, reg_tokens + 4, 8)
    assert model.get_feature_names_out().shape == ((reg_tokens + 4) * 8,)


def test_before_a_model_with_few_labels() -> None:
    X, y = table(), np.arange(60) % 2
    frame = make_pipeline(tiny().set_output(transform="pandas"), LogisticRegression(max_iter=500)).fit(X, y)
    assert frame.predict(X).shape == (60,)
    assert frame[0].transform(X).columns[0] == "tjepa0"
    assert clone(frame[0]).get_params() == frame[0].get_params()


def test_saved_and_loaded(tmp_path: Path) -> None:
    X = table()
    model = tiny().fit(X)
    model.save(tmp_path / "a")
    again = TJEPA.load(tmp_path / "a")
    assert np.array_equal(again.transform(X), model.transform(X))
    assert again.collapse_ == model.collapse_
    assert again.history_ == model.history_
    again.save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(ValueError, match="feature names"):
        again.transform(X[["town", "age", "rooms", "since"]])
    assert np.array_equal(again.fit(X).transform(X), model.transform(X))


@pytest.mark.parametrize("change", [{"columns": None}, {"columns": {}}, {"collapse": [1]}, {"input_shape": [9]}])
def test_a_forged_model_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    tiny().fit(table()).save(tmp_path)
    tensors, manifest = load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, tensors, json.loads(json.dumps(manifest)) | change)
    with pytest.raises(InputError):
        TJEPA.load(tmp_path).transform(table())


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    X = table()
    whole = tiny(epochs=4).fit(X)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    kept = {"checkpoint_folder": tmp_path, "checkpoint_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        tiny(epochs=4, **kept).fit(X, on_epoch=stop)
    resumed = tiny(epochs=4, resume=True, **kept).fit(X)
    assert np.array_equal(resumed.transform(X), whole.transform(X))
    assert resumed.history_ == whole.history_
    with pytest.raises(InputError, match="other settings or data"):
        tiny(epochs=4, resume=True, **kept).fit(X.assign(age=np.arange(60)))


def test_one_row_and_two_columns() -> None:
    X = table()[["age", "town"]]
    for rows in (X.iloc[[0]], X.iloc[:2], X.iloc[[3, 3, 3]]):
        model = tiny().fit(rows)
        assert np.isfinite(model.transform(X)).all()


def test_global_generators_are_left_alone() -> None:
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tiny(dropout=0.3).fit(table())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


@pytest.mark.parametrize(
    ("X", "changes", "message"),
    [
        (table()[["age"]], {}, "X has 1 column, but columns are predicted from others"),
        (np.ones((9, 1)), {}, r"1 feature\(s\)"),
        (table().iloc[:0], {}, "X has no rows"),
        (np.ones((0, 3)), {}, r"0 sample\(s\)"),
        (np.ones(9), {}, "2D array"),
        (np.ones((3, 3, 3)), {}, "dim 3"),
        (table().assign(age=np.inf), {}, "column 'age' holds inf in row 0"),
        (np.array([[0.0, 1.0], [2.0, -np.inf]]), {}, "column 1 holds -inf in row 1"),
        (np.ones((4, 2), dtype=complex), {}, "Complex data not supported"),
        (table(), {"categorical": ("city",)}, "names 'city', which is no column"),
        (table(), {"recipe": "elr"}, "there is no recipe 'elr' for pretraining; choose one of t-jepa"),
        (table(), {"recipe_options": {"no_such": 1}}, "recipe_options"),
        (table(), {"recipe_options": {"n_targets": 0}}, "n_targets is 0"),
        (table(), {"recipe_options": {"context_share": (0.9, 1.0)}}, "are more than 4 in all"),
        (table(), {"dim": 9, "heads": 3}, "tokens have a width of 9: give an even number"),
        (table(), {"dim": 8, "heads": 3}, "3 heads cannot share a width of 8"),
        (table(), {"dim": 0}, "dim is 0"),
        (table(), {"layers": 1.5}, "layers is 1.5"),
        (table(), {"reg_tokens": -1}, "reg_tokens is -1"),
        (table(), {"dropout": 1.0}, "dropout is 1.0"),
        (table(), {"dropout": np.nan}, "dropout is nan"),
        (table(), {"epochs": 0}, "epochs is 0"),
        (table(), {"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        (table(), {"random_state": "x"}, "random_state is 'x'"),
    ],
)
def test_bad_input_is_refused(X: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**changes).fit(X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.assign(age="old"), "column 'age' holds 'old', but held numbers in training"),
        (lambda X: X.assign(rooms=np.inf), "column 'rooms' holds inf in row 0"),
        (lambda X: X.drop(columns="age"), "feature names"),
        (lambda X: X.rename(columns={"age": "years"}), "feature names"),
        (lambda X: X[["town", "age", "rooms", "since"]], "feature names"),
        (lambda X: X.iloc[:0], "X has no rows"),
    ],
)
def test_bad_new_rows_are_refused(change: Any, message: str) -> None:
    model = tiny(epochs=1).fit(table())
    with pytest.raises(InputError, match=message):
        model.transform(change(table()))
