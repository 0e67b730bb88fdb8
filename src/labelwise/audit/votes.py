"""Crowd votes: from what people answered to which labels are wrong, what they should be, and how sure that is.

The vote rules are those of Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine
Learning Benchmarks", NeurIPS 2021 (section 4): five workers see the given and the guessed label of an example and
choose given, guessed, both or neither. `dawid_skene` is Dawid & Skene, "Maximum Likelihood Estimation of Observer
Error-Rates Using the EM Algorithm", 1979.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

OPTIONS = ("given", "guessed", "both", "neither")
NO_MAJORITY = "no_majority"
# Answers under other names that also say that neither label fits.
NEITHER_ANSWERS = ("neither", "neutral", "off-topic")
TINY = 1e-100


class VoteOutcome(NamedTuple):
    """What the workers decided: `is_error` (n,) bool, `consensus` (n,) str, `corrected` (n,) int64, -1 = unknown."""

    is_error: Mask
    consensus: NDArray[np.str_]
    corrected: Ints


class MultiLabelOutcome(NamedTuple):
    """What the workers decided: `is_error` (n,) bool and `corrected` (n, classes) int64 in {0, 1}."""

    is_error: Mask
    corrected: Ints


class ErrorEstimate(NamedTuple):
    """Estimated number of errors among the flagged examples, with its interval (all in examples)."""

    errors: float
    low: float
    high: float


class MajorityVote(NamedTuple):
    """`labels` (n,) int64 with -1 where nobody voted or the vote is tied, and `counts` (n, classes) int64."""

    labels: Ints
    counts: Ints


class DawidSkene(NamedTuple):
    """What Dawid-Skene EM found.

    `posterior` (n, classes); `worker_matrices` (workers, classes, classes), [w, j, k] = P(worker w votes j | true
    class k), columns sum to 1; `prior` (classes,) of the true classes; `objective`, the penalised log-likelihood
    after each iteration (never falls); `converged`, whether its rise came under the tolerance before the last
    iteration.
    """

    posterior: Floats
    worker_matrices: Floats
    prior: Floats
    objective: Floats
    converged: bool

    @property
    def labels(self) -> Ints:
        """Most likely class of each item, (n,) int64; ties go to the lower class."""
        return self.posterior.argmax(axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class VoteRecords:
    """Votes read from a file: one entry a reviewed example, in the file's order.

    `ids` as written (row numbers, or names); `given` and `guessed` labels as written; `votes` (n, 4) int64 in the order
    given, guessed, both, neither.
    """

    ids: list[Any]
    given: list[Any]
    guessed: list[Any]
    votes: Ints


@dataclass(frozen=True, slots=True)
class MultiLabelVoteRecords:
    """Multi-label votes read from a file: `given` (n, classes) int64 in {0, 1}, `votes` (n, classes) int64 counts."""

    ids: list[Any]
    classes: list[str]
    given: Ints
    votes: Ints


def is_label_error(votes: ArrayLike, min_agree: int = 3) -> Mask:
    """Which given labels are errors: fewer than `min_agree` workers chose them. votes: (n, 4) counts, as in
    `aggregate_votes`.
    """
    return _check_option_counts(votes)[:, 0] < min_agree


def aggregate_votes(votes: ArrayLike, given: ArrayLike, guessed: ArrayLike, min_agree: int = 3) -> VoteOutcome:
    """Turn votes on given against guessed labels into error flags and corrected labels.

    A label is an error when fewer than `min_agree` workers chose it. The consensus is `given` when it is no error,
    else the option with the most votes if those are at least `min_agree` and not tied, else `no_majority`. Only a
    consensus for given or guessed yields a corrected label; all else is -1: several labels fit, or nobody knows.

    votes: (n, 4) counts in the order given, guessed, both, neither. given, guessed: (n,) int class labels.
    Raises InputError for negative counts and for lengths that differ. O(n). Northcutt et al. 2021, section 4.
    """
    counts = _check_option_counts(votes)  # (n, 4)
    given_labels = _check_length(given, len(counts), "given")
    guessed_labels = _check_length(guessed, len(counts), "guessed")

    is_error = is_label_error(counts, min_agree)  # (n,)
    most = counts.max(axis=1)  # (n,)
    winner = np.where(is_error, counts.argmax(axis=1), 0)  # (n,)
    is_tied = (counts == most[:, None]).sum(axis=1) > 1
    is_open = is_error & ((most < min_agree) | is_tied)
    consensus = np.where(is_open, NO_MAJORITY, np.asarray(OPTIONS)[winner])
    corrected = np.select([consensus == "given", consensus == "guessed"], [given_labels, guessed_labels], default=-1)
    return VoteOutcome(is_error, consensus, corrected.astype(np.int64))


def aggregate_multilabel_votes(votes: ArrayLike, given: ArrayLike, min_agree: int = 3) -> MultiLabelOutcome:
    """Turn votes on single labels of multi-label examples into error flags and corrected label sets.

    The corrected set holds the labels with at least `min_agree` votes; the example is an error when that differs from
    the given set (the study's rule for AudioSet).

    votes: (n, classes) counts. given: (n, classes) in {0, 1}. Raises InputError for shapes that differ. O(n * classes).
    """
    counts = _check_counts(votes)  # (n, classes)
    given_sets = np.asarray(given)
    if given_sets.shape != counts.shape:
        raise InputError(
            f"given has shape {given_sets.shape}, votes {counts.shape}: "
            "give one row an example and one column a class in both."
        )
    corrected = (counts >= min_agree).astype(np.int64)
    return MultiLabelOutcome((corrected != given_sets).any(axis=1), corrected)


def estimated_errors(
    reviewed: int,
    validated: int,
    flagged: int,
    *,
    confidence: float = 0.95,
    method: Literal["clopper-pearson", "wilson"] = "clopper-pearson",
) -> ErrorEstimate:
    """Extrapolate a reviewed random sample of the flagged examples to all of them: validated / reviewed * flagged.

    The interval is binomial (Clopper-Pearson, exact and cautious, or Wilson, closer to the nominal coverage), cut to
    what the review already proves: at least `validated` errors and at least `reviewed - validated` right labels.
    Raises InputError unless 0 <= validated <= reviewed <= flagged and reviewed > 0. Northcutt et al. 2021, section 4.
    """
    if not 0 <= validated <= reviewed <= flagged or reviewed == 0:
        raise InputError(
            f"reviewed={reviewed}, validated={validated}, flagged={flagged} cannot be: "
            "give counts with 0 <= validated <= reviewed <= flagged and reviewed > 0."
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95.")
    intervals = {"clopper-pearson": _clopper_pearson, "wilson": _wilson}
    if method not in intervals:
        raise InputError(f"method is {method!r}: choose one of {', '.join(intervals)}.")
    low, high = intervals[method](validated, reviewed, confidence)
    return ErrorEstimate(
        errors=validated / reviewed * flagged,
        low=max(low * flagged, float(validated)),
        high=min(high * flagged, float(flagged - (reviewed - validated))),
    )


def majority_vote(votes: ArrayLike, num_classes: int) -> MajorityVote:
    """Most frequent vote of each item; an item nobody voted on, or whose vote is tied, stays unlabelled (-1).

    votes: (n, workers) int classes with -1 = no vote. Raises InputError for classes out of range. O(n * workers).
    """
    table = _check_votes(votes, num_classes)  # (n, workers)
    items, workers = np.nonzero(table >= 0)
    counts = _count(items * num_classes + table[items, workers], len(table) * num_classes).reshape(-1, num_classes)
    most = counts.max(axis=1)  # (n,)
    is_decided = (counts == most[:, None]).sum(axis=1) == 1
    return MajorityVote(np.where(is_decided, counts.argmax(axis=1), -1).astype(np.int64), counts)


def dawid_skene(
    votes: ArrayLike,
    num_classes: int,
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-7,
    smoothing: float = 0.01,
) -> DawidSkene:
    """Estimate true classes and each worker's confusion matrix from votes alone, by EM (Dawid & Skene 1979).

    Starts from the vote shares. `smoothing` is a pseudo-count on every entry of every worker's matrix (a Dirichlet
    prior), so that a pair never seen is unlikely, not impossible; the objective includes it. Stops when the objective
    rises by less than `tolerance` per item. An item nobody voted on gets the prior as posterior.

    votes: (n, workers) int classes with -1 = no vote. Posterior in float64, computed from log-probabilities.
    Raises InputError for classes out of range, a table without any vote and fewer than one iteration.
    Cost: O(votes * classes) an iteration, memory O(votes + (n + workers * classes) * classes).
    """
    from scipy import sparse

    table = _check_votes(votes, num_classes)  # (n, workers)
    num_items, num_workers = table.shape
    items, workers = np.nonzero(table >= 0)
    if len(items) == 0:
        raise InputError("votes has no vote at all, every entry is -1: give at least one.")
    if max_iterations < 1:
        raise InputError(f"max_iterations is {max_iterations}: give at least 1.")
    columns = workers * num_classes + table[items, workers]
    # One row an item, one column a (worker, class) pair: both EM steps are a product with this matrix.
    answers = sparse.csr_array((np.ones(len(items)), (items, columns)), shape=(num_items, num_workers * num_classes))
    shares = majority_vote(table, num_classes).counts + TINY  # (n, classes)
    posterior = shares / shares.sum(axis=1, keepdims=True)

    objective: list[float] = []
    converged = False
    for _ in range(max_iterations):
        prior = posterior.mean(axis=0)  # (classes,)
        pair_counts = np.asarray(answers.T @ posterior).reshape(num_workers, num_classes, num_classes) + smoothing
        matrices = pair_counts / np.maximum(pair_counts.sum(axis=1, keepdims=True), TINY)  # (workers, vote, true)
        log_matrices = np.log(np.maximum(matrices, TINY))
        log_joint = answers @ log_matrices.reshape(-1, num_classes) + np.log(np.maximum(prior, TINY))  # (n, classes)
        log_evidence = np.logaddexp.reduce(log_joint, axis=1)  # (n,)
        posterior = np.exp(log_joint - log_evidence[:, None])
        objective.append(float(log_evidence.sum() + smoothing * log_matrices.sum()))
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance * num_items:
            converged = True
            break
    return DawidSkene(posterior, matrices, prior, np.asarray(objective), converged)


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Agreement beyond chance, (P - P_e) / (1 - P_e), of (items, options) counts of votes (Fleiss 1971).

    P is the mean over items of the share of their pairs of votes that agree, P_e the sum of squared shares of the
    options. Items may have different numbers of votes, those with fewer than two are left out. None where no item has
    two, or all votes are for one option. Raises InputError for negative counts. O(items * options).
    """
    table = _check_counts(counts)
    table = table[table.sum(axis=1) > 1]  # (m, options)
    if not len(table):
        return None
    votes = table.sum(axis=1)  # (m,)
    observed = ((table * (table - 1)).sum(axis=1) / (votes * (votes - 1))).mean()
    expected = ((table.sum(axis=0) / votes.sum()) ** 2).sum()
    return float((observed - expected) / (1 - expected)) if expected < 1 else None


def read_votes(path: str | Path) -> VoteRecords:
    """Read a JSON list of vote records (the format of cleanlab/label-errors `mturk/*.json`).

    Each record has `id`, `given_original_label`, `our_guessed_label` and `mturk`: counts under given, guessed, both,
    neither (a missing one is 0; neutral and off-topic count as neither), or under the names of the labels themselves.
    Raises InputError for an unreadable file or a record without these keys.
    """
    records = _read_records(path, ("id", "given_original_label", "our_guessed_label", "mturk"))
    given = [record["given_original_label"] for record in records]
    guessed = [record["our_guessed_label"] for record in records]
    votes = [_option_counts(path, i, record) for i, record in enumerate(records)]
    return VoteRecords(
        ids=[record["id"] for record in records],
        given=given,
        guessed=guessed,
        votes=np.asarray(votes, dtype=np.int64).reshape(-1, len(OPTIONS)),
    )


def read_multilabel_votes(path: str | Path) -> MultiLabelVoteRecords:
    """Read a JSON list of multi-label vote records: `id`, `given_original_labels` and `mturk`, one count a label.

    Raises InputError for an unreadable file or a record without these keys.
    """
    records = _read_records(path, ("id", "given_original_labels", "mturk"))
    classes = sorted({name for record in records for name in [*record["given_original_labels"], *record["mturk"]]})
    column = {name: k for k, name in enumerate(classes)}
    given = np.zeros((len(records), len(classes)), dtype=np.int64)
    votes = np.zeros_like(given)
    for i, record in enumerate(records):
        given[i, [column[name] for name in record["given_original_labels"]]] = 1
        votes[i, [column[name] for name in record["mturk"]]] = list(record["mturk"].values())
    return MultiLabelVoteRecords([record["id"] for record in records], classes, given, votes)


def _option_counts(path: str | Path, row: int, record: Mapping[str, Any]) -> list[int]:
    answers = {name.lower(): count for name, count in record["mturk"].items()}
    if "given" in answers:
        neither = sum(answers.get(name, 0) for name in NEITHER_ANSWERS)
        return [answers["given"], answers.get("guessed", 0), answers.get("both", 0), neither]
    labels = [str(record[key]).lower() for key in ("given_original_label", "our_guessed_label")]
    for label in labels:
        if label not in answers:
            raise InputError(
                f"{path}, record {row}, has votes for {', '.join(answers)} but not for its label {label!r}: "
                "count votes as given, guessed, both, neither, or under the labels' own names."
            )
    counts = [answers[label] for label in labels]
    return [*counts, 0, sum(answers.values()) - sum(counts)]


def _read_records(path: str | Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    path = Path(path)
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): give a JSON list of vote records.") from error
    if not isinstance(records, list):
        raise InputError(f"{path} does not hold a JSON list: give a list of vote records.")
    for i, record in enumerate(records):
        missing = [key for key in keys if not isinstance(record, dict) or key not in record]
        if missing:
            raise InputError(f"{path}, record {i}, has no {', '.join(missing)}: give every record {', '.join(keys)}.")
    return records


def _check_votes(votes: ArrayLike, num_classes: int) -> Ints:
    table = np.asarray(votes)
    if table.ndim != 2 or table.dtype.kind not in "iu":
        raise InputError(
            f"votes has shape {table.shape} and type {table.dtype}: "
            "give integers, one row an item and one column a worker."
        )
    is_bad = (table < -1) | (table >= num_classes)
    if is_bad.any():
        item, worker = np.argwhere(is_bad)[0]
        raise InputError(
            f"votes, row {item}, column {worker}, is {table[item, worker]}: "
            f"give classes 0 to {num_classes - 1}, or -1 for no vote."
        )
    return table.astype(np.int64)


def _check_counts(votes: ArrayLike) -> Ints:
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.dtype.kind not in "iu":
        raise InputError(f"votes has shape {counts.shape} and type {counts.dtype}: give a table of integer counts.")
    if (counts < 0).any():
        row, column = np.argwhere(counts < 0)[0]
        raise InputError(f"votes, row {row}, column {column}, is {counts[row, column]}: give counts of 0 or more.")
    return counts.astype(np.int64)


def _check_option_counts(votes: ArrayLike) -> Ints:
    counts = _check_counts(votes)  # (n, 4)
    if counts.shape[1] != len(OPTIONS):
        raise InputError(
            f"votes has {counts.shape[1]} columns: give one count each for {', '.join(OPTIONS)}, in this order."
        )
    return counts


def _check_length(labels: ArrayLike, num_rows: int, name: str) -> Ints:
    values = np.asarray(labels)
    if values.shape != (num_rows,) or values.dtype.kind not in "iu":
        raise InputError(
            f"{name} has shape {values.shape} and type {values.dtype}, votes has {num_rows} rows: "
            "give one integer label a row."
        )
    return values.astype(np.int64)


def _count(values: Ints, length: int) -> Ints:
    return np.bincount(values, minlength=length).astype(np.int64)


def _clopper_pearson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def _wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import norm

    z = float(norm.ppf((1 + confidence) / 2))
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z * (share * (1 - share) / trials + z**2 / (4 * trials**2)) ** 0.5 / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)
