"""Options of the test run; they live here because pytest reads only the outermost conftest before it parses its
arguments.
"""

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--golden-dir", type=Path, help="folder of golden files, instead of tests/golden")
    parser.addoption("--data-dir", type=Path, help="folder of the data sets (default: $LABELWISE_DATA)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Folder of the data sets; the test is skipped where none is given."""
    folder = request.config.getoption("--data-dir") or os.environ.get("LABELWISE_DATA")
    if folder is None:
        pytest.skip("needs the data sets: give their folder with --data-dir or LABELWISE_DATA")
    return Path(folder)
