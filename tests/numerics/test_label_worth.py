"""The law of labels' worth: found again from curves that follow it, and what it says at its ends."""

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.numerics.label_worth import LabelLaw, fit_label_law

GRID = np.array([(w, h) for w in (0, 20, 80, 320, 1280) for h in (0, 5, 15, 45, 130, 400) if w + h]).T
LAWS = [
    LabelLaw(chance=0.5, floor=0.03, scale=20.0, exponent=0.8, worth=0.3, ceiling=80.0),
    LabelLaw(chance=0.9, floor=0.2, scale=60.0, exponent=0.6, worth=0.05, ceiling=1000.0),
    LabelLaw(chance=0.3, floor=0.01, scale=10.0, exponent=0.4, worth=0.9, ceiling=20.0),
]


@pytest.mark.parametrize("truth", LAWS)
def test_a_law_is_found_again_and_carries_over(truth: LabelLaw) -> None:
    found = fit_label_law(*GRID, truth.error(*GRID), np.full(GRID.shape[1], 0.003), truth.chance)
    np.testing.assert_allclose(found.error(*GRID), truth.error(*GRID), atol=0.004)
    far = np.array([(5000, 0), (0, 1600), (5000, 1600)]).T
    np.testing.assert_allclose(found.error(*far), truth.error(*far), atol=0.015)


@pytest.mark.parametrize("truth", LAWS)
def test_a_law_is_found_again_under_noise(truth: LabelLaw) -> None:
    rng = np.random.default_rng(0)
    misses = []
    for _ in range(10):
        measured = truth.error(*GRID) + 0.015 * rng.normal(size=GRID.shape[1])
        found = fit_label_law(*GRID, measured, np.full(GRID.shape[1], 0.015), truth.chance)
        misses.append(found.error(640, 800) - truth.error(640, 800))
    assert np.abs(misses).mean() < 0.015


def test_the_law_at_its_ends() -> None:
    law = LAWS[0]
    assert law.error(0, 0) == pytest.approx(0.5)
    assert law.error(0, 1e12) == pytest.approx(0.03, abs=1e-6)
    assert law.dear_equivalent(1e9, 0) == pytest.approx(80, rel=1e-5)
    assert law.dear_equivalent(1, 7) == pytest.approx(7.3, abs=0.01)
    assert law.marginal_worth(0) == 0.3
    slope = law.dear_equivalent(200 + 1e-4, 0) - law.dear_equivalent(200, 0)
    assert law.marginal_worth(200) == pytest.approx(float(slope) / 1e-4, rel=1e-4)


def test_worthless_cheap_labels() -> None:
    errors = 0.05 + 0.45 * (1 + GRID[1] / 20) ** -0.7
    found = fit_label_law(*GRID, errors, np.full(GRID.shape[1], 0.005), 0.5)
    assert found.error(100_000, 50) == pytest.approx(found.error(0, 50), abs=0.02)


@pytest.mark.parametrize(("points", "chance"), [(4, 0.5), (9, 0.0), (9, 1.0), (9, float("nan"))])
def test_what_cannot_be_fitted_is_refused(points: int, chance: float) -> None:
    with pytest.raises(InputError):
        fit_label_law(np.arange(points), np.arange(points), np.full(points, 0.2), np.ones(points), chance)
