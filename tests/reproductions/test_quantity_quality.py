"""The sweep of budgets: its parts on made-up accuracies, and the quick form on digits."""

import math

import numpy as np
import pytest

from labelwise.reproductions.quantity_quality import Grid, Sweep, buy, choose_apart, describe, judge, run, train
from labelwise.reproductions.quantity_quality_data import digits_source

GRID = Grid((16, 64, 256), (0.0, 0.3, 0.7, 1.0))


def sweep(means: list[list[float]], noise: float = 0.01, seeds: int = 10) -> Sweep:
    rng = np.random.default_rng(0)
    accuracy = np.asarray(means) + noise * rng.normal(size=(seeds, *np.shape(means)))
    return Sweep(GRID, accuracy, np.tile([[16.0], [64.0], [256.0]], (1, 4)))


REGIMES = [[0.8, 0.75, 0.7, 0.6], [0.8, 0.85, 0.84, 0.8], [0.8, 0.85, 0.88, 0.9]]


def test_three_regimes_are_the_claim() -> None:
    found = judge(sweep(REGIMES))
    assert found.holds
    assert found.budget == 1
    said = describe(sweep(REGIMES), found)
    assert list(said["regime"].values()) == ["quantity-dominant", "mixed", "quality-dominant"]


@pytest.mark.parametrize("turned", [0, 2])
def test_an_end_that_does_not_lead_breaks_the_claim(turned: int) -> None:
    means = [row[::-1] if place == turned else row for place, row in enumerate(REGIMES)]
    assert not judge(sweep(means)).holds


def test_a_mix_below_both_ends_everywhere_breaks_the_claim() -> None:
    assert not judge(sweep([[0.8, 0.5, 0.5, 0.6], [0.8, 0.5, 0.5, 0.8], [0.8, 0.5, 0.5, 0.9]])).holds


def test_a_share_is_not_chosen_where_it_is_judged() -> None:
    # Shares that differ by luck alone: the best of each seed would be well above the mean.
    rng = np.random.default_rng(0)
    accuracy = rng.normal(0.8, 0.05, (400, 9))
    assert choose_apart(accuracy).mean() == pytest.approx(0.8, abs=0.01)
    assert choose_apart(accuracy[:1]).shape == (1,)


def test_a_pool_that_is_used_up() -> None:
    task = digits_source().draw(0)
    pool = len(task.truth)
    assert buy(task, 10_000, 1.0) == (0, pool)
    assert buy(task, 256, 0.2) == (pool - 51, 51)
    assert buy(task, 16, 0.5) == (80, 8)


def test_parts_are_disjoint_and_the_weak_labeller_is_weak() -> None:
    task = digits_source().draw(3)
    rows = {row.tobytes() for row in task.X}
    assert not rows & {row.tobytes() for row in task.test_X}
    assert 0.7 < ((task.cheap >= 0.5) == task.truth).mean() < 0.9
    assert len(task.test_y) >= 250


def test_many_cheap_labels_teach_more_than_one_dear_one() -> None:
    task = digits_source().draw(0)
    assert train(task, (160, 0), 0) > train(task, (0, 1), 0) + 0.1


def test_quick() -> None:
    result = run(1, None, quick=True)
    assert result.interval is None
    assert math.isfinite(result.difference)
    assert any("Only digits" in note for note in result.notes)
    assert result.to_json()
