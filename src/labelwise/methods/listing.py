"""The list of methods for the command and the docs."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from rich.table import Table

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
    """A table for the terminal: the slug is what `labelwise reproduce` takes, the recipe what an estimator takes."""
    table = Table(title="Methods", title_justify="left", show_lines=True)
    for heading in ("no", "method", "task", "answers", "recipe", "claim"):
        table.add_column(heading, no_wrap=heading in ("no", "task", "claim"), overflow="fold")
    for row in rows:
        result = row["result"]
        claim = "-" if result is None else ("holds" if result["holds"] else "does not hold")
        number = "" if row["number"] is None else str(row["number"])
        table.add_row(number, row["slug"], row["task"], row["fault"], ", ".join(row["recipe"]) or "-", claim)
    return table
