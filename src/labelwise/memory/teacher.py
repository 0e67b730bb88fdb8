"""Averaged teachers: a network whose weights follow another's."""

import copy
from typing import Any, Self

import torch
from torch import nn

from labelwise.numerics.schedules import sigmoid_rampup


def ema_decay(step: int, decay: float, ramp_steps: int | None = None) -> float:
    """Decay at a 0-based step: ``min(1 - 1/(t+1), decay)``, or ``ramp(t+1, ramp_steps) * decay`` where a ramp is given.

    The first form copies the student at step 0.
    """
    if ramp_steps is None:
        return min(1.0 - 1.0 / (step + 1), decay)
    return sigmoid_rampup(step + 1, ramp_steps) * decay


@torch.no_grad()
def update_ema(model: nn.Module, ema_model: nn.Module, step: int, decay: float, ramp_steps: int | None = None) -> None:
    """Move the parameters of ``ema_model`` towards those of ``model``; buffers (BatchNorm statistics) stay its own."""
    ema_update_(ema_model, model, ema_decay(step, decay, ramp_steps))


@torch.no_grad()
def ema_update_(average: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move parameters in place, ``average <- momentum average + (1 - momentum) model``; buffers stay as they are."""
    for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
        mean.mul_(momentum).add_(parameter.detach(), alpha=1.0 - momentum)


class AveragedTeacher(nn.Module):
    """A network that follows a student: it starts as a copy, takes no gradient and stays in evaluation mode.

    Call it as the student is called. Cost: one copy of the weights, and a pass over them an update.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever is asked, so that dropout and batch statistics never reach the targets."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Average the parameters, ``T <- momentum T + (1 - momentum) S``, and copy the buffers."""
        ema_update_(self.network, student, momentum)
        for mine, other in zip(self.network.buffers(), student.buffers(), strict=True):
            mine.copy_(other)

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return what the averaged network gives, without gradient."""
        return self.network(*inputs, **options)
