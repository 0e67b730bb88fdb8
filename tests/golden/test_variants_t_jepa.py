"""Random cases with the fields of 41-t-jepa.json against the spec written out in plain NumPy."""

import math
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, t_jepa
from comparison import mismatches

Weights = dict[str, np.ndarray]


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-7) -> None:
    wanted = {name: np.asarray(value).tolist() for name, value in expected.items()}
    computed = t_jepa.run({"inputs": listed(inputs), "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, atol) == []


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: listed(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def norm(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def activate(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "relu":
        return np.maximum(x, 0)
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(x: np.ndarray, weights: Weights, name: str, heads: int) -> np.ndarray:
    """One row (T, H)."""
    width = x.shape[1]
    qkv = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    size, parts = width // heads, []
    for head in range(heads):
        q, k, v = (qkv[:, part * width + head * size : part * width + (head + 1) * size] for part in range(3))
        scores = q @ k.T / math.sqrt(size)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        parts.append(shares / shares.sum(axis=1, keepdims=True) @ v)
    return linear(np.concatenate(parts, axis=1), weights, f"{name}.out_proj")


def block(x: np.ndarray, weights: Weights, name: str, layers: int, heads: int, kind: str) -> np.ndarray:
    for layer in range(layers):
        at = f"{name}.transformer.layers.{layer}"
        x = norm(x + attention(x, weights, f"{at}.self_attn", heads), weights, f"{at}.norm1")
        inner = activate(linear(x, weights, f"{at}.linear1"), kind)
        x = norm(x + linear(inner, weights, f"{at}.linear2"), weights, f"{at}.norm2")
    inner = linear(norm(x, weights, f"{name}.layernorm1"), weights, f"{name}.fc")
    return norm(inner, weights, f"{name}.layernorm2")


def sines(p: int, dim: int, base: float) -> tuple[list[float], list[float]]:
    angles = [p * base ** (-2 * i / dim) for i in range(dim // 2)]
    return [math.sin(a) for a in angles], [math.cos(a) for a in angles]


def interleaved(p: int, dim: int) -> np.ndarray:
    return np.array([each for pair in zip(*sines(p, dim, 100), strict=True) for each in pair])


def concatenated(p: int, dim: int) -> np.ndarray:
    return np.concatenate(sines(p, dim, 10_000))


def encode(row: np.ndarray, index: list[int], weights: Weights, params: dict[str, Any]) -> np.ndarray:
    n_reg, n_num, dim = params["n_reg_tokens"], params["n_numerical"], params["hidden_dim"]
    tokens = [weights["tokenizer.weight"][r] for r in range(n_reg)]
    for column, value in enumerate(row):
        if column < n_num:
            token = value * weights["tokenizer.weight"][n_reg + column]
        else:
            token = weights[f"tokenizer.category_embeddings.{column - n_num}.weight"][int(value)]
        tokens.append(token + weights["tokenizer.bias"][column])
    chosen = np.stack([tokens[p] + interleaved(p, dim) for p in index])
    return block(chosen, weights, "encoder", params["layers"], params["heads"], params["activation"])


def predict(z: np.ndarray, context: list[int], target: list[int], weights: Weights, params: dict[str, Any]) -> Any:
    dim = params["pred_dim"]
    seen = linear(z, weights, "predictor_emb") + np.stack([concatenated(p, dim) for p in context])
    queries = [weights["mask_token"][0, 0] + concatenated(p, dim) for p in target]
    hidden = block(
        np.concatenate([seen, queries]), weights, "transformer", params["pred_layers"], params["pred_heads"], "relu"
    )
    return linear(norm(hidden, weights, "predictor_norm")[len(context) :], weights, "predictor_proj")


def draw_block(rng: np.random.Generator, name: str, dim: int, feedforward: int, layers: int) -> Weights:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        at = f"{name}.transformer.layers.{layer}"
        shapes |= {
            f"{at}.self_attn.in_proj_weight": (3 * dim, dim),
            f"{at}.self_attn.in_proj_bias": (3 * dim,),
            f"{at}.self_attn.out_proj.weight": (dim, dim),
            f"{at}.self_attn.out_proj.bias": (dim,),
            f"{at}.linear1.weight": (feedforward, dim),
            f"{at}.linear1.bias": (feedforward,),
            f"{at}.linear2.weight": (dim, feedforward),
            f"{at}.linear2.bias": (dim,),
        }
        shapes |= {f"{at}.norm{part}.{kind}": (dim,) for part in (1, 2) for kind in ("weight", "bias")}
    shapes |= {f"{name}.fc.weight": (dim, dim), f"{name}.fc.bias": (dim,)}
    shapes |= {f"{name}.layernorm{part}.{kind}": (dim,) for part in (1, 2) for kind in ("weight", "bias")}
    return {key: rng.normal(0, 0.6, shape) for key, shape in shapes.items()}


def draw_case(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    heads, pred_heads = (int(rng.integers(1, 3)) for _ in range(2))
    cardinalities = rng.integers(1, 5, int(rng.integers(0, 4))).tolist()
    n_num, n_reg = int(rng.integers(0 if len(cardinalities) > 1 else 2, 4)), int(rng.integers(0, 3))
    dim, pred_dim = 2 * heads * int(rng.integers(1, 4)), 2 * pred_heads * int(rng.integers(1, 4))
    params = {
        "n_numerical": n_num,
        "cardinalities": cardinalities,
        "hidden_dim": dim,
        "heads": heads,
        "feedforward": int(rng.integers(1, 7)),
        "layers": int(rng.integers(1, 3)),
        "activation": ("relu", "gelu")[seed % 2],
        "pred_dim": pred_dim,
        "pred_heads": pred_heads,
        "pred_layers": int(rng.integers(1, 3)),
        "pred_feedforward": int(rng.integers(1, 7)),
        "pred_inner_activation": "relu",
        "target_encoder": "every context_encoder weight plus 0.05",
        "n_reg_tokens": n_reg,
    }
    columns, rows = n_num + len(cardinalities), int(rng.integers(1, 4))
    codes = [rng.integers(0, size, rows) for size in cardinalities]
    x = np.column_stack([*rng.random((n_num, rows)), *codes])
    n_context, n_target, n_masks = int(rng.integers(1, columns)), int(rng.integers(1, columns)), int(rng.integers(1, 4))
    orders = np.stack([[rng.permutation(n_reg + columns) for _ in range(rows)] for _ in range(n_masks + 1)])
    encoder = {
        "tokenizer.weight": rng.normal(size=(n_reg + n_num, dim)),
        "tokenizer.bias": rng.normal(size=(columns, dim)),
        "encoder.transformer_layers.norm1.weight": rng.normal(size=dim),
    }
    for column, size in enumerate(cardinalities):
        encoder[f"tokenizer.category_embeddings.{column}.weight"] = rng.normal(size=(size, dim))
    encoder |= draw_block(rng, "encoder", dim, params["feedforward"], params["layers"])
    predictor = {
        "mask_token": rng.normal(size=(1, 1, pred_dim)),
        "predictor_emb.weight": rng.normal(size=(pred_dim, dim)),
        "predictor_emb.bias": rng.normal(size=pred_dim),
        "predictor_norm.weight": rng.normal(size=pred_dim),
        "predictor_norm.bias": rng.normal(size=pred_dim),
        "predictor_proj.weight": rng.normal(size=(dim, pred_dim)),
        "predictor_proj.bias": rng.normal(size=dim),
    } | draw_block(rng, "transformer", pred_dim, params["pred_feedforward"], params["pred_layers"])
    inputs = {
        "x": x,
        "context_idx": orders[:1, :, :n_context],
        "target_idx": orders[1:, :, :n_target],
        "context_encoder": encoder,
        "predictor": predictor,
    }
    return inputs, params


def step_by_loops(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    encoder, predictor = inputs["context_encoder"], inputs["predictor"]
    teacher = {name: value + 0.05 for name, value in encoder.items()}
    x, (context,), targets = inputs["x"], inputs["context_idx"], inputs["target_idx"]
    everything = list(range(params["n_reg_tokens"] + x.shape[1]))
    tokens = np.stack([encode(row, everything, teacher, params) for row in x])
    seen = np.stack([encode(row, index.tolist(), encoder, params) for row, index in zip(x, context, strict=True)])
    predicted, target = [], []
    for mask in targets:
        for row in range(len(x)):
            predicted.append(predict(seen[row], context[row].tolist(), mask[row].tolist(), predictor, params))
            target.append(tokens[row][mask[row]])
    loss = np.mean((np.stack(predicted) - np.stack(target)) ** 2)
    return {
        "target_repr_all": tokens,
        "context_repr": seen,
        "predicted": np.stack(predicted),
        "target": np.stack(target),
        "loss": loss,
    }


@pytest.mark.parametrize("seed", range(12))
def test_one_step(seed: int) -> None:
    inputs, params = draw_case(seed)
    # torch keeps its sine tables in single precision
    check(inputs, params, step_by_loops(inputs, params), atol=2e-5)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_by_differences(seed: int) -> None:
    inputs, params = draw_case(seed)
    names = ("grad_tokenizer_weight", "grad_mask_token", "grad_norm_encoder_fc")
    case = {"inputs": listed(inputs), "params": params, "expected": dict.fromkeys(names, 0)}
    found = t_jepa.run(case, None)
    targets = step_by_loops(inputs, params)["target"]  # the teacher's weights do not move with the student's

    def slope(part: str, name: str) -> np.ndarray:
        weights = inputs[part][name]
        slopes = np.zeros_like(weights)
        for place in np.ndindex(*weights.shape):
            losses = []
            for step in (1e-5, -1e-5):
                weights[place] += step
                losses.append(np.mean((step_by_loops(inputs, params)["predicted"] - targets) ** 2))
                weights[place] -= step
            slopes[place] = (losses[0] - losses[1]) / 2e-5
        return slopes

    weight = slope("context_encoder", "tokenizer.weight")
    np.testing.assert_allclose(found["grad_tokenizer_weight"].numpy(), weight, rtol=1e-3, atol=2e-4)
    mask = slope("predictor", "mask_token")
    np.testing.assert_allclose(found["grad_mask_token"].numpy(), mask, rtol=1e-3, atol=2e-4)
    fc = np.linalg.norm(slope("context_encoder", "encoder.fc.weight"))
    assert float(found["grad_norm_encoder_fc"]) == pytest.approx(fc, rel=1e-3, abs=2e-4)


@pytest.mark.parametrize("seed", range(6))
def test_averages(seed: int) -> None:
    rng = np.random.default_rng(seed)
    total, start = int(rng.integers(1, 12)), float(rng.random())
    target, contexts = rng.normal(size=int(rng.integers(1, 6))), []
    momenta, averages, mean = [], [], target
    for step in range(int(rng.integers(1, total + 1))):
        contexts.append(rng.normal(size=target.shape))
        momenta.append(start + step * (1 - start) / total)
        mean = momenta[-1] * mean + (1 - momenta[-1]) * contexts[-1]
        averages.append(mean)
    params = {"ema_start": start, "ema_end": 1.0, "total_steps": total}
    expected = {"momentum": momenta, "target_after_step": np.stack(averages)}
    check({"target": target, "context_after_step": np.stack(contexts)}, params, expected)


@pytest.mark.parametrize(("warmup", "total", "calls"), [(0, 5, 9), (3, 12, 12), (4, 9, 30), (1, 2, 1)])
def test_schedules(warmup: int, total: int, calls: int) -> None:
    start, lr, final, decay, final_decay = 0.2, 1.5, 0.1, 0.03, 0.4
    rates, decays = [], []
    for s in range(1, calls + 1):
        cosine = math.cos(math.pi * (s - warmup) / (total - warmup))
        rates.append(start + (lr - start) * s / warmup if s < warmup else final + (lr - final) * (1 + cosine) / 2)
        decays.append(final_decay + (decay - final_decay) * (1 + math.cos(math.pi * s / total)) / 2)
    params = {"start_lr": start, "lr": lr, "final_lr": final, "warmup_steps": warmup, "total_steps": total}
    params |= {"weight_decay": decay, "final_weight_decay": final_decay, "n_calls": calls}
    check({}, params, {"lr_after_call": rates, "weight_decay_after_call": decays})


@pytest.mark.parametrize(("count", "dim"), [(1, 2), (7, 10), (20, 64)])
def test_positions(count: int, dim: int) -> None:
    params = {"n_positions": count, "dim": dim, "encoder_base": 100, "predictor_base": 10_000}
    expected = {
        "encoder_interleaved": [interleaved(p, dim) for p in range(count)],
        "predictor_concatenated": [concatenated(p, dim) for p in range(count)],
    }
    check({}, params, expected, atol=1e-6)


def test_what_is_unknown_fails() -> None:
    inputs, params = draw_case(0)
    inputs, expected = listed(inputs), {"loss": 0}
    wrong = [
        {"inputs": {"z": 1}, "params": {}, "expected": {}},
        {"inputs": {}, "params": {"n_positions": 3}, "expected": {}},
        {"inputs": inputs, "params": params | {"gamma": 1}, "expected": expected},
        {"inputs": inputs, "params": params | {"dropout": 0.1}, "expected": expected},
        {"inputs": inputs, "params": params | {"pred_inner_activation": "gelu"}, "expected": expected},
        {"inputs": inputs, "params": params | {"target_encoder": "a copy"}, "expected": expected},
        {"inputs": inputs, "params": params, "expected": {"accuracy": 0}},
        {"inputs": inputs | {"predictor": {"mask_token": [[[0.0]]]}}, "params": params, "expected": expected},
    ]
    for case in wrong:
        with pytest.raises((UnknownCase, RuntimeError)):
            t_jepa.run(case, None)
