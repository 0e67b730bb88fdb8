"""Adapter of 44-ps-kd.json: methods.classification.ps_kd, numerics.losses and certainty.calibration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.methods.classification.ps_kd import PSKD
from labelwise.networks.network import Network
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.training.data import Batch, TrainingData

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


def training(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    if params.get("model", MODEL) != MODEL:
        raise UnknownCase(f"unknown model: {params['model']}")
    x, labels, weight = _floats(inputs["x"]), torch.tensor(inputs["labels"]), _floats(inputs["weight"])
    num_classes, num_inputs = weight.shape
    recipe = PSKD(lambda: Network(nn.Identity(), num_inputs, num_classes, head_bias=False), alpha_T=params["alpha_T"])
    recipe.begin(TrainingData(x, labels, num_classes), None, params["num_epochs"])
    recipe.double()
    head: Any = recipe.network.head
    head.weight.data.copy_(weight)
    optimizer = torch.optim.SGD(
        recipe.network.parameters(),
        lr=params["lr"],
        momentum=params["momentum"],
        nesterov=params["nesterov"],
        weight_decay=params["weight_decay"],
    )

    def optimise(loss: Tensor, network: str = "network") -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    alphas, mean_losses, predictions, weights = [], [], [], []
    for epoch, batches in enumerate(inputs["batches_per_epoch"]):
        recipe.begin_epoch(epoch)
        total = 0.0
        for rows in batches:
            index = torch.tensor(rows)
            terms = recipe.step(Batch(index=index, inputs=x[index], labels=labels[index]), optimise)
            total += float(terms["loss"]) * len(rows)
        alphas.append(recipe.criterion.alpha)
        mean_losses.append(total / sum(map(len, batches)))
        predictions.append(recipe.criterion.memory.targets.tolist())
        weights.append(head.weight.tolist())
    return {
        "alpha": lambda: alphas,
        "mean_loss": lambda: mean_losses,
        "predictions_after": lambda: predictions,
        "weight_after": lambda: weights,
    }


def soft_loss(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    logits = _floats(inputs["logits"]).requires_grad_()
    loss = soft_cross_entropy(logits, _floats(inputs["targets"]))
    loss.backward()
    return {"loss": lambda: loss, "grad_logits": lambda: logits.grad}


def calibration(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    from labelwise.certainty.calibration import area_under_risk_coverage, excess_aurc, expected_calibration_error

    probs, labels = np.asarray(inputs["probabilities"], dtype=np.float64), np.asarray(inputs["labels"], dtype=np.int64)
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    num_bins = round(1 / params["bin_size"])
    return {
        "ece_percent": lambda: 100 * expected_calibration_error(probs, labels, num_bins),
        "aurc_x1000": lambda: 1000 * area_under_risk_coverage(confidence, correct),
        "eaurc_x1000": lambda: 1000 * excess_aurc(confidence, correct),
    }


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MODEL = "logits = x @ weight.T"
TRAINING_PARAMS = ("alpha_T", "num_epochs", "lr", "momentum", "nesterov", "weight_decay", "model")
KINDS = (
    (("x", "labels", "weight", "batches_per_epoch"), TRAINING_PARAMS, training),
    (("logits", "targets"), (), soft_loss),
    (("probabilities", "labels"), ("bin_size",), calibration),
)
