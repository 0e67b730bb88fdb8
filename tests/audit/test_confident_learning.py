"""Confident learning against the authors' own code, and against what must be true whatever the input."""

import warnings
from functools import partial

import numpy as np
import pytest

from labelwise.audit.confident_learning import (
    calibrate_confident_joint,
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
from labelwise.errors import InputError

from .examples import draw_case

PRUNING = ("prune_by_noise_rate", "prune_by_class", "both")


def cleanlab_case(seed: int) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Labels, probabilities, minimum of examples a class, and fraction of noise; two classes at least, some absent."""
    rng = np.random.default_rng(seed)
    num_classes = int(rng.choice([2, 3, 4, 6, 12, 40]))
    labels, pred_probs = draw_case(rng, num_classes, int(rng.integers(8, 150)))
    if seed % 5 == 0:
        pred_probs = np.eye(num_classes)[pred_probs.argmax(axis=1)]
    if seed % 7 == 0:
        labels[labels == num_classes - 1] = 0
    labels[:2] = [0, 1]
    return labels, pred_probs, int(rng.choice([0, 1, 5])), float(rng.choice([0, 0.5, 1]))


@pytest.fixture
def stable_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """cleanlab's argsort leaves the order of ties to the processor; the method fixes it."""
    monkeypatch.setattr(np, "argsort", partial(np.argsort, kind="stable"))


@pytest.mark.usefixtures("stable_sorts")
@pytest.mark.parametrize("seeds", [range(start, start + 60) for start in range(0, 300, 60)])
def test_counts_and_scores_equal_cleanlab(seeds: range) -> None:
    count = pytest.importorskip("cleanlab.count", reason="cleanlab is a development dependency")
    rank = pytest.importorskip("cleanlab.rank")
    for seed in seeds:
        labels, pred_probs, _, _ = cleanlab_case(seed)
        peer = count.compute_confident_joint(labels, pred_probs, calibrate=False, return_indices_of_off_diagonals=True)
        joint, off_diagonal = confident_joint(labels, pred_probs, calibrate=False, return_off_diagonal=True)
        thresholds = count.get_confident_thresholds(labels, pred_probs)
        np.testing.assert_allclose(confident_thresholds(labels, pred_probs), thresholds, rtol=1e-14, atol=2**-60)
        np.testing.assert_array_equal(joint, peer[0])
        np.testing.assert_array_equal(off_diagonal, peer[1])
        calibrated = calibrate_confident_joint(joint, labels)
        np.testing.assert_array_equal(calibrated, count.calibrate_confident_joint(peer[0], labels))
        np.testing.assert_array_equal(calibrated, confident_joint(labels, pred_probs))
        np.testing.assert_allclose(estimate_joint(labels, pred_probs), count.estimate_joint(labels, pred_probs))
        for converge in (False, True):
            for ours, theirs in zip(
                estimate_latent(calibrated, labels, converge=converge),
                count.estimate_latent(calibrated, labels, converge_latent_estimates=converge),
                strict=True,
            ):
                np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
        for ours, theirs in (("off_diagonal", "off_diagonal"), ("calibrated", "off_diagonal_calibrated")):
            expected = count.num_label_issues(labels, pred_probs, estimation_method=theirs)
            assert num_label_issues(labels, pred_probs, ours) == expected
        for method in SCORES:
            for adjust in (False, True) if method != "confidence_weighted_entropy" else (False,):
                np.testing.assert_allclose(
                    label_quality_scores(labels, pred_probs, method, adjust),
                    rank.get_label_quality_scores(labels, pred_probs, method=method, adjust_pred_probs=adjust),
                    rtol=1e-10,
                    atol=1e-12,
                )


@pytest.mark.usefixtures("stable_sorts")
@pytest.mark.parametrize("filter_by", FILTERS)
def test_filters_equal_cleanlab(filter_by: str) -> None:
    peer = pytest.importorskip("cleanlab.filter", reason="cleanlab is a development dependency")
    for seed in range(200):
        labels, pred_probs, minimum, fraction = cleanlab_case(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = peer.find_label_issues(
                labels,
                pred_probs,
                filter_by=filter_by,
                frac_noise=fraction,
                min_examples_per_class=minimum,
                n_jobs=1,
            )
        found = find_label_issues(labels, pred_probs, filter_by, fraction, minimum)
        np.testing.assert_array_equal(found, expected, err_msg=f"seed {seed}")


def oracle(labels: np.ndarray, pred_probs: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Confident joint and off-diagonal rows, written as the loop of the definition."""
    num_classes = pred_probs.shape[1]
    thresholds = [np.mean(pred_probs[labels == k, k]) if (labels == k).any() else 2.0 for k in range(num_classes)]
    joint, off_diagonal = np.zeros((num_classes, num_classes), dtype=int), []
    for i, (given, probs) in enumerate(zip(labels, pred_probs, strict=True)):
        confident = [k for k in range(num_classes) if probs[k] >= max(thresholds[k], 2e-6) - 1e-6]
        if given < 0 or not confident:
            continue
        guess = confident[0] if len(confident) == 1 else int(np.argmax(probs))
        joint[given, guess] += 1
        if guess != given:
            off_diagonal.append(i)
    for k in range(num_classes):
        joint[k, k] = max(joint[k, k], 1)
    return joint, off_diagonal


@pytest.mark.parametrize("seed", range(30))
def test_joint_equals_the_definition_with_ties_and_unlabelled_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, pred_probs = draw_case(rng, int(rng.integers(1, 8)), 80, ties=seed % 2 == 0, unlabelled=0.2)
    joint, off_diagonal = confident_joint(labels, pred_probs, calibrate=False, return_off_diagonal=True)
    expected, expected_rows = oracle(labels, pred_probs)
    np.testing.assert_array_equal(joint, expected)
    assert off_diagonal.tolist() == expected_rows


def test_several_confident_classes_give_the_likeliest_of_all() -> None:
    # Thresholds: class 0 at 0.9, classes 1 and 2 at 0.25. Row 4 reaches 1 and 2, yet its likeliest class is 0.
    pred_probs = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.4, 0.3, 0.3]])
    labels = np.array([0, 0, 1, 2, -1])
    assert confident_joint([*labels[:4], 1], pred_probs, thresholds=[0.9, 0.25, 0.25], calibrate=False)[1, 0] == 2


def test_perfect_probabilities_flag_nothing() -> None:
    labels = np.repeat(np.arange(4), 5)
    pred_probs = np.eye(4)[labels]
    for filter_by in FILTERS:
        assert not find_label_issues(labels, pred_probs, filter_by).any()
    calibrated = confident_joint(labels, pred_probs)
    np.testing.assert_array_equal(calibrated, 5 * np.eye(4))
    np.testing.assert_allclose(estimate_latent(calibrated, labels).noise_matrix, np.eye(4))
    assert [num_label_issues(labels, pred_probs, m) for m in ("off_diagonal", "calibrated", "uncalibrated_trace")] == [
        0,
        0,
        0,
    ]


def test_a_class_without_labels_gains_only_its_forced_diagonal() -> None:
    labels, pred_probs = draw_case(np.random.default_rng(3), 4, 60)
    labels[labels == 2] = 0
    assert confident_thresholds(labels, pred_probs)[2] == 2
    joint = confident_joint(labels, pred_probs, calibrate=False)
    assert joint[2].tolist() == [0, 0, 1, 0]
    assert joint[:, 2].sum() == 1
    calibrated = calibrate_confident_joint(joint, labels)
    assert calibrated[2].sum() == calibrated[:, 2].sum() == 0
    latent = estimate_latent(calibrated, labels)
    assert latent.noise_matrix[:, 2].sum() == latent.inverse_noise_matrix[:, 2].sum() == 0
    assert latent.prior[2] == pytest.approx(1e-6, rel=1e-3)


def test_one_class_has_nothing_to_confuse() -> None:
    labels, pred_probs = np.zeros(5, dtype=int), np.ones((5, 1))
    assert not any(find_label_issues(labels, pred_probs, f).any() for f in FILTERS)
    assert label_quality_scores(labels, pred_probs, "normalized_margin").tolist() == [1] * 5
    assert np.isfinite(label_quality_scores(labels, pred_probs, "confidence_weighted_entropy")).all()


def test_all_unlabelled_gives_finite_answers_and_no_issue() -> None:
    labels, pred_probs = np.full(6, -1), np.full((6, 3), 1 / 3)
    assert not any(find_label_issues(labels, pred_probs, f).any() for f in FILTERS)
    assert confident_joint(labels, pred_probs).sum() == estimate_joint(labels, pred_probs).sum() == 0
    assert np.isfinite(np.concatenate([p.ravel() for p in estimate_latent(np.eye(3), labels)])).all()
    assert label_quality_scores(labels, pred_probs).tolist() == [1] * 6


@pytest.mark.parametrize("filter_by", FILTERS)
def test_unlabelled_rows_change_nothing_for_the_others(filter_by: str) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(7), 4, 120, unlabelled=0.3)
    keep = labels >= 0
    mask = find_label_issues(labels, pred_probs, filter_by)
    assert not mask[~keep].any()
    np.testing.assert_array_equal(mask[keep], find_label_issues(labels[keep], pred_probs[keep], filter_by))
    for method in SCORES:
        scores = label_quality_scores(labels, pred_probs, method)
        assert (scores[~keep] == 1).all()
        np.testing.assert_array_equal(scores[keep], label_quality_scores(labels[keep], pred_probs[keep], method))


def test_no_noise_fraction_flags_nothing_by_pruning_only() -> None:
    labels, pred_probs = draw_case(np.random.default_rng(1), 3, 100)
    for filter_by in PRUNING:
        assert not find_label_issues(labels, pred_probs, filter_by, frac_noise=0).any()
    for filter_by in set(FILTERS) - set(PRUNING):
        without = find_label_issues(labels, pred_probs, filter_by, frac_noise=0)
        np.testing.assert_array_equal(without, find_label_issues(labels, pred_probs, filter_by))


def test_ranking_lists_the_flagged_by_score() -> None:
    labels, pred_probs = draw_case(np.random.default_rng(2), 3, 100, ties=True)
    mask = find_label_issues(labels, pred_probs)
    for method in SCORES:
        order = find_label_issues(labels, pred_probs, rank_by=method)
        scores = label_quality_scores(labels, pred_probs, method)
        assert order.tolist() == sorted(np.flatnonzero(mask).tolist(), key=lambda i: (scores[i], i))


def test_ties_go_to_the_lower_row() -> None:
    labels = np.array([0] * 6 + [1] * 6)
    pred_probs = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3 + [[0.1, 0.9]] * 6)
    # Three to remove: 0.4 of them is 1, and the 4.8 to keep of six are cut to 4.
    for filter_by, expected in (("prune_by_noise_rate", [3]), ("prune_by_class", [3, 4])):
        mask = find_label_issues(labels, pred_probs, filter_by, frac_noise=0.4)
        assert np.flatnonzero(mask).tolist() == expected


def test_float32_gives_the_counts_of_float64() -> None:
    labels, pred_probs = draw_case(np.random.default_rng(5), 5, 300)
    rounded = pred_probs.astype(np.float32)
    np.testing.assert_array_equal(confident_joint(labels, rounded), confident_joint(labels, rounded.astype(np.float64)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, p: find_label_issues(y, p, "guess"), "filter_by is 'guess': choose one of"),
        (lambda y, p: find_label_issues(y, p, rank_by="x"), "rank_by"),
        (lambda y, p: find_label_issues(y, p, frac_noise=1.5), "frac_noise is 1.5"),
        (lambda y, p: find_label_issues(y, p, frac_noise=np.nan), "frac_noise"),
        (lambda y, p: find_label_issues(y, p, min_examples_per_class=-1), "min_examples_per_class is -1"),
        (lambda y, p: label_quality_scores(y, p, "x"), "method"),
        (lambda y, p: label_quality_scores(y, p, "confidence_weighted_entropy", adjust=True), "adjust"),
        (lambda y, p: num_label_issues(y, p, "x"), "method"),
        (lambda y, p: confident_joint(y[:-1], p), "20 rows for 19 labels"),
        (lambda y, p: confident_joint(y, p, thresholds=[0.5]), "thresholds"),
        (lambda y, p: estimate_latent(np.ones((2, 3)), y), r"shape \(2, 3\)"),
        (lambda y, p: estimate_latent([[1, -1], [0, np.nan]], y), "row 0, column 1 is -1"),
        (lambda y, p: calibrate_confident_joint(np.eye(1), y), "give classes 0 to 0"),
    ],
)
def test_bad_input_is_refused(call: object, message: str) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(0), 3, 20)
    with pytest.raises(InputError, match=message):
        call(labels, pred_probs)  # type: ignore[operator]
