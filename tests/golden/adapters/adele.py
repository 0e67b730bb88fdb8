"""Adapter of 09-adele.json: methods.segmentation.adele, numerics.learning_curves and ConfusionIoU."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from labelwise.methods.segmentation.adele import correct_labels, multiscale_consistency_loss
from labelwise.numerics.learning_curves import correction_epoch, fit_learning_curve, num_flat, relative_change
from labelwise.numerics.segmentation_metrics import ConfusionIoU

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
LOGITS = ("logits_1", "logits_2", "logits_3")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    for fields, functions in (
        ({"iou"}, curve),
        ({"labels", "probs"}, correction),
        ({"labels", "probs", "probs_round2"}, correction),
        ({*LOGITS, "labels", "scale_weights"}, consistency),
        ({"predictions", "labels"}, confusion),
        ({"predictions", "labels", "num_classes"}, confusion),
    ):
        if set(inputs) == fields:
            return compute(case, functions(inputs, params))
    raise UnknownCase(f"unknown fields: {', '.join(inputs)}")


def curve(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("n_epoch", "r", "k_min", "flat_increment"), "params")
    iou, r, increment = inputs["iou"], params.get("r", 0.9), params.get("flat_increment")
    cut = 0 if increment is None else num_flat(iou, increment)

    def is_on(known: int) -> bool:
        start = correction_epoch(iou[:known], params["n_epoch"], r, skip_flat=increment)
        return start is not None and known - 1 >= start

    return {
        "points_cut": lambda: cut,
        "a": lambda: fit_learning_curve(iou[cut:]).a,
        "b": lambda: fit_learning_curve(iou[cut:]).b,
        "c": lambda: fit_learning_curve(iou[cut:]).c,
        "relative_change": lambda: relative_change(fit_learning_curve(iou[cut:]), params["n_epoch"]),
        "update_epoch": lambda: correction_epoch(iou, params["n_epoch"], r, skip_flat=increment),
        "decisions": lambda: [is_on(known) for known in range(params["k_min"], len(iou) + 1)],
    }


def correction(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("active", "tau_fg", "tau_bg"), "params")
    probs = [torch.tensor(inputs[name], dtype=torch.float64) for name in ("probs", "probs_round2") if name in inputs]
    active = torch.tensor([bool(params["active"].get(str(label))) for label in range(probs[0].shape[1])])
    taus = {name: params[name] for name in ("tau_fg", "tau_bg") if name in params}
    rounds = [torch.tensor(inputs["labels"])]
    for each in probs:
        rounds.append(correct_labels(rounds[-1], each, active, **taus))
    functions: Functions = {"new_labels": lambda: rounds[1]}
    if len(probs) > 1:
        functions["new_labels_round2"] = lambda: rounds[2]
    return functions


def consistency(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("rho", "lambda_", "ignore_index"), "params")
    logits = [torch.tensor(inputs[name], dtype=torch.float64, requires_grad=True) for name in LOGITS]
    weights = torch.tensor(inputs["scale_weights"], dtype=torch.float64, requires_grad=True)
    options = {name: params[name] for name in ("rho", "ignore_index") if name in params}
    terms = multiscale_consistency_loss(logits, torch.tensor(inputs["labels"]), weights, **options)
    total = terms.cross_entropy + params.get("lambda_", 1.0) * terms.consistency
    total.backward()
    return {
        "loss_ce": lambda: terms.cross_entropy,
        "consistency": lambda: terms.consistency,
        "total": lambda: total,
        "mixture": lambda: terms.mixture,
        "grad_logits_1": lambda: logits[0].grad,
        "grad_logits_2": lambda: logits[1].grad,
        "grad_logits_3": lambda: logits[2].grad,
        "grad_scale_weights": lambda: weights.grad,
    }


def confusion(inputs: dict[str, Any], params: dict[str, Any]) -> Functions:
    check_known(params, ("num_classes", "ignore_index"), "params")
    if params.get("ignore_index", 255) != 255:
        raise UnknownCase(f"unknown ignore_index: {params['ignore_index']}")
    counts = ConfusionIoU((inputs | params)["num_classes"])
    for predictions, labels in zip(inputs["predictions"], inputs["labels"], strict=True):
        counts.update(torch.tensor(predictions), torch.tensor(labels))
    return {
        "TP": lambda: counts.TP,
        "P": lambda: counts.P,
        "T": lambda: counts.T,
        "iou": lambda: counts.iou,
    }
