"""Checkpoints: whole or not at all, and nothing that was changed is read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from labelwise.errors import InputError
from labelwise.training.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    read_manifest,
    save_checkpoint,
    set_learning_rate,
    unflatten_optimizer,
)

TENSORS = {"a": torch.arange(4.0), "b": torch.tensor(3), "c": torch.zeros(0, 2), "d": torch.ones(3, 2).T}


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep" / "er", TENSORS, {"history": [{"loss": 0.1}]})
    tensors, manifest = load_checkpoint(tmp_path / "deep" / "er")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert manifest["history"] == [{"loss": 0.1}]


def test_a_second_save_replaces_the_first_and_clears_what_a_kill_left(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, {})
    (tmp_path / ".tensors-0123.safetensors.abc.tmp").write_text("half")
    (tmp_path / ".manifest.json.abc.tmp").write_text("half")
    save_checkpoint(tmp_path, {"a": torch.zeros(1)}, {})
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(tmp_path)[0]["a"].tolist() == [0]


def test_shared_memory_is_saved_apart(tmp_path: Path) -> None:
    both = torch.ones(3)
    save_checkpoint(tmp_path, {"a": both, "b": both}, {})
    assert torch.equal(load_checkpoint(tmp_path)[0]["b"], both)


def tensor_file(folder: Path) -> Path:
    (file,) = folder.glob("tensors-*.safetensors")
    return file


def test_changed_tensors_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, {})
    content = bytearray(tensor_file(tmp_path).read_bytes())
    content[-1] ^= 1
    tensor_file(tmp_path).write_bytes(content)
    with pytest.raises(InputError, match="sha256 differs"):
        load_checkpoint(tmp_path)


def test_truncated_or_missing_tensors_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, {})
    tensor_file(tmp_path).write_bytes(b"")
    with pytest.raises(InputError, match="sha256 differs"):
        load_checkpoint(tmp_path)
    tensor_file(tmp_path).unlink()
    with pytest.raises(InputError, match="not readable"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "", "weights.pt", "a/b.safetensors"])
def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "model"
    save_checkpoint(folder, TENSORS, {})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"tensors": name}))
    with pytest.raises(InputError, match="plain file name"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"'])
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="manifest"):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of a saved model"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_optimizers_go_on_as_if_nothing_had_happened(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return model, kind(model.parameters(), lr=0.1, **options)

    def step(model: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = fresh()
    step(model, optimizer)
    tensors, rest = flatten_optimizer("optimizer/network", optimizer.state_dict())
    save_checkpoint(tmp_path, tensors, {"rest": rest})
    other, other_optimizer = fresh()
    other.load_state_dict(model.state_dict())
    tensors, manifest = load_checkpoint(tmp_path)
    other_optimizer.load_state_dict(unflatten_optimizer("optimizer/network", tensors, manifest["rest"]))
    for pair in ((model, optimizer), (other, other_optimizer)):
        step(*pair)
    assert torch.equal(model.weight, other.weight)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
