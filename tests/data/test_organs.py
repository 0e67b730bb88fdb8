"""Rendered organs: what is drawn is what the masks say."""

import numpy as np
from scipy import ndimage

from labelwise.data.organs import ORGANS, SHAPE, draw_volume


def test_volumes() -> None:
    rng = np.random.default_rng(0)
    volumes = [draw_volume(rng) for _ in range(20)]
    for volume in volumes:
        assert volume.ct.shape == SHAPE
        assert volume.ct.dtype == np.float32
        assert {"liver", "spleen"} <= set(volume.masks) <= set(ORGANS)
        assert sum(mask.astype(int) for mask in volume.masks.values()).max() == 1  # no voxel in two organs
        for name, mask in volume.masks.items():
            assert 50 < mask.sum() < 2000
            inside = ndimage.binary_erosion(mask, iterations=2)  # away from the blurred border
            # Noise has deviation 30; four standard errors.
            assert abs(volume.ct[inside].mean() - ORGANS[name].brightness) < 4 * 30 / max(inside.sum(), 1) ** 0.5 + 3
        assert np.median(volume.ct[:, 25:27, 15:17]) > 600
        assert volume.ct[:, 0, 0].mean() < -900
    assert 4 < sum("stomach" in volume.masks for volume in volumes) < 16


def test_the_same_generator_draws_the_same() -> None:
    first, second = (draw_volume(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.ct, second.ct)
    assert (draw_volume(np.random.default_rng(6)).ct != first.ct).any()
