"""The reproduction of T-JEPA: its tables share no row, its arms see the same labels, and when its claim holds."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from labelwise.reproductions import t_jepa
from labelwise.reproductions.t_jepa import LINEAR, METHOD, MLP, RAW, UNTRAINED, Features, Table


def test_quick_run() -> None:
    result = t_jepa.run(seeds=1, data_dir=None, quick=True)
    json.loads(result.to_json())
    assert result.interval is None
    assert any("adult was left out" in note for note in result.notes)
    arms = result.details["digits"]
    assert result.difference == pytest.approx(arms[f"{MLP}, {METHOD}"] - arms[f"{MLP}, {RAW}"])
    assert arms[f"{LINEAR}, {RAW}"] > 0.6
    assert set(result.details["factors"]) < set(arms)
    assert f"{LINEAR}, {t_jepa.NO_TOKEN}" in arms


@pytest.mark.parametrize("make", [t_jepa.factors_table, t_jepa.digits_table])
def test_parts_share_no_row_and_differ_by_seed(make: Any) -> None:
    table, other = make(0), make(1)
    rows = pd.concat([table.train, table.validation, table.test], ignore_index=True)
    labels = np.concatenate([table.train_y, table.validation_y, table.test_y])
    assert len(rows) == len(labels)
    assert len(rows.drop_duplicates()) > 0.99 * len(rows)  # some digits are alike
    assert not table.train.equals(other.train)
    assert table.train.shape[1] == 16


def test_adult_keeps_its_test_split_and_its_missing_cells(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 13_000
    columns = {
        "age": np.arange(count),
        "workclass": np.array(["?", "Private"])[rng.integers(0, 2, count)],
        "income": np.array(["<=50K", ">50K"])[rng.integers(0, 2, count)],
        "split": np.where(np.arange(count) < 7000, "train", "test"),
    }
    (tmp_path / "tabular").mkdir()
    pd.DataFrame(columns).to_parquet(tmp_path / "tabular" / "adult.parquet")
    table = t_jepa.adult_table(0, tmp_path)
    assert list(table.train.columns) == ["age", "workclass"]
    assert (len(table.train), len(table.validation), len(table.test)) == (5000, 300, 5000)
    assert max(table.train["age"].max(), table.validation["age"].max()) < 7000 <= table.test["age"].min()
    assert not set(table.train["age"]) & set(table.validation["age"])
    for part, y in ((table.train, table.train_y), (table.test, table.test_y)):
        assert np.array_equal(y, (columns["income"] == ">50K")[part["age"]])
        assert 0.4 < part["workclass"].isna().mean() < 0.6


def table(few: int = 6) -> Table:
    X, y = pd.DataFrame({"row": np.arange(60.0)}), np.arange(60) % 2
    return Table("toy", X, y, few, X, y, X, y, epochs=1, draws=2)


class Counting:
    """Says the class it was built with, and notes what it is fitted on."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, answer: int = 0) -> None:
        self.answer = answer

    def get_params(self, deep: bool = True) -> dict[str, int]:
        return {"answer": self.answer}

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Counting":
        assert sorted(y.tolist()) == [0, 0, 0, 1, 1, 1]
        self.seen.append(tuple(X[:, 0].astype(int).tolist()))
        return self

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        return float((y == self.answer).mean())


def test_models_are_chosen_on_validation_rows_and_see_the_same_labels() -> None:
    Counting.seen = []
    rows = table()._replace(validation_y=np.ones(60, dtype=np.int64), test_y=np.arange(60) % 3)
    numbers = np.arange(60.0)[:, None]
    features = Features(numbers, numbers, numbers)
    assert t_jepa.probe([Counting(0), Counting(1), Counting(2)], features, rows, seed=0) == pytest.approx(1 / 3)
    draws = Counting.seen
    assert len(draws) == 6
    assert draws[0] == draws[1] == draws[2]
    assert draws[3] == draws[4] == draws[5]
    assert draws[0] != draws[3]
    t_jepa.probe([Counting(1)], features, rows, seed=0)
    assert Counting.seen[6] == draws[0]  # whatever the features, the same rows


def test_an_untrained_encoder_is_as_it_started() -> None:
    rows = t_jepa.factors_table(0, quick=True)
    untrained, trained = t_jepa.pretrain(rows, 0, trained=False), t_jepa.pretrain(rows, 0)
    start = untrained._build_recipe(None, 0).teacher.state_dict()
    for name, value in untrained.recipe_.teacher.state_dict().items():
        assert np.array_equal(value.numpy(), start[name].numpy()), name
    moved = [
        not np.array_equal(v.numpy(), start[name].numpy()) for name, v in trained.recipe_.teacher.state_dict().items()
    ]
    assert any(moved)


def test_the_verdict_needs_every_gain_of_the_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(over_untrained: float) -> bool:
        arms = {f"{model}, {kind}": 0.5 for model in (LINEAR, MLP) for kind in (RAW, UNTRAINED)}
        arms |= {f"{LINEAR}, {METHOD}": 0.1, f"{MLP}, {METHOD}": 0.7, f"{MLP}, {UNTRAINED}": 0.7 - over_untrained}
        monkeypatch.setattr(
            t_jepa, "run_arms", lambda _table, seed: {name: x + 0.01 * seed for name, x in arms.items()}
        )
        return t_jepa.run(seeds=3, data_dir=None, quick=True).holds

    assert verdict(0.1)
    assert not verdict(-0.1)
