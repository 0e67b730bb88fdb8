"""Rendered scenes: small pictures of several objects whose masks are known exactly, to try segmentation on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labelwise.errors import InputError

# A pixel belongs to an object where its glyph is at least so bright.
GLYPH_THRESHOLD = 0.3

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Glyphs(NamedTuple):
    """What scenes are made of: ``pictures`` (m, h, w) float32 from 0 to 1, and ``labels`` (m,), what they show."""

    pictures: Floats
    labels: Labels


class Scenes(NamedTuple):
    """``images`` (n, size, size) float32 and their true ``masks`` (n, size, size) int64, 0 = background."""

    images: Floats
    masks: Labels


def digit_glyphs() -> Glyphs:
    """scikit-learn's 1,797 written digits, 8 x 8."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Glyphs((bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64))


def draw_scenes(
    count: int,
    rng: np.random.Generator,
    *,
    glyphs: Glyphs | None = None,
    size: int = 32,
    kinds: Sequence[int] = (0, 1, 7),
    frequencies: Sequence[float] | None = None,
    glyph_sizes: tuple[int, int] = (12, 18),
    most_objects: int = 3,
    texture: float = 0.2,
    blur: float = 1.0,
    noise: float = 0.15,
) -> Scenes:
    """Draw scenes of 1 to ``most_objects`` glyphs each; a later one hides what it lies on.

    Class k + 1 of the masks is the kind of glyph ``kinds[k]``, drawn with probability ``frequencies[k]`` (all alike
    where None) at a side between ``glyph_sizes``. The picture is glyphs over a smooth ``texture``, blurred with a
    deviation of ``blur`` pixels, under normal ``noise``; the masks are those before the blur. The same generator
    draws the same scenes. Raises InputError for kinds the glyphs (digits where None) lack.
    """
    glyphs = digit_glyphs() if glyphs is None else glyphs
    if glyph_sizes[0] < 1 or glyph_sizes[0] > glyph_sizes[1] or glyph_sizes[1] > size:
        raise InputError(f"glyph_sizes is {glyph_sizes}: give two sides from 1 to the scene's {size}, smaller first.")
    places = [np.flatnonzero(glyphs.labels == kind) for kind in kinds]
    missing = [kind for kind, rows in zip(kinds, places, strict=True) if not len(rows)]
    if missing:
        raise InputError(f"there are no glyphs of kind {missing[0]}: choose kinds among the glyphs' labels.")

    images = np.zeros((count, size, size), dtype=np.float32)
    masks = np.zeros((count, size, size), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        for _ in range(rng.integers(1, most_objects + 1)):
            kind = int(rng.choice(len(kinds), p=frequencies))
            glyph = glyphs.pictures[rng.choice(places[kind])]
            _paste(image, mask, _enlarge(glyph, int(rng.integers(glyph_sizes[0], glyph_sizes[1] + 1))), kind + 1, rng)
    scale = (0, size / 8, size / 8)
    ground = ndimage.gaussian_filter(rng.normal(size=images.shape), scale, mode="wrap")
    images += texture * (ground / max(float(ground.std()), 1e-12)).astype(np.float32)
    images = ndimage.gaussian_filter(images, (0, blur, blur))
    return Scenes((images + noise * rng.normal(size=images.shape)).astype(np.float32), masks)


def _enlarge(glyph: Floats, side: int) -> Floats:
    factors = (side / glyph.shape[0], side / glyph.shape[1])
    return np.clip(ndimage.zoom(glyph, factors, order=1, grid_mode=True, mode="nearest"), 0, 1)


def _paste(image: Floats, mask: Labels, glyph: Floats, label: int, rng: np.random.Generator) -> None:
    height, width = glyph.shape
    top = int(rng.integers(0, image.shape[0] - height + 1))
    left = int(rng.integers(0, image.shape[1] - width + 1))
    window = np.s_[top : top + height, left : left + width]
    covered = glyph >= GLYPH_THRESHOLD
    image[window] = np.where(covered, glyph, np.maximum(image[window], glyph))
    mask[window][covered] = label
