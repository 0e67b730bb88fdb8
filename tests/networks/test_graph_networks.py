"""Graph networks against dense formulas and plain loops; nodes and parts of them."""

import pytest
import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.networks.graph import Attention, Convolution, RowShares, build_graph_network
from labelwise.networks.nodes import Nodes

COUNT, NUM_FEATURES = 9, 5


def draw_nodes(seed: int = 0, sparse: bool = False) -> Nodes:
    generator = torch.Generator().manual_seed(seed)
    joined = (torch.rand(COUNT, COUNT, generator=generator) < 0.3).triu(0)  # some loops among them
    joined[:, -1] = False  # the last node is alone
    features = torch.randn(COUNT, NUM_FEATURES, generator=generator)
    if sparse:
        features = features.relu().to_sparse_coo().coalesce()
    return Nodes(features, (joined | joined.T).float().to_sparse_coo().coalesce())


def with_loops(nodes: Nodes) -> Tensor:
    dense = nodes.adjacency.to_dense()
    return dense - dense.diag().diag() + torch.eye(COUNT)


def test_convolution_is_the_formula() -> None:
    nodes, layer = draw_nodes(), Convolution(NUM_FEATURES, 4)
    torch.nn.init.normal_(layer.bias)
    matrix = with_loops(nodes)
    half = matrix.sum(dim=1).rsqrt().diag()
    expected = half @ matrix @ half @ nodes.features @ layer.weight + layer.bias
    torch.testing.assert_close(layer(nodes.features, layer.edges(nodes.adjacency)), expected)


def test_attention_is_a_loop_over_nodes() -> None:
    nodes, layer = draw_nodes(), Attention(NUM_FEATURES, 2, 3)
    torch.nn.init.normal_(layer.bias)
    hidden = (nodes.features @ layer.weight).reshape(COUNT, 2, 3)
    expected = torch.zeros(COUNT, 2, 3)
    for i in range(COUNT):
        around = torch.nonzero(with_loops(nodes)[i])[:, 0]
        for head in range(2):
            scores = [layer.ask[head] @ hidden[i, head] + layer.answer[head] @ hidden[j, head] for j in around]
            weights = torch.nn.functional.leaky_relu(torch.stack(scores), 0.2).softmax(dim=0)
            expected[i, head] = weights @ hidden[around, head]
    found = layer(nodes.features, layer.edges(nodes.adjacency))
    torch.testing.assert_close(found, expected.flatten(1) + layer.bias)


@pytest.mark.parametrize("name", ["gat", "gcn", "mlp", "gat-2x3-1x4", "gcn-3-4"])
def test_nodes_may_be_numbered_anyhow(name: str) -> None:
    nodes, network = draw_nodes(), build_graph_network(name, NUM_FEATURES, 3).eval()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(nodes[order]), network(nodes)[order])
    assert network(nodes).shape == (COUNT, 3)


@pytest.mark.parametrize("name", ["gat-2x3", "gcn-3", "mlp-3"])
def test_sparse_features_give_the_same(name: str) -> None:
    nodes, network = draw_nodes(sparse=True), build_graph_network(name, NUM_FEATURES, 3).eval()
    torch.testing.assert_close(network(nodes), network(Nodes(nodes.features.to_dense(), nodes.adjacency)))
    network.train()
    network(nodes).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_only_graph_layers_look_at_edges() -> None:
    nodes = draw_nodes()
    alone = Nodes(nodes.features, torch.zeros(COUNT, COUNT).to_sparse_coo().coalesce())
    for name, looks in (("mlp", False), ("gcn", True), ("gat", True)):
        network = build_graph_network(name, NUM_FEATURES, 2).eval()
        assert torch.allclose(network(nodes), network(alone)) != looks
        torch.testing.assert_close(network(nodes)[-1], network(alone)[-1])


@pytest.mark.parametrize("name", ["gat-2x3", "gcn-3", "mlp-3"])
def test_an_encoder_has_rows_of_l1_norm_at_most_one(name: str) -> None:
    network = build_graph_network(name, NUM_FEATURES, 2)
    network.to_encoder(7)
    embeddings = network(draw_nodes())
    assert embeddings.shape == (COUNT, 7)
    assert network.num_outputs == 7
    assert (embeddings >= 0).all()
    assert (embeddings.sum(dim=1) <= 1 + 1e-6).all()


def test_row_shares() -> None:
    features = torch.tensor([[2.0, 0, -2], [0, 0, 0], [0, 5, 0]]).to_sparse_coo().coalesce()
    assert torch.equal(RowShares()(features).to_dense(), torch.tensor([[0.5, 0, -0.5], [0, 0, 0], [0, 1, 0]]))


def test_some_nodes_keep_the_edges_among_them() -> None:
    nodes = draw_nodes(sparse=True)
    index = torch.tensor([4, 0, 7])
    part = nodes[index]
    assert torch.equal(part.adjacency.to_dense(), nodes.adjacency.to_dense()[index][:, index])
    assert torch.equal(part.features.to_dense(), nodes.features.to_dense()[index])
    assert nodes[torch.arange(COUNT)] is nodes
    assert len(nodes[:2]) == 2
    assert len(nodes[:0]) == 0
    with pytest.raises(ValueError, match="9 nodes"):
        Nodes(nodes.features, part.adjacency)


@pytest.mark.parametrize("name", ["resnet18", "gat-8", "gcn-8x8", "gcn-0", "mlp-", "gat-8x8x8", "gat-8x-2", "cnn"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="none for the nodes"):
        build_graph_network(name, NUM_FEATURES, 2)
