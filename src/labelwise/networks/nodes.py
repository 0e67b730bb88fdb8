"""What a graph network takes: the features of all nodes, and the edges between them."""

import torch
from torch import Tensor


class Nodes:
    """Nodes of an undirected graph, which stands in a batch where other data has a tensor of inputs.

    ``features`` (n, d) float, strided or sparse COO; ``adjacency`` (n, n) float, coalesced sparse COO, every edge in
    both directions. Nothing here ever takes n x n memory.
    """

    # No dataclass: Lightning Fabric would rebuild one field by field in each step.
    def __init__(self, features: Tensor, adjacency: Tensor) -> None:
        if adjacency.shape != (len(features), len(features)):
            raise ValueError(f"adjacency is {tuple(adjacency.shape)} for {len(features)} nodes")
        self.features = features
        self.adjacency = adjacency

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Tensor | slice) -> "Nodes":
        """Return some nodes, by index (m,) int64, with the edges among them.

        Cost: nothing for all nodes in order, else a read of the entries.
        """
        everyone = torch.arange(len(self))
        chosen = everyone[index]
        if torch.equal(chosen, everyone):
            return self
        chosen = chosen.to(self.adjacency.device)
        adjacency = self.adjacency.index_select(0, chosen).index_select(1, chosen).coalesce()
        features = self.features.index_select(0, chosen)
        return Nodes(features.coalesce() if features.is_sparse else features, adjacency)

    def to(self, device: torch.device | str) -> "Nodes":
        """Return the nodes on another device."""
        return Nodes(self.features.to(device), self.adjacency.to(device))
