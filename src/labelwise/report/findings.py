"""What a run found: plain frozen records, one a step, that the report only has to show.

Every step can be skipped, so every section of `Findings` can be None. Shares, rates and accuracies are
floats from 0 to 1. A value that needs true labels is None where the truth is not known; a value that was
measured on given labels says so in its name or in `measured_on`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MeasuredOn = Literal["true labels", "given (noisy) labels"]
Role = Literal["baseline", "robust", "other"]


@dataclass(frozen=True)
class RejectedRow:
    """One row, file or cell that was left out: where it is and why."""

    location: str
    reason: str


@dataclass(frozen=True)
class CheckFindings:
    """What was read. `classes` pairs each name with its count of given labels, of what `counted`; `rejected` may be a
    first part of all that were rejected, `rejected_count` counts all of them (None: as many as are listed). `facts`
    are further numbers, each with what it counts.
    """

    rows: int
    classes: tuple[tuple[str, int], ...]
    unlabelled: int = 0
    duplicate_groups: int = 0
    conflicting_duplicates: int = 0
    rejected: tuple[RejectedRow, ...] = ()
    rejected_count: int | None = None
    counted: str = "labels"
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def rejected_total(self) -> int:
        """How many rows were rejected, listed here or not."""
        return len(self.rejected) if self.rejected_count is None else self.rejected_count


@dataclass(frozen=True, eq=False)
class SuspectCard:
    """One suspect label. Shows `picture` (uint8, (height, width) or (height, width, 1, 3 or 4)), else `row`
    (column name to cell, in order), else `text`. `score` is the label's quality, 0 (worst) to 1.
    """

    index: int
    location: str
    given: str
    suggested: str
    score: float
    why: str
    picture: NDArray[np.uint8] | None = None
    row: Mapping[str, str] | None = None
    text: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Table:
    """Numbers in rows, the first cell of each is its name."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Scatter:
    """Points (x, y) of what was given against what was predicted; `marked` are under suspicion."""

    title: str
    x_name: str
    y_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    marked: tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class AuditFindings:
    """What is wrong with the labels. `noise_matrix` is (classes, classes), entry [given, true], columns sum to 1.

    `noise_rate` is None where the task has no share of wrong labels to estimate; `noise_rate_low` and
    `noise_rate_high` are the ends of its interval, nan where there is none. `found_share` is the share of the wrong
    labels that are under suspicion. `unit` is what a label is called, one and many, `card_unit` what one of the
    `suspects` is, of which there are `card_count` in all (None: a label each). `breakdown` and `scatter` show more of
    how labels go wrong.
    """

    suspect_count: int
    labels_audited: int
    class_names: tuple[str, ...]
    filter_name: str
    noise_rate: float | None = None
    noise_rate_low: float = math.nan
    noise_rate_high: float = math.nan
    unit: tuple[str, str] = ("label", "labels")
    card_unit: tuple[str, str] | None = None
    card_count: int | None = None
    found_share: float | None = None
    breakdown: Table | None = None
    scatter: Scatter | None = None
    noise_matrix: NDArray[np.floating] | None = None
    suspects: tuple[SuspectCard, ...] = ()
    noise_rate_true: float | None = None
    corrected_share: float | None = None
    wrongly_changed_share: float | None = None


@dataclass(frozen=True)
class TrainingRun:
    """One training run, a value an epoch, first epoch first; nan where an epoch was not measured.

    `accuracy_given` is on given (noisy) validation labels, `accuracy_true` on true ones; `memorised` is the
    share of wrongly labelled training examples whose wrong label the model predicts.
    """

    name: str
    role: Role
    train_loss: tuple[float, ...] = ()
    accuracy_given: tuple[float, ...] = ()
    accuracy_true: tuple[float, ...] | None = None
    memorised: tuple[float, ...] | None = None


@dataclass(frozen=True)
class LearnFindings:
    """What was learnt: cross-entropy to its last epoch, the same stopped early, and the robust recipe.

    The three scores, by the `metric`, were measured on `measured_on`, over `measured_rows` rows (None: not told).
    `early_stopped_epoch` counts from 1. `chosen_how` says in a sentence how `options` were chosen.
    """

    measured_on: MeasuredOn
    accuracy_baseline: float
    accuracy_robust: float
    accuracy_early_stopped: float | None = None
    early_stopped_epoch: int | None = None
    baseline_name: str = "cross-entropy"
    robust_name: str = "robust recipe"
    measured_rows: int | None = None
    runs: tuple[TrainingRun, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    chosen_how: str = ""
    metric: str = "accuracy"


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions binned by confidence: each bin's mean confidence, accuracy and count; empty bins count 0."""

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


@dataclass(frozen=True)
class PredictionSets:
    """Conformal sets of one kind. `size_counts[s]` is how many sets hold s `members`, from s = 0 on.

    `coverage_true` is the share of sets that hold the true label, `coverage_given` the given one. `used` marks
    the kind that the saved model gives.
    """

    name: str
    size_counts: tuple[int, ...]
    coverage_true: float | None = None
    coverage_given: float | None = None
    used: bool = False
    members: str = "classes"

    @property
    def mean_size(self) -> float:
        """Mean classes per set, 0 without sets."""
        total = sum(self.size_counts)
        return sum(size * count for size, count in enumerate(self.size_counts)) / total if total else 0.0


@dataclass(frozen=True)
class Intervals:
    """Prediction intervals: the share of measured rows whose number they hold, and their mean width."""

    coverage: float
    mean_width: float


@dataclass(frozen=True)
class TrustFindings:
    """How far the model can be trusted: temperature scaling and prediction sets, or intervals for numbers.

    Bins and calibration errors were measured on `measured_on`; `alpha` is the share of misses allowed.
    `temperature` is None where nothing was scaled.
    """

    temperature: float | None
    alpha: float
    coverage_promised: float
    measured_on: MeasuredOn
    measured_rows: int | None = None
    bins_before: ReliabilityBins | None = None
    bins_after: ReliabilityBins | None = None
    ece_before: float = math.nan
    ece_after: float = math.nan
    sets: tuple[PredictionSets, ...] = ()
    intervals: Intervals | None = None
    assumptions: tuple[str, ...] = ()

    @property
    def sets_used(self) -> PredictionSets | None:
        """The sets that the saved model gives: the first marked `used`, else the last."""
        return next((each for each in self.sets if each.used), self.sets[-1] if self.sets else None)


@dataclass(frozen=True)
class ReviewFindings:
    """What people decided on labels before this run, and what changed by it.

    Of `decided` labels `changed` got another one, `excluded` count as unlabelled, `left` stay as given because people
    could not tell or disagree. `agreement` is the share of pairs of reviewers that agree, None where no two looked at
    the same label. `compared` has the numbers of the run before and of this one; `notes` say what they can tell.
    """

    reviewers: int
    decided: int
    changed: int
    excluded: int
    left: int
    agreement: float | None = None
    compared: Table | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """Everything the report shows. `kind` is what a row is (`pictures`, `table`, `texts`, `nodes`); `files`
    names each file beside the report and what is in it; `notes` are whole sentences.
    """

    title: str
    kind: str
    when: str
    seconds: float
    seed: int
    version: str
    command: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    check: CheckFindings | None = None
    audit: AuditFindings | None = None
    learn: LearnFindings | None = None
    trust: TrustFindings | None = None
    review: ReviewFindings | None = None

    @property
    def truth_known(self) -> bool:
        """Whether any number of the report was scored against true labels."""
        audit_scored = self.audit is not None and self.audit.noise_rate_true is not None
        return audit_scored or "true labels" in {
            part.measured_on for part in (self.learn, self.trust) if part is not None
        }

    @property
    def skipped(self) -> tuple[str, ...]:
        """The steps that have nothing to show."""
        return tuple(step for step in ("check", "audit", "learn", "trust") if getattr(self, step) is None)
