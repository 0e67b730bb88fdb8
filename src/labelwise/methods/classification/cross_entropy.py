"""Plain cross-entropy: the baseline that every other method is held against.

It fits each given label as if it were right; after enough epochs it has memorised the wrong ones too.
"""

from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.training.data import Batch
from labelwise.training.recipe import Recipe


class CrossEntropy(Recipe):
    """Minimise the mean cross-entropy of the given labels."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of ``-log softmax(logits)[label]``."""
        return functional.cross_entropy(self.network(batch["inputs"]), batch["labels"])


RECIPES = {"cross-entropy": CrossEntropy}

CARD = Card(
    number=None,
    slug="cross-entropy",
    title="Cross-entropy (baseline)",
    task="classification",
    fault="none: takes every label as right",
    recipe=("cross-entropy",),
    idea="Fit the given labels. Peaks early under noise, then memorises the wrong labels.",
    paper="Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990",
    link="https://doi.org/10.1007/978-3-642-76153-9_28",
    authors_code="",
    licence="",
    cost="one forward and one backward pass a batch",
)
