"""What every audit answers, whether its probabilities were in memory or in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.evidence import Bools, Evidence, Floats, Ints
from labelwise.audit.filters import lowest_first

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AuditResult:
    """Suspected label errors among n examples of several classes.

    ``labels`` (n,) as given, -1 = unlabelled; ``is_issue`` (n,) bool; ``ranked`` indices of the issues, worst first;
    ``scores`` (n,) label quality, low = suspicious, 1 where unlabelled; ``suggested`` (n,) likeliest other class of an
    issue, else the given label; ``given_prob`` and ``suggested_prob`` (n,) their probabilities. ``thresholds``
    (classes,) are the confident thresholds; ``confident_joint`` [given, true] the uncalibrated counts; ``joint``
    [given, true] the estimated distribution; ``noise_matrix`` [given, true] = P(given | true).
    """

    labels: Ints
    num_classes: int
    is_issue: Bools
    ranked: Ints
    scores: NDArray[Any]
    suggested: Ints
    given_prob: NDArray[Any]
    suggested_prob: NDArray[Any]
    thresholds: Floats
    confident_joint: Ints
    joint: Floats
    noise_matrix: Floats

    def to_frame(self) -> pd.DataFrame:
        """The issues, worst first: columns index, given, suggested, score, why."""
        import pandas as pd

        rows = self.ranked
        facts = zip(
            self.labels[rows], self.given_prob[rows], self.suggested[rows], self.suggested_prob[rows], strict=True
        )
        why = [
            f"the model gives class {suggested} {suggested_prob:.2f} and the given class {given} {given_prob:.2f}"
            for given, given_prob, suggested, suggested_prob in facts
        ]
        return pd.DataFrame(
            {
                "index": rows,
                "given": self.labels[rows],
                "suggested": self.suggested[rows],
                "score": self.scores[rows],
                "why": why,
            }
        )


def issue_fields(evidence: Evidence, is_issue: Bools, scores: NDArray[Any]) -> dict[str, Any]:
    """The fields of an `AuditResult` that hold one entry an example."""
    rows = np.flatnonzero(is_issue)
    # Few rows are issues: to copy all and overwrite those is quicker than to choose for each.
    suggested, suggested_prob = evidence.labels.copy(), evidence.own_prob.copy()
    suggested[rows], suggested_prob[rows] = evidence.other[rows], evidence.other_prob[rows]
    return {
        "labels": evidence.labels,
        "is_issue": is_issue,
        "ranked": rows[lowest_first(scores[rows])],
        "scores": scores,
        "suggested": suggested,
        "given_prob": evidence.own_prob,
        "suggested_prob": suggested_prob,
    }
