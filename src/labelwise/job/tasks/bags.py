"""Bags of rows: only how many rows of each bag are positive counts; which ones, nobody need know."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit.regression import audit_regression
from labelwise.errors import InputError
from labelwise.estimators.bag_classifier import BagClassifier
from labelwise.files import write_csv
from labelwise.job.outputs import share
from labelwise.job.tasks.base import Fitted, Learnt, Suspect, TaskJob
from labelwise.job.tasks.numbers import audit_findings, audit_metrics
from labelwise.report.findings import AuditFindings, TrustFindings

NO_TRUST = "Single labels are not known, so how sure single predictions are cannot be measured: trust is left out."
# A bag of rows that are all sure either way still differs by about one row.
LEAST_VARIANCE = 0.25


class BagsJob(TaskJob):
    """Audit the counts of bags, learn which rows are positive with a baseline and a robust recipe."""

    estimator_class = BagClassifier
    baseline = "dllp"
    unit = ("count", "counts")
    folds = 3

    def prepare(self) -> None:
        """Encode tables and texts; count the positives of each bag."""
        classes = self.examples.classes
        if len(classes) != 2:
            raise InputError(
                f"the labels hold {len(classes)} classes, but bags are learnt from counts of one against another: "
                "give a label column of two classes"
            )
        super().prepare()
        self.notes.append(NO_TRUST)
        self.bag = self.parts.group
        self.names = np.unique(np.asarray(self.examples.bags, dtype=str))
        self.size = np.bincount(self.bag, weights=self.examples.is_labelled).astype(np.int64)
        self.count = np.bincount(self.bag, weights=self.examples.given == 1).astype(np.int64)
        partly = len(np.unique(self.bag[~self.examples.is_labelled]))
        if partly:
            self.notes.append(f"{partly:,} bags hold rows without a label: their counts are those of the other rows.")

    def check_facts(self) -> tuple[tuple[str, str], ...]:
        """How many bags there are, and how large."""
        rows = np.bincount(self.bag)
        return (("bags", f"{len(rows):,}"), ("rows a bag", f"{rows.min():,} to {rows.max():,}"))

    def fit(self, model: Any, rows: np.ndarray, validation_rows: np.ndarray | None, **watching: Any) -> None:
        """Train on the bags of ``rows``."""
        held = {}
        if validation_rows is not None:
            bags = self.bag[validation_rows]
            held = {"X_val": self.encoded[validation_rows], "bag_ids_val": bags, "counts_val": self._counts(bags)}
        bags = self.bag[rows]
        model.fit(self.encoded[rows], bags, self._counts(bags), **held, **watching)

    def test_score(self, model: Any) -> float:
        """How well mean predictions agree with the shares of positives of the test bags."""
        rows = self.parts.test[self.reference[self.parts.test] >= 0]
        bag = np.unique(self.bag[rows], return_inverse=True)[1]
        expected = model.predict_proba(self.encoded[rows])[:, 1]
        off = np.bincount(bag, weights=expected - (self.reference[rows] == 1)) / np.bincount(bag)  # (bags,)
        return float(1 - np.sqrt(np.mean(off**2)))

    def audit(self) -> AuditFindings:
        """Doubt the counts that lie far from what models expect that never saw the bag."""
        bags, expected, variance = [], [], []
        for name, kept, held in self.held_out():
            model = self.train(name, self.options.recipe, kept).model
            probs = model.predict_proba(self.encoded[held])[:, 1]
            own = np.unique(self.bag[held])
            bags.append(own)
            expected.append(np.bincount(self.bag[held], weights=probs)[own])
            variance.append(np.bincount(self.bag[held], weights=probs * (1 - probs))[own])
        bag, mean, spread = (np.concatenate(each) for each in (bags, expected, variance))
        size = self.size[bag]
        found = audit_regression(self.count[bag] / size, mean / size, spread=np.sqrt(spread + LEAST_VARIANCE) / size)
        first = np.unique(self.bag, return_index=True)[1]
        self.doubted = {int(first[bag[place]]): int(bag[place]) for place in found.ranked}
        self.suspects = [
            Suspect(
                int(first[bag[place]]),
                f"{self.count[bag[place]]} of {size[place]}",
                f"about {mean[place]:.0f} of {size[place]}",
                score,
                f"bag {self.names[bag[place]]}: models that never saw it expect {mean[place]:.1f}",
            )
            for place, _, _, score, _ in found.suspects()
        ]
        self.metrics |= audit_metrics(found, self.options.recipe)
        words = ("Share of positives in each bag", "given", "expected")
        return audit_findings(self, found, self.count[bag] / size, mean / size, words)

    def look(self, suspect: Suspect) -> dict[str, Any]:
        """The bag and its size."""
        bag = self.doubted[suspect.row]
        return {"row": {"bag": str(self.names[bag]), "rows": f"{self.size[bag]:,}"}}

    def learn(self) -> Learnt:
        """As for all tasks; where single labels are known, accuracy on them too."""
        learnt = super().learn()
        if self.truth is not None:
            rows = self.parts.test[self.truth[self.parts.test] >= 0]
            for name, fitted in (("baseline", learnt.trusting), ("robust", learnt.robust)):
                right = fitted.model.predict(self.encoded[rows]) == self.truth[rows]
                self.metrics[f"accuracy_{name}"] = share(right)
            self.notes.append(
                f"Single test rows, by true labels: {self.metrics['accuracy_robust']:.1%} right with "
                f"{self.options.recipe}, {self.metrics['accuracy_baseline']:.1%} with {self.baseline}."
            )
        return learnt

    def trust(self, fitted: Fitted) -> TrustFindings | None:
        """Nothing: no single label is known to measure on."""
        return None

    def write_predictions(self, fitted: Fitted, path: Path) -> None:
        """Class and probability of every row, with its bag."""
        part = self.parts.names(len(self.examples))
        probs = fitted.model.predict_proba(self.encoded)[:, 1]
        classes = self.examples.classes

        def rows() -> Iterator[list[Any]]:
            for row, prob in enumerate(probs):
                predicted = classes[int(prob > 0.5)]
                yield [
                    int(self.examples.index[row]), self.names[self.bag[row]], part[row], predicted,
                    round(float(prob), 6),
                ]  # fmt: skip

        write_csv(path, ["index", "bag", "part", "predicted", f"p({classes[1]})"], rows())
        self.files["predictions.csv"] = "class and probability of every row"

    def write_labels(self, folder: Path) -> None:
        """Nothing: which row of a bag to change, a doubted count does not say."""

    def write_review(self, path: Path) -> None:
        """Nothing, for the same reason."""

    def _counts(self, bags: np.ndarray) -> dict[int, int]:
        return {int(bag): int(self.count[bag]) for bag in np.unique(bags)}
