"""Mixup: convex pairs of examples and of their labels (Zhang et al., ICLR 2018)."""

from typing import NamedTuple

import torch
from torch import Tensor


class MixupPairs(NamedTuple):
    """Partner of each example (B,) int64 and the one weight of the batch on the example itself."""

    partner: Tensor
    weight: float


def draw_mixup(batch_size: int, alpha: float, generator: torch.Generator, *, at_least_half: bool = False) -> MixupPairs:
    """Draw the weight from Beta(alpha, alpha) and a random partner for each example of a batch.

    ``alpha <= 0`` means no mixing: weight 1. ``at_least_half`` folds the weight to max(w, 1 - w), so that each
    mixed example stays nearer to itself than to its partner (ELR+, DivideMix). The draw uses ``generator`` alone.
    """
    partner = torch.randperm(batch_size, generator=generator)
    weight = draw_weight(alpha, generator)
    return MixupPairs(partner, max(weight, 1 - weight) if at_least_half else weight)


def draw_weight(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha); ``alpha <= 0`` means no mixing: weight 1."""
    if alpha <= 0:
        return 1.0
    # A Beta draw is a ratio of two Gamma draws; torch's own Beta sampler takes no generator.
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    return float(gammas[0] / gammas.sum().clamp(min=1e-300))


def mix(values: Tensor, pairs: MixupPairs) -> Tensor:
    """Return ``w * values + (1 - w) * values[partner]``; ``values`` (B, ...) float."""
    if pairs.weight == 1.0:
        return values
    partner = pairs.partner.to(values.device)
    return pairs.weight * values + (1 - pairs.weight) * values[partner]
