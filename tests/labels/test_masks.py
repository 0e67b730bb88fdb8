"""Mask noise: what may change and what may not, sizes against the rule, the same draws from the same generator."""

from typing import Any

import numpy as np
import pytest

from labelwise.data.scenes import draw_scenes
from labelwise.errors import InputError
from labelwise.labels.masks import check_masks, morphological_label_noise, shift_mask, sparse_mask

SCENES = draw_scenes(8, np.random.default_rng(3))


def disc(radius: float, size: int = 64) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    rows, columns = rows - (size / 2 - 0.5), columns - (size / 2 - 0.5)
    return (np.hypot(rows, columns) <= radius).astype(np.int64)


@pytest.mark.parametrize("radius", [6, 12, 24])
@pytest.mark.parametrize("times", [2, 4])
def test_a_disc_shrinks_and_grows_as_at_a_thousand_pixels(radius: int, times: int) -> None:
    mask, rng = disc(radius), np.random.default_rng(0)
    working = np.sqrt(1000 / np.pi)  # the disc's radius at the size at which it is eroded
    for mode, sign in (("under", -1), ("over", 1)):
        noisy = morphological_label_noise(mask, rng, times, mode)
        # A square reaches further along diagonals; coming back rounds to whole pixels of the mask.
        found = np.sqrt(noisy.sum() / np.pi) * working / radius
        rounding = 0.5 + 0.5 * working / radius
        assert times - rounding <= sign * (found - working) <= np.sqrt(2) * times + rounding


@pytest.mark.parametrize("scene", range(8))
def test_under_only_loses_and_over_takes_background_only(scene: int) -> None:
    mask = SCENES.masks[scene].copy()
    mask[0] = 255
    under = morphological_label_noise(mask, np.random.default_rng(0), mode="under")
    over = morphological_label_noise(mask, np.random.default_rng(0), mode="over")
    assert set(under[under != mask]) <= {0}
    assert set(mask[over != mask]) <= {0}
    assert (under[0] == 255).all()
    assert (over[0] == 255).all()
    assert (under > 0).sum() < (mask > 0).sum() < (over > 0).sum()
    assert set(np.unique(over)) == set(np.unique(mask))


def test_draws_come_from_the_generator_and_both_modes_occur() -> None:
    mask = SCENES.masks[0]
    draws = [morphological_label_noise(mask, np.random.default_rng(seed)) for seed in range(12)]
    again = [morphological_label_noise(mask, np.random.default_rng(seed)) for seed in range(12)]
    assert all(np.array_equal(*pair) for pair in zip(draws, again, strict=True))
    sizes = np.array([(draw > 0).sum() for draw in draws])
    assert (sizes < (mask > 0).sum()).any()
    assert (sizes > (mask > 0).sum()).any()


@pytest.mark.parametrize("mask", [np.zeros((4, 5), int), np.full((4, 5), 255), np.ones((4, 5), int)])
def test_masks_without_a_border_stay(mask: np.ndarray) -> None:
    for mode in ("under", "over"):
        assert np.array_equal(morphological_label_noise(mask, np.random.default_rng(0), mode=mode), mask)
    assert np.array_equal(morphological_label_noise(disc(3), np.random.default_rng(0), 0), disc(3))


def test_shift_and_sparse() -> None:
    mask = disc(8)
    shifted = shift_mask(mask, np.random.default_rng(1), 3)
    assert shifted.sum() == mask.sum()
    moved = np.argwhere(shifted).mean(axis=0) - np.argwhere(mask).mean(axis=0)
    assert np.abs(moved).max() <= 3
    sparse = sparse_mask(mask, np.random.default_rng(1), 0.1)
    kept = sparse != 255
    assert np.array_equal(sparse[kept], mask[kept])
    assert 0.05 < kept.mean() < 0.15
    assert np.unique(sparse_mask(mask, np.random.default_rng(1), 0.0)).tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: morphological_label_noise(disc(3), rng, mode="both"), "mode is 'both'"),  # type: ignore[arg-type]
        (lambda rng: morphological_label_noise(disc(3), rng, -1), "iterations is -1"),
        (lambda rng: morphological_label_noise(disc(3)[0], rng), "shape"),
        (lambda rng: shift_mask(disc(3), rng, -1), "largest is -1"),
        (lambda rng: sparse_mask(disc(3), rng, 1.5), "share is 1.5"),
        (lambda rng: check_masks(np.zeros((1, 2, 0), int)), "at least one pixel"),
        (lambda rng: check_masks([[["a"]]]), "class numbers"),
        (lambda rng: draw_scenes(1, rng, kinds=(11,)), "no glyphs of kind 11"),
        (lambda rng: draw_scenes(1, rng, glyph_sizes=(12, 40)), "glyph_sizes"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(np.random.default_rng(0))


def test_scenes_are_drawn_by_the_generator_and_masks_lie_on_objects() -> None:
    again = draw_scenes(8, np.random.default_rng(3))
    assert np.array_equal(again.images, SCENES.images)
    assert np.array_equal(again.masks, SCENES.masks)
    clear = draw_scenes(30, np.random.default_rng(4), texture=0, blur=0, noise=0)
    assert clear.images[clear.masks > 0].min() > clear.images[clear.masks == 0].max()
    rare = draw_scenes(60, np.random.default_rng(5), frequencies=(0.9, 0.1, 0.0))
    counts = np.bincount(rare.masks.ravel(), minlength=4)
    assert counts[1] > counts[2] > counts[3] == 0
