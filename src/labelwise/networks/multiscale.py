"""A network that looks at pictures at several scales."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.errors import InputError


class MultiScale(nn.Module):
    """A network that looks at pictures at several scales, and a weight for each: logits come back at one size.

    Inputs (B, channels, H, W) float or bytes; one (B, K, H, W) a scale is returned.
    """

    def __init__(self, model: nn.Module, scales: Sequence[float] = (0.7, 1.0, 1.5), learn: bool = False) -> None:
        super().__init__()
        if not scales or not all(0 < scale < float("inf") for scale in scales):
            raise InputError(f"scales are {scales}; give at least one factor above 0")
        self.model, self.scales = model, tuple(scales)
        self.num_classes = model.num_classes
        weights = torch.ones(len(self.scales))
        if learn:
            self.scale_weights = nn.Parameter(weights)
        else:
            self.register_buffer("scale_weights", weights)

    def forward(self, inputs: Tensor, scales: Sequence[float] | None = None) -> list[Tensor]:
        """Return logits at the module's scales, or at those given."""
        size = inputs.shape[-2:]
        return [_resized(self.model(_scaled(inputs, scale)), size) for scale in scales or self.scales]


def _scaled(inputs: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return inputs
    size = [max(1, round(side * scale)) for side in inputs.shape[-2:]]
    return functional.interpolate(inputs.float(), size, mode="bilinear")


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    return logits if logits.shape[-2:] == size else functional.interpolate(logits, size, mode="bilinear")
