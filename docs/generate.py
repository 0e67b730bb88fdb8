"""Write the generated pages: one a method, the table of results, the table of benchmarks.

Run it with: make docs. What it writes is committed, and a test checks that it is up to date.
"""

import json
from pathlib import Path
from typing import Any

from labelwise.methods.listing import method_rows

DOCS = Path(__file__).parent
# The estimator of each task that has recipes, and what it is fitted to.
ESTIMATORS = {
    "classification": ("Classifier", "X, y"),
    "segmentation": ("Segmenter", "images, masks"),
    "regression": ("Regressor", "X, y"),
    "multilabel": ("MultiLabelClassifier", "X, y"),
    "nodes": ("NodeClassifier", "X, y, graph=graph"),
    "bags": ("BagClassifier", "X, bag_ids, counts"),
    "pretraining": ("TJEPA", "X"),
}


def pages() -> dict[str, str]:
    """Return every generated page by its path below docs."""
    rows = method_rows()
    found = {"methods.md": methods_page(rows), "results.md": results_page(rows), "benchmarks.md": benchmarks_page()}
    found |= {f"methods/{row['slug']}.md": method_page(row) for row in rows}
    return found


def methods_page(rows: list[dict[str, Any]]) -> str:
    """The list of methods."""
    lines = ["# Methods", "", "| no | method | task | answers | recipe | claim |", "|---|---|---|---|---|---|"]
    for row in rows:
        recipes = ", ".join(f"`{name}`" for name in row["recipe"])
        number = "" if row["number"] is None else row["number"]
        link = f"[{row['title']}](methods/{row['slug']}.md)"
        lines.append(f"| {number} | {link} | {row['task']} | {row['fault']} | {recipes} | {verdict(row['result'])} |")
    return "\n".join(lines) + "\n"


def method_page(row: dict[str, Any]) -> str:
    """One method: what it is, how to use it, where it comes from, what came of its claim."""
    lines = [f"# {row['title']}", "", row["idea"], ""]
    lines += ["| | |", "|---|---|", f"| answers | {row['fault']} |", f"| task | {row['task']} |"]
    lines += [f"| paper | [{row['paper']}]({row['link']}) |"]
    if row["authors_code"]:
        lines.append(f"| authors' code | {row['authors_code']} ({row['licence']}) |")
    if row["cost"]:
        lines.append(f"| cost | {row['cost']} |")
    if row["golden"]:
        lines.append(f"| golden numbers | `tests/golden/{row['golden']}` |")
    lines += ["", "## Use", "", "```python", "import labelwise", "", *use(row), "```"]
    if row["defaults"]:
        lines += ["", "## Defaults", "", "| option | default |", "|---|---|"]
        lines += [f"| `{name}` | {value} |" for name, value in row["defaults"].items()]
    if row["number"] is not None:
        lines += ["", "## The claim", "", *claim(row["slug"], row["result"])]
    return "\n".join(lines) + "\n"


def use(row: dict[str, Any]) -> list[str]:
    """Lines of Python: each recipe in the estimator of its task, or what the card says."""
    if not row["recipe"]:
        return [row["use"]]
    estimator, arguments = ESTIMATORS[row["task"]]
    return [f'labelwise.{estimator}("{name}").fit({arguments})' for name in row["recipe"]]


def claim(slug: str, result: dict[str, Any] | None) -> list[str]:
    """The reproduction of a claim as Markdown lines."""
    command = f"`labelwise reproduce {slug}`"
    if result is None:
        return [f"Not reproduced yet; {command} runs it."]
    lines = [f"{result['claim']}", "", f"**{verdict(result).capitalize()}** here, by {command}.", ""]
    lines += [f"Data: {result['data']}. Fault: {result['fault']}. Measure: {result['metric']}.", ""]
    lines += ["| | mean | deviation | each seed |", "|---|---|---|---|"]
    for name, values in (result["baselines"] | result["methods"]).items():
        each = ", ".join(f"{value:.3f}" for value in values["values"])
        lines.append(f"| {name} | {number(values['mean'])} | {number(values['std'])} | {each} |")
    low, high = result["interval"] or (None, None)
    lines += ["", f"Paired difference {number(result['difference'])}, 95% interval {number(low)} to {number(high)}, "]
    lines[-1] += f"{result['seeds']} seeds, {result['seconds']:.0f} s, version {result['version']}."
    for note in result.get("notes") or []:
        lines += ["", f"- {note}"]
    if result.get("details"):
        lines += ["", "All numbers stand in `docs/results/`."]
    return lines


def results_page(rows: list[dict[str, Any]]) -> str:
    """The table of reproductions."""
    lines = ["# What came of reproducing the claims", ""]
    lines += ["Baselines had the same budget and tuning; the test split chose nothing. A claim that does not hold "]
    lines[-1] += "is listed as one that does not hold."
    lines += ["", "| method | claim | baseline | method | difference (95%) | seeds | here |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        result = row["result"]
        if result is None:
            continue
        baseline = "; ".join(f"{name} {number(values['mean'])}" for name, values in result["baselines"].items())
        method = "; ".join(f"{name} {number(values['mean'])}" for name, values in result["methods"].items())
        low, high = result["interval"] or (None, None)
        difference = f"{number(result['difference'])} ({number(low)} to {number(high)})"
        title = f"[{row['title']}](methods/{row['slug']}.md)"
        cells = [title, result["claim"], baseline, method, difference, str(result["seeds"]), verdict(result)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def benchmarks_page() -> str:
    """The benchmark tables, one a file of docs/results/bench-*.json."""
    lines = ["# How fast it is", "", "Peers and floors were timed in the same run as the library; ratios are what "]
    lines[-1] += "carries over to other machines. Renewed by `make bench`."
    for file in sorted((DOCS / "results").glob("bench-*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        lines += ["", f"## {content['title']}", "", content.get("text", ""), ""]
        for table in content["tables"]:
            lines += ["| " + " | ".join(table["columns"]) + " |", "|" + "---|" * len(table["columns"])]
            lines += ["| " + " | ".join(str(cell) for cell in cells) + " |" for cells in table["rows"]] + [""]
        lines += [f"![{name}](results/{name})" for name in content.get("pictures", [])]
    return "\n".join(lines).rstrip() + "\n"


def verdict(result: dict[str, Any] | None) -> str:
    """``holds`` or ``does not hold``."""
    if result is None:
        return ""
    return "holds" if result["holds"] else "does not hold"


def number(value: float | None) -> str:
    """Three significant digits."""
    return "" if value is None else f"{value:.3g}"


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
