"""Schedules: how a learning rate, a ramp or a forget rate moves with time."""

import math


def sigmoid_rampup(step: float, length: float) -> float:
    """Return ``exp(-5 (1 - clip(step, 0, length) / length)^2)``, and 1 for a ramp of no length (Laine & Aila 2017)."""
    if length == 0:
        return 1.0
    phase = 1.0 - min(max(step, 0.0), length) / length
    return math.exp(-5.0 * phase * phase)


def linear_ramp(step: float, length: float) -> float:
    """Return ``min(1, step / length)`` for steps counted from 0, and 1 for a ramp of no length."""
    return 1.0 if length == 0 else min(1.0, step / length)


def learning_rate_factor(schedule: str, epoch: int, epochs: int, warmup_epochs: int = 0) -> float:
    """Factor on the rate in a 0-based epoch: ``constant``, ``cosine`` to 0, ``poly`` (power 0.9 of what is left), or
    ``steps`` (x0.1 at 1/2 and 3/4).

    The first ``warmup_epochs`` rise linearly. Raises ValueError for an unknown schedule.
    """
    warmup = min(1.0, (epoch + 1) / (warmup_epochs + 1))
    if schedule == "constant":
        return warmup
    if schedule == "cosine":
        return warmup * 0.5 * (1.0 + math.cos(math.pi * epoch / max(epochs, 1)))
    if schedule == "poly":
        return warmup * (1.0 - epoch / max(epochs, 1)) ** 0.9
    if schedule == "steps":
        return warmup * 0.1 ** ((epoch >= epochs / 2) + (epoch >= epochs * 3 / 4))
    raise ValueError(f"schedule is {schedule!r}; choose one of constant, cosine, poly, steps")


def linear_momentum(step: int, start: float, end: float, total: int) -> float:
    """Momentum of an averaged teacher at a 0-based step, from ``start`` in a line to ``end`` after ``total`` steps."""
    return start + (end - start) * min(step, total) / max(total, 1)


def warmup_cosine(
    step: int, start: float, peak: float, final: float, warmup: int, total: int, *, clamp: bool = True
) -> float:
    """Learning rate at a 1-based step: from ``start`` in a line to ``peak``, then half a cosine to ``final``.

    Without ``clamp`` the cosine goes on beyond ``total``, and the rate rises again.
    """
    if step < warmup:
        return start + (peak - start) * step / warmup
    return half_cosine(step - warmup, peak, final, total - warmup, clamp=clamp)


def half_cosine(step: int, start: float, final: float, total: int, *, clamp: bool = True) -> float:
    """Half a cosine from ``start`` to ``final`` after ``total`` steps; ``clamp`` as for ``warmup_cosine``.

    T-JEPA moves its weight decay so, with 1-based steps.
    """
    if clamp:
        step = min(step, total)
    return final + (start - final) * 0.5 * (1.0 + math.cos(math.pi * step / max(total, 1)))
