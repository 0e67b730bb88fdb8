"""Small review folders, one a form of labels, some with hostile content."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labelwise.review.items import FILE, write_items

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202egnp.exe",
    "=HYPERLINK(1)",
    "a\"b'c",
]
CLASSES = ["cat", "dog", "bird", "a|b", *HOSTILE]


def png(rng: np.random.Generator, shape: tuple[int, ...] = (12, 12, 3)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def class_columns(count: int, rng: np.random.Generator) -> dict[str, list[Any]]:
    """Items with one class each; the first three quarters are suspects."""
    given = [CLASSES[k] for k in rng.integers(0, len(CLASSES), count)]
    suggested = [CLASSES[(CLASSES.index(name) + 1) % len(CLASSES)] for name in given]
    suspects = count * 3 // 4
    return {
        "index": [10 * row for row in range(count)],
        "location": [f"photos/{HOSTILE[row % len(HOSTILE)]}-{row}.png" for row in range(count)],
        "given": given,
        "suggested": [name if row < suspects else given[row] for row, name in enumerate(suggested)],
        "score": np.linspace(0, 1, count).tolist(),
        "suspect": [row < suspects for row in range(count)],
        "why": [f"because {name}" for name in given],
        "given_prob": np.linspace(0.01, 0.9, count).tolist(),
        "suggested_prob": np.linspace(0.9, 0.01, count).tolist(),
        "probs": [[(suggested[row], 0.75), (given[row], 0.25)] for row in range(count)],
        "neighbours": [[(row + 1) % count, (row + 2) % count] for row in range(count)],
    }


def make(folder: Path, task: str = "classification", look: str = "picture", count: int = 40) -> Path:
    """A folder to review; ``look`` is picture, text or fields."""
    rng = np.random.default_rng(0)
    columns = class_columns(count, rng)
    classes, colours = CLASSES, []
    if task == "multilabel":
        columns |= {"part": columns["given"], "given": ["present"] * count, "suggested": ["absent"] * count}
    if task == "regression":
        columns |= {"given": [f"{row}.5" for row in range(count)], "suggested": [f"{row}.25" for row in range(count)]}
        columns["probs"], classes = [[] for _ in range(count)], []
    if task == "segmentation":
        classes, colours = ["ground", "cat"], ["#00ff00", "#ff0000"]
        columns |= {name: [png(rng, (12, 12, 4)) for _ in range(count)] for name in ("given_mask", "suggested_mask")}
    if look == "picture":
        columns["picture"] = [png(rng) for _ in range(count)]
    elif look == "text":
        columns["text"] = [f"{HOSTILE[row % len(HOSTILE)]} text {row}" for row in range(count)]
    else:
        columns["fields"] = [[("age", str(row)), (HOSTILE[row % len(HOSTILE)], "x")] for row in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    with write_items(folder / FILE, task=task, classes=classes, name="pets", colours=colours) as writer:
        writer.write(columns)
    return folder
