"""The audit of a user's own predictions, from files to files; needs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwise.audit import filters
from labelwise.audit.blocks import map_npy, open_pred_probs, read_rows
from labelwise.audit.noise_rate import MOST_CLASSES, MOST_ROWS, counting_interval, estimate_noise
from labelwise.audit.result import COLUMNS
from labelwise.audit.scores import check_choice
from labelwise.audit.streaming import FileAudit, audit_file
from labelwise.errors import InputError


class _Files(NamedTuple):
    """What the user named."""

    pred_probs: Path
    labels: Path | None
    label: str | None
    filter_by: str | None
    spread: Path | None

    def arrays(self) -> tuple[Any, Any]:
        """Labels and predictions as mapped .npy files, for the tasks that take no other files."""
        if self.labels is None:
            raise InputError("this audit needs the labels in a file of their own: give --labels FILE.npy.")
        if self.label is not None:
            raise InputError("--label names a column of a table, which this audit does not read: leave it out.")
        return map_npy(self.labels), map_npy(self.pred_probs)

    def refuse(self, **options: object) -> None:
        """Raise InputError for an option that was given and has no effect."""
        for name, value in options.items():
            if value is not None:
                raise InputError(f"--{name} has no effect on this audit: leave it out.")


class _Found(NamedTuple):
    """``suspects`` rows of COLUMNS, worst first; ``summary`` JSON-able; ``sentences`` the findings; other files."""

    suspects: Iterable[tuple[object, ...]]
    summary: dict[str, Any]
    sentences: list[str]
    write_more: Callable[[Path], None] = lambda _: None


def audit_files(
    pred_probs: Path, labels: Path | None = None, *, task: str = "classification", label: str | None = None,
    filter_by: str | None = None, spread: Path | None = None, out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Audit files of predictions and labels; write ``suspects.csv`` and ``metrics.json`` to ``out`` where given.

    task: 'classification', 'multilabel', 'segmentation' (also writes ``suggestions.npy``: a likelier class where a
    pixel is doubted, else 255) or 'regression', whose predictions are numbers, with ``spread`` as in
    `audit_regression`. Returns JSON-able numbers, ``found`` among them: the findings in sentences. Raises InputError
    for bad files. Cost: a few reads of the predictions, in blocks.
    """
    check_choice(task, tuple(TASKS), "task")
    files = _Files(pred_probs, labels, label, filter_by, spread)
    if task != "regression":
        files.refuse(spread=spread)
    found = TASKS[task](files)
    sentences = found.sentences if out is None else [*found.sentences, f"Worst first: {out / 'suspects.csv'}"]
    summary = found.summary | {"found": sentences}
    if out is not None:
        _write(out, found, summary)
    return summary


def _classification(files: _Files) -> _Found:
    filter_by = files.filter_by or filters.DEFAULT_FILTER
    found = audit_file(files.pred_probs, files.labels, filter_by=filter_by, labels_column=files.label or "label")
    known = int((found.labels >= 0).sum())
    off_diagonal = int(found.confident_joint.sum() - np.trace(found.confident_joint))
    summary: dict[str, Any] = {
        "rows": len(found.labels),
        "unlabelled": len(found.labels) - known,
        "classes": found.num_classes,
        "filter": filter_by,
        "suspects": int(found.is_issue.sum()),
        "confident_disagreements": off_diagonal,
        "rate_counting": float(1.0 - np.trace(found.joint)),
        "rows_read_again": found.rows_read_again,
    }
    rate, low, high, notes = _noise_rate(files.pred_probs, found, known, summary["rate_counting"])
    summary |= {"noise_rate_estimated": rate, "noise_rate_interval": [low, high]}
    sentences = [
        " ".join([f"About {rate:.0%} of the labels look wrong ({low:.0%} to {high:.0%}).", *notes]),
        f"{summary['suspects']:,} of {known:,} labels are suspect (filter {filter_by}).",
        f"Confident learning counts {summary['rate_counting']:.1%} of the labels as wrong; "
        "it also counts the model's own confident errors, so take it as an upper figure.",
    ]
    if summary["unlabelled"]:
        sentences.append(f"{summary['unlabelled']:,} rows have no label and were left out.")
    return _Found(_suspects(found), summary, sentences)


def _noise_rate(
    pred_probs: Path, found: FileAudit, known: int, rate_counting: float
) -> tuple[float, float, float, list[str]]:
    """Share of wrong labels, ends of its interval, notes: fitted on rows drawn at random, counted of many classes."""
    if found.num_classes > MOST_CLASSES:
        low, high, note = counting_interval(rate_counting, known, found.num_classes)
        return rate_counting, low, high, [note]
    rows = np.flatnonzero(found.labels >= 0)
    notes = []
    if known > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
        notes = [f"The noise model was fitted on {MOST_ROWS:,} rows drawn at random."]
    estimate = estimate_noise(found.labels[rows], read_rows(open_pred_probs(pred_probs), rows))
    return float(estimate.rate), float(estimate.low), float(estimate.high), notes + list(estimate.notes)


def _suspects(found: FileAudit) -> Iterator[tuple[object, ...]]:
    for row in found.ranked:
        given, suggested = int(found.labels[row]), int(found.suggested[row])
        why = f"class {suggested} has {found.suggested_prob[row]:.0%}, the given {found.given_prob[row]:.0%}"
        yield int(row), given, suggested, round(float(found.scores[row]), 6), why


def _multilabel(files: _Files) -> _Found:
    from labelwise.audit.multilabel import audit_multilabel

    filter_by = files.filter_by or filters.DEFAULT_FILTER
    found = audit_multilabel(*files.arrays(), filter_by=filter_by)
    known, missing, wrong = int(found.label_counts.sum()), len(found.missing.row), len(found.wrong.row)
    summary = {
        "rows": found.num_rows,
        "classes": found.num_classes,
        "known": known,
        "unknown": found.num_rows * found.num_classes - known,
        "filter": filter_by,
        "suspects": missing + wrong,
        "missing": missing,
        "wrong": wrong,
        "probably_present": len(found.probably_present.row),
    }
    sentences = [
        f"{missing + wrong:,} of {known:,} labels are suspect (filter {filter_by}): {missing:,} given as absent look "
        f"present, {wrong:,} given as present look absent.",
    ]
    if summary["unknown"]:
        sentences.append(
            f"{summary['unknown']:,} labels are unknown; the model is confident that {summary['probably_present']:,} "
            "of them are present."
        )
    return _Found(found.suspects(), summary, sentences)


def _segmentation(files: _Files) -> _Found:
    from labelwise.audit.segmentation import audit_segmentation

    files.refuse(filter=files.filter_by)
    found = audit_segmentation(*files.arrays())
    issues, labelled = int(found.num_issues.sum()), int(found.num_labelled.sum())
    common = found.common_issues().head(20)[["given", "suggested", "pixels"]].values.tolist()
    summary = {
        "images": len(found.scores),
        "classes": found.num_classes,
        "labelled_pixels": labelled,
        "unlabelled_pixels": int(found.shapes.prod(axis=1).sum()) - labelled,
        "suspects": len(found.ranked),
        "issue_pixels": issues,
        "issue_share": found.issue_share,
        "common_issues": common,
    }
    sentences = [
        f"{issues:,} of {labelled:,} labelled pixels are suspect ({found.issue_share:.2%}), in {len(found.ranked):,} "
        f"of {len(found.scores):,} images.",
        *(
            f"Class {given} where the model sees {suggested}: {pixels:,} pixels."
            for given, suggested, pixels in common[:3]
        ),
    ]

    def write_more(out: Path) -> None:
        num_images = len(found.shapes)
        write_npy(
            out / "suggestions.npy",
            (num_images, *found.shapes[0].tolist()),
            np.dtype(np.uint8),
            (found.suggestion(image) for image in range(num_images)),
        )

    return _Found(found.suspects(), summary, sentences, write_more)


def _regression(files: _Files) -> _Found:
    from labelwise.audit.regression import audit_regression

    files.refuse(filter=files.filter_by)
    spread = None if files.spread is None else map_npy(files.spread)
    found = audit_regression(*files.arrays(), spread=spread)
    known, noise = len(found.scores) - found.num_unknown, found.noise
    has_threshold = bool(np.isfinite(found.threshold))
    summary = {
        "rows": len(found.scores),
        "unknown": found.num_unknown,
        "score": found.method,
        "suspects": len(found.ranked),
        "threshold": found.threshold if has_threshold else None,
        "typical_difference": found.typical,
        "noise_rate_estimated": noise.rate,
        "noise_rate_interval": [noise.low, noise.high],
        "notes": list(noise.notes),
    }
    sentences = [
        f"{len(found.ranked):,} of {known:,} targets are suspect"
        + (f": they differ from the prediction by {found.threshold:.4g} or more, " if has_threshold else "; ")
        + f"half of all by {found.typical:.4g} or less.",
        f"Estimated share of wrong targets: {noise.rate:.1%} ({noise.low:.1%} to {noise.high:.1%}).",
        *noise.notes,
    ]
    if found.num_unknown:
        sentences.append(f"{found.num_unknown:,} rows have no target and were left out.")
    return _Found(found.suspects(), summary, sentences)


TASKS: dict[str, Callable[[_Files], _Found]] = {
    "classification": _classification,
    "multilabel": _multilabel,
    "segmentation": _segmentation,
    "regression": _regression,
}


def _write(out: Path, found: _Found, summary: dict[str, Any]) -> None:
    import json

    from labelwise.files import atomic_write, write_csv

    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "suspects.csv", COLUMNS, found.suspects)
    found.write_more(out)
    with atomic_write(out / "metrics.json", text=True) as stream:
        stream.write(json.dumps(summary, indent=1) + "\n")


def write_npy(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[Any]) -> None:
    """Write an array to a .npy file from its parts along the first axis, one at a time. Raises OutputError."""
    from labelwise.files import atomic_write

    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    with atomic_write(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
