"""The harness must be able to fail."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from adapters import UnknownCase, check_known, compute
from comparison import mismatches
from golden_cases import HERE, GoldenCase, load_cases
from test_golden import test_golden as run_golden

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("expected", "computed"),
    [
        (1.0, 1.0 + 1e-5),
        (1000.0, np.float64(1000.009)),
        (0, 0.0),
        (0.0, 5e-6),
        ([1, 0], np.array([True, False])),
        ([[1.0, 2.0]], torch.tensor([[1.0, 2.0]], requires_grad=True)),
        (3.5, torch.tensor(3.5)),
        (None, None),
        ([None, "a"], (None, "a")),
        (True, np.bool_(True)),
        (["given"], np.array(["given"])),
        (nan, nan),
        (inf, np.inf),
        ([], np.empty(0)),
        ([[], []], np.empty((2, 0))),
        ({"0": {"a": [1, 2]}}, {0: {"a": np.array([1, 2])}}),
    ],
)
def test_equal_values_agree(expected: object, computed: object) -> None:
    assert mismatches(expected, computed, 1e-5) == []


@pytest.mark.parametrize(
    ("expected", "computed"),
    [
        (1.0, 1.0 + 2.1e-5),
        (0.0, 1.1e-5),
        (1000.0, 1000.02),
        (1_000_000, 1_000_001),
        (1, 0),
        (1.0, None),
        (None, 0.0),
        (None, nan),
        (0.5, nan),
        (nan, 0.5),
        (inf, 1e300),
        (1e300, inf),
        (inf, -inf),
        ("given", "guessed"),
        ("1", 1),
        (1, "1"),
        (True, False),
        (True, None),
        ([1.0], [[1.0]]),
        ([[1.0]], [1.0]),
        ([1.0], 1.0),
        (1.0, [1.0]),
        ([1.0, 2.0], [1.0]),
        ([1.0], [1.0, 2.0]),
        ([], [0]),
        ([[1, 2], [3, 4]], np.array([1, 2, 3, 4])),
        ([1.0, 2.0], np.array([2.0, 1.0])),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, [1]),
        ({"a": {"b": [1.0, nan]}}, {"a": {"b": [1.0, 1.0]}}),
    ],
)
def test_different_values_do_not(expected: object, computed: object) -> None:
    assert mismatches(expected, computed, 1e-5)


def test_message_names_the_place() -> None:
    lines = mismatches({"a": [[1.0, 2.0], [3.0, 4.0]]}, {"a": [[1.0, 2.0], [3.0, 5.0]]}, 1e-5)
    assert lines == ["expected.a[1][1]: expected 4.0, computed 5.0"]


def test_tolerance_is_the_cases() -> None:
    assert mismatches(0.0, 0.009, 0.01) == []
    assert mismatches(0.0, 1e-9, 0.0)


def test_compute_calls_expected_keys_only() -> None:
    def never() -> None:
        raise AssertionError("not expected, must not be computed")

    assert compute({"expected": {"a": 1}}, {"a": lambda: 2, "b": never}) == {"a": 2}


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(UnknownCase, match="expected keys: b"):
        compute({"expected": {"a": 1, "b": 2}}, {"a": lambda: 1})
    with pytest.raises(UnknownCase, match="params: new"):
        check_known(["new", "old"], ["old"], "params")


def test_cases_are_read_with_the_slug_of_the_file(tmp_path) -> None:
    case = {"case": "x", "inputs": {}, "params": {}, "expected": {}, "atol": 0}
    (tmp_path / "07-a-new-method.json").write_text(json.dumps({"cases": [case]}))
    (found,) = load_cases(tmp_path, tmp_path.parent, is_own=False)
    assert (found.slug, found.case, found.root) == ("a_new_method", case, tmp_path.parent)


def own_cases(field: str) -> list[GoldenCase]:
    return [each for each in load_cases(HERE, None, is_own=True) if field in each.case["inputs"]]


def test_a_changed_number_fails() -> None:
    golden = copy.deepcopy(own_cases("acc_benign_a")[0])
    run_golden(golden)
    golden.case["expected"]["acc_b"][2] += 3e-5
    with pytest.raises(AssertionError, match=r"expected\.acc_b\[2\]"):
        run_golden(golden)


@pytest.mark.parametrize("part", ["inputs", "params", "expected"])
def test_a_field_nobody_knows_fails(part: str) -> None:
    for golden in copy.deepcopy(load_cases(HERE, HERE, is_own=True)):
        if any(field.endswith("_file") for field in golden.case["inputs"]):
            continue
        golden.case[part]["no_such_field"] = 1
        with pytest.raises(UnknownCase):
            run_golden(golden)


def test_the_name_of_a_case_means_nothing() -> None:
    for golden in copy.deepcopy(own_cases("votes_given_guessed_both_neither")):
        golden.case["case"] = "renamed"
        run_golden(golden)


def test_a_file_without_adapter_fails_here_and_is_skipped_elsewhere() -> None:
    case = {"case": "x", "inputs": {}, "params": {}, "expected": {}, "atol": 0}
    with pytest.raises(pytest.fail.Exception, match="no adapter"):
        run_golden(GoldenCase("no_such_method", case, None, is_own=True))
    with pytest.raises(pytest.skip.Exception, match="not built yet"):
        run_golden(GoldenCase("no_such_method", case, None, is_own=False))
