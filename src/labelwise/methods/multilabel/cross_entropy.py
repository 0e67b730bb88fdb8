"""Binary cross-entropy of each label: the baseline that multi-label methods are held against."""

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.numerics.losses import reduce_rows
from labelwise.numerics.mixup import draw_mixup, mix
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe

UNKNOWN = ("ignore", "negative")


class MultiLabelCrossEntropy(Recipe):
    """Fit each known label by a logistic regression of its own.

    ``unknown``: what a label of -1 means, ``ignore`` (leave it out) or ``negative`` (take it for absent). Where only
    positives are known, ignoring the rest teaches nothing but "all present". ``mixup_alpha`` above 0 mixes inputs and
    labels, one weight from Beta(alpha, alpha) a batch; a mixed label is known where both are.
    """

    def __init__(self, build_network: BuildNetwork, *, unknown: str = "ignore", mixup_alpha: float = 0.0) -> None:
        super().__init__(build_network)
        if unknown not in UNKNOWN:
            raise InputError(f"unknown is {unknown!r}; choose of {', '.join(UNKNOWN)}")
        self.unknown, self.mixup_alpha = unknown, mixup_alpha

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the known entries of the batch; 0 where none is known."""
        labels = batch["labels"]
        known = labels >= 0 if self.unknown == "ignore" else torch.ones_like(labels, dtype=torch.bool)
        pairs = draw_mixup(len(labels), self.mixup_alpha, self.generator)
        logits = self.network(mix(batch["inputs"].float(), pairs))  # (B, C)
        targets = mix(labels.clamp(min=0).to(logits.dtype), pairs)
        if self.mixup_alpha > 0:
            known = known & known[pairs.partner.to(known.device)]
        return reduce_rows(functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"), mask=known)


RECIPES = {"multilabel-cross-entropy": MultiLabelCrossEntropy}

CARD = Card(
    number=None,
    slug="multilabel-cross-entropy",
    title="Binary cross-entropy of each label (baseline)",
    task="multilabel",
    fault="none: takes every known label as right",
    recipe=("multilabel-cross-entropy",),
    idea="Fit each label by a logistic regression on shared features; unknown labels are left out or taken for absent.",
    paper="Good, Rational decisions, Journal of the Royal Statistical Society B, 1952",
    link="https://en.wikipedia.org/wiki/Cross-entropy",
    authors_code="",
    licence="",
    defaults={"unknown": "ignore", "mixup_alpha": 0.0},
    cost="one forward and one backward pass a batch",
)
