"""Several labels a row: each label is audited by itself, and sets of label-sets say how sure predictions are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit.multilabel import MultilabelAudit, audit_multilabel
from labelwise.certainty.label_powerset import LabelPowersetICP
from labelwise.estimators.multilabel_classifier import MultiLabelClassifier
from labelwise.files import write_csv
from labelwise.job.findings import FILES
from labelwise.job.outputs import share
from labelwise.job.review_items import Row, seen, write_review
from labelwise.job.tasks.base import Fitted, Suspect, TaskJob
from labelwise.job.trust import EXCHANGEABLE
from labelwise.labels.cells import set_cell
from labelwise.report.findings import AuditFindings, PredictionSets, Table, TrustFindings

GIVEN = "Calibration labels were taken as right: the promise is about given label-sets."
# Beyond so many label-sets a set says little; larger ones are counted as this many.
MOST_SETS = 50
CLASSES_SHOWN = 25
PRESENT, ABSENT = "present", "absent"


class MultilabelJob(TaskJob):
    """Audit each label by itself, learn with a baseline and a robust recipe, trust by sets of label-sets (LP-ICP)."""

    estimator_class = MultiLabelClassifier
    baseline = "multilabel-cross-entropy"
    folds = 3

    def network(self) -> dict[str, Any]:
        """AdamW: gradients of rare labels are tiny, and plain steps hardly move for them."""
        return super().network() | {"optimizer": "adamw", "learning_rate": 1e-3}

    def class_counts(self) -> list[tuple[str, int]]:
        """How many rows each label is given to."""
        counts = (self.examples.given == 1).sum(axis=0)
        return list(zip(self.examples.classes, counts.tolist(), strict=True))

    def check_facts(self) -> tuple[tuple[str, str], ...]:
        """How many labels a row has, and what is unknown."""
        given = self.examples.given
        per_row = float((given == 1).sum() / max(int(self.examples.is_labelled.sum()), 1))
        return (("labels a row", f"{per_row:.2f}"), ("unknown entries", f"{int((given < 0).sum()):,}"))

    def audit(self) -> AuditFindings:
        """Confident learning a label: which given ones are wrong, and which are missing."""
        rows, names = self.parts.audited, self.examples.classes
        probs = self.out_of_fold(
            lambda name, kept, held: self.train(name, self.baseline, kept).model.predict_proba(self.encoded[held])
        )
        found = audit_multilabel(self.examples.given[rows], probs)
        issues = found.issues
        self.issues = [
            (int(rows[row]), int(column), int(given), float(prob))
            for row, column, given, prob in zip(*issues, strict=True)
        ]
        self.suspects = [self._suspect(*each) for each in self.issues]
        self.corrected = self.examples.given.copy()
        self.corrected[rows[issues.row], issues.label_class] = 1 - issues.given
        self.metrics |= {
            "suspects": len(self.suspects),
            "suspects_missing": len(found.missing.row),
            "suspects_wrong": len(found.wrong.row),
            "suspects_share": found.issue_share,
            "probably_present": len(found.probably_present.row),
            "audit_model": self.baseline,
        } | self._against_truth(rows, found.issue_mask())
        return AuditFindings(
            suspect_count=len(self.suspects),
            labels_audited=int((self.examples.given[rows] >= 0).sum()),
            class_names=names,
            filter_name="confident learning of each label",
            noise_rate_true=self.metrics.get("noise_rate_true"),
            found_share=self.metrics.get("found_share"),
            suspects=self.cards(),
            breakdown=self._breakdown(found),
        )

    def _suspect(self, row: int, column: int, given: int, prob: float) -> Suspect:
        name = self.examples.classes[column]
        words = (PRESENT, ABSENT) if given else (ABSENT, PRESENT)
        why = f"given as {words[0]}; a model that never saw this row says present with {prob:.0%}"
        score = prob if given else 1 - prob
        return Suspect(row, f"{name}: {words[0]}", f"{name}: {words[1]}", score, why)

    def write_review(self, path: Path) -> None:
        """One item a doubted label of a row."""
        self.files[path.name] = FILES[path.name]
        write_review(path, self.examples, (self._review_row(*each) for each in self.issues))

    def _review_row(self, row: int, column: int, given: int, prob: float) -> Row:
        suspect = self._suspect(row, column, given, prob)
        return {
            **seen(self.examples, row),
            "part": self.examples.classes[column],
            "given": PRESENT if given else ABSENT,
            "suggested": ABSENT if given else PRESENT,
            "score": suspect.score,
            "suspect": True,
            "why": suspect.why,
            "given_prob": suspect.score,
            "suggested_prob": 1 - suspect.score,
        }

    def _breakdown(self, found: MultilabelAudit) -> Table:
        frame = found.class_frame(self.examples.classes).head(CLASSES_SHOWN)
        rows = tuple(
            (str(name), f"{present:,}", f"{wrong:,}", f"{missing:,}", f"{rate:.1%}")
            for name, present, wrong, missing, rate in zip(
                frame["class"], frame["present"], frame["wrong"], frame["missing"], frame["missing_rate"], strict=True
            )
        )
        header = ("label", "given", "look wrong", "look missing", "missing of those present, estimated")
        return Table("Labels with the most doubted entries", header, rows)

    def _against_truth(self, rows: np.ndarray, doubted: np.ndarray) -> dict[str, Any]:
        if self.examples.truth is None:
            return {}
        truth, given = self.examples.truth[rows], self.examples.given[rows]
        scored = (truth >= 0) & (given >= 0)
        wrong = scored & (truth != given)
        return {
            "noise_rate_true": float(wrong.sum() / max(scored.sum(), 1)),
            "found_share": share(doubted[wrong]),
            "wrongly_changed_share": share(doubted[scored & ~wrong]),
        }

    def trust(self, fitted: Fitted) -> TrustFindings | None:
        """Sets of label-sets whose true one is among them as often as promised, from the calibration rows."""
        known = (self.examples.given[self.parts.calibration] >= 0).all(axis=1)
        rows, test = self.parts.calibration[known], self.parts.test
        if not len(rows):
            self.notes.append("No calibration row has all its labels known, so no label-sets with a promise are given.")
            return None
        self.icp = LabelPowersetICP().calibrate(
            fitted.model.predict_proba(self.encoded[rows]), self.examples.given[rows]
        )
        probs = fitted.model.predict_proba(self.encoded[test])
        sizes = np.minimum(self.icp.set_sizes(probs, self.options.alpha), MOST_SETS).astype(np.int64)
        held = self._held(probs, self.reference[test])
        self.metrics |= {
            "coverage_promised": 1 - self.options.alpha,
            f"coverage{self.suffix}": share(held),
            "label_sets_median": float(np.median(sizes)),
        }
        on_truth = self.truth is not None
        kind = PredictionSets(
            f"sets of label-sets, {MOST_SETS} standing for more",
            tuple(np.bincount(sizes, minlength=2).tolist()),
            coverage_true=share(held) if on_truth else None,
            coverage_given=None if on_truth else share(held),
            used=True,
            members="label-sets",
        )
        return TrustFindings(
            temperature=None,
            alpha=self.options.alpha,
            coverage_promised=1 - self.options.alpha,
            measured_on=self.measured_on,
            measured_rows=len(held),
            sets=(kind,),
            assumptions=(EXCHANGEABLE, GIVEN),
        )

    def _held(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether the label-set of each row with all labels known is in its set."""
        known = (labels >= 0).all(axis=1)
        return self.icp.contains(probs[known], labels[known], self.options.alpha)

    def write_predictions(self, fitted: Fitted, path: Path) -> None:
        """Labels and the probability of each, of every row."""
        names = self.examples.classes
        part = self.parts.names(len(self.examples))
        probs = fitted.model.predict_proba(self.encoded)

        def rows() -> Iterator[list[Any]]:
            for row, own in enumerate(probs):
                given = self._cell(self.examples.given[row])
                numbers = [round(float(value), 6) for value in own]
                yield [int(self.examples.index[row]), part[row], given, self._cell(own > 0.5), *numbers]

        write_csv(path, ["index", "part", "given", "predicted", *(f"p({name})" for name in names)], rows())
        self.files["predictions.csv"] = "labels and their probabilities for every row"

    def write_labels(self, folder: Path) -> None:
        """Given and corrected labels of every row."""
        layers = zip(self.examples.as_given, self.examples.given, self.corrected, strict=True)
        cell = self._cell
        rows = ((cell(old), cell(left), cell(new), int((old != new).sum())) for old, left, new in layers)
        self.write_layer(folder, rows)

    def _cell(self, labels: np.ndarray) -> str:
        """Names of the labels that are present."""
        return set_cell(self.examples.classes[column] for column in np.flatnonzero(labels == 1))
