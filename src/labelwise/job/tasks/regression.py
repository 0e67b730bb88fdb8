"""Numbers: residuals of models that never saw a row doubt its number; intervals say how sure predictions are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit.regression import audit_regression
from labelwise.estimators.regressor import Regressor
from labelwise.files import write_csv
from labelwise.job.findings import FILES
from labelwise.job.outputs import share
from labelwise.job.review_items import Row, neighbours_in, seen, suspects_first, write_review
from labelwise.job.tasks.base import Fitted, Suspect, TaskJob
from labelwise.job.tasks.numbers import audit_findings, audit_metrics
from labelwise.job.trust import EXCHANGEABLE
from labelwise.job.workspace import Piece
from labelwise.report.findings import AuditFindings, Intervals, TrustFindings

GIVEN = "Calibration numbers were taken as right: where some are wrong, intervals are wider than they need be."


class RegressionJob(TaskJob):
    """Audit by residuals, learn with a baseline and a robust recipe, trust by split-conformal intervals."""

    estimator_class = Regressor
    baseline = "squared-error"
    unit = ("number", "numbers")

    def class_counts(self) -> list[tuple[str, int]]:
        """Numbers have no classes."""
        return []

    def check_facts(self) -> tuple[tuple[str, str], ...]:
        """Where the given numbers lie."""
        known = self.examples.given[self.examples.is_labelled]
        low, middle, high = np.quantile(known, (0.0, 0.5, 1.0))
        return (("smallest", f"{low:.4g}"), ("median", f"{middle:.4g}"), ("largest", f"{high:.4g}"))

    def out_of_sample(self) -> tuple[np.ndarray, str]:
        """Predictions (m,) of the audited rows by models that did not see them, and which kind of model."""
        given = self.examples.given[self.parts.audited]
        predicted = {
            self.options.recipe: self.out_of_fold(self._by_recipe),
            "gradient boosting": self.out_of_fold(self._by_boosting),
        }
        # By the median residual: a few wrong numbers must not choose.
        name = min(predicted, key=lambda each: float(np.median(np.abs(predicted[each] - given))))
        return predicted[name], name

    def _by_recipe(self, name: str, kept: np.ndarray, held: np.ndarray) -> np.ndarray:
        return np.asarray(self.train(name, self.options.recipe, kept).model.predict(self.encoded[held]))

    def _by_boosting(self, name: str, kept: np.ndarray, held: np.ndarray) -> np.ndarray:
        def make() -> Piece:
            flat = self.encoded.reshape(len(self.encoded), -1)
            return {"predicted": _boosting().fit(flat[kept], self.examples.given[kept]).predict(flat[held])}, {}

        return self.work(f"boosting-{name.replace(' ', '-')}", f"gradient boosting, {name}", make)[0]["predicted"]

    def audit(self) -> AuditFindings:
        """Doubt the numbers that lie far from what models predict that never saw them."""
        rows = self.parts.audited
        predicted, name = self.out_of_sample()
        given = self.examples.given[rows]
        found = audit_regression(given, predicted)
        self.suspects = [
            Suspect(int(rows[place]), _given(number), _cell(suggested), score, why)
            for place, number, suggested, score, why in found.suspects()
        ]
        self.corrected = self.examples.given.copy()
        self.corrected[rows[found.ranked]] = predicted[found.ranked]
        self.found, self.predicted = found, predicted
        self.metrics |= audit_metrics(found, name) | self._against_truth(rows, found.is_issue)
        title = "Given numbers against predictions by models that never saw them"
        return audit_findings(self, found, given, predicted, (title, "given", "predicted"))

    def write_review(self, path: Path) -> None:
        """Every audited number beside its prediction, with the nearest rows."""
        self.files[path.name] = FILES[path.name]
        write_review(path, self.examples, self._review_rows())

    def _review_rows(self) -> Iterator[Row]:
        found, rows = self.found, self.parts.audited
        reasons = {place: why for place, _, _, _, why in found.suspects()}
        order = suspects_first(found)
        near = neighbours_in(order, self.encoded[rows], self.options.seed)  # (m, k)
        for place, neighbours in zip(order.tolist(), near.tolist(), strict=True):
            row = int(rows[place])
            yield {
                **seen(self.examples, row),
                "given": str(_given(self.examples.given[row])),
                "suggested": str(_cell(self.predicted[place])),
                "score": float(found.scores[place]),
                "suspect": bool(found.is_issue[place]),
                "why": reasons.get(place, "the prediction is about as far off as usual"),
                "neighbours": neighbours,
            }

    def _against_truth(self, rows: np.ndarray, is_issue: np.ndarray) -> dict[str, Any]:
        if self.examples.truth is None:
            return {}
        truth, given = self.examples.truth[rows], self.examples.given[rows]
        known = ~np.isnan(truth)
        wrong = known & (truth != given)
        return {
            "noise_rate_true": share(wrong[known]),
            "found_share": share(is_issue[wrong]),
            "wrongly_doubted_share": share(is_issue[known & ~wrong]),
        }

    def trust(self, fitted: Fitted) -> TrustFindings | None:
        """Intervals of one width: the residual that ceil((n + 1)(1 - alpha)) of n calibration rows stay within.

        None where n is too small for any width to keep the promise.
        """
        rows, test = self.parts.calibration, self.parts.test[~np.isnan(self.reference[self.parts.test])]
        residuals = np.sort(np.abs(self.examples.given[rows] - fitted.model.predict(self.encoded[rows])))
        rank = int(np.ceil((len(rows) + 1) * (1 - self.options.alpha)))
        if rank > len(rows):
            self.notes.append(
                f"{len(rows)} calibration rows are too few for intervals that hold {1 - self.options.alpha:.0%} of "
                "the time, so none are given: more labelled rows, or a larger --alpha, would do."
            )
            return None
        self.half_width = half = float(residuals[rank - 1])
        missed = np.abs(self.reference[test] - fitted.model.predict(self.encoded[test])) > half
        self.metrics |= {
            "coverage_promised": 1 - self.options.alpha,
            f"coverage{self.suffix}": float(1 - missed.mean()),
            "interval_half_width": self.half_width,
        }
        return TrustFindings(
            temperature=None,
            alpha=self.options.alpha,
            coverage_promised=1 - self.options.alpha,
            measured_on=self.measured_on,
            measured_rows=len(test),
            intervals=Intervals(float(1 - missed.mean()), 2 * half),
            assumptions=(EXCHANGEABLE, GIVEN),
        )

    def write_predictions(self, fitted: Fitted, path: Path) -> None:
        """Number and interval of every row."""
        predicted = fitted.model.predict(self.encoded)
        half = np.nan if self.half_width is None else self.half_width
        part = self.parts.names(len(self.examples))
        write_csv(
            path,
            ["index", "part", "given", "predicted", "low", "high"],
            (
                [int(index), name, _given(given), *(_cell(value) for value in (middle, middle - half, middle + half))]
                for index, name, given, middle in zip(
                    self.examples.index, part, self.examples.given, predicted, strict=True
                )
            ),
        )
        self.files["predictions.csv"] = "predicted number and interval of every row"

    def write_labels(self, folder: Path) -> None:
        """Given and corrected number of every row."""
        layers = zip(self.examples.as_given, self.examples.given, self.corrected, strict=True)

        def rows() -> Iterator[tuple[Any, Any, Any, int]]:
            for given, left, new in layers:
                by_audit = left == left and left != new
                corrected = _cell(new) if by_audit else _given(left)
                yield _given(given), _given(left), corrected, int(corrected != _given(given))

        self.write_layer(folder, rows())


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    # Absolute errors: a few wrong numbers must not draw the predictions to themselves.
    return HistGradientBoostingRegressor(loss="absolute_error", max_iter=200, learning_rate=0.05, random_state=0)


def _given(value: float) -> float | str:
    """A number of the user's own, to its last digit; nothing where it is not known."""
    return float(value) if np.isfinite(value) else ""


def _cell(value: float) -> float | str:
    """Six digits of a predicted number, which a file holds as a number; nothing where it is not known."""
    return float(f"{value:.6g}") if np.isfinite(value) else ""
