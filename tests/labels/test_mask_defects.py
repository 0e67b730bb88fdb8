"""Damaged masks: how far each defect goes, in two dimensions and three."""

import numpy as np
import pytest
from scipy import ndimage

from labelwise.errors import InputError
from labelwise.labels.mask_defects import DEFECTS, add_island, cut, damage, punch_hole, shift

SQUARE = np.zeros((40, 50), dtype=bool)
SQUARE[10:30, 10:40] = True
CUBE = np.zeros((20, 22, 24), dtype=bool)
CUBE[5:15, 6:16, 7:17] = True


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("mask", [SQUARE, CUBE], ids=["2-D", "3-D"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_more_severe_is_worse(defect: str, mask: np.ndarray) -> None:
    given = mask.copy()
    kept = []
    for severity in (0.0, 0.3, 0.9):
        made = [damage(mask, np.random.default_rng(seed), defect, severity) for seed in range(12)]
        assert all(each.dtype == bool and each.shape == mask.shape for each in made)
        kept.append(np.mean([overlap(each, mask) for each in made]))
    assert kept[0] > 0.95
    assert kept[0] > kept[1] > kept[2]
    np.testing.assert_array_equal(mask, given)


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_nothing_stays_nothing_and_all_is_allowed(defect: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    assert not damage(np.zeros(shape, bool), rng, defect, 1.0).any()
    assert damage(np.ones(shape, bool), rng, defect, 0.4).shape == shape


def test_a_cut_takes_its_share_by_a_line() -> None:
    left = cut(SQUARE, np.random.default_rng(1), 0.3)
    assert left.sum() == 420
    assert not (left & ~SQUARE).any()
    assert ndimage.label(left)[1] == 1
    np.testing.assert_array_equal(cut(SQUARE, np.random.default_rng(1), 0.0), SQUARE)


def test_an_island_adds_and_a_hole_takes_away() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        grown, pierced = add_island(CUBE, rng, 0.2), punch_hole(CUBE, rng, 0.2)
        assert (grown & CUBE).sum() == CUBE.sum()
        assert 0 < grown.sum() - CUBE.sum() <= 300
        assert not (pierced & ~CUBE).any()
        assert 0 < CUBE.sum() - pierced.sum() <= 300


def test_a_shift_moves_by_its_distance() -> None:
    for seed in range(10):
        moved = shift(CUBE, np.random.default_rng(seed), 4.0)
        step = np.array(ndimage.center_of_mass(moved)) - ndimage.center_of_mass(CUBE)
        assert np.linalg.norm(step) == pytest.approx(4, abs=0.9)
        assert moved.sum() == CUBE.sum()


def test_refusals() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="'rust'"):
        damage(SQUARE, rng, "rust")
    with pytest.raises(InputError, match="severity"):
        damage(SQUARE, rng, "cut", 1.5)
