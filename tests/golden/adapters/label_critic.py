"""Adapter of 35-label-critic.json: audit.critic."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit.critic.pairs import round_robin_scores, select_pairs, sequential_best
from labelwise.audit.critic.projections import FLOOR, FRONT_BACK, WINDOWS, dice, overlay, project_mask, project_volume
from labelwise.audit.critic.verdicts import combine_dual

from . import UnknownCase, check_known, compute

Functions = dict[str, Callable[[], Any]]


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    for fields, params, function in KINDS:
        if set(case["inputs"]) == set(fields):
            check_known(case["params"], params, "params")
            return compute(case, function(case["inputs"], case["params"]))
    raise UnknownCase(f"unknown fields: {', '.join(case['inputs'])}")


def verdicts(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    conservative = params.get("conservative", False)
    return {"verdict": lambda: [combine_dual(*pair, conservative)[0] for pair in inputs["answer_pairs"]]}


def overlaps(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    return {"dice": lambda: [dice(first, second) for first, second in inputs["mask_pairs"]]}


def projections(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    axis = params.get("axis", FRONT_BACK)
    windows = params.get("windows", WINDOWS)
    volume, spacing = np.asarray(inputs["ct"], dtype=np.float64), inputs.get("spacing")

    def images(step: Any) -> Any:
        return project_volume(volume, step, axis, windows)

    def drawn() -> Any:
        return project_mask(inputs["mask"], axis, params.get("th", FLOOR))

    functions: Functions = {
        "projection_shape": lambda: next(iter(images(spacing).values())).shape,
        "mask_projection": drawn,
    }
    for name in windows:
        functions[f"projection_{name}"] = lambda name=name: images(spacing)[name]
        functions[f"overlay_{name}"] = lambda name=name: overlay(images(None)[name], drawn(), name)
    return functions


def selections(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    found = select_pairs(inputs["dice"], **params)
    return {"threshold": lambda: found.threshold, "selected": lambda: np.flatnonzero(found.mask)}


def winners(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> Functions:
    table = inputs["verdict_matrix"]
    return {
        "sequential_best": lambda: sequential_best(len(table), lambda first, second: table[first][second]),
        "scores": lambda: round_robin_scores(table),
        "copeland_best": lambda: int(round_robin_scores(table).argmax()),
    }


KINDS = (
    (("answer_pairs",), ("conservative",), verdicts),
    (("mask_pairs",), (), overlaps),
    (("ct", "mask", "spacing"), ("axis", "th", "windows"), projections),
    (("ct", "mask"), ("axis", "th", "windows"), projections),
    (("dice",), ("threshold_max", "min_cases", "max_cases"), selections),
    (("verdict_matrix",), (), winners),
)
