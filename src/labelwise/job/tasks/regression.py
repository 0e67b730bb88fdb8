"""Numbers: residuals of models that never saw a row doubt its number; intervals say how sure predictions are."""

from pathlib import Path
from typing import Any

import numpy as np

from labelwise.estimators.regressor import Regressor
from labelwise.files import write_csv
from labelwise.job.outputs import share
from labelwise.job.tasks.base import Fitted, Suspect, TaskJob, drawn
from labelwise.report.findings import AuditFindings, Intervals, Scatter, TrustFindings

EXCHANGEABLE = "The calibration rows and new rows come from the same source, in no particular order."
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

    def fit(self, model: Any, rows: np.ndarray, validation_rows: np.ndarray | None, **watching: Any) -> None:
        """Train on ``rows``."""
        held = {}
        if validation_rows is not None:
            held = {"X_val": self.encoded[validation_rows], "y_val": self.examples.given[validation_rows]}
        model.fit(self.encoded[rows], self.examples.given[rows], **held, **watching)

    def test_score(self, model: Any) -> float:
        """R^2 on the test rows."""
        rows = self.parts.test
        return float(model.score(self.encoded[rows], self.reference[rows]))

    def out_of_sample(self) -> tuple[np.ndarray, str]:
        """Predictions (m,) of the audited rows by models that did not see them, and which kind of model."""
        rows = self.parts.audited
        boosting = _boosting()
        by_boosting, by_recipe = np.empty((2, len(rows)))
        place = np.full(len(self.examples), -1)
        place[rows] = np.arange(len(rows))
        for name, kept, held in self.held_out():
            fitted = self.train(name, self.options.recipe, kept)
            by_recipe[place[held]] = fitted.model.predict(self.encoded[held])
            flat = self.encoded.reshape(len(self.encoded), -1)
            arrays, _ = self.work(
                f"boosting-{name.replace(' ', '-')}",
                f"gradient boosting, {name}",
                lambda flat=flat, kept=kept, held=held: (
                    {"predicted": boosting.fit(flat[kept], self.examples.given[kept]).predict(flat[held])},
                    {},
                ),
            )
            by_boosting[place[held]] = arrays["predicted"]
        given = self.examples.given[rows]
        # The median residual: a few wrong numbers must not choose.
        closer = np.median(np.abs(by_recipe - given)) <= np.median(np.abs(by_boosting - given))
        return (by_recipe, self.options.recipe) if closer else (by_boosting, "gradient boosting")

    def audit(self) -> AuditFindings:
        """Doubt the numbers that lie far from what models predict that never saw them."""
        from labelwise.audit.regression import audit_regression

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
        self.metrics |= {
            "noise_rate_estimated": found.noise.rate,
            "noise_rate_interval": [found.noise.low, found.noise.high],
            "suspects": len(found.ranked),
            "audit_model": name,
        } | self._against_truth(rows, found.is_issue)
        self.notes += found.noise.notes
        shown = drawn(len(rows), found.is_issue, self.options.seed)
        return AuditFindings(
            noise_rate=found.noise.rate,
            noise_rate_low=found.noise.low,
            noise_rate_high=found.noise.high,
            suspect_count=len(found.ranked),
            labels_audited=len(rows),
            class_names=(),
            filter_name="residual beyond the fitted tail",
            unit=self.unit,
            noise_rate_true=self.metrics.get("noise_rate_true"),
            found_share=self.metrics.get("found_share"),
            suspects=self.cards(),
            scatter=Scatter(
                "Given numbers against predictions by models that never saw them",
                "predicted",
                "given",
                tuple(predicted[shown].tolist()),
                tuple(given[shown].tolist()),
                tuple(found.is_issue[shown].tolist()),
            ),
        )

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
        write_csv(
            folder / "labels.csv",
            ["index", "given", "corrected", "changed", "by"],
            (
                [
                    int(index),
                    _given(given),
                    _cell(new) if given != new else _given(given),
                    int(given != new and new == new),
                    "audit" if given != new and new == new else "",
                ]
                for index, given, new in zip(self.examples.index, self.examples.given, self.corrected, strict=True)
            ),
        )
        self.files["labels.csv"] = "given and corrected number of every row"


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
