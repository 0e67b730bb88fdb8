"""Networks for masks: a small U-Net for small data, and a U-Net on any timm backbone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.networks.network import Standardize
from labelwise.networks.pretrained import match_weights

DEFAULT_WIDTHS = (16, 32, 64)
# Widths of the decoder over a backbone, from the finest level on.
DECODER_WIDTHS = (16, 32, 64, 128, 256)
SMALLEST_FOR_ENCODER = 32


class UNet(nn.Module):
    """An encoder, a decoder that brings its levels back to the size of the picture, and a 1x1 head.

    Inputs (B, channels, H, W) of any height and width; output logits (B, classes, H, W).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.encoder = encoder
        self.decoder = decoder
        self.head = nn.Conv2d(num_features, num_classes, 1)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last features (B, num_features, H, W)."""
        return _resized(self.decoder(self.encoder(inputs)), inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, classes, H, W)."""
        return self.head(self.features(inputs))


def build_unet(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    standardize: Standardize | None = None,
    pretrained: nn.Module | None = None,
) -> UNet:
    """Build a freshly initialised network for masks of pictures (channels, H, W).

    ``name`` is ``unet``, ``unet-8-16-32`` for other widths (one a level, each level half as fine), ``hourglass`` or
    ``hourglass-8-16-32`` for the same without skip connections, or ``unet-`` and a timm name. ``pretrained`` is a timm
    backbone of that name whose weights the encoder starts with. Raises InputError for a name or shape that does not
    fit.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"an example has shape {tuple(input_shape)}, but masks need pictures: "
            "give X as (n, height, width[, channels])"
        )
    kind, _, rest = name.partition("-")
    if kind not in ("unet", "hourglass"):
        raise InputError(
            f"network {name!r} is none for masks: use 'unet', 'unet-8-16-32', 'hourglass' or 'unet-' and a timm name"
        )
    encoder: nn.Module
    widths = _widths(rest)
    if widths is None:
        encoder, widths = _timm_encoder(name, rest, input_shape[0], pretrained)
        decoder = Decoder(widths, DECODER_WIDTHS[: len(widths)])
    else:
        encoder = Encoder(input_shape[0], widths)
        decoder = Decoder(widths, widths, skips=kind == "unet")
    if standardize is not None:
        encoder = nn.Sequential(standardize, encoder)
    return UNet(encoder, decoder, decoder.num_features, num_classes)


def encoder_name(name: str) -> str | None:
    """The timm name within a network's name, None where it has none."""
    kind, _, rest = name.partition("-")
    return rest if kind == "unet" and _widths(rest) is None else None


class Encoder(nn.Module):
    """Two convolutions a level, each level half as fine as the one before."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_block(before, width) for before, width in pairwise([channels, *widths]))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the levels (B, width, h, w), finest first; odd sides are rounded up."""
        found = []
        for number, level in enumerate(self.levels):
            pictures = level(functional.max_pool2d(pictures, 2, ceil_mode=True) if number else pictures)
            found.append(pictures)
        return found


class Decoder(nn.Module):
    """From the coarsest level up: enlarge, join with the next finer level if ``skips``, two convolutions."""

    def __init__(self, levels: Sequence[int], widths: Sequence[int], *, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        self.num_features = widths[0] if len(levels) > 1 else levels[0]
        below = [*widths[1:-1], levels[-1]] if len(levels) > 1 else []
        self.blocks = nn.ModuleList(
            _block(coarse + (fine if skips else 0), width)
            for coarse, fine, width in zip(below, levels[:-1], widths, strict=False)
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return features (B, num_features, h, w) at the size of the finest level."""
        features = levels[-1]
        for block, fine in zip(reversed(self.blocks), reversed(levels[:-1]), strict=True):
            features = _resized(features, fine)
            features = block(torch.cat([features, fine], dim=1) if self.skips else features)
        return features


class TimmEncoder(nn.Module):
    """The levels of a timm backbone; grey pictures are shown in all its colours, small ones are enlarged first."""

    def __init__(self, backbone: nn.Module, num_channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_channels = num_channels

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the levels (B, width, h, w), finest first."""
        if pictures.shape[1] == 1:
            pictures = pictures.expand(-1, self.num_channels, -1, -1)
        side = min(pictures.shape[-2:])
        if side < SMALLEST_FOR_ENCODER:
            pictures = functional.interpolate(pictures, scale_factor=SMALLEST_FOR_ENCODER / side, mode="bilinear")
        return self.backbone(pictures)


class PixelBatchNorm(nn.BatchNorm2d):
    """BatchNorm that takes a batch of a single pixel too: one has no deviation, so the statistics so far must do."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return normalised inputs (B, channels, h, w)."""
        if self.training and inputs.numel() == inputs.shape[1]:
            statistics = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(inputs, *statistics, training=False, eps=self.eps)
        return super().forward(inputs)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with BatchNorm: on scenes of few objects, GroupNorm was stuck at the background for long."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), PixelBatchNorm(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _resized(features: Tensor, like: Tensor) -> Tensor:
    if features.shape[-2:] == like.shape[-2:]:
        return features
    return functional.interpolate(features, like.shape[-2:], mode="bilinear")


def _widths(rest: str) -> Sequence[int] | None:
    """Widths written as in ``8-16-32``; None for what is something else."""
    if not rest:
        return DEFAULT_WIDTHS
    parts = rest.split("-")
    return [int(part) for part in parts] if all(part.isdigit() and int(part) > 0 for part in parts) else None


def _timm_encoder(
    name: str, backbone_name: str, channels: int, pretrained: nn.Module | None
) -> tuple[TimmEncoder, list[int]]:
    import timm

    if name.startswith("hourglass") or not timm.is_model(backbone_name):
        raise InputError(
            f"network {name!r} is not understood: "
            "write widths as in 'unet-8-16-32', or a timm name as in 'unet-resnet18'"
        )
    num_channels = 3 if channels == 1 else channels
    try:
        backbone = timm.create_model(backbone_name, pretrained=False, features_only=True, in_chans=num_channels)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        raise InputError(f"network {name!r}: this backbone gives no levels of features ({error})") from error
    if pretrained is not None:
        match_weights(backbone, pretrained)
    return TimmEncoder(backbone, num_channels), list(backbone.feature_info.channels())  # type: ignore[operator,union-attr]
