"""The reproductions of ConR and C-Mixup: their splits, measures and verdicts."""

import json

import numpy as np
import pytest
import torch

from labelwise.reproductions import c_mixup, conr
from labelwise.reproductions.conr import FEW, MANY, Rows, Task


@pytest.mark.parametrize("module", [c_mixup, conr])
def test_quick_run(module) -> None:
    result = module.run(seeds=1, data_dir=None, quick=True)
    json.loads(result.to_json())
    assert result.interval is None
    assert any("abalone was left out" in note for note in result.notes)
    method = result.methods[module.METHOD].mean
    baseline = result.baselines[module.ERM if module is c_mixup else module.L1].mean
    assert result.difference == pytest.approx(method - baseline)
    if result.difference > 0:
        assert not result.holds


@pytest.mark.parametrize("name", ["diabetes", "periodic"])
def test_splits_share_no_row(name: str) -> None:
    parts = c_mixup.draw_split(name, 3, None)
    assert [len(part.y) for part in parts[:2]] == [c_mixup.NUM_TRAIN, c_mixup.NUM_VALIDATION]
    rows = np.concatenate([part.X for part in parts])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert np.concatenate([part.y for part in parts]).std() == pytest.approx(1, abs=0.1)


def test_turned_digits_are_rare_where_steep_in_training_only() -> None:
    task = conr.turned_digits(0, quick=True)
    assert task.train.X.shape == (300, 16, 16)
    for part in task[:3]:
        assert part.y.min() >= 0
        assert part.y.max() <= 90
    assert (task.train.y > 45).mean() < 0.12
    assert 0.3 < (task.test.y > 45).mean() < 0.7


def test_shifted_moves_pictures_whole() -> None:
    inputs = torch.zeros(200, 1, 9, 9)
    inputs[:, 0, 4, 4] = 10
    moved = conr.shifted(inputs, torch.Generator().manual_seed(0))
    assert moved.shape == inputs.shape
    peaks = torch.nonzero(moved > 5)
    assert len(peaks) == 200
    assert sorted(set(peaks[:, 2].tolist())) == sorted(set(peaks[:, 3].tolist())) == [2, 3, 4, 5, 6]


def test_measures() -> None:
    train = np.concatenate([np.full(MANY + 1, 0.5), np.full(FEW - 1, 7.9), np.full(FEW, 9.0)])
    test = Rows(np.zeros((4, 1)), np.array([0.1, 7.0, 9.5, 30.0]))

    class Zero:
        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.zeros(len(X))

    found = conr.measure(Zero(), Task(Rows(np.zeros((len(train), 1)), train), test, test, {}))
    assert found["all"] == pytest.approx(46.6 / 4)
    assert found["few"] == pytest.approx((7 + 30) / 2)
    assert found["many"] == pytest.approx(0.1)
    assert found["geometric"] == pytest.approx(np.prod([0.1, 7, 9.5, 30]) ** 0.25, rel=1e-6)


def test_abalone_parts_are_balanced_and_apart(data_dir) -> None:
    task = conr.abalone(0, data_dir)
    counts = np.unique(task.test.y, return_counts=True)[1]
    assert counts.max() <= 25
    assert len(task.train.y) == 1500
    assert np.unique(task.validation.y, return_counts=True)[1].max() <= 8
