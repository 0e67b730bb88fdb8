"""The front door of the audit: which labels are suspect, how many are wrong, and how they go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from labelwise.audit import confident_learning as cl
from labelwise.audit import filters
from labelwise.audit.evidence import gather
from labelwise.audit.result import AuditResult, issue_fields
from labelwise.audit.scores import SCORES, check_choice, label_quality_scores
from labelwise.audit.summary import count_pairs, with_diagonal
from labelwise.errors import InputError
from labelwise.labels.check import check_labels_and_pred_probs

if TYPE_CHECKING:
    from labelwise.audit.noise_rate import NoiseEstimate

DEFAULT_SCORE = "self_confidence"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Audit(AuditResult):
    """`AuditResult` with ``noise_rate``, the estimated share of wrong labels and its interval."""

    noise_rate: NoiseEstimate


def audit(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    filter_by: str = filters.DEFAULT_FILTER,
    min_examples_per_class: int = 1,
    frac_noise: float = 1.0,
    rank_by: str = DEFAULT_SCORE,
    seed: int = 0,
) -> Audit:
    """Audit labels (n,) int64, -1 = unlabelled, given out-of-sample probabilities (n, classes).

    filter_by, min_examples_per_class, frac_noise: which labels to flag, as in `find_label_issues`. rank_by: the score
    that orders them, as in `label_quality_scores`. seed: of the resampling behind the interval of the noise rate.
    Raises InputError for bad input. Cost: a few reads of pred_probs and one copy of it; for a file larger than memory
    there is `labelwise.audit.streaming.audit_file`.
    """
    from labelwise.audit.noise_rate import estimate_noise

    check_choice(filter_by, filters.FILTERS, "filter_by")
    check_choice(rank_by, SCORES, "rank_by")
    filters.check_amounts(min_examples_per_class, frac_noise)
    given, probs = check_labels_and_pred_probs(labels, pred_probs)
    if given.max() < 0:
        raise InputError("no row is labelled, so there is nothing to audit: give at least one label other than -1.")
    thresholds = cl.confident_thresholds(given, probs)
    evidence = gather(given, probs, thresholds)
    mask = cl.issue_mask(evidence, probs, filter_by, frac_noise, min_examples_per_class)
    counts = with_diagonal(count_pairs(given, evidence.guess, probs.shape[1]))
    return Audit(
        **issue_fields(evidence, mask, label_quality_scores(given, probs, rank_by)),
        num_classes=probs.shape[1],
        thresholds=thresholds,
        class_counts=np.bincount(given[given >= 0], minlength=probs.shape[1]),
        confident_joint=counts,
        noise_rate=estimate_noise(given, probs, seed=seed),
    )
