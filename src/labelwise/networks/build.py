"""Networks by name: ``mlp``, ``cnn``, or any timm model."""

from collections.abc import Sequence

from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.networks.network import Network, Standardize
from labelwise.networks.small import cnn_features, mlp_features

SMALL_NETWORKS = ("mlp", "cnn")


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
) -> Network:
    """Build a freshly initialised network for inputs of one shape.

    ``name`` is ``mlp``, ``cnn`` (pictures only), ``linear``, ``mlp-64-64`` for other widths, or a timm model name.
    ``input_shape`` has no batch axis: (features,) or (channels, H, W). Raises InputError for a name that fits neither.
    """
    extractor, num_features = _extractor(name, tuple(input_shape))
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
    backbone = timm.create_model(name, pretrained=False, num_classes=0, in_chans=shape[0])
    return AtLeast32(backbone), int(backbone.num_features)  # type: ignore[arg-type]


class AtLeast32(nn.Module):
    """Enlarge pictures under 32 pixels, which most backbones would shrink to nothing."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (B, num_features) of pictures (B, channels, H, W)."""
        side = min(pictures.shape[-2:])
        if side < 32:
            pictures = nn.functional.interpolate(pictures, scale_factor=32 / side, mode="bilinear")
        return self.backbone(pictures)
