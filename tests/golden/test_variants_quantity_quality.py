"""Random cases with the fields of 39-quantity-quality.json against plain loops."""

import math
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, quantity_quality
from comparison import mismatches


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-9) -> None:
    computed = quantity_quality.run({"inputs": inputs, "params": params, "expected": expected}, None)
    assert mismatches(expected, computed, atol) == []


def slow_loss(
    logits: list[list[float]], labels: list[float], step: int, warmup_steps: int, aux_coef: float, entropy: bool
) -> float:
    zero = [1 / (1 + math.exp(b - a)) for a, b in logits]
    prior = sum(labels) / len(labels) if len(labels) > 1 else 0.5
    place = prior * (len(zero) - 1)
    ranked = sorted(zero)
    low, high = math.floor(place), math.ceil(place)
    threshold = ranked[low] + (place - low) * (ranked[high] - ranked[low])
    a = aux_coef * (min(1, step / warmup_steps) if warmup_steps else 1)
    total = 0.0
    for s, p in zip(zero, labels, strict=True):
        r = [1, 0] if s >= threshold else [0, 1]
        for share, prob, hard in ((1 - p, s, r[0]), (p, 1 - s, r[1])):
            total -= ((1 - a) * share + a * hard) * math.log(prob)
            if entropy:
                total += share * math.log(share + 1e-10)
    return total / len(labels)


@pytest.mark.parametrize("seed", range(12))
def test_loss_and_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    logits, labels = rng.normal(size=(n, 2)).tolist(), rng.uniform(size=n).tolist()
    params = {
        "warmup_steps": int(rng.integers(1, 300)),
        "aux_coef": float(rng.uniform()),
        "subtract_label_ent": bool(seed % 2),
    }
    steps = [0, 1, 40, 999]

    def loss(changed: list[list[float]], step: int) -> float:
        return slow_loss(changed, labels, step, *params.values())

    slopes = [
        [(loss(moved(logits, i, k, 1e-6), 999) - loss(moved(logits, i, k, -1e-6), 999)) / 2e-6 for k in (0, 1)]
        for i in range(n)
    ]
    case = {"logits": logits, "labels": labels, "steps": steps}
    check(case, params, {"loss_at_step": [loss(logits, step) for step in steps]}, 1e-7)
    check(case, params, {"grad_logits_at_last_step": slopes}, 1e-6)


def moved(logits: list[list[float]], i: int, k: int, by: float) -> list[list[float]]:
    copy = [list(row) for row in logits]
    copy[i][k] += by
    return copy


def weight(p: float, most_confident: bool, kind: str) -> float:
    if kind == "margin":
        w = 1 - abs(p - 0.5)
    else:
        w = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    return 1 - w if most_confident else w


@pytest.mark.parametrize("most_confident", [False, True])
@pytest.mark.parametrize("kind", [None, "entropy", "margin"])
@pytest.mark.parametrize("temperature", [0.1, 0.25, 1.0, 4.0])
def test_draws(most_confident: bool, kind: str | None, temperature: float) -> None:
    positive = np.random.default_rng(3).uniform(0.02, 0.98, 9).tolist()
    powers = [weight(p, most_confident, kind or "entropy") ** (1 / temperature) for p in positive]
    params = {"temperature": temperature, "most_confident": most_confident} | ({"weights": kind} if kind else {})
    check({"prob_positive": positive}, params, {"draw_probabilities": [each / sum(powers) for each in powers]})
    order = sorted(range(9), key=lambda i: -weight(positive[i], most_confident, kind or "entropy"))
    check({"prob_positive": positive, "n": 4}, params | {"temperature": 0}, {"selected_sorted": sorted(order[:4])})


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, spent = [], []
    for _ in range(6):
        budget, low, share = int(rng.integers(1, 500)), int(rng.integers(1, 40)), int(rng.integers(0, 101))
        n_high = share * budget // 100
        n_low = (budget - n_high) * 100 // low
        rows.append([budget, low / 100, 1, share / 100])
        spent.append([n_low, n_high, n_low * low / 100 + n_high])
    check({"rows_budget_costlow_costhigh_fraction": rows}, {}, {"n_low_n_high_spent": spent})
    y, score = [0, 1, *rng.integers(0, 2, 8).tolist()], rng.integers(0, 5, 10).tolist()
    pairs = [(score[i], score[j]) for i in range(10) for j in range(10) if y[i] == 1 and y[j] == 0]
    right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    check({"y_true": y, "score": score}, {}, {"auroc": right / len(pairs)})


@pytest.mark.parametrize(
    ("inputs", "params", "expected"),
    [
        ({"logits": [[0, 0]]}, {}, {"loss_at_step": [0]}),
        ({"prob_positive": [0.5]}, {"temperature": 1, "more": 2}, {"draw_probabilities": [1]}),
        ({"cost": [1], "accuracy": [1]}, {}, {"frontier": [0]}),
        ({"prob_positive": [0.5], "n": 1}, {"temperature": 1}, {"selected_sorted": [0]}),
    ],
)
def test_unknown_cases_are_refused(inputs: Any, params: Any, expected: Any) -> None:
    with pytest.raises(UnknownCase):
        quantity_quality.run({"inputs": inputs, "params": params, "expected": expected}, None)
