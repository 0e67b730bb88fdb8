"""Adapter of 01-elr.json: methods.classification.elr and memory.teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.memory.teacher import update_ema
from labelwise.methods.classification.elr import ELRLoss, ELRPlusLoss

from . import UnknownCase, check_known, compute


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, _columns(function(case["inputs"], case["params"])))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


def elr(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    criterion = ELRLoss(params["num_examples"], params["num_classes"], params["lambda_"], params["beta"]).double()
    rows = []
    for logits, labels, index in zip(inputs["logits"], inputs["labels"], inputs["index"], strict=True):
        logits = _leaf(logits)
        loss = criterion(logits, torch.tensor(labels), torch.tensor(index)).loss
        loss.backward()
        rows.append({"loss": loss, "target_after": criterion.memory.targets.clone(), "grad_logits": logits.grad})
    return rows


def elr_plus(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    criterion = ELRPlusLoss(
        params["num_examples"],
        params["num_classes"],
        params["lambda_"],
        params["beta"],
        ramp_steps=params["coef_step"],
        reweight_labels=params["reweight_labels_by_target"],
    ).double()
    rows = []
    for step in range(len(inputs["index"])):
        batch = {name: values[step] for name, values in inputs.items()}
        targets = criterion.update_targets(
            _leaf(batch["teacher_logits"]),
            torch.tensor(batch["index"]),
            torch.tensor(batch["mix_index"]),
            batch["mixup_lambda"],
        )
        logits = _leaf(batch["student_logits"])
        loss = criterion(logits, torch.tensor(batch["mixed_onehot"]).double(), targets, batch["iteration"]).loss
        loss.backward()
        rows.append(
            {
                "loss": loss,
                "history_after": criterion.memory.targets.clone(),
                "mixed_target": targets,
                "grad_logits": logits.grad,
            }
        )
    return rows


def parameter_average(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    ramp_steps = params["ema_step"] if params["ramp_ema"] else None
    average = _vector(inputs["ema_init"])
    rows = []
    for student, step in zip(inputs["student"], inputs["global_step"], strict=True):
        update_ema(_vector(student), average, step, params["ema_alpha"], ramp_steps)
        rows.append({"ema_after": average[0].detach().clone()})
    return rows


def _leaf(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def _vector(values: list[float]) -> nn.ParameterList:
    return nn.ParameterList([torch.tensor(values, dtype=torch.float64)])


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One function a key, which lists the key's value of every step."""
    names = rows[0] if rows else ()
    return {name: lambda name=name: [row[name].detach().tolist() for row in rows] for name in names}


LOSS_PARAMS = ("num_examples", "num_classes", "beta", "lambda_")
KINDS = (
    (("logits", "labels", "index"), LOSS_PARAMS, elr),
    (
        ("index", "teacher_logits", "student_logits", "mixed_onehot", "mix_index", "mixup_lambda", "iteration"),
        (*LOSS_PARAMS, "coef_step", "reweight_labels_by_target"),
        elr_plus,
    ),
    (("ema_init", "student", "global_step"), ("ema_alpha", "ramp_ema", "ema_step"), parameter_average),
)
