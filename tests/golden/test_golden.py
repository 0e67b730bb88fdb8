"""Golden numbers: every case of every file, through the adapter of its method."""

from importlib import import_module
from importlib.util import find_spec

import pytest
from comparison import mismatches
from golden_cases import GoldenCase


def test_golden(golden: GoldenCase) -> None:
    adapter_name = f"adapters.{golden.slug}"
    if find_spec(adapter_name) is None:
        if golden.is_own:
            pytest.fail(f"tests/golden has a file for {golden.slug} but no adapter module {adapter_name}")
        pytest.skip(f"{golden.slug}: method not built yet")
    names_files = any(field.endswith("_file") for field in golden.case["inputs"])
    if names_files and golden.root is None:
        pytest.skip("the case reads data files: give their folder with --data-dir or LABELWISE_DATA")

    computed = import_module(adapter_name).run(golden.case, golden.root)

    found = mismatches(golden.case["expected"], computed, golden.case["atol"])
    assert not found, "\n".join(found[:20])
