"""The audit of a user's own probabilities, from files to files; needs no model."""

from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit import filters
from labelwise.audit.streaming import FileAudit, audit_file


def audit_files(
    pred_probs: Path, labels: Path | None = None, *, label: str | None = None, filter_by: str | None = None,
    out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Audit files of probabilities and labels; write ``suspects.csv`` and ``metrics.json`` to ``out`` where given.

    Returns JSON-able numbers, ``found`` among them: the findings in sentences. Raises InputError for bad files.
    Cost: one or two reads of the probabilities, in blocks.
    """
    filter_by = filter_by or filters.DEFAULT_FILTER
    found = audit_file(pred_probs, labels, filter_by=filter_by, labels_column=label or "label")
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
    summary["found"] = _sentences(summary, known, out)
    if out is not None:
        _write(out, found, summary)
    return summary


def _sentences(summary: dict[str, Any], known: int, out: Path | None) -> list[str]:
    sentences = [
        f"{summary['suspects']:,} of {known:,} labels are suspect (filter {summary['filter']}).",
        f"Confident learning counts {summary['rate_counting']:.1%} of the labels as wrong; "
        "it also counts the model's own confident errors, so take it as an upper figure.",
    ]
    if summary["unlabelled"]:
        sentences.append(f"{summary['unlabelled']:,} rows have no label and were left out.")
    return sentences if out is None else [*sentences, f"Worst first: {out / 'suspects.csv'}"]


def _write(out: Path, found: FileAudit, summary: dict[str, Any]) -> None:
    import json

    from labelwise.files import atomic_write, write_csv

    out.mkdir(parents=True, exist_ok=True)
    rows = found.ranked
    write_csv(
        out / "suspects.csv",
        ["index", "given", "suggested", "score", "why"],
        (
            [
                int(row),
                int(found.labels[row]),
                int(found.suggested[row]),
                round(float(found.scores[row]), 6),
                f"class {found.suggested[row]} has {found.suggested_prob[row]:.0%}, "
                f"the given {found.given_prob[row]:.0%}",
            ]
            for row in rows
        ),
    )
    with atomic_write(out / "metrics.json", text=True) as stream:
        stream.write(json.dumps(summary, indent=1) + "\n")
