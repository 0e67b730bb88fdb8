"""How good masks are: sums over pixels that are updated block by block and merged, in any order, to one answer.

Pixels labelled 255 take no part. A measure of an empty class or of no pixels is 0; means go over the classes that
occur in the labels or in the predictions.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE

# Added to the union of a class, as published code has it; an empty class gets 0.
TINY = 1e-10
BOUNDARY_REACH = 2
NUM_BINS = 15


class ConfusionIoU:
    """True positives ``TP``, predicted pixels ``P`` and labelled pixels ``T`` of each class, (classes,) int64."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.TP, self.P, self.T = (torch.zeros(num_classes, dtype=torch.int64) for _ in range(3))

    def update(self, predictions: Tensor, labels: Tensor) -> Self:
        """Add pixels: ``predictions`` and ``labels`` (...) int64 of one shape; labels of 255 are left out."""
        known = labels != IGNORE
        predicted, given = predictions[known].cpu(), labels[known].cpu()
        self.TP += torch.bincount(given[predicted == given], minlength=self.num_classes)
        self.P += torch.bincount(predicted, minlength=self.num_classes)
        self.T += torch.bincount(given, minlength=self.num_classes)
        return self

    def merge(self, other: "ConfusionIoU") -> Self:
        """Add another's pixels."""
        self.TP, self.P, self.T = self.TP + other.TP, self.P + other.P, self.T + other.T
        return self

    @property
    def occurs(self) -> Tensor:
        """Which classes are labelled or predicted anywhere, (classes,) bool."""
        return (self.T + self.P) > 0

    @property
    def iou(self) -> Tensor:
        """Intersection over union ``TP / (T + P - TP + 1e-10)``, (classes,) float64."""
        return self.TP.double() / ((self.T + self.P - self.TP).double() + TINY)

    @property
    def dice(self) -> Tensor:
        """Twice the intersection over the sum of both sizes, (classes,) float64."""
        return 2.0 * self.TP.double() / ((self.T + self.P).double() + TINY)

    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur; 0 where none does."""
        return mean_where(self.iou, self.occurs)


class SegmentationScores(NamedTuple):
    """Scores of all pixels seen: of each class (classes,) float64, and their means over the classes that occur.

    ``foreground_dice`` is the mean without class 0. ``foreground_ece`` is the calibration error of pixels whose label
    is not 0, in 15 bins (lower, upper] of the largest probability.
    """

    iou: Tensor
    mean_iou: float
    dice: Tensor
    mean_dice: float
    foreground_dice: float
    boundary_f1: Tensor
    mean_boundary_f1: float
    foreground_ece: float


class SegmentationMetrics:
    """Dice, IoU, boundary F1 and foreground calibration of any number of images, from sums.

    Cost: a few passes over the probabilities, and two max-pools of (B, classes, H, W).
    """

    def __init__(self, num_classes: int, *, reach: int = BOUNDARY_REACH, num_bins: int = NUM_BINS) -> None:
        self.confusion = ConfusionIoU(num_classes)
        self.boundaries = BoundaryCounts(num_classes, reach)
        self.calibration = CalibrationSums(num_bins)

    def update(self, probs: Tensor, labels: Tensor) -> Self:
        """Add images: ``probs`` (B, classes, H, W) float, ``labels`` (B, H, W) int64."""
        confidence, predictions = probs.max(dim=1)  # (B, H, W)
        self.confusion.update(predictions, labels)
        self.boundaries.update(predictions, labels)
        foreground = (labels != 0) & (labels != IGNORE)
        self.calibration.update(confidence[foreground], (predictions == labels)[foreground])
        return self

    def merge(self, other: "SegmentationMetrics") -> Self:
        """Add another's images."""
        self.confusion.merge(other.confusion)
        self.boundaries.merge(other.boundaries)
        self.calibration.merge(other.calibration)
        return self

    def finalize(self) -> SegmentationScores:
        """Return the scores of all images added so far."""
        occurs = self.confusion.occurs
        dice, boundary = self.confusion.dice, self.boundaries.f1
        return SegmentationScores(
            iou=self.confusion.iou,
            mean_iou=self.confusion.mean_iou(),
            dice=dice,
            mean_dice=mean_where(dice, occurs),
            foreground_dice=mean_where(dice[1:], occurs[1:]),
            boundary_f1=boundary,
            mean_boundary_f1=mean_where(boundary, occurs),
            foreground_ece=self.calibration.error(),
        )


class BoundaryCounts:
    """Boundary pixels of each class, and how many have one of the other mask within ``reach`` pixels each way."""

    def __init__(self, num_classes: int, reach: int = BOUNDARY_REACH) -> None:
        self.num_classes, self.reach = num_classes, reach
        # Rows: predicted, predicted and near, labelled, labelled and near.
        self.counts = torch.zeros(4, num_classes, dtype=torch.int64)

    def update(self, predictions: Tensor, labels: Tensor) -> Self:
        """Add images, both (B, H, W) int64."""
        unknown = labels == IGNORE
        predicted = class_boundaries(predictions.masked_fill(unknown, IGNORE), self.num_classes)  # (B, K, H, W)
        labelled = class_boundaries(labels, self.num_classes)
        pairs = (predicted, predicted & self._near(labelled), labelled, labelled & self._near(predicted))
        self.counts += torch.stack([each.sum(dim=(0, 2, 3)).cpu() for each in pairs])
        return self

    def merge(self, other: "BoundaryCounts") -> Self:
        """Add another's counts."""
        self.counts = self.counts + other.counts
        return self

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of the shares of predicted and of labelled boundary that are near, (classes,) float64."""
        predicted, predicted_near, labelled, labelled_near = self.counts.double()
        precision, recall = predicted_near / predicted.clamp(min=1), labelled_near / labelled.clamp(min=1)
        return 2.0 * precision * recall / (precision + recall).clamp(min=TINY)

    def _near(self, boundary: Tensor) -> Tensor:
        width = 2 * self.reach + 1
        return functional.max_pool2d(boundary.float(), width, stride=1, padding=self.reach) > 0


class CalibrationSums:
    """Count, confidence and correctness by bins (lower, upper] of confidence; a confidence of 0 joins the first."""

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.sums = torch.zeros(3, num_bins, dtype=torch.float64)

    def update(self, confidence: Tensor, correct: Tensor) -> Self:
        """Add pixels: ``confidence`` (m,) from 0 to 1, ``correct`` (m,) bool."""
        values = confidence.detach().double().cpu()
        num_bins = self.sums.shape[1]
        edges = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
        place = torch.searchsorted(edges, values)  # (m,) an upper edge belongs to the bin below
        for row, weights in enumerate((torch.ones_like(values), values, correct.double().cpu())):
            self.sums[row] += torch.bincount(place, weights, minlength=num_bins)
        return self

    def merge(self, other: "CalibrationSums") -> Self:
        """Add another's pixels."""
        self.sums = self.sums + other.sums
        return self

    def error(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, weighted by the bins' counts."""
        count, confidence, correct = self.sums
        return float((confidence - correct).abs().sum() / count.sum().clamp(min=1))


def class_boundaries(masks: Tensor, num_classes: int) -> Tensor:
    """Pixels of each class that touch another class above, below, left or right: (B, classes, H, W) bool.

    ``masks`` (B, H, W) int64. Pixels of 255 touch nothing, and neither does what lies outside the image.
    """
    touches = torch.zeros_like(masks, dtype=torch.bool)
    down = _differ(masks[:, 1:], masks[:, :-1])
    right = _differ(masks[:, :, 1:], masks[:, :, :-1])
    touches[:, 1:] |= down
    touches[:, :-1] |= down
    touches[:, :, 1:] |= right
    touches[:, :, :-1] |= right
    classes = torch.arange(num_classes, device=masks.device).view(1, -1, 1, 1)
    return (masks.unsqueeze(1) == classes) & touches.unsqueeze(1)


def select_reliable(predictions_per_checkpoint: Sequence[Tensor], num_classes: int) -> Tensor:
    """How reliable each image's pseudo-mask is: the mean IoU of earlier checkpoints' masks with the last one's.

    Each entry is (n, H, W) int64; (n,) float64 from 0 to 1 is returned: label the upper half first, then train anew.
    Raises InputError for fewer than two checkpoints, or such of different shapes.
    """
    shapes = {tuple(each.shape) for each in predictions_per_checkpoint}
    if len(predictions_per_checkpoint) < 2 or len(shapes) > 1:
        raise InputError(
            f"there are {len(predictions_per_checkpoint)} checkpoints of shapes {sorted(shapes)}; "
            "give predictions of one shape from at least two"
        )
    *earlier, last = predictions_per_checkpoint
    found = [
        [ConfusionIoU(num_classes).update(each[row], last[row]).mean_iou() for row in range(len(last))]
        for each in earlier
    ]
    return torch.tensor(found, dtype=torch.float64).mean(dim=0)


def mean_where(values: Tensor, mask: Tensor) -> float:
    """Mean of the values where the mask is true; 0 where it is nowhere."""
    return float(values[mask].mean()) if mask.any() else 0.0


def _differ(first: Tensor, second: Tensor) -> Tensor:
    return (first != second) & (first != IGNORE) & (second != IGNORE)
