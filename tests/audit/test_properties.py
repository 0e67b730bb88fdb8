"""What must hold of an audit whatever the labels and probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.audit.confident_learning import (
    confident_joint,
    confident_thresholds,
    estimate_joint,
    estimate_latent,
    find_label_issues,
    label_quality_scores,
    num_label_issues,
)
from labelwise.audit.filters import FILTERS
from labelwise.audit.scores import SCORES

from .examples import cases

Case = tuple[np.ndarray, np.ndarray]
# A permutation moves ties, and with them the choice among equals; continuous probabilities have none.
untied = cases(unlabelled=0.1).filter(lambda case: len(np.unique(case[1])) == case[1].size)


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([0, 1, 5]), st.sampled_from([0.0, 0.3, 1.0]))
def test_masks_keep_their_promises(case: Case, minimum: int, fraction: float) -> None:
    labels, pred_probs = case
    masks = {f: find_label_issues(labels, pred_probs, f, fraction, minimum) for f in FILTERS}
    agrees = pred_probs.argmax(axis=1) == labels
    for filter_by, mask in masks.items():
        assert not mask[labels < 0].any()
        assert filter_by.startswith("low_") or not (mask & agrees).any()
    assert not (masks["both"] & ~masks["prune_by_class"]).any()
    assert not (masks["both"] & ~masks["prune_by_noise_rate"]).any()
    off_diagonal = confident_joint(labels, pred_probs, return_off_diagonal=True)[1]
    assert set(np.flatnonzero(masks["confident_learning"])) <= set(off_diagonal)
    count = num_label_issues(labels, pred_probs)
    assert masks["confident_learning"].sum() == count
    assert masks["low_self_confidence"].sum() == masks["low_normalized_margin"].sum() == count
    if fraction == 0:
        assert not any(masks[f].any() for f in ("prune_by_noise_rate", "both"))
        # What cleanlab keeps back for a class with too few right labels it may take from more cells than there are.
        if (confident_joint(labels, pred_probs).diagonal() >= minimum).all():
            assert not masks["prune_by_class"].any()
    for j, size in enumerate(np.bincount(labels[labels >= 0], minlength=pred_probs.shape[1])):
        removed = masks["prune_by_class"][labels == j].sum()
        assert removed <= max(size - minimum, 0)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_matrices_keep_their_totals(case: Case) -> None:
    labels, pred_probs = case
    counts = np.bincount(labels[labels >= 0], minlength=pred_probs.shape[1])
    calibrated = confident_joint(labels, pred_probs)
    assert calibrated.dtype == np.int64
    np.testing.assert_array_equal(calibrated.sum(axis=1), counts)
    assert estimate_joint(labels, pred_probs).sum() == pytest.approx(float(counts.sum() > 0))
    for converge in (False, True):
        prior, noise, inverse = estimate_latent(calibrated, labels, converge=converge)
        assert prior.sum() == pytest.approx(1)
        for matrix, column_counts in ((noise, calibrated.sum(axis=0)), (inverse, calibrated.sum(axis=1))):
            totals = matrix.sum(axis=0)
            assert np.isfinite(matrix).all()
            if not converge:
                np.testing.assert_allclose(totals, column_counts > 0)
    for method in SCORES:
        scores = label_quality_scores(labels, pred_probs, method)
        assert ((scores >= 0) & (scores <= 1 + 1e-12)).all()


@settings(max_examples=60, deadline=None)
@given(untied, st.data())
def test_permuting_examples_permutes_the_answer(case: Case, data: st.DataObject) -> None:
    labels, pred_probs = case
    order = np.asarray(data.draw(st.permutations(range(len(labels)))))
    assert confident_thresholds(labels[order], pred_probs[order]).tobytes() == (
        confident_thresholds(labels, pred_probs).tobytes()
    )
    for filter_by in FILTERS:
        mask = find_label_issues(labels, pred_probs, filter_by)
        np.testing.assert_array_equal(find_label_issues(labels[order], pred_probs[order], filter_by), mask[order])


@settings(max_examples=60, deadline=None)
@given(untied, st.data())
def test_permuting_classes_permutes_the_counts(case: Case, data: st.DataObject) -> None:
    labels, pred_probs = case
    old = np.asarray(data.draw(st.permutations(range(pred_probs.shape[1]))))  # new class k was class old[k]
    new = np.append(np.argsort(old), -1)
    renamed, columns = new[labels], pred_probs[:, old]
    joint = confident_joint(labels, pred_probs, calibrate=False)
    np.testing.assert_array_equal(confident_joint(renamed, columns, calibrate=False), joint[np.ix_(old, old)])
    for filter_by in ("confident_learning", "predicted_neq_given", "low_self_confidence", "low_normalized_margin"):
        np.testing.assert_array_equal(
            find_label_issues(renamed, columns, filter_by), find_label_issues(labels, pred_probs, filter_by)
        )


@settings(max_examples=60, deadline=None)
@given(cases())
def test_duplicates_count_twice_and_share_their_fate(case: Case) -> None:
    labels, pred_probs = case
    twice, probs_twice = np.tile(labels, 2), np.tile(pred_probs, (2, 1))
    assert confident_thresholds(twice, probs_twice).tobytes() == confident_thresholds(labels, pred_probs).tobytes()
    for filter_by in ("confident_learning", "predicted_neq_given"):
        mask = find_label_issues(labels, pred_probs, filter_by)
        np.testing.assert_array_equal(find_label_issues(twice, probs_twice, filter_by), np.tile(mask, 2))
    off_diagonal = ~np.eye(pred_probs.shape[1], dtype=bool)
    single = confident_joint(labels, pred_probs, calibrate=False)[off_diagonal]
    np.testing.assert_array_equal(confident_joint(twice, probs_twice, calibrate=False)[off_diagonal], 2 * single)


@settings(max_examples=40, deadline=None)
@given(cases(unlabelled=0.0))
def test_perfect_probabilities_accuse_nobody(case: Case) -> None:
    labels, pred_probs = case
    perfect = np.eye(pred_probs.shape[1])[labels]
    assert not any(find_label_issues(labels, perfect, f).any() for f in FILTERS)
    calibrated = confident_joint(labels, perfect)
    assert calibrated.trace() == len(labels)
    present = np.bincount(labels, minlength=perfect.shape[1]) > 0
    np.testing.assert_allclose(estimate_latent(calibrated, labels).noise_matrix, np.diag(present.astype(float)))
