"""Labels that people decided on: laid over the given ones before a run, and what the run gained by it."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwise.data.examples import Examples, fingerprints, has_label
from labelwise.data.pictures import read_pixels
from labelwise.errors import InputError
from labelwise.files import neutralise, printable, quote
from labelwise.job.outputs import CORRECTED, mask_name, mask_version, share
from labelwise.job.parts import Parts
from labelwise.labels.masks import IGNORE
from labelwise.report.findings import ReviewFindings, Table
from labelwise.report.words import percent, score
from labelwise.review.consensus import EXCLUDED, OPEN, Outcome, combine
from labelwise.review.decisions import FILE, Decision, DecisionStore

PRESENT, ABSENT = "present", "absent"

SAID = {
    "both": "{count:,} rows count as unlabelled because people found that both labels fit, which one class cannot say.",
    "elsewhere": "{count:,} decisions are about rows that this run does not have, or has several of.",
    "since": "{count:,} decisions were left out: the given label, or the mask suggested, is another one by now.",
}
OTHERWISE = "The run before had other settings ({names}), so numbers do not compare."
OTHER_ROWS = "The run before had other rows, so numbers do not compare."
SAME_ROWS = "Accuracies of both runs are on the same test rows, against the labels as people left or decided them."
OWN_LABELS = "No true labels are known and each run has labels of its own, so scores do not compare."

ROBUST = "accuracy_robust_on_noisy_labels"
# Numbers of a run that may be set beside those of another: name, key, how it is written.
COMPARED = (
    ("labels that look wrong", "noise_rate_estimated", percent),
    ("labels that are wrong", "noise_rate_true", percent),
    ("labels under suspicion", "suspects", "{:,}".format),
    ("accuracy, cross-entropy", "accuracy_baseline", percent),
    ("accuracy, robust recipe", "accuracy_robust", percent),
    ("accuracy, robust recipe", ROBUST, percent),
    ("score, baseline", "score_baseline", score),
    ("score, robust recipe", "score_robust", score),
)


@dataclass(frozen=True)
class Reviewed:
    """What was laid over the given labels. ``folder`` is that of the reviewed run, ``before`` the numbers of it."""

    folder: Path
    findings: ReviewFindings
    before: Mapping[str, Any]


class Form(NamedTuple):
    """How a task holds labels.

    ``unknown`` stands for none; ``cell`` shows the given one at a place, or is None where labels have no cell;
    ``label`` is what a cell stands for, given the row in the source and the folder of the reviewed run.
    """

    unknown: Any
    cell: Callable[[Examples, Any], str | None]
    label: Callable[[Examples, str, int, Path], Any]


def apply_decisions(examples: Examples, folder: Path) -> tuple[Examples, Reviewed]:
    """The examples with the labels that people decided on in the reviewed run ``folder``, and what those were.

    Labels that were reviewed in several rounds get the decisions of all, the earliest first. Raises InputError where
    nothing was decided, or nothing of it is about these data.
    """
    *earlier, last = rounds(folder)
    for each in earlier:
        examples, _ = _apply_round(examples, each)
    return _apply_round(examples, last)


def rounds(folder: Path) -> list[Path]:
    """A reviewed run and those whose decisions it was itself made from, the earliest first.

    Raises InputError where they lead back to one of them, which a later run has overwritten.
    """
    found = [folder]
    while before := _numbers(found[0]).get("labels_from"):
        if Path(before).resolve() in {each.resolve() for each in found}:
            raise InputError(
                f"{printable(folder)} was made from decisions in {printable(before)}, and that from those here: run it "
                "again from the data"
            )
        found.insert(0, Path(before))
    return found


def _apply_round(examples: Examples, folder: Path) -> tuple[Examples, Reviewed]:
    """The same for one round. A decision belongs to the row that holds what the reviewer saw, wherever that stands."""
    form, given = FORMS[examples.task], examples.given.copy()
    found, seen_at, counts = _placed(examples, folder)
    decided = combine(found)
    for (row, part), outcome in decided.layer.items():
        place, kind = _place(examples, row, part), _kind(outcome)
        if form.cell(examples, place) not in (None, outcome.before):
            counts["since"] += 1
            continue
        counts[kind] += 1
        if kind in ("excluded", "both"):
            given[place] = form.unknown
        elif kind == "changed":
            given[place] = form.label(examples, str(outcome.cell), seen_at[row], folder)
    used = {kind: counts[kind] for kind in ("confirmed", "changed", "excluded", "both", "left")}
    if not any(used.values()):
        raise InputError(
            f"none of the decisions in {printable(folder)} is about these data as they are: give the data, the columns "
            "and the --image-size of that run"
        )
    findings = ReviewFindings(
        reviewers=len(decided.reviewers),
        decided=sum(used.values()),
        changed=counts["changed"],
        excluded=counts["excluded"] + counts["both"],
        left=counts["left"],
        agreement=decided.agreement,
        notes=tuple(text.format(count=counts[name]) for name, text in SAID.items() if counts[name]),
    )
    decided_on = replace(examples, given=given, original=examples.as_given)
    return decided_on, Reviewed(folder, findings, _numbers(folder))


def _placed(examples: Examples, folder: Path) -> tuple[list[Decision], dict[int, int], Counter[str]]:
    """The decisions that stand, by the rows (positions) they are about; where those rows stood when they were looked
    at; and how many decisions are about no row, or about a mask that is another one by now.
    """
    content = fingerprints(examples.inputs)
    row_of = {index: row for row, index in enumerate(examples.index.tolist())}
    rows_with: dict[str, list[int]] = {}
    for place, name in enumerate(content):
        rows_with.setdefault(name, []).append(place)
    found: list[Decision] = []
    seen_at: dict[int, int] = {}
    counts: Counter[str] = Counter()
    for decision in _standing(folder):
        name, _, version = decision.example.partition("-")
        row = row_of.get(decision.index)
        if name and (row is None or content[row] != name):
            same = rows_with.get(name, [])
            row = same[0] if len(same) == 1 else None  # which of several equal ones is meant is not known
        if row is None:
            counts["elsewhere"] += 1
        elif version and decision.verdict == "accept" and not _is_version(folder, decision.index, version):
            counts["since"] += 1
        else:
            found.append(replace(decision, index=row))
            seen_at[row] = decision.index
    return found, seen_at, counts


def _is_version(folder: Path, index: int, version: str) -> bool:
    """Whether the suggested mask is still the one that the reviewer saw."""
    file = folder / CORRECTED / mask_name(index)
    return file.is_file() and mask_version(file) == f"-{version}"


def without_unlabelled(parts: Parts, examples: Examples) -> Parts:
    """The parts without the rows whose labels were taken out; test rows stay where their true label is known."""
    labelled = examples.is_labelled
    scored = labelled if examples.truth is None else labelled | has_label(examples.truth, examples.task)
    of = {name: rows[(scored if name == "test" else labelled)[rows]] for name, rows in vars(parts).items()}
    return Parts(**of | {"group": parts.group})


def review_metrics(reviewed: Reviewed) -> dict[str, Any]:
    """The numbers of ``metrics.json`` on what people decided."""
    found = reviewed.findings
    counts = {name: getattr(found, name) for name in ("decided", "changed", "excluded", "left", "reviewers")}
    told = {f"reviewed_{name}": value for name, value in counts.items()} | {"reviewed_agreement": found.agreement}
    return told | {"labels_from": str(reviewed.folder.resolve())}


def compare(reviewed: Reviewed, after: Mapping[str, Any], examples: Examples) -> ReviewFindings:
    """What was decided, with the numbers of the run before and of this one beside each other."""
    before, notes = dict(reviewed.before), [*reviewed.findings.notes]
    names = _differing(before, after)
    if names:
        notes.append(OTHERWISE.format(names=", ".join(names)))
        return replace(reviewed.findings, notes=tuple(notes))
    if before.get("rows") != after["rows"]:
        return replace(reviewed.findings, notes=(*notes, OTHER_ROWS))
    if after.get(ROBUST) is not None and after.get("accuracy_robust") is None:
        before[ROBUST] = _accuracy_of_predictions(reviewed.folder, examples)
        notes.append(SAME_ROWS)
    elif "score_robust_on_noisy_labels" in after:
        notes.append(OWN_LABELS)
    rows = tuple(
        (name, *("–" if value is None else shown(value) for value in (before.get(key), after[key])))
        for name, key, shown in COMPARED
        if after.get(key) is not None and (key != ROBUST or after.get("accuracy_robust") is None)
    )
    table = Table("Before and after people's decisions", ("what was measured", "before", "after"), rows)
    return replace(reviewed.findings, compared=table if rows else None, notes=tuple(notes))


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two runs differ."""
    one, other = before.get("settings") or {}, after["settings"]
    return sorted(name.replace("_", "-") for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def check_reviewed(folder: Path) -> None:
    """Raise InputError where a folder holds no decisions."""
    if not (folder / FILE).is_file():
        raise InputError(f"{printable(folder)} holds no decisions: look at its labels first, with labelwise review")


def _standing(folder: Path) -> list[Decision]:
    check_reviewed(folder)
    with DecisionStore(folder / FILE) as store:
        standing = store.standing()
    if not standing:
        raise InputError(f"nothing was decided in {printable(folder)} yet: look at its labels with labelwise review")
    return standing


def _numbers(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a run, empty where that is gone: then there is nothing to compare with."""
    try:
        numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return numbers if isinstance(numbers, dict) else {}


def _kind(outcome: Outcome) -> str:
    if outcome.cell is OPEN:
        return "left"
    if outcome.cell is EXCLUDED:
        return "excluded"
    if outcome.verdict == "both":
        return "both"
    return "confirmed" if outcome.cell == outcome.before else "changed"


def _place(examples: Examples, row: int, part: str) -> Any:
    if examples.task != "multilabel":
        return row
    if part not in examples.classes:
        raise InputError(
            f"a decision is about the label {quote(part)}, which these data do not have: give the data of that run"
        )
    return row, examples.classes.index(part)


def _accuracy_of_predictions(folder: Path, examples: Examples) -> float | None:
    """How often the earlier run's predictions for its test rows are the labels as they are now."""
    label_of = dict(zip(examples.index.tolist(), examples.given.tolist(), strict=True))
    class_of = {neutralise(name): number for number, name in enumerate(examples.classes)}  # as the file has them
    hits = []
    try:
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                label = label_of.get(int(row["index"]), -1)
                if row["part"] == "test" and label >= 0:
                    hits.append(class_of.get(row["predicted"]) == label)
    except (OSError, KeyError, ValueError):
        return None
    return share(np.array(hits))


def _class_cell(examples: Examples, row: int) -> str:
    label = int(examples.given[row])
    return "" if label < 0 else examples.classes[label]


def _class_label(examples: Examples, cell: str, index: int, folder: Path) -> int:
    if cell not in examples.classes:
        raise InputError(
            f"people decided on the class {quote(cell)} for row {index}, which is none of these data's: decide anew on "
            "one that is, or exclude the row"
        )
    return examples.classes.index(cell)


def _number_label(examples: Examples, cell: str, index: int, folder: Path) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"people decided on {quote(cell)} for row {index}, which is no number: decide anew") from None


def _entry_cell(examples: Examples, place: tuple[int, int]) -> str:
    entry = int(examples.given[place])
    return "" if entry < 0 else PRESENT if entry else ABSENT


def _mask_label(examples: Examples, cell: str, index: int, folder: Path) -> np.ndarray:
    """The mask (H, W) that the audit suggested, which people took over."""
    file = folder / CORRECTED / mask_name(index)
    mask = read_pixels(file).astype(np.int64)
    shape = examples.given.shape[1:]
    if mask.shape != shape or (mask[mask != IGNORE] >= examples.num_classes).any():
        raise InputError(
            f"{printable(file)} is no mask of {' x '.join(map(str, shape))} pixels and {examples.num_classes} classes: "
            "audit the data again, or give the --image-size of that run"
        )
    return mask


FORMS: dict[str, Form] = {
    "classification": Form(-1, _class_cell, _class_label),
    "nodes": Form(-1, _class_cell, _class_label),
    "multilabel": Form(-1, _entry_cell, lambda examples, cell, index, folder: int(cell == PRESENT)),
    "regression": Form(np.nan, lambda examples, row: str(float(examples.given[row])), _number_label),
    "segmentation": Form(IGNORE, lambda examples, row: None, _mask_label),
}
