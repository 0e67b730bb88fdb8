"""C-Mixup: what must hold of partners, mixtures and the recipe."""

import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.methods.regression.c_mixup import (
    CMixup,
    batch_partners,
    inverse_cdf,
    label_similarity_matrix,
    manifold_mixup,
    meta_regression_batch,
    mixup_pairs,
)
from labelwise.networks.build import build_network
from labelwise.networks.hooks import first_hidden_layer, recorded_input
from labelwise.training.data import TrainingData
from labelwise.training.task import REGRESSION


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_the_matrix() -> None:
    y = drawn(9, 2)
    y[4] = y[1]
    p = label_similarity_matrix(y, 0.6)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(9, dtype=torch.float64))
    assert torch.equal(p.diagonal(), p.amax(dim=1))
    assert torch.equal(p[:, 4], p[:, 1])
    torch.testing.assert_close(label_similarity_matrix(3 * y + 8, 1.8), p)
    torch.testing.assert_close(label_similarity_matrix(y, float("inf")), torch.full((9, 9), 1 / 9, dtype=torch.float64))
    alone = label_similarity_matrix(y, 1e-9)
    assert alone[0, 0] == 1
    assert alone[1, 1] == alone[1, 4] == 0.5
    with pytest.raises(InputError, match="kernel 'cubic'"):
        label_similarity_matrix(y, 1.0, kernel="cubic")


def test_inverse_cdf_at_the_borders() -> None:
    p = torch.tensor([[0.25, 0.0, 0.75]]).expand(6, 3)
    u = torch.tensor([0.0, 0.2499, 0.25, 0.5, 0.9999, 1.0])
    assert inverse_cdf(p, u).tolist() == [0, 0, 2, 2, 2, 2]


def test_batch_partners_follow_the_joint_labels() -> None:
    y1, y2 = drawn(3), drawn(5, seed=1)
    p = label_similarity_matrix(torch.cat([y1, y2]), 0.8)[:3]
    g = generator()
    counts = torch.zeros(3, 8)
    for _ in range(4000):
        counts[torch.arange(3), batch_partners(y1, y2, 0.8, g)] += 1
    expected = 4000 * p
    assert float(((counts - expected) ** 2 / expected).sum()) < 60  # 21 degrees of freedom: 1e-5 beyond
    assert batch_partners(y1[:1], y2[:0], 0.8, g).tolist() == [0]


def test_mixtures() -> None:
    x1, x2, slope = drawn(6, 2, 3), drawn(6, 2, 3, seed=1), drawn(2, 3, seed=2)
    y1, y2 = ((x * slope).sum(dim=(1, 2)) for x in (x1, x2))
    for lam in (0.0, 1.0, 0.3, torch.rand(6, generator=generator(), dtype=torch.float64)):
        x, y = mixup_pairs(x1, x2, y1, y2, lam)
        torch.testing.assert_close((x * slope).sum(dim=(1, 2)), y)
    assert torch.equal(mixup_pairs(x1, x2, y1, y2, 1.0)[0], x1)
    assert torch.equal(mixup_pairs(x1, x2, y1, y2, 0.0)[0], x2)


def test_mixing_after_a_linear_layer_is_mixing_inputs() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    x1, x2 = drawn(5, 3), drawn(5, 3, seed=1)
    mixed = network(0.3 * x1 + 0.7 * x2)
    torch.testing.assert_close(manifold_mixup(network, network[0], x1, x2, 0.3), mixed)
    assert not torch.allclose(manifold_mixup(network, first_hidden_layer(network), x1, x2, 0.3), mixed)
    assert network(x1).shape == (5, 1)  # the hook is gone
    with recorded_input(network[2]) as found:
        network(x1)
    torch.testing.assert_close(found[0], network[1](network[0](x1)))
    assert not network[2]._forward_pre_hooks


def test_a_task_of_meta_regression_mixes_its_queries_with_its_rows() -> None:
    x, slope = drawn(12, 2), torch.tensor([1.0, -2.0], dtype=torch.float64)
    support, query = (x[:7], x[:7] @ slope), (x[7:], x[7:] @ slope)
    mixed_x, mixed_y = meta_regression_batch(support, query, 2.0, 1.0, generator())
    assert mixed_x.shape == query[0].shape
    torch.testing.assert_close(mixed_x @ slope, mixed_y)
    assert not torch.equal(mixed_x, query[0])
    plain_x, plain_y = meta_regression_batch(support, query, 0.0, 1.0, generator())
    assert torch.equal(plain_x, query[0])
    assert torch.equal(plain_y, query[1])


def recipe(**options: object) -> tuple[CMixup, TrainingData]:
    inputs = drawn(30, 3).float()
    data = TrainingData(inputs, inputs @ torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), 2, task=REGRESSION)
    made = CMixup(lambda: build_network("linear", (3,), 2), **options)
    made.begin(data, None, 1)
    made.generator.manual_seed(0)
    return made, data


@pytest.mark.parametrize("partners", ["all", "batch"])
def test_a_true_linear_network_has_no_loss_on_mixed_rows(partners: str) -> None:
    made, data = recipe(partners=partners)
    made.network.head.weight.data = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    made.network.head.bias.data.zero_()
    (batch,) = data.batches([torch.arange(10)])
    assert float(made.loss(batch)) < 1e-10


def test_without_mixing_the_recipe_is_squared_error() -> None:
    made, data = recipe(alpha=0.0)
    (batch,) = data.batches([torch.arange(10)])
    expected = (made.network(data.inputs[:10]) - data.labels[:10]).square().mean()
    torch.testing.assert_close(made.loss(batch), expected)


@pytest.mark.parametrize("partners", ["all", "batch"])
def test_partners_are_near_where_the_bandwidth_is_small(partners: str) -> None:
    gaps = []
    for bandwidth in (0.3, float("inf")):
        made, data = recipe(bandwidth=bandwidth, partners=partners)
        rows = torch.arange(15)
        found = torch.stack([made.partner_rows(rows) for _ in range(20)])
        assert int(found.max()) > 14  # not of the batch alone
        gaps.append(float((data.labels[found] - data.labels[rows]).norm(dim=-1).mean()))
    assert gaps[0] < 0.5 * gaps[1]
