"""Compares what a function returned with what a golden file expects."""

import math
from collections.abc import Mapping
from typing import Any

RTOL = 1e-5  # the files keep six significant digits


def mismatches(expected: Any, computed: Any, atol: float, where: str = "expected") -> list[str]:
    """Every place where `computed` (numbers, arrays, tensors, nested) differs from `expected` (JSON). Empty: they
    agree.

    Numbers may differ by atol + 1e-5 * |expected|; two integers, strings, booleans and None must be equal. Shapes and
    dictionary keys must be the same. NaN agrees only with NaN, an infinity only with itself.
    """
    computed = plain(computed)
    if isinstance(expected, dict):
        return _dict_mismatches(expected, computed, atol, where)
    if isinstance(expected, list):
        return _list_mismatches(expected, computed, atol, where)
    if agrees(expected, computed, atol):
        return []
    return [f"{where}: expected {expected!r}, computed {computed!r}"]


def agrees(expected: Any, computed: Any, atol: float) -> bool:
    if not _is_number(expected) or not _is_number(computed):
        return type(expected) is type(computed) and expected == computed
    if isinstance(expected, int) and isinstance(computed, int):
        return expected == computed
    if math.isnan(expected) or math.isnan(computed):
        return math.isnan(expected) and math.isnan(computed)
    if math.isinf(expected) or math.isinf(computed):
        return expected == computed
    return abs(expected - computed) <= atol + RTOL * abs(expected)


def plain(value: Any) -> Any:
    """Tensors, arrays and their scalars as Python lists and numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _list_mismatches(expected: list[Any], computed: Any, atol: float, where: str) -> list[str]:
    if not isinstance(computed, list):
        return [f"{where}: expected a list of {len(expected)}, computed {computed!r}"]
    if len(expected) != len(computed):
        return [f"{where}: expected {len(expected)} entries, computed {len(computed)}"]
    pairs = enumerate(zip(expected, computed, strict=True))
    return [line for i, (a, b) in pairs for line in mismatches(a, b, atol, f"{where}[{i}]")]


def _dict_mismatches(expected: dict[str, Any], computed: Any, atol: float, where: str) -> list[str]:
    if not isinstance(computed, Mapping):
        return [f"{where}: expected a dictionary, computed {computed!r}"]
    by_name = {str(key): value for key, value in computed.items()}
    if expected.keys() != by_name.keys():
        return [f"{where}: expected keys {sorted(expected)}, computed {sorted(by_name)}"]
    return [line for key in expected for line in mismatches(expected[key], by_name[key], atol, f"{where}.{key}")]
