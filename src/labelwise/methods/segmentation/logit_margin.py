"""Margin-based label smoothing, MbLS (Liu et al., CVPR 2022, https://arxiv.org/abs/2111.15430): a baseline.

Label smoothing pulls all logits of an example together; a margin leaves gaps alone that are no larger than it.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE
from labelwise.numerics.losses import pixel_cross_entropy, reduce_rows
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe


class MarginTerms(NamedTuple):
    """The loss, its cross-entropy, and the excess before it is weighed by alpha."""

    loss: Tensor
    cross_entropy: Tensor
    excess: Tensor


class LogitMarginLoss(nn.Module):
    """Cross-entropy plus ``alpha`` times the mean excess of logit gaps over ``margin``.

    Both means are over the labelled pixels of the batch, that of the excess over their classes too.
    """

    def __init__(self, margin: float = 10.0, alpha: float = 0.1) -> None:
        super().__init__()
        for name, value in (("margin", margin), ("alpha", alpha)):
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} is {value}; give a number of 0 or more")
        self.margin, self.alpha = margin, alpha

    def forward(self, logits: Tensor, targets: Tensor) -> MarginTerms:
        """Return the terms for ``logits`` (B, K, ...) and masks (B, ...) int64, 255 = not labelled.

        The excess is the mean of ``relu(max_k l_k - l_k - margin)``.
        """
        excess = functional.relu(logits.amax(dim=1, keepdim=True) - logits - self.margin)  # (B, K, ...)
        mean_excess = reduce_rows(excess.mean(dim=1), mask=targets != IGNORE)
        cross_entropy = pixel_cross_entropy(logits, targets)
        return MarginTerms(cross_entropy + self.alpha * mean_excess, cross_entropy, mean_excess)


class LogitMargin(Recipe):
    """One network under the logit margin."""

    def __init__(self, build_network: BuildNetwork, *, margin: float = 10.0, alpha: float = 0.1) -> None:
        super().__init__(build_network)
        self.criterion = LogitMarginLoss(margin, alpha)

    def loss(self, batch: Batch) -> MarginTerms:
        """Return the terms of the batch."""
        return self.criterion(self.network(batch["inputs"]), batch["labels"])


RECIPES = {"logit-margin": LogitMargin}

CARD = Card(
    number=None,
    slug="logit-margin",
    title="Logit margin, MbLS (baseline)",
    task="segmentation",
    fault="over-confident labels",
    recipe=("logit-margin",),
    idea="Pull logits towards the largest one where the gap exceeds a margin.",
    paper="The devil is in the margin: Margin-based label smoothing for network calibration, CVPR 2022",
    link="https://arxiv.org/abs/2111.15430",
    authors_code="by-liu/MbLS",
    licence="MIT (not used here)",
    defaults={"margin": 10.0, "alpha": 0.1},
    cost="as cross-entropy",
)
