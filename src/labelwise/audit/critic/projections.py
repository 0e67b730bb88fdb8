"""What a judge sees of a volume: frontal projections in three intensity windows, with a label drawn in red.

Bassi et al., "Label Critic: Design Data Before Models", ISBI 2025. A projection cannot show errors along the axis that
is summed. Axis 0 of a volume runs from head to foot, axis 1 from front to back, so that pictures stand upright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Floats = NDArray[np.floating[Any]]
Windows = Mapping[str, tuple[float, float]]

# Hounsfield units that become black and white.
WINDOWS: Windows = MappingProxyType({"organs": (-150.0, 250.0), "bone": (-500.0, 1500.0), "skeleton": (400.0, 2000.0)})
FRONT_BACK = 1
FLOOR = 0.5
# A mask's pixel is drawn where its projection exceeds this: with the floor above, wherever a ray meets the organ.
DRAWN_ABOVE = 0.5
SKELETON_RED = 0.5
DICE_EPS = 1e-6
# Contrast step: darker values become black, the rest is raised to this power.
DARKEST, GAMMA = 0.03, 0.3


def check_volume(volume: ArrayLike) -> NDArray[Any]:
    """A volume (D, H, W) of finite numbers. Raises InputError with the first voxel that is none."""
    given = np.asarray(volume)
    if given.ndim != 3 or not given.size or given.dtype.kind not in "iuf":
        raise InputError(
            f"volume has shape {given.shape} and type {given.dtype}: give numbers (depth, height, width), none of it 0."
        )
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        place = tuple(int(each) for each in np.argwhere(~np.isfinite(given))[0])
        raise InputError(f"volume is {given[place]} at voxel {place}: replace it, for example by -1000 (air).")
    return given


def window_ct(volume: ArrayLike, windows: Windows = WINDOWS) -> dict[str, Floats]:
    """Clamp a volume (D, H, W) to each window [low, high] and rescale it to 0 to 1.

    Raises InputError for numbers that are not finite and for windows whose low is not below their high.
    """
    given = check_volume(volume)
    return {name: _windowed(given, name, bounds) for name, bounds in windows.items()}


def project_volume(
    volume: ArrayLike,
    spacing: Sequence[float] | None = None,
    axis: int = FRONT_BACK,
    windows: Windows = WINDOWS,
    *,
    contrast: bool = False,
) -> dict[str, Floats]:
    """Sum each window of a volume (D, H, W) along ``axis`` and divide by the largest sum: pictures (H', W') of 0 to 1.

    ``spacing``: millimetres a voxel along each of the three axes, for pixels of 1 x 1 mm (bilinear); None keeps the
    voxels. ``contrast`` blackens what is below 0.03 and raises the rest to the power 0.3. A window in which all is
    black stays black. One window is held in memory at a time. Raises InputError as `window_ct`.
    """
    given, axis = check_volume(volume), _check_axis(axis)
    found: dict[str, Floats] = {}
    for name, bounds in windows.items():
        total = _windowed(given, name, bounds).sum(axis=axis, dtype=np.float64)  # (H', W')
        image = total / total.max() if total.max() > 0 else total
        if spacing is not None:
            image = resize(image, millimetre_size(image.shape, spacing, axis), "bilinear")
        if contrast:
            image = np.where(image < DARKEST, 0.0, image) ** GAMMA
        found[name] = image
    return found


def project_mask(mask: ArrayLike, axis: int = FRONT_BACK, floor: float = FLOOR) -> Floats:
    """Thickness of a mask (D, H, W) along ``axis``: 0 where no ray meets it, else ``floor`` to 1 (its thickest).

    Raises InputError for masks that are not 3-D and for a floor outside [0, 1].
    """
    given, axis = np.asarray(mask), _check_axis(axis)
    if given.ndim != 3 or not given.size:
        raise InputError(f"mask has shape {given.shape}: give one that fits its volume (depth, height, width).")
    if not 0 <= floor <= 1:
        raise InputError(f"floor is {floor}: give a brightness from 0 to 1.")
    thickness = (given > 0).sum(axis=axis, dtype=np.float64)  # (H', W')
    share = thickness / (thickness.max() + 1e-8)
    return np.where(share > 0, floor + (1 - floor) * share, 0.0)


def overlay(image: ArrayLike, mask: ArrayLike, window: str = "bone", solid: bool = False) -> Floats:
    """A grey picture (H, W) of 0 to 1 with a mask (H, W) in red, as (3, H, W): red keeps the grey value.

    In the skeleton window, which is mostly black, red is 0.5 brighter; ``solid`` paints it pure. A mask's pixel is one
    above 0.5. Raises InputError for shapes that differ.
    """
    grey, drawn = np.asarray(image, dtype=np.float64), np.asarray(mask) > DRAWN_ABOVE
    if grey.ndim != 2 or grey.shape != drawn.shape:
        raise InputError(f"the picture has shape {grey.shape}, the mask {drawn.shape}: give two of one size (H, W).")
    red = grey + SKELETON_RED if window == "skeleton" else grey
    red = np.minimum(np.ones_like(grey) if solid else red, 1.0)
    others = np.where(drawn, 0.0, grey)
    return np.stack([np.where(drawn, red, grey), others, others])


def dice(first: ArrayLike, second: ArrayLike) -> float:
    """Overlap of two masks of one shape, 2 |A and B| / (|A| + |B| + 1e-6); two empty ones give 0.

    Raises InputError for shapes that differ.
    """
    a, b = np.asarray(first) > 0, np.asarray(second) > 0
    if a.shape != b.shape:
        raise InputError(f"the masks have shapes {a.shape} and {b.shape}: give two of one shape.")
    return float(2 * (a & b).sum() / (a.sum() + b.sum() + DICE_EPS))


def millimetre_size(size: Sequence[int], spacing: Sequence[float], axis: int) -> tuple[int, int]:
    """Height and width in millimetres of a projection of ``size``, rounded down, at least 1.

    Raises InputError unless ``spacing`` is three positive numbers.
    """
    if len(spacing) != 3 or not all(np.isfinite(each) and each > 0 for each in spacing):
        raise InputError(f"spacing is {tuple(spacing)}: give the voxel's size in mm along each of the three axes.")
    kept = [each for number, each in enumerate(spacing) if number != axis]
    height, width = (max(1, int(length * step)) for length, step in zip(size, kept, strict=True))
    return height, width


def resize(image: Floats, size: tuple[int, int], mode: Literal["bilinear", "nearest-exact"]) -> Floats:
    """A picture (H, W) or (channels, H, W) at another size; pixel areas, not corners, lie upon each other."""
    if image.shape[-2:] == size:
        return image
    import torch
    from torch.nn import functional

    flat = torch.from_numpy(np.ascontiguousarray(image)).reshape(1, -1, *image.shape[-2:])  # (1, channels, H, W)
    aligned = {"align_corners": False} if mode == "bilinear" else {}
    resized = functional.interpolate(flat, size=size, mode=mode, **aligned)
    return resized.reshape(*image.shape[:-2], *size).numpy()


def _windowed(volume: NDArray[Any], name: str, bounds: tuple[float, float]) -> Floats:
    low, high = bounds
    if not low < high:
        raise InputError(f"window {name!r} is [{low}, {high}]: give a low bound below the high one.")
    exact = volume.astype(np.result_type(volume.dtype, np.float32), copy=False)
    return (np.clip(exact, low, high) - low) / (high - low)


def _check_axis(axis: int) -> int:
    if axis not in (0, 1, 2):
        raise InputError(f"axis is {axis}: choose 0, 1 or 2, the one that the projection sums.")
    return axis
