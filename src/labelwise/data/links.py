"""Edges between rows: nodes in one table, links in another, or arrays X, y and ``edges``."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data.arrays import NpzFile
from labelwise.data.batches import column_names, read_batches
from labelwise.data.tables import column_at
from labelwise.errors import InputError
from labelwise.files import printable, quote

ID_COLUMN = "id"


def read_link_table(path: Path) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The first two columns of an edge list as text (m,) each; raises InputError where there are fewer."""
    names = column_names(path)
    if len(names) < 2:
        raise InputError(f"{printable(path)} has {len(names)} column: an edge list needs two, from and to")
    ends = []
    for name in names[:2]:
        positions = np.concatenate([batch.positions for batch in read_batches(path, 1 << 17, [name])])
        ends.append(column_at(path, name, positions))
    return ends[0], ends[1]


def edges_of_table(
    nodes: Path, id_column: str | None, positions: NDArray[np.int64], edges: Path
) -> tuple[NDArray[np.int64], list[str]]:
    """Edges (2, m) between the rows at ``positions`` of the table ``nodes``, both ways; returns (edges, notes).

    ``edges`` names nodes by the column ``id_column``, or by the row's number from 0 where there is none. Edges to
    nodes that are not in the table are left out and counted in a note. Raises InputError for ids that are not unique.
    """
    ids = positions.astype(str).astype(object) if id_column is None else column_at(nodes, id_column, positions)
    place = {str(name): row for row, name in enumerate(ids)}
    if len(place) < len(ids):
        raise InputError(f"the column {quote(id_column or ID_COLUMN)} of {printable(nodes)} repeats ids: one a node")
    ends = np.array([[place.get(str(end), -1) for end in side] for side in read_link_table(edges)], dtype=np.int64)
    return both_ways(ends, printable(edges))


def edges_of_arrays(file: NpzFile, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Edges (2, m) between the rows at ``positions`` of X, from ``edges`` (m, 2) or (2, m) of row numbers."""
    raw = file.read("edges")
    if raw.ndim != 2 or 2 not in raw.shape or raw.dtype.kind not in "iu":
        raise InputError(
            f"edges of {printable(file.path)} has shape {raw.shape} and type {raw.dtype}: give (m, 2) rows"
        )
    ends = (raw if raw.shape[0] == 2 and raw.shape[1] != 2 else raw.T).astype(np.int64)
    count = file.header("X").shape[0]
    outside = ends[(ends < 0) | (ends >= count)]
    if len(outside):
        raise InputError(f"edges of {printable(file.path)} names row {outside[0]}, X has rows 0 to {count - 1}")
    place = np.full(count, -1, dtype=np.int64)
    place[positions] = np.arange(len(positions))
    return both_ways(place[ends], f"edges of {printable(file.path)}")


def both_ways(ends: NDArray[np.int64], what: str) -> tuple[NDArray[np.int64], list[str]]:
    """Edges (2, m) both ways, each once, none from a node to itself; ends of -1 are left out and counted."""
    inside = (ends >= 0).all(axis=0)
    notes = [f"{int((~inside).sum()):,} edges of {what} name rows that are not used: they are left out"]
    ends = ends[:, inside & (ends[0] != ends[1])]
    pairs = np.unique(np.concatenate([ends, ends[::-1]], axis=1), axis=1)
    if not pairs.size:
        raise InputError(f"{what} links no two rows that are used: check the ids")
    return pairs, [] if inside.all() else notes


def adjacency(edges: NDArray[np.int64], count: int) -> Any:
    """The graph as a scipy CSR matrix (count, count) of ones."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(edges.shape[1], dtype=np.float32), (edges[0], edges[1])), shape=(count, count))
