"""A training under way, written to a checkpoint and read back."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.training.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    read_manifest,
    save_checkpoint,
    unflatten_optimizer,
)
from labelwise.training.data import TrainingData
from labelwise.training.recipe import Recipe
from labelwise.training.settings import Settings

Row = dict[str, float]


@dataclass
class TrainResult:
    """One row of numbers an epoch, and the state of the epoch with the best validation score."""

    history: list[Row] = field(default_factory=list)
    best_epoch: int | None = None
    best_state: dict[str, Tensor] | None = None


def save_training(
    recipe: Recipe,
    optimizers: dict[str, torch.optim.Optimizer],
    result: TrainResult,
    folder: Path,
    identity: dict[str, Any],
) -> None:
    """Write a training under way to a checkpoint; ``identity`` says which training it is."""
    tensors = {f"recipe/{name}": value for name, value in recipe.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in (result.best_state or {}).items()}
    rests = {}
    for name, optimizer in optimizers.items():
        state, rests[name] = flatten_optimizer(f"optimizer/{name}", optimizer.state_dict())
        tensors |= state
    manifest = {
        "history": result.history,
        "best_epoch": result.best_epoch,
        "optimizers": rests,
        "settings": identity,
    }
    save_checkpoint(folder, tensors, manifest)


def restore_training(
    recipe: Recipe, optimizers: dict[str, torch.optim.Optimizer], folder: Path, identity: dict[str, Any]
) -> TrainResult:
    """Bring recipe and optimisers to a checkpoint's state, fresh where there is none.

    Raises InputError where the checkpoint is of another training.
    """
    if not (folder / "manifest.json").exists():
        return TrainResult()
    if read_manifest(folder).get("settings") != identity:
        raise InputError(
            f"{folder}: this checkpoint was made with other settings or data; resume with the same ones, "
            "or start afresh in another folder"
        )
    tensors, manifest = load_checkpoint(folder)
    recipe.load_state_dict(_under("recipe/", tensors))
    for name, optimizer in optimizers.items():
        rest = manifest["optimizers"][name]
        optimizer.load_state_dict(unflatten_optimizer(f"optimizer/{name}", tensors, rest))
    best = _under("best/", tensors)
    return TrainResult(manifest["history"], manifest["best_epoch"], best or None)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def training_identity(recipe: Recipe, data: TrainingData, settings: Settings) -> dict[str, Any]:
    """What a checkpoint must share with the run that goes on from it; devices and patience may change."""
    free = ("accelerator", "devices", "early_stopping")
    shared = {name: value for name, value in asdict(settings).items() if name not in free}
    # Labels tell one training set from another; where there are none, the inputs must.
    told = data.labels if data.labels.numel() or not isinstance(data.inputs, Tensor) else data.inputs
    digest = hashlib.sha256(told.numpy().tobytes()).hexdigest()
    return shared | {"recipe": type(recipe).__name__, "data": digest}
