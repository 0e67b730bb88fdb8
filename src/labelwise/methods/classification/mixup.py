"""Mixup (Zhang et al., ICLR 2018, https://arxiv.org/abs/1710.09412): a baseline.

Train on convex pairs of examples and of their labels; a wrong label is never seen pure, so it is learnt more slowly.
"""

from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.numerics.mixup import draw_mixup, mix
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe


class Mixup(Recipe):
    """Cross-entropy on mixed inputs and mixed labels, one weight from Beta(alpha, alpha) a batch."""

    def __init__(self, build_network: BuildNetwork, *, alpha: float = 1.0) -> None:
        super().__init__(build_network)
        self.alpha = alpha

    def loss(self, batch: Batch) -> Tensor:
        """Mean soft cross-entropy of the mixed batch."""
        pairs = draw_mixup(len(batch["index"]), self.alpha, self.generator)
        logits = self.network(mix(batch["inputs"].float(), pairs))  # (B, classes)
        onehot = functional.one_hot(batch["labels"], logits.shape[1]).to(logits.dtype)  # (B, classes)
        return soft_cross_entropy(logits, mix(onehot, pairs))


RECIPES = {"mixup": Mixup}

CARD = Card(
    number=None,
    slug="mixup",
    title="Mixup (baseline)",
    task="classification",
    fault="wrong and over-confident labels",
    recipe=("mixup",),
    idea="Train on weighted pairs of examples and of their labels.",
    paper="mixup: Beyond empirical risk minimization, ICLR 2018",
    link="https://arxiv.org/abs/1710.09412",
    authors_code="facebookresearch/mixup-cifar10",
    licence="CC BY-NC 4.0 (not used here)",
    defaults={"alpha": 1.0},
    cost="as cross-entropy, and one mixing pass over the batch",
)
