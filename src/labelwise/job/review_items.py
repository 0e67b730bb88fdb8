"""Writes what a person is to look at after an audit: labels in order of doubt, each with what helps to decide."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.examples import Examples, fingerprints
from labelwise.data.pictures import read_pixels, thumbnail, to_png
from labelwise.errors import InputError
from labelwise.job.looks import look
from labelwise.job.outputs import why
from labelwise.job.steps import AuditStep
from labelwise.numerics.neighbours import nearest
from labelwise.review.items import ITEMS_AT_ONCE, write_items
from labelwise.training.seeding import derive_seed

PICTURE_SIDE = 512
LIKELIEST = 5
NEIGHBOURS = 6
# Distances say as much in the leading directions of many columns as in all of them, at a fraction of the cost.
DIRECTIONS, ROWS_TO_FIND_THEM = 64, 5_000

Row = dict[str, Any]


def write_review(path: Path, examples: Examples, rows: Iterable[Row], colours: Iterable[str] = ()) -> None:
    """Write one item a row, worst first; all rows have the same keys. ``colours`` are those of the classes of masks.

    A ``version`` tells one suggestion from another where ``suggested`` does not.
    """
    task, classes, name = examples.task, examples.classes, examples.name
    content = dict(zip(examples.index.tolist(), fingerprints(examples.inputs), strict=True))
    with write_items(path, task=task, classes=classes, name=name, colours=tuple(colours)) as writer:
        remaining = iter(rows)
        while block := list(islice(remaining, ITEMS_AT_ONCE)):
            columns = {name: [row[name] for row in block] for name in block[0]}
            versions = columns.pop("version", [""] * len(block))
            numbered = zip(columns["index"], versions, strict=True)
            writer.write(columns | {"example": [content[index] + version for index, version in numbered]})


def class_rows(
    examples: Examples, step: AuditStep, encoded: np.ndarray, source: str | None, seed: int
) -> Iterator[Row]:
    """Items of all audited rows: what was given, what is likelier, and the nearest rows."""
    found, names = step.audit, examples.classes
    order = suspects_first(found)
    near = neighbours_in(order, encoded[step.rows], seed)  # (m, k)
    for place, neighbours in zip(order.tolist(), near.tolist(), strict=True):
        probs, row = step.pred_probs[place], int(step.rows[place])
        given, suggested = found.labels[place], found.suggested[place]
        yield {
            **seen(examples, row, source if found.is_issue[place] else None),
            "given": names[given],
            "suggested": names[suggested],
            "score": float(found.scores[place]),
            "suspect": bool(found.is_issue[place]),
            "why": why(step, place, names),
            "given_prob": float(probs[given]),
            "suggested_prob": float(probs[suggested]),
            "probs": [(names[k], float(probs[k])) for k in np.argsort(-probs, kind="stable")[:LIKELIEST]],
            "neighbours": neighbours,
        }


def suspects_first(found: Any) -> np.ndarray:
    """Places (m,) of audited labels with ``ranked``, ``is_issue`` and ``scores``: suspects as ranked, then the others,
    most doubtful first."""
    others = np.flatnonzero(~found.is_issue)
    return np.concatenate([found.ranked, others[np.argsort(found.scores[others], kind="stable")]])


def neighbours_in(order: np.ndarray, encoded: np.ndarray, seed: int) -> np.ndarray:
    """For each row of ``order``, the positions in ``order`` of its nearest rows of ``encoded`` (m, ...), (m, k)."""
    rows = leading_directions(encoded.reshape(len(encoded), -1), seed)[order]
    generator = np.random.default_rng(derive_seed(seed, "neighbours"))
    return nearest(rows, NEIGHBOURS, "euclidean", generator=generator)[1]


def leading_directions(rows: np.ndarray, seed: int) -> np.ndarray:
    """Rows (m, d) as they are, or by their principal directions, (m, 64), where they have many columns."""
    rows = rows.astype(np.float32)
    if rows.shape[1] <= DIRECTIONS or len(rows) <= DIRECTIONS:
        return rows
    from sklearn.decomposition import PCA

    generator = np.random.default_rng(derive_seed(seed, "directions"))
    drawn = rows if len(rows) <= ROWS_TO_FIND_THEM else rows[generator.permutation(len(rows))[:ROWS_TO_FIND_THEM]]
    found = PCA(DIRECTIONS, svd_solver="randomized", random_state=0).fit(drawn)
    return np.asarray(found.transform(rows), dtype=np.float32)


def seen(examples: Examples, row: int, source: str | None = None) -> Row:
    """Where a row is, and its picture, cells or text; a picture at its own size where ``source`` is its folder."""
    looks = look(examples, row)
    location = examples.location(row)
    where = {"index": int(examples.index[row]), "location": location}
    if "picture" in looks:
        return where | {"picture": picture_file(_own_size(source, location, looks["picture"]))}
    if "text" in looks:
        return where | {"text": looks["text"]}
    return where | {"fields": list(looks["row"].items())}


def picture_file(pixels: np.ndarray) -> bytes:
    """A picture as a PNG file, shrunk where it is large."""
    return to_png(thumbnail(pixels, PICTURE_SIDE))


def _own_size(source: str | None, location: str, pixels: np.ndarray) -> np.ndarray:
    """The picture as it lies in its folder, or the working size that was learnt from."""
    file = None if source is None else Path(source) / location
    if file is None or not file.is_file():
        return pixels
    try:
        own = read_pixels(file)
    except InputError:
        return pixels
    return own if own.dtype == np.uint8 and (own.ndim == 2 or own.shape[2] in (3, 4)) else pixels
