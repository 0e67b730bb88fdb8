"""Masks: labels of every pixel, their check, and how they go wrong.

A mask is (H, W) int64; class 0 is the background, 255 a pixel that is not labelled. Every draw comes from the generator
passed in, and given masks stay as they are.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

IGNORE = 255
BACKGROUND = 0
# An object is eroded and dilated at the size at which it has about so many pixels, so that small ones do not vanish.
WORKING_PIXELS = 1000
MODES = ("under", "over", "random")

Masks = NDArray[np.int64]


def check_masks(masks: ArrayLike, *, num_classes: int | None = None, name: str = "masks") -> Masks:
    """Masks as (n, H, W) int64, every pixel a class 0 to num_classes - 1 or 255 = ignore.

    Integers of any width pass; floats pass where every one is a whole number. Raises InputError with the place.
    """
    given = np.asarray(masks)
    if given.ndim != 3:
        raise InputError(f"{name} has shape {given.shape}: give one mask for each image, shape (n, height, width).")
    if not given.size:
        raise InputError(f"{name} has shape {given.shape}: give at least one mask of at least one pixel.")
    if given.dtype.kind not in "iuf":
        raise InputError(f"{name} has type {given.dtype}: give class numbers, 255 where a pixel is not labelled.")
    highest = IGNORE if num_classes is None else min(num_classes, IGNORE)
    is_bad = ~(((given >= 0) & (given < highest)) | (given == IGNORE))
    if given.dtype.kind == "f":
        is_bad |= given != np.floor(given)
    if is_bad.any():
        mask, row, column = np.argwhere(is_bad)[0]
        raise InputError(
            f"{name} {mask}, row {row}, column {column} is {given[mask, row, column]}: "
            f"give whole class numbers 0 to {highest - 1}, or 255 where a pixel is not labelled."
        )
    return given.astype(np.int64, copy=False)


def morphological_label_noise(
    mask: ArrayLike,
    rng: np.random.Generator,
    iterations: int | None = None,
    mode: Literal["under", "over", "random"] = "random",
) -> Masks:
    """Draw a mask (H, W) anew with objects too small (``under``) or too large (``over``), as hurried people do.

    Each class is eroded or dilated ``iterations`` times (drawn from 2, 3, 4 where None) by a square of 3 x 3 at the
    size at which it has about 1,000 pixels. What erosion loses becomes background; dilation takes background only.
    ``random`` draws one of the two a mask. Pixels of 255 stay. Raises InputError. After Liu et al., CVPR 2022 (ADELE).
    """
    given = check_masks(np.asarray(mask)[None], name="mask")[0]
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}: choose one of {', '.join(MODES)}.")
    if iterations is not None and iterations < 0:
        raise InputError(f"iterations is {iterations}: give a whole number of at least 0.")
    if mode == "random":
        mode = "under" if rng.random() < 0.5 else "over"
    times = int(rng.integers(2, 5)) if iterations is None else iterations
    noisy = given.copy()
    for label in np.unique(given[(given != BACKGROUND) & (given != IGNORE)]):
        own = given == label
        moved = _at_working_size(own, times, mode)
        if mode == "under":
            noisy[own & ~moved] = BACKGROUND
        else:
            noisy[moved & (noisy == BACKGROUND)] = label
    return noisy


def shift_mask(mask: ArrayLike, rng: np.random.Generator, largest: int = 2) -> Masks:
    """Move a mask (H, W) by up to ``largest`` pixels each way; what comes in from outside is background."""
    given = check_masks(np.asarray(mask)[None], name="mask")[0]
    if largest < 0:
        raise InputError(f"largest is {largest}: give a whole number of pixels of at least 0.")
    down, right = rng.integers(-largest, largest + 1, 2)
    from scipy import ndimage

    return ndimage.shift(given, (down, right), order=0, mode="constant", cval=BACKGROUND)


def sparse_mask(mask: ArrayLike, rng: np.random.Generator, share: float = 0.05) -> Masks:
    """Keep the labels of a share of the pixels of a mask (H, W), at least one a class; the others become 255."""
    given = check_masks(np.asarray(mask)[None], name="mask")[0]
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}: give the share of labelled pixels, from 0 to 1.")
    kept = rng.random(given.shape) < share
    for label in np.unique(given[given != IGNORE]):
        places = np.flatnonzero(given == label)
        kept.flat[rng.choice(places)] = True
    return np.where(kept, given, IGNORE)


def _at_working_size(own: NDArray[np.bool_], times: int, mode: str) -> NDArray[np.bool_]:
    """Erode or dilate one class (H, W) at about 1,000 pixels, and come back to the size it had."""
    from scipy import ndimage

    if times == 0:
        return own
    factor = float(np.sqrt(WORKING_PIXELS / own.sum()))
    size = [max(1, round(side * factor)) for side in own.shape]
    large = _resize(own, size)
    square = np.ones((3, 3), dtype=bool)
    # Outside the picture an object may go on, so its edge there is left alone.
    if mode == "under":
        large = ndimage.binary_erosion(large, square, times, border_value=1)
    else:
        large = ndimage.binary_dilation(large, square, times)
    return _resize(large, list(own.shape))


def _resize(mask: NDArray[np.bool_], size: list[int]) -> NDArray[np.bool_]:
    """The nearest pixel's value at each of ``size`` (H, W) places."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
