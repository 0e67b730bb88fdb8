"""Summaries: any division of the rows, merged in any order, gives the bits of one pass."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.audit.confident_learning import confident_joint, confident_thresholds, num_label_issues
from labelwise.audit.summary import ConfidenceSummary, JointSummary
from labelwise.errors import InputError

from .examples import cases, draw_case


def parts_of(data: st.DataObject, num_rows: int) -> list[np.ndarray]:
    """Rows divided into blocks at drawn places, the blocks in drawn order."""
    cuts = sorted(data.draw(st.lists(st.integers(1, max(1, num_rows - 1)), max_size=6, unique=True)))
    blocks = [block for block in np.split(np.arange(num_rows), cuts) if len(block)]
    return data.draw(st.permutations(blocks))


@settings(max_examples=150, deadline=None)
@given(cases(), st.data(), st.sampled_from([np.float32, np.float64]))
def test_any_split_merges_to_the_bits_of_one_pass(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject, dtype: type
) -> None:
    labels, pred_probs = case[0], case[1].astype(dtype)
    num_classes = pred_probs.shape[1]
    whole = ConfidenceSummary.empty(num_classes)
    whole.update(labels, pred_probs)
    merged = ConfidenceSummary.empty(num_classes)
    blocks = parts_of(data, len(labels))
    for rows in blocks:
        part = ConfidenceSummary.empty(num_classes)
        part.update(labels[rows], pred_probs[rows])
        merged = part.merge(merged) if data.draw(st.booleans()) else merged.merge(part)
    thresholds = whole.finalize()
    assert merged.finalize().tobytes() == thresholds.tobytes()
    assert thresholds.tobytes() == confident_thresholds(labels, pred_probs).tobytes()
    assert merged.num_unlabelled == (labels < 0).sum()

    joint = JointSummary.empty(thresholds)
    for rows in blocks:
        part_joint = JointSummary.empty(thresholds)
        part_joint.update(labels[rows], pred_probs[rows])
        joint = joint.merge(part_joint)
    counts = joint.finalize()
    np.testing.assert_array_equal(counts.confident_joint, confident_joint(labels, pred_probs, calibrate=False))
    assert counts.num_issues == num_label_issues(labels, pred_probs)
    labelled = labels >= 0
    assert counts.num_disputed == (pred_probs.argmax(axis=1) != labels)[labelled].sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_are_the_means_rounded_once(dtype: type) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(0), 5, 4000)
    pred_probs = pred_probs.astype(dtype)
    thresholds = confident_thresholds(labels, pred_probs)
    for k in range(5):
        values = [Fraction(float(p)) for p in pred_probs[labels == k, k]]
        exact = float(sum(values) / len(values))
        assert abs(thresholds[k] - exact) <= np.spacing(exact)


def test_sums_of_many_rows_do_not_overflow_or_drift() -> None:
    summary = ConfidenceSummary.empty(1)
    summary.add_own_probs(np.zeros(2**21 + 1, dtype=np.int64), np.full(2**21 + 1, 0.1, dtype=np.float32))
    assert summary.finalize()[0] == float(np.float32(0.1))
    for _ in range(11):
        summary = summary.merge(summary)
    assert summary.class_counts[0] == (2**21 + 1) * 2**11
    assert summary.finalize()[0] == float(np.float32(0.1))


def test_thresholds_of_absent_and_hopeless_classes() -> None:
    summary = ConfidenceSummary.empty(3)
    assert summary.finalize().tolist() == [2, 2, 2]
    summary.update([1, 1, -1], [[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    assert summary.finalize().tolist() == [2, 2e-6, 2]


def test_what_does_not_fit_is_refused() -> None:
    summary = ConfidenceSummary.empty(2)
    with pytest.raises(InputError, match="3 classes do not fit a summary of 2"):
        summary.update([0], [[1, 0, 0]])
    with pytest.raises(InputError, match="row 0 sums to"):
        summary.update([0], [[0.5, 0.1]])
    with pytest.raises(InputError, match="3 classes"):
        summary.merge(ConfidenceSummary.empty(3))
    with pytest.raises(InputError, match="different thresholds"):
        JointSummary.empty(np.array([0.5, 0.5])).merge(JointSummary.empty(np.array([0.5, 0.4])))
    assert summary.class_counts.sum() == 0
