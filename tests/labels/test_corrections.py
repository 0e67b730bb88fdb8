"""The triple of targets, weights and mask."""

from typing import Any

import numpy as np
import pytest
import torch

from labelwise.labels.corrections import Corrections


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_spread_puts_each_row_at_its_place(kind: Any) -> None:
    partial = [[0.5, 0.25], [0.0, 0.0], [1.0, 0.0]]  # mass below 1 stays below 1
    part = Corrections(kind(partial), kind([0.5, 0.0, 2.0]), kind([True, False, True]))
    whole = part.spread(np.array([4, 0, 2]), 6)
    assert whole.targets.tolist() == [[0, 0], [0, 0], [1, 0], [0, 0], [0.5, 0.25], [0, 0]]
    assert whole.weights.tolist() == [0, 0, 2, 0, 0.5, 0]
    assert whole.mask.tolist() == [False, False, True, False, True, False]
    assert isinstance(whole.targets, np.ndarray)
    assert whole.mask.dtype == bool


def test_spread_over_the_same_rows_is_a_copy() -> None:
    part = Corrections(np.eye(2, dtype=np.float32), np.ones(2, np.float32), np.ones(2, bool))
    whole = part.spread(np.arange(2), 2)
    assert np.array_equal(whole.targets, part.targets)
    whole.targets[:] = 7
    assert part.targets.max() == 1


def test_spread_of_nothing() -> None:
    none = Corrections(np.zeros((0, 3)), np.zeros(0), np.zeros(0, bool)).spread(np.arange(0), 2)
    assert none.targets.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert not none.mask.any()
