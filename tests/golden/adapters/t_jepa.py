"""Adapter of 41-t-jepa.json: methods.pretraining.t_jepa, networks.tabular, memory.teacher and numerics.schedules."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.memory.teacher import AveragedTeacher
from labelwise.methods.pretraining.t_jepa import ContextPrediction, LatentPredictor, jepa_loss
from labelwise.networks.tabular import (
    TabularEncoder,
    concatenated_positions,
    gather_tokens,
    interleaved_positions,
)
from labelwise.numerics.schedules import half_cosine, linear_momentum, warmup_cosine

from . import UnknownCase, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, optional, function in KINDS:
        given = set(case["params"])
        if set(case["inputs"]) == set(fields) and set(params) <= given <= {*params, *optional}:
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields or params: {', '.join([*case['inputs'], *case['params']])}")


def training_step(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    if (params["pred_inner_activation"], params["target_encoder"], params.get("dropout", 0)) != ("relu", SHIFTED, 0):
        raise UnknownCase(f"unknown params: {params}")
    n_reg = params["n_reg_tokens"]
    encoder = TabularEncoder(
        params["n_numerical"],
        params["cardinalities"],
        dim=params["hidden_dim"],
        heads=params["heads"],
        layers=params["layers"],
        feedforward=params["feedforward"],
        dropout=0,
        activation=params["activation"],
        n_reg_tokens=n_reg,
    ).double()
    load(encoder, encoder_weights(inputs["context_encoder"]), {"tokenizer.missing", "tokenizer.fill"})
    predictor = LatentPredictor(
        n_reg + encoder.n_columns,
        params["hidden_dim"],
        params["pred_dim"],
        heads=params["pred_heads"],
        layers=params["pred_layers"],
        feedforward=params["pred_feedforward"],
        dropout=0,
    ).double()
    load(predictor, predictor_weights(inputs["predictor"]), set())
    network = ContextPrediction(encoder, predictor)
    teacher = AveragedTeacher(encoder)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 0.05

    x, targets = floats(inputs["x"]), torch.tensor(inputs["target_idx"])
    (context,) = torch.tensor(inputs["context_idx"])  # one context a row
    tokens = teacher(x)
    target = gather_tokens(tokens, targets).flatten(0, 1)
    predicted = network(x, context, targets)
    loss = jepa_loss(predicted, target)
    loss.backward()
    return {
        "target_repr_all": lambda: tokens,
        "context_repr": lambda: encoder(x, context),
        "predicted": lambda: predicted,
        "target": lambda: target,
        "loss": lambda: loss,
        "grad_tokenizer_weight": lambda: encoder.tokenizer.weight.grad,
        "grad_mask_token": lambda: predictor.mask_token.grad.reshape(1, 1, -1),
        "grad_norm_encoder_fc": lambda: encoder.transformer.fc.weight.grad.norm(),
    }


def encoder_weights(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """The authors' names to ours; a prototype layer that never runs is left out."""
    categories = "tokenizer.category_embeddings."
    weights = {
        renamed(name, "encoder."): floats(value)
        for name, value in given.items()
        if not name.startswith((categories, "encoder.transformer_layers."))
    }
    count = sum(name.startswith(categories) for name in given)
    tables = [floats(given[f"{categories}{column}.weight"]) for column in range(count)]
    width = weights["tokenizer.bias"].shape[1]
    return weights | {
        # JSON has no shape for a table without rows.
        "tokenizer.weight": weights["tokenizer.weight"].reshape(-1, width),
        "tokenizer.embedding": torch.cat([*tables, torch.zeros(0, width, dtype=torch.float64)]),
    }


def predictor_weights(given: Mapping[str, Any]) -> dict[str, Tensor]:
    weights = {renamed(name, "transformer."): floats(value) for name, value in given.items()}
    return weights | {"mask_token": weights["mask_token"].flatten()}


def renamed(name: str, block: str) -> str:
    for theirs, ours in (
        (f"{block}transformer.layers.", "transformer.layers."),
        (f"{block}layernorm", "transformer.norm"),
        (f"{block}fc", "transformer.fc"),
        ("predictor_emb.", "embed."),
        ("predictor_norm.", "norm."),
        ("predictor_proj.", "project."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def load(module: nn.Module, weights: Mapping[str, Tensor], absent: set[str]) -> None:
    found = module.load_state_dict(weights, strict=False)
    if set(found.missing_keys) != absent or found.unexpected_keys:
        raise UnknownCase(f"weights that do not fit: {found}")


def averaging(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    student = nn.Module()
    student.weight = nn.Parameter(floats(inputs["target"]))
    teacher = AveragedTeacher(student)
    momenta, averages = [], []
    for step, weight in enumerate(inputs["context_after_step"]):
        student.weight.data = floats(weight)
        momenta.append(linear_momentum(step, params["ema_start"], params["ema_end"], params["total_steps"]))
        teacher.update(student, momenta[-1])
        averages.append(teacher.network.weight.tolist())
    return {"momentum": lambda: momenta, "target_after_step": lambda: averages}


def schedules(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    calls = range(1, params["n_calls"] + 1)
    rates = [params[name] for name in ("start_lr", "lr", "final_lr", "warmup_steps", "total_steps")]
    decays = [params[name] for name in ("weight_decay", "final_weight_decay", "total_steps")]
    return {
        "lr_after_call": lambda: [warmup_cosine(call, *rates, clamp=False) for call in calls],
        "weight_decay_after_call": lambda: [half_cosine(call, *decays, clamp=False) for call in calls],
    }


def positions(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    shape = params["n_positions"], params["dim"]
    return {
        "encoder_interleaved": lambda: interleaved_positions(*shape, params["encoder_base"]),
        "predictor_concatenated": lambda: concatenated_positions(*shape, params["predictor_base"]),
    }


def floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


SHIFTED = "every context_encoder weight plus 0.05"
STEP_PARAMS = (
    "n_numerical",
    "cardinalities",
    "hidden_dim",
    "heads",
    "feedforward",
    "layers",
    "activation",
    "pred_dim",
    "pred_heads",
    "pred_layers",
    "pred_feedforward",
    "pred_inner_activation",
    "target_encoder",
    "n_reg_tokens",
)
SCHEDULE_PARAMS = (
    "start_lr",
    "lr",
    "final_lr",
    "warmup_steps",
    "total_steps",
    "weight_decay",
    "final_weight_decay",
    "n_calls",
)
# Fields, params that must be there, params that may be, function.
KINDS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Any], ...] = (
    (("x", "context_idx", "target_idx", "context_encoder", "predictor"), STEP_PARAMS, ("dropout",), training_step),
    (("target", "context_after_step"), ("ema_start", "ema_end", "total_steps"), (), averaging),
    ((), SCHEDULE_PARAMS, (), schedules),
    ((), ("n_positions", "dim", "encoder_base", "predictor_base"), (), positions),
)
