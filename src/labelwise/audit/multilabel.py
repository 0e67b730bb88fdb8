"""Audit of multi-labels: which labels are missing, which are wrong, and which of the unknown ones are there.

Confident learning (Northcutt et al., JAIR 2021) of each class by itself, present against absent, as cleanlab has it for
multi-label data: Thyagarajan et al., "Identifying incorrect annotations in multi-label classification data", 2022
(https://arxiv.org/abs/2211.13895). Labels are 1 = present, 0 = absent, -1 = unknown. An unknown label is never wrong;
it is listed apart where the model is as sure that it is present as it is, on average, of labels given as present.

Two rounds over the data, in blocks of rows: `PresenceConfidence` gives the thresholds, with which `PresenceJoint`
counts and notes the doubtful entries. Both are sums: any division of the rows gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit import confident_learning as cl
from labelwise.audit import filters
from labelwise.audit.blocks import BLOCK_BYTES, RowReader, num_cores
from labelwise.audit.evidence import SLACK, Bools, Floats, Ints
from labelwise.audit.result import SuspectList
from labelwise.audit.scores import check_choice
from labelwise.audit.summary import WORD, ConfidenceSummary
from labelwise.errors import InputError
from labelwise.labels.check import check_multilabels, check_presence_probs

if TYPE_CHECKING:
    import pandas as pd

# Of two classes that complement each other, pruning by class removes what pruning by noise rate does.
FILTERS = ("prune_by_noise_rate", "confident_learning", "predicted_neq_given")
T = TypeVar("T")


class Entries(NamedTuple):
    """Some labels of some examples, all (m,): ``row``, ``label_class`` (column), ``given`` 1, 0 or -1, and ``prob``,
    the probability that the label is present.
    """

    row: Ints
    label_class: NDArray[np.int32]
    given: NDArray[np.int8]
    prob: NDArray[Any]

    def take(self, places: NDArray[Any]) -> Entries:
        """Those at the places (k,), or where a mask (m,) is true."""
        return Entries(*(facts[places] for facts in self))

    @property
    def own_prob(self) -> NDArray[Any]:
        """Probability of what is given, (m,)."""
        return np.where(self.given == 1, self.prob, self.prob.dtype.type(1) - self.prob)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MultilabelAudit(SuspectList):
    """Suspected errors among the labels of n examples, and unknown labels that are probably there.

    ``issues``: known labels that look wrong, worst first (lowest probability of what is given, then row, then class);
    ``probably_present``: unknown labels that the model is confident of, likeliest first. ``scores`` (n,): quality of an
    example's known labels, low = suspicious, 1 where none is known; ``ranked``: examples with an issue, worst first.
    ``label_counts`` (classes, 2): known labels that are absent, present. ``thresholds`` (classes, 2): mean probability
    of absent and of present, over the labels given so. ``confident_joint`` and its calibrated form (classes, 2, 2),
    int64 [class, given, true].
    """

    num_rows: int
    num_classes: int
    issues: Entries
    probably_present: Entries
    scores: Floats
    ranked: Ints
    label_counts: Ints
    thresholds: Floats
    confident_joint: Ints
    calibrated_joint: Ints

    @property
    def missing(self) -> Entries:
        """Labels given as absent that look present, worst first."""
        return self.issues.take(self.issues.given == 0)

    @property
    def wrong(self) -> Entries:
        """Labels given as present that look absent, worst first."""
        return self.issues.take(self.issues.given == 1)

    @property
    def issue_share(self) -> float:
        """Share of the known labels that are issues; 0 where none is known."""
        return len(self.issues.row) / max(int(self.label_counts.sum()), 1)

    def issue_mask(self) -> Bools:
        """Where labels are doubted, (n, classes); a byte a label."""
        mask = np.zeros((self.num_rows, self.num_classes), dtype=bool)
        mask[self.issues.row, self.issues.label_class] = True
        return mask

    def suspects(self) -> Iterator[tuple[Any, ...]]:
        """The issues, worst first: index, given, suggested, score, why."""
        own = self.issues.own_prob
        for row, k, given, prob, score in zip(*self.issues, own, strict=True):
            word = "present" if given else "absent"
            why = f"class {k} is given as {word}, the model says present with {prob:.0%}"
            yield int(row), f"{k} {word}", f"{k} {'absent' if given else 'present'}", round(float(score), 6), why

    def class_frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """One row a class, most issues first: known, present, unknown, wrong, missing, probably_present labels;
        ``wrong_rate`` = P(absent | given present) and ``missing_rate`` = P(given absent | present), estimated.

        Raises InputError where there is not one name a class.
        """
        import pandas as pd

        if names is not None and len(names) != self.num_classes:
            raise InputError(f"there are {len(names)} names for {self.num_classes} classes: give one name a class.")
        known = self.label_counts.sum(axis=1)
        joint = self.calibrated_joint.astype(np.float64)
        frame = pd.DataFrame(
            {
                "class": np.arange(self.num_classes) if names is None else list(names),
                "known": known,
                "present": self.label_counts[:, 1],
                "unknown": self.num_rows - known,
                "wrong": np.bincount(self.wrong.label_class, minlength=self.num_classes),
                "missing": np.bincount(self.missing.label_class, minlength=self.num_classes),
                "probably_present": np.bincount(self.probably_present.label_class, minlength=self.num_classes),
                "wrong_rate": joint[:, 1, 0] / np.maximum(joint[:, 1].sum(axis=1), 1),
                "missing_rate": joint[:, 0, 1] / np.maximum(joint[:, :, 1].sum(axis=1), 1),
            }
        )
        order = np.argsort(-(frame["wrong"] + frame["missing"]).to_numpy(), kind="stable")
        return frame.iloc[order].reset_index(drop=True)


def audit_multilabel(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    filter_by: str = filters.DEFAULT_FILTER,
    min_examples_per_class: int = 1,
    frac_noise: float = 1.0,
    num_threads: int | None = None,
) -> MultilabelAudit:
    """Find suspected errors in labels (n, classes), 1, 0 or -1 = unknown, given out-of-sample probabilities.

    labels: integers or booleans; pred_probs (n, classes): that a label is present, 0 to 1, rows need not sum to 1. Both
    arrays or mapped files. filter_by: 'prune_by_noise_rate' flags as many labels as confident learning counts wrong,
    the least likely first; 'confident_learning' those that the model is confident are otherwise; 'predicted_neq_given'
    all that the prediction disputes. min_examples_per_class, frac_noise: as in `find_label_issues`. num_threads: by
    default one a core; the answer does not depend on it.

    Raises InputError with row and column for bad input. Memory: 1 MB a thread, 8 bytes an example, 17 for each known
    label that the prediction disputes and each unknown one that is probably present. Cost: two reads of both arrays.
    """
    check_choice(filter_by, FILTERS, "filter_by")
    filters.check_amounts(min_examples_per_class, frac_noise)
    given, probs = _check_arrays(labels, pred_probs)
    num_rows, num_classes = probs.shape
    threads = num_threads or num_cores()
    scores = np.empty(num_rows)

    def first_round(start: int, stop: int) -> PresenceConfidence:
        part = PresenceConfidence.empty(num_classes)
        for row, block, block_probs in _blocks(given, probs, start, stop):
            scores[row : row + len(block)] = part.update(block, block_probs, first_row=row)
        return part

    confidence = reduce(PresenceConfidence.merge, _in_threads(first_round, num_rows, threads))
    if confidence.num_unknown == num_rows * num_classes:
        raise InputError("labels holds no known label (all are -1): give at least one 1 or 0.")
    thresholds = confidence.finalize()

    def second_round(start: int, stop: int) -> PresenceJoint:
        part = PresenceJoint.empty(thresholds)
        for row, block, block_probs in _blocks(given, probs, start, stop):
            part.update(block, block_probs, first_row=row)
        return part

    joint, doubtful = reduce(PresenceJoint.merge, _in_threads(second_round, num_rows, threads)).finalize()
    label_counts = confidence.label_counts
    calibrated = np.stack([cl.calibrate_by_counts(*each) for each in zip(joint, label_counts, strict=True)])
    issues = _select(
        doubtful.take(doubtful.given >= 0),
        filter_by,
        thresholds,
        _limits(calibrated, label_counts, min_examples_per_class, frac_noise),
    )
    is_row = np.zeros(num_rows, dtype=bool)
    is_row[issues.row] = True
    unknown = doubtful.take(doubtful.given < 0)
    return MultilabelAudit(
        num_rows=num_rows,
        num_classes=num_classes,
        issues=issues,
        probably_present=unknown.take(np.argsort(-unknown.prob, kind="stable")),
        scores=scores,
        ranked=filters.ranked(is_row, scores),
        label_counts=label_counts,
        thresholds=thresholds,
        confident_joint=joint,
        calibrated_joint=calibrated,
    )


@dataclass(slots=True, eq=False)
class PresenceConfidence:
    """First round: sums of the probability of what is given, over the known labels of each class.

    ``sums``: a `ConfidenceSummary` whose class 2k is "k is absent" and 2k + 1 "k is present".
    """

    sums: ConfidenceSummary
    num_unknown: int = 0

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Summary of no rows."""
        return cls(ConfidenceSummary.empty(2 * num_classes))

    @property
    def label_counts(self) -> Ints:
        """Known labels of each class that are absent, present, (classes, 2)."""
        return self.sums.class_counts.reshape(-1, 2)

    def update(self, labels: ArrayLike, pred_probs: ArrayLike, *, first_row: int = 0) -> Floats:
        """Add a block, labels and pred_probs (rows, classes); return the scores of its rows, (rows,) float64.

        ``first_row``: number of the block's first row in messages. Raises InputError for bad input.
        """
        from labelwise.audit import entry_kernels

        given, probs = _check_block(labels, pred_probs, len(self.label_counts), first_row)
        sums = self.sums
        num_unknown, num_bad = entry_kernels.add_entries(
            probs, given, sums.class_counts, sums.high, sums.low, float(WORD)
        )
        if num_bad:
            _refuse(given, probs, first_row)
        self.num_unknown += num_unknown
        scores = np.empty(len(given))
        entry_kernels.score_rows(probs, given, scores)
        return scores

    def merge(self, other: PresenceConfidence) -> PresenceConfidence:
        """Summary of the rows of both. Raises InputError if the classes differ in number."""
        return PresenceConfidence(self.sums.merge(other.sums), self.num_unknown + other.num_unknown)

    def finalize(self) -> Floats:
        """Thresholds (classes, 2) of absent and present; 2, which no probability reaches, where none is given so."""
        return self.sums.finalize().reshape(-1, 2)


@dataclass(slots=True, eq=False)
class PresenceJoint:
    """Second round, for thresholds (classes, 2) fixed beforehand: what the model is confident of, and what it doubts.

    ``counts`` (classes, 2, 2) of known labels [class, given, confident]; ``doubtful``: known entries that the model
    clearly disputes, and unknown ones that it is confident are present.
    """

    thresholds: Floats
    counts: Ints
    doubtful: list[Entries] = field(default_factory=list)

    @classmethod
    def empty(cls, thresholds: Floats) -> Self:
        """Summary of no rows."""
        return cls(thresholds, np.zeros((len(thresholds), 2, 2), dtype=np.int64))

    def update(self, labels: ArrayLike, pred_probs: ArrayLike, *, first_row: int) -> None:
        """Add a block, labels and pred_probs (rows, classes), that begins at row ``first_row`` of the data.

        Raises InputError for bad input.
        """
        from labelwise.audit import entry_kernels

        given, probs = _check_block(labels, pred_probs, len(self.thresholds), first_row)
        places = np.empty(probs.size, dtype=np.int64)
        bars = self.thresholds - SLACK
        count, num_bad = entry_kernels.find_doubtful(probs, given, bars, SLACK, self.counts, places)
        if num_bad:
            _refuse(given, probs, first_row)
        rows, classes = np.divmod(places[:count], len(self.thresholds))
        self.doubtful.append(
            Entries(
                first_row + rows, classes.astype(np.int32), given[rows, classes].astype(np.int8), probs[rows, classes]
            )
        )

    def merge(self, other: PresenceJoint) -> PresenceJoint:
        """Summary of the rows of both. Raises InputError if the thresholds differ."""
        if not np.array_equal(self.thresholds, other.thresholds):
            raise InputError(
                "the two summaries have different thresholds: merge the PresenceConfidence of all rows first."
            )
        return PresenceJoint(self.thresholds, self.counts + other.counts, self.doubtful + other.doubtful)

    def finalize(self) -> tuple[Ints, Entries]:
        """The confident joint (classes, 2, 2), its diagonals at least 1; the doubtful entries by row, then class."""
        joint = self.counts.copy()
        for cell in (0, 1):
            joint[:, cell, cell] = np.maximum(joint[:, cell, cell], 1)
        blocks = sorted(self.doubtful, key=lambda block: int(block.row[0]) if len(block.row) else -1)
        return joint, Entries(*(np.concatenate(facts) for facts in zip(*blocks, strict=True)))


def _limits(calibrated: Ints, label_counts: Ints, min_examples_per_class: int, frac_noise: float) -> Ints:
    """How many labels given as absent and as present are to be flagged by noise rate, (classes, 2)."""
    counts = [filters.make_prune_counts(joint, min_examples_per_class, frac_noise) for joint in calibrated]
    moved = np.stack([[each[1, 0], each[0, 1]] for each in counts])  # [true, given]
    is_prunable = label_counts > max(min_examples_per_class, 1)
    return np.where(is_prunable, moved, 0)


def _select(disputed: Entries, filter_by: str, thresholds: Floats, limits: Ints) -> Entries:
    """The issues among the disputed known entries, worst first."""
    from labelwise.audit import entry_kernels

    order = filters.lowest_first(disputed.own_prob)
    suspects = disputed.take(order)
    if filter_by == "predicted_neq_given":
        return suspects
    if filter_by == "prune_by_noise_rate":
        groups = 2 * suspects.label_class.astype(np.int64) + suspects.given
        return suspects.take(entry_kernels.first_of_groups(groups, limits.ravel()))
    # Disputed, so the other value is the likelier one: to be confident of it, its own threshold is enough.
    other = suspects._replace(given=1 - suspects.given)
    return suspects.take(other.own_prob >= thresholds[other.label_class, other.given] - SLACK)


def _in_threads(work: Callable[[int, int], T], num_rows: int, num_threads: int) -> list[T]:
    """work(start, stop) of ranges that together are all rows, in their order; the error raised is the first range's."""
    edges = np.linspace(0, num_rows, min(num_threads, num_rows) + 1).astype(int).tolist()
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(lambda pair: work(*pair), pairwise(edges)))


def _blocks(
    labels: NDArray[Any], probs: NDArray[Any], start: int, stop: int
) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """First row, labels and probabilities of blocks of about a megabyte."""
    readers = RowReader(labels), RowReader(probs)
    step = max(1, BLOCK_BYTES // (probs.shape[1] * probs.itemsize))
    for row in range(start, stop, step):
        end = min(row + step, stop)
        yield row, readers[0].read(row, end), readers[1].read(row, end)


def _check_arrays(labels: ArrayLike, pred_probs: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as arrays of one shape; mapped files stay mapped."""
    given, probs = (each if isinstance(each, np.ndarray) else np.asarray(each) for each in (labels, pred_probs))
    if given.ndim != 2 or 0 in given.shape:
        raise InputError(
            f"labels has shape {given.shape}: give one row an example and one column a class, at least one of each."
        )
    if given.shape != probs.shape:
        raise InputError(
            f"labels has shape {given.shape}, pred_probs {probs.shape}: give one probability for each label."
        )
    return given, probs


def _check_block(
    labels: ArrayLike, pred_probs: ArrayLike, num_classes: int, first_row: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels of any integers and probabilities float32 or float64, C order, of the right shape."""
    given, probs = _check_arrays(labels, pred_probs)
    if given.shape[1] != num_classes:
        raise InputError(f"{given.shape[1]} classes do not fit a summary of {num_classes}: give all blocks the same.")
    if given.dtype.kind == "b":
        given = given.view(np.int8)
    elif given.dtype.kind != "i":
        given = check_multilabels(given, first_row=first_row)
    if probs.dtype.kind not in "iuf":
        raise InputError(f"pred_probs has type {probs.dtype}: give floating-point probabilities.")
    dtype = np.float32 if probs.dtype.kind == "f" and probs.dtype.itemsize <= 4 else np.float64
    return np.ascontiguousarray(given), np.ascontiguousarray(probs, dtype=dtype)


def _refuse(labels: NDArray[Any], probs: NDArray[Any], first_row: int) -> None:
    """Raise InputError for the first entry that is no label, else for the first that is no probability."""
    check_multilabels(labels, first_row=first_row)
    check_presence_probs(probs, first_row=first_row)
