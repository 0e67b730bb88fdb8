"""Small networks for the nodes of a graph: ``gat``, ``gcn``, and ``mlp``, which does not look at the edges.

A layer says with ``edges`` what it needs of the adjacency matrix, and takes that with the features. It costs the
entries of the matrix times its width, in time and, for attention, in memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.networks.nodes import Nodes
from labelwise.numerics.propagation import normalize_adjacency, with_values

DEFAULT_GRAPH_NETWORK = "gat"
_HIDDEN = {"gat": "gat-8x32", "gcn": "gcn-64", "mlp": "mlp-64"}
DROPOUT = 0.5


class Dense(nn.Module):
    """A linear layer on each node alone."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_inputs, width)))
        self.bias = nn.Parameter(torch.zeros(width))

    def edges(self, adjacency: Tensor) -> None:
        """Nothing: the layer does not look at them."""

    def forward(self, inputs: Tensor, edges: None) -> Tensor:
        """Return (n, width) of inputs (n, d)."""
        return inputs @ self.weight + self.bias


class Convolution(Dense):
    """Kipf and Welling's layer (https://arxiv.org/abs/1609.02907): averages over neighbours and the node itself."""

    def edges(self, adjacency: Tensor) -> Tensor:  # type: ignore[override]
        """The matrix with self-loops of weight 1, normalised symmetrically."""
        places, weights = _with_loops(adjacency)
        looped = torch.sparse_coo_tensor(places, weights, adjacency.shape, check_invariants=False)
        return normalize_adjacency(looped, "symmetric")

    def forward(self, inputs: Tensor, edges: Tensor) -> Tensor:  # type: ignore[override]
        """Return (n, width) of inputs (n, d)."""
        return edges.to(self.weight.dtype) @ (inputs @ self.weight) + self.bias


class Attention(nn.Module):
    """Velickovic et al.'s layer (https://arxiv.org/abs/1710.10903): heads that weigh neighbours and the node itself.

    Weights of edges do not count, only that they are there.
    """

    def __init__(self, num_inputs: int, num_heads: int, width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_inputs, num_heads * width)))
        self.ask = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_heads, width)))
        self.answer = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_heads, width)))
        self.bias = nn.Parameter(torch.zeros(num_heads * width))

    def edges(self, adjacency: Tensor) -> Tensor:
        """Receiving and sending node of each entry, (2, entries), self-loops among them."""
        return _with_loops(adjacency)[0]

    def forward(self, inputs: Tensor, edges: Tensor) -> Tensor:
        """Return (n, heads * width) of inputs (n, d)."""
        receiver, sender = edges
        hidden = (inputs @ self.weight).unflatten(1, (self.num_heads, -1))  # (n, heads, width)
        asked, answered = (hidden * self.ask).sum(dim=2), (hidden * self.answer).sum(dim=2)  # (n, heads)
        scores = functional.leaky_relu(asked.index_select(0, receiver) + answered.index_select(0, sender), 0.2)
        attention = _softmax_by(scores, receiver, len(hidden))  # (entries, heads)
        messages = hidden.index_select(0, sender) * attention[:, :, None]  # (entries, heads, width)
        return messages.new_zeros(hidden.shape).index_add(0, receiver, messages).flatten(1) + self.bias


class GraphNetwork(nn.Module):
    """Layers with leaky ReLUs between them and dropout on what each of them takes.

    It says what the nodes' classes are (logits), or, after ``to_encoder``, where they lie (embeddings).
    """

    def __init__(self, layers: Sequence[nn.Module], standardize: nn.Module | None) -> None:
        super().__init__()
        self.standardize = standardize or nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.is_encoder = False

    @property
    def num_outputs(self) -> int:
        """Width of the last layer."""
        return len(self._last.bias)

    def to_encoder(self, width: int) -> None:
        """Make it an encoder: a fresh last layer of that width, every layer's rows divided by their L1 norm.

        Dropout is then on the first layer only, and a ReLU comes last, after the division, as in ERASE.
        """
        num_inputs = len(self._last.weight)
        self.layers[-1] = _layer(_kind(self._last), num_inputs, (1, width))
        self.is_encoder = True

    def forward(self, nodes: Nodes) -> Tensor:
        """Return outputs (n, num_outputs) of all nodes."""
        features = self.standardize(nodes.features).to(self._last.weight.dtype)
        hidden = _dropout(features, training=self.training)
        for layer in self.layers[:-1]:
            hidden = functional.leaky_relu(layer(hidden, layer.edges(nodes.adjacency)))  # type: ignore[operator]
            hidden = _unit_rows(hidden) if self.is_encoder else _dropout(hidden, training=self.training)
        outputs = self._last(hidden, self._last.edges(nodes.adjacency))
        return _unit_rows(outputs).relu() if self.is_encoder else outputs

    @property
    def _last(self) -> Any:
        return self.layers[-1]


class RowShares(nn.Module):
    """Divide each row of sparse features (n, d) by the sum of its absolute values; a row of zeros stays."""

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        values, row = features.values(), features.indices()[0]
        sums = values.new_zeros(len(features)).index_add(0, row, values.abs())
        return with_values(features, values / sums[row].clamp(min=torch.finfo(values.dtype).tiny))


def build_graph_network(
    name: str, num_features: int, num_outputs: int, *, standardize: nn.Module | None = None
) -> GraphNetwork:
    """Build a freshly initialised network for nodes of ``num_features`` features.

    ``name`` is ``gat``, ``gcn`` or ``mlp``, with the hidden layers' widths where others are wanted: ``gcn-64-64``,
    ``gat-8x32`` (8 heads of 32). Raises InputError for any other name.
    """
    kind, *parts = _HIDDEN.get(name, name).split("-")
    shapes = [_shape(kind, part) for part in parts]
    if kind not in _HIDDEN or not parts or None in shapes:
        raise InputError(
            f"network {name!r} is none for the nodes of a graph: use 'gat', 'gcn', 'mlp', or give widths as in "
            "'gat-8x32' and 'gcn-64'"
        )
    layers, width = [], num_features
    for heads, each in [*filter(None, shapes), (1, num_outputs)]:
        layers.append(_layer(kind, width, (heads, each)))
        width = heads * each
    return GraphNetwork(layers, standardize)


def _shape(kind: str, part: str) -> tuple[int, int] | None:
    """Heads and width of a hidden layer, None where they are not understood."""
    numbers = part.split("x")
    if len(numbers) != (2 if kind == "gat" else 1) or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        return None
    return (1, int(part)) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def _layer(kind: str, num_inputs: int, shape: tuple[int, int]) -> nn.Module:
    heads, width = shape
    if kind == "gat":
        return Attention(num_inputs, heads, width)
    return (Convolution if kind == "gcn" else Dense)(num_inputs, width)


def _kind(layer: nn.Module) -> str:
    return {Attention: "gat", Convolution: "gcn", Dense: "mlp"}[type(layer)]


def _with_loops(adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """Places (2, entries), in no order, and weights of the matrix with weight 1 on its diagonal, whatever was there."""
    indices, values = adjacency.indices(), adjacency.values()
    others = indices[0] != indices[1]
    diagonal = torch.arange(len(adjacency), device=adjacency.device)
    places = torch.cat([indices[:, others], diagonal.expand(2, -1)], dim=1)
    return places, torch.cat([values[others], values.new_ones(len(diagonal))])


def _softmax_by(scores: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Softmax of scores (entries, heads) among the entries of each group (entries,)."""
    index = group[:, None].expand_as(scores)
    highest = scores.new_zeros(num_groups, scores.shape[1]).scatter_reduce(
        0, index, scores.detach(), "amax", include_self=False
    )
    exponents = (scores - highest.index_select(0, group)).exp()
    sums = exponents.new_zeros(highest.shape).index_add(0, group, exponents)
    return exponents / sums.index_select(0, group)


def _unit_rows(values: Tensor) -> Tensor:
    return functional.normalize(values, p=1.0, dim=1)


def _dropout(values: Tensor, *, training: bool) -> Tensor:
    if not values.is_sparse:
        return functional.dropout(values, DROPOUT, training)
    return with_values(values, functional.dropout(values.values(), DROPOUT, training))
