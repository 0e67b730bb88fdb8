"""The files of a run beside the report, and the numbers of ``metrics.json``."""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise import __version__
from labelwise.certainty.calibration import softmax
from labelwise.data.examples import DuplicateGroup, Examples, Rejection
from labelwise.files import atomic_write, sha256_of, write_csv
from labelwise.job.learning import Task
from labelwise.job.options import Options
from labelwise.job.parts import Parts
from labelwise.job.steps import AuditStep, LearnStep
from labelwise.job.trust import TrustStep
from labelwise.labels.cells import set_cell

CORRECTED = "corrected-masks"  # the folder of masks with the doubted pixels changed


def mask_name(index: int) -> str:
    """The file of a mask, by its row in the source."""
    return f"{index:06d}.png"


def mask_version(file: Path) -> str:
    """What tells a suggested mask from that of another audit."""
    return f"-{sha256_of(file)[:16]}"


def write_rejected(path: Path, rejected: Sequence[Rejection]) -> None:
    """Every row or file that was not used, where it is and why, in the order of the source."""
    ordered = sorted(rejected, key=lambda each: each.index)
    write_csv(path, ["index", "location", "reason"], ([each.index, each.location, each.reason] for each in ordered))


def write_suspects(path: Path, examples: Examples, suspects: Iterable[tuple[int, Any, Any, float, str]]) -> None:
    """``suspects.csv``: row among the examples, given, suggested, score and why of each, worst first."""
    write_csv(
        path,
        ["index", "location", "given", "suggested", "score", "why"],
        (
            [int(examples.index[row]), examples.location(row), given, suggested, round(score, 6), reason]
            for row, given, suggested, score, reason in suspects
        ),
    )


def write_layer(path: Path, examples: Examples, rows: Iterable[tuple[Any, Any, Any, int]]) -> None:
    """``labels.csv``: given and corrected cell of every row, how many labels were changed, and who changed them last.

    ``rows`` are, in order: the given cell, the one that people left or decided, the corrected one, and the count.
    """
    write_csv(
        path,
        ["index", "given", "corrected", "changed", "by"],
        (
            [int(index), given, corrected, changed, _changed_by(given, decided, corrected)]
            for index, (given, decided, corrected, changed) in zip(examples.index, rows, strict=True)
        ),
    )


def write_audit(folder: Path, examples: Examples, step: AuditStep) -> None:
    """``suspects.csv``, worst first, and ``labels.csv``: given label and corrected layer of every row."""
    found, names = step.audit, examples.classes
    write_suspects(
        folder / "suspects.csv",
        examples,
        (
            (
                int(step.rows[place]),
                names[found.labels[place]],
                names[found.suggested[place]],
                float(found.scores[place]),
                why(step, int(place), names),
            )
            for place in found.ranked
        ),
    )
    layers = zip(examples.as_given, examples.given, corrected_labels(examples, step), strict=True)
    cell = functools.partial(_name, examples)
    rows = ((cell(given), cell(decided), cell(new), int(given != new)) for given, decided, new in layers)
    write_layer(folder / "labels.csv", examples, rows)


def _changed_by(given: Any, decided: Any, corrected: Any) -> str:
    if corrected != decided:
        return "audit"
    return "people" if decided != given else ""


def corrected_labels(examples: Examples, step: AuditStep) -> np.ndarray:
    """The corrected layer over all rows (n,): the suggestion where a label is suspect, else the given label."""
    corrected = examples.given.copy()
    issues = step.audit.is_issue
    corrected[step.rows[issues]] = step.audit.suggested[issues]
    return corrected


def why(step: AuditStep, place: int, classes: Sequence[str]) -> str:
    """One sentence on why a label is doubted."""
    probs = step.pred_probs[place]
    given, suggested = step.audit.labels[place], step.audit.suggested[place]
    return (
        f"a model that never saw this row gives {_short(classes[suggested])} {probs[suggested]:.0%} "
        f"and the given {_short(classes[given])} {probs[given]:.0%}"
    )


def write_predictions(
    folder: Path, examples: Examples, parts: Parts, learnt: LearnStep, trusted: TrustStep | None
) -> None:
    """``predictions.csv``: for every row its part, the robust model's label, probability and prediction set."""
    probs = softmax(learnt.robust.logits) if trusted is None else trusted.probs
    sets = None if trusted is None else trusted.sets
    part = parts.names(len(examples))

    def rows() -> Iterator[list[Any]]:
        for row, best in enumerate(probs.argmax(axis=1)):
            members = "" if sets is None else set_cell(examples.classes[k] for k in np.flatnonzero(sets[row]))
            yield [
                int(examples.index[row]),
                part[row],
                _name(examples, examples.given[row]),
                examples.classes[best],
                round(float(probs[row, best]), 6),
                members,
            ]

    header = ["index", "part", "given", "predicted", "probability", "prediction_set"]
    write_csv(folder / "predictions.csv", header, rows())


def metrics(
    options: Options,
    examples: Examples,
    task: Task,
    parts: Parts,
    groups: Sequence[DuplicateGroup],
    audited: AuditStep | None,
    learnt: LearnStep | None,
    trusted: TrustStep | None,
) -> dict[str, Any]:
    """All numbers of a run. What was measured on given, possibly wrong, labels says so in its name."""
    values = data_metrics(options, examples, parts, groups)
    for part in (
        _audit_metrics(examples, audited),
        _learn_metrics(task, parts, learnt),
        _trust_metrics(task, parts, trusted),
    ):
        values |= part
    return values


def data_metrics(
    options: Options, examples: Examples, parts: Parts, groups: Sequence[DuplicateGroup]
) -> dict[str, Any]:
    """The numbers of ``metrics.json`` that every task has."""
    return {
        "data": examples.name,
        "task": examples.task,
        "rows": len(examples),
        "classes": examples.num_classes,
        "unlabelled": int((~examples.is_labelled).sum()),
        "rejected": len(examples.rejected),
        "duplicate_groups": len(groups),
        "conflicting_duplicates": sum(group.conflicting for group in groups),
        "rows_audited": len(parts.audited),
        "rows_trained": len(parts.train),
        "rows_tested": len(parts.test),
        "recipe": options.recipe,
        "seed": options.seed,
        "settings": options.settings(),
        "version": __version__,
    }


def _audit_metrics(examples: Examples, step: AuditStep | None) -> dict[str, Any]:
    if step is None:
        return {"noise_rate_estimated": None, "noise_rate_interval": None}
    estimate = step.audit.noise_rate
    values = {
        "noise_rate_estimated": estimate.rate,
        "noise_rate_interval": [estimate.low, estimate.high],
        "suspects": int(step.audit.is_issue.sum()),
        "audit_model": step.model_name,
    }
    if examples.truth is None:
        return values
    truth, given = examples.truth[step.rows], step.audit.labels
    corrected = corrected_labels(examples, step)[step.rows]
    known = truth >= 0
    wrong, right = known & (given != truth), known & (given == truth)
    return values | {
        "noise_rate_true": share(wrong[known]),
        "corrected_share": share((corrected == truth)[wrong]),
        "wrongly_changed_share": share((corrected != truth)[right]),
    }


def _learn_metrics(task: Task, parts: Parts, step: LearnStep | None) -> dict[str, Any]:
    names = ("accuracy_baseline", "accuracy_early_stopped", "accuracy_robust")
    if step is None:
        return dict.fromkeys(names)
    logits = (step.baseline.logits, step.baseline.best_logits, step.robust.logits)
    on_given = {
        f"{name}_on_noisy_labels": share((each.argmax(axis=1) == task.labels)[rows])
        for rows in [parts.test[task.labels[parts.test] >= 0]]
        for name, each in zip(names, logits, strict=True)
    }
    chosen = {"robust_options": step.robust.options, "epochs": len(step.baseline.history)}
    if task.truth is None:
        return dict.fromkeys(names) | on_given | chosen
    known = parts.test[task.truth[parts.test] >= 0]
    on_truth = {
        name: share((each.argmax(axis=1) == task.truth)[known]) for name, each in zip(names, logits, strict=True)
    }
    wrong = parts.train[(task.truth[parts.train] >= 0) & (task.labels != task.truth)[parts.train]]
    memorised = {
        f"memorised_share_{name}": share((each.argmax(axis=1) == task.labels)[wrong])
        for name, each in (("baseline", step.baseline.logits), ("robust", step.robust.logits))
    }
    return on_truth | memorised | chosen


def _trust_metrics(task: Task, parts: Parts, step: TrustStep | None) -> dict[str, Any]:
    if step is None:
        return {"coverage_promised": None, "set_size_mean": None}
    test_sets = step.sets[parts.test]
    values = {
        "temperature": step.temperature,
        "coverage_promised": 1 - step.alpha,
        "set_size_mean": float(test_sets.sum(axis=1).mean()),
        "coverage_on_noisy_labels": step.coverage_given if (task.labels[parts.test] >= 0).any() else None,
        "set_size_mean_uncorrected": float(step.plain_sets[parts.test].sum(axis=1).mean()),
    }
    if task.truth is None:
        return values
    known = parts.test[task.truth[parts.test] >= 0]
    return values | {
        "coverage": step.coverage_true,
        "coverage_uncorrected": share(step.plain_sets[known, task.truth[known]]),
        "ece_before": step.ece_before,
        "ece_after": step.ece_after,
    }


def write_metrics(folder: Path, values: dict[str, Any]) -> None:
    """``metrics.json``; a share over no rows is null."""
    with atomic_write(folder / "metrics.json", text=True) as stream:
        stream.write(json.dumps(values, indent=1, default=_plain) + "\n")


def share(hits: np.ndarray) -> float | None:
    """Share of true entries; None where there are none to count."""
    return float(np.mean(hits)) if np.size(hits) else None


def _name(examples: Examples, label: int) -> str:
    return "" if label < 0 else examples.classes[label]


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
