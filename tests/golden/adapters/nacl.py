"""Adapter of 02-nacl.json: methods.segmentation.nacl and certainty.calibration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.certainty.calibration import (
    adaptive_calibration_error,
    classwise_calibration_error,
    expected_calibration_error,
    softmax,
)
from labelwise.methods.segmentation.nacl import NACLLoss, SVLSLoss, neighborhood_prior, svls_kernel, svls_soft_labels

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    if set(inputs) == {"logits", "labels"}:
        return compute(case, calibration(inputs, params))
    if set(inputs) != {"logits", "targets"}:
        raise UnknownCase(f"unknown fields: {', '.join(inputs)}")
    return compute(case, nacl(inputs, params) if "alpha" in params else svls(inputs, params))


def nacl(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    window = ("kernel_size", "kernel", "sigma")
    check_known(params, ("num_classes", "distance", "alpha", "on_softmax", *window), "params")
    logits, targets = _logits(inputs), torch.tensor(inputs["targets"])
    chosen = {key: params[key] for key in params if key != "num_classes"}
    num_classes = params.get("num_classes", logits.shape[1])
    terms = NACLLoss(num_classes, **chosen)(logits, targets)
    terms.loss.backward()
    return {
        "loss": lambda: terms.loss,
        "loss_ce": lambda: terms.cross_entropy,
        "loss_penalty": lambda: terms.penalty,
        "prior": lambda: neighborhood_prior(
            targets, num_classes, **{key: params[key] for key in params if key in window}
        ),
        "grad_logits": lambda: logits.grad,
    }


def svls(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("num_classes", "kernel_size", "sigma"), "params")
    logits, targets = _logits(inputs), torch.tensor(inputs["targets"])
    chosen = {key: params[key] for key in params if key != "num_classes"}
    num_classes = params.get("num_classes", logits.shape[1])
    loss = SVLSLoss(num_classes, **chosen)(logits, targets)
    loss.backward()
    dims = targets.ndim - 1
    return {
        "loss": lambda: loss,
        "soft_labels": lambda: svls_soft_labels(targets, num_classes, **chosen),
        "kernel": lambda: svls_kernel(dims=dims, **chosen),
        "kernel_sum": lambda: svls_kernel(dims=dims, **chosen).sum(),
        "grad_logits": lambda: logits.grad,
    }


def calibration(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("n_bins",), "params")
    probs, labels = softmax(inputs["logits"]), np.asarray(inputs["labels"], dtype=np.int64)
    n_bins = params.get("n_bins", 15)
    return {
        "ece": lambda: expected_calibration_error(probs, labels, n_bins),
        "classwise_ece": lambda: classwise_calibration_error(probs, labels, n_bins),
        "adaptive_ece": lambda: adaptive_calibration_error(probs, labels, n_bins),
    }


def _logits(inputs: Mapping[str, Any]) -> torch.Tensor:
    return torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
