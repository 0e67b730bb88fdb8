"""DLLP: the mean prediction of a bag is fitted to its proportion (Ardehaly and Culotta, ICDMW 2017,
https://arxiv.org/abs/1709.04108).

The baseline for labels that are known as counts of bags only: cross-entropy between the share of positives in a bag
and the mean of the network's probabilities over it, and nothing that says which instance is which.
"""

from torch import Tensor

from labelwise.card import Card
from labelwise.training.bags import BagRecipe, bag_means, bag_proportions, number_in_order
from labelwise.training.data import Batch

# Probabilities nearer to 0 or 1 count as this near, so that no gradient is infinite.
NEAREST = 1e-6


def proportion_loss(probs: Tensor, proportions: Tensor) -> Tensor:
    """Mean over bags of ``-p log q - (1 - p) log(1 - q)``, for mean probabilities q and shares p of positives, (B,)."""
    q = probs.clamp(NEAREST, 1 - NEAREST)
    return -(proportions * q.log() + (1 - proportions) * (-q).log1p()).mean()


class DLLP(BagRecipe):
    """One network under the proportion loss."""

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean over the batch's bags; those of unequal sizes weigh by their rows."""
        number = number_in_order(batch["labels"][:, 0])
        probs = self.network(batch["inputs"])[:, 0].sigmoid()  # (B,)
        return proportion_loss(bag_means(probs, number)[number], bag_proportions(batch["labels"], number)[number])


RECIPES = {"dllp": DLLP}

CARD = Card(
    number=None,
    slug="dllp",
    title="Bag proportions (DLLP)",
    task="bags",
    fault="labels known as counts of bags only",
    recipe=("dllp",),
    idea="Fit the mean prediction of a bag to its share of positives.",
    paper="Co-training for demographic classification using deep learning from label proportions, ICDM Workshops 2017",
    link="https://arxiv.org/abs/1709.04108",
    authors_code="",
    licence="",
    cost="one forward and backward pass a batch of whole bags",
)
