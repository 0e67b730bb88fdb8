"""Mosaics: small pictures that show several things at once, or nothing, so that several labels apply to them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data.scenes import Glyphs
from labelwise.errors import InputError


class Mosaics(NamedTuple):
    """``images`` (n, H, W) float32 and true ``labels`` (n, classes) int64, 1 where a kind of glyph is shown."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def draw_mosaics(
    count: int, rng: np.random.Generator, glyphs: Glyphs, *, num_classes: int, cells: int = 2, blank: float = 0.35
) -> Mosaics:
    """Draw pictures of ``cells`` x ``cells`` glyphs, each cell empty with probability ``blank``.

    Glyphs (m, h, w) of kinds 0 to ``num_classes - 1`` are drawn with replacement, all alike. Raises InputError where
    there is none to draw.
    """
    if not len(glyphs.pictures):
        raise InputError("there are no glyphs to draw mosaics of: give at least one.")
    chosen = rng.integers(0, len(glyphs.pictures), (count, cells, cells))
    shown = rng.random(chosen.shape) >= blank  # (n, cells, cells)
    tiles = glyphs.pictures[chosen] * shown[..., None, None]  # (n, cells, cells, h, w)
    height, width = glyphs.pictures.shape[1:]
    images = tiles.transpose(0, 1, 3, 2, 4).reshape(count, cells * height, cells * width)
    labels = np.zeros((count, num_classes), dtype=np.int64)
    rows = np.broadcast_to(np.arange(count)[:, None, None], chosen.shape)
    labels[rows[shown], glyphs.labels[chosen[shown]]] = 1
    return Mosaics(images.astype(np.float32), labels)
