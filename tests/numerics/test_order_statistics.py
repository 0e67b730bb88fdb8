"""Ranks found by radix selection are those of a sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.numerics.order_statistics import DigitCounts, kth_smallest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_equals_a_sort(seed: int, dtype: type, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    values = np.abs(rng.standard_cauchy(rng.integers(1, 80))).astype(dtype)
    values = np.round(values) if ties else values
    blocks = np.array_split(values, rng.integers(1, 5))
    ordered = np.sort(values)
    for rank in {0, len(values) // 2, len(values) - 1}:
        place = kth_smallest(lambda: blocks, rank, values.dtype)
        assert place.value == ordered[rank]
        assert place.ties_before == rank - np.searchsorted(ordered, ordered[rank])


def test_boundaries() -> None:
    values = np.array([-0.0, 0.0, 5e-324, 1.0, np.finfo(float).max, np.inf])
    found = [kth_smallest(lambda: [values], rank, values.dtype) for rank in range(6)]
    assert [place.value for place in found] == [0, 0, 5e-324, 1, np.finfo(float).max, np.inf]
    assert [place.ties_before for place in found] == [0, 1, 0, 0, 0, 0]
    for rank in (-1, 6):
        with pytest.raises(ValueError, match=f"rank {rank} of 6"):
            kth_smallest(lambda: [values], rank, values.dtype)


def test_counts_merge_in_any_order() -> None:
    values = np.random.default_rng(0).random(1000)
    whole = DigitCounts.empty(0, 48)
    whole.update(values)
    parts = [DigitCounts.empty(0, 48) for _ in range(3)]
    for part, block in zip(parts, np.array_split(values, 3), strict=True):
        part.update(block)
    np.testing.assert_array_equal(parts[2].merge(parts[0].merge(parts[1])).counts, whole.counts)
