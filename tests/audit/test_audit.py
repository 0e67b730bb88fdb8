"""The front door of the audit on data whose errors are known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labelwise.audit import confident_learning
from labelwise.audit.audit import audit
from labelwise.audit.filters import FILTERS
from labelwise.audit.scores import SCORES
from labelwise.audit.streaming import audit_file
from labelwise.errors import InputError

from .examples import draw_case


@pytest.fixture
def noisy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Given labels, probabilities and true labels of 600 rows, a fifth of them flipped to the next class."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 600)
    logits = rng.normal(size=(600, 4))
    logits[np.arange(600), true] += 4
    pred_probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = np.where(rng.random(600) < 0.2, (true + 1) % 4, true)
    return given, pred_probs, true


def test_it_finds_flips_and_suggests_the_true_class(noisy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    given, pred_probs, true = noisy
    found = audit(given, pred_probs)
    is_wrong = given != true
    assert (found.is_issue & is_wrong).sum() > 0.85 * is_wrong.sum()
    assert (found.is_issue & is_wrong).sum() > 0.85 * found.is_issue.sum()
    caught = found.is_issue & is_wrong
    assert (found.suggested == true)[caught].mean() > 0.95
    np.testing.assert_array_equal(found.suggested[~found.is_issue], given[~found.is_issue])
    assert found.noise_rate.low <= is_wrong.mean() <= found.noise_rate.high
    assert found.noise_matrix[1, 0] == pytest.approx(0.2, abs=0.08)
    assert found.joint.sum() == pytest.approx(1)
    assert given is found.labels or np.array_equal(given, found.labels)


@pytest.mark.parametrize("filter_by", FILTERS)
def test_it_agrees_with_the_pure_functions_and_with_the_file(filter_by: str, tmp_path: Path) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(1), 5, 300, unlabelled=0.1)
    np.save(tmp_path / "p.npy", pred_probs)
    np.save(tmp_path / "y.npy", labels)
    for rank_by in SCORES:
        found = audit(labels, pred_probs, filter_by=filter_by, rank_by=rank_by)
        np.testing.assert_array_equal(
            found.ranked, confident_learning.find_label_issues(labels, pred_probs, filter_by, rank_by=rank_by)
        )
        from_file = audit_file(tmp_path / "p.npy", tmp_path / "y.npy", filter_by=filter_by, rank_by=rank_by)
        for name in ("labels", "is_issue", "ranked", "scores", "suggested", "thresholds", "confident_joint", "joint"):
            np.testing.assert_array_equal(getattr(found, name), getattr(from_file, name), err_msg=name)
        for name in ("given_prob", "suggested_prob", "noise_matrix"):
            np.testing.assert_array_equal(getattr(found, name), getattr(from_file, name), err_msg=name)


def test_frame_lists_issues_worst_first_with_a_reason(noisy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    given, pred_probs, _ = noisy
    found = audit(given, pred_probs)
    frame = found.to_frame()
    assert list(frame.columns) == ["index", "given", "suggested", "score", "why"]
    assert frame["index"].tolist() == found.ranked.tolist()
    assert frame["score"].is_monotonic_increasing
    row = frame.iloc[0]
    assert f"class {row.suggested} {pred_probs[row['index'], row.suggested]:.2f}" in row.why
    assert f"given class {row.given} {row.score:.2f}" in row.why


def test_frame_of_no_issue_is_empty() -> None:
    labels = np.repeat(np.arange(3), 10)
    found = audit(labels, np.eye(3)[labels])
    assert len(found.ranked) == len(found.to_frame()) == 0


def test_bad_input_is_refused() -> None:
    labels, pred_probs = draw_case(np.random.default_rng(2), 3, 30)
    with pytest.raises(InputError, match="30 rows for 29 labels"):
        audit(labels[:-1], pred_probs)
    with pytest.raises(InputError, match="filter_by"):
        audit(labels, pred_probs, filter_by="all")
    with pytest.raises(InputError, match="rank_by"):
        audit(labels, pred_probs, rank_by="all")


def test_nothing_labelled_is_refused(tmp_path: Path) -> None:
    labels, pred_probs = np.full(4, -1), np.full((4, 2), 0.5)
    with pytest.raises(InputError, match="no row is labelled"):
        audit(labels, pred_probs)
    np.save(tmp_path / "p.npy", pred_probs)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(InputError, match=r"y\.npy labels no row"):
        audit_file(tmp_path / "p.npy", tmp_path / "y.npy")


def test_import_is_light() -> None:
    script = (
        "import json, sys\nimport labelwise.audit.audit\n"
        "print(json.dumps([m for m in ('torch', 'sklearn', 'pandas', 'numba', 'pyarrow') if m in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert json.loads(answer) == []
