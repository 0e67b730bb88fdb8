"""A plan for buying labels: how many cheap and dear ones for a budget, what accuracy to expect, how sure that is.

Learning curves over both kinds are measured on the labels at hand, a law is fitted to them, and the law is asked about
counts that nobody has yet. The question is that of Wu et al. 2024 (https://arxiv.org/abs/2410.13215); they sweep real
budgets, this forecasts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.elicitation import Allocation, allocate_budget, pareto_frontier, regime_of, total_cost
from labelwise.audit.label_curves import HELD_OUT, Curves, Labelled, choose_penalty, measure_curves
from labelwise.errors import InputError
from labelwise.numerics.label_worth import LEAST_POINTS, LabelLaw, fit_label_law

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_DEAR = 40
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
BUDGET_SHARES = (0.125, 0.25, 0.5, 1.0)
REPEATS, BOOTSTRAPS = 8, 40
NORMAL_QUANTILE = 1.96  # of the 95% interval
MOST_LABELS = 10**9  # that a budget may buy: more is a slip of the pen
INNER = 4  # the law is tried on counts up to so many times those it was fitted to


class Forecast(NamedTuple):
    """What a share of the budget buys and what comes of it; ``accuracy`` with its 95% interval ``low`` to ``high``."""

    fraction: float
    n_cheap: int
    n_dear: int
    cost: float
    accuracy: float
    low: float
    high: float


class Trial(NamedTuple):
    """The law fitted without its largest counts, asked about those: how many points, how many inside its interval
    before it was widened, and by how much it missed in the root mean square.
    """

    points: int
    inside: int
    miss: float


@dataclass(frozen=True, slots=True)
class Plan:
    """``forecasts``: one a fraction of the budget, counting new labels only; ``best`` is the position of the one to
    take. ``now``: what the labels at hand give. ``frontier``: forecasts of all budgets up to this one that no cheaper
    one matches. ``worth``: how many dear labels the next cheap one is worth. ``n_open``: rows at hand without a dear
    label, the most that any forecast buys.
    """

    forecasts: tuple[Forecast, ...]
    best: int
    now: Forecast
    regime: str
    frontier: tuple[Forecast, ...]
    worth: float
    law: LabelLaw
    trial: Trial
    penalty: float
    n_open: int

    @property
    def recommended(self) -> Forecast:
        """The allocation to take."""
        return self.forecasts[self.best]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        rows = {
            "recommended": self.recommended._asdict(),
            "now": self.now._asdict(),
            "forecasts": [each._asdict() for each in self.forecasts],
            "frontier": [each._asdict() for each in self.frontier],
            "law": self.law._asdict(),
            "trial": self.trial._asdict(),
        }
        return {name: value for name, value in asdict(self).items() if name not in (*rows, "best")} | rows


def check_purchase(budget: float, price_cheap: float, price_dear: float) -> None:
    """Raise InputError for a budget or price that is no number above 0, and for one that buys no label or too many."""
    for name, value in (("budget", budget), ("price cheap", price_cheap), ("price dear", price_dear)):
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; give a number above 0")
    lower = min(price_cheap, price_dear)
    if budget < lower:
        raise InputError(f"the budget of {budget} buys no label; give more, or lower prices")
    if budget / lower > MOST_LABELS:
        raise InputError(
            f"the budget of {budget} buys more than {MOST_LABELS:,} labels at {lower}; give both in one currency"
        )


def dear_labels_missing(data: Labelled) -> int:
    """How many more dear labels a forecast needs, 0 where there are enough."""
    return max(0, LEAST_DEAR - data.n_dear)


def plan_purchase(
    data: Labelled,
    budget: float,
    price_cheap: float,
    price_dear: float,
    *,
    rng: np.random.Generator,
    repeats: int = REPEATS,
    penalty: float | None = None,
) -> Plan:
    """Forecast each share of the budget, and recommend one. Raises InputError where there are too few dear labels.

    A dear label goes to a row at hand and takes the place of its cheap one, if it has one; there are no more than such
    rows, and money beyond them is not spent. A cheap label is for a new row. The forecast is for rows drawn at random
    from the same source and a linear model on the features. Cost: some 30 small fits a repeat.
    """
    check_purchase(budget, price_cheap, price_dear)
    missing = dear_labels_missing(data)
    if missing:
        raise InputError(
            f"there are {data.n_dear} dear labels, too few for a forecast: buy {missing} more, for random rows."
        )
    chance = 1 - float(np.bincount(data.dear[data.dear >= 0]).max() / data.n_dear)
    if chance == 0:
        raise InputError("all dear labels are of one class: buy some for rows of another, too.")
    chosen = choose_penalty(data, min(repeats, 4), rng)[0] if penalty is None else penalty
    curves = measure_curves(data, chosen, repeats, rng)
    forecaster = _Forecaster.fit(curves, chance, data, rng)

    def forecast(allocation: Allocation, fraction: float) -> Forecast:
        cost = total_cost(*allocation, price_cheap, price_dear)
        return Forecast(fraction, *allocation, cost, *forecaster.accuracy(*counts_after(data, *allocation)))

    def all_fractions(money: float) -> list[Forecast]:
        bought = [allocate_budget(money, share, price_cheap, price_dear) for share in FRACTIONS]
        there = [each._replace(n_high=min(each.n_high, data.n_open)) for each in bought]
        return [forecast(each, share) for each, share in zip(there, FRACTIONS, strict=True)]

    forecasts = all_fractions(budget)
    many = [each for share in BUDGET_SHARES[:-1] for each in all_fractions(share * budget)] + forecasts
    kept = pareto_frontier([each.cost for each in many], [each.accuracy for each in many])
    is_better = forecaster.clearly_better([counts_after(data, each.n_cheap, each.n_dear) for each in forecasts])
    return Plan(
        forecasts=tuple(forecasts),
        best=int(np.argmax([each.accuracy for each in forecasts])),
        now=forecast(Allocation(0, 0), 0.0),
        regime=regime_of(FRACTIONS, is_better),
        frontier=tuple(many[place] for place in kept),
        worth=forecaster.law.marginal_worth(data.n_cheap),
        law=forecaster.law,
        trial=forecaster.trial,
        penalty=chosen,
        n_open=data.n_open,
    )


def counts_after(data: Labelled, n_cheap: int, n_dear: int) -> tuple[int, int]:
    """Rows with a cheap label only, and with a dear one, after buying so many; dear ones for random open rows."""
    relabelled = round(n_dear * data.n_cheap / max(data.n_open, 1))
    return data.n_cheap - relabelled + n_cheap, data.n_dear + n_dear


@dataclass(frozen=True, slots=True)
class _Forecaster:
    """The law, laws of resampled repeats, and what else makes a forecast unsure.

    ``run_variance`` is that of one training to the next beyond the chance of who was held out; ``hand`` are the counts
    that the law was measured with.
    """

    law: LabelLaw
    laws: tuple[LabelLaw, ...]
    trial: Trial
    run_variance: float
    num_dear: int
    hand: tuple[int, int]

    @classmethod
    def fit(cls, curves: Curves, chance: float, data: Labelled, rng: np.random.Generator) -> _Forecaster:
        mean = curves.errors.mean(axis=0)  # (points,)
        scatter = _scatter(curves)
        repeats = len(curves.errors)
        laws = []
        for _ in range(BOOTSTRAPS):
            drawn = curves.errors[rng.integers(0, repeats, repeats)].mean(axis=0)
            laws.append(fit_label_law(curves.n_cheap, curves.n_dear, drawn, scatter, chance))
        largest = curves.errors[:, -1]
        by_holding_out = float(largest.mean() * (1 - largest.mean())) / max(curves.num_held, 1)
        run_variance = max(float(largest.var(ddof=1)) - by_holding_out, 0.0) if repeats > 1 else 0.0
        return cls(
            law=fit_label_law(curves.n_cheap, curves.n_dear, mean, scatter, chance),
            laws=tuple(laws),
            trial=_try_law(curves, chance),
            run_variance=run_variance,
            num_dear=data.n_dear,
            hand=(int(curves.n_cheap.max()), int(curves.n_dear.max())),
        )

    def accuracy(self, n_cheap: int, n_dear: int) -> tuple[float, float, float]:
        """Expected accuracy after so many labels, and the ends of its interval."""
        error = float(self.law.error(n_cheap, n_dear))
        by_law = float(np.var([float(law.error(n_cheap, n_dear)) for law in self.laws], ddof=1))
        by_holding_out = error * (1 - error) / self.num_dear
        known = float(self.law.dear_equivalent(*self.hand))
        farther = float(self.law.dear_equivalent(n_cheap, n_dear)) / known
        # Within what was measured the law may be off too, by some part of what it misses outside.
        by_extrapolation = (self.trial.miss * max(0.5, math.log(max(farther, 1.0)) / math.log(INNER))) ** 2
        half = NORMAL_QUANTILE * math.sqrt(by_law + by_holding_out + by_extrapolation + self.run_variance)
        return 1 - error, max(1 - error - half, 0.0), min(1 - error + half, 1.0)

    def clearly_better(self, counts: list[tuple[int, int]]) -> NDArray[np.bool_]:
        """Whether the row's counts err less than the column's by the whole interval of the difference, (n, n).

        Paired: held-out rows and resampled repeats are the same for both, and models differ on as many rows at least
        as their errors do.
        """
        cheap, dear = np.array(counts).T
        error = self.law.error(cheap, dear)
        errors = np.stack([law.error(cheap, dear) for law in self.laws])  # (laws, n)
        by_law = (errors[:, :, None] - errors[:, None]).var(axis=0, ddof=1)  # (n, n)
        gain = error - error[:, None]
        by_holding_out = np.abs(gain) * (1 - np.abs(gain)) / self.num_dear
        half = NORMAL_QUANTILE * np.sqrt(by_law + by_holding_out)
        return np.asarray(gain > half)


def _scatter(curves: Curves) -> Floats:
    """Standard error of each mean error, (points,): no less than the held-out rows' own."""
    mean = curves.errors.mean(axis=0)
    rows = max(curves.num_held / HELD_OUT, 1)
    by_holding_out = np.sqrt(mean * (1 - mean) / rows)
    if len(curves.errors) == 1:
        return np.asarray(by_holding_out)
    return np.asarray(np.maximum(curves.errors.std(axis=0, ddof=1) / math.sqrt(len(curves.errors)), by_holding_out))


def _try_law(curves: Curves, chance: float) -> Trial:
    """Fit the law to the small counts and ask it about the large ones."""
    inner = (curves.n_cheap <= curves.n_cheap.max() / INNER) & (curves.n_dear <= curves.n_dear.max() / INNER)
    mean, scatter = curves.errors.mean(axis=0), _scatter(curves)
    if inner.sum() < LEAST_POINTS or inner.all():
        law = fit_label_law(curves.n_cheap, curves.n_dear, mean, scatter, chance)
        outer = np.ones(len(mean), dtype=bool)
    else:
        law = fit_label_law(curves.n_cheap[inner], curves.n_dear[inner], mean[inner], scatter[inner], chance)
        outer = ~inner
    gaps = law.error(curves.n_cheap, curves.n_dear)[outer] - mean[outer]
    inside = np.abs(gaps) <= NORMAL_QUANTILE * scatter[outer]
    return Trial(int(outer.sum()), int(inside.sum()), float(np.sqrt((gaps**2).mean())))
