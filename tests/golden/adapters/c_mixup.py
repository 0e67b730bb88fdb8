"""Adapter of 25-c-mixup.json: methods.regression.c_mixup and numerics.regression_metrics."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.methods.regression.c_mixup import inverse_cdf, label_similarity_matrix, manifold_mixup, mixup_pairs
from labelwise.numerics.regression_metrics import regression_metrics

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
PARTS = [f"param.{part}.0.{kind}" for part in ("block_1", "block_2", "fclayer") for kind in ("weight", "bias")]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


def rates(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {"sample_rate": lambda: label_similarity_matrix(_floats(inputs["y"]), **params)}


def mixing(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    x, y = _floats(inputs["x"]), _floats(inputs["y"])
    anchors = torch.tensor(inputs["anchor_index"])
    partners = inverse_cdf(label_similarity_matrix(y, **params)[anchors], _floats(inputs["uniforms"]))
    mixed_x, mixed_y = mixup_pairs(x[anchors], x[partners], y[anchors], y[partners], inputs["lam"])
    return {"partner_index": lambda: partners, "mixed_x": lambda: mixed_x, "mixed_y": lambda: mixed_y}


def manifold(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    if params.get("mix_after", "block_1") != "block_1":
        raise UnknownCase(f"unknown mix_after: {params['mix_after']}")
    slope = params.get("negative_slope", 0.1)
    state = {name.removeprefix("param."): _floats(inputs[name]) for name in PARTS}

    def block(name: str) -> nn.Sequential:
        outputs, width = state[f"{name}.0.weight"].shape
        return nn.Sequential(nn.Linear(width, outputs), *([nn.LeakyReLU(slope)] if name != "fclayer" else []))

    network = nn.Sequential(OrderedDict((name, block(name)) for name in ("block_1", "block_2", "fclayer"))).double()
    network.load_state_dict(state)
    x1, x2 = _floats(inputs["x1"]), _floats(inputs["x2"])
    return {"output": lambda: manifold_mixup(network, network.block_1, x1, x2, inputs["lam"])}


def metrics(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    found = regression_metrics(inputs["pred"], inputs["y"])
    return {name: lambda value=value: value for name, value in found._asdict().items()}


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


KINDS = (
    (("y",), ("bandwidth", "kernel"), rates),
    (("x", "y", "anchor_index", "uniforms", "lam"), ("bandwidth", "kernel"), mixing),
    (("x1", "x2", "lam", *PARTS), ("negative_slope", "mix_after"), manifold),
    (("pred", "y"), (), metrics),
)
