"""Audit of probabilities that do not fit into memory: one read of the file, as a rule.

The thresholds are known only at the end of the first read, yet one read suffices: a row that sums to 1 has at most
1 / t classes at or above a threshold t, so the few largest probabilities of a row nearly always settle which class the
model is confident of. Rows that they do not settle are read again. Only the filters by noise rate need a full second
read, for they compare a row's probabilities of all classes.

Memory, for n rows: about 70 bytes a row with float32 probabilities (labels, largest probabilities, answers), and for
the filters by noise rate 16 bytes for each example to remove and thread; 8 classes^2 for each matrix; 1 MB a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit import confident_learning as cl
from labelwise.audit import filters
from labelwise.audit.blocks import Source, for_each_block, for_each_range, num_cores, open_pred_probs, read_labels
from labelwise.audit.evidence import SLACK, Bools, Evidence, Floats, Ints, confident_guess
from labelwise.audit.result import AuditResult, issue_fields
from labelwise.audit.scores import SCORES, check_choice, entropy_score, margin_score, normalized_entropy
from labelwise.audit.summary import WORD, ConfidenceSummary, with_diagonal
from labelwise.errors import InputError
from labelwise.labels.check import check_pred_probs

# The kernel sums in the precision of the file; rows that it finds half way to the limit get the exact check.
TOLERANCE = 0.5e-4


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FileAudit(AuditResult):
    """`AuditResult` of a file; ``rows_read_again`` says how many rows one read could not settle."""

    rows_read_again: int


def audit_file(
    pred_probs_path: str | Path,
    labels_path: str | Path | None = None,
    *,
    filter_by: str = filters.DEFAULT_FILTER,
    min_examples_per_class: int = 1,
    frac_noise: float = 1.0,
    rank_by: str = "self_confidence",
    pred_probs_columns: str | Sequence[str] | None = None,
    labels_column: str = "label",
    num_threads: int | None = None,
) -> FileAudit:
    """Find suspected label errors given files of probabilities and labels, in memory that does not grow with classes.

    pred_probs_path: .npy (n, classes) float16, float32 or float64, or .parquet with one list column (default name
    'pred_probs') or one column a class. labels_path: .npy (n,) or .parquet, -1 = unlabelled; by default the Parquet
    file of the probabilities. filter_by, min_examples_per_class, frac_noise, rank_by: as in `find_label_issues`.
    num_threads: by default one a core. Scores by self-confidence keep the type of the file, the others are float64.

    The answer does not depend on the number of threads and equals that of the functions on arrays. Raises InputError
    with file and row for bad input. Cost: one read of the file; two for the filters by noise rate; the first call
    ever also compiles for some seconds.
    """
    check_choice(filter_by, filters.FILTERS, "filter_by")
    check_choice(rank_by, SCORES, "rank_by")
    filters.check_amounts(min_examples_per_class, frac_noise)
    path = Path(pred_probs_path)
    labels_file = path if labels_path is None else Path(labels_path)
    source = open_pred_probs(path, pred_probs_columns)
    labels = read_labels(labels_file, labels_column, source.num_classes)
    if len(labels) != source.num_rows:
        raise InputError(
            f"{path} has {source.num_rows} rows, {labels_file} {len(labels)}: give one label for each row."
        )
    if labels.max() < 0:
        raise InputError(f"{labels_file} labels no row: give at least one label other than -1.")
    threads = num_threads or num_cores()

    scan = _scan(source, labels, threads, str(path), with_entropy=rank_by == "confidence_weighted_entropy")
    thresholds = scan.confidence.finalize()
    evidence, rows_read_again = _settle(source, labels, scan, thresholds, threads)
    entropy, class_counts = scan.entropy, scan.confidence.class_counts
    del scan

    joint = with_diagonal(_count_pairs(evidence, source.num_classes))
    prune_counts = None
    if filter_by in filters.NEED_PRUNE_COUNTS:
        calibrated = cl.calibrate_by_counts(joint, class_counts)
        prune_counts = filters.make_prune_counts(calibrated, min_examples_per_class, frac_noise)
    is_prunable = filters.prunable_classes(class_counts, min_examples_per_class)

    def by_noise_rate(counts: Ints) -> Bools:
        return _select_by_noise_rate(source, labels, np.where(is_prunable, counts, 0), threads)

    if filter_by in filters.ROW_BY_ROW:
        mask = _flag_rows(evidence, filter_by, threads)
    else:
        mask = filters.flag(evidence, filter_by, prune_counts, by_noise_rate)
    return FileAudit(
        **issue_fields(evidence, mask, _scores(evidence, rank_by, entropy)),
        num_classes=source.num_classes,
        thresholds=thresholds,
        class_counts=class_counts,
        confident_joint=joint,
        rows_read_again=rows_read_again,
    )


@dataclass(slots=True, eq=False)
class _Scan:
    """What the first read keeps. top_class, top_prob (n, kept), largest first; own_prob (n,); entropy (n,) or empty."""

    confidence: ConfidenceSummary
    top_class: NDArray[Any]
    top_prob: NDArray[Any]
    own_prob: NDArray[Any]
    entropy: Floats


def _scan(source: Source, labels: Ints, num_threads: int, name: str, *, with_entropy: bool) -> _Scan:
    from labelwise.audit import kernels

    num_rows, num_classes = source.num_rows, source.num_classes
    bits_type = np.int32 if source.dtype.itemsize == 4 else np.int64
    class_type = _class_type(num_classes)
    top_class = np.empty((num_rows, kernels.KEPT), dtype=class_type)
    top_bits = np.empty((num_rows, kernels.KEPT), dtype=bits_type)
    own_prob = np.empty(num_rows, dtype=source.dtype)
    entropy = np.zeros(num_rows if with_entropy else 0)
    parts: list[ConfidenceSummary] = []

    def make_worker() -> Callable[[int, NDArray[Any]], None]:
        part = ConfidenceSummary.empty(num_classes)
        parts.append(part)

        def work(start: int, block: NDArray[Any]) -> None:
            rows = slice(start, start + len(block))
            num_suspect = kernels.scan(
                block, block.view(bits_type), labels[rows], TOLERANCE, top_class[rows], top_bits[rows], own_prob[rows]
            )
            if num_suspect:
                check_pred_probs(block, first_row=start, name=name)
            if with_entropy:
                entropy[rows] = normalized_entropy(block)
            kernels.add_words(labels[rows], own_prob[rows], part.class_counts, part.high, part.low, float(WORD))

        return work

    for_each_block(source, num_threads, make_worker)
    confidence = reduce(ConfidenceSummary.merge, parts)
    return _Scan(confidence, top_class, top_bits.view(source.dtype), own_prob, entropy)


def _class_type(num_classes: int) -> type[np.int16] | type[np.int32]:
    return np.int16 if num_classes <= np.iinfo(np.int16).max else np.int32


def _settle(source: Source, labels: Ints, scan: _Scan, thresholds: Floats, num_threads: int) -> tuple[Evidence, int]:
    """Evidence from the first read, and how many rows had to be read again for it."""
    from labelwise.audit import kernels

    bars = thresholds - SLACK
    other, guess = np.empty((2, len(labels)), dtype=scan.top_class.dtype)
    other_prob = np.empty(len(labels), dtype=source.dtype)
    num_open: list[int] = []

    def settle(rows: slice) -> None:
        top_class, top_prob = scan.top_class[rows], scan.top_prob[rows]
        num_open.append(
            kernels.settle(labels[rows], top_class, top_prob, bars, other[rows], other_prob[rows], guess[rows])
        )

    def read_again(start: int, block: NDArray[Any]) -> None:
        rows = np.flatnonzero(guess[start : start + len(block)] == kernels.OPEN)
        if len(rows):
            guess[start + rows] = confident_guess(block[rows], thresholds)

    for_each_range(len(labels), num_threads, settle)
    if any(num_open):
        for_each_block(source, num_threads, lambda: read_again)
    return Evidence(labels, scan.own_prob, other, other_prob, guess), sum(num_open)


def _flag_rows(evidence: Evidence, filter_by: str, num_threads: int) -> Bools:
    """`filters.flag` by a filter that looks at each row by itself."""
    mask = np.empty(len(evidence.labels), dtype=bool)

    def work(rows: slice) -> None:
        mask[rows] = filters.flag(evidence.part(rows), filter_by, None, None)

    for_each_range(len(mask), num_threads, work)
    return mask


def _count_pairs(evidence: Evidence, num_classes: int) -> Ints:
    from labelwise.audit import kernels

    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    kernels.count_pairs(evidence.labels, evidence.guess, counts)
    return counts


def _scores(evidence: Evidence, rank_by: str, entropy: Floats) -> NDArray[Any]:
    if rank_by == "self_confidence":
        return evidence.own_prob
    if rank_by == "normalized_margin":
        return margin_score(evidence.own_prob, evidence.other_prob)
    scores = entropy_score(evidence.own_prob, entropy)
    scores[evidence.labels < 0] = 1
    return scores


@dataclass(slots=True, eq=False)
class _Margins:
    """The rows with the largest margins of each pair (given class, other class): the state of one thread."""

    sizes: Ints
    bars: Floats
    margins: Floats
    rows: Ints

    @classmethod
    def empty(cls, starts: Ints) -> _Margins:
        num_pairs, room = len(starts) - 1, starts[-1]
        return cls(
            np.zeros(num_pairs, dtype=np.int64),
            np.full(num_pairs, -np.inf),
            np.empty(room),
            np.empty(room, dtype=np.int64),
        )


def _select_by_noise_rate(source: Source, labels: Ints, prune_counts: Ints, num_threads: int) -> Bools:
    """Same choice as `filters.select_by_noise_rate`, by a read of the file; prune_counts [true, given], 0 = none."""
    from labelwise.audit import kernels

    num_removed = prune_counts.T.copy()  # [given, true]
    np.fill_diagonal(num_removed, 0)
    given, other = np.nonzero(num_removed > 0)  # pairs, by given class
    pair_starts = np.searchsorted(given, np.arange(source.num_classes + 1))
    starts = np.concatenate([[0], np.cumsum(2 * num_removed[given, other])])
    parts: list[_Margins] = []

    def make_worker() -> Callable[[int, NDArray[Any]], None]:
        own = _Margins.empty(starts)
        parts.append(own)

        def work(start: int, block: NDArray[Any]) -> None:
            kernels.keep_largest_margins(
                block,
                labels[start : start + len(block)],
                start,
                pair_starts,
                other,
                starts,
                own.sizes,
                own.bars,
                own.margins,
                own.rows,
            )

        return work

    mask = np.zeros(len(labels), dtype=bool)
    if len(given) == 0:
        return mask
    for_each_block(source, num_threads, make_worker)
    first, *rest = parts
    for part in rest:
        kernels.merge_margins(
            starts, first.sizes, first.bars, first.margins, first.rows, part.sizes, part.margins, part.rows
        )
    kernels.mark_largest_margins(starts, first.sizes, first.margins, first.rows, mask)
    return mask
