"""Schedules: how a learning rate, a ramp or a forget rate moves with time."""

import math


def sigmoid_rampup(step: float, length: float) -> float:
    """Return ``exp(-5 (1 - clip(step, 0, length) / length)^2)``, and 1 for a ramp of no length (Laine & Aila 2017)."""
    if length == 0:
        return 1.0
    phase = 1.0 - min(max(step, 0.0), length) / length
    return math.exp(-5.0 * phase * phase)


def learning_rate_factor(schedule: str, epoch: int, epochs: int, warmup_epochs: int = 0) -> float:
    """Factor on the rate in a 0-based epoch: ``constant``, ``cosine`` to 0, or ``steps`` (x0.1 at 1/2 and 3/4).

    The first ``warmup_epochs`` rise linearly. Raises ValueError for an unknown schedule.
    """
    warmup = min(1.0, (epoch + 1) / (warmup_epochs + 1))
    if schedule == "constant":
        return warmup
    if schedule == "cosine":
        return warmup * 0.5 * (1.0 + math.cos(math.pi * epoch / max(epochs, 1)))
    if schedule == "steps":
        return warmup * 0.1 ** ((epoch >= epochs / 2) + (epoch >= epochs * 3 / 4))
    raise ValueError(f"schedule is {schedule!r}; choose one of constant, cosine, steps")
