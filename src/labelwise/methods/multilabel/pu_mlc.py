"""Positive label is all you need, PU-MLC (Yuan et al., ICME 2024, https://arxiv.org/abs/2306.16016).

Absent labels are often wrong, for nobody looks for everything. So they are thrown away: each class becomes a problem
of positive examples among unlabelled ones, all of the batch, under a variational loss that needs no class prior. Soft
sigmoids of early training are sharpened class by class, rare classes weigh less, and mixed examples must be predicted
as mixtures. Answers missing and unknown labels; 0 and -1 are treated alike, only 1 counts.

That loss lives on ratios and is happiest where the network starts trained: from a backbone, or from other labels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.memory.teacher import AveragedTeacher
from labelwise.networks.local_global import convert_to_lgconv
from labelwise.numerics.losses import reduce_rows
from labelwise.numerics.mixup import draw_weight
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe

EPS = 1e-10
SMALLEST_TEMPERATURE = 1e-6


class PUMLCTerms(NamedTuple):
    """What is minimised, and its parts: the variational loss, and the mixup regulariser before it is weighed."""

    loss: Tensor
    variational: Tensor
    consistency: Tensor


@torch.no_grad()
def adaptive_temperature(logits: Tensor, alpha: float = 1.0) -> Tensor:
    """Temperature of each class (C,), ``min(alpha * deviation over the batch, 1)``, without gradient.

    ``logits`` (B, C). Logits that are all alike, as in a batch of one, have no spread to sharpen: temperature 1.
    An ``alpha`` of infinity gives 1 everywhere.
    """
    spread = logits.std(dim=0, correction=0)
    temperature = (alpha * spread).clamp(max=1.0)
    return torch.where(temperature > SMALLEST_TEMPERATURE, temperature, 1.0)


@torch.no_grad()
def rebalance_weight(probs: Tensor, gamma: float = 0.55) -> Tensor:
    """Weight of each class's unlabelled term (C,), ``mean probability ** gamma``, without gradient."""
    return probs.mean(dim=0) ** gamma


def pu_mlc_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 0.55,
    alpha: float = 1.0,
    eps: float = EPS,
    reduction: str = "sum",
) -> Tensor:
    """Variational positive-unlabelled loss: ``w log mean phi - mean over positives of log phi``, a class.

    ``logits`` (B, C) float; ``labels`` (B, C), 1 where present: everything else is unlabelled, and positives are among
    the unlabelled too. A class without positives has no positive term. ``sum`` and ``mean`` are over classes; ``none``
    gives (C,). Raises InputError for options out of range.
    """
    _check_options(gamma, alpha)
    temperature = adaptive_temperature(logits, alpha)  # (C,)
    probs = (logits / temperature).sigmoid()  # (B, C)
    unlabelled = rebalance_weight(probs, gamma) * torch.log(probs.mean(dim=0) + eps)  # (C,)
    is_positive = labels == 1
    # Twice eps, for the authors' code adds it to phi and then to exp(log phi).
    positive = torch.where(is_positive, torch.log(probs + 2 * eps), 0.0).sum(dim=0)
    return reduce_rows(unlabelled - positive / is_positive.sum(dim=0).clamp(min=1), reduction)


def pu_mixup_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft targets (B, C): 1 where the label is 1, elsewhere what the model says, without temperature."""
    return torch.where(labels == 1, 1.0, logits.sigmoid())


def log_mixup_consistency(
    model_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    logits: Tensor,
    lam: float | None = None,
    perm: Tensor | None = None,
    mix_alpha: float = 0.3,
    detach_targets: bool = False,
    generator: torch.Generator | None = None,
    eps: float = EPS,
) -> Tensor:
    """Squared gap of log targets and log predictions of mixed examples: mean over pairs, sum over classes.

    The first half of ``x`` (B, ...), in the order ``perm`` (B // 2,) int64, is mixed with the second half; with an odd
    B the middle row takes no part, and a single row is mixed with itself. ``lam`` is the weight of the first half.
    Both are drawn from ``generator`` (CPU) where not given, ``lam`` from Beta(mix_alpha, mix_alpha); ValueError where
    there is none. ``logits`` (B, C) are those of ``x``, for the targets: gradient flows through them unless
    ``detach_targets``, as in the authors' code. Cost: a forward and a backward pass over half a batch.
    """
    half = max(1, len(x) // 2)
    if generator is not None:
        perm = torch.randperm(half, generator=generator) if perm is None else perm
        lam = draw_weight(mix_alpha, generator) if lam is None else lam
    if perm is None or lam is None:
        raise ValueError("lam and perm are neither given nor can be drawn: give a generator")
    order = perm.to(x.device)
    targets = pu_mixup_targets(logits.detach() if detach_targets else logits, labels)  # (B, C)
    mixed_x = lam * x[:half][order] + (1 - lam) * x[-half:]
    mixed_targets = lam * targets[:half][order] + (1 - lam) * targets[-half:]  # (h, C)
    gap = torch.log(mixed_targets + eps) - torch.log(model_fn(mixed_x).sigmoid() + eps)
    return gap.square().mean(dim=0).sum()


class PUMLCLoss(nn.Module):
    """``pu_mlc_loss`` with its options held; nothing is remembered between batches."""

    def __init__(self, gamma: float = 0.55, alpha: float = 1.0, eps: float = EPS, reduction: str = "sum") -> None:
        super().__init__()
        _check_options(gamma, alpha)
        self.gamma, self.alpha, self.eps, self.reduction = gamma, alpha, eps, reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of ``logits`` (B, C) for ``labels`` (B, C)."""
        return pu_mlc_loss(logits, labels, self.gamma, self.alpha, self.eps, self.reduction)


class PUMLC(Recipe):
    """The variational loss plus ``consistency`` times the mixup regulariser (0 leaves it out).

    ``local_global`` gives the network's 3x3 convolutions a global branch (LgConv; ``num_heads``, ``reduction_ratio``).
    ``ema_decay`` keeps an average of the weights and predicts with it; it pays in long trainings (published: 0.9997
    for COCO, 0.991 for VOC). Published ``gamma`` and ``alpha``: 0.55 and 1 for COCO, 0.85 and 2 for VOC.
    """

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        gamma: float = 0.55,
        alpha: float = 1.0,
        mix_alpha: float = 0.3,
        consistency: float = 1.0,
        detach_targets: bool = False,
        local_global: bool = False,
        num_heads: int = 8,
        reduction_ratio: int = 4,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__(build_network)
        if not 0 <= consistency < math.inf or not 0 <= mix_alpha < math.inf:
            raise InputError(f"consistency is {consistency} and mix_alpha {mix_alpha}; give numbers of 0 or more")
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise InputError(f"ema_decay is {ema_decay}; give a number from 0 to below 1, or None for no average")
        if local_global and not convert_to_lgconv(self.network, num_heads, reduction_ratio):
            raise InputError(
                f"the network has no 3x3 convolution whose channels divide by num_heads {num_heads}: "
                "leave local_global out, or use a network for pictures"
            )
        self.criterion = PUMLCLoss(gamma, alpha)
        self.mix_alpha, self.consistency, self.detach_targets = mix_alpha, consistency, detach_targets
        self.ema_decay = ema_decay
        self.average = None if ema_decay is None else AveragedTeacher(self.network)

    def loss(self, batch: Batch) -> PUMLCTerms:
        """Return the terms of the batch."""
        inputs, labels = batch["inputs"].float(), batch["labels"]
        logits = self.network(inputs)  # (B, C)
        variational = self.criterion(logits, labels)
        if self.consistency == 0:
            return PUMLCTerms(variational, variational, torch.zeros_like(variational))
        consistency = log_mixup_consistency(
            self.network,
            inputs,
            labels,
            logits,
            mix_alpha=self.mix_alpha,
            detach_targets=self.detach_targets,
            generator=self.generator,
        )
        return PUMLCTerms(variational + self.consistency * consistency, variational, consistency)

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Take the step, then let the averaged weights follow."""
        terms = super().step(batch, optimise)
        if self.average is not None:
            assert self.ema_decay is not None
            self.average.update(self.network, self.ema_decay)
        return terms

    def predict(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C), of the averaged weights where they are kept."""
        return self.network(inputs) if self.average is None else self.average(inputs)


def _check_options(gamma: float, alpha: float) -> None:
    if not 0 <= gamma < math.inf or not alpha > 0:
        raise InputError(f"gamma is {gamma} and alpha {alpha}; give a gamma of 0 or more and an alpha above 0")


RECIPES = {"pu-mlc": PUMLC}

CARD = Card(
    number=4,
    slug="pu-mlc",
    title="PU-MLC: positive and unlabelled multi-label classification",
    task="multilabel",
    fault="missing labels: absent or unknown ones that are present",
    recipe=("pu-mlc",),
    idea="Throw the absent labels away and learn each class from its positive examples among all of the batch.",
    paper="Positive label is all you need for multi-label classification, ICME 2024",
    link="https://arxiv.org/abs/2306.16016",
    authors_code="TAKELAMAG/PU-MLC",
    licence="none stated",
    defaults={"gamma": 0.55, "alpha": 1.0, "mix_alpha": 0.3, "consistency": 1.0, "ema_decay": None},
    cost="one and a half forward and backward passes a batch",
)
