"""Random cases with the fields of 09-adele.json and 10-cw-bass.json against their equations in plain NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, adele, cw_bass
from comparison import mismatches
from scipy.optimize import least_squares

Array = np.ndarray


def listed(value: Any) -> Any:
    return np.asarray(value).tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def check(adapter: Any, inputs: dict, params: dict, expected: dict, atol: float = 1e-8) -> None:
    given = {name: listed(value) for name, value in inputs.items()}
    wanted = {name: listed(value) for name, value in expected.items()}
    computed = adapter.run({"inputs": given, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, atol) == []


def softmax(z: Array, axis: int = 1) -> Array:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def slope_of(function: Callable[[Array], float], at: Array, step: float = 1e-6) -> Array:
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        shift = np.zeros_like(at)
        shift[place] = step
        found[place] = (function(at + shift) - function(at - shift)) / (2 * step)
    return found


# ADELE.


def fit(scores: Array) -> Array:
    n = len(scores)
    x, sigma = np.linspace(0, n, n), 10.0 ** np.linspace(0, -1, n)
    start = [1.0, 1.0, 1.0]

    def rest(p: Array) -> Array:
        return (p[0] * (1 - np.exp(-(x ** p[1]) / p[2])) - scores) / sigma

    return least_squares(rest, start, bounds=([0, 0, 0], [1, 1, np.inf]), xtol=1e-12, ftol=1e-12, gtol=1e-12).x


def start_by_hand(scores: Array, n_epoch: int, r: float, increment: float) -> tuple[int, Array | None, int | None]:
    cut = 0
    while cut + 1 < len(scores) and scores[cut + 1] - scores[cut] < increment:
        cut += 1
    if len(scores) - cut < 4:
        return cut, None, None
    a, b, c = fit(scores[cut:])
    t = np.arange(1, n_epoch) + 1e-6
    slope = a * b / c * np.exp(-(t**b) / c) * t ** (b - 1)
    change = np.abs(slope - slope[0]) / slope[0]
    change[change > 1] = 0
    return cut, change, 1 + int((change <= r).sum()) + cut


@pytest.mark.parametrize("seed", range(12))
def test_curves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, flat = int(rng.integers(8, 20)), int(rng.integers(0, 4))
    a, b, c = rng.uniform(0.4, 0.95), rng.uniform(0.6, 0.95), rng.uniform(0.8, 4)
    x = np.arange(n)
    rise = a * (1 - np.exp(-(x**b) / c)) + rng.normal(0, 0.003, n) * (x > 0)
    iou = np.clip(np.concatenate([rng.uniform(0, 0.02, flat), rise]), 0, 1)
    n_epoch, r, increment = int(rng.integers(10, 60)), float(rng.choice([0.5, 0.9])), 0.1
    cut, change, start = start_by_hand(iou, n_epoch, r, increment)
    params = {"n_epoch": n_epoch, "r": r, "flat_increment": increment, "k_min": 4}
    decisions = []
    for k in range(4, len(iou) + 1):
        known = start_by_hand(iou[:k], n_epoch, r, increment)[2]
        decisions.append(known is not None and k - 1 >= known)
    expected: dict[str, Any] = {"points_cut": cut, "decisions": decisions}
    if change is not None:
        found = fit(iou[cut:])
        expected |= dict(zip("abc", found, strict=True)) | {"relative_change": change, "update_epoch": start}
    check(adele, {"iou": iou}, params, expected, atol=5e-3)


@pytest.mark.parametrize("seed", range(10))
def test_corrections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes, height, width = (int(rng.integers(1, 6)) for _ in range(4))
    classes += 1
    labels = rng.integers(0, classes, (images, height, width))
    labels[rng.random(labels.shape) < 0.1] = 255
    active = {str(k): bool(rng.random() < 0.6) for k in range(1, classes)}
    tau_fg, tau_bg = rng.uniform(0.2, 0.8, 2).tolist()
    allowed = [True, *active.values()]
    inputs: dict[str, Any] = {"labels": labels}
    expected: dict[str, Any] = {}
    for name, outcome in (("probs", "new_labels"), ("probs_round2", "new_labels_round2")):
        if name != "probs" and seed % 2:
            continue
        probs = rng.dirichlet(np.full(classes, 0.3), (images, height, width))
        inputs[name] = np.moveaxis(probs, -1, 1)
        new = labels.copy()
        for b, y, x in np.ndindex(*labels.shape):
            here = set(labels[b].ravel().tolist())
            p, old = probs[b, y, x], labels[b, y, x]
            best = int(p.argmax())
            sure = p[1:].max() > tau_fg or p[0] > tau_bg
            touched = any(k in here and allowed[k] for k in range(1, classes))
            if touched and sure and old != 255 and allowed[old] and allowed[best] and (best == 0 or best in here):
                new[b, y, x] = best
        expected[outcome] = labels = new
    check(adele, inputs, {"active": active, "tau_fg": tau_fg, "tau_bg": tau_bg}, expected)


def consistency_by_loops(z: Array, labels: Array, v: Array, rho: float) -> dict[str, Any]:
    w = softmax(v, axis=0)
    p = softmax(z, axis=2)
    q = np.clip((w[:, None, None, None, None] * p).sum(axis=0), 1e-3, 1 - 1e-3)
    cross, divergence = 0.0, 0.0
    for b, y, x in np.ndindex(*labels.shape):
        gate = q[b].max(axis=0)[labels[b] != 255].max(initial=-1) >= rho
        for s in range(len(z)):
            if labels[b, y, x] != 255:
                cross -= np.log(softmax(w[s] * z[s, b, :, y, x], axis=0)[labels[b, y, x]])
            row = p[s, b, :, y, x]
            divergence += gate * (row * (np.log(row) - np.log(q[b, :, y, x]))).sum()
    return {"loss_ce": cross / labels.size, "consistency": divergence / labels.size, "mixture": q}


@pytest.mark.parametrize("seed", range(6))
def test_consistency(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes, height, width = (int(rng.integers(1, 4)) for _ in range(4))
    z = rng.normal(0, 1.5, (3, images, classes + 1, height, width))
    labels = rng.integers(0, classes + 1, (images, height, width))
    labels[rng.random(labels.shape) < 0.3] = 255
    v, lambda_, rho = rng.normal(size=3), float(rng.choice([0, 1, 2.5])), float(rng.choice([0.5, 0.8]))

    def total(z: Array, v: Array) -> float:
        found = consistency_by_loops(z, labels, v, rho)
        return found["loss_ce"] + lambda_ * found["consistency"]

    inputs = {f"logits_{s + 1}": z[s] for s in range(3)} | {"labels": labels, "scale_weights": v}
    params = {"rho": rho, "lambda_": lambda_, "ignore_index": 255}
    check(adele, inputs, params, consistency_by_loops(z, labels, v, rho) | {"total": total(z, v)})
    gradients = slope_of(lambda at: total(at, v), z)
    expected = {f"grad_logits_{s + 1}": gradients[s] for s in range(3)}
    check(adele, inputs, params, expected | {"grad_scale_weights": slope_of(lambda at: total(z, at), v)}, atol=1e-6)


def test_confusion() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, (2, 4, 1, 5, 6))
    labels[rng.random(labels.shape) < 0.2] = 255
    pairs = [(int(p), int(t)) for p, t in zip(predictions.ravel(), labels.ravel(), strict=True) if t != 255]
    right = [sum(pair == (k, k) for pair in pairs) for k in range(4)]
    p, t = ([sum(int(pair[place]) == k for pair in pairs) for k in range(4)] for place in range(2))
    iou = [a / (b + c - a) if b + c else 0.0 for a, b, c in zip(right, p, t, strict=True)]
    expected = {"TP": right, "P": p, "T": t, "iou": iou}
    check(adele, {"predictions": predictions, "labels": labels}, {"num_classes": 4}, expected)


# CW-BASS.


def boundary(labels: Array, classes: int) -> Array:
    gx = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    found = np.zeros(labels.shape, dtype=int)
    for b, y, x in np.ndindex(*labels.shape):
        for k in range(classes):
            window = np.pad(np.minimum(labels[b], classes - 1) == k, 1)[y : y + 3, x : x + 3]
            found[b, y, x] |= int((window * gx).sum() != 0 or (window * gx.T).sum() != 0)
    return found


def threshold_by_hand(mean: float, base: float, beta: float) -> float:
    return float(np.clip(base / (1 + np.exp(-beta * (mean - 0.5))), 0.3, 0.8))


def unsupervised(student: Array, teacher: Array, params: dict[str, Any]) -> dict[str, Any]:
    p = softmax(teacher)
    c, labels = p.max(axis=1), p.argmax(axis=1)
    tau = threshold_by_hand(c.mean(), params["base_threshold"], params["beta"])
    edges = boundary(labels, student.shape[1])
    pseudo = np.where(c > tau, labels, 255)
    weights = c * (params["decay_factor"] if params["use_confidence_decay"] else 1.0)
    cross = -np.log(np.take_along_axis(softmax(student), labels[:, None], axis=1)[:, 0])
    kept, rim = c > tau, (c > tau) & (edges == 1)
    weighted = (weights ** params["gamma"] * cross)[kept].sum() / max(1, kept.sum())
    total = weighted + params["boundary_weight"] * cross[rim].sum() / max(1, rim.sum())
    return {"confidence": c, "threshold": tau, "boundary_mask": edges, "pseudo_labels": pseudo, "weights": weights,
            "loss_weighted_ce": weighted, "loss_unsupervised": total}  # fmt: skip


def draw_params(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "base_threshold": float(rng.choice([0.6, 1.0, 1.3])),
        "beta": float(rng.choice([0.5, 3.0])),
        "gamma": float(rng.choice([0.0, 1.0, 2.0])),
        "decay_factor": 0.9,
        "use_confidence_decay": bool(rng.random() < 0.5),
        "boundary_weight": float(rng.choice([0.0, 0.5])),
    }


@pytest.mark.parametrize("seed", range(8))
def test_unsupervised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(each) for each in rng.integers(1, 5, 4))
    student, teacher = rng.normal(0, 1, shape), rng.normal(0, 1.5, shape)
    params = draw_params(rng)
    expected = unsupervised(student, teacher, params)
    expected["grad_student_logits"] = slope_of(
        lambda at: unsupervised(at, teacher, params)["loss_unsupervised"], student
    )
    inputs = {"student_logits": student, "teacher_logits": teacher}
    check(cw_bass, inputs, params | {"num_classes": shape[1], "ignore_index": 255}, expected, atol=1e-6)


def test_no_pixel_is_left() -> None:
    student = np.random.default_rng(0).normal(size=(2, 3, 2, 2))
    inputs = {"student_logits": student, "pseudo_labels": np.full((2, 2, 2), 255), "weights": np.ones((2, 2, 2))}
    expected = {"loss_weighted_ce": 0.0, "loss_unsupervised": 0.0, "grad_student_logits": np.zeros_like(student)}
    check(cw_bass, inputs, {"num_classes": 3, "gamma": 1.0, "boundary_weight": 0.5}, expected)


def test_thresholds_and_borders() -> None:
    rng = np.random.default_rng(0)
    means, settings = rng.random(5).tolist(), rng.uniform(0.1, 3, (4, 2)).tolist()
    rows = [[threshold_by_hand(mean, *setting) for mean in means] for setting in settings]
    check(cw_bass, {"mean_confidence": means}, {"settings": settings}, {"thresholds": rows})
    labels = rng.integers(0, 4, (3, 6, 7))
    labels[rng.random(labels.shape) < 0.1] = 255
    check(cw_bass, {"labels": labels}, {"num_classes": 4}, {"boundary_mask": boundary(labels, 4)})


@pytest.mark.parametrize("seed", range(4))
def test_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, classes, channels = int(rng.integers(2, 5)), int(rng.integers(2, 4)), int(rng.integers(1, 4))
    student = [rng.normal(size=(classes, channels)), rng.normal(size=classes)]
    images, unlabelled = rng.normal(size=(steps, 2, channels, 3, 2)), rng.normal(size=(steps, 1, channels, 2, 4))
    masks = rng.integers(0, classes, (steps, 2, 3, 2))
    params = draw_params(rng) | {"lr": 0.2, "ema_decay": 0.9, "warmup_iters": seed, "lambda_u": 0.7}
    inputs = dict(zip(("weight", "bias"), (each.copy() for each in student), strict=True))
    inputs |= {"labeled_images": images, "labeled_masks": masks, "unlabeled_images": unlabelled}

    def logits(of: list[Array], x: Array) -> Array:
        return np.einsum("kc,bchw->bkhw", of[0], x) + of[1][:, None, None]

    teacher, expected = [each.copy() for each in student], []
    for step in range(steps):
        said, ramp = logits(teacher, unlabelled[step]), 1.0 if seed == 0 else min(1.0, step / seed)

        def parts(of: list[Array], step: int = step, said: Array = said) -> tuple[float, dict[str, Any]]:
            log_p = np.log(np.take_along_axis(softmax(logits(of, images[step])), masks[step][:, None], axis=1))
            return -log_p.mean(), unsupervised(logits(of, unlabelled[step]), said, params)

        def loss(of: list[Array], ramp: float = ramp) -> float:
            supervised, found = parts(of)
            return supervised + params["lambda_u"] * ramp * found["loss_unsupervised"]

        supervised, found = parts(student)
        row = {"loss": loss(student), "supervised": supervised, "unsupervised": found["loss_unsupervised"]}
        row |= {"ramp": ramp, "threshold": found["threshold"]}
        weight, bias = student
        gradients = [
            slope_of(lambda at, bias=bias, loss=loss: loss([at, bias]), weight),
            slope_of(lambda at, weight=weight, loss=loss: loss([weight, at]), bias),
        ]
        student = [each - 0.2 * gradient for each, gradient in zip(student, gradients, strict=True)]
        teacher = [0.9 * t + 0.1 * s for t, s in zip(teacher, student, strict=True)]
        for name, of in (("student", student), ("teacher", teacher)):
            row |= {f"{name}_weight": of[0].tolist(), f"{name}_bias": of[1].tolist()}
        expected.append({name: listed(value) for name, value in row.items()})
    check(cw_bass, inputs, params | {"num_classes": classes}, {"steps": expected}, atol=1e-6)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (adele, {"inputs": {"curve": [0.1]}, "params": {}, "expected": {}}),
        (adele, {"inputs": {"iou": [0.1] * 9}, "params": {"n_epoch": 9, "beta": 1}, "expected": {}}),
        (adele, {"inputs": {"iou": [0.1] * 9}, "params": {"n_epoch": 9}, "expected": {"d": 1}}),
        (cw_bass, {"inputs": {"logits": [0.1]}, "params": {}, "expected": {}}),
        (cw_bass, {"inputs": {"labels": [[[0]]]}, "params": {"num_classes": 2, "frame": 1}, "expected": {}}),
        (cw_bass, {"inputs": {"labels": [[[0]]]}, "params": {"num_classes": 2, "ignore_index": 0}, "expected": {}}),
    ],
)
def test_what_is_unknown_fails(adapter: Any, case: dict[str, Any]) -> None:
    with pytest.raises(UnknownCase):
        adapter.run(case, None)
