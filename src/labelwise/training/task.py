"""What kind of labels a training has: which ones may be trained on, and how good predictions for them are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.labels.bags import bags_of_rows
from labelwise.labels.masks import IGNORE
from labelwise.numerics.collapse import Spread
from labelwise.numerics.multilabel_metrics import mean_average_precision
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


def check_nodes(data: "TrainingData") -> None:
    """Labels (n,) int64 must be classes or -1, and at least one a class: nodes without a label have neighbours too."""
    wrong = torch.nonzero((data.labels < -1) | (data.labels >= data.num_classes))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"node {row} has label {int(data.labels[row])}, but classes are 0 to {data.num_classes - 1}; "
            "correct it, or give -1 where the label is unknown"
        )
    if not (data.labels >= 0).any():
        raise InputError("no node is labelled (all are -1); give the label of at least one")


NODES = Task("nodes", "accuracy", check_nodes, accuracy)


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


def known_precision(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean average precision of logits (n, classes) for labels (n, classes), over classes with a known positive.

    Ranks need all rows at once, so outputs and labels of all blocks are held.
    """
    pairs = [(logits, labels) for logits, labels in blocks]
    if not pairs:
        return 0.0
    logits, labels = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    return mean_average_precision(logits, labels)


def check_label_sets(data: "TrainingData") -> None:
    """Labels must be (n, classes) int64, each 1 = present, 0 = absent or -1 = unknown."""
    labels = data.labels
    if labels.ndim != 2 or labels.shape[1] != data.num_classes or labels.is_floating_point():
        raise InputError(
            f"labels are {tuple(labels.shape)} {labels.dtype}, but the network has {data.num_classes} outputs; "
            "give (n, classes) as int64, one column an output"
        )
    wrong = torch.nonzero((labels < -1) | (labels > 1))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InputError(
            f"training example {row} has label {int(labels[row, column])} in column {column}; "
            "give 1 = present, 0 = absent or -1 = unknown"
        )


MULTILABEL = Task("multilabel", "mean average precision", check_label_sets, known_precision)


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


def bag_agreement(blocks: Iterable[tuple[Tensor, Tensor]]) -> float:
    """One minus the root mean squared gap, over bags, of mean probability and share of positives; 0 without any bag.

    Each block is logits (n, 1) and labels (n, 2), the bag of each row and its count of positives. Holds all rows. It
    means something for a single bag too, unlike R^2.
    """
    rows = list(blocks)
    if not rows:
        return 0.0
    probs = torch.cat([logits[:, 0].double().sigmoid() for logits, _ in rows])
    bags = bags_of_rows(torch.cat([labels for _, labels in rows]).numpy())
    gaps = torch.from_numpy(bags.sums(probs.numpy()) / bags.sizes - bags.proportions)
    return float(1 - gaps.square().mean().sqrt())


def check_bag_counts(data: "TrainingData") -> None:
    """Labels must be (n, 2) int64: the bag of each row, and its count of positives, 0 to its number of rows."""
    bags_of_rows(data.labels.numpy())
    if data.num_classes != 1:
        raise InputError(f"bags are learnt by one output, but the network has {data.num_classes}: give it one")


BAGS = Task("bags", "agreement with the bags' proportions (1 - RMSE)", check_bag_counts, bag_agreement)
