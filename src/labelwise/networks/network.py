"""What every classification network looks like: features, a slot for compression, a linear head."""

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A feature extractor, a slot between features and head (identity unless a method fills it), a linear head.

    ``extractor`` maps inputs (B, ...) to features (B, num_features) float.
    """

    def __init__(self, extractor: nn.Module, num_features: int, num_classes: int, *, head_bias: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.extractor = extractor
        self.compression: nn.Module = nn.Identity()
        self.head = nn.Linear(num_features, num_classes, bias=head_bias)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last features (B, num_features), before compression."""
        return self.extractor(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.head(self.compression(self.features(inputs)))


class Standardize(nn.Module):
    """Shift and scale inputs by the training data's mean and deviation, one pair a feature or channel.

    ``mean`` and ``scale`` are buffers, so they are saved with the weights; a constant feature keeps scale 1.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", torch.where(scale > 0, scale, torch.ones_like(scale)).float())

    @classmethod
    def fit(cls, inputs: Tensor, rows: int = 20_000) -> "Standardize":
        """Measure mean and deviation over ``rows`` inputs (n, features...) or (n, channels, H, W), evenly spaced.

        Data is often sorted by class, so the first rows would not do.
        """
        sample = inputs[:: max(1, -(-len(inputs) // rows))].double()
        axes = (0, 2, 3) if sample.ndim == 4 else (0,)
        mean = sample.mean(dim=axes, keepdim=True)[0]
        scale = sample.std(dim=axes, keepdim=True, correction=0)[0]
        # A spread that is rounding error of the mean would blow noise up to unit size.
        return cls(mean, torch.where(scale > 1e-7 * mean.abs(), scale, torch.zeros_like(scale)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(inputs - mean) / scale``, same shape, in the type of the network's weights (float32)."""
        return ((inputs.float() - self.mean) / self.scale).to(self.mean.dtype)
