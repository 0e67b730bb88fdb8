"""The comparer must be able to fail."""

import json
import math

import numpy as np
import pytest
import torch
from adapters import UnknownCase, check_known, compute
from comparison import mismatches
from golden_cases import load_cases

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
