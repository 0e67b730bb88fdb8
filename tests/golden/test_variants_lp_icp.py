"""Random cases with the golden file's fields, against the spec written out in plain NumPy."""

import copy
import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, lp_icp
from comparison import mismatches
from golden_cases import HERE, load_cases

CASES = range(12)


def problem(seed: int, num_labels: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray, float]:
    """Inputs of one test row, all label-sets, their scores with the calibration's, and the power."""
    rng = np.random.default_rng(seed)
    rows, d = int(rng.integers(1, 40)), float(rng.choice([0.5, 1, 2, 3]))
    outputs = rng.beta(0.6, 1, (rows + 1, num_labels)).round(3)
    labels = (rng.random((rows, num_labels)) < outputs[:rows]).astype(int)
    inputs = {
        "calibration_outputs": outputs[:rows].tolist(),
        "calibration_labels": labels.tolist(),
        "outputs": outputs[rows].tolist(),
    }
    label_sets = np.array(list(itertools.product((0, 1), repeat=num_labels)))
    calibration = (np.abs(labels - outputs[:rows]) ** d).sum(axis=1)
    return inputs, label_sets, np.append((np.abs(label_sets - outputs[rows]) ** d).sum(axis=1), calibration), d


def p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    return ((calibration >= scores[:, None] - 1e-10).sum(axis=1) + 1) / (len(calibration) + 1)


def check(inputs: Any, params: Any, expected: dict[str, Any]) -> None:
    wanted = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in expected.items()}
    computed = lp_icp.run({"inputs": inputs, "params": params, "expected": wanted}, None)
    assert mismatches(wanted, computed, 1e-9) == []


@pytest.mark.parametrize("seed", CASES)
def test_all_label_sets(seed: int) -> None:
    inputs, label_sets, scores, d = problem(seed, 1 + seed % 6)
    scores, calibration = scores[: len(label_sets)], scores[len(label_sets) :]
    expected = {
        "calibration_scores": calibration,
        "label_sets": label_sets,
        "scores": scores,
        "p_values": p_values(scores, calibration),
    }
    check(inputs, {"d": d}, expected)


@pytest.mark.parametrize("seed", CASES)
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.29, 0.8])
def test_prediction_set(seed: int, epsilon: float) -> None:
    inputs, label_sets, scores, d = problem(100 + seed, 1 + seed % 9)
    scores, calibration = scores[: len(label_sets)], scores[len(label_sets) :]
    p = p_values(scores, calibration)
    k = int(Fraction(str(epsilon)) * (len(calibration) + 1))
    order = np.lexsort((*label_sets.T[::-1], scores.round(9)))
    kept = order[(p > epsilon + 1e-12)[order]]
    true = label_sets[seed % len(label_sets)]
    expected = {
        "calibration_scores": calibration,
        "k": k,
        "threshold": "inf" if k == 0 else np.sort(calibration)[-k],
        "set_size": len(kept),
        "forced_prediction": (np.array(inputs["outputs"]) > 0.5).astype(int),
        "credibility": p.max(),
        "confidence": 1 - np.sort(p)[-2],
        "prediction_set": label_sets[kept],
        "scores": scores[kept],
        "p_values": p[kept],
        "first_sets_positive_labels": [np.flatnonzero(row).tolist() for row in label_sets[kept[:12]]],
        "first_scores": scores[kept[:12]],
        "first_p_values": p[kept[:12]],
        "true_set_covered": any((true == row).all() for row in label_sets[kept]),
    }
    check({**inputs, "true_labels": true.tolist()}, {"d": d, "epsilon": epsilon}, expected)


@pytest.mark.parametrize("missing", ["d", "true_labels"])
def test_a_case_of_no_known_kind_is_refused(missing: str) -> None:
    (golden,) = [each for each in load_cases(HERE, None, is_own=True) if each.case["case"] == "prediction_set_5"]
    case = copy.deepcopy(golden.case)
    (case["params"] if missing == "d" else case["inputs"]).pop(missing)
    with pytest.raises(UnknownCase):
        lp_icp.run(case, None)
