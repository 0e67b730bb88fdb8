"""Rows with equal inputs stay together, so that no model predicts what it has seen."""

from pathlib import Path

import numpy as np
import pytest

from labelwise.data.examples import duplicates
from labelwise.data.open import open_data
from labelwise.job.options import Options
from labelwise.job.parts import Parts, split
from labelwise.job.run import run


def write(folder: Path, copies: int, rows: int = 150) -> Path:
    """Three classes apart, a third of the labels moved to another class; each row so many times."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, rows)
    inputs = 3 * np.eye(3)[truth] + rng.normal(size=(rows, 3))
    given = np.where(rng.random(rows) < 0.33, (truth + rng.integers(1, 3, rows)) % 3, truth)
    np.savez(folder / "data.npz", X=np.repeat(inputs, copies, axis=0), y=np.repeat(given, copies))
    return folder / "data.npz"


def parts_of(source: Path) -> Parts:
    examples = open_data(source)
    return split(examples, duplicates(examples), seed=0)


def test_no_group_stands_on_two_sides(tmp_path: Path) -> None:
    parts = parts_of(write(tmp_path, copies=4))
    sides = (parts.train, parts.validation, parts.calibration, parts.test)
    assert sorted(np.concatenate(sides)) == list(range(600))
    found = [set(parts.group[side]) for side in sides]
    for place, groups in enumerate(found):
        assert not any(groups & others for others in found[place + 1 :])
    assert [len(side) for side in sides[1:]] == pytest.approx([90, 90, 90], abs=8)


def test_without_duplicates_every_row_is_its_own_group(tmp_path: Path) -> None:
    parts = parts_of(write(tmp_path, copies=1))
    assert parts.audited_groups is None
    assert len(parts.test) == round(0.15 * 150)


def test_copies_do_not_hide_wrong_labels(tmp_path: Path) -> None:
    """Divided row by row, a copy of each row is in training, and its wrong label looks well explained."""
    options = {"out": str(tmp_path / "out"), "recipe": "cross-entropy", "network": "mlp-64", "epochs": 30, "folds": 3}
    once = run(Options(source=str(write(tmp_path, copies=1)), skip=("learn", "trust"), **options)).metrics
    often = run(Options(source=str(write(tmp_path, copies=4)), skip=("learn", "trust"), **options)).metrics
    assert often["duplicate_groups"] == 150
    assert often["noise_rate_estimated"] == pytest.approx(once["noise_rate_estimated"], abs=0.12)
    assert often["noise_rate_estimated"] > 0.15


def test_too_few_different_rows_are_divided_one_by_one_with_a_note(tmp_path: Path) -> None:
    np.savez(tmp_path / "same.npz", X=np.ones((60, 2)), y=np.arange(60) % 2)
    examples = open_data(tmp_path / "same.npz")
    parts = split(examples, duplicates(examples), seed=0)
    assert parts.audited_groups is None
    assert "only 1 different inputs" in examples.notes[-1]
