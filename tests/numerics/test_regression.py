"""Sums for R^2, metrics of numbers and density weights against scikit-learn, NumPy and plain loops."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_percentage_error, r2_score, root_mean_squared_error

from labelwise.errors import InputError
from labelwise.numerics.label_density import label_density_weights
from labelwise.numerics.regression_metrics import SquaredErrors, regression_metrics
from labelwise.training.task import r2


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_r2_of_blocks_is_that_of_all(outputs: int, shift: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(101, outputs)) + shift
    predicted = y + rng.normal(size=y.shape)
    blocks = [
        (torch.from_numpy(predicted[rows]), torch.from_numpy(y[rows])) for rows in np.split(np.arange(101), [0, 1, 40])
    ]
    assert r2(iter(blocks)) == pytest.approx(r2_score(y, predicted), rel=1e-8)
    assert r2(iter(blocks[::-1])) == pytest.approx(r2_score(y, predicted), rel=1e-8)


def test_unknown_numbers_do_not_count() -> None:
    y, predicted = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)).double()
    y[:10, 0] = float("nan")
    expected = np.mean([r2_score(y[10:, 0], predicted[10:, 0]), r2_score(y[:, 1], predicted[:, 1])])
    assert SquaredErrors(2).update(predicted, y).r2() == pytest.approx(expected)
    y[:, 0] = float("nan")
    assert SquaredErrors(2).update(predicted, y).r2() == pytest.approx(r2_score(y[:, 1], predicted[:, 1]))


def test_r2_at_the_boundary() -> None:
    ones = torch.ones(4, 1)
    assert r2(iter([])) == 0
    assert r2(iter([(ones, ones * float("nan"))])) == 0
    assert r2(iter([(ones, ones[:, 0])])) == 1
    assert r2(iter([(2 * ones, ones)])) == 0


def test_metrics() -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=(2, 40))
    found = regression_metrics(predicted, y)
    assert found.rmse == pytest.approx(root_mean_squared_error(y, predicted))
    assert found.mse == pytest.approx(found.rmse**2)
    assert found.r == pytest.approx(pearsonr(y, predicted)[0])
    assert found.mape == pytest.approx(100 * mean_absolute_percentage_error(y, predicted))
    both = np.stack([y, np.ones(40)], axis=1)
    assert regression_metrics(np.stack([predicted, y], axis=1), both).r == pytest.approx(found.r)


def test_metrics_at_the_boundary() -> None:
    assert regression_metrics([], []) == (0, 0, 0, 0)
    assert regression_metrics([1.0, 2.0], [0.0, 0.0]) == (2.5, 2.5**0.5, 0, 0)
    assert regression_metrics([1.0, 1.0], [0.0, 2.0]) == (1, 1, 0, 50)


@pytest.mark.parametrize(
    ("predicted", "y", "message"),
    [
        ([1.0], [1.0, 2.0], r"\(1,\) and y \(2,\)"),
        ([[[1.0]]], [[[1.0]]], r"\(n, outputs\)"),
        ([1.0], [np.nan], "NaN or infinity"),
        ([np.inf], [1.0], "NaN or infinity"),
    ],
)
def test_what_metrics_refuse(predicted: list, y: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        regression_metrics(predicted, y)


@pytest.mark.parametrize("scheme", ["sqrt_inv", "inverse"])
@pytest.mark.parametrize("smoothing", [None, (5, 1.0), (9, 2.0)])
def test_density_weights_by_a_loop(scheme: str, smoothing: tuple[int, float] | None) -> None:
    labels = np.random.default_rng(0).exponential(10, 500) - 3.2
    bins = np.floor(labels).astype(int) - int(np.floor(labels.min()))
    counts = np.array([float((bins == each).sum()) for each in range(bins.max() + 1)])
    counts = np.sqrt(counts) if scheme == "sqrt_inv" else np.minimum(np.maximum(counts, 5), 1000)
    if smoothing is not None:
        window = np.exp(-((np.arange(smoothing[0]) - smoothing[0] // 2) ** 2) / (2 * smoothing[1] ** 2))
        counts = convolve1d(counts, window / window.max(), mode="constant")
    weights = np.array([1 / counts[each] for each in bins])
    found = label_density_weights(labels, scheme, smoothing)
    np.testing.assert_allclose(found, weights * len(weights) / weights.sum())
    np.testing.assert_allclose(label_density_weights(4 * labels, scheme, smoothing, bin_width=4.0), found)


def test_density_weights_at_the_boundary() -> None:
    assert label_density_weights([3.5]).tolist() == [1]
    assert label_density_weights([2.0] * 5, "inverse", (9, 1.0)).tolist() == [1] * 5
    rare = label_density_weights([0.0] * 99 + [50.0])
    assert rare[-1] / rare[0] == pytest.approx(99**0.5)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "at least one row"),
        ([[1.0]], {}, r"shape \(1, 1\)"),
        ([1.0, np.nan], {}, "labels row 1 is nan"),
        ([np.inf], {}, "labels row 0 is inf"),
        ([1.0], {"scheme": "cubic"}, "scheme is 'cubic'"),
        ([1.0], {"smoothing": (4, 1.0)}, "odd number of bins"),
        ([1.0], {"smoothing": (5, 0.0)}, "odd number of bins"),
        ([1.0], {"bin_width": 0.0}, "bin_width is 0.0"),
        ([0.0, 1e12], {}, "give a bin_width above 1.0"),
    ],
)
def test_what_density_weights_refuse(labels: list, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_density_weights(labels, **options)
