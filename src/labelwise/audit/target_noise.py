"""How many numeric targets are wrong, with an interval, and from which residual on a target is doubted.

Targets are of three kinds. The residuals of *right* ones, less the median of all residuals (a model that learnt wrong
targets has one), follow Student's t with a scale and degrees of freedom of their own, so that tails as heavy as the
data ask for are allowed. *Exchanged* ones are like any other target: whatever the prediction, a broad t with two
degrees of freedom around the median of the targets. *Gross* slips lie anywhere: such a t around the prediction, GROSS
times as wide as usual residuals or more. Scale, degrees of freedom and the shares of the kinds are those that make the
targets most likely (as in Efron, "Large-scale simultaneous hypothesis testing", JASA 2004, the null is fitted to the
data); a kind counts as there where a likelihood-ratio test says so, first gross slips, then exchanged ones.

*Likelihood*, the two wrong kinds together, errs low where tails are heavy: they explain wrong targets too. *Counting*
takes residuals of right targets as normal with the scale of their median, counts those beyond CUT deviations in excess
of that, and divides by the share of exchanged targets that would lie beyond; it errs high where tails are heavy. Both
add wrong targets that nobody sees, those that happen to lie near the prediction, as many as there are if targets were
exchanged. The interval reaches from the lowest of the two and of the share that is *seen* (the likelihood's, beyond CUT
deviations) to the highest, widened by the sampling error; it reaches down to 0 where a likelihood-ratio test does not
reject that heavy tails alone explain all residuals. It is not about targets that are a little wrong, within what the
predictions err. A model that learnt gross slips predicts other rows badly, whose right targets then look wrong: a note
asks to correct the slips and audit anew. Where the predictions are so poor that exchanged targets look like right ones
(fewer than LEAST_POWER of them would lie beyond CUT deviations, or the fit calls half of the targets exchanged), only
gross slips are told, and the interval reaches up to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln
from scipy.stats import chi2, norm
from scipy.stats import t as student

Array = NDArray[np.float64]

CUT = 3.0
LEAST_POWER = 0.1
GROSS = 10.0
NORMAL_MEDIAN = 0.6744897501960817  # of the absolute value of a normal number
WRONG_FREEDOM = 2.0
# Of right residuals: scales that are tried, in terms of that of the median, and degrees of freedom.
SCALES = 0.2, 1.5
LEAST_FREEDOM, MOST_FREEDOM = 1.0, 200.0
# Logarithm of what a wrong kind is to the right one in number: from none to as many.
NONE, AS_MANY = -15.0, 0.0
# Tails with fewer degrees of freedom than this are called heavy.
HEAVY_FREEDOM = 10.0
LARGEST_DIFFERENCE = 0.05
# A share of gross slips above this is worth a note.
FEW = 0.002
CONFIDENCE = 0.95


class TargetNoise(NamedTuple):
    """Share of wrong targets with an interval, and the residuals of right ones.

    ``rate_likelihood`` and ``rate_counting`` are the two views. ``centre`` is the median residual, prediction - target;
    the residual of a right target, less that and divided by its spread, is ``scale`` times Student's t with ``freedom``
    degrees of freedom. ``notes`` are sentences for the report.
    """

    rate: float
    low: float
    high: float
    rate_likelihood: float
    rate_counting: float
    centre: float
    scale: float
    freedom: float
    notes: tuple[str, ...] = ()

    def quantile(self, tails: Array) -> Array:
        """What |residual - centre| / spread reaches in each of these shares (tails,) of the right targets."""
        excess: Array = self.scale * student.isf(tails / 2, self.freedom)
        return excess


class _Sample(NamedTuple):
    """Rows that the model is fitted on, all (n,): |residual| in usual ones, the log densities of wrong kinds (2, n)."""

    deviations: Array
    log_unit: Array  # of what one deviation is in the unit of the targets
    log_wrong: Array  # exchanged, gross


class _Model(NamedTuple):
    """Parameters (4,): log scale in deviations, log degrees of freedom, log numbers of exchanged and of gross targets
    for each right one. ``likely`` is the log-likelihood.
    """

    parameters: Array
    likely: float

    @property
    def shares(self) -> Array:
        """Shares of exchanged and of gross targets (2,)."""
        numbers = np.exp(self.parameters[2:])
        shares: Array = numbers / (1 + numbers.sum())
        return shares


def estimate_target_noise(targets: Array, predictions: Array, spread: Array, rng: np.random.Generator) -> TargetNoise:
    """Estimate the share of wrong targets; all (n,) finite, spread above 0. Cost: some 200 passes over the rows."""
    centre = float(np.median(predictions - targets))
    residuals = predictions - targets - centre
    excess = np.abs(residuals) / spread
    scale = float(np.median(excess)) / NORMAL_MEDIAN
    if scale == 0:
        wrong = float((excess > 0).mean())
        note = "More than half of the differences are the same, so every other target is taken as wrong."
        return TargetNoise(wrong, 0.0, wrong, wrong, wrong, centre, 0.0, MOST_FREEDOM, (note,))
    sample = _Sample(excess / scale, np.log(scale * spread), _log_wrong(targets, residuals, scale * spread))

    right_only, with_gross, with_both = (_fit(sample, num_wrong) for num_wrong in range(3))
    exchanged = np.abs(rng.permutation(targets) - predictions + centre) / (spread * scale)
    is_told = with_both.parameters[2] < AS_MANY - 0.01 and float((exchanged > CUT).mean()) >= LEAST_POWER
    has_exchanged = is_told and 2 * (with_both.likely - with_gross.likely) > chi2.ppf(CONFIDENCE, 1)
    model = with_both if has_exchanged else with_gross
    needed = 2 * (model.likely - right_only.likely) > chi2.ppf(CONFIDENCE, 1 + has_exchanged)
    core = model if needed else right_only
    likelihood, likelihood_error = float(model.shares.sum()), _share_error(model, sample)
    counting, counting_error = _counting(sample.deviations, exchanged)
    half = float(norm.ppf(0.5 + CONFIDENCE / 2))
    lowest = min(likelihood, counting, _seen(model, sample)) - half * max(likelihood_error, counting_error)
    highest = max(likelihood + half * likelihood_error, counting + half * counting_error)
    found = TargetNoise(
        rate=likelihood if needed else 0.0,
        low=max(0.0, lowest) if needed else 0.0,
        high=min(1.0, highest) if is_told else 1.0,
        rate_likelihood=likelihood,
        rate_counting=counting,
        centre=centre,
        scale=float(np.exp(core.parameters[0])) * scale,
        freedom=float(np.exp(core.parameters[1])),
    )
    return found._replace(notes=tuple(_notes(found, model.shares[1] if needed else 0.0, needed, is_told)))


def _log_wrong(targets: Array, residuals: Array, usual: Array) -> Array:
    """Log densities (2, n) of the targets as exchanged ones and as gross slips; usual (n,) residuals."""
    middle = np.median(targets)
    width = max(float(np.median(np.abs(targets - middle))) / NORMAL_MEDIAN, float(np.median(np.abs(residuals))))
    gross = max(float(np.sqrt(np.mean(residuals**2))), GROSS * float(np.median(usual)))
    return np.stack(
        [
            _log_t((targets - middle) / width, WRONG_FREEDOM) - np.log(width),
            _log_t(residuals / gross, WRONG_FREEDOM) - np.log(gross),
        ]
    )


def _fit(sample: _Sample, num_wrong: int) -> _Model:
    """The likeliest model with right targets only, with gross slips (1), and with exchanged ones as well (2)."""
    none = np.full(4, NONE)
    free = np.array([0, 1, 3, 2])[: 2 + num_wrong]
    bounds = [np.log(SCALES), np.log([LEAST_FREEDOM, MOST_FREEDOM]), (NONE, AS_MANY), (NONE, AS_MANY)]

    def loss(parameters: Array) -> float:
        return -_log_likelihood(_placed(none, free, parameters), sample) / len(sample.deviations)

    start = np.array([0.0, np.log(8.0), -4.0, -4.0])[: len(free)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=[bounds[place] for place in free])
    return _Model(_placed(none, free, found.x), float(-found.fun * len(sample.deviations)))


def _placed(values: Array, places: NDArray[np.int64], new: Array) -> Array:
    values = values.copy()
    values[places] = new
    return values


def _log_likelihood(parameters: Array, sample: _Sample) -> float:
    log_kinds = np.concatenate([_log_right(parameters, sample)[None], parameters[2:, None] + sample.log_wrong])
    log_total = np.log1p(np.exp(parameters[2:]).sum())
    return float(np.logaddexp.reduce(log_kinds, axis=0).sum() - log_total * len(sample.deviations))


def _log_right(parameters: Array, sample: _Sample) -> Array:
    """Log density of each row (n,) as a right target."""
    scaled = sample.deviations / np.exp(parameters[0])
    return _log_t(scaled, np.exp(parameters[1])) - parameters[0] - sample.log_unit


def _log_t(values: Array, freedom: float) -> Array:
    """Log density of Student's t."""
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - np.log(freedom * np.pi) / 2
    logs: Array = constant - (freedom + 1) / 2 * np.log1p(values**2 / freedom)
    return logs


def _seen(model: _Model, sample: _Sample) -> float:
    """Share of the targets that are wrong, by the likelihood, and beyond CUT deviations."""
    is_beyond = sample.deviations > CUT
    log_wrong = np.logaddexp.reduce(model.parameters[2:, None] + sample.log_wrong, axis=0)
    log_odds = log_wrong - _log_right(model.parameters, sample)
    return float((is_beyond / (1 + np.exp(-log_odds))).mean())


def _share_error(model: _Model, sample: _Sample, step: float = 1e-3) -> float:
    """Standard deviation of the share of wrong targets: from the curvature of the likelihood, by differences."""
    # What stands at the end of its range is taken as known.
    free = np.flatnonzero(model.parameters > NONE + 1)
    steps = step * np.eye(4)[free]

    def slope(place: Array) -> Array:
        return np.array(
            [(_log_likelihood(place + s, sample) - _log_likelihood(place - s, sample)) / (2 * step) for s in steps]
        )

    curvature = np.array([(slope(model.parameters - s) - slope(model.parameters + s)) / (2 * step) for s in steps])
    weight = np.concatenate([[0.0, 0.0], model.shares * (1 - model.shares.sum())])[free]
    variance = weight @ np.linalg.pinv((curvature + curvature.T) / 2, hermitian=True) @ weight
    return float(np.sqrt(max(variance, 0.0)))


def _counting(deviations: Array, exchanged: Array) -> tuple[float, float]:
    """Share of wrong targets by counting, and its standard deviation.

    deviations (n,): |residual| of the targets in deviations of right ones; exchanged (n,): were they all exchanged.
    """
    count, expected = len(deviations), 2 * norm.sf(CUT)
    power = max(float((exchanged > CUT).mean()) - expected, 1 / count)
    beyond = float((deviations > CUT).mean())
    error = np.sqrt(max(beyond * (1 - beyond), 1 / count) / count) / power
    return float(np.clip((beyond - expected) / power, 0.0, 1.0)), float(error)


def _notes(found: TargetNoise, gross: float, needed: bool, is_told: bool) -> list[str]:
    notes = []
    if gross > FEW:
        notes.append(
            f"About {gross:.1%} of the targets are off by far more than the rest. Correct those, train again and audit "
            "again: a model that learnt them makes right targets look wrong."
        )
    if not is_told:
        notes.append(
            "The predictions are too poor to tell an exchanged target from a right one: only gross slips are found."
        )
    elif not needed:
        notes.append("The targets may all be right: heavy tails of the residuals explain the large ones as well.")
    elif found.freedom < HEAVY_FREEDOM:
        notes.append(
            f"The residuals of right targets have heavy tails (Student's t, {found.freedom:.1f} degrees of freedom): "
            "a large residual is weaker evidence here than with normal ones."
        )
    if is_told and abs(found.rate_likelihood - found.rate_counting) > LARGEST_DIFFERENCE:
        notes.append(
            f"Two ways of estimating the share of wrong targets differ: {found.rate_likelihood:.0%} and "
            f"{found.rate_counting:.0%}, so rely on the interval, not on the single figure."
        )
    return notes
