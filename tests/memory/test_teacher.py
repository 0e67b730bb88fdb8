"""Averaged teachers against the closed form of the average, and what must not reach them."""

import pytest
import torch
from torch import nn

from labelwise.memory.teacher import AveragedTeacher, ema_update_


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()


def vector(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 1.0])
def test_after_n_steps_of_a_constant_student(momentum: float) -> None:
    student = network(1)
    teacher = AveragedTeacher(network(0))
    start = vector(teacher)
    for _ in range(5):
        teacher.update(student, momentum)
    torch.testing.assert_close(vector(teacher), vector(student) + momentum**5 * (start - vector(student)))


def test_a_teacher_starts_as_a_copy_and_leaves_its_student_alone() -> None:
    student = network()
    teacher = AveragedTeacher(student)
    assert torch.equal(vector(teacher), vector(student))
    before = vector(student).clone()
    with torch.no_grad():
        student[0].weight += 1
    teacher.update(student, 0.5)
    assert torch.equal(vector(student)[12:], before[12:])
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_has_neither_dropout_nor_gradient_nor_statistics_of_its_own() -> None:
    student = network()
    teacher = AveragedTeacher(student)
    holder = nn.Module()
    holder.teacher = teacher
    holder.train()
    assert not any(module.training for module in teacher.modules())
    inputs = torch.randn(6, 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    output = teacher(inputs)
    assert not output.requires_grad
    assert torch.equal(output, teacher(inputs))
    student.train()(inputs)
    assert not torch.equal(teacher.network[1].running_mean, student[1].running_mean)
    teacher.update(student, 1.0)
    assert torch.equal(teacher.network[1].running_mean, student[1].running_mean)
    assert int(teacher.network[1].num_batches_tracked) == 1


def test_networks_of_other_shapes_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        ema_update_(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), 0.5)
