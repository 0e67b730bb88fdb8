"""Adapter of 03-compress-features.json: methods.classification.compress_features."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwise.methods.classification.compress_features import (
    CoTeaching,
    nested_prefix_distribution,
    num_kept,
    penalised_accuracy,
    select_prefix,
    small_loss_selection,
)
from labelwise.networks.network import Network
from labelwise.training.data import Batch, TrainingData

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, needed, optional, function in KINDS:
        if set(case["inputs"]) == set(fields) and set(needed) <= set(case["params"]):
            check_known(case["params"], (*needed, *optional), "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields: {', '.join([*case['inputs'], *case['params']])}")


def prefix_distribution(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {"prob": lambda: nested_prefix_distribution(params["num_features"], params["std"], params.get("mu", 0.0))}


def selection(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    def kept(network: int) -> Tensor:
        logits, labels = _floats(inputs[f"logits{network}"]), torch.tensor(inputs[f"labels{network}"])
        return small_loss_selection(logits, labels, params["forget_rate"])

    return {
        "keep1": lambda: kept(1),
        "keep2": lambda: kept(2),
        "num_keep": lambda: num_kept(len(inputs["labels1"]), params["forget_rate"]),
    }


def best_prefix(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    recipe = _co_teaching(inputs)
    x, labels = _floats(inputs["x"]), torch.tensor(inputs["labels"])
    accuracy = recipe.prefix_accuracy(TrainingData(x, labels, num_classes=len(inputs["class_weight1"][0])))

    def official_index() -> int:
        """The official code reports the full length where one channel is best."""
        length = select_prefix(accuracy, params["penalty"])
        return len(accuracy) - 1 if length == 1 else length - 1

    return {
        "averaged_logits_per_prefix": lambda: recipe.prefix_logits(x),
        "accuracy_per_prefix": lambda: accuracy,
        "best_penalised_accuracy": lambda: penalised_accuracy(accuracy, params["penalty"]).max(),
        "best_index": official_index,
    }


def exchange(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    if params.get("feature_map", FEATURE_MAP) != FEATURE_MAP:
        raise UnknownCase(f"unknown feature_map: {params['feature_map']}")
    recipe = _co_teaching(inputs)
    recipe.draw_prefix(params["train_prefix_length"])
    recipe.keep_channels(params["selection_prefix_length"])
    optimizers = {
        name: torch.optim.SGD(
            getattr(recipe, name).parameters(),
            lr=params["lr"],
            momentum=params["momentum"],
            weight_decay=params["weight_decay"],
        )
        for name in recipe.networks()
    }

    def optimise(loss: Tensor, network: str = "network") -> None:
        optimizers[network].zero_grad()
        loss.backward()
        optimizers[network].step()

    losses = []
    for x, labels in zip(inputs["x"], inputs["labels"], strict=True):
        batch = Batch(index=torch.arange(len(labels)), inputs=_floats(x), labels=torch.tensor(labels))
        losses.append(recipe.exchange(batch, optimise, params["forget_rate"]))
    functions: Functions = {}
    for number, name in enumerate(recipe.networks(), start=1):
        network: Any = getattr(recipe, name)
        functions |= {
            f"feature_weight{number}": lambda network=network: network.extractor[0].weight.T,
            f"class_weight{number}": lambda network=network: network.head.weight.T,
            f"mean_loss{number}": lambda name=name: torch.stack([terms[f"loss_{name}"] for terms in losses]).mean(),
        }
    return functions


def _co_teaching(inputs: Mapping[str, Any]) -> CoTeaching:
    """The recipe with the case's two networks, in training mode, in float64."""
    num_inputs, num_features = len(inputs["feature_weight1"]), len(inputs["class_weight1"])
    num_classes = len(inputs["class_weight1"][0])

    def build() -> Network:
        extractor = nn.Sequential(nn.Linear(num_inputs, num_features, bias=False), nn.ReLU())
        return Network(extractor, num_features, num_classes, head_bias=False)

    recipe = CoTeaching(build, compression="nested").double()
    with torch.no_grad():
        for number, name in enumerate(recipe.networks(), start=1):
            network: Any = getattr(recipe, name)
            network.extractor[0].weight.copy_(_floats(inputs[f"feature_weight{number}"]).T)
            network.head.weight.copy_(_floats(inputs[f"class_weight{number}"]).T)
    return recipe


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


FEATURE_MAP = "relu(x @ feature_weight)"
TWO_NETWORKS = ("x", "labels", "feature_weight1", "class_weight1", "feature_weight2", "class_weight2")
KINDS = (
    ((), ("num_features", "std"), ("mu",), prefix_distribution),
    (("logits1", "logits2", "labels1", "labels2"), ("forget_rate",), (), selection),
    (TWO_NETWORKS, ("penalty",), (), best_prefix),
    (
        TWO_NETWORKS,
        ("train_prefix_length", "selection_prefix_length", "forget_rate", "lr", "momentum", "weight_decay"),
        ("feature_map",),
        exchange,
    ),
)
