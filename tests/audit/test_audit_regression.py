"""The audit of numeric targets against cleanlab, slow versions, planted errors, and however it is cut into blocks."""

import csv
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cleanlab.regression.learn import CleanLearning
from cleanlab.regression.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression

from labelwise.audit import outre, regression
from labelwise.audit.regression import SCORES, RegressionAudit, audit_regression
from labelwise.errors import InputError

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_targets(
    rng: np.random.Generator, num_rows: int, *, wrong: float = 0.1, freedom: float = np.inf, kind: str = "exchange"
) -> Columns:
    """Targets, predictions and which targets are wrong, all (n,)."""
    predictions = 3 * rng.standard_normal(num_rows)
    noise = rng.standard_normal(num_rows) if np.isinf(freedom) else rng.standard_t(freedom, num_rows)
    targets = predictions + 0.5 * noise
    is_wrong = rng.random(num_rows) < wrong
    others = rng.permutation(targets) if kind == "exchange" else targets + rng.choice([-5.0, 5.0], num_rows)
    return np.where(is_wrong, others, targets), predictions, is_wrong


def assert_same(a: RegressionAudit, b: RegressionAudit) -> None:
    assert a.noise == b.noise
    for name in set(a.__slots__) - {"noise"}:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("num_rows", [2, 3, 50, 101, 1500])
@pytest.mark.parametrize("method", ["residual", "outre"])
def test_scores_equal_cleanlabs(method: str, num_rows: int) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(num_rows), num_rows)
    theirs = get_label_quality_scores(targets, predictions, method=method)
    # cleanlab finds distances of more than 100 rows by products, which round to about 1e-8.
    tolerance = 1e-12 if num_rows <= 100 or method == "residual" else 1e-7
    for dtype in (np.float64, np.float32):
        given, predicted = targets.astype(dtype), predictions.astype(dtype)
        found = audit_regression(given, predicted, rank_by=method)
        if dtype == np.float64:
            np.testing.assert_allclose(found.scores, theirs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.scores, theirs, rtol=0, atol=2e-4)


def test_scaled_scores_equal_those_of_cleanlabs_learner() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    y = X @ [1.0, 2.0] + rng.standard_normal(300) * 0.3
    spread = rng.uniform(0.5, 2, 300)
    learner = CleanLearning(LinearRegression(), verbose=False, seed=0)
    theirs = learner.find_label_issues(X, y, uncertainty=spread)
    found = audit_regression(y, theirs["predicted_label"].to_numpy(), spread=spread)
    np.testing.assert_allclose(found.scores, theirs["label_quality"], rtol=1e-12)
    unit = audit_regression(y * 1000, theirs["predicted_label"].to_numpy() * 1000, spread=7.0)
    plain = audit_regression(y, theirs["predicted_label"].to_numpy())
    np.testing.assert_allclose(unit.scores, plain.scores, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.booleans())
def test_outre_is_its_definition(seed: int, num_rows: int, ties: bool) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(seed), num_rows)
    if ties:
        targets, predictions = np.round(targets), np.round(predictions)
    residuals = predictions - targets
    features = np.column_stack(
        [
            (targets - targets.mean()) / (targets.std() + 1e-100),
            5 * (residuals - residuals.mean()) / (residuals.std() + 1e-100),
        ]
    )
    distances = np.sort(cdist(features, features), axis=1)[:, : -(-num_rows // 2)].mean(axis=1)
    expected = np.exp(-distances / max(np.median(distances), 1e-6))
    expected[distances < 1.5e-7] = 1
    # Where all residuals are equal, their deviation is rounding, and so is all that follows.
    if residuals.std() > 1e-9 and targets.std() > 1e-9:
        found = audit_regression(targets, predictions, rank_by="outre")
        np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-9)


def test_outre_of_many_rows_is_that_of_all_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(1), 4000, freedom=3)
    exact = audit_regression(targets, predictions, rank_by="outre").scores
    monkeypatch.setattr(outre, "MOST_POINTS", 2000)
    near = audit_regression(targets, predictions, rank_by="outre").scores
    assert not np.array_equal(near, exact)
    np.testing.assert_allclose(near, exact, rtol=0, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_cells_merge_to_the_same_bits(seed: int, num_parts: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rng.integers(0, 50), 2))
    edges = np.array([-1.0, 0.0]), np.array([0.5])
    whole = outre.CellSummary.empty(edges)
    whole.update(features)
    merged = outre.CellSummary.empty(edges)
    for rows in np.array_split(rng.permutation(len(features)), num_parts):
        part = outre.CellSummary.empty(edges)
        part.update(features[rows])
        merged = part.merge(merged)
    for a, b in zip(whole.finalize(), merged.finalize(), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from(SCORES), st.integers(1, 4))
def test_blocks_and_threads_do_not_change_the_answer(seed: int, num_rows: int, method: str, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    targets, predictions, _ = draw_targets(rng, num_rows)
    targets[rng.random(num_rows) < 0.1] = np.nan
    targets[0] = 1.0
    spread = rng.uniform(0.5, 1, num_rows)
    whole = audit_regression(targets, predictions, spread=spread, rank_by=method, num_threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "BLOCK_ROWS", int(rng.integers(1, 40)))
        parts = audit_regression(targets, predictions, spread=spread, rank_by=method, num_threads=num_threads)
    if method == "outre":
        np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-9)
        np.testing.assert_array_equal(parts.is_issue, whole.is_issue)
    else:
        assert_same(parts, whole)


def test_every_form_of_input_gives_the_same(tmp_path: Path) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(2), 500)
    spread = np.full(500, 2.0)
    for name, column in (("y", targets), ("p", predictions), ("s", spread)):
        np.save(tmp_path / f"{name}.npy", column)
    y, p, s = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "yps")
    for method in SCORES:
        whole = audit_regression(targets, predictions, spread=2.0, rank_by=method)
        assert_same(audit_regression(y, p, spread=s, rank_by=method), whole)
        assert_same(audit_regression(targets.tolist(), predictions.tolist(), spread=spread, rank_by=method), whole)


@pytest.mark.parametrize("method", SCORES)
def test_unknown_targets_take_no_part(method: str) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(3), 300)
    is_unknown = np.arange(300) % 7 == 0
    found = audit_regression(np.where(is_unknown, np.nan, targets), predictions, rank_by=method)
    alone = audit_regression(targets[~is_unknown], predictions[~is_unknown], rank_by=method)
    np.testing.assert_array_equal(found.scores[~is_unknown], alone.scores)
    assert (found.scores[is_unknown] == 1).all()
    assert not found.is_issue[is_unknown].any()
    assert found.num_unknown == is_unknown.sum()
    assert found.threshold == alone.threshold
    np.testing.assert_array_equal(np.flatnonzero(~is_unknown)[alone.ranked], found.ranked)


@pytest.mark.parametrize("freedom", [np.inf, 3.0])
@pytest.mark.parametrize("kind", ["exchange", "shift"])
@pytest.mark.parametrize("wrong", [0.0, 0.05, 0.2])
def test_interval_holds_the_true_share(wrong: float, kind: str, freedom: float) -> None:
    held = []
    for seed in range(12):
        targets, predictions, is_wrong = draw_targets(
            np.random.default_rng(seed), 1000, wrong=wrong, freedom=freedom, kind=kind
        )
        noise = audit_regression(targets, predictions).noise
        held.append(noise.low <= is_wrong.mean() <= noise.high)
        assert noise.low <= noise.rate <= noise.high
    assert sum(held) >= 10


def test_share_is_near_the_truth_where_tails_are_normal() -> None:
    targets, predictions, is_wrong = draw_targets(np.random.default_rng(0), 5000, wrong=0.15)
    noise = audit_regression(targets, predictions).noise
    assert abs(noise.rate - is_wrong.mean()) < 0.02
    assert noise.low > 0.05
    assert abs(noise.scale - 0.5) < 0.02


def test_heavy_tails_are_not_taken_for_wrong_targets() -> None:
    flagged = 0
    for seed in range(5):
        targets, predictions, _ = draw_targets(np.random.default_rng(seed), 2000, wrong=0.0, freedom=3)
        found = audit_regression(targets, predictions)
        assert found.noise.low == 0
        flagged += int(found.is_issue.sum())
    # As normal residuals with the same median, some 300 of them lie beyond 3 deviations.
    assert flagged < 30
    assert any("may all be right" in note for note in found.noise.notes)
    alike = audit_regression(np.linspace(-1, 1, 200), np.zeros(200))
    assert not alike.is_issue.any()
    assert any("no suspects" in note for note in alike.noise.notes)


def test_few_of_the_issues_are_right_targets() -> None:
    issues = right = wrong = 0
    for seed in range(10):
        targets, predictions, is_wrong = draw_targets(np.random.default_rng(seed), 2000)
        found = audit_regression(targets, predictions)
        issues, wrong = issues + int(found.is_issue.sum()), wrong + int(is_wrong.sum())
        right += int((found.is_issue & ~is_wrong).sum())
    assert right < 0.12 * issues
    assert issues > 0.6 * wrong


@pytest.mark.parametrize("freedom", [np.inf, 3.0])
def test_gross_slips_are_found_whatever_the_predictions_are_worth(freedom: float) -> None:
    rng = np.random.default_rng(0)
    for quality in (0.0, 1.0):  # of the predictions, that also lie too high, as those of a model that learnt the slips
        targets, _, _ = draw_targets(rng, 1000, wrong=0, freedom=freedom)
        predictions = quality * targets + 2 + rng.standard_normal(1000)
        is_gross = rng.random(1000) < 0.05
        targets = np.where(is_gross, 100 + 10 * targets, targets)
        found = audit_regression(targets, predictions)
        assert found.is_issue[is_gross].all()
        assert (found.is_issue & ~is_gross).sum() < 0.2 * is_gross.sum()
        assert found.noise.low <= is_gross.mean() <= found.noise.high
        assert "audit again" in found.noise.notes[0]


def test_spread_tells_a_usual_difference_from_an_unusual_one() -> None:
    rng = np.random.default_rng(0)
    spread = np.repeat([1.0, 20.0], 500)
    targets = rng.standard_normal(1000) * spread
    targets[3], targets[700] = 15.0, 15.0
    found = audit_regression(targets, np.zeros(1000), spread=spread)
    assert found.ranked[0] == 3
    assert not found.is_issue[700]


def test_memory_is_the_answer_and_a_block() -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(0), 300_000, wrong=0.01)
    audit_regression(targets[:1000], predictions[:1000])
    tracemalloc.start()
    audit_regression(targets, predictions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000 * 18 + 8e6


@pytest.mark.parametrize("method", SCORES)
def test_boundaries(method: str) -> None:
    assert audit_regression([1.0], [3.0], rank_by=method).ranked.tolist() == []
    same = audit_regression(np.ones(50), np.ones(50), rank_by=method)
    assert (same.scores == 1).all()
    assert not same.is_issue.any()
    targets = np.arange(50.0)
    one = audit_regression(np.where(targets == 7, 999.0, targets), targets, rank_by=method)
    assert one.ranked.tolist() == [7]
    assert one.scores.argmin() == 7
    row, given, suggested, _, why = next(one.suspects())
    assert (row, given, suggested) == (7, 999.0, 7.0)
    assert "while most differ by nothing" in str(why)
    whole = audit_regression(np.arange(50), np.arange(50)[::-1].astype(np.float32), rank_by=method)
    assert np.isfinite(whole.scores).all()


def test_few_targets_say_nothing_of_the_share() -> None:
    noise = audit_regression([1.0, 2.0], [1.0, 2.5]).noise
    assert (noise.low, noise.high) == (0.0, 1.0)
    assert "too few" in noise.notes[0]


def test_csv_lists_the_worst_target_first(tmp_path: Path) -> None:
    targets, predictions, _ = draw_targets(np.random.default_rng(5), 500)
    found = audit_regression(targets, predictions)
    found.to_csv(tmp_path / "suspects.csv")
    with (tmp_path / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == found.ranked.tolist()
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    for row in rows:
        assert float(row["given"]) == targets[int(row["index"])]
        assert float(row["suggested"]) == predictions[int(row["index"])]
        word = "higher" if float(row["suggested"]) > float(row["given"]) else "lower"
        assert word in row["why"]


def put(column: np.ndarray, value: float) -> None:
    column[70] = value


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "target inf": (lambda c: put(c.targets, np.inf), "targets row 70 is inf"),
    "target huge": (lambda c: put(c.targets, 1e200), r"targets row 70 is 1e\+200"),
    "prediction nan": (lambda c: put(c.predictions, np.nan), "predictions row 70 is nan"),
    "prediction -inf": (lambda c: put(c.predictions, -np.inf), "predictions row 70 is -inf"),
    "spread 0": (lambda c: put(c.spread, 0), "spread row 70 is 0"),
    "spread below 0": (lambda c: put(c.spread, -1), "spread row 70 is -1"),
    "spread nan": (lambda c: put(c.spread, np.nan), "spread row 70 is nan"),
    "one spread below 0": (lambda c: setattr(c, "spread", -2.0), "spread row 0 is -2"),
    "spread too short": (lambda c: setattr(c, "spread", c.spread[:9]), "spread has 9 rows for 100 targets"),
    "too few predictions": (lambda c: setattr(c, "predictions", c.predictions[:9]), "predictions has 9 rows"),
    "a column": (lambda c: setattr(c, "targets", c.targets[:, None]), r"targets has shape \(100, 1\)"),
    "text": (lambda c: setattr(c, "targets", c.targets.astype(str)), "targets has type <U"),
    "boolean": (lambda c: setattr(c, "targets", c.targets > 0), "targets has type bool"),
    "complex": (lambda c: setattr(c, "predictions", c.predictions * 1j), "predictions has type complex"),
    "empty": (lambda c: vars(c).update(targets=[], predictions=[], spread=1.0), "targets is empty"),
    "all unknown": (lambda c: c.targets.fill(np.nan), "no target is known"),
    "score": (lambda c: setattr(c, "rank_by", "worst"), "rank_by is 'worst'"),
    "share 0": (lambda c: setattr(c, "false_share", 0), "false_share is 0"),
    "share 1": (lambda c: setattr(c, "false_share", 1.0), "false_share is 1"),
    "share nan": (lambda c: setattr(c, "false_share", np.nan), "false_share is nan"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = REFUSED[name]
    case = SimpleNamespace(targets=np.arange(100.0), predictions=np.arange(100.0), spread=np.ones(100))
    change(case)
    monkeypatch.setattr(regression, "BLOCK_ROWS", 32)
    with pytest.raises(InputError, match=message):
        audit_regression(**vars(case))
