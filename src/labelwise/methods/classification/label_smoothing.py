"""Label smoothing (Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567): a baseline.

Each one-hot target gives a share to all classes alike, so no logit is pushed to infinity.
Answers over-confident labels; buys calibration at the price of a worse ranking of confidence.
"""

from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe


class LabelSmoothing(Recipe):
    """Cross-entropy against ``(1 - smoothing) onehot + smoothing / classes``."""

    def __init__(self, build_network: BuildNetwork, *, smoothing: float = 0.1) -> None:
        super().__init__(build_network)
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing is {smoothing}; give a number from 0 to below 1")
        self.smoothing = smoothing

    def loss(self, batch: Batch) -> Tensor:
        """Mean smoothed cross-entropy of the batch."""
        logits = self.network(batch["inputs"])  # (B, classes)
        return functional.cross_entropy(logits, batch["labels"], label_smoothing=self.smoothing)


RECIPES = {"label-smoothing": LabelSmoothing}

CARD = Card(
    number=None,
    slug="label-smoothing",
    title="Label smoothing (baseline)",
    task="classification",
    fault="over-confident labels",
    recipe=("label-smoothing",),
    idea="Move a fixed share of every one-hot target to all classes alike.",
    paper="Rethinking the Inception architecture for computer vision, CVPR 2016",
    link="https://arxiv.org/abs/1512.00567",
    authors_code="",
    licence="",
    defaults={"smoothing": 0.1},
    cost="as cross-entropy",
)
