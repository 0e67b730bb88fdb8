"""The order that learns from decisions: where it starts, what it learns, and that it does no harm."""

from typing import Any

import numpy as np
import pytest

from labelwise.audit.active_order import FEWEST_DECISIONS, Doubts, active_order, chance_of_error, doubts
from labelwise.errors import InputError


def some(count: int, seed: int = 0, **change: Any) -> Doubts:
    rng = np.random.default_rng(seed)
    told = {
        "given": rng.integers(0, 5, count),
        "suggested": rng.integers(0, 5, count),
        "given_prob": np.linspace(0.01, 0.9, count),
        "suggested_prob": np.linspace(0.9, 0.05, count),
        "near": rng.integers(0, count, (count, 4)),
    }
    return doubts(**told | change)


def test_features_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    near = rng.integers(-1, 30, (30, 3))
    known = some(30, near=near)
    for row in range(30):
        around = [known.given[place] for place in near[row] if place >= 0]
        same = sum(label == known.given[row] for label in around) / max(len(around), 1)
        other = sum(label == known.suggested[row] for label in around) / max(len(around), 1)
        np.testing.assert_allclose(known.features[row, 3:], [same, other], rtol=1e-6)
    assert (np.diff(known.features[:, 0]) < 0).all()
    np.testing.assert_allclose(1 / (1 + np.exp(-known.features[:, 1])), np.linspace(0.01, 0.9, 30), rtol=1e-4)


@pytest.mark.parametrize("decided", [0, 1, FEWEST_DECISIONS - 1])
def test_few_decisions_leave_the_static_order(decided: int) -> None:
    rows = np.arange(decided)
    assert active_order(some(50), rows, rows % 2 == 0).tolist() == list(range(50))


@pytest.mark.parametrize("all_wrong", [False, True])
def test_decisions_that_are_all_alike_tell_nothing(all_wrong: bool) -> None:
    assert chance_of_error(some(50), np.arange(20), np.full(20, all_wrong)) is None


def test_an_order_holds_every_label_once() -> None:
    rng = np.random.default_rng(0)
    rows = rng.permutation(300)[:80]
    order = active_order(some(300), rows, rng.random(80) < 0.5)
    assert sorted(order.tolist()) == list(range(300))


def area(known: Doubts, wrong: np.ndarray, *, learn: bool, batch: int = 20, looks: int = 300) -> float:
    seen: list[int] = []
    while len(seen) < looks:
        order = active_order(known, seen, wrong[seen]) if learn else np.arange(len(wrong))
        seen += [row for row in order.tolist() if row not in set(seen)][:batch]
    return float(np.cumsum(wrong[seen]).sum())


def test_doubts_about_one_pair_of_classes_that_are_always_wrong_are_put_off() -> None:
    """Labels of class 0 that look like 1 are never errors, the others mostly are."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        known = some(800, seed, near=np.full((800, 0), -1))
        harmless = (known.given == 0) & (known.suggested == 1) | (known.given == 2)
        wrong = ~harmless & (rng.random(800) < 0.7)
        gains.append(area(known, wrong, learn=True) / area(known, wrong, learn=False))
    assert min(gains) > 1.1


def test_errors_that_lie_together_are_found_together() -> None:
    """Wrong labels come in clusters that nothing but the neighbours tells."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        cluster = rng.integers(0, 40, 800)
        members = [np.flatnonzero(cluster == number) for number in range(40)]
        near = np.array([rng.choice(members[number], 6) for number in cluster])
        known = some(800, seed, near=near, given=np.zeros(800, int), suggested=np.ones(800, int))
        wrong = rng.random(40)[cluster] < 0.4
        gains.append(area(known, wrong, learn=True) / area(known, wrong, learn=False))
    assert np.mean(gains) > 1.15


def test_it_does_no_harm_where_there_is_nothing_to_learn() -> None:
    """The static order is right: the chance of an error falls with the place, and nothing else matters."""
    losses = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        wrong = rng.random(800) < np.linspace(0.9, 0.0, 800)
        known = some(800, seed)
        losses.append(area(known, wrong, learn=True) / area(known, wrong, learn=False))
    assert np.mean(losses) > 0.97


def test_tasks_without_probabilities_have_an_order_too() -> None:
    nothing = np.full(100, np.nan)
    known = some(100, given_prob=nothing, suggested_prob=nothing, near=np.full((100, 2), -1))
    assert np.isfinite(known.features).all()
    assert len(active_order(known, np.arange(30), np.arange(30) % 3 == 0)) == 100


def test_no_labels_and_wrong_shapes() -> None:
    assert active_order(some(0, near=np.zeros((0, 3))), [], []).tolist() == []
    with pytest.raises(InputError, match="there are 10 given labels"):
        some(10, suggested=np.zeros(9))
