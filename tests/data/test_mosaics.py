"""Mosaics show what their labels say."""

import numpy as np
import pytest

from labelwise.data.mosaics import draw_mosaics
from labelwise.data.scenes import Glyphs
from labelwise.errors import InputError

# A glyph of kind k is filled with k + 1, so that a picture tells what it shows.
GLYPHS = Glyphs(np.stack([np.full((3, 2), k + 1, dtype=np.float32) for k in range(4)]), np.arange(4))


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_labels_are_the_kinds_that_are_shown(cells: int) -> None:
    images, labels = draw_mosaics(300, np.random.default_rng(0), GLYPHS, num_classes=5, cells=cells)
    assert images.shape == (300, 3 * cells, 2 * cells)
    assert images.dtype == np.float32
    for image, row in zip(images, labels, strict=True):
        assert set(np.flatnonzero(row) + 1) == set(np.unique(image[image > 0]))
    assert not labels[:, 4].any()


def test_cells_are_blank_as_often_as_asked_and_drawn_from_the_generator() -> None:
    images, _ = draw_mosaics(2000, np.random.default_rng(1), GLYPHS, num_classes=4, blank=0.35)
    share = (images[:, ::3, ::2] == 0).mean()
    assert share == pytest.approx(0.35, abs=0.03)
    again, labels = draw_mosaics(2000, np.random.default_rng(1), GLYPHS, num_classes=4, blank=0.35)
    assert np.array_equal(images, again)
    assert not draw_mosaics(9, np.random.default_rng(1), GLYPHS, num_classes=4, blank=1)[1].any()
    assert draw_mosaics(0, np.random.default_rng(1), GLYPHS, num_classes=4).images.shape == (0, 6, 4)
    assert labels.sum(axis=1).min() == 0


def test_without_glyphs_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="no glyphs"):
        draw_mosaics(3, np.random.default_rng(0), Glyphs(GLYPHS.pictures[:0], GLYPHS.labels[:0]), num_classes=2)
