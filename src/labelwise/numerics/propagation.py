"""Labels that spread over the edges of a graph. Adjacency matrices (n, n) are torch tensors, sparse COO or strided."""

from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["column", "row", "symmetric"]


def normalize_adjacency(adjacency: Tensor, normalisation: Normalisation) -> Tensor:
    """Return the sparse COO matrix (n, n) of edge weights divided by degrees d, the sums of the rows.

    ``column``: a_ij / d_j, so the columns of a symmetric matrix sum to 1; ``row``: a_ij / d_i; ``symmetric``:
    a_ij / sqrt(d_i d_j). A node without edges keeps a row and column of zeros. Cost: a few reads of the entries.
    """
    sparse = as_coo(adjacency)
    (row, column), values = sparse.indices(), sparse.values()
    degrees = values.new_zeros(len(sparse)).index_add(0, row, values)  # (n,)
    power = -0.5 if normalisation == "symmetric" else -1.0
    inverse = torch.where(degrees > 0, degrees.clamp(min=torch.finfo(values.dtype).tiny) ** power, 0.0)
    if normalisation != "column":
        values = values * inverse[row]
    if normalisation != "row":
        values = values * inverse[column]
    return with_values(sparse, values)


def restrict_edges(adjacency: Tensor, mask: Tensor) -> Tensor:
    """Return the sparse COO matrix (n, n) in which only edges between two nodes of ``mask`` (n,) bool weigh."""
    sparse = as_coo(adjacency)
    row, column = sparse.indices()
    return with_values(sparse, sparse.values() * (mask[row] & mask[column]))


def propagate(labels: Tensor, adjacency: Tensor, alpha: float, num_steps: int) -> Tensor:
    """Take ``num_steps`` of ``Y <- (1 - alpha) A Y + alpha Y``: ``alpha`` weighs what a node has itself.

    ``labels`` (n, classes) float; ``adjacency`` (n, n) as normalised as it shall be. Cost: ``num_steps`` products of
    the entries by the classes.
    """
    for _ in range(num_steps):
        labels = (1.0 - alpha) * (adjacency @ labels) + alpha * labels
    return labels


def as_coo(adjacency: Tensor) -> Tensor:
    """Return a matrix as coalesced sparse COO."""
    return adjacency.to_sparse_coo().coalesce()


def with_values(sparse: Tensor, values: Tensor) -> Tensor:
    """Return a coalesced sparse COO matrix with other values (entries,) at the same places."""
    return torch.sparse_coo_tensor(sparse.indices(), values, sparse.shape, is_coalesced=True, check_invariants=False)
