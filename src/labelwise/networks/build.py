"""Networks by name: ``mlp``, ``cnn``, or any timm model."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.networks.network import Network, Standardize
from labelwise.networks.small import cnn_features, mlp_features

SMALL_NETWORKS = ("mlp", "cnn", "linear")


def is_small(name: str) -> bool:
    """Whether a name means one of our own networks, not a timm model."""
    return name in SMALL_NETWORKS or name.startswith("mlp-")


def default_network(input_shape: Sequence[int]) -> str:
    """``cnn`` for pictures (channels, H, W), ``mlp`` for everything else."""
    return "cnn" if len(input_shape) == 3 else "mlp"


def build_network(
    name: str,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    standardize: Standardize | None = None,
    head_bias: bool = True,
    pretrained: nn.Module | None = None,
) -> Network:
    """Build a freshly initialised network for inputs of one shape.

    ``name`` is ``mlp``, ``cnn`` (pictures only), ``linear``, ``mlp-64-64`` for other widths, or a timm model name.
    ``input_shape`` has no batch axis: (features,) or (channels, H, W). ``pretrained`` is a timm backbone of that name
    to start from, itself left as it is. Raises InputError for a name or pictures that do not fit.
    """
    if pretrained is None:
        extractor, num_features = _extractor(name, tuple(input_shape))
    else:
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise InputError(
                f"an example has shape {tuple(input_shape)}, but pretrained weights are trained on from pictures of "
                "1 or 3 channels: leave the other channels out, or use network 'cnn'"
            )
        extractor = PictureBackbone(copy.deepcopy(pretrained), num_channels=3)
        num_features = int(pretrained.num_features)  # type: ignore[arg-type]
    if standardize is not None:
        extractor = nn.Sequential(standardize, extractor)
    return Network(extractor, num_features, num_classes, head_bias=head_bias)


def _extractor(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    num_inputs = 1
    for size in shape:
        num_inputs *= size
    if name == "linear":
        return nn.Flatten(), num_inputs
    if name == "mlp":
        return mlp_features(num_inputs)
    if name.startswith("mlp-"):
        return mlp_features(num_inputs, _widths(name))
    if len(shape) != 3:
        raise InputError(
            f"network {name!r} needs pictures, but an example has shape {shape}: "
            "use network 'mlp', or give X as (n, height, width[, channels])"
        )
    if name == "cnn":
        return cnn_features(*shape)
    return _timm_features(name, shape)


def _widths(name: str) -> list[int]:
    parts = name.split("-")[1:]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"network {name!r} is not understood: write the widths as in 'mlp-256-256'")
    return [int(part) for part in parts]


def _timm_features(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    import timm

    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise InputError(
            f"network {name!r} is neither 'mlp', 'cnn', 'linear' nor a timm model"
            + (f"; timm has {close}" if close else "")
        )
    # Grey pictures are shown in all three colours, so that a pretrained start and a fresh one are built alike.
    num_channels = 3 if shape[0] == 1 else shape[0]
    backbone = timm.create_model(name, pretrained=False, num_classes=0, in_chans=num_channels)
    return PictureBackbone(backbone, num_channels), int(backbone.num_features)  # type: ignore[arg-type]


class PictureBackbone(nn.Module):
    """Give a backbone pictures it can take: as many channels as it has, and 32 pixels or more.

    Smaller ones would shrink to nothing in most backbones.
    """

    def __init__(self, backbone: nn.Module, num_channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_channels = num_channels

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (B, num_features) of pictures (B, channels, H, W), channels 1 or the backbone's own."""
        if pictures.shape[1] == 1:
            pictures = pictures.expand(-1, self.num_channels, -1, -1)
        side = min(pictures.shape[-2:])
        if side < 32:
            pictures = nn.functional.interpolate(pictures, scale_factor=32 / side, mode="bilinear")
        return self.backbone(pictures)
