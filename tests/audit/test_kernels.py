"""The compiled loops against slow and obvious versions of themselves."""

import threading

import numpy as np
import pytest

from labelwise.audit import blocks, kernels
from labelwise.audit.filters import lowest_first

from .examples import draw_case


def scanned(labels: np.ndarray, probs: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Number of suspect rows, largest classes (n, KEPT), their probabilities, and that of the given class (n,)."""
    bits_type = np.dtype(f"i{probs.dtype.itemsize}")
    top_class = np.zeros((len(probs), kernels.KEPT), dtype=np.int16)
    top_bits = np.zeros((len(probs), kernels.KEPT), dtype=bits_type)
    own_prob = np.zeros(len(probs), dtype=probs.dtype)
    num_suspect = kernels.scan(probs, probs.view(bits_type), labels, 5e-5, top_class, top_bits, own_prob)
    return num_suspect, top_class, top_bits.view(probs.dtype), own_prob


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 10, 63, 64, 65, 127, 128, 200])
def test_scan_keeps_the_three_largest_lower_class_first(dtype: type, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    for ties in (False, True):
        labels, probs = draw_case(rng, num_classes, 60, ties=ties, unlabelled=0.2)
        probs = probs.astype(dtype)
        probs[0], labels[0] = np.eye(num_classes)[num_classes // 2], 0
        probs[1] = 1 / num_classes
        num_suspect, top_class, top_prob, own_prob = scanned(labels, probs)
        assert num_suspect == 0
        order = np.argsort(-probs, axis=1, kind="stable")[:, :3]
        kept = order.shape[1]
        np.testing.assert_array_equal(top_class[:, :kept], order)
        np.testing.assert_array_equal(top_prob[:, :kept], np.take_along_axis(probs, order, axis=1))
        assert (top_class[:, kept:] == -1).all()
        assert (top_prob[:, kept:] == 0).all()
        given = [probs[i, k] if k >= 0 else 1 for i, k in enumerate(labels)]
        np.testing.assert_array_equal(own_prob, given)


@pytest.mark.parametrize("num_classes", [3, 64, 100])
def test_scan_counts_rows_that_look_wrong(num_classes: int) -> None:
    probs = np.full((6, num_classes), 1 / num_classes)
    probs[1, 2] = np.nan
    probs[2, 0] = np.inf
    probs[3, :2] = -0.5, 0.5 + 2 / num_classes
    probs[4, -1] += 6e-5
    probs[5, -1] += 4e-5
    assert [scanned(np.zeros(1, dtype=int), row[None])[0] for row in probs] == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("num_parts", [1, 3])
@pytest.mark.parametrize("decimals", [1, 6])
def test_largest_margins_are_those_of_a_sort(decimals: int, num_parts: int) -> None:
    rng = np.random.default_rng(decimals)
    n, num_classes = 400, 4
    probs = rng.dirichlet(np.ones(num_classes), n).round(decimals)  # one decimal gives many equal margins
    labels = rng.integers(-1, num_classes, n)
    wanted = rng.integers(0, 60, (num_classes, num_classes)) * ~np.eye(num_classes, dtype=bool)  # [given, other]
    wanted[0, 1], wanted[0, 2] = 1, 1000
    given, other = np.nonzero(wanted)
    pair_starts = np.searchsorted(given, np.arange(num_classes + 1))
    starts = np.concatenate([[0], np.cumsum(2 * wanted[given, other])])

    parts = []
    for part in range(num_parts):
        state = (
            np.zeros(len(given), dtype=np.int64),
            np.full(len(given), -np.inf),
            np.empty(starts[-1]),
            np.empty(starts[-1], dtype=np.int64),
        )
        for first in range(part * 50, n, num_parts * 50):
            rows = slice(first, first + 50)
            kernels.keep_largest_margins(probs[rows], labels[rows], first, pair_starts, other, starts, *state)
        parts.append(state)
    whole = parts[0]
    for sizes, _, margins, rows in parts[1:]:
        kernels.merge_margins(starts, *whole, sizes, margins, rows)
    mask = np.zeros(n, dtype=bool)
    kernels.mark_largest_margins(starts, whole[0], whole[2], whole[3], mask)

    expected = np.zeros(n, dtype=bool)
    for j, k in zip(given, other, strict=True):
        rows = np.flatnonzero(labels == j)
        best = sorted(rows, key=lambda row: (probs[row, j] - probs[row, k], row))[: wanted[j, k]]
        expected[best] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lowest_first_is_a_stable_sort(dtype: type) -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([[0.0, -0.0, 0.0, 1.0, 1e-40], rng.random(300), rng.random(300).round(1)]).astype(dtype)
    expected = sorted(range(len(scores)), key=lambda row: scores[row])
    assert lowest_first(scores).tolist() == expected
    assert lowest_first(scores[:0]).tolist() == []


def test_ranges_cover_all_rows_once_in_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "RANGE_ROWS", 7)
    for num_rows in (0, 1, 7, 8, 100):
        visits = np.zeros(num_rows, dtype=int)

        def work(rows: slice, visits: np.ndarray = visits) -> None:
            visits[rows] += 1

        blocks.for_each_range(num_rows, 3, work)
        assert (visits == 1).all()

    met = threading.Barrier(2, timeout=20)  # passes only if two ranges are under way at once
    blocks.for_each_range(14, 2, lambda rows: met.wait() and None)

    def fail(rows: slice) -> None:
        raise ValueError(f"rows from {rows.start}")

    with pytest.raises(ValueError, match="rows from 0"):
        blocks.for_each_range(100, 2, fail)
