"""What the critic found: of two labels, of many, of one, and of a whole collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.critic.verdicts import GOOD, invert
from labelwise.labels.corrections import Corrections

DecidedBy = Literal["agreement", "region", "upper edge", "judge"]


class Comparison(NamedTuple):
    """Which of two labels is better: ``verdict`` 1, 2 or 0.5 (equally good, or undecided).

    ``decided_by``: agreement of the two views, the region check, the upper edge, or the judge; ``overlap``: how far the
    views agree; ``answers``: the judge's verdicts in words (the second with the images swapped); ``reasons``: what it
    said before.
    """

    verdict: float
    decided_by: DecidedBy
    overlap: float
    answers: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def inverted(self) -> Comparison:
        """The same comparison with the two labels named the other way round; answers stay as they were given."""
        return self._replace(verdict=invert(self.verdict))


class Best(NamedTuple):
    """The best of several labels: its row ``label``, and the ``comparisons`` made, by (first, second) label.

    ``scores``: wins and half the ties of each label (round robin only).
    """

    label: int
    comparisons: Mapping[tuple[int, int], Comparison]
    scores: NDArray[np.float64] | None = None


class Quality(NamedTuple):
    """Whether a single label is good: ``verdict`` 1 (good), 0 (bad) or 0.5 (undecided), ``answer`` and ``reason``."""

    verdict: float
    decided_by: DecidedBy
    answer: str = ""
    reason: str = ""


class Decision(NamedTuple):
    """What became of one case: its name and row, the best label's index, why it is the best, and whether it is good."""

    name: str
    row: int
    label: int
    best: Best
    quality: Quality
    num_labels: int


@dataclass(frozen=True, slots=True)
class Curation:
    """Cases whose best label is ``accepted`` without a human, those for ``review``, and a ``report`` of counts."""

    accepted: list[Decision]
    review: list[Decision]
    report: Mapping[str, Any]

    @property
    def corrections(self) -> Corrections:
        """Targets (n, most labels of a case), 1 for the label chosen; weights 1 and mask True where it is accepted."""
        decisions = sorted([*self.accepted, *self.review], key=lambda each: each.row)
        width = max((each.num_labels for each in decisions), default=0)
        targets = np.zeros((len(decisions), width), dtype=np.float32)
        targets[np.arange(len(decisions)), [each.label for each in decisions]] = 1
        mask = np.array([each.quality.verdict == GOOD for each in decisions], dtype=bool)
        return Corrections(targets, mask.astype(np.float32), mask)
