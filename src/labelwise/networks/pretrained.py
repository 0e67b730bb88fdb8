"""Pretrained backbones: weights that are at hand, features computed once."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.errors import InputError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
# A pretrained backbone has nothing to see in pictures with fewer pixels a side than this.
SMALLEST_FOR_BACKBONE = 28


def load_backbone(
    name: str = DEFAULT_BACKBONE, weights: str | Path | None = None, *, download: bool = False
) -> nn.Module | None:
    """Return a timm backbone without its head, its weights loaded, or None where no weights are at hand.

    Weights come from ``weights`` (safetensors, or a PyTorch file read with ``weights_only=True``), else from the
    local Hugging Face cache, else, with ``download``, from the hub. Raises InputError for a file that does not fit.
    """
    import timm

    _refuse_unknown(name)
    if weights is None and not download and not _is_cached(name):
        return None
    with torch.random.fork_rng(devices=[]):  # the weights drawn first are overwritten; nobody's draws should move
        model = timm.create_model(name, pretrained=weights is None)
    if weights is not None:
        load_weights(model, Path(weights))
    model.reset_classifier(0)  # type: ignore[operator]
    return model.eval()


def restore_backbone(name: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the backbone that ``load_backbone`` gave, from its name and state dict.

    Raises InputError for a name that timm does not know, RuntimeError for tensors that do not fit.
    """
    import timm

    _refuse_unknown(name)
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(name, pretrained=False)
    model.reset_classifier(0)  # type: ignore[operator]
    model.load_state_dict(tensors)
    return model.eval()


def _refuse_unknown(name: str) -> None:
    """A name such as hf-hub:... would be looked up in the network."""
    import timm

    if not timm.is_model(name):
        raise InputError(f"network {name!r} is no timm model; timm.list_models() has those there are")


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return False
    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill a model from a weights file: by name, or, where the names differ, by order if every shape agrees."""
    tensors = _read_tensors(file)
    floats = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    given = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if set(given) != set(floats) and len(given) == len(floats):
        given = dict(zip(floats, given.values(), strict=True))
    if set(given) != set(floats) or any(given[name].shape != value.shape for name, value in floats.items()):
        raise InputError(
            f"{file}: {len(given)} weight tensors do not fit the network's {len(floats)}: "
            "give the weights of this very network, or name the network they belong to"
        )
    # Counters of batches seen, the only whole numbers, do not matter for prediction.
    model.load_state_dict(given, strict=False)


def match_weights(model: nn.Module, backbone: nn.Module) -> None:
    """Give a model that is part of a backbone the backbone's weights, by name; timm writes dots as underscores in it.

    Raises InputError where the backbone lacks some.
    """
    given = {name.replace(".", "_"): value for name, value in backbone.state_dict().items()}
    wanted = model.state_dict()
    missing = [name for name in wanted if name.replace(".", "_") not in given]
    if missing:
        raise InputError(f"these weights lack {missing[0]}: give weights of this very network, or none")
    model.load_state_dict({name: given[name.replace(".", "_")] for name in wanted})


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(f"{file}: no such weights file; give the path of a .safetensors or .pth file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{file}: not readable as safetensors or as a PyTorch file of plain weights ({type(error).__name__}); "
            "export the weights as .safetensors"
        ) from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{file}: holds no state dict of tensors; export the weights as .safetensors")
    return loaded


@torch.no_grad()
def backbone_features(
    backbone: nn.Module,
    pictures: np.ndarray,
    *,
    side: int = 96,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Features (n, num_features) float32 of pictures (n, H, W[, C]), resized to ``side`` pixels.

    Whole numbers are bytes, 0 to 255; floating point means 0 to 1. One channel is shown in all three colours, of four
    the last is left out. Raises InputError for other numbers or channels. Cost: one forward pass a picture;
    ``progress`` hears how many are done.
    """
    if pictures.ndim == 4 and pictures.shape[3] not in (1, 3, 4):
        raise InputError(
            f"pictures have {pictures.shape[3]} channels, but a pretrained backbone takes 1, 3 or 4: use network 'cnn'"
        )
    config = getattr(backbone, "pretrained_cfg", {}) or {}
    mean = torch.tensor(config.get("mean", (0.5, 0.5, 0.5))).view(1, -1, 1, 1)
    std = torch.tensor(config.get("std", (0.5, 0.5, 0.5))).view(1, -1, 1, 1)
    backbone = backbone.to(device).eval()
    blocks = [np.zeros((0, int(backbone.num_features)), dtype=np.float32)]  # type: ignore[arg-type]
    for start in range(0, len(pictures), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch_size]))  # (B, H, W[, C])
        batch = batch.unsqueeze(-1) if batch.ndim == 3 else batch
        scale = 1.0 if batch.is_floating_point() else 255.0
        batch = batch.movedim(-1, 1).float() / scale  # (B, C, H, W)
        _check_range(batch, start)
        batch = batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch[:, :3]
        batch = nn.functional.interpolate(batch, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        blocks.append(backbone(((batch - mean) / std).to(device)).float().cpu().numpy())
        if progress is not None:
            progress(min(start + batch_size, len(pictures)))
    return np.concatenate(blocks)


def _check_range(batch: Tensor, start: int) -> None:
    outside = ~((batch >= -1e-3) & (batch <= 1 + 1e-3)).flatten(1).all(dim=1)  # (B,)
    if outside.any():
        row = start + int(outside.int().argmax())
        raise InputError(f"picture {row} is out of range: give bytes from 0 to 255, or floating point from 0 to 1")
