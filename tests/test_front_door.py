"""The names of the front door, also those that a package has too, whatever was imported before."""

import subprocess
import sys

import pytest

import labelwise

CALLS = """
import labelwise
labels, probs = [0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.1, 0.9]]
for _ in range(2):
    assert labelwise.audit(labels, probs).num_classes == 2
    assert len(labelwise.methods()) > 10
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import labelwise.audit.streaming",
        "from labelwise.audit.audit import audit",
        "from labelwise import audit_multilabel, audit, methods; audit([0], [[1.0]]); methods()",
        "from labelwise.methods import find_recipe",
    ],
)
def test_audit_and_methods_can_be_called_again_and_again(before: str) -> None:
    subprocess.run([sys.executable, "-c", before + CALLS], check=True)


def test_every_name_is_there() -> None:
    for name in labelwise.__all__:
        assert callable(getattr(labelwise, name))
        assert name in dir(labelwise)
    with pytest.raises(AttributeError, match="no_such_name"):
        labelwise.no_such_name  # noqa: B018
