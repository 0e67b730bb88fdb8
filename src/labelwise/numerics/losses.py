"""Losses that several methods share."""

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.labels.masks import IGNORE

REDUCTIONS = ("mean", "sum", "none")


def reduce_rows(values: Tensor, reduction: str = "mean", mask: Tensor | None = None) -> Tensor:
    """Reduce one value a row to the mean, the sum, or leave it.

    ``values`` (...) float; ``mask`` (...) bool or 0/1, rows left out where it is false. The mean is over the
    rows that the mask keeps; with no row kept it is 0, never NaN. Raises ValueError for an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
    if mask is not None:
        values = torch.where(mask.bool(), values, values.new_zeros(()))
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    kept = values.numel() if mask is None else mask.bool().sum().clamp(min=1)
    return values.sum() / kept if values.numel() else values.sum()


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, mask: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy against soft targets, ``-sum_c target_c log softmax(logits)_c``.

    ``logits`` and ``targets`` (..., classes) float; ``mask`` (...) leaves rows (padding tokens, unmatched boxes)
    out of the mean. Targets are used as given: a row that sums to less than 1 weighs less.
    """
    row_losses = -(targets * torch.log_softmax(logits, dim=-1)).sum(dim=-1)  # (...)
    return reduce_rows(row_losses, reduction, mask)


def pixel_cross_entropy(logits: Tensor, masks: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over the labelled pixels of the batch; 0, with gradients of 0, where none is labelled.

    ``logits`` (B, classes, *spatial) float; ``masks`` (B, *spatial) int64, 255 = not labelled. ``smoothing`` moves a
    share of each one-hot target to all classes alike.
    """
    values = functional.cross_entropy(logits, masks, ignore_index=IGNORE, label_smoothing=smoothing, reduction="none")
    return reduce_rows(values, mask=masks != IGNORE)
