"""Neighbour-aware calibration, NACL (Murugesan et al., Medical Image Analysis 2025, https://arxiv.org/abs/2401.14487).

Masks are hard although the borders of objects are uncertain, so cross-entropy makes networks too sure of them. NACL
pulls the logits of each pixel towards the shares of the classes among its neighbours. Spatially varying label smoothing
(SVLS) has the same constraint hidden in its labels at a fixed weight; here the weight is free. Answers over-confident
labels; no label is wrong.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE
from labelwise.numerics.losses import pixel_cross_entropy, reduce_rows
from labelwise.numerics.windows import class_windows, image_windows
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe

SHARES, SINGLE_LABELS = ("mean", "gaussian"), ("max", "min", "median", "mode")
BY_IMAGE = {"image_proportions_l1": 1, "image_proportions_l2": 2}
KERNELS = (*SHARES, *SINGLE_LABELS, *BY_IMAGE)
SCHEDULES = ("", "add", "multiply", "step")


class NACLTerms(NamedTuple):
    """The loss, its cross-entropy, and the penalty before it is weighed by alpha."""

    loss: Tensor
    cross_entropy: Tensor
    penalty: Tensor


def svls_kernel(kernel_size: int = 3, sigma: float = 1.0, dims: int = 2) -> Tensor:
    """Gaussian window (d, d) or (d, d, d) float64 whose centre is 1 and whose neighbours sum to 1 (SVLS)."""
    _check_window(kernel_size)
    if not sigma > 0:
        raise InputError(f"sigma is {sigma}; give a deviation in pixels above 0")
    squares = (torch.arange(kernel_size, dtype=torch.float64) - kernel_size // 2) ** 2  # (d,)
    distances = sum(torch.meshgrid(*[squares] * dims, indexing="ij"), torch.zeros(()))
    # The centre is set apart, so a narrow window (where all others are next to 0) keeps its proportions.
    weights = torch.where(distances == 0, 0.0, torch.exp(-(distances - 1.0) / (2.0 * sigma**2)))
    weights = weights / weights.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(distances == 0, 1.0, weights)


def neighborhood_prior(
    targets: Tensor,
    num_classes: int,
    kernel_size: int = 3,
    kernel: str = "mean",
    sigma: float = 1.0,
    padding: str | None = None,
    images: Tensor | None = None,
    ignore_index: int | None = IGNORE,
) -> Tensor:
    """Constraint targets ``tau`` (B, K, H, W) or (B, K, D, H, W) float32, from masks (B, [D,] H, W) int64.

    ``mean``: shares of the classes in the window of ``kernel_size`` pixels a side, the pixel included. ``gaussian``:
    the soft labels of SVLS. ``max``, ``min``, ``median`` (the lower one), ``mode`` (the smallest of the most frequent):
    one-hot of one label of the window. ``image_proportions_l1`` and ``_l2``: shares among the neighbours inside the
    image, weighed by how alike ``images`` (B, [D,] H, W) are there.

    What lies outside the image counts as ``background`` (class 0, as published; the default), as no class (``zeros``)
    or as the nearest pixel (``replicate``, the default of ``gaussian``). Ignored pixels are not counted, and a window
    of ignored pixels only has no shares. Raises InputError. Cost: one window sum a class.
    """
    _check_window(kernel_size)
    if kernel not in KERNELS:
        raise InputError(f"kernel is {kernel!r}; choose one of {', '.join(KERNELS)}")
    known = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
    onehot = functional.one_hot(targets.where(known, 0), num_classes).movedim(-1, 1).float() * known.unsqueeze(1)
    if kernel in BY_IMAGE:
        if images is None or padding is not None:
            raise InputError(f"kernel {kernel!r} needs images, one number a pixel, and takes no padding")
        return _shares(*image_windows(onehot, known, images, kernel_size, BY_IMAGE[kernel]))
    padding = padding or ("replicate" if kernel == "gaussian" else "background")
    dims = targets.ndim - 1
    weights = svls_kernel(kernel_size, sigma, dims) if kernel == "gaussian" else torch.ones([kernel_size] * dims)
    counts, total = class_windows(onehot, known, weights, padding)  # (B, K, ...), (B, 1, ...)
    return _shares(counts, total) if kernel in SHARES else _single_label(counts, kernel)


def svls_soft_labels(
    targets: Tensor, num_classes: int, kernel_size: int = 3, sigma: float = 1.0, ignore_index: int | None = IGNORE
) -> Tensor:
    """SVLS labels (B, K, ...) float32 that sum to 1 over classes; the pixel's own class has at least a half."""
    return neighborhood_prior(targets, num_classes, kernel_size, "gaussian", sigma, ignore_index=ignore_index)


def svls_decomposition(
    logits: Tensor, targets: Tensor, kernel_size: int = 3, sigma: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The two halves of the SVLS loss: cross-entropy of the pixels' labels, and of their neighbours' shares.

    The loss is half their sum where no pixel is ignored: a constraint on the neighbours at a fixed weight.
    """
    labels = svls_soft_labels(targets, logits.shape[1], kernel_size, sigma)
    onehot = functional.one_hot(targets, logits.shape[1]).movedim(-1, 1)
    return pixel_cross_entropy(logits, targets), _soft_pixels(logits, 2.0 * labels - onehot, targets != IGNORE)


def alpha_at(
    epoch: int, alpha: float, schedule: str = "", mu: float = 0.0, most: float = 100.0, size: int = 100
) -> float:
    """The weight in a 0-based epoch: unchanged, or one step of the schedule after each epoch before.

    ``add`` and ``multiply`` go up to ``most``; ``step`` multiplies after every ``size`` epochs.
    """
    for number in range(epoch if schedule else 0):
        if schedule == "add":
            alpha = min(alpha + mu, most)
        elif schedule == "multiply":
            alpha = min(alpha * mu, most)
        elif (number + 1) % size == 0:
            alpha *= mu
    return alpha


class NACLLoss(nn.Module):
    """Mean cross-entropy plus ``alpha`` times the mean distance of the logits from the neighbours' shares.

    ``distance`` is ``l1`` or ``l2`` (squared); ``on_softmax`` takes it from the probabilities instead. Both means are
    over the labelled pixels of the batch, the penalty's over their classes too; 0 where no pixel is labelled.
    """

    def __init__(
        self,
        num_classes: int,
        kernel_size: int = 3,
        kernel: str = "mean",
        distance: str = "l1",
        alpha: float = 0.1,
        sigma: float = 1.0,
        on_softmax: bool = False,
        padding: str | None = None,
        schedule: str = "",
        mu: float = 0.0,
        max_alpha: float = 100.0,
        step_size: int = 100,
    ) -> None:
        super().__init__()
        if distance not in ("l1", "l2"):
            raise InputError(f"distance is {distance!r}; choose l1 or l2")
        if schedule not in SCHEDULES:
            raise InputError(f"schedule is {schedule!r}; choose '' (none), add, multiply or step")
        if not 0 <= alpha < math.inf:
            raise InputError(f"alpha is {alpha}; give a weight of 0 or more")
        if step_size < 1:
            raise InputError(f"step_size is {step_size}; give a number of epochs of at least 1")
        self.num_classes, self.distance, self.on_softmax, self.alpha = num_classes, distance, on_softmax, alpha
        self.window = {"kernel_size": kernel_size, "kernel": kernel, "sigma": sigma, "padding": padding}
        self.plan = (alpha, schedule, mu, max_alpha, step_size)

    def step_epoch(self, epoch: int) -> None:
        """Set alpha to what it is in a 0-based epoch; call before it."""
        self.alpha = alpha_at(epoch, *self.plan)

    def forward(self, logits: Tensor, targets: Tensor, images: Tensor | None = None) -> NACLTerms:
        """Return the terms for ``logits`` (B, K, ...) and masks (B, ...) int64, 255 = not labelled."""
        prior = neighborhood_prior(targets, self.num_classes, images=images, **self.window)  # type: ignore[arg-type]
        values = logits.softmax(dim=1) if self.on_softmax else logits
        gap = (prior.to(logits.dtype) - values).abs()  # (B, K, ...)
        gap = gap if self.distance == "l1" else gap**2
        penalty = reduce_rows(gap.mean(dim=1), mask=targets != IGNORE)
        cross_entropy = pixel_cross_entropy(logits, targets)
        return NACLTerms(cross_entropy + self.alpha * penalty, cross_entropy, penalty)


class SVLSLoss(nn.Module):
    """Mean cross-entropy of the labelled pixels against the soft labels of SVLS (Islam and Glocker, IPMI 2021)."""

    def __init__(self, num_classes: int, kernel_size: int = 3, sigma: float = 1.0) -> None:
        super().__init__()
        svls_kernel(kernel_size, sigma)  # refuses what is no window
        self.num_classes, self.kernel_size, self.sigma = num_classes, kernel_size, sigma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of ``logits`` (B, K, ...) and masks (B, ...) int64."""
        labels = svls_soft_labels(targets, self.num_classes, self.kernel_size, self.sigma)
        return _soft_pixels(logits, labels, targets != IGNORE)


class NACL(Recipe):
    """One network under the NACL loss; nothing is remembered between steps."""

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        alpha: float = 0.1,
        kernel_size: int = 3,
        kernel: str = "mean",
        distance: str = "l1",
        sigma: float = 1.0,
        on_softmax: bool = False,
        padding: str | None = None,
        schedule: str = "",
        mu: float = 0.0,
        max_alpha: float = 100.0,
        step_size: int = 100,
    ) -> None:
        super().__init__(build_network)
        window = (kernel_size, kernel, distance, alpha, sigma, on_softmax, padding)
        self.criterion = NACLLoss(int(self.network.num_classes), *window, schedule, mu, max_alpha, step_size)  # type: ignore[arg-type]

    def begin_epoch(self, epoch: int) -> None:
        """Follow alpha's schedule."""
        self.criterion.step_epoch(epoch)

    def loss(self, batch: Batch) -> NACLTerms:
        """Return the NACL terms of the batch; images are grey, from 0 to 1 where they are bytes."""
        inputs = batch["inputs"]
        grey = None
        if self.criterion.window["kernel"] in BY_IMAGE:
            grey = inputs.float().mean(dim=1) / (1.0 if inputs.is_floating_point() else 255.0)  # (B, H, W)
        return self.criterion(self.network(inputs), batch["labels"], grey)


class SVLS(Recipe):
    """One network on the soft labels of SVLS."""

    def __init__(self, build_network: BuildNetwork, *, kernel_size: int = 3, sigma: float = 1.0) -> None:
        super().__init__(build_network)
        self.criterion = SVLSLoss(int(self.network.num_classes), kernel_size, sigma)  # type: ignore[arg-type]

    def loss(self, batch: Batch) -> Tensor:
        """Return the SVLS loss of the batch."""
        return self.criterion(self.network(batch["inputs"]), batch["labels"])


def _shares(counts: Tensor, total: Tensor) -> Tensor:
    return torch.where(total > 0, counts / total.where(total > 0, 1.0), 0.0)


def _single_label(counts: Tensor, kernel: str) -> Tensor:
    """One-hot of one label of each window, from how often the classes (B, K, ...) are in it."""
    total = counts.sum(dim=1, keepdim=True)
    if kernel == "mode":
        label = counts.argmax(dim=1)
    elif kernel == "max":
        label = counts.shape[1] - 1 - (counts.flip(1) > 0).float().argmax(dim=1)
    else:  # the smallest label, or the lower median: the first that enough of the window reach
        needed = torch.ones_like(total) if kernel == "min" else torch.floor((total + 1) / 2)
        label = (counts.cumsum(dim=1) >= needed.clamp(min=1)).float().argmax(dim=1)
    return functional.one_hot(label, counts.shape[1]).movedim(-1, 1).float() * (total > 0)


def _soft_pixels(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    values = -(labels.to(logits.dtype) * logits.log_softmax(dim=1)).sum(dim=1)  # (B, ...)
    return reduce_rows(values, mask=known)


def _check_window(kernel_size: int) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size is {kernel_size}; give an odd number of pixels of at least 1")


RECIPES = {"nacl": NACL, "svls": SVLS}

CARD = Card(
    number=2,
    slug="nacl",
    title="Neighbour-aware calibration (NACL)",
    task="segmentation",
    fault="over-confident labels at the borders of objects",
    recipe=("nacl", "svls"),
    idea="Pull the logits of each pixel towards the shares of the classes among its neighbours.",
    paper="Neighbor-aware calibration of segmentation networks with penalty-based constraints, "
    "Medical Image Analysis 2025",
    link="https://arxiv.org/abs/2401.14487",
    authors_code="Bala93/MarginLoss",
    licence="none given (not used here)",
    defaults={"alpha": 0.1, "kernel_size": 3, "kernel": "mean", "distance": "l1"},
    cost="cross-entropy plus one sum over a window of 3 x 3 a pixel and class",
)
