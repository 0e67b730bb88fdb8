"""Sums over the window around each pixel, in two or three dimensions; edges between classes."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.errors import InputError

PADDINGS = ("background", "zeros", "replicate")
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def class_windows(onehot: Tensor, known: Tensor, weights: Tensor, padding: str) -> tuple[Tensor, Tensor]:
    """Weighted sums over windows: of each class (B, K, ...), and of all that counts (B, 1, ...).

    ``onehot`` (B, K, ...) float, zero where ``known`` (B, ...) bool is false: those pixels count for nothing.
    ``weights`` (d, d) or (d, d, d), d odd. Outside the image lies class 0 (``background``), what counts but has no
    class (``zeros``), or the nearest pixel (``replicate``). Raises InputError for another padding.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding is {padding!r}; choose one of {', '.join(PADDINGS)}")
    reach = weights.shape[0] // 2
    sides = [reach] * (2 * weights.ndim)
    stacked = torch.cat([onehot, known.unsqueeze(1).to(onehot.dtype)], dim=1)  # (B, K + 1, ...)
    if padding == "replicate":
        padded = functional.pad(stacked, sides, mode="replicate")
    else:
        padded = functional.pad(stacked, sides)
        outside = 1.0 - functional.pad(torch.ones_like(stacked[:, :1]), sides)
        padded[:, -1:] += outside
        if padding == "background":
            padded[:, :1] += outside
    kernel = weights.to(padded).expand(padded.shape[1], 1, *weights.shape)
    convolve = functional.conv2d if weights.ndim == 2 else functional.conv3d
    sums = convolve(padded, kernel, groups=padded.shape[1])
    return sums[:, :-1], sums[:, -1:]


def image_windows(onehot: Tensor, known: Tensor, images: Tensor, size: int, power: int) -> tuple[Tensor, Tensor]:
    """As ``class_windows``, a neighbour weighing ``exp(-|x_i - x_j|^power)``, and only inside the image.

    ``images`` (B, ...) float, one number a pixel; ``size`` pixels a side, odd.
    """
    reach, spatial = size // 2, images.shape[1:]
    sides = [reach] * (2 * len(spatial))
    stacked = torch.cat([onehot, known.unsqueeze(1).to(onehot.dtype)], dim=1)  # (B, K + 1, ...)
    padded, shown = functional.pad(stacked, sides), functional.pad(images, sides)
    sums = torch.zeros_like(stacked)
    for offset in product(range(size), repeat=len(spatial)):
        window = tuple(slice(start, start + side) for start, side in zip(offset, spatial, strict=True))
        weights = torch.exp(-((images - shown[(slice(None), *window)]).abs() ** power))  # (B, ...)
        sums += weights.unsqueeze(1) * padded[(slice(None), slice(None), *window)]
    return sums[:, :-1], sums[:, -1:]


def sobel_boundary_mask(labels: Tensor, num_classes: int, frame: bool = True) -> Tensor:
    """Pixels (B, H, W) bool at which a Sobel filter finds a change of class in masks (B, H, W) int64.

    A band two pixels wide at each border; where the gradients cancel, as in the middle of a spot of one pixel, there is
    none. Outside the image there is no class, so its frame is marked too, unless ``frame`` is off: then the outside
    repeats the nearest pixel. Label 255 counts as the last class, as published. Cost: two convolutions a class.
    """
    onehot = functional.one_hot(labels.clamp(0, num_classes - 1), num_classes).movedim(-1, 1).float()  # (B, K, H, W)
    layers = functional.pad(onehot.flatten(0, 1).unsqueeze(1), (1, 1, 1, 1), "constant" if frame else "replicate")
    sobel = torch.tensor(SOBEL, device=labels.device)
    gradients = functional.conv2d(layers, torch.stack([sobel, sobel.T]).unsqueeze(1))  # (B K, 2, H, W)
    return (gradients != 0).any(dim=1).view_as(onehot).any(dim=1)
