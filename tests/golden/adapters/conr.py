"""Adapter of 06-conr.json: methods.regression.conr."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labelwise.methods.regression.conr import conr_dense_loss, conr_loss, conr_pair_masks

from . import UnknownCase, check_known, compute

FIELDS = {"features", "targets", "preds"}
DENSE = "dense"


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    if set(inputs) - {"weights"} != FIELDS:
        raise UnknownCase(f"unknown fields: {', '.join(inputs)}")
    check_known(params, ("w", "t", "e", "variant"), "params")
    if not {"w", "t", "e"} <= set(params) or not str(params.get("variant", DENSE)).startswith(DENSE):
        raise UnknownCase(f"unknown params: {params}")

    features = _floats(inputs["features"]).requires_grad_()
    targets, preds = _floats(inputs["targets"]), _floats(inputs["preds"])
    weights = _floats(inputs["weights"]) if "weights" in inputs else None
    function = conr_dense_loss if "variant" in params else conr_loss
    options = {"w": params["w"], "temperature": params["t"], "eta": params["e"]}
    loss = function(features, targets, preds, sample_weight=weights, **options)
    loss.backward()
    if "variant" in params:
        targets, preds = targets.flatten(1).mean(dim=1), preds.flatten(1).mean(dim=1)
    positive, negative = conr_pair_masks(targets, preds, params["w"])
    return compute(
        case,
        {
            "loss": lambda: loss,
            "grad_features": lambda: features.grad,
            "positive_mask": lambda: positive.int(),
            "negative_mask": lambda: negative.int(),
        },
    )


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
