"""Random cases with the fields of 02-nacl.json against its equations pixel by pixel in plain NumPy."""

from collections import Counter
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, nacl
from comparison import mismatches

KERNELS = ("mean", "gaussian", "max", "min", "median", "mode")


def softmax(z: np.ndarray, axis: int = 1) -> np.ndarray:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def one_window(window: np.ndarray, classes: int, kernel: str, weights: np.ndarray) -> np.ndarray:
    labels = sorted(window.ravel().tolist())
    if kernel in ("mean", "gaussian"):
        return np.array([weights[window == k].sum() / weights.sum() for k in range(classes)])
    chosen = {
        "max": labels[-1],
        "min": labels[0],
        "median": labels[(len(labels) - 1) // 2],
        "mode": min(Counter(labels).items(), key=lambda each: (-each[1], each[0]))[0],
    }[kernel]
    return np.eye(classes)[chosen]


def svls_window(size: int, sigma: float, dims: int) -> np.ndarray:
    axis = np.arange(size) - size // 2
    g = np.exp(-sum(each**2 for each in np.meshgrid(*[axis] * dims, indexing="ij")) / (2 * sigma**2))
    centre = (size // 2,) * dims
    g = g / g.sum()
    rest = 1 - g[centre]
    g[centre] = rest
    return g / rest


def prior(targets: np.ndarray, classes: int, size: int, kernel: str, sigma: float) -> np.ndarray:
    dims = targets.ndim - 1
    weights = svls_window(size, sigma, dims) if kernel == "gaussian" else np.ones([size] * dims)
    tau = np.zeros((len(targets), classes, *targets.shape[1:]))
    for b, mask in enumerate(targets):
        padded = np.pad(mask, size // 2, mode="edge") if kernel == "gaussian" else np.pad(mask, size // 2)
        for place in product(*map(range, mask.shape)):
            window = padded[tuple(slice(at, at + size) for at in place)]
            tau[(b, slice(None), *place)] = one_window(window, classes, kernel, weights)
    return tau


def draw(rng: np.random.Generator, dims: int = 2) -> tuple[np.ndarray, np.ndarray, int]:
    classes = int(rng.integers(2, 6))
    shape = rng.integers(1, 6, dims).tolist()
    batch = int(rng.integers(1, 4))
    return rng.normal(0, 3, (batch, classes, *shape)), rng.integers(0, classes, (batch, *shape)), classes


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    listed = {name: value.tolist() for name, value in inputs.items()}
    wanted = {name: np.asarray(value).tolist() for name, value in expected.items()}
    computed = nacl.run({"inputs": listed, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, atol) == []


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("on_softmax", [False, True])
def test_nacl(kernel: str, distance: str, on_softmax: bool) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z, y, classes = draw(rng, dims=2 + seed % 2)
        size = int(rng.choice([3, 5] if kernel == "gaussian" else [1, 3, 5]))
        alpha, sigma = float(rng.choice([0, 0.1, 2])), float(rng.choice([0.5, 1, 2]))
        tau = prior(y, classes, size, kernel, sigma)
        onehot = np.moveaxis(np.eye(classes)[y], -1, 1)
        p, pixels = softmax(z), y.size
        cross_entropy = -np.log((p * onehot).sum(axis=1)).mean()
        gap = (p if on_softmax else z) - tau
        slope = (np.sign(gap) if distance == "l1" else 2 * gap) / (pixels * classes)
        if on_softmax:
            slope = p * (slope - (p * slope).sum(axis=1, keepdims=True))
        penalty = np.abs(gap).mean() if distance == "l1" else (gap**2).mean()
        params = {"num_classes": classes, "kernel_size": size, "kernel": kernel, "distance": distance}
        params |= {"alpha": alpha, "on_softmax": on_softmax} | ({"sigma": sigma} if kernel == "gaussian" else {})
        expected = {
            "loss": cross_entropy + alpha * penalty,
            "loss_ce": cross_entropy,
            "loss_penalty": penalty,
            "prior": tau,
        }
        if size > 1 or not on_softmax:  # where a probability meets its target the sign is a matter of rounding
            expected["grad_logits"] = (p - onehot) / pixels + alpha * slope
        check({"logits": z, "targets": y}, params, expected)


@pytest.mark.parametrize("seed", range(6))
def test_svls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, y, classes = draw(rng, dims=2 + seed % 2)
    size, sigma = int(rng.choice([3, 5])), float(rng.choice([0.4, 1, 3]))
    kernel = svls_window(size, sigma, y.ndim - 1)
    labels = prior(y, classes, size, "gaussian", sigma)
    p = softmax(z)
    expected = {
        "loss": -(labels * np.log(p)).sum(axis=1).mean(),
        "soft_labels": labels,
        "kernel": kernel,
        "kernel_sum": 2.0,
        "grad_logits": (p - labels) / y.size,
    }
    check({"logits": z, "targets": y}, {"num_classes": classes, "kernel_size": size, "sigma": sigma}, expected)


def gap_in_bins(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray) -> float:
    total = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return total


@pytest.mark.parametrize("seed", range(6))
def test_calibration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, classes, bins = int(rng.integers(1, 60)), int(rng.integers(2, 6)), int(rng.integers(1, 20))
    z, y = rng.normal(0, 2, (n, classes)), rng.integers(0, classes, n)
    p = softmax(z)
    even, top, right = np.linspace(0, 1, bins + 1), p.max(axis=1), p.argmax(axis=1) == y
    adaptive = np.interp(np.linspace(0, n, bins + 1), np.arange(n), np.sort(top))
    per_class = [gap_in_bins(p[:, k], y == k, even) for k in range(y.max() + 1)]
    expected = {
        "ece": gap_in_bins(top, right, even),
        "classwise_ece": np.mean(per_class),
        "adaptive_ece": gap_in_bins(top, right, adaptive),
    }
    check({"logits": z, "labels": y}, {"n_bins": bins}, expected, atol=1e-9)


@pytest.mark.parametrize(
    "case",
    [
        {"inputs": {"logits": [], "masks": []}, "params": {}, "expected": {}},
        {"inputs": {"logits": [[[[0.0]], [[1.0]]]], "targets": [[[0]]]}, "params": {"beta": 1}, "expected": {}},
        {"inputs": {"logits": [[0.0, 1.0]], "labels": [0]}, "params": {}, "expected": {"mce": 0}},
    ],
)
def test_what_is_unknown_fails(case: dict[str, Any]) -> None:
    with pytest.raises(UnknownCase):
        nacl.run(case, None)
