"""What the audits of numbers and of counts have in common: a share of wrong ones, and given against expected."""

from typing import Any

import numpy as np

from labelwise.audit.regression import RegressionAudit
from labelwise.job.tasks.base import TaskJob
from labelwise.report.findings import AuditFindings, Scatter

RULE = "residual beyond the fitted tail"
# Of more points a drawing only gets heavier.
DRAWN_POINTS = 600


def audit_metrics(found: RegressionAudit, model: str) -> dict[str, Any]:
    """The numbers of ``metrics.json``."""
    return {
        "noise_rate_estimated": found.noise.rate,
        "noise_rate_interval": [found.noise.low, found.noise.high],
        "suspects": len(found.ranked),
        "audit_model": model,
    }


def audit_findings(
    job: TaskJob, found: RegressionAudit, given: np.ndarray, expected: np.ndarray, words: tuple[str, str, str]
) -> AuditFindings:
    """What the report shows; ``words`` are the title of the drawing and what its two axes are called."""
    job.notes += found.noise.notes
    shown = _drawn(found.is_issue, job.options.seed)
    title, given_name, expected_name = words
    return AuditFindings(
        noise_rate=found.noise.rate,
        noise_rate_low=found.noise.low,
        noise_rate_high=found.noise.high,
        suspect_count=len(found.ranked),
        labels_audited=len(given),
        class_names=(),
        filter_name=RULE,
        unit=job.unit,
        noise_rate_true=job.metrics.get("noise_rate_true"),
        found_share=job.metrics.get("found_share"),
        suspects=job.cards(),
        scatter=Scatter(
            title,
            expected_name,
            given_name,
            tuple(expected[shown].tolist()),
            tuple(given[shown].tolist()),
            tuple(found.is_issue[shown].tolist()),
        ),
    )


def _drawn(marked: np.ndarray, seed: int) -> np.ndarray:
    """At most DRAWN_POINTS positions, marked ones first."""
    order = np.random.default_rng(seed).permutation(len(marked))
    order = np.concatenate([order[marked[order]], order[~marked[order]]])
    return np.sort(order[:DRAWN_POINTS])
