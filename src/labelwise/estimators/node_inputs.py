"""What a graph with node features may be: a table and a graph of its rows; checked at the door, then nodes."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from labelwise.errors import InputError
from labelwise.estimators.inputs import as_float32, sklearn_errors
from labelwise.networks.nodes import Nodes
from labelwise.numerics.graphs import Graph, as_graph, graph_from_edges


def read_nodes(estimator: Any, X: Any, graph: Any, *, reset: bool) -> Nodes:
    """Return nodes with float32 features from a table ``X`` (n, features), also SciPy sparse, and their ``graph``.

    ``graph`` is what ``as_graph`` takes, or edges (m, 2) of row numbers, each given once; (2, 2) is taken as the
    adjacency matrix of two nodes. ``reset`` notes the table's columns on the estimator; otherwise they are held against
    what was noted. Nodes that were made before pass. Raises InputError for anything else, and for NaN and infinity.
    Cost: one copy of the table, and a few reads of the edges.
    """
    if isinstance(X, Nodes):
        if graph is not None:
            raise InputError("X holds a graph already: leave graph out")
        return X
    if graph is None:
        raise InputError("graph is missing: give the adjacency matrix of the rows of X, or edges (m, 2) of row numbers")
    with sklearn_errors():
        table = validate_data(
            estimator, X, accept_sparse="csr", dtype=[np.float32, np.float64], reset=reset, ensure_all_finite=False
        )
    features = _sparse_features(table) if scipy.sparse.issparse(table) else torch.from_numpy(as_float32(table))
    found = _read_graph(graph, len(features))
    if found.num_nodes != len(features):
        raise InputError(f"graph has {found.num_nodes} nodes but X has {len(features)} rows: give one row a node")
    edges = found.matrix().tocoo()
    edges.eliminate_zeros()  # what weighs nothing joins nothing
    return Nodes(features, _sparse_tensor(edges))


def _read_graph(graph: Any, num_nodes: int) -> Graph:
    if isinstance(graph, (list, tuple)):
        graph = np.asarray(graph)
    if isinstance(graph, np.ndarray) and graph.ndim == 2 and graph.shape[1] == 2 and len(graph) != 2:
        return graph_from_edges(graph, num_nodes)
    return as_graph(graph)


def _sparse_features(table: Any) -> Tensor:
    entries = table.tocoo()
    entries.sum_duplicates()
    with np.errstate(over="ignore"):
        entries.data = entries.data.astype(np.float32)
    is_bad = ~np.isfinite(entries.data)
    if is_bad.any():
        place = int(is_bad.argmax())
        raise InputError(
            f"X row {entries.row[place]}, column {entries.col[place]} holds {entries.data[place]}: repair or leave out "
            "rows with NaN, infinity or numbers too large for float32"
        )
    return _sparse_tensor(entries)


def _sparse_tensor(entries: Any) -> Tensor:
    """A SciPy COO matrix, no place twice, as a coalesced float32 tensor."""
    indices = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
    values = torch.from_numpy(entries.data.astype(np.float32))
    return torch.sparse_coo_tensor(indices, values, entries.shape, check_invariants=False).coalesce()
