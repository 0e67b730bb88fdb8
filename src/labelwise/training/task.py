"""What kind of labels a training has: which ones may be trained on, and how good predictions for them are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE
from labelwise.numerics.collapse import Spread
from labelwise.numerics.regression_metrics import SquaredErrors
from labelwise.numerics.segmentation_metrics import ConfusionIoU

if TYPE_CHECKING:
    from labelwise.training.data import TrainingData


@dataclass(frozen=True)
class Task:
    """One kind of labels.

    ``check(data)`` raises InputError for labels that cannot be trained on. ``score(blocks)`` says how good the outputs
    of ``Recipe.predict`` are, given pairs of outputs and labels, a block of rows each: larger is better, unknown
    labels are left out, and it is 0 where none is known. ``metric`` names it.
    """

    name: str
    metric: str
    check: Callable[["TrainingData"], None]
    score: Callable[[Iterable[tuple[Tensor, Tensor]]], float]


def accuracy(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of rows whose largest logit (n, classes) is at the label (n,); rows labelled -1 do not count."""
    correct, total = 0, 0
    for logits, labels in blocks:
        known = labels >= 0
        correct += int((logits.argmax(dim=1) == labels)[known].sum())
        total += int(known.sum())
    return correct / max(total, 1)


def check_classes(data: "TrainingData") -> None:
    """Every label (n,) int64 must be a class: unlabelled rows do not train."""
    wrong = torch.nonzero((data.labels < 0) | (data.labels >= data.num_classes))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"training example {row} has label {int(data.labels[row])}, but classes are 0 to {data.num_classes - 1}; "
            "correct it, or leave unlabelled examples out of training"
        )


CLASSIFICATION = Task("classification", "accuracy", check_classes, accuracy)


def mean_iou(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean intersection over union of the classes that occur; pixels labelled 255 do not count.

    Each block is logits (n, classes, H, W) and masks (n, H, W).
    """
    total: ConfusionIoU | None = None
    for logits, masks in blocks:
        total = total or ConfusionIoU(logits.shape[1])
        total.update(logits.argmax(dim=1), masks)
    return 0.0 if total is None else total.mean_iou()


def check_mask_classes(data: "TrainingData") -> None:
    """Masks must be (n, H, W) int64 and every pixel a class or 255; an image of 255 only has no labels."""
    masks = data.labels
    if masks.ndim != 3:
        raise InputError(f"masks have shape {tuple(masks.shape)}; give one for each image, (n, height, width)")
    wrong = torch.nonzero(((masks < 0) | (masks >= data.num_classes)) & (masks != IGNORE))
    if len(wrong):
        row, y, x = wrong[0].tolist()
        raise InputError(
            f"training mask {row} has label {int(masks[row, y, x])} at row {y}, column {x}, but classes are 0 to "
            f"{data.num_classes - 1}; correct it, or set 255 where a pixel is not labelled"
        )


SEGMENTATION = Task("segmentation", "mean IoU", check_mask_classes, mean_iou)


def r2(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """R^2, the mean over outputs, of outputs (n, outputs) for labels (n,) or (n, outputs); NaN labels do not count."""
    total: SquaredErrors | None = None
    for outputs, labels in blocks:
        total = total or SquaredErrors(outputs.shape[1])
        total.update(outputs, labels.reshape(outputs.shape))
    return 0.0 if total is None else total.r2()


def check_numbers(data: "TrainingData") -> None:
    """Labels must be float (n,) or (n, outputs), every one a finite number: rows of unknown labels do not train."""
    labels = data.labels
    if not labels.is_floating_point():
        raise InputError(f"labels are of type {labels.dtype}; give numbers as float, labels.float()")
    if labels.ndim not in (1, 2) or labels[:1].numel() != data.num_classes:
        raise InputError(
            f"labels have shape {tuple(labels.shape)}, but the network has {data.num_classes} outputs; "
            "give (n,) for one output, else (n, outputs)"
        )
    wrong = torch.nonzero(~torch.isfinite(labels.reshape(len(labels), -1)))
    if len(wrong):
        row, column = wrong[0].tolist()
        value = float(labels.reshape(len(labels), -1)[row, column])
        raise InputError(
            f"training example {row} has label {value} (output {column}); give a finite number, "
            "or leave rows of unknown labels out of training"
        )


REGRESSION = Task("regression", "R^2", check_numbers, r2)


def spread(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean over columns of the deviation over rows of representations (n, d): 0 where all rows are alike."""
    total = Spread()
    for representations, _ in blocks:
        total.update(representations)
    return total.mean_deviation()


def check_no_labels(data: "TrainingData") -> None:
    """Labels must be (n, 0): there are none."""
    shape = tuple(data.labels.shape)
    if shape[1:] != (0,):
        raise InputError(f"labels have shape {shape}, but pretraining takes none; give torch.zeros(len(inputs), 0)")


PRETRAINING = Task("pretraining", "spread of representations", check_no_labels, spread)
