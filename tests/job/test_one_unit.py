"""Numeric columns of one unit keep their proportions where that helps, and only there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelwise.data.open import open_data
from labelwise.job.inputs import Inputs
from labelwise.job.model import Model
from labelwise.job.options import Options
from labelwise.job.run import run


def write(folder: Path, *, informative_are_large: bool) -> Path:
    """Three columns that tell two classes apart among forty that do not; the ones or the others are 30 times larger."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    columns = rng.normal(size=(300, 43))
    columns[:, :3] += 1.2 * (2 * labels[:, None] - 1)
    columns[:, slice(0, 3) if informative_are_large else slice(3, 43)] *= 30
    frame = pd.DataFrame(columns, columns=[f"f{place}" for place in range(43)])
    frame["y"] = np.where(rng.random(300) < 0.2, 1 - labels, labels)
    frame.to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


@pytest.mark.parametrize("informative_are_large", [True, False])
def test_the_choice_follows_the_validation_labels(informative_are_large: bool, tmp_path: Path) -> None:
    source = write(tmp_path, informative_are_large=informative_are_large)
    out = tmp_path / "out"
    run(Options(source=str(source), label="y", out=str(out), epochs=4, skip=("audit", "trust", "report")))
    model = Model.load(out / "model")
    assert (model.inputs.factors is not None) == informative_are_large


def test_factors_are_the_columns_own_spread(tmp_path: Path) -> None:
    examples = open_data(write(tmp_path, informative_are_large=True), label="y")
    inputs = Inputs.fit(examples)
    other = inputs.in_one_unit()
    assert other is not None
    encoded = other.transform(examples.inputs)
    assert encoded[:, :3].std() / encoded[:, 3:].std() == pytest.approx(30 * np.sqrt(1 + 1.2**2), rel=0.1)
    assert float((encoded**2).mean()) == pytest.approx(1, rel=0.02)
    again = Inputs.from_state(*other.to_state())
    assert np.array_equal(again.transform(examples.inputs), encoded)


def test_columns_of_different_kinds_are_never_of_one_unit(tmp_path: Path) -> None:
    frame = pd.read_parquet(write(tmp_path, informative_are_large=True))
    frame["colour"] = np.where(frame["f0"] > 0, "red", "blue")
    frame.to_parquet(tmp_path / "mixed.parquet")
    assert Inputs.fit(open_data(tmp_path / "mixed.parquet", label="y")).in_one_unit() is None
    frame[["f0", "f1", "y"]].to_parquet(tmp_path / "few.parquet")
    assert Inputs.fit(open_data(tmp_path / "few.parquet", label="y")).in_one_unit() is None
