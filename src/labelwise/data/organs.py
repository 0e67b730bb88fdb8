"""Rendered organs: small CT-like volumes whose organs are known exactly, to try critics of labels on."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 32, 32)
AIR, BODY, BONE = -1000.0, -20.0, 900.0


class Organ(NamedTuple):
    """Usual centre and half axes in voxels (head to foot, front to back, patient's right to left), and brightness."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    brightness: float
    frequency: float


# Not anatomy: ellipsoids about where these organs are. The stomach is in half of the volumes.
ORGANS = MappingProxyType(
    {
        "liver": Organ((8, 15, 9), (5.5, 7, 6), 110, 1.0),
        "spleen": Organ((8, 18, 25), (4.5, 4, 3), 100, 1.0),
        "stomach": Organ((15, 11, 20), (3.5, 4, 4.5), 60, 0.5),
    }
)


class Volume(NamedTuple):
    """``ct`` (24, 32, 32) float32 in Hounsfield units, and the true masks (24, 32, 32) bool by the organs' names."""

    ct: NDArray[np.float32]
    masks: dict[str, NDArray[np.bool_]]


def draw_volume(rng: np.random.Generator) -> Volume:
    """Draw a body with a spine and two or three smooth organs, under noise; the same generator draws the same."""
    from scipy import ndimage

    depth, height, width = (axis + 0.0 for axis in np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]])
    body = ((height - 15.5) / 14) ** 2 + ((width - 15.5) / 15) ** 2 + 0 * depth < 1
    ct = np.where(body, BODY, AIR)
    ct[:, 24:28, 14:18] = BONE
    masks: dict[str, NDArray[np.bool_]] = {}
    taken = np.zeros(SHAPE, dtype=bool)
    for name, organ in ORGANS.items():
        if rng.random() >= organ.frequency:
            continue
        centre = np.array(organ.centre) + rng.normal(size=3)
        axes = np.array(organ.axes) * rng.uniform(0.85, 1.15, 3)
        squared = sum(
            ((axis - middle) / half) ** 2
            for axis, middle, half in zip((depth, height, width), centre, axes, strict=True)
        )
        uneven = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3)
        masks[name] = (squared + 0.15 * uneven / uneven.std() < 1) & body & ~taken
        taken |= masks[name]
        ct[masks[name]] = organ.brightness
    noisy = ndimage.gaussian_filter(ct, 0.6) + rng.normal(0, 30, SHAPE)
    return Volume(noisy.astype(np.float32), masks)
