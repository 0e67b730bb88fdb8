"""One test a case of every golden file in the folder."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The adapters, the cases and the comparer are imported by name, whatever pytest's import mode.
sys.path.insert(0, str(HERE))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" not in metafunc.fixturenames:
        return
    from golden_cases import load_cases

    given = metafunc.config.getoption("--golden-dir")
    data_dir = metafunc.config.getoption("--data-dir") or os.environ.get("LABELWISE_DATA")
    is_own = given is None or given.resolve() == HERE
    folder = HERE if is_own else given.resolve()
    own_root = Path(data_dir).resolve().parent if data_dir else None
    cases = load_cases(folder, own_root if is_own else folder.parent, is_own)
    if not cases:
        raise pytest.UsageError(
            f"{folder} holds no golden files: give a folder of NN-slug.json files with --golden-dir"
        )
    metafunc.parametrize("golden", cases, ids=[f"{each.slug}-{each.case['case']}" for each in cases])
