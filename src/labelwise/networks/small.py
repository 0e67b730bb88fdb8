"""Small networks for small data."""

from collections.abc import Sequence

from torch import nn


def mlp_features(num_inputs: int, hidden: Sequence[int] = (256, 256)) -> tuple[nn.Module, int]:
    """Fully connected ReLU layers; the last hidden layer is the feature vector. Inputs are flattened."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = num_inputs
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers), width


def cnn_features(channels: int, height: int, width: int, filters: int = 32) -> tuple[nn.Module, int]:
    """Convolution blocks with BatchNorm, halving the picture until it is 4 pixels small, then a 256-wide layer.

    ``filters``: of the first block; each block has twice those of the one before.
    """
    layers: list[nn.Module] = []
    size = min(height, width)
    height_left, width_left = height, width
    while size > 4 and filters <= 128:
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels, filters = filters, filters * 2
        height_left, width_left = height_left // 2, width_left // 2
        size = min(height_left, width_left)
    layers += [nn.AdaptiveAvgPool2d(min(size, 4)), nn.Flatten()]
    layers += [nn.Linear(channels * min(size, 4) ** 2, 256), nn.ReLU()]
    return nn.Sequential(*layers), 256
