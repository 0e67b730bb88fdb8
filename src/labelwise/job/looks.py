"""What a person needs to see of an example."""

from typing import Any

import numpy as np

from labelwise.data.examples import Examples


def look(examples: Examples, row: int) -> dict[str, Any]:
    """What a person needs to see of a row: the picture, the cells or the text."""
    if examples.kind == "images":
        return {"picture": examples.inputs[row]}
    if examples.kind == "texts":
        return {"text": str(examples.inputs[row])}
    if examples.kind == "table":
        cells = examples.inputs.iloc[row]
        return {"row": {str(name): _cell(value) for name, value in cells.items()}}
    values = np.ravel(examples.inputs[row])[:12]
    return {"row": {f"feature {number}": f"{value:.4g}" for number, value in enumerate(values)}}


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)
