"""Adapter of 30-forest-smoothers.json: certainty.forest_smoothers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.certainty import forest_smoothers as fs

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, needed, optional, function in KINDS:
        if set(case["inputs"]) == set(fields) and set(needed) <= set(case["params"]):
            check_known(case["params"], (*needed, *optional), "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields {', '.join(case['inputs'])} with params {', '.join(case['params'])}")


def forest(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    train, query, counts = inputs["leaf_ids_train"], inputs["leaf_ids_test"], inputs["bootstrap_counts"]
    on_train = fs.forest_smoother_from_leaves(train, train, counts)
    return smoothers(on_train, fs.forest_smoother_from_leaves(train, query, counts), inputs["y_train"])


def boosting(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    pair = fs.boosting_smoother(
        inputs["leaf_ids_train"], inputs["leaf_ids_test"], params["learning_rate"], params.get("init", "zero")
    )
    return smoothers(*pair, inputs["y_train"])


def smoothers(on_train: fs.Smoother, on_test: fs.Smoother, y_train: list[float]) -> Functions:
    return {
        "S_train": on_train.toarray,
        "S_test": on_test.toarray,
        "pred_test": lambda: on_test @ y_train,
        "effective_params_train_test_after_each_tree": lambda: np.stack(
            [fs.effective_parameters_by_tree(each) for each in (on_train, on_test)], axis=1
        ),
        "trace_train": lambda: fs.trace_parameters(on_train),
    }


def decomposition(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    found = fs.model_decomposition(inputs["predictions"], inputs["y_true"])
    return {name: lambda value=value: value for name, value in found.items()}


def freedom(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {
        "dof_sum_cov": lambda: fs.covariance_dof(inputs["y_draws"], inputs["pred_draws"]),
        "avg_pred_variance": lambda: fs.average_prediction_variance(inputs["pred_draws"]),
    }


LEAF_FIELDS = ("leaf_ids_train", "leaf_ids_test", "y_train")
KINDS = (
    ((*LEAF_FIELDS, "bootstrap_counts"), (), (), forest),
    (LEAF_FIELDS, ("learning_rate",), ("init",), boosting),
    (("predictions", "y_true"), (), (), decomposition),
    (("y_draws", "pred_draws"), (), (), freedom),
)
