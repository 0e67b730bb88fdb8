"""The LP-ICP reproduction: its baseline by hand, its limits, its parts."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import betabinom

from labelwise.reproductions import lp_icp, lp_icp_data
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return lp_icp.run(seeds=2, data_dir=None, quick=True)


def test_without_data_the_result_says_what_was_left_out(quick_result: Result) -> None:
    assert any("--data-dir" in note and "left out" in note for note in quick_result.notes)
    assert "Reuters" not in quick_result.data
    assert "stories" not in quick_result.details


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    checks = quick_result.details["checks"]
    assert quick_result.holds == all(checks.values())
    assert checks["efficient_sets_are_the_exhaustive_ones"]
    assert len(checks) == 5
    json.loads(quick_result.to_json())


def test_levels_say_what_the_error_must_be(quick_result: Result) -> None:
    for epsilon in lp_icp.LEVELS:
        level = quick_result.details["mosaics, 60 labels"][f"epsilon {epsilon:g}"]
        rank = int(epsilon * 201 + 1e-9)
        assert level["promised"] == pytest.approx(rank / 201)
        spread = betabinom(300, rank, 201 - rank).std() / 300 / np.sqrt(2)
        assert level["three_deviations"] == pytest.approx(3 * spread)


def test_probability_mass_is_that_of_sorted_label_sets() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.beta(0.5, 0.5, (60, 5))
    labels = rng.integers(0, 2, (60, 5))
    every = np.array(list(itertools.product((0, 1), repeat=5)))
    missed = np.zeros(len(lp_icp.LEVELS))
    for row, label_set in zip(outputs, labels, strict=True):
        probs = np.where(every == 1, row, 1 - row).prod(axis=1)
        own = probs[(every == label_set).all(axis=1)][0]
        missed += probs[probs > own].sum() >= 1 - np.array(lp_icp.LEVELS)
    found = lp_icp.probability_mass_errors(outputs, labels)
    np.testing.assert_allclose(found, missed / 60)


def test_rows_whose_set_was_cut_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lp_icp, "MAX_SETS", 3)
    outputs = np.vstack([np.full((2, 12), 0.5 + 1e-4), np.full((2, 12), 0.999)])
    labels = np.vstack([np.zeros((2, 12)), np.ones((2, 12))]).astype(np.int64)
    assert lp_icp.probability_mass_errors(outputs, labels).tolist() == [0.0] * 5


def test_a_temperature_leaves_the_order_of_outputs(quick_result: Result) -> None:
    rows = lp_icp_data.mosaics(0, quick=True)
    scaled = lp_icp.scaled_outputs(rows)
    np.testing.assert_array_equal(scaled > 0.5, rows.test_outputs > 0.5)
    calibrated = rows.test_outputs.clip(1e-12, 1 - 1e-12)
    likelihood = [np.log(np.where(rows.test_labels == 1, each, 1 - each)).mean() for each in (scaled, calibrated)]
    assert likelihood[0] > likelihood[1] - 1e-3


def test_mosaics_are_the_same_for_a_seed_and_calibration_never_trains() -> None:
    first, again = lp_icp_data.mosaics(3, quick=True), lp_icp_data.mosaics(3, quick=True)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.test_outputs.shape == first.test_labels.shape == (300, 60)
    assert (first.test_labels.reshape(300, 6, 10).sum(axis=2) <= 1).all()
    assert 0.6 < first.test_labels.sum() / (300 * 6) < 0.8


def test_notes_tell_what_did_not_show() -> None:
    lost = {"micro_f1": [0.8, 0.8], "f1_loss": {"difference": 0.01, "interval": [0.005, 0.015]}}
    kept = {"micro_f1": [0.9, 0.9], "f1_loss": {"difference": 0.01, "interval": [-0.005, 0.025]}}
    alone = lp_icp.stories_notes({lp_icp.TFIDF: lost})
    assert "0.010 of F1 (0.005 to 0.015)" in alone[0]
    assert "MiniLM was not run" in alone[1]
    both = lp_icp.stories_notes({lp_icp.TFIDF: kept, lp_icp.MINILM: lost})
    assert [name in both[0] for name in (lp_icp.TFIDF, lp_icp.MINILM)] == [False, True]
    assert "0.800, below the 0.900" in both[1]


def test_stories_have_the_90_topics_of_both_parts(data_dir) -> None:
    texts, labels, is_early = lp_icp_data.read_stories(data_dir)
    assert labels.shape == (len(texts), 90) == (len(is_early), 90)
    assert labels.any(axis=1).all()
    assert labels[is_early].any(axis=0).all()
    assert labels[~is_early].any(axis=0).all()
    parts = lp_icp_data.random_parts(len(texts), 1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(texts)))
