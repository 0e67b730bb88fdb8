"""Adapter of 08-erase.json: methods.graphs.erase."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from labelwise.methods.graphs.erase import (
    MaximalCodingRateReduction,
    coding_rate,
    corrupt_labels,
    find_pseudo_labels,
    structural_denoise,
)
from labelwise.numerics.propagation import normalize_adjacency

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]
RATES = ("gam1", "gam2", "eps")
PATH = ("adjacency", "train_mask", "noisy_labels", "embeddings", "num_classes")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    if set(inputs) == set(PATH):
        return compute(case, label_path(inputs, params))
    if set(inputs) == {"embeddings", "labels", "num_classes"}:
        check_known(params, RATES, "params")
        return compute(case, rates(inputs, params, torch.tensor(inputs["labels"])))
    if set(inputs) == {"labels"}:
        check_known(params, ("ratio", "seed", "type"), "params")
        corrupt = lambda: corrupt_labels(inputs["labels"], params["ratio"], params["type"], params["seed"])  # noqa: E731
        return compute(case, {"noisy_labels": corrupt})
    raise UnknownCase(f"unknown fields: {', '.join(inputs)}")


def label_path(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    check_known(params, (*RATES, "alpha", "beta", "T"), "params")
    adjacency = torch.tensor(inputs["adjacency"], dtype=torch.float32)
    mask, labels = torch.tensor(inputs["train_mask"]), torch.tensor(inputs["noisy_labels"])
    embeddings = torch.tensor(inputs["embeddings"], dtype=torch.float32)
    steps = {"alpha": params["alpha"], "num_steps": params["T"]}
    denoised = structural_denoise(labels, mask, adjacency, num_classes=inputs["num_classes"], **steps)
    found = find_pseudo_labels(embeddings, denoised, mask, adjacency, beta=params["beta"], **steps)
    return {
        "denoised_Y": lambda: denoised,
        "denoised_labels": lambda: denoised.argmax(dim=1),
        "A_hat": lambda: normalize_adjacency(adjacency, "column").to_dense(),
        "semantic_Y": lambda: found.semantic,
        "pseudo_labels": lambda: found.hard,
        **rates(inputs, params, found.hard),
    }


def rates(inputs: Mapping[str, Any], params: Mapping[str, Any], labels: torch.Tensor) -> Functions:
    embeddings = torch.tensor(inputs["embeddings"], dtype=torch.float32, requires_grad=True)
    criterion = MaximalCodingRateReduction(**{name: params[name] for name in RATES if name in params})
    terms = criterion(embeddings, labels, inputs["num_classes"])
    (gradient,) = torch.autograd.grad(terms.loss, embeddings)
    return {
        "coding_rate": lambda: terms.coding_rate,
        "compress_rate": lambda: terms.class_coding_rate,
        "coding_rate_theoretical": lambda: coding_rate(embeddings, criterion.eps),
        "loss": lambda: terms.loss,
        "grad_embeddings": lambda: gradient,
    }
