"""The table of targets against a slow loop."""

import pytest
import torch

from labelwise.memory.gather import everywhere, gather_rows
from labelwise.memory.targets import TargetMemory


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99])
def test_update_against_a_loop(momentum: float) -> None:
    rng = torch.Generator().manual_seed(0)
    memory = TargetMemory(6, 3, momentum).double()
    slow = [[0.0] * 3 for _ in range(6)]
    for size in (4, 1, 6, 3):
        index = torch.randperm(6, generator=rng)[:size]
        probs = torch.rand(size, 3, generator=rng, dtype=torch.float64)
        rows = memory.update(index, probs.clone().requires_grad_())
        assert not rows.requires_grad
        for place, row in enumerate(index.tolist()):
            slow[row] = [
                momentum * old + (1 - momentum) * float(p) for old, p in zip(slow[row], probs[place], strict=True)
            ]
        torch.testing.assert_close(memory.targets, torch.tensor(slow, dtype=torch.float64))
        assert torch.equal(rows, memory(index))


def test_momentum_0_keeps_the_last_prediction() -> None:
    memory = TargetMemory(2, 2, 0.0)
    memory.update(torch.tensor([1]), torch.tensor([[0.2, 0.8]]))
    memory.update(torch.tensor([1]), torch.tensor([[0.9, 0.1]]))
    assert torch.equal(memory.targets, torch.tensor([[0.0, 0.0], [0.9, 0.1]]))


def test_nothing_to_update() -> None:
    memory = TargetMemory(3, 2, 0.5)
    assert memory.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2)).shape == (0, 2)
    assert (memory.targets == 0).all()
    assert TargetMemory(0, 2, 0.5).targets.shape == (0, 2)


def test_the_table_is_saved_and_holds_no_parameters() -> None:
    memory = TargetMemory(3, 2, 0.5)
    assert list(memory.state_dict()) == ["targets"]
    assert not list(memory.parameters())


def test_predictions_of_lower_precision_are_kept_in_the_tables() -> None:
    memory = TargetMemory(2, 2, 0.0)
    memory.update(torch.tensor([0]), torch.tensor([[0.25, 0.75]], dtype=torch.bfloat16))
    assert memory.targets.dtype == torch.float32
    assert memory.targets[0].tolist() == [0.25, 0.75]


def test_alone_there_is_nothing_to_gather() -> None:
    index, rows = torch.tensor([1, 0]), torch.eye(2)
    same_index, same_rows = gather_rows(index, rows)
    assert same_index is index
    assert same_rows is rows
    assert everywhere(True)
    assert not everywhere(False)
