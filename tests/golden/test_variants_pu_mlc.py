"""Random cases with the fields of 04-pu-mlc.json against the method's steps in plain NumPy loops."""

import math
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, pu_mlc
from comparison import mismatches


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-9) -> None:
    computed = pu_mlc.run({"inputs": plain(inputs), "params": params, "expected": plain(expected)}, None)
    assert mismatches(plain(expected), computed, atol) == []


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: plain(value) if isinstance(value, dict) else value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def variational(
    z: np.ndarray, y: np.ndarray, gamma: float, alpha: float, eps: float
) -> tuple[float, np.ndarray, list[float], list[float]]:
    """Loss, gradient of the logits with temperature and weight held, temperatures and weights."""
    loss, gradient, temperatures, weights = 0.0, np.zeros_like(z), [], []
    for c in range(z.shape[1]):
        column = z[:, c]
        tau = min(alpha * math.sqrt(((column - column.mean()) ** 2).mean()), 1)
        phi = sigmoid(column / tau)
        w = phi.mean() ** gamma
        slope = phi * (1 - phi) / tau
        loss += w * math.log(phi.mean() + eps)
        gradient[:, c] = w * slope / len(column) / (phi.mean() + eps)
        positives = [b for b in range(len(column)) if y[b, c] == 1]
        for b in positives:
            loss -= math.log(phi[b] + 2 * eps) / len(positives)
            gradient[b, c] -= slope[b] / (phi[b] + 2 * eps) / len(positives)
        temperatures.append(tau)
        weights.append(w)
    return loss, gradient, temperatures, weights


@pytest.mark.parametrize("seed", range(12))
def test_variational_loss(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(2, 9)), int(rng.integers(1, 6)))
    z, y = rng.normal(size=shape) * rng.uniform(0.2, 3), rng.integers(-1, 2, shape)
    params = {"gamma": float(rng.uniform(0, 1)), "alpha": float(rng.uniform(0.5, 3)), "eps": 1e-10}
    loss, gradient, temperatures, weights = variational(z, y, **params)
    expected = {"loss": loss, "grad_logits": gradient, "temperature": temperatures, "class_weight": weights}
    check({"logits": z, "labels": y.astype(float)}, params, expected)


def consistency(weight: np.ndarray, bias: np.ndarray, q: np.ndarray | None, case: dict[str, Any], eps: float) -> float:
    """The regulariser of a linear model; q, targets held fixed, or those of the model."""
    x = case["x"].reshape(len(case["x"]), 4)
    if q is None:
        q = np.where(case["labels"] == 1, 1, sigmoid(x @ weight.T + bias))
    half, lam, total = len(x) // 2, case["lam"], 0.0
    for i in range(half):
        first, second = case["perm_first_half"][i], len(x) - half + i
        mixed = lam * x[first] + (1 - lam) * x[second]
        target = lam * q[first] + (1 - lam) * q[second]
        gap = np.log(target + eps) - np.log(sigmoid(weight @ mixed + bias) + eps)
        total += float((gap**2).sum()) / half
    return total


@pytest.mark.parametrize("seed", range(8))
def test_mixup_consistency_and_both_gradients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, classes = int(rng.integers(2, 8)), int(rng.integers(1, 5))
    case: dict[str, Any] = {
        "x": rng.normal(size=(rows, 1, 2, 2)),
        "labels": rng.integers(-1, 2, (rows, classes)).astype(float),
        "weight": rng.normal(size=(classes, 4)),
        "bias": rng.normal(size=classes),
        "perm_first_half": rng.permutation(rows // 2),
        "lam": float(rng.uniform()),
    }
    weight, bias = case["weight"], case["bias"]
    held = np.where(case["labels"] == 1, 1, sigmoid(case["x"].reshape(rows, 4) @ weight.T + bias))
    expected: dict[str, Any] = {"loss": consistency(weight, bias, None, case, 1e-10)}
    for name, q in (("attached", None), ("detached", held)):
        for part, values in (("weight", weight), ("bias", bias)):
            slopes = np.zeros_like(values)
            for place in np.ndindex(values.shape):
                step = np.zeros_like(values)
                step[place] = 1e-6
                ends = [
                    consistency(weight + sign * step, bias, q, case, 1e-10)
                    if part == "weight"
                    else consistency(weight, bias + sign * step, q, case, 1e-10)
                    for sign in (1, -1)
                ]
                slopes[place] = (ends[0] - ends[1]) / 2e-6
            expected[f"grad_{part}_targets_{name}"] = slopes
    check(case, {"eps": 1e-10}, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_gradient_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, classes, width = int(rng.integers(3, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 5))
    x, y = rng.normal(size=(rows, width)), rng.integers(-1, 2, (rows, classes))
    weight, bias = rng.normal(size=(classes, width)), rng.normal(size=classes)
    params = {"gamma": 0.55, "alpha": 2.0, "lr": 0.1, "steps": 5}
    start = {"x": x, "labels": y.astype(float), "weight": weight, "bias": bias}
    losses = []
    for _ in range(5):
        loss, gradient, _, _ = variational(x @ weight.T + bias, y, 0.55, 2.0, 1e-10)
        losses.append(loss)
        weight, bias = weight - 0.1 * gradient.T @ x, bias - 0.1 * gradient.sum(axis=0)
    check(start, params, {"losses": losses, "weight": weight, "bias": bias})


def pointwise(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A 1x1 convolution of x (B, C, H, W)."""
    mixed = np.einsum("oc,bchw->bohw", state[f"{name}.weight"][:, :, 0, 0], x)
    return mixed + state[f"{name}.bias"][:, None, None]


def branch(x: np.ndarray, state: dict[str, np.ndarray], heads: int, stride: int, training: bool) -> np.ndarray:
    local = np.maximum(pointwise(x, state, "reduction"), 0)
    around = np.broadcast_to(local.mean(axis=(2, 3), keepdims=True), local.shape)
    both = np.concatenate([local, around], axis=1)
    attention, gates = pointwise(both, state, "agg_attn"), sigmoid(pointwise(both, state, "broad_attn"))
    v, spread = pointwise(x, state, "v"), np.zeros_like(x)
    for b in range(len(x)):
        for j in range(x.shape[1]):
            k = j // (x.shape[1] // heads)
            a = np.exp(attention[b, k]) / np.exp(attention[b, k]).sum()
            spread[b, j] = (a * v[b, j]).sum() * gates[b, k]
    out = pointwise(x + spread, state, "proj")[:, :, ::stride, ::stride]
    mean, variance = state["norm.running_mean"], state["norm.running_var"]
    if training:
        mean, variance = out.mean(axis=(0, 2, 3)), out.var(axis=(0, 2, 3))
    scale = state["norm.weight"] / np.sqrt(variance + 1e-5)
    return (out - mean[:, None, None]) * scale[:, None, None] + state["norm.bias"][:, None, None]


@pytest.mark.parametrize("seed", range(10))
def test_global_branch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heads, stride, ratio = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(1, 4))
    channels, out = heads * int(rng.integers(2, 4)), int(rng.integers(1, 5))
    reduced = max(1, channels // ratio)
    sizes = {
        "reduction": (reduced, channels),
        "agg_attn": (heads, 2 * reduced),
        "broad_attn": (heads, 2 * reduced),
        "v": (channels, channels),
        "proj": (out, channels),
    }
    state = {f"{name}.weight": rng.normal(size=(*size, 1, 1)) for name, size in sizes.items()}
    state |= {f"{name}.bias": rng.normal(size=size[0]) for name, size in sizes.items()}
    state |= {f"norm.{name}": rng.normal(size=out) for name in ("weight", "bias", "running_mean")}
    state["norm.running_var"] = rng.uniform(0.5, 2, out)
    x = rng.normal(size=(2, channels, int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    params: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": out,
        "num_heads": heads,
        "reduction_ratio": channels // reduced if channels % reduced == 0 else ratio,
        "stride": stride,
        "training": bool(seed % 2),
    }
    expected = branch(x, state, heads, stride, params["training"])
    check({"x": x, "state": state}, params, {"out": expected, "out_shape": [*expected.shape]})


def test_unknown_cases_are_refused() -> None:
    z = np.zeros((2, 1))
    for inputs, params, expected in (
        ({"logits": z}, {}, {"loss": 0}),
        ({"logits": z, "labels": z, "more": z}, {}, {"loss": 0}),
        ({"logits": z, "labels": z}, {"beta": 1}, {"loss": 0}),
        ({"logits": z, "labels": z}, {}, {"accuracy": 0}),
    ):
        with pytest.raises(UnknownCase):
            pu_mlc.run({"inputs": plain(inputs), "params": params, "expected": expected}, None)
