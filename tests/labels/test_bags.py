"""Bags and their counts: what they hold, and what is refused at the door."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.labels.bags import bags_of_rows, check_bags, counts_of_proportions, name_bags


def test_sizes_proportions_members_and_sums_with_an_empty_bag() -> None:
    bags = check_bags([2, 0, 2, 3, 2], [1, 0, 2, 0])
    assert len(bags) == 4
    assert bags.sizes.tolist() == [1, 0, 3, 1]
    assert bags.proportions.tolist() == [1, 0, 2 / 3, 0]
    order, starts = bags.members()
    assert [order[a:b].tolist() for a, b in pairwise(starts)] == [[1], [], [0, 2, 4], [3]]
    assert bags.sums([1, 2, 4, 8, 16]).tolist() == [2, 0, 21, 8]
    assert bags.rows().tolist() == [[2, 2], [0, 1], [2, 2], [3, 0], [2, 2]]


def test_rows_go_to_bags_and_back() -> None:
    bags = check_bags([2, 0, 2, 1, 2], [1, 0, 2])
    again = bags_of_rows(bags.rows())
    assert again.of_row.tolist() == bags.of_row.tolist()
    assert again.counts.tolist() == bags.counts.tolist()
    some = bags_of_rows(bags.rows()[[0, 2, 4]])  # one bag of three, numbered anew
    assert (some.of_row.tolist(), some.counts.tolist()) == ([0, 0, 0], [2])


@pytest.mark.parametrize("ids", [["b", "a", "b"], [7, 3, 7], [7.5, 3.0, 7.5], np.array(["b", "a", "b"], dtype=object)])
def test_ids_of_any_kind(ids: Any) -> None:
    names = sorted(set(np.asarray(ids).tolist()))
    for counts in ({names[0]: 1, names[1]: 2}, [1, 2], np.array([1.0, 2.0])):
        bags = name_bags(ids, counts)
        assert bags.of_row.tolist() == [1, 0, 1]
        assert bags.counts.tolist() == [1, 2]


def test_proportions_become_the_nearest_counts() -> None:
    assert counts_of_proportions(["a", "a", "a", "b"], {"a": 0.33, "b": 1.0}) == {"a": 1, "b": 1}
    assert counts_of_proportions([5, 5], {5: 0}) == {5: 0}


REFUSED = {
    "entry 1 is 0.5": lambda: check_bags([0, 0.5], [1]),
    "entry 0 is nan": lambda: check_bags([0, 0], [np.nan]),
    "entry 0 is inf": lambda: check_bags([0, 0], [np.inf]),
    "bag_ids row 1 is 1, but there are counts for bags 0 to 0": lambda: check_bags([0, 1], [1]),
    "bag_ids row 0 is -1": lambda: check_bags([-1, 0], [1]),
    "bag 0 has 2 rows but a count of 3": lambda: check_bags([0, 0], [3]),
    "bag 1 has 0 rows but a count of 1": lambda: check_bags([0, 0], [1, 1]),
    "count of -1": lambda: check_bags([0, 0], [-1]),
    "type <U1": lambda: check_bags(["a"], [1]),
    r"shape \(1, 1\)": lambda: check_bags([[0]], [1]),
    r"bag_ids have shape \(0,\)": lambda: name_bags([], []),
    "bag_ids_val row 1 is nan": lambda: name_bags([1, np.nan], [1, 1], suffix="_val"),
    "mix ids of several kinds": lambda: name_bags(np.array(["a", 1], dtype=object), [1, 1]),
    "counts has 1 numbers for 2 bags": lambda: name_bags(["a", "b"], [1]),
    "counts has no entry for bag 'b'": lambda: name_bags(["a", "b"], {"a": 1}),
    "counts names bag 'c', which no row is in": lambda: name_bags(["a", "b"], {"a": 1, "b": 0, "c": 0}),
    "bag 'b' has 1 rows but a count of 2": lambda: name_bags(["a", "b"], {"a": 1, "b": 2}),
    "counts entry 0 is 0.5": lambda: name_bags(["a", "a"], [0.5]),
    "the proportion of bag a is 1.5": lambda: counts_of_proportions(["a"], {"a": 1.5}),
    "the proportion of bag a is nan": lambda: counts_of_proportions(["a"], {"a": np.nan}),
    "proportions has no entry for bag 'a'": lambda: counts_of_proportions(["a"], {}),
    r"shape \(n, 2\)": lambda: bags_of_rows(np.zeros(3, dtype=np.int64)),
    "type float64": lambda: bags_of_rows(np.zeros((3, 2))),
    "row 1 gives bag 0 the count 0, another row 1": lambda: bags_of_rows(np.array([[0, 1], [0, 0]])),
    "bag 4 has 1 rows but a count of 2": lambda: bags_of_rows(np.array([[4, 2]])),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
