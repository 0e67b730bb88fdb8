"""Rows from two processes."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from labelwise.memory.gather import everywhere, gather_rows, part, sum_processes
from labelwise.memory.targets import TargetMemory


def work(fabric: Any, folder: Path) -> None:
    rank = fabric.global_rank
    index = torch.tensor([[4, 1], [3]][rank])  # different numbers of rows
    index, rows = gather_rows(index, 10.0 * index[:, None] + torch.tensor([0.0, 1.0]))
    assert index.tolist() == [4, 1, 3]
    assert rows.tolist() == [[40.0, 41.0], [10.0, 11.0], [30.0, 31.0]]
    nothing, no_rows = gather_rows(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2))
    assert nothing.shape == (0,)
    assert no_rows.shape == (0, 2)

    memory = TargetMemory(5, 2, 0.5)
    own = torch.tensor([[0, 2], [4]][rank])
    probs = torch.full((len(own), 2), 0.5 + rank / 10)
    assert torch.allclose(memory.update(own, probs), probs / 2)
    expected = torch.tensor([[0.25] * 2, [0.0] * 2, [0.25] * 2, [0.0] * 2, [0.3] * 2])
    torch.testing.assert_close(memory.targets, expected)

    assert sum_processes(torch.tensor([1, rank])).tolist() == [2, 1]
    assert everywhere(True)
    assert not everywhere(rank == 0)
    part()
    (folder / str(rank)).touch()


def test_two_processes(tmp_path: Path) -> None:
    Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn").launch(partial(work, folder=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}
