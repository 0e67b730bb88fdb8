"""Checkpoints: tensors as safetensors, the rest as JSON, nothing half written, no pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from labelwise.errors import InputError
from labelwise.files import atomic_write

MANIFEST = "manifest.json"


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write tensors and manifest to ``folder`` so that a reader sees the old pair or the new one, never a mixture.

    The manifest names the tensor file by its sha256, carries a sha256 of itself, and is renamed into place last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    name = f"tensors-{digest[:16]}.safetensors"
    with atomic_write(folder / name) as stream:
        stream.write(content)
    # Through JSON and back, so that the seal is of what a reader will see.
    document = json.loads(json.dumps({**manifest, "tensors": name, "sha256": digest}))
    document["seal"] = _seal(document)
    with atomic_write(folder / MANIFEST) as stream:
        stream.write(json.dumps(document, indent=1, sort_keys=True).encode())
    # Tensors of older checkpoints, and what a kill while writing left behind.
    for old in [
        *folder.glob("tensors-*.safetensors"),
        *folder.glob(".tensors-*.tmp"),
        *folder.glob(f".{MANIFEST}.*.tmp"),
    ]:
        if old.name != name:
            old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and manifest; raises InputError where a file is missing, damaged or was changed."""
    manifest = read_manifest(folder)
    name = str(manifest.get("tensors", ""))
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise InputError(f"{folder / MANIFEST}: names the tensor file {name!r}, which is not a plain file name")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise InputError(f"{folder / name}: not readable ({error.strerror}); train the model again") from error
    if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
        raise InputError(
            f"{folder / name}: its content is not what the manifest promises (sha256 differs), "
            "so it was changed or damaged; copy it again or train anew"
        )
    if _seal(manifest) != manifest.get("seal"):
        raise InputError(f"{folder / MANIFEST}: was changed or damaged after it was written; copy it again or train")
    try:
        return load(content), manifest
    except SafetensorError as error:
        raise InputError(f"{folder / name}: holds no tensors ({error}); copy it again or train anew") from error


def _seal(manifest: Mapping[str, Any]) -> str:
    """The sha256 of all that a manifest says beside the seal itself."""
    said = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint or model folder; raises InputError where there is none."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no {MANIFEST} there; give the folder of a saved model") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON manifest ({error}); copy it again or train anew") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: not a manifest; give the folder of a saved model")
    return manifest


def flatten_optimizer(prefix: str, state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state dict into named tensors and a JSON-able rest."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}/{number}/{name}"] = value
            else:
                plain.setdefault(str(number), {})[name] = value
    return tensors, {"plain": plain, "groups": state["param_groups"]}


def unflatten_optimizer(prefix: str, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Put an optimiser's state dict together again."""
    state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in rest["plain"].items()}
    for key, value in tensors.items():
        if key.startswith(prefix + "/"):
            _, number, name = key.rsplit("/", 2)
            state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
