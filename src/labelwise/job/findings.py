"""Puts what the steps found into the records that the report shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelwise import __version__
from labelwise.certainty.calibration import reliability_bins, softmax
from labelwise.data.examples import DuplicateGroup, Examples
from labelwise.job.learning import Task, Trained, Trainer
from labelwise.job.looks import look
from labelwise.job.options import Options
from labelwise.job.outputs import why
from labelwise.job.parts import Parts
from labelwise.job.steps import AuditStep, LearnStep
from labelwise.job.trust import TrustStep
from labelwise.report.findings import (
    AuditFindings,
    CheckFindings,
    Findings,
    LearnFindings,
    MeasuredOn,
    PredictionSets,
    RejectedRow,
    ReliabilityBins,
    SuspectCard,
    TrainingRun,
    TrustFindings,
)

FILES = {
    "suspects.csv": "every suspect label, worst first",
    "review.arrow": "what there is to look at and decide on; open it with: labelwise review",
    "labels.csv": "given label and corrected label of every row",
    "predictions.csv": "the robust model's label, probability and prediction set of every row; what sets promise "
    "holds for the parts that it did not learn from",
    "rejected.csv": "rows and files that could not be used, and why",
    "metrics.json": "all numbers of this report",
    "model/": "the robust model; use it with: labelwise predict",
}
SHOWN_REJECTIONS = 100
INTERVAL = (
    "The interval of the share of wrong labels reaches from one way of estimating it to another, widened by the "
    "sampling error. It is no confidence interval, and it lies too low where hard rows are mislabelled more often "
    "than easy ones or wrong labels follow from the input: labels and probabilities cannot show that."
)


def make_findings(
    options: Options,
    examples: Examples,
    task: Task,
    parts: Parts,
    groups: Sequence[DuplicateGroup],
    audited: AuditStep | None,
    learnt: LearnStep | None,
    trusted: TrustStep | None,
    metrics: dict[str, Any],
    notes: Sequence[str],
    trainer: Trainer,
) -> Findings:
    """Return everything that the report shows of a run, but when it was and how long it took."""
    return Findings(
        title=examples.name,
        kind={"images": "pictures"}.get(examples.kind, examples.kind),
        when="",
        seconds=0.0,
        seed=options.seed,
        version=__version__,
        command=options.command(),
        notes=(*examples.notes, *notes, *_caveats(options, audited, trusted)),
        files={name: text for name, text in FILES.items() if _is_written(name, audited, learnt)},
        check=check_findings(examples, groups, class_counts(examples)),
        audit=None if audited is None else _audit(options, examples, audited, metrics),
        learn=None if learnt is None else _learn(task, parts, learnt, metrics, trainer),
        trust=None if trusted is None else _trust(task, parts, trusted),
    )


def _caveats(options: Options, audited: AuditStep | None, trusted: TrustStep | None) -> tuple[str, ...]:
    """What the figures cannot promise; what prediction sets assume stands beside them."""
    of_noise = () if audited is None else (INTERVAL, *audited.audit.noise_rate.notes)
    if trusted is None or np.isfinite(trusted.conformal.threshold(options.alpha)):
        return of_noise
    return (*of_noise, trusted.conformal.notes(options.alpha)[-1])  # why sets hold all classes


def _is_written(name: str, audited: AuditStep | None, learnt: LearnStep | None) -> bool:
    if name in ("suspects.csv", "labels.csv", "review.arrow"):
        return audited is not None
    return learnt is not None if name in ("predictions.csv", "model/") else True


def class_counts(examples: Examples) -> list[tuple[str, int]]:
    """How many labels each class is given."""
    counts = np.bincount(examples.given[examples.given >= 0], minlength=examples.num_classes)
    return list(zip(examples.classes, counts.tolist(), strict=True))


def check_findings(
    examples: Examples, groups: Sequence[DuplicateGroup], counts: Sequence[tuple[str, int]], **more: Any
) -> CheckFindings:
    """What was read; ``counts`` are the given labels of each class, ``more`` goes to the record."""
    return CheckFindings(
        rows=len(examples),
        classes=tuple(counts),
        unlabelled=int((~examples.is_labelled).sum()),
        duplicate_groups=len(groups),
        conflicting_duplicates=sum(group.conflicting for group in groups),
        rejected=tuple(RejectedRow(each.location, each.reason) for each in examples.rejected[:SHOWN_REJECTIONS]),
        rejected_count=len(examples.rejected),
        **more,
    )


def _audit(options: Options, examples: Examples, step: AuditStep, metrics: dict[str, Any]) -> AuditFindings:
    found = step.audit
    return AuditFindings(
        noise_rate=found.noise_rate.rate,
        noise_rate_low=found.noise_rate.low,
        noise_rate_high=found.noise_rate.high,
        suspect_count=int(found.is_issue.sum()),
        labels_audited=len(step.rows),
        class_names=tuple(examples.classes),
        filter_name=step.filter_by,
        noise_matrix=found.noise_rate.matrix,
        suspects=tuple(_card(examples, step, int(place)) for place in found.ranked[: options.gallery]),
        noise_rate_true=metrics.get("noise_rate_true"),
        corrected_share=metrics.get("corrected_share"),
        wrongly_changed_share=metrics.get("wrongly_changed_share"),
    )


def _card(examples: Examples, step: AuditStep, place: int) -> SuspectCard:
    row = int(step.rows[place])
    truth = None if examples.truth is None or examples.truth[row] < 0 else examples.classes[examples.truth[row]]
    return SuspectCard(
        index=int(examples.index[row]),
        location=examples.location(row),
        given=examples.classes[step.audit.labels[place]],
        suggested=examples.classes[step.audit.suggested[place]],
        score=float(step.audit.scores[place]),
        why=why(step, place, examples.classes),
        truth=truth,
        **look(examples, row),
    )


def _learn(task: Task, parts: Parts, step: LearnStep, metrics: dict[str, Any], trainer: Trainer) -> LearnFindings:
    measured_on: MeasuredOn = "given (noisy) labels" if task.truth is None else "true labels"
    suffix = "_on_noisy_labels" if task.truth is None else ""
    return LearnFindings(
        measured_on=measured_on,
        accuracy_baseline=metrics[f"accuracy_baseline{suffix}"],
        accuracy_robust=metrics[f"accuracy_robust{suffix}"],
        accuracy_early_stopped=metrics[f"accuracy_early_stopped{suffix}"],
        early_stopped_epoch=step.baseline.best_epoch + 1,
        robust_name=trainer.options.recipe,
        measured_rows=len(parts.test),
        runs=(_curve(step.baseline, "baseline"), _curve(step.robust, "robust")),
        options={
            **{key.rstrip("_"): f"{value:g}" for key, value in step.robust.options.items()},
            "epochs": str(trainer.epochs),
            "network": step.robust.model.network_,
        },
        chosen_how=(
            "Of the candidates the one was kept whose last epoch agrees best with the given labels of rows it was not "
            "trained on. Wrong labels do not decide as long as no candidate guesses them better than another."
        ),
    )


def _curve(trained: Trained, role: Any) -> TrainingRun:
    def column(name: str) -> tuple[float, ...] | None:
        return tuple(row[name] for row in trained.history) if name in trained.history[0] else None

    return TrainingRun(
        name=trained.name,
        role=role,
        train_loss=column("loss") or (),
        accuracy_given=column("validation_score") or (),
        accuracy_true=column("accuracy_true"),
        memorised=column("memorised"),
    )


def _trust(task: Task, parts: Parts, step: TrustStep) -> TrustFindings:
    reference = task.labels if task.truth is None else task.truth
    known = parts.test[reference[parts.test] >= 0]
    before, after = softmax(step.logits[known]), step.probs[known]
    return TrustFindings(
        temperature=step.temperature,
        alpha=step.alpha,
        coverage_promised=1 - step.alpha,
        measured_on="given (noisy) labels" if task.truth is None else "true labels",
        measured_rows=len(known),
        bins_before=bins_of(before, reference[known]),
        bins_after=bins_of(after, reference[known]),
        ece_before=step.ece_before,
        ece_after=step.ece_after,
        sets=(
            _sets("uncorrected", step.plain_sets, task, parts, used=False),
            _sets("corrected for wrong calibration labels", step.sets, task, parts, used=True),
        ),
        assumptions=step.assumptions,
    )


def bins_of(probs: np.ndarray, labels: np.ndarray) -> ReliabilityBins:
    """Confidence against accuracy of rows (n, classes) with labels (n,), as the report draws it."""
    bins = reliability_bins(probs, labels)
    return ReliabilityBins(*(tuple(getattr(bins, name).tolist()) for name in ("confidence", "accuracy", "counts")))


def _sets(name: str, sets: np.ndarray, task: Task, parts: Parts, *, used: bool) -> PredictionSets:
    rows = parts.test
    counts = np.bincount(sets[rows].sum(axis=1), minlength=task.num_classes + 1)

    def coverage(labels: np.ndarray | None) -> float | None:
        if labels is None or not (labels[rows] >= 0).any():
            return None
        known = rows[labels[rows] >= 0]
        return float(sets[known, labels[known]].mean())

    return PredictionSets(name, tuple(counts.tolist()), coverage(task.truth), coverage(task.labels), used)
