"""A curve, and what a wide network with nested dropout makes of it with 1, 10 and 100 channels.

Chen et al., section on the toy regression: noisy points on a smooth curve. Nested dropout puts the coarse shape into
the first channels; a network trained without it spreads the shape over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelwise.methods.classification.compress_features import NestedDropout, prefix_logits
from labelwise.networks.small import mlp_features
from labelwise.training.seeding import generator, seeded

NUM_CHANNELS, NUM_POINTS, NOISE, STD = 100, 100, 0.3, 100.0
CHANNELS = (1, 10, 100)


def curve(x: Tensor) -> Tensor:
    """The curve to be found, for x (n, 1) in [-1, 1]."""
    return torch.sin(4 * x) + 0.5 * x


def fit_curve(x: Tensor, y: Tensor, *, nested: bool, steps: int, seed: int) -> tuple[nn.Module, Tensor]:
    """Train features and head on points (n, 1) by mean squared error; returns the features and the head (D, 1)."""
    with seeded(seed):
        features, width = mlp_features(1, (256, NUM_CHANNELS))
        head = nn.Linear(width, 1, bias=False)
    dropout = NestedDropout(width, STD)
    draws = generator(seed, "prefix")
    optimizer = torch.optim.Adam([*features.parameters(), *head.parameters()], 3e-3)
    for _ in range(steps):
        hidden = features(x)  # (n, D)
        if nested:
            dropout.draw(draws)
            hidden = dropout(hidden)
        loss = (head(hidden) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return features, head.weight.detach().T


@torch.no_grad()
def errors_by_prefix(features: nn.Module, head: Tensor, x: Tensor, y: Tensor, channels: Sequence[int]) -> list[float]:
    """Mean squared error at points (n, 1) of the predictions from the first so many channels."""
    predictions = prefix_logits(features(x), head)  # (D, n, 1)
    return [float((predictions[k - 1] - y).square().mean()) for k in channels]


def toy_regression(seed: int, *, steps: int) -> dict[str, list[float]]:
    """Squared error to the true curve from 1, 10 and 100 channels, with nested dropout and without."""
    draws = generator(seed, "points")
    x = 2 * torch.rand(NUM_POINTS, 1, generator=draws) - 1
    y = curve(x) + NOISE * torch.randn(NUM_POINTS, 1, generator=draws)
    grid = torch.linspace(-1, 1, 201).unsqueeze(1)
    found = {}
    for name, nested in (("nested", True), ("plain", False)):
        fitted = fit_curve(x, y, nested=nested, steps=steps, seed=seed)
        found[name] = errors_by_prefix(*fitted, grid, curve(grid), CHANNELS)
    return found
