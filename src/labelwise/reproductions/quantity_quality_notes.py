"""What the numbers of the sweep of budgets say in words, as notes of its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import t

GAINS = "mix over the better end"


def is_no_worse(found: Mapping[str, Any], seeds: int) -> bool:
    """Whether a difference, as kept with its 95% interval, is above minus one standard error."""
    if found["interval"] is None:
        return bool(found["difference"] >= 0)
    half = found["interval"][1] - found["difference"]
    return bool(found["difference"] >= -half / t.ppf(0.975, seeds - 1))


def mix_note(details: Mapping[str, Any], seeds: int) -> str:
    """What the mixes did at all budgets, and what the weak form of the claim is worth."""
    gains = {name: each[GAINS] for name, each in details.items()}
    clear = [f"{name}, {budget}" for name, each in gains.items() for budget, gain in each.items()
             if gain["interval"] is not None and gain["interval"][0] > 0]  # fmt: skip
    passed = [f"{sum(is_no_worse(gain, seeds) for gain in each.values())} of {len(each)} budgets on {name}"
              for name, each in gains.items()]  # fmt: skip
    numbers = [
        f"{name}: " + ", ".join(f"{budget.removeprefix('budget ')} {_points(gain)}" for budget, gain in each.items())
        for name, each in gains.items()
    ]
    most = max(len(each) for each in gains.values())
    lead = f"clearly better than the better end at {'; '.join(clear)}" if clear else "nowhere clearly better"
    return (
        f"A mix is {lead}: mix minus better end in points, by budget: {'; '.join(numbers)}. The budget shown above is "
        "the middle one whatever came of it, a rule made after the ten-seed sweep was seen. The weak form, no worse by "
        f"more than one standard error, is met at {', '.join(passed)}; as one budget is enough, a mix truly one "
        f"standard error worse at {most} of them would pass {1 - 0.5**most:.0%} of the time, so it takes no part in "
        "the verdict. The regimes beside compare each share's mean by one standard error and take the best mix on the "
        "scores it is judged by: a 'mixed' there is no proof."
    )


def _points(gain: Mapping[str, Any]) -> str:
    ends = gain["interval"]
    return f"{100 * gain['difference']:+.1f}" + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")


def spent_notes(details: Mapping[str, Any]) -> list[str]:
    """Where the pool was used up, so that cheap labels and mixes cost less than the budget."""
    found = []
    for name, each in details.items():
        for budget, spent in each["spent"].items():
            money = float(budget.removeprefix("budget "))
            less = [f"{share:.0%} dear {cost:g}" for share, cost in zip(each["fractions"], spent, strict=True)
                    if money - cost >= 1]  # fmt: skip
            if less:
                found.append(f"{name}, {budget}: the pool was used up, so less was spent: {', '.join(less)}.")
    return found
