"""Learning curves: what the fit recovers, when correction starts, bad input."""

import numpy as np
import pytest
from scipy.optimize import minimize

from labelwise.errors import InputError
from labelwise.numerics.learning_curves import (
    LearningCurve,
    correction_epoch,
    fit_learning_curve,
    learning_curve,
    learning_curve_slope,
    num_flat,
    relative_change,
)

CURVES = [(0.8, 0.9, 1.5), (0.5, 0.5, 2.0), (0.95, 0.7, 0.4)]


def test_it_rises_from_nothing_to_its_height() -> None:
    values = learning_curve(np.linspace(0, 1e6, 1000), 0.8, 0.9, 3.0)
    assert values[0] == 0
    assert (np.diff(values) >= 0).all()
    assert values[-1] == pytest.approx(0.8)


@pytest.mark.parametrize("curve", CURVES)
def test_the_slope_is_the_derivative(curve: tuple[float, float, float]) -> None:
    x = np.array([0.3, 1.0, 7.0])
    numeric = (learning_curve(x + 1e-6, *curve) - learning_curve(x - 1e-6, *curve)) / 2e-6
    np.testing.assert_allclose(learning_curve_slope(x, *curve), numeric, rtol=1e-5)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("interval", [1.0, 0.25])
def test_the_fit_recovers_a_curve_without_noise(curve: tuple[float, float, float], interval: float) -> None:
    n = 15
    found = fit_learning_curve(learning_curve(np.linspace(0, n * interval, n), *curve), interval)
    np.testing.assert_allclose(found, curve, rtol=1e-3)


def test_the_fit_is_the_least_weighted_square() -> None:
    scores = np.clip(learning_curve(np.linspace(0, 12, 12), 0.7, 0.8, 2.0) + 0.02 * np.sin(np.arange(12)), 0, 1)
    times, sigma = np.linspace(0, 12, 12), 10.0 ** np.linspace(0, -1, 12)

    def cost(p: np.ndarray) -> float:
        return float((((p[0] * (1 - np.exp(-(times ** p[1]) / p[2]))) - scores) ** 2 / sigma**2).sum())

    starts = [(0.5, 0.5, 1.0), (0.9, 0.9, 3.0), (0.7, 0.3, 0.5)]
    best = min(minimize(cost, at, bounds=[(0, 1), (0, 1), (1e-6, None)]).fun for at in starts)
    assert cost(np.array(fit_learning_curve(scores))) <= best + 1e-5


@pytest.mark.parametrize("curve", CURVES)
def test_relative_change_from_the_slopes(curve: tuple[float, float, float]) -> None:
    slopes = learning_curve_slope(np.arange(1, 20) + 1e-6, *curve)
    np.testing.assert_allclose(
        relative_change(LearningCurve(*curve), 20), np.abs(slopes - slopes[0]) / slopes[0], atol=1e-9
    )


def test_relative_change_where_the_slopes_vanish() -> None:
    assert relative_change(LearningCurve(0.5, 1.0, 1e-9), 6).tolist() == [0, 1, 1, 1, 1]
    assert relative_change(LearningCurve(0.0, 0.5, 1.0), 1).shape == (0,)


def test_a_smaller_share_never_starts_later() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scores = np.sort(rng.uniform(0, 1, 12))
        starts = [correction_epoch(scores, 30, r) for r in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert starts == sorted(starts)  # type: ignore[type-var]
        assert starts[0] == 2
        assert starts[-1] == 30


def test_a_flat_beginning_is_cut_off_and_added_back() -> None:
    curve = learning_curve(np.linspace(0, 8, 8), 0.8, 0.9, 1.5)
    late = np.concatenate([[0.0, 0.01, 0.02], curve])
    assert num_flat(late, 0.1) == 3
    assert correction_epoch(late, 20, skip_flat=0.1) == correction_epoch(curve, 20, skip_flat=0.1) + 3
    assert num_flat([0.5], 0.1) == 0
    assert num_flat(np.linspace(0, 0.5, 10), 0.1) == 9
    assert num_flat([0.2, 0.3], 0.3 - 0.2) == 0  # a rise of just the increment is none that is flat


@pytest.mark.parametrize(
    "scores",
    [[], [0.1, 0.5, 0.6], [0.0] * 9, [0.01 * n for n in range(12)]],
    ids=["none", "three", "nothing learnt", "never rises"],
)
def test_classes_that_cannot_be_judged_do_not_start(scores: list[float]) -> None:
    assert correction_epoch(scores, 20, skip_flat=0.1) is None
    if scores and not any(scores):
        assert correction_epoch(scores, 20) is None


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, 0.2, 0.3], "3 scores: give at least 4"),
        ([0.1, float("nan"), 0.3, 0.4], "score 1 is nan"),
        ([0.1, 0.2, 1.5, 0.4], "score 2 is 1.5"),
        ([-0.1, 0.2, 0.5, 0.4], "score 0 is -0.1"),
        ([[0.1, 0.2]], "shape .1, 2."),
    ],
)
def test_bad_scores(scores: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_learning_curve(scores)


def test_bad_share() -> None:
    with pytest.raises(InputError, match=r"r is 1.5"):
        correction_epoch([0.1, 0.2, 0.3, 0.4], 10, r=1.5)


@pytest.mark.parametrize("scores", [[1.0] * 5, [0.0, 1.0, 1.0, 1.0], [0.5, 0.4, 0.3, 0.2, 0.1]])
def test_odd_curves_are_fitted_all_the_same(scores: list[float]) -> None:
    start = correction_epoch(scores, 10)
    assert start is not None
    assert 2 <= start <= 10
