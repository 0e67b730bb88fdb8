"""Several class names in one cell of a table, so that a reader can take them apart."""

from collections.abc import Iterable


def set_cell(names: Iterable[str]) -> str:
    r"""Class names in one cell, joined by ``|``; a bar in a name becomes ``\|``, a backslash ``\\``."""
    return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in names)
