"""Exact sums against fractions."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labelwise.numerics.exact_sum import ExactSum

numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


def sum_of(values: list[float]) -> ExactSum:
    total = ExactSum.empty()
    total.update(np.array(values, dtype=np.float64))
    return total


@given(numbers)
def test_equals_the_sum_of_fractions(values: list[float]) -> None:
    total = sum_of(values)
    assert total.finalize() == sum(map(Fraction, values))
    assert total.count == len(values)


@given(numbers, numbers, numbers)
def test_merges_in_any_order(a: list[float], b: list[float], c: list[float]) -> None:
    parts = [sum_of(values) for values in (a, b, c)]
    assert parts[2].merge(parts[0]).merge(parts[1]).finalize() == sum_of(a + b + c).finalize()


def test_boundaries() -> None:
    largest = np.finfo(float).max
    assert sum_of([1e308, 1.0, -1e308, 5e-324, -0.0]).finalize() == 1 + Fraction(5e-324)
    assert sum_of([largest] * 3).finalize() == 3 * Fraction(largest)
    assert sum_of([]).mean() == 0
    values = np.random.default_rng(0).standard_cauchy(1000)
    assert sum_of(values.tolist()).mean() == math.fsum(values) / 1000
