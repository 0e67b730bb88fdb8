"""The trust step: one temperature and prediction sets, measured on rows kept aside whose labels may be wrong."""

from dataclasses import dataclass

import numpy as np

from labelwise.audit.noise_rate import NoiseEstimate
from labelwise.certainty.calibration import expected_calibration_error, fit_temperature, softmax
from labelwise.certainty.conformal import ALPHAS, SplitConformal, coverage
from labelwise.job.learning import Task, Trained
from labelwise.job.options import Options
from labelwise.job.parts import Parts
from labelwise.job.steps import AuditStep
from labelwise.labels.noise import scale_noise

NO_AUDIT = (
    "The audit was skipped, so the calibration labels were taken as right: where they are not, the promise is about "
    "given labels."
)
EXCHANGEABLE = "The calibration rows and new rows come from the same source, in no particular order."
CLASS_CONDITIONAL = "Given its true class, a wrong label does not depend on the rest of the row."
MATRIX = (
    "At least as many labels are wrong as the low end of the interval says: the correction reckons with no more. "
    "Where more are wrong, sets are larger than they need be, unless wrong labels go to classes that the model "
    "prefers: then they are too small."
)


@dataclass(frozen=True, eq=False)
class TrustStep:
    """Temperature, calibrated probabilities (n, classes) and prediction sets (n, classes) of all rows of the task.

    ``plain_sets`` take the calibration labels as right. ``ece_before`` and ``ece_after`` are on the test rows, against
    true labels where they are known.
    """

    temperature: float
    alpha: float
    logits: np.ndarray
    probs: np.ndarray
    conformal: SplitConformal
    sets: np.ndarray
    plain_sets: np.ndarray
    coverage_true: float | None
    coverage_given: float
    ece_before: float
    ece_after: float
    assumptions: tuple[str, ...]


def run_trust(trained: Trained, task: Task, parts: Parts, audited: AuditStep | None, options: Options) -> TrustStep:
    """Fit temperature and thresholds on the calibration rows' given labels, corrected by the audit's noise matrix."""
    rows = parts.calibration
    matrix = None if audited is None else least_noise(audited.audit.noise_rate)
    temperature = fit_temperature(trained.logits[rows], task.labels[rows], matrix)
    probs = softmax(trained.logits, temperature)
    alphas = sorted({*ALPHAS, options.alpha})
    plain = SplitConformal().conformalize(probs[rows], task.labels[rows], alphas=alphas)
    conformal = SplitConformal().conformalize(
        probs[rows], task.labels[rows], noise_matrix=matrix, alphas=alphas, margin=0.0
    )
    sets, plain_sets = conformal.predict_sets(probs, options.alpha), plain.predict_sets(probs, options.alpha)

    reference = task.labels if task.truth is None else task.truth
    known = parts.test[reference[parts.test] >= 0]
    return TrustStep(
        temperature=temperature,
        alpha=options.alpha,
        logits=trained.logits,
        probs=probs,
        conformal=conformal,
        sets=sets,
        plain_sets=plain_sets,
        coverage_true=None if task.truth is None else coverage(sets[parts.test], task.truth[parts.test]),
        coverage_given=coverage(sets[parts.test], task.labels[parts.test]),
        ece_before=expected_calibration_error(softmax(trained.logits[known]), reference[known]),
        ece_after=expected_calibration_error(probs[known], reference[known]),
        assumptions=(EXCHANGEABLE, NO_AUDIT) if matrix is None else (EXCHANGEABLE, CLASS_CONDITIONAL, MATRIX),
    )


def least_noise(estimate: NoiseEstimate) -> np.ndarray:
    """The estimated noise matrix, [given, true], scaled down to the low end of the rate's interval.

    Where wrong labels are harder to cover than the true class, reckoning with too little noise makes sets too large
    and promises are kept; too much breaks them. Where noise follows what the model prefers it is the other way round.
    """
    return scale_noise(estimate.matrix, estimate.low / estimate.rate if estimate.rate > 0 else 0.0)
