"""Masks damaged in ways that segmentation models damage them, in two dimensions or three.

A mask is bool, of any shape; a defect of an empty mask is an empty mask. Every draw comes from the generator passed in,
and given masks stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError

Mask = NDArray[np.bool_]
DEFECTS = ("jitter", "cut", "island", "shift", "hole")


def damage(mask: Mask, rng: np.random.Generator, defect: str, severity: float = 0.5) -> Mask:
    """Damage a mask by one of `DEFECTS`, from hardly at all (severity 0) to beyond use (1).

    Raises InputError for an unknown defect and a severity outside [0, 1].
    """
    if defect not in DEFECTS:
        raise InputError(f"there is no defect {defect!r}: choose one of {', '.join(DEFECTS)}.")
    if not 0 <= severity <= 1:
        raise InputError(f"severity is {severity}: give a number from 0 to 1.")
    radius = _radius(mask)
    if defect == "jitter":
        return jitter(mask, rng, radius * 0.5 * severity)
    if defect == "cut":
        return cut(mask, rng, 0.8 * severity)
    if defect == "island":
        return add_island(mask, rng, severity)
    if defect == "shift":
        return shift(mask, rng, 1.5 * radius * severity)
    return punch_hole(mask, rng, 0.6 * severity)


def jitter(mask: Mask, rng: np.random.Generator, amount: float) -> Mask:
    """Move the border in and out by about ``amount`` pixels, smoothly along it."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), max(1.0, amount))
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    # The distance of a border pixel is 1 on one side and -1 on the other: noise below 1 changes nothing.
    moved = depth - 0.5 * np.sign(depth) + amount * noise / max(float(noise.std()), 1e-12) > 0
    return moved if mask.any() else mask.copy()


def cut(mask: Mask, rng: np.random.Generator, share: float) -> Mask:
    """Take away what lies beyond a plane (line) of random direction, about ``share`` of the mask."""
    places = np.argwhere(mask)  # (pixels, dimensions)
    left = mask.copy()
    along = places @ rng.normal(size=mask.ndim)
    lost = places[np.argsort(along, kind="stable")[len(along) - round(share * len(along)) :]]
    left[tuple(lost.T)] = False
    return left


def add_island(mask: Mask, rng: np.random.Generator, share: float) -> Mask:
    """Add a ball of ``share`` of the mask's size, its centre at random outside the mask."""
    outside = np.argwhere(~mask)
    if not mask.any() or not len(outside):
        return mask.copy()
    return mask | _ball(mask, outside[rng.integers(len(outside))], share)


def punch_hole(mask: Mask, rng: np.random.Generator, share: float) -> Mask:
    """Take away a ball of ``share`` of the mask's size, its centre at random in the mask."""
    inside = np.argwhere(mask)
    if not len(inside):
        return mask.copy()
    return mask & ~_ball(mask, inside[rng.integers(len(inside))], share)


def shift(mask: Mask, rng: np.random.Generator, distance: float) -> Mask:
    """Move a mask by about ``distance`` pixels in a random direction; what comes in from outside is empty."""
    from scipy import ndimage

    direction = rng.normal(size=mask.ndim)
    step = np.rint(distance * direction / np.linalg.norm(direction)).astype(int)
    return np.asarray(ndimage.shift(mask, step, order=0, mode="constant", cval=False))


def _radius(mask: Mask) -> float:
    """Radius of a square or cube as large as the mask: half its side."""
    return 0.5 * float(mask.sum()) ** (1 / mask.ndim)


def _ball(mask: Mask, centre: NDArray[np.int64], share: float) -> Mask:
    """The round region of about ``share`` of the mask's pixels around a centre."""
    unit = np.pi if mask.ndim == 2 else 4 / 3 * np.pi
    radius = (share * mask.sum() / unit) ** (1 / mask.ndim)
    axes = np.ogrid[tuple(slice(length) for length in mask.shape)]
    squared = sum((axis - each) ** 2 for axis, each in zip(axes, centre, strict=True))
    return np.asarray(squared < radius**2)
