"""Normalised adjacency matrices and labels that spread, against dense matrices."""

import numpy as np
import pytest
import torch

from labelwise.numerics.propagation import normalize_adjacency, propagate, restrict_edges

TRIANGLE_AND_TAIL = torch.tensor(
    [[0.0, 2, 1, 0, 0], [2, 0, 1, 0, 0], [1, 1, 0, 3, 0], [0, 0, 3, 0, 0], [0, 0, 0, 0, 0]]
)


@pytest.mark.parametrize("given", [TRIANGLE_AND_TAIL, TRIANGLE_AND_TAIL.to_sparse()])
@pytest.mark.parametrize(
    ("normalisation", "left", "right"), [("column", 0.0, -1.0), ("row", -1.0, 0.0), ("symmetric", -0.5, -0.5)]
)
def test_normalisations(given: torch.Tensor, normalisation: str, left: float, right: float) -> None:
    degrees = TRIANGLE_AND_TAIL.sum(dim=1).numpy()
    powers = [np.array([d**power if d > 0 else 0.0 for d in degrees]) for power in (left, right)]
    expected = powers[0][:, None] * TRIANGLE_AND_TAIL.numpy() * powers[1][None, :]
    np.testing.assert_allclose(normalize_adjacency(given, normalisation).to_dense().numpy(), expected, atol=1e-6)


def test_columns_sum_to_one_and_keep_the_totals_of_labels() -> None:
    connected = TRIANGLE_AND_TAIL[:4, :4]
    normal = normalize_adjacency(connected, "column")
    torch.testing.assert_close(normal.to_dense().sum(dim=0), torch.ones(4))
    labels = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    for alpha in (0.0, 0.3, 1.0):
        torch.testing.assert_close(propagate(labels, normal, alpha, 7).sum(dim=0), labels.sum(dim=0))


def test_nothing_spreads_without_steps_or_with_alpha_one() -> None:
    labels = torch.eye(5)
    normal = normalize_adjacency(TRIANGLE_AND_TAIL, "row")
    assert torch.equal(propagate(labels, normal, 0.3, 0), labels)
    assert torch.equal(propagate(labels, normal, 1.0, 4), labels)
    assert not torch.equal(propagate(labels, normal, 0.9, 1), labels)


def test_edges_between_kept_nodes_only() -> None:
    mask = torch.tensor([True, False, True, True, False])
    expected = TRIANGLE_AND_TAIL * mask[:, None] * mask[None, :]
    assert torch.equal(restrict_edges(TRIANGLE_AND_TAIL, mask).to_dense(), expected)
    nobody = restrict_edges(TRIANGLE_AND_TAIL, torch.zeros(5, dtype=torch.bool))
    assert torch.equal(normalize_adjacency(nobody, "symmetric").to_dense(), torch.zeros(5, 5))
