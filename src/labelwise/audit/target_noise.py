"""How many numeric targets are wrong, with an interval, and from which residual on a target is doubted.

The residuals of right targets follow Student's t with a scale and a number of degrees of freedom of their own, so that
tails as heavy as the data ask for are allowed. A wrong target is as likely as any other target: it follows a broad t
with two degrees of freedom around the median of the targets, whatever the prediction. Scale, degrees of freedom and the
share of wrong targets are those that make the targets most likely (a two-groups model as in Efron, "Large-scale
simultaneous hypothesis testing", JASA 2004, whose null is likewise fitted to the data at hand).

*Likelihood* errs low where tails are heavy: they explain wrong targets too. *Counting* takes residuals of right targets
as normal with the scale of their median, counts those beyond CUT deviations in excess of that, and divides by the share
of exchanged targets that would lie beyond; it errs high where tails are heavy. Both add wrong targets that nobody sees,
those that happen to lie near the prediction, as many as there are if targets were exchanged. The interval reaches from
the lowest of the two and of the share that is *seen* (the likelihood's, beyond CUT deviations) to the highest, widened
by the sampling error; it reaches down to 0 where a likelihood-ratio test does not reject that heavy tails alone explain
all residuals. It is not about targets that are a little wrong, within what the predictions err.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, gammaln, log_expit
from scipy.stats import chi2, norm
from scipy.stats import t as student

Array = NDArray[np.float64]

CUT = 3.0
NORMAL_MEDIAN = 0.6744897501960817  # of the absolute value of a normal number
WRONG_FREEDOM = 2.0
LEAST_FREEDOM, MOST_FREEDOM = 1.0, 200.0
# Tails with fewer degrees of freedom than this are called heavy.
HEAVY_FREEDOM = 10.0
LARGEST_DIFFERENCE = 0.05
CONFIDENCE = 0.95


class TargetNoise(NamedTuple):
    """Share of wrong targets with an interval, and the residuals of right ones.

    ``rate_likelihood`` and ``rate_counting`` are the two views. A residual of a right target, divided by its spread, is
    ``scale`` times Student's t with ``freedom`` degrees of freedom. ``notes`` are sentences for the report.
    """

    rate: float
    low: float
    high: float
    rate_likelihood: float
    rate_counting: float
    scale: float
    freedom: float
    notes: tuple[str, ...] = ()

    def quantile(self, tails: Array) -> Array:
        """What |residual| / spread reaches in each of these shares (tails,) of the right targets."""
        excess: Array = self.scale * student.isf(tails / 2, self.freedom)
        return excess


class _Sample(NamedTuple):
    """Rows that the model is fitted on, all (n,): residual / spread, log spread, log density as a wrong target."""

    excess: Array
    log_spread: Array
    log_wrong: Array
    scale: float  # 1.48 times the median of |excess|


def estimate_target_noise(targets: Array, predictions: Array, spread: Array, rng: np.random.Generator) -> TargetNoise:
    """Estimate the share of wrong targets; all (n,) finite, spread above 0. Cost: some 100 passes over the rows."""
    residuals = targets - predictions
    excess = np.abs(residuals) / spread
    scale = float(np.median(excess)) / NORMAL_MEDIAN
    if scale == 0:
        wrong = float((excess > 0).mean())
        note = "More than half of the predictions are exact, so every other target is taken as wrong."
        return TargetNoise(wrong, 0.0, wrong, wrong, wrong, 0.0, MOST_FREEDOM, (note,))
    middle = np.median(targets)
    width = max(float(np.median(np.abs(targets - middle))) / NORMAL_MEDIAN, float(np.median(np.abs(residuals))))
    log_wrong = _log_t((targets - middle) / width, WRONG_FREEDOM) - np.log(width)
    sample = _Sample(excess, np.log(spread), log_wrong, scale)

    fitted, likely = _fit(sample, free_share=True)
    without, likely_without = _fit(sample, free_share=False)
    needed = 2 * (likely - likely_without) > chi2.ppf(CONFIDENCE, 1)
    rate, error = float(expit(fitted[2])), _share_error(fitted, sample)
    counting, counting_error = _counting(targets, predictions, spread, excess / scale, rng)
    core = fitted if needed else without
    found = TargetNoise(rate, 0.0, 1.0, rate, counting, float(np.exp(core[0])) * scale, float(np.exp(core[1])))
    half = float(norm.ppf(0.5 + CONFIDENCE / 2))
    return found._replace(
        rate=rate if needed else 0.0,
        low=max(0.0, min(rate, counting, _seen(fitted, sample)) - half * max(error, counting_error)) if needed else 0.0,
        high=min(1.0, max(rate + half * error, counting + half * counting_error)),
        notes=tuple(_notes(found, needed)),
    )


def _fit(sample: _Sample, *, free_share: bool) -> tuple[Array, float]:
    """Likeliest log scale (of the sample's), log degrees of freedom and logit of the share of wrong targets."""
    start = np.array([0.0, np.log(8.0), -3.0 if free_share else -np.inf])
    size = 3 if free_share else 2
    bounds = [(-5.0, 5.0), (np.log(LEAST_FREEDOM), np.log(MOST_FREEDOM)), (-15.0, 5.0)][:size]

    def loss(parameters: Array) -> float:
        return -_log_likelihood(np.concatenate([parameters, start[size:]]), sample) / len(sample.excess)

    found = minimize(loss, start[:size], method="L-BFGS-B", bounds=bounds)
    return np.concatenate([found.x, start[size:]]), float(-found.fun * len(sample.excess))


def _log_likelihood(parameters: Array, sample: _Sample) -> float:
    right = _log_right(parameters, sample)
    logit = parameters[2]
    if logit == -np.inf:
        return float(right.sum())
    return float(np.logaddexp(log_expit(-logit) + right, log_expit(logit) + sample.log_wrong).sum())


def _log_right(parameters: Array, sample: _Sample) -> Array:
    """Logarithm of each row's density (n,) as a right target."""
    log_scale = parameters[0] + np.log(sample.scale)
    return _log_t(sample.excess / np.exp(log_scale), np.exp(parameters[1])) - log_scale - sample.log_spread


def _seen(parameters: Array, sample: _Sample) -> float:
    """Share of the targets that are wrong, by the likelihood, and beyond CUT deviations."""
    is_beyond = sample.excess > CUT * sample.scale
    evidence = parameters[2] + sample.log_wrong - _log_right(parameters, sample)
    return float((expit(evidence) * is_beyond).mean())


def _log_t(values: Array, freedom: float) -> Array:
    """Logarithm of the density of Student's t."""
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - np.log(freedom * np.pi) / 2
    logs: Array = constant - (freedom + 1) / 2 * np.log1p(values**2 / freedom)
    return logs


def _share_error(parameters: Array, sample: _Sample, step: float = 1e-3) -> float:
    """Standard deviation of the share: from the curvature of the likelihood, by differences."""
    steps = np.eye(3) * step

    def slope(place: Array) -> Array:
        return np.array(
            [(_log_likelihood(place + s, sample) - _log_likelihood(place - s, sample)) / (2 * step) for s in steps]
        )

    curvature = np.array([(slope(parameters - s) - slope(parameters + s)) / (2 * step) for s in steps])
    share = expit(parameters[2])
    variance = np.linalg.pinv((curvature + curvature.T) / 2)[2, 2]
    return float(np.sqrt(max(variance, 0.0)) * share * (1 - share))


def _counting(
    targets: Array, predictions: Array, spread: Array, deviations: Array, rng: np.random.Generator
) -> tuple[float, float]:
    """Share of wrong targets by counting residuals beyond CUT deviations (n,), and its standard deviation."""
    count = len(targets)
    scale = np.median(np.abs(targets - predictions) / spread) / NORMAL_MEDIAN
    expected = 2 * norm.sf(CUT)
    exchanged = float((np.abs(rng.permutation(targets) - predictions) > CUT * scale * spread).mean())
    power = max(exchanged - expected, 1 / count)
    beyond = float((deviations > CUT).mean())
    error = np.sqrt(max(beyond * (1 - beyond), 1 / count) / count) / power
    return float(np.clip((beyond - expected) / power, 0.0, 1.0)), float(error)


def _notes(found: TargetNoise, needed: bool) -> list[str]:
    notes = []
    if not needed:
        notes.append("The targets may all be right: heavy tails of the residuals explain the large ones as well.")
    elif found.freedom < HEAVY_FREEDOM:
        notes.append(
            f"The residuals of right targets have heavy tails (Student's t, {found.freedom:.1f} degrees of freedom): "
            "a large residual is weaker evidence here than with normal ones."
        )
    if abs(found.rate_likelihood - found.rate_counting) > LARGEST_DIFFERENCE:
        notes.append(
            f"Two ways of estimating the share of wrong targets differ: {found.rate_likelihood:.0%} and "
            f"{found.rate_counting:.0%}, so rely on the interval, not on the single figure."
        )
    return notes
