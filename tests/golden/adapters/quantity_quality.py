"""Adapter of 39-quantity-quality.json: audit.elicitation and methods.classification.log_confidence."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.audit import elicitation
from labelwise.methods.classification.log_confidence import log_confidence_loss

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
SAMPLING = ("temperature", "most_confident", "weights")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


def loss(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    options = dict(params)
    if "subtract_label_ent" in options:
        options["subtract_label_entropy"] = options.pop("subtract_label_ent")
    labels = torch.tensor(inputs["labels"], dtype=torch.float64)

    def at(step: int) -> tuple[float, Any]:
        logits = torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
        value = log_confidence_loss(logits, labels, step, **options)
        value.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return float(value.detach()), logits.grad.numpy()

    return {
        "loss_at_step": lambda: [at(step)[0] for step in inputs["steps"]],
        "grad_logits_at_last_step": lambda: at(inputs["steps"][-1])[1],
    }


def _two_columns(inputs: Mapping[str, Any]) -> Any:
    positive = np.asarray(inputs["prob_positive"], dtype=np.float64)
    return np.stack([1 - positive, positive], axis=1)


def sample(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    if params["temperature"] != 0:
        raise UnknownCase("a draw at a temperature above 0 depends on the generator")
    rng = np.random.default_rng(0)
    return {
        "selected_sorted": lambda: np.sort(
            elicitation.uncertainty_sample(_two_columns(inputs), inputs["n"], rng=rng, **params)
        )
    }


def draw(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {"draw_probabilities": lambda: elicitation.draw_probabilities(_two_columns(inputs), **params)}


def budget(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    def rows() -> Any:
        found = []
        for total, low, high, fraction in inputs["rows_budget_costlow_costhigh_fraction"]:
            counts = elicitation.allocate_budget(total, fraction, low, high)
            found.append([*counts, elicitation.total_cost(*counts, low, high)])
        return found

    return {"n_low_n_high_spent": rows}


def pareto(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {"pareto_indices_by_cost": lambda: elicitation.pareto_frontier(inputs["cost"], inputs["accuracy"])}


def auc(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    value = elicitation.roc_auc(inputs["y_true"], inputs["score"])
    return {name: lambda: value for name in ("roc_auc", "auroc", "auc")}


def api(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    pairs = [elicitation.api_batch_size_epochs(n) for n in inputs["n"]]
    whole: Functions = {name: lambda: pairs for name in ("batch_size_epochs", "batch_epochs", "batch_and_epochs")}
    batches: Functions = {name: lambda: [pair[0] for pair in pairs] for name in ("batch_size", "batch", "batch_sizes")}
    epochs: Functions = {name: lambda: [pair[1] for pair in pairs] for name in ("epochs", "num_epochs", "n_epochs")}
    return whole | batches | epochs


KINDS = (
    (("logits", "labels", "steps"), ("warmup_steps", "aux_coef", "subtract_label_ent"), loss),
    (("prob_positive", "n"), SAMPLING, sample),
    (("prob_positive",), SAMPLING, draw),
    (("rows_budget_costlow_costhigh_fraction",), (), budget),
    (("cost", "accuracy"), (), pareto),
    (("y_true", "score"), (), auc),
    (("n",), (), api),
)
