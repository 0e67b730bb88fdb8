"""Averaged teachers: a network whose weights follow another's."""

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
    rate = ema_decay(step, decay, ramp_steps)
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.mul_(rate).add_(parameter.detach(), alpha=1.0 - rate)
