"""Random cases with the golden files' fields, against each spec written out in plain NumPy: the adapters must take
other sizes, unequal batches and other options than the files hold.
"""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, compress_features, elr, ps_kd
from comparison import mismatches

SEEDS = range(6)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def check(adapter: Any, inputs: Any, params: Any, expected: dict[str, Any], atol: float = 1e-9) -> None:
    listed = {name: _lists(value) for name, value in inputs.items()}
    wanted = {name: _lists(value) for name, value in expected.items()}
    computed = adapter.run({"inputs": listed, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, atol) == []


def _lists(value: Any) -> Any:
    if isinstance(value, list):
        return [_lists(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def ramp(t: float, length: float) -> float:
    return 1.0 if length == 0 else math.exp(-5 * (1 - min(max(t, 0), length) / length) ** 2)


def grad_log(p: np.ndarray, clipped: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of log(1 - <target, clipped>) and its gradient with respect to the logits behind p."""
    inner = (target * clipped).sum(axis=1, keepdims=True)
    by_p = -target / (1 - inner) * (p == clipped)
    by_z = p * (by_p - (by_p * p).sum(axis=1, keepdims=True))
    return float(np.log(1 - inner).mean()), by_z / len(p)


@pytest.mark.parametrize("seed", SEEDS)
def test_elr(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, c, beta, lam = 9, int(rng.integers(2, 6)), float(rng.choice([0.0, 0.3, 0.9])), float(rng.choice([0, 1, 7]))
    memory = np.zeros((n, c))
    inputs: dict[str, list[Any]] = {"logits": [], "labels": [], "index": []}
    expected: dict[str, list[Any]] = {"loss": [], "target_after": [], "grad_logits": []}
    for size in rng.integers(1, 8, 5):
        z = rng.normal(0, rng.choice([1, 8]), (size, c))
        y, index = rng.integers(0, c, size), rng.permutation(n)[:size]
        p = softmax(z)
        clipped = p.clip(1e-4, 1 - 1e-4)
        memory[index] = beta * memory[index] + (1 - beta) * clipped / clipped.sum(axis=1, keepdims=True)
        value, gradient = grad_log(p, clipped, memory[index])
        expected["loss"].append(-np.log(p[np.arange(size), y]).mean() + lam * value)
        expected["grad_logits"].append((p - np.eye(c)[y]) / size + lam * gradient)
        expected["target_after"].append(memory.copy())
        for name, v in (("logits", z), ("labels", y), ("index", index)):
            inputs[name].append(v)
    check(elr, inputs, {"num_examples": n, "num_classes": c, "beta": beta, "lambda_": lam}, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_elr_plus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, c, beta, lam = 8, int(rng.integers(2, 5)), float(rng.choice([0.0, 0.7])), float(rng.choice([0, 3]))
    length, reweigh = int(rng.choice([0, 5, 40])), bool(rng.integers(2))
    memory = np.zeros((n, c))
    names = ("index", "teacher_logits", "student_logits", "mixed_onehot", "mix_index", "mixup_lambda", "iteration")
    inputs: dict[str, list[Any]] = {name: [] for name in names}
    expected: dict[str, list[Any]] = {"loss": [], "history_after": [], "mixed_target": [], "grad_logits": []}
    for size in rng.integers(1, 7, 4):
        index, partner, weight = rng.permutation(n)[:size], rng.permutation(size), float(rng.choice([1.0, 0.6]))
        zt, z = rng.normal(0, 2, (2, size, c))
        y = np.eye(c)[rng.integers(0, c, size)]
        y = weight * y + (1 - weight) * y[partner]
        t = int(rng.integers(0, 60))
        memory[index] = beta * memory[index] + (1 - beta) * softmax(zt)
        q = weight * memory[index] + (1 - weight) * memory[index][partner]
        label = y * q / (y * q).sum(axis=1, keepdims=True) if reweigh else y
        p = softmax(z)
        value, gradient = grad_log(p, p.clip(1e-4, 1 - 1e-4), q)
        factor = ramp(t, length) * lam
        expected["loss"].append(-(label * np.log(p)).sum(axis=1).mean() + factor * value)
        by_label = p * label.sum(axis=1, keepdims=True) - label
        expected["grad_logits"].append(by_label / size + factor * gradient)
        expected["history_after"].append(memory.copy())
        expected["mixed_target"].append(q)
        for name, v in zip(names, (index, zt, z, y, partner, weight, t), strict=True):
            inputs[name].append(v)
    params = {"num_examples": n, "num_classes": c, "beta": beta, "lambda_": lam}
    check(elr, inputs, params | {"coef_step": length, "reweight_labels_by_target": reweigh}, expected)


@pytest.mark.parametrize(("ramped", "length"), [(True, 0), (True, 10), (True, 40000), (False, 10), (False, -1)])
def test_parameter_average(ramped: bool, length: int) -> None:
    rng = np.random.default_rng(0)
    average, students, steps = rng.normal(size=4), rng.normal(size=(6, 4)), [0, 1, 2, 9, 100, 10**6]
    inputs = {"ema_init": average.copy(), "student": students, "global_step": steps}
    after = []
    for student, t in zip(students, steps, strict=True):
        rate = ramp(t + 1, length) * 0.997 if ramped else min(1 - 1 / (t + 1), 0.997)
        average = rate * average + (1 - rate) * student
        after.append(average)
    check(elr, inputs, {"ema_alpha": 0.997, "ramp_ema": ramped, "ema_step": length}, {"ema_after": after})


@pytest.mark.parametrize("seed", SEEDS)
def test_selection_and_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, c, rate = int(rng.integers(1, 12)), int(rng.integers(2, 5)), float(rng.choice([0.0, 0.2, 0.5, 0.99]))
    inputs: dict[str, Any] = {}
    expected: dict[str, Any] = {"num_keep": int((1 - rate) * n)}
    for network in (1, 2):
        z, y = rng.normal(size=(n, c)), rng.integers(0, c, n)
        inputs |= {f"logits{network}": z, f"labels{network}": y}
        losses = -np.log(softmax(z)[np.arange(n), y])
        expected[f"keep{network}"] = np.argsort(losses)[: expected["num_keep"]]
    check(compress_features, inputs, {"forget_rate": rate}, expected, atol=0)
    size, mu, std = int(rng.integers(1, 30)), float(rng.choice([0, 2.5])), float(rng.choice([1, 10, 100]))
    weights = np.exp(-(((np.arange(1, size + 1) - mu) / std) ** 2))
    check(compress_features, {}, {"num_features": size, "mu": mu, "std": std}, {"prob": weights / weights.sum()})


def two_networks(rng: np.random.Generator, width: int, d: int, c: int) -> dict[str, np.ndarray]:
    shapes = {"feature_weight": (width, d), "class_weight": (d, c)}
    return {f"{name}{a}": rng.normal(size=shape) for name, shape in shapes.items() for a in (1, 2)}


@pytest.mark.parametrize("seed", range(12))
def test_best_prefix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, d, c, n = 3, int(rng.integers(1, 7)), int(rng.integers(2, 5)), int(rng.integers(1, 15))
    weights = two_networks(rng, width, d, c)
    x, y = rng.normal(size=(n, width)), rng.integers(0, c, n)
    if seed == 0:
        y[:] = 0  # every prefix may be as good: k* = 1, of which the official code reports D - 1
        weights["class_weight1"][:, 0] = weights["class_weight2"][:, 0] = 50
    penalty = float(rng.choice([0, 1e-5, 0.2]))
    averaged = np.zeros((d, n, c))
    for k in range(1, d + 1):
        for a in (1, 2):
            features = np.maximum(x @ weights[f"feature_weight{a}"], 0)
            features[:, k:] = 0
            averaged[k - 1] += 0.5 * features @ weights[f"class_weight{a}"]
    accuracy = (averaged.argmax(axis=2) == y).mean(axis=1)
    penalised = accuracy - penalty * np.arange(d)
    best = int(penalised.argmax())
    expected = {
        "averaged_logits_per_prefix": averaged,
        "accuracy_per_prefix": accuracy,
        "best_penalised_accuracy": penalised.max(),
        "best_index": d - 1 if best == 0 else best,
    }
    check(compress_features, {"x": x, "labels": y} | weights, {"penalty": penalty}, expected)


@pytest.mark.parametrize("seed", range(8))
def test_exchange(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, d, c = 4, int(rng.integers(1, 7)), int(rng.integers(2, 5))
    params = {
        "forget_rate": float(rng.choice([0.0, 0.25, 0.5])),
        "train_prefix_length": int(rng.integers(1, d + 1)),
        "selection_prefix_length": int(rng.integers(1, d + 1)),
        "lr": 0.1,
        "momentum": float(rng.choice([0.0, 0.9])),
        "weight_decay": float(rng.choice([0.0, 5e-3])),
        "feature_map": "relu(x @ feature_weight)",
    }
    weights = two_networks(rng, width, d, c)
    batches = [(rng.normal(size=(b, width)), rng.integers(0, c, b)) for b in rng.integers(4, 12, 3)]  # odd sizes too
    inputs = {"x": [x for x, _ in batches], "labels": [y for _, y in batches]} | {
        k: v.copy() for k, v in weights.items()
    }

    def forward(a: int, x: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        features = np.maximum(x @ weights[f"feature_weight{a}"], 0) * (np.arange(d) < length)
        return features, softmax(features @ weights[f"class_weight{a}"])

    buffers: dict[str, np.ndarray] = {}
    losses: dict[int, list[float]] = {1: [], 2: []}
    for x, y in batches:
        half = len(y) // 2
        halves = {1: (x[:half], y[:half]), 2: (x[half : 2 * half], y[half : 2 * half])}
        kept = {}
        for a, (own_x, own_y) in halves.items():
            p = forward(a, own_x, params["selection_prefix_length"])[1]
            order = np.argsort(-np.log(p[np.arange(half), own_y]))
            kept[a] = order[: int((1 - params["forget_rate"]) * half)]
        for a, other in ((1, 2), (2, 1)):
            ox, oy = halves[other][0][kept[other]], halves[other][1][kept[other]]
            features, p = forward(a, ox, params["train_prefix_length"])
            losses[a].append(-np.log(p[np.arange(len(oy)), oy]).mean())
            by_logits = (p - np.eye(c)[oy]) / len(oy)
            gradients = {
                f"feature_weight{a}": ox.T @ ((by_logits @ weights[f"class_weight{a}"].T) * (features > 0)),
                f"class_weight{a}": features.T @ by_logits,
            }
            for name, gradient in gradients.items():
                gradient = gradient + params["weight_decay"] * weights[name]
                buffers[name] = params["momentum"] * buffers[name] + gradient if name in buffers else gradient
                weights[name] = weights[name] - params["lr"] * buffers[name]
    expected = weights | {f"mean_loss{a}": np.mean(values) for a, values in losses.items()}
    check(compress_features, inputs, params, expected)


@pytest.mark.parametrize("seed", range(8))
def test_ps_kd_training(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d, c, epochs = 7, 3, int(rng.integers(2, 5)), int(rng.integers(1, 5))
    momentum = float(rng.choice([0.0, 0.9]))
    params = {
        "alpha_T": float(rng.choice([0.0, 0.3, 1.0])),
        "num_epochs": epochs,
        "lr": 0.3,
        "momentum": momentum,
        "nesterov": bool(momentum and rng.integers(2)),
        "weight_decay": float(rng.choice([0.0, 5e-2])),
        "model": "logits = x @ weight.T",
    }
    x, y, weight = rng.normal(size=(n, d)), rng.integers(0, c, n), rng.normal(size=(c, d))
    batches = [np.array_split(rng.permutation(n), int(rng.integers(1, 5))) for _ in range(epochs)]
    inputs = {"x": x, "labels": y, "weight": weight.copy(), "batches_per_epoch": [list(each) for each in batches]}
    memory, buffer, onehot = np.zeros((n, c)), None, np.eye(c)
    expected: dict[str, list[Any]] = {"alpha": [], "mean_loss": [], "predictions_after": [], "weight_after": []}
    for epoch, order in enumerate(batches):
        alpha, total = params["alpha_T"] * (epoch + 1) / epochs, 0.0
        for index in order:
            if epoch == 0:
                memory[index] = onehot[y[index]]
            target = (1 - alpha) * onehot[y[index]] + alpha * memory[index]
            p = softmax(x[index] @ weight.T)
            total += -(target * np.log(p)).sum()
            gradient = (p - target).T @ x[index] / len(index) + params["weight_decay"] * weight
            buffer = gradient if buffer is None else momentum * buffer + gradient
            weight = weight - 0.3 * (gradient + momentum * buffer if params["nesterov"] else buffer)
            memory[index] = p
        expected["alpha"].append(alpha)
        expected["mean_loss"].append(total / n)
        expected["predictions_after"].append(memory.copy())
        expected["weight_after"].append(weight.copy())
    check(ps_kd, inputs, params, expected)


@pytest.mark.parametrize("bin_size", [0.05, 0.1, 0.2, 1.0])
@pytest.mark.parametrize("n", [1, 20, 200])
def test_calibration(n: int, bin_size: float) -> None:
    rng = np.random.default_rng(n)
    probs = softmax(2 * rng.normal(size=(n, 4))).round(4)
    labels = rng.integers(0, 4, n)
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    ece, lower = 0.0, np.linspace(0, 1, round(1 / bin_size) + 1)
    for low, high in itertools.pairwise(lower):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            ece += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
    wrong = ~correct[np.argsort(-confidence, kind="stable")]
    aurc = np.mean([wrong[:k].mean() for k in range(1, n + 1)])
    errors = int(wrong.sum())
    perfect = sum(j / (n - errors + j) for j in range(1, errors + 1)) / n
    expected = {"ece_percent": 100 * ece, "aurc_x1000": 1000 * aurc, "eaurc_x1000": 1000 * (aurc - perfect)}
    check(ps_kd, {"probabilities": probs, "labels": labels}, {"bin_size": bin_size}, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("adapter", "inputs", "params"),
    [
        (elr, {"logits": []}, {}),
        (compress_features, {}, {"num_features": 3}),
        (compress_features, {}, {"num_features": 3, "std": 1.0, "slope": 2}),
        (ps_kd, {"logits": [[0.0]], "targets": [[1.0]]}, {"temperature": 2}),
    ],
)
def test_what_is_not_known_is_refused(adapter: Any, inputs: Any, params: Any) -> None:
    with pytest.raises(UnknownCase):
        adapter.run({"inputs": inputs, "params": params, "expected": {}}, None)
