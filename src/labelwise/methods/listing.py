"""The list of methods for the command and the docs."""

import json
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from labelwise.methods import cards


def method_rows() -> list[dict[str, Any]]:
    """Return one dict a card, with ``result``: the committed reproduction, or None."""
    return [card.to_dict() | {"result": _committed_result(card.golden)} for card in cards()]


def _committed_result(golden: str | None) -> dict[str, Any] | None:
    if golden is None:
        return None
    # A link to docs/results in a checkout; an installed package has the files themselves.
    file = Path(str(resources.files("labelwise"))) / "results" / golden
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def method_table(rows: list[dict[str, Any]]) -> Table:
    """A table for the terminal, a section a task; a slug is what `reproduce` and, as a rule, a recipe is called by."""
    table = Table(title="Methods", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("no", "method", "answers", "claim"):
        table.add_column(heading, no_wrap=heading != "answers", justify="right" if heading == "no" else "left")
    for task, methods in groupby(sorted(rows, key=lambda row: str(row["task"])), key=lambda row: str(row["task"])):
        table.add_section()
        table.add_row("", Text(task, style="bold"))
        for row in methods:
            table.add_row("" if row["number"] is None else str(row["number"]), _name(row), row["fault"], _claim(row))
    return table


def _name(row: dict[str, Any]) -> str:
    """The slug, and the recipes where they are called otherwise."""
    if list(row["recipe"]) in ([], [row["slug"]]):
        return str(row["slug"])
    return f"{row['slug']}\n  recipes: " + "\n    ".join(row["recipe"])


def _claim(row: dict[str, Any]) -> str:
    if row["result"] is None:
        return ""
    return "holds" if row["result"]["holds"] else "does not hold"
