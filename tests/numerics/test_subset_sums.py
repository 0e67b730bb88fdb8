"""Subset sums against plain enumeration, and on 60 numbers against one another."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from labelwise.numerics import subset_sums
from labelwise.numerics.subset_sums import count_subset_sums, smallest_subset_sums, subset_sums_best_first

Ints = NDArray[np.int64]
ALL = 10**15


def every_subset(gains: Ints, budget: int) -> dict[tuple[int, ...], int]:
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(len(gains)), size) for size in range(len(gains) + 1)
    )
    sums = {subset: sum(int(gains[i]) for i in subset) for subset in subsets}
    return {subset: total for subset, total in sums.items() if total <= budget}


def problems() -> list[tuple[Ints, int]]:
    rng = np.random.default_rng(0)
    found = [(rng.integers(0, high, rng.integers(0, 9)), int(rng.integers(0, 3 * high))) for high in [3, 1000] * 20]
    edges = [
        ([], 0),
        ([], -1),
        ([5], 4),
        ([5], 5),
        ([0, 0, 0], 0),
        ([0, 0, 0], -1),
        ([2, 2, 2, 2], 4),
        ([1, 2, 3], ALL),
    ]
    return found + [(np.array(gains, dtype=np.int64), budget) for gains, budget in edges]


@pytest.mark.parametrize(("gains", "budget"), problems())
def test_all_three_agree_with_enumeration(gains: Ints, budget: int) -> None:
    expected = every_subset(gains, budget)
    lazy = list(subset_sums_best_first(gains, budget))
    assert {tuple(sorted(subset)): total for total, subset in lazy} == expected
    assert len(lazy) == len(expected)
    assert [total for total, _ in lazy] == sorted(expected.values())

    sums, members = smallest_subset_sums(gains, budget, 10**6)
    listed = {tuple(np.flatnonzero(row).tolist()): int(total) for total, row in zip(sums, members, strict=True)}
    assert listed == expected
    assert len(sums) == len(expected)

    assert count_subset_sums(gains, np.array([budget])).tolist() == [len(expected)]


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
@pytest.mark.parametrize("high", [3, 1000])
def test_a_limit_keeps_the_smallest_sums(limit: int, high: int) -> None:
    rng = np.random.default_rng(limit)
    for _ in range(20):
        gains = rng.integers(0, high, 8)
        sums, members = smallest_subset_sums(gains, 2 * high, limit)
        assert sorted(sums.tolist()) == sorted(every_subset(gains, 2 * high).values())[:limit]
        np.testing.assert_array_equal(members @ gains, sums)
        assert len(np.unique(members, axis=0)) == len(sums)


def test_sixty_numbers_are_walked_without_looking_at_all_subsets() -> None:
    gains = np.random.default_rng(1).integers(1, 10**12, 60)
    lazy = list(itertools.islice(subset_sums_best_first(gains), 5000))
    sums, _ = smallest_subset_sums(gains, int(gains.sum()), 5000)
    assert [total for total, _ in lazy] == sorted(sums.tolist())
    budget = lazy[-1][0]
    assert count_subset_sums(gains, np.array([budget, budget - 1, -1])).tolist() == [5000, 4999, 0]
    assert count_subset_sums(gains, np.array([int(gains.sum())])).tolist() == [2.0**60]


def test_counts_far_beyond_what_can_be_listed_are_binomial_sums() -> None:
    # Equal gains: within 10 of them lie all subsets of at most 10 numbers.
    expected = sum(len_choose(40, size) for size in range(11))
    assert count_subset_sums(np.full(40, 7), np.array([70])).tolist() == [expected]


def len_choose(number: int, size: int) -> int:
    return int(np.prod([(number - i) / (i + 1) for i in range(size)]).round())


def test_too_many_to_count_is_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset_sums, "MAX_SUMS", 100)
    gains = np.full(40, 7)
    assert count_subset_sums(gains, np.array([70])).tolist() == [np.inf]
    assert count_subset_sums(gains, np.array([7])).tolist() == [41]


def test_float_gains_are_walked_too() -> None:
    found = list(subset_sums_best_first([0.5, 0.25], 0.6))
    assert found == [(0, ()), (0.25, (1,)), (0.5, (0,))]
