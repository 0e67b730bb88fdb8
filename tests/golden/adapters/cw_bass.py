"""Adapter of 10-cw-bass.json: methods.segmentation.cw_bass and what it rests on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from comparison import plain
from torch import nn

from labelwise.memory.teacher import AveragedTeacher
from labelwise.methods.segmentation.cw_bass import (
    CWBASSLoss,
    boundary_cross_entropy,
    confidence_weighted_cross_entropy,
    dynamic_threshold,
)
from labelwise.numerics.losses import pixel_cross_entropy
from labelwise.numerics.schedules import linear_ramp
from labelwise.numerics.windows import sobel_boundary_mask

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
LOSS = ("base_threshold", "beta", "gamma", "decay_factor", "use_confidence_decay", "boundary_weight")
LOOP = ("weight", "bias", "labeled_images", "labeled_masks", "unlabeled_images")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    if params.get("ignore_index", 255) != 255:
        raise UnknownCase(f"unknown ignore_index: {params['ignore_index']}")
    for fields, functions in (
        ({"teacher_logits", "student_logits"}, unsupervised),
        ({"mean_confidence"}, thresholds),
        ({"labels"}, boundary),
        ({"student_logits", "pseudo_labels", "weights"}, given_labels),
    ):
        if set(inputs) == fields:
            return compute(case, functions(inputs, params))
    if set(inputs) == set(LOOP):
        check_known(case["expected"], ("steps",), "expected keys")
        return {"steps": loop(inputs, params, case["expected"]["steps"])}
    raise UnknownCase(f"unknown fields: {', '.join(inputs)}")


def unsupervised(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("num_classes", "ignore_index", *LOSS), "params")
    student = _tensor(inputs["student_logits"]).requires_grad_()
    terms = _loss(params, student.shape[1])(student, _tensor(inputs["teacher_logits"]))
    terms.loss.backward()
    return {
        "confidence": lambda: terms.confidence,
        "threshold": lambda: terms.threshold,
        "boundary_mask": lambda: terms.boundary_mask.int(),
        "pseudo_labels": lambda: terms.pseudo_labels,
        "weights": lambda: terms.weights,
        "loss_weighted_ce": lambda: terms.weighted,
        "loss_unsupervised": lambda: terms.loss,
        "grad_student_logits": lambda: student.grad,
    }


def thresholds(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("settings", "min", "max"), "params")
    ends = {name: params[name] for name in ("min", "max") if name in params}
    return {
        "thresholds": lambda: [
            [float(dynamic_threshold(_tensor([mean]), *setting, **ends)) for mean in inputs["mean_confidence"]]
            for setting in params["settings"]
        ]
    }


def boundary(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, ("num_classes", "ignore_index"), "params")
    return {"boundary_mask": lambda: sobel_boundary_mask(torch.tensor(inputs["labels"]), params["num_classes"]).int()}


def given_labels(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    """Every pixel is left out, so any boundary mask will do."""
    check_known(params, ("num_classes", "ignore_index", *LOSS), "params")
    student = _tensor(inputs["student_logits"]).requires_grad_()
    labels = torch.tensor(inputs["pseudo_labels"])
    if (labels != 255).any():
        raise UnknownCase("pseudo_labels hold classes, but no boundary mask is given for them")
    weighted = confidence_weighted_cross_entropy(student, labels, _tensor(inputs["weights"]), params.get("gamma", 1.0))
    edges = boundary_cross_entropy(student, labels, torch.ones_like(labels))
    loss = weighted + params.get("boundary_weight", 0.5) * edges
    loss.backward()
    return {
        "loss_weighted_ce": lambda: weighted,
        "loss_unsupervised": lambda: loss,
        "grad_student_logits": lambda: student.grad,
    }


def loop(inputs: Mapping[str, Any], params: Mapping[str, Any], expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is expected of each iteration, and no more."""
    check_known(params, ("num_classes", "lr", "ema_decay", "warmup_iters", "lambda_u", "ignore_index", *LOSS), "params")
    weight = _tensor(inputs["weight"])  # (K, C)
    student = nn.Conv2d(weight.shape[1], weight.shape[0], 1, dtype=torch.float64)
    student.load_state_dict({"weight": weight[:, :, None, None], "bias": _tensor(inputs["bias"])})
    teacher, optimizer = AveragedTeacher(student), torch.optim.SGD(student.parameters(), lr=params["lr"])
    criterion = _loss(params, weight.shape[0])
    steps: list[dict[str, Any]] = []
    batches = zip(*(inputs[name] for name in LOOP[2:]), strict=True)
    for number, (images, masks, unlabelled) in enumerate(batches):
        supervised = pixel_cross_entropy(student(_tensor(images)), torch.tensor(masks))
        terms = criterion(student(_tensor(unlabelled)), teacher(_tensor(unlabelled)))
        ramp = linear_ramp(number, params["warmup_iters"])
        loss = supervised + params["lambda_u"] * ramp * terms.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        teacher.update(student, params["ema_decay"])
        found = {
            "loss": loss,
            "supervised": supervised,
            "unsupervised": terms.loss,
            "ramp": ramp,
            "threshold": terms.threshold,
            "student_weight": student.weight[:, :, 0, 0],
            "student_bias": student.bias,
            "teacher_weight": teacher.network.weight[:, :, 0, 0],
            "teacher_bias": teacher.network.bias,
        }
        check_known(expected[number], found, "expected keys")
        steps.append({name: plain(found[name]) for name in expected[number]})
    return steps


def _loss(params: Mapping[str, Any], num_classes: int) -> CWBASSLoss:
    options = {name: params[name] for name in LOSS if name in params}
    return CWBASSLoss(params.get("num_classes", num_classes), **options)


def _tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
