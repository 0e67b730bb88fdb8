import statistics

import numpy as np
import pytest

from labelwise.audit.critic import choose_examples, round_robin_scores, select_pairs, sequential_best
from labelwise.errors import InputError


@pytest.mark.parametrize("seed", range(8))
def test_selection_by_its_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.beta(3, 1, int(rng.integers(5, 60))).tolist()
    least, most, ceiling = int(rng.integers(0, 4)), int(rng.integers(3, 9)), float(rng.choice([0.4, 0.8]))
    threshold = min(statistics.mean(values) - statistics.stdev(values), ceiling)
    if sum(each < threshold for each in values) < least:
        threshold = sorted(values)[least]
    below = sorted((each, row) for row, each in enumerate(values) if each < threshold)[:most]
    found = select_pairs(values, ceiling, least, most)
    assert found.threshold == pytest.approx(threshold)
    assert np.flatnonzero(found.mask).tolist() == sorted(row for _, row in below)


def test_selection_at_the_edges() -> None:
    assert select_pairs([0.9] * 4).mask.all()
    assert select_pairs([]).mask.tolist() == []
    assert select_pairs([0.3], min_cases=0).mask.tolist() == [False]
    values = np.linspace(0.9, 1, 150)
    assert select_pairs(values).mask.sum() == 100
    assert select_pairs(np.full(150, 0.9)).mask.sum() == 0  # all alike: none is lower than the 101st
    assert select_pairs([0.1] * 3 + [0.9] * 9, 0.8, 1, 2).mask.tolist() == [True, True] + [False] * 10
    for bad in ([0.5, np.nan], [1.2], [[0.1]]):
        with pytest.raises(InputError, match="dice"):
            select_pairs(bad)
    with pytest.raises(InputError, match="min_cases"):
        select_pairs([0.1], min_cases=-1)


def test_examples_are_the_best_and_the_worst() -> None:
    found = choose_examples([0.97, 0.2, 0.99, 0.4, 0.7, 0.96], 0.5, count_good=2, count_bad=3)
    assert found.good.tolist() == [2, 0]
    assert found.bad.tolist() == [1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_find_the_best_where_verdicts_follow_an_order(seed: int) -> None:
    quality = np.random.default_rng(seed).permutation(6)
    table = np.where(quality[:, None] > quality, 1, 2)
    asked = []

    def verdict(i: int, j: int) -> float:
        asked.append((i, j))
        return table[i, j]

    assert sequential_best(6, verdict) == quality.argmax() == round_robin_scores(table).argmax()
    assert len(asked) == 5
    assert round_robin_scores(table).tolist() == quality.tolist()


def test_ties_keep_the_first() -> None:
    assert sequential_best(4, lambda i, j: 0.5) == 0
    assert sequential_best(1, lambda i, j: 2) == 0
    assert round_robin_scores(np.full((3, 3), 0.5)).tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="no label"):
        sequential_best(0, lambda i, j: 1)
    with pytest.raises(InputError, match="shape"):
        round_robin_scores([[1, 2]])
