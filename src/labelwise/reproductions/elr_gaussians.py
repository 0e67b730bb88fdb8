"""Early learning where it can be worked out by hand: a linear model, two Gaussians, a share of the labels flipped.

Liu et al., NeurIPS 2020, section 3: the gradient of the first steps points along the true mean, so flipped examples
are predicted rightly; as the clean ones are fitted their gradients vanish, and the flipped ones take over. With more
dimensions than examples every label can be fitted in the end, and ELR keeps that end away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labelwise.methods.classification.elr import ELRLoss
from labelwise.training.seeding import generator

# The flipped points are learnt rightly first only where (1 - 2 flipped) is well above spread^2 dimension / examples.
FLIPPED = 0.4
STEPS = 300
LEARNING_RATE = 0.5
MARKS = (1, 3, 10, 30, 100, 300)


class Cloud(NamedTuple):
    """Points ``y v + spread * normal`` with |v| = 1, and their true classes."""

    points: Tensor  # (n, dimension) float32
    truth: Tensor  # (n,) int64, 0 or 1


def draw_cloud(count: int, dimension: int, spread: float, rng: torch.Generator) -> Cloud:
    """Draw ``count`` points; v is the first axis, which is no loss: the noise is the same in every direction."""
    truth = torch.randint(0, 2, (count,), generator=rng)
    points = spread * torch.randn(count, dimension, generator=rng)
    points[:, 0] += 2 * truth - 1
    return Cloud(points, truth)


def flip(truth: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Give exactly ``round(share n)`` of the labels (n,) the other class."""
    given = truth.clone()
    chosen = torch.randperm(len(truth), generator=rng)[: round(share * len(truth))]
    given[chosen] = 1 - truth[chosen]
    return given


def descend(train: Cloud, given: Tensor, test: Cloud, lambda_: float, steps: int = STEPS) -> dict[str, list[float]]:
    """Gradient descent from 0 on all points at once; ``lambda_`` 0 is plain logistic regression.

    Returns, after each of ``MARKS`` steps, the share of the flipped training points that are predicted as their TRUE
    class, and the accuracy on the test points.
    """
    criterion = ELRLoss(len(given), 2, lambda_)
    index, is_flipped = torch.arange(len(given)), given != train.truth
    weights = torch.zeros(train.points.shape[1], requires_grad=True)
    rows: dict[str, list[float]] = {"flipped_as_true": [], "test_accuracy": []}
    for step in range(1, steps + 1):
        scores = train.points @ weights  # (n,)
        terms = criterion(torch.stack([-scores, scores], dim=1) / 2, given, index)
        (gradient,) = torch.autograd.grad(terms.loss, weights)
        with torch.no_grad():
            weights -= LEARNING_RATE * gradient
            if step in MARKS:
                rows["flipped_as_true"].append(_accuracy(train, weights, is_flipped))
                rows["test_accuracy"].append(_accuracy(test, weights))
    return rows


def demonstrate(
    seeds: Sequence[int], examples: int = 300, ratio: int = 2, spread: float = 0.2
) -> dict[str, dict[str, list[float]]]:
    """Mean over seeds of ``descend`` without and with ELR (lambda 3), in ``ratio * examples`` dimensions.

    About 2 s a seed.
    """
    found: dict[str, list[dict[str, list[float]]]] = {"cross-entropy": [], "elr": []}
    for seed in seeds:
        rng = generator(seed, "gaussians")
        train, test = (draw_cloud(count, ratio * examples, spread, rng) for count in (examples, 2000))
        given = flip(train.truth, FLIPPED, rng)
        found["cross-entropy"].append(descend(train, given, test, lambda_=0.0))
        found["elr"].append(descend(train, given, test, lambda_=3.0))
    return {
        arm: {name: np.mean([row[name] for row in rows], axis=0).tolist() for name in rows[0]}
        for arm, rows in found.items()
    }


def _accuracy(cloud: Cloud, weights: Tensor, chosen: Tensor | None = None) -> float:
    is_right = (cloud.points @ weights > 0) == cloud.truth.bool()
    return float(is_right.double().mean() if chosen is None else is_right[chosen].double().mean())
