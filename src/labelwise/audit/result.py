"""What every audit answers, whether its probabilities were in memory or in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit import confident_learning as cl
from labelwise.audit.evidence import Bools, Evidence, Floats, Ints
from labelwise.audit.filters import lowest_first
from labelwise.files import write_csv

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("index", "given", "suggested", "score", "why")


class SuspectList(ABC):
    """What has suspects to list: give `suspects`, and it becomes a table or a file."""

    __slots__ = ()

    @abstractmethod
    def suspects(self) -> Iterator[tuple[Any, ...]]:
        """The suspects, worst first: index, given, suggested, score, why."""

    def to_frame(self) -> pd.DataFrame:
        """The suspects, worst first: columns index, given, suggested, score, why."""
        import pandas as pd

        return pd.DataFrame(list(self.suspects()), columns=list(COLUMNS))

    def to_csv(self, path: str | Path) -> None:
        """Write the suspects, worst first, to a CSV file that no spreadsheet runs as formulas. Raises OutputError."""
        write_csv(path, COLUMNS, self.suspects())


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AuditResult:
    """Suspected label errors among n examples of several classes.

    ``labels`` (n,) as given, -1 = unlabelled; ``is_issue`` (n,) bool; ``ranked`` indices of the issues, worst first;
    ``scores`` (n,) label quality, low = suspicious, 1 where unlabelled; ``suggested`` (n,) likeliest other class of an
    issue, else the given label; ``given_prob`` and ``suggested_prob`` (n,) their probabilities. ``thresholds``
    (classes,) are the confident thresholds; ``class_counts`` (classes,) the given labels of each class;
    ``confident_joint`` [given, true] the uncalibrated counts.
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
    class_counts: Ints
    confident_joint: Ints

    @property
    def joint(self) -> Floats:
        """Estimated distribution [given, true]; computed when asked for, 8 classes^2 bytes."""
        return cl.joint_distribution(cl.calibrate_by_counts(self.confident_joint, self.class_counts))

    @property
    def noise_matrix(self) -> Floats:
        """Estimated P(given | true) [given, true]; computed when asked for, 8 classes^2 bytes."""
        return cl.noise_matrix(cl.calibrate_by_counts(self.confident_joint, self.class_counts))

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
