"""Plain cross-entropy of the labelled nodes: the baseline that methods for nodes are held against."""

from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.labels.check import UNLABELLED
from labelwise.numerics.losses import reduce_rows
from labelwise.training.data import Batch
from labelwise.training.recipe import GraphRecipe


class NodeCrossEntropy(GraphRecipe):
    """Minimise the mean cross-entropy of the labelled nodes."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the labelled nodes of ``-log softmax(logits)[label]``; 0 where none is."""
        logits, labels = self.network(batch["inputs"]), batch["labels"]
        values = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none")
        return reduce_rows(values, mask=labels != UNLABELLED)


RECIPES = {"node-cross-entropy": NodeCrossEntropy}

CARD = Card(
    number=None,
    slug="node-cross-entropy",
    title="Cross-entropy of nodes (baseline)",
    task="nodes",
    fault="none: takes the label of every node as right",
    recipe=("node-cross-entropy",),
    idea="Fit the given labels of the labelled nodes, each seen with its neighbours.",
    paper="Kipf and Welling, Semi-supervised classification with graph convolutional networks, ICLR 2017",
    link="https://arxiv.org/abs/1609.02907",
    authors_code="",
    licence="",
    cost="one forward and one backward pass over the whole graph an epoch",
)
