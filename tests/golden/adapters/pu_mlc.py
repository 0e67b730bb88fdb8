"""Adapter of 04-pu-mlc.json: methods.multilabel.pu_mlc and networks.local_global."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.methods.multilabel.pu_mlc import (
    adaptive_temperature,
    log_mixup_consistency,
    pu_mlc_loss,
    rebalance_weight,
)
from labelwise.networks.local_global import GlobalBranch2d

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
OPTIONS = ("gamma", "alpha", "eps")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    kinds: dict[frozenset[str], Callable[[Mapping[str, Any], Mapping[str, Any]], Functions]] = {
        frozenset({"logits", "labels"}): variational,
        frozenset({"x", "labels", "weight", "bias", "perm_first_half", "lam"}): mixup,
        frozenset({"x", "labels", "weight", "bias"}): descent,
        frozenset({"x", "state"}): branch,
    }
    kind = kinds.get(frozenset(inputs))
    if kind is None:
        raise UnknownCase(f"unknown fields: {', '.join(inputs)}")
    return compute(case, kind(inputs, params))


def variational(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, OPTIONS, "params")
    logits, labels = _floats(inputs["logits"]).requires_grad_(), _floats(inputs["labels"])
    loss = pu_mlc_loss(logits, labels, **params)
    loss.backward()
    temperature = adaptive_temperature(logits, params.get("alpha", 1.0))
    probs = (logits / temperature).sigmoid()
    return {
        "loss": lambda: loss,
        "grad_logits": lambda: logits.grad,
        "temperature": lambda: temperature,
        "class_weight": lambda: rebalance_weight(probs, params.get("gamma", 0.55)),
    }


def mixup(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("eps",), "params")
    found: Functions = {}
    for name, detach in (("attached", False), ("detached", True)):
        weight, bias = _floats(inputs["weight"]).requires_grad_(), _floats(inputs["bias"]).requires_grad_()

        def model(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return functional.linear(x.flatten(1), weight, bias)

        x, labels = _floats(inputs["x"]), _floats(inputs["labels"])
        loss = log_mixup_consistency(
            model,
            x,
            labels,
            model(x),
            lam=inputs["lam"],
            perm=torch.tensor(inputs["perm_first_half"]),
            detach_targets=detach,
            **params,
        )
        loss.backward()
        found |= {
            "loss": lambda loss=loss: loss,
            f"grad_weight_targets_{name}": lambda weight=weight: weight.grad,
            f"grad_bias_targets_{name}": lambda bias=bias: bias.grad,
        }
    return found


def descent(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("gamma", "alpha", "eps", "lr", "steps"), "params")
    options = {key: params[key] for key in OPTIONS if key in params}
    x, labels = _floats(inputs["x"]), _floats(inputs["labels"])
    weight, bias = _floats(inputs["weight"]).requires_grad_(), _floats(inputs["bias"]).requires_grad_()
    optimizer = torch.optim.SGD([weight, bias], lr=params["lr"])
    losses = []
    for _ in range(params["steps"]):
        loss = pu_mlc_loss(functional.linear(x, weight, bias), labels, **options)
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"losses": lambda: torch.stack(losses), "weight": lambda: weight, "bias": lambda: bias}


def branch(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    built = ("in_channels", "out_channels", "num_heads", "reduction_ratio", "stride")
    check_known(params, (*built, "training"), "params")
    state = {name: _floats(value) for name, value in inputs["state"].items()}
    sizes = {"in_channels": len(state["v.weight"]), "out_channels": len(state["proj.weight"])}
    module = GlobalBranch2d(**(sizes | {key: params[key] for key in built if key in params})).double()
    module.load_state_dict({"norm.num_batches_tracked": torch.tensor(0)} | state)
    module.train(bool(params.get("training", False)))
    with torch.no_grad():
        out = module(_floats(inputs["x"]))
    return {"out": lambda: out, "out_shape": lambda: list(out.shape)}


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
