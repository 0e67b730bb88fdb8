"""Adapter of 23-lp-icp.json: certainty.label_powerset."""

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.certainty.label_powerset import LabelPowersetICP, LabelSets, nonconformity, p_value, rejection_rank

from . import UnknownCase, compute

Functions = dict[str, Callable[[], Any]]
CALIBRATION = ("calibration_outputs", "calibration_labels", "outputs")
NUM_FIRST = 12


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields) and set(case["params"]) == set(params):
            return compute(case, function(case))
    raise UnknownCase(f"unknown fields: {', '.join([*case['inputs'], *case['params']])}")


def all_label_sets(case: Mapping[str, Any]) -> Functions:
    inputs, d = case["inputs"], case["params"]["d"]
    num_labels = len(inputs["outputs"])
    label_sets = np.array(list(itertools.product((0, 1), repeat=num_labels)))
    calibration_scores = nonconformity(*_arrays(inputs, CALIBRATION[:2]), d)

    def scores() -> Any:
        return nonconformity(np.tile(inputs["outputs"], (len(label_sets), 1)), label_sets, d)

    return {
        "calibration_scores": lambda: calibration_scores,
        "label_sets": lambda: label_sets,
        "scores": scores,
        "p_values": lambda: p_value(scores(), calibration_scores),
    }


def prediction_set(case: Mapping[str, Any]) -> Functions:
    inputs, epsilon, d = case["inputs"], case["params"]["epsilon"], case["params"]["d"]
    calibration_outputs, calibration_labels = _arrays(inputs, CALIBRATION[:2])
    icp = LabelPowersetICP(d).calibrate(calibration_outputs, calibration_labels)
    outputs = np.asarray([inputs["outputs"]], dtype=np.float64)
    size = int(icp.set_sizes(outputs, epsilon)[0])
    point = icp.predict(outputs)

    @cache
    def whole() -> LabelSets:
        return icp.prediction_set(outputs, epsilon, max_sets=max(size, 1))[0]

    @cache
    def start() -> LabelSets:
        return icp.prediction_set(outputs, epsilon)[0]

    def threshold() -> Any:
        return "inf" if icp.threshold(epsilon) == math.inf else icp.threshold(epsilon)

    return {
        "calibration_scores": lambda: nonconformity(calibration_outputs, calibration_labels, d),
        "k": lambda: rejection_rank(epsilon, len(calibration_labels)),
        "threshold": threshold,
        "set_size": lambda: size,
        "forced_prediction": lambda: point.labels[0].astype(int),
        "credibility": lambda: point.credibility[0],
        "confidence": lambda: point.confidence[0],
        "prediction_set": lambda: whole().label_sets.astype(int),
        "scores": lambda: whole().scores,
        "p_values": lambda: whole().p_values,
        "first_sets_positive_labels": lambda: [np.flatnonzero(row) for row in start().label_sets[:NUM_FIRST]],
        "first_scores": lambda: start().scores[:NUM_FIRST],
        "first_p_values": lambda: start().p_values[:NUM_FIRST],
        "true_set_covered": lambda: icp.contains(outputs, [inputs["true_labels"]], epsilon)[0],
    }


def _arrays(inputs: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [np.asarray(inputs[name]) for name in names]


KINDS = (
    (CALIBRATION, ("d",), all_label_sets),
    ((*CALIBRATION, "true_labels"), ("d", "epsilon"), prediction_set),
)
