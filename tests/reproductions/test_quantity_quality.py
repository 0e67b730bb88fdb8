"""The sweep of budgets: its parts on made-up accuracies, and the quick form on digits."""

import math
from pathlib import Path

import numpy as np
import pytest

from labelwise.reproductions.quantity_quality import (
    CLAIM,
    WEAK_FORM,
    Grid,
    Sweep,
    buy,
    choose_apart,
    describe,
    judge,
    run,
    train,
)
from labelwise.reproductions.quantity_quality_data import digits_source
from labelwise.reproductions.quantity_quality_notes import GAINS, is_no_worse, mix_note, spent_notes
from labelwise.reproductions.result import Result, paired_interval

RESULTS = Path(__file__).parents[2] / "docs" / "results"

GRID = Grid((16, 64, 256), (0.0, 0.3, 0.7, 1.0))


def sweep(means: list[list[float]], noise: float = 0.01, seeds: int = 10) -> Sweep:
    rng = np.random.default_rng(0)
    accuracy = np.asarray(means) + noise * rng.normal(size=(seeds, *np.shape(means)))
    return Sweep(GRID, accuracy, np.tile([[16.0], [64.0], [256.0]], (1, 4)))


REGIMES = [[0.8, 0.75, 0.7, 0.6], [0.8, 0.85, 0.84, 0.8], [0.8, 0.85, 0.88, 0.9]]


def test_three_regimes_are_the_claim() -> None:
    found = judge(sweep(REGIMES))
    assert found.holds
    said = describe(sweep(REGIMES), found)
    assert list(said["regime"].values()) == ["quantity-dominant", "mixed", "quality-dominant"]


@pytest.mark.parametrize("turned", [0, 2])
def test_an_end_that_does_not_lead_breaks_the_claim(turned: int) -> None:
    means = [row[::-1] if place == turned else row for place, row in enumerate(REGIMES)]
    assert not judge(sweep(means)).holds


def test_a_mix_takes_no_part_in_the_verdict_and_is_told_of() -> None:
    poor = sweep([[0.8, 0.5, 0.5, 0.6], [0.8, 0.5, 0.5, 0.8], [0.8, 0.5, 0.5, 0.9]])
    rich = sweep([[0.8, 0.5, 0.5, 0.6], [0.8, 0.9, 0.9, 0.8], [0.8, 0.5, 0.5, 0.9]])
    assert judge(poor).holds
    said = [describe(each, judge(each)) for each in (poor, rich)]
    assert [each[WEAK_FORM] for each in said] == [False, True]
    assert mix_note({"x": said[0]}, 10).startswith("A mix is nowhere clearly better")
    assert mix_note({"x": said[1]}, 10).startswith("A mix is clearly better than the better end at x, budget 64:")


@pytest.mark.parametrize("shift", [-1.02, -0.98, 0.5])
def test_no_worse_by_one_standard_error(shift: float) -> None:
    gaps = np.random.default_rng(0).normal(size=10)
    error = gaps.std(ddof=1) / math.sqrt(10)
    gaps += shift * error - gaps.mean()
    assert is_no_worse(paired_interval(gaps.tolist(), [0.0] * 10)._asdict(), 10) == (shift >= -1)


def test_the_kept_result_says_what_its_numbers_say() -> None:
    kept = Result.load(RESULTS / "39-quantity-quality.json")
    assert kept.claim == CLAIM
    assert kept.notes[2:] == [mix_note(kept.details, kept.seeds), *spent_notes(kept.details)]
    assert "digits, budget 256: the pool was used up, so less was spent: 0% dear 129.7, 20% dear 175.6" in kept.notes[3]
    for each in kept.details.values():
        ends = (each["cheap over dear at the smallest budget"], each["dear over cheap at the largest budget"])
        assert each["holds"] == all(end["interval"][0] > 0 for end in ends)
        assert each[WEAK_FORM] == any(is_no_worse(gain, kept.seeds) for gain in each[GAINS].values())
    assert kept.holds == all(each["holds"] for each in kept.details.values())
    middle = list(kept.details["digits"][GAINS].values())[2]
    assert [kept.difference, kept.interval] == list(middle.values())


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
