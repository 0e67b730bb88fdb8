"""Random cases with the fields of 06-conr.json and 25-c-mixup.json against their equations in plain NumPy."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, c_mixup, conr
from comparison import mismatches


def check(adapter: Any, inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any]) -> None:
    listed = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
    wanted = {name: np.asarray(value).tolist() for name, value in expected.items()}
    computed = adapter.run({"inputs": listed, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, 1e-8) == []


def loss_by_loops(
    z: np.ndarray, y: np.ndarray, p: np.ndarray, rho: np.ndarray, params: dict[str, Any], dense: bool
) -> float:
    n, w, t, e = len(z), params["w"], params["t"], params["e"]
    q = [row / max(np.linalg.norm(row), 1e-12) for row in z]
    total = 0.0
    for i in range(n):
        positives = [j for j in range(n) if j != i and abs(y[i] - y[j]) <= w]
        negatives = [j for j in range(n) if abs(y[i] - y[j]) > w and abs(p[i] - p[j]) <= w]
        if not negatives or not positives:
            continue
        s = [float(q[i] @ q[j]) / t for j in range(n)]
        push = [e * abs(y[i] - y[j]) if dense else math.exp(e * abs(y[i] - y[j])) for j in range(n)]
        z_i = sum(math.exp(s[j]) if j in positives else 1.0 for j in range(n))
        z_i += sum(rho[i] * push[j] * math.exp(s[j]) for j in negatives)
        value = sum(-math.log(math.exp(s[j]) / z_i) for j in positives)
        total += value / (len(positives) + 1) if dense else rho[i] * value / len(positives)
    return total / n


@pytest.mark.parametrize("seed", range(12))
def test_conr(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense, n = seed % 2 == 1, 2 * int(rng.integers(2, 8))
    params: dict[str, Any] = {
        "w": float(rng.uniform(0.2, 2)),
        "t": float(rng.uniform(0.05, 1)),
        "e": float(rng.uniform(0, 1)),
    }
    shape = (n, 1, 2, 3) if dense else (n, 1)
    z = rng.normal(size=(n, 2, 2, 1) if dense else (n, int(rng.integers(1, 6))))
    y, p = rng.normal(0, 2, (n, 1)), rng.normal(0, 2, (n, 1))
    if not dense:
        y = np.concatenate([y[: n // 2]] * 2)
    rho = rng.uniform(0, 2, shape)
    inputs = {"features": z, "targets": y, "preds": p, "weights": rho}
    if dense:
        inputs |= {
            "targets": np.broadcast_to(y[:, :, None, None], shape),
            "preds": np.broadcast_to(p[:, :, None, None], shape),
        }
        params["variant"] = "dense: per-image mean label"
    flat, means = z.reshape(n, -1), rho.reshape(n, -1).mean(axis=1)

    def loss(at: np.ndarray) -> float:
        return loss_by_loops(at, y[:, 0], p[:, 0], means, params, dense)

    check(conr, inputs, params, {"loss": loss(flat)})
    slope = np.zeros_like(flat)
    for place in np.ndindex(*flat.shape):
        step = np.zeros_like(flat)
        step[place] = 1e-5
        slope[place] = (loss(flat + step) - loss(flat - step)) / 2e-5
    listed = {name: value.tolist() for name, value in inputs.items()}
    computed = conr.run({"inputs": listed, "params": params, "expected": {"grad_features": 0}}, None)
    np.testing.assert_allclose(computed["grad_features"].numpy().reshape(n, -1), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_c_mixup(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, outputs, size = int(rng.integers(1, 20)), int(rng.integers(1, 4)), int(rng.integers(1, 9))
    y, bandwidth = rng.normal(size=(n, outputs)).round(1), float(rng.choice([1e-3, 0.1, 1, 100]))
    p = np.exp(-((y[:, None] - y[None]) ** 2).sum(axis=2) / (2 * bandwidth**2))
    p /= p.sum(axis=1, keepdims=True)
    check(c_mixup, {"y": y}, {"bandwidth": bandwidth, "kernel": "gaussian"}, {"sample_rate": p})

    x, lam, anchors, uniforms = rng.normal(size=(n, 3)), float(rng.random()), rng.integers(0, n, size), rng.random(size)
    partners = np.array([min(int((np.cumsum(p[i]) <= u).sum()), n - 1) for i, u in zip(anchors, uniforms, strict=True)])
    inputs = {"x": x, "y": y, "anchor_index": anchors, "uniforms": uniforms, "lam": lam}
    mixed = {f"mixed_{key}": lam * each[anchors] + (1 - lam) * each[partners] for key, each in (("x", x), ("y", y))}
    check(c_mixup, inputs, {"bandwidth": bandwidth}, {"partner_index": partners} | mixed)


@pytest.mark.parametrize("seed", range(4))
def test_manifold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = [*rng.integers(1, 6, 3).tolist(), 1]
    size, lam, slope = int(rng.integers(1, 7)), float(rng.random()), float(rng.uniform(0, 0.5))
    parts = [(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in pairwise(widths)]
    x1, x2 = rng.normal(size=(2, size, widths[0]))

    def leaky(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, slope * values)

    first = [leaky(x @ parts[0][0].T + parts[0][1]) for x in (x1, x2)]
    hidden = leaky((lam * first[0] + (1 - lam) * first[1]) @ parts[1][0].T + parts[1][1])
    names = ("block_1", "block_2", "fclayer")
    weights = {f"param.{name}.0.weight": part[0] for name, part in zip(names, parts, strict=True)}
    weights |= {f"param.{name}.0.bias": part[1] for name, part in zip(names, parts, strict=True)}
    params = {"negative_slope": slope, "mix_after": "block_1"}
    check(c_mixup, {"x1": x1, "x2": x2, "lam": lam} | weights, params, {"output": hidden @ parts[2][0].T + parts[2][1]})


def test_metrics() -> None:
    y, predicted = np.array([0.0, 2.0, -4.0]), np.array([1.0, 1.0, -5.0])
    expected = {"mse": 1.0, "rmse": 1.0, "r": np.corrcoef(y, predicted)[0, 1], "mape": 37.5}
    check(c_mixup, {"pred": predicted, "y": y}, {}, expected)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (conr, {"inputs": {"features": [[1.0]]}, "params": {}, "expected": {}}),
        (conr, {"inputs": {"features": 0, "targets": 0, "preds": 0}, "params": {"w": 1, "t": 1}, "expected": {}}),
        (conr, {"inputs": {"features": 0, "targets": 0, "preds": 0}, "params": {"gamma": 1}, "expected": {}}),
        (c_mixup, {"inputs": {"z": []}, "params": {}, "expected": {}}),
        (c_mixup, {"inputs": {"y": [[1.0]]}, "params": {"alpha": 1}, "expected": {}}),
        (c_mixup, {"inputs": {"pred": [1.0], "y": [1.0]}, "params": {}, "expected": {"r2": 1}}),
    ],
)
def test_what_is_unknown_fails(adapter: Any, case: dict[str, Any]) -> None:
    with pytest.raises(UnknownCase):
        adapter.run(case, None)
