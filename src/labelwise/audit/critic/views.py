"""Labels as pictures: a mask in red on a projection or a picture, a box drawn on it, a class by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.critic import projections
from labelwise.audit.critic.projections import FLOOR, FRONT_BACK, WINDOWS, Floats, Windows
from labelwise.errors import InputError

# At most so many red pixels make a label count as empty at the upper edge, which is a twentieth of the rows.
UPPER_SHARE, UPPER_PIXELS = 0.05, 10
BOX_LINE = 0.008
# Red keeps the grey value of what it covers, but a label on black must be seen.
LEAST_RED = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How pictures are made.

    ``axis``: the one a projection sums; ``windows``: name -> (low, high) in Hounsfield units; ``window``,
    ``region_window``: those of comparisons and of the region check; ``floor``: brightness of the thinnest part of a
    mask; ``contrast``: stretch dark pictures; ``size``: the longer side in pixels, None leaves it as it is.
    """

    axis: int = FRONT_BACK
    windows: Windows = field(default_factory=lambda: WINDOWS)
    window: str = "bone"
    region_window: str = "skeleton"
    floor: float = FLOOR
    contrast: bool = False
    size: int | None = 512

    def __post_init__(self) -> None:
        for name in (self.window, self.region_window):
            if name not in self.windows:
                raise InputError(f"there is no window {name!r}: choose among {', '.join(self.windows)}.")
        if self.size is not None and self.size < 1:
            raise InputError(f"size is {self.size}: give the longer side in pixels, or None.")


class Ground(NamedTuple):
    """What labels are drawn on: a grey picture (H, W) of 0 to 1; of a volume also its shape and a clean picture.

    ``plain``: what is shown with a name, (3, H, W), in colour where the picture has any.
    """

    picture: Floats
    plain: Floats
    volume_shape: tuple[int, ...] | None = None
    clean: Floats | None = None


class View(NamedTuple):
    """One label as a judge sees it: ``image`` (3, H, W) of 0 to 1, and ``caption``, what is said with it (a class).

    ``region``: the pixels it covers, (H, W) bool, before the picture is brought to its size; None of a class.
    """

    image: Floats
    caption: str = ""
    region: NDArray[np.bool_] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether a mask has no pixel in this view."""
        return self.region is not None and not self.region.any()

    @property
    def reaches_top(self) -> bool:
        """Whether more than 10 red pixels lie in the uppermost twentieth of the rows."""
        if self.region is None:
            return False
        rows = max(1, round(UPPER_SHARE * len(self.region)))
        return int(self.region[:rows].sum()) > UPPER_PIXELS


def ground(volume: ArrayLike, drawing: Drawing, spacing: Sequence[float] | None = None) -> Ground:
    """Prepare a volume (D, H, W) or a picture (H, W) or (H, W, 3), uint8 or float of 0 to 1.

    Raises InputError for other shapes and for numbers that are not finite.
    """
    given = np.asarray(volume)
    if given.ndim == 2 or (given.ndim == 3 and given.shape[2] == 3 and given.shape[0] > 3):
        bright = _brightness(given)
        if bright.ndim == 2:
            return Ground(bright, _three(bright))
        return Ground(bright.mean(axis=2), np.moveaxis(bright, 2, 0))
    names = {drawing.window: drawing.windows[drawing.window]}
    names[drawing.region_window] = drawing.windows[drawing.region_window]
    images = projections.project_volume(given, spacing, drawing.axis, names, contrast=drawing.contrast)
    picture, clean = images[drawing.window], _three(images[drawing.region_window])
    return Ground(picture, _three(picture), given.shape, _sized(clean, drawing))


def draw(base: Ground, label: Any, drawing: Drawing, *, solid: bool = False) -> View:
    """Draw a label: text is a class, four numbers are a box (left, top, right, bottom) in pixels, else it is a mask.

    A mask has the shape of the volume or picture; what is not 0 belongs to it. Raises InputError for other shapes,
    values that are not finite and boxes without area.
    """
    if isinstance(label, str):
        return View(_sized(base.plain, drawing), caption=label)
    given = np.asarray(label)
    if given.dtype.kind not in "biuf" or (given.dtype.kind == "f" and not np.isfinite(given).all()):
        raise InputError(f"a label of type {given.dtype} holds values that are no numbers: give 0 and 1.")
    if given.shape == (4,):
        return _draw_box(base, given.astype(np.float64), drawing)
    expected = base.volume_shape or base.picture.shape
    if given.shape != expected:
        raise InputError(f"a mask has shape {given.shape}, what it labels {expected}: give masks of the same shape.")
    drawn = given > 0
    if base.volume_shape is not None:
        thickness = projections.project_mask(drawn, drawing.axis, drawing.floor)
        drawn = projections.resize(thickness, base.picture.shape, "nearest-exact") > 0
    image = projections.overlay(base.picture, drawn, drawing.window, solid)
    image[0] = np.where(drawn, np.maximum(image[0], LEAST_RED), image[0])
    return View(_sized(image, drawing), region=drawn)


def overlap(first: View, second: View) -> float:
    """How far two views agree: 1 where they are the same, the Dice of what they cover, 0 of two different classes."""
    if first.region is None or second.region is None:
        return float(first.caption == second.caption)
    if np.array_equal(first.region, second.region):
        return 1.0
    return projections.dice(first.region, second.region)


def _draw_box(base: Ground, box: NDArray[np.float64], drawing: Drawing) -> View:
    left, top, right, bottom = box
    if not (left < right and top < bottom):
        raise InputError(f"a box is {box.tolist()}: give left, top, right, bottom with left < right and top < bottom.")
    if base.volume_shape is not None:
        raise InputError("boxes are compared on pictures: give a picture (H, W) or (H, W, 3), not a volume.")
    rows, columns = (np.arange(length) + 0.5 for length in base.picture.shape)

    def inside(margin: float) -> NDArray[np.bool_]:
        in_rows = (rows > top + margin) & (rows < bottom - margin)
        return in_rows[:, None] & (columns > left + margin) & (columns < right - margin)

    line = max(1.0, BOX_LINE * max(base.picture.shape))
    region = inside(0)
    image = projections.overlay(base.picture, region & ~inside(line), drawing.window, solid=True)
    return View(_sized(image, drawing), region=region)


def _three(grey: Floats) -> Floats:
    """A grey picture (H, W) in three channels."""
    return np.repeat(grey[None], 3, axis=0)


def _brightness(picture: NDArray[Any]) -> Floats:
    """A picture, grey (H, W) or in colour (H, W, 3), in numbers of 0 to 1."""
    if not picture.size or picture.dtype.kind not in "uf":
        raise InputError(f"a picture has shape {picture.shape} and type {picture.dtype}: give bytes or 0 to 1.")
    bright = picture.astype(np.float64) / (255 if picture.dtype == np.uint8 else 1)
    if not ((bright >= 0) & (bright <= 1)).all():
        raise InputError("a picture holds values outside 0 to 1, or none: give bytes (uint8) or floats of 0 to 1.")
    return bright


def _sized(image: Floats, drawing: Drawing) -> Floats:
    """The picture with its longer side at the size asked for."""
    if drawing.size is None:
        return image
    height, width = image.shape[1:]
    scale = drawing.size / max(height, width)
    return projections.resize(image, (max(1, round(height * scale)), max(1, round(width * scale))), "bilinear")
