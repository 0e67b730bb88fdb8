import json

import numpy as np
import pytest

from labelwise.audit.votes import (
    aggregate_multilabel_votes,
    aggregate_votes,
    dawid_skene,
    estimated_errors,
    fleiss_kappa,
    is_label_error,
    majority_vote,
    read_multilabel_votes,
    read_votes,
)
from labelwise.errors import InputError


def rule_by_hand(row: list[int], given: int, guessed: int, min_agree: int) -> tuple[bool, str, int]:
    options = dict(zip(("given", "guessed", "both", "neither"), row, strict=True))
    if options["given"] >= min_agree:
        return False, "given", given
    best = [name for name, count in options.items() if count == max(row)]
    if max(row) < min_agree or len(best) > 1:
        return True, "no_majority", -1
    return True, best[0], guessed if best == ["guessed"] else -1


@pytest.mark.parametrize("min_agree", [1, 2, 3, 5, 6])
def test_every_split_of_five_votes(min_agree: int) -> None:
    splits = [[a, b, c, 5 - a - b - c] for a in range(6) for b in range(6 - a) for c in range(6 - a - b)]
    given, guessed = np.arange(len(splits)), np.arange(len(splits)) + 100
    outcome = aggregate_votes(splits, given, guessed, min_agree)
    expected = [rule_by_hand(*each, min_agree) for each in zip(splits, given, guessed, strict=True)]
    found = list(zip(outcome.is_error.tolist(), outcome.consensus.tolist(), outcome.corrected.tolist(), strict=True))
    assert found == expected
    assert outcome.corrected.dtype == np.int64


def test_an_error_is_what_has_no_consensus_for_given() -> None:
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.4, 0.3, 0.2, 0.1], size=200)  # mnist has records with ten votes
    outcome = aggregate_votes(votes, np.zeros(200, int), np.ones(200, int))
    np.testing.assert_array_equal(outcome.is_error, outcome.consensus != "given")


def test_no_examples_and_no_votes() -> None:
    empty = aggregate_votes(np.empty((0, 4), int), np.empty(0, int), np.empty(0, int))
    assert [len(part) for part in empty] == [0, 0, 0]
    nobody = aggregate_votes([[0, 0, 0, 0]], [1], [2])
    assert nobody.consensus.tolist() == ["no_majority"]
    assert nobody.corrected.tolist() == [-1]


@pytest.mark.parametrize(
    ("votes", "given", "message"),
    [
        ([[1, 2, 2]], [0], "3 columns"),
        ([[1, -1, 3, 2]], [0], "row 0, column 1, is -1"),
        ([[1.0, 2, 1, 1]], [0], "integer counts"),
        ([[1, 2, 1, 1]], [0, 1], "given has shape"),
    ],
)
def test_bad_votes_are_refused(votes: object, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        aggregate_votes(votes, given, [0])


def test_multilabel_rule_compares_sets() -> None:
    votes = [[3, 2, 5], [3, 0, 2], [0, 0, 0], [0, 0, 0]]
    given = [[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    outcome = aggregate_multilabel_votes(votes, given)
    assert outcome.is_error.tolist() == [False, True, False, True]
    assert outcome.corrected.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(InputError, match="given has shape"):
        aggregate_multilabel_votes(votes, given[:3])


def test_extrapolation_of_the_study() -> None:
    found = estimated_errors(2500, 1870, 6_825_383)
    assert found.errors == pytest.approx(1870 / 2500 * 6_825_383)
    # scipy.stats.binomtest(1870, 2500).proportion_ci is an independent route to both intervals.
    from scipy.stats import binomtest

    for method, name in (("exact", "clopper-pearson"), ("wilson", "wilson")):
        expected = binomtest(1870, 2500).proportion_ci(0.95, method=method)
        found = estimated_errors(2500, 1870, 6_825_383, method=name)
        assert found.low == pytest.approx(expected.low * 6_825_383)
        assert found.high == pytest.approx(expected.high * 6_825_383)


def test_extrapolation_at_the_ends() -> None:
    assert estimated_errors(10, 0, 10) == (0, 0, 0)
    assert estimated_errors(10, 10, 10) == (10, 10, 10)
    nothing_found = estimated_errors(10, 0, 1000)
    assert nothing_found.low == 0
    assert 0 < nothing_found.high < 400
    all_found = estimated_errors(10, 10, 1000, method="wilson")
    assert all_found.low > 600
    assert all_found.high == pytest.approx(1000)


@pytest.mark.parametrize("counts", [(0, 0, 5), (5, 6, 10), (10, 2, 5), (5, -1, 10)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="cannot be"):
        estimated_errors(*counts)


def test_unknown_method_and_confidence_are_refused() -> None:
    with pytest.raises(InputError, match="method"):
        estimated_errors(5, 1, 10, method="wald")
    with pytest.raises(InputError, match="confidence"):
        estimated_errors(5, 1, 10, confidence=1.0)


def test_exact_interval_covers_in_repeated_reviews() -> None:
    rng = np.random.default_rng(1)
    flagged, wrong = 3000, 1300
    drawn = rng.hypergeometric(wrong, flagged - wrong, 120, size=600)
    found = [estimated_errors(120, int(each), flagged) for each in drawn]
    assert np.mean([each.low <= wrong <= each.high for each in found]) >= 0.95


def test_majority_vote() -> None:
    votes = [[0, 1, 1], [0, 1, -1], [-1, -1, -1], [2, -1, -1], [0, 1, 2]]
    found = majority_vote(votes, 3)
    assert found.labels.tolist() == [1, -1, -1, 2, -1]
    assert found.counts.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("bad", [[[0, 3]], [[0, -2]], [[0.5, 1]], [0, 1]])
def test_bad_vote_tables_are_refused(bad: object) -> None:
    for function in (majority_vote, dawid_skene):
        with pytest.raises(InputError, match="votes"):
            function(bad, 3)


def simulate(rng: np.random.Generator, matrices: np.ndarray, prior: np.ndarray, n: int, missing: float):
    true = rng.choice(len(prior), size=n, p=prior)
    votes = np.full((n, len(matrices)), -1)
    for w, matrix in enumerate(matrices):
        for k in range(len(prior)):
            rows = np.flatnonzero((true == k) & (rng.random(n) >= missing))
            votes[rows, w] = rng.choice(len(prior), size=len(rows), p=matrix[:, k])
    return true, votes


def test_dawid_skene_recovers_the_workers_and_beats_the_majority() -> None:
    rng = np.random.default_rng(2)
    good = np.full((3, 3), 0.05) + np.eye(3) * 0.85
    guessing = np.full((3, 3), 1 / 3)
    # A worker who takes class 1 for class 0: useless to a majority, informative to a model of workers.
    biased = np.array([[0.9, 0.8, 0.1], [0.05, 0.1, 0.0], [0.05, 0.1, 0.9]])
    matrices = np.stack([good, good, guessing, guessing, guessing, biased, biased])
    prior = np.array([0.5, 0.3, 0.2])
    true, votes = simulate(rng, matrices, prior, 3000, missing=0.2)
    found = dawid_skene(votes, 3)
    assert found.converged
    np.testing.assert_allclose(found.worker_matrices, matrices, atol=0.07)
    np.testing.assert_allclose(found.prior, prior, atol=0.04)
    majority = majority_vote(votes, 3).labels
    assert (found.labels == true).mean() > (majority == true).mean() + 0.05
    # The posterior is calibrated: it is as right as it says.
    assert found.posterior.max(axis=1).mean() == pytest.approx((found.labels == true).mean(), abs=0.02)


def test_dawid_skene_climbs_and_reports_when_it_has_not_arrived() -> None:
    rng = np.random.default_rng(3)
    votes = rng.integers(-1, 4, size=(200, 5))
    found = dawid_skene(votes, 4)
    assert (np.diff(found.objective) >= -1e-9 * len(votes)).all()
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(found.worker_matrices.sum(axis=1), 1)
    assert not dawid_skene(votes, 4, max_iterations=2).converged


def test_one_em_step_equals_the_textbook() -> None:
    rng = np.random.default_rng(4)
    votes = rng.integers(-1, 3, size=(30, 4))
    smoothing = 0.5
    found = dawid_skene(votes, 3, max_iterations=1, smoothing=smoothing)
    start = np.zeros((30, 3))
    for i, k in np.ndindex(30, 3):
        start[i, k] = (votes[i] == k).sum()
        if (votes[i] < 0).all():
            start[i, k] = 1
    start /= start.sum(axis=1, keepdims=True)
    prior = start.mean(axis=0)
    matrices = np.full((4, 3, 3), smoothing)
    for i, w, k in np.ndindex(30, 4, 3):
        if votes[i, w] >= 0:
            matrices[w, votes[i, w], k] += start[i, k]
    matrices /= matrices.sum(axis=1, keepdims=True)
    posterior = np.tile(prior, (30, 1))
    for i, w in np.ndindex(30, 4):
        if votes[i, w] >= 0:
            posterior[i] *= matrices[w, votes[i, w]]
    posterior /= posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.worker_matrices, matrices, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, posterior, rtol=1e-9)


def test_dawid_skene_boundaries() -> None:
    with pytest.raises(InputError, match="no vote at all"):
        dawid_skene([[-1, -1]], 2)
    with pytest.raises(InputError, match="max_iterations"):
        dawid_skene([[0, 1]], 2, max_iterations=0)
    one_class = dawid_skene([[0], [0]], 1)
    assert one_class.posterior.tolist() == [[1.0], [1.0]]
    agreed = dawid_skene([[0, 0], [1, 1], [-1, -1]], 3)
    assert agreed.labels[:2].tolist() == [0, 1]
    np.testing.assert_allclose(agreed.posterior[2], agreed.prior, atol=1e-6)
    unsmoothed = dawid_skene([[0, 0], [1, 1]], 3, smoothing=0.0)
    assert np.isfinite(unsmoothed.posterior).all()
    assert unsmoothed.labels.tolist() == [0, 1]
    many = dawid_skene(np.zeros((4, 2000), int), 2)  # a plain product of 2000 probabilities would underflow
    np.testing.assert_allclose(many.posterior[:, 0], 1)


def write(folder, records: object):
    path = folder / "votes.json"
    path.write_text(json.dumps(records))
    return path


def test_reading_the_three_kinds_of_records(tmp_path) -> None:
    records = [
        {"id": 3, "given_original_label": 1, "our_guessed_label": 2, "mturk": {"given": 1, "guessed": 4, "neither": 0}},
        {"id": "neg/7", "given_original_label": "Negative", "our_guessed_label": "Positive",
         "mturk": {"given": 2, "guessed": 1, "neutral": 1, "off-topic": 1}},
        {"id": 9, "given_original_label": "Positive", "our_guessed_label": "Neutral",
         "mturk": {"positive": 3, "negative": 1, "neutral": 0, "off-topic": 1}},
    ]  # fmt: skip
    found = read_votes(write(tmp_path, records))
    assert found.ids == [3, "neg/7", 9]
    assert found.given == [1, "Negative", "Positive"]
    assert found.votes.tolist() == [[1, 4, 0, 0], [2, 1, 0, 2], [3, 0, 0, 2]]
    assert is_label_error(found.votes).tolist() == [True, True, False]


def test_reading_multilabel_records(tmp_path) -> None:
    record = {"id": 1, "given_original_labels": ["b", "a"], "mturk": {"a": 3, "b": 2, "c": 4}}
    found = read_multilabel_votes(write(tmp_path, [record]))
    assert found.classes == ["a", "b", "c"]
    assert found.given.tolist() == [[1, 1, 0]]
    assert found.votes.tolist() == [[3, 2, 4]]
    assert aggregate_multilabel_votes(found.votes, found.given).corrected.tolist() == [[1, 0, 1]]


def test_empty_and_unreadable_files(tmp_path) -> None:
    assert read_votes(write(tmp_path, [])).votes.shape == (0, 4)
    with pytest.raises(InputError, match="JSON list"):
        read_votes(write(tmp_path, {"id": 1}))
    with pytest.raises(InputError, match="record 0, has no"):
        read_votes(write(tmp_path, [{"id": 1}]))
    strange = {"id": 1, "given_original_label": "cat", "our_guessed_label": "dog", "mturk": {"yes": 5}}
    with pytest.raises(InputError, match="record 0, has votes for yes but not for its label 'cat'"):
        read_votes(write(tmp_path, [strange]))
    with pytest.raises(InputError, match="cannot be read"):
        read_votes(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text("[{")
    with pytest.raises(InputError, match="cannot be read"):
        read_votes(tmp_path / "torn.json")


def test_kappa_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (30, 3))
    items = [row for row in counts.tolist() if sum(row) > 1]
    per_item = []
    for row in items:
        votes = [option for option, count in enumerate(row) for _ in range(count)]
        pairs = [(a, b) for a in range(len(votes)) for b in range(len(votes)) if a != b]
        per_item.append(sum(votes[a] == votes[b] for a, b in pairs) / len(pairs))
    total = sum(map(sum, items))
    by_chance = sum((sum(row[option] for row in items) / total) ** 2 for option in range(3))
    expected = (sum(per_item) / len(per_item) - by_chance) / (1 - by_chance)
    assert fleiss_kappa(counts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([[2, 0], [0, 2]], 1.0), ([[1, 1], [1, 1]], -1.0), ([[2, 0], [3, 0]], None), ([[1, 0], [0, 1]], None)],
)
def test_kappa_at_its_ends(counts: list[list[int]], expected: float | None) -> None:
    assert fleiss_kappa(counts) == expected


def test_kappa_without_items() -> None:
    assert fleiss_kappa(np.zeros((0, 3), dtype=np.int64)) is None
