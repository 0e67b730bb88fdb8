"""Cheap and dear labels: the log-confidence loss (https://arxiv.org/abs/2410.13215; Burns et al. 2023).

A model that learns from a weak labeller is pulled towards its own hardened predictions as training goes on, so that
it need not imitate the labeller's errors. Answers cheap labels, of which many are wrong. Budgets, sampling and the
frontier are in ``labelwise.audit.elicitation``, training on one source after the other in
``labelwise.estimators.elicitor``, and ``labelwise plan`` answers for data of one's own.
"""

import torch
from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.numerics.schedules import linear_ramp
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe


@torch.no_grad()
def harden(logits: Tensor, targets: Tensor) -> Tensor:
    """One-hot predictions (N, K) of logits (N, K), without gradient.

    Of two classes, the share given to class 1 is that of the targets (N, 2) of the batch (one half for a batch of one):
    class 0 is said where its probability reaches the quantile at that share. Of more, the largest is taken.
    """
    if logits.shape[1] != 2:
        return functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)
    prob_zero = logits.softmax(dim=1)[:, 0]  # (N,)
    prior = targets[:, 1].mean() if len(targets) > 1 else logits.new_tensor(0.5)
    threshold = torch.quantile(prob_zero, prior.to(prob_zero.dtype).clamp(0, 1))
    return functional.one_hot((prob_zero < threshold).long(), 2).to(logits.dtype)


def mixed_cross_entropy(
    logits: Tensor, targets: Tensor, step: int, *, warmup_steps: int = 200, aux_coef: float = 0.5
) -> Tensor:
    """Mean cross-entropy of logits (N, K) against targets (N, K) mixed with the hardened predictions.

    Their weight is ``aux_coef min(1, step / warmup_steps)``.
    """
    weight = aux_coef * linear_ramp(step, warmup_steps)
    return soft_cross_entropy(logits, (1 - weight) * targets + weight * harden(logits, targets))


def log_confidence_loss(
    logits: Tensor,
    labels: Tensor,
    step: int,
    *,
    warmup_steps: int = 200,
    aux_coef: float = 0.5,
    subtract_label_entropy: bool = False,
) -> Tensor:
    """The loss for two classes: logits (N, 2), labels (N,) the probability of class 1; a scalar, 0 without rows.

    ``subtract_label_entropy`` takes off the mean entropy of the labels: with ``aux_coef`` 0 that is the KL divergence.
    """
    if len(labels) == 0:
        return logits.sum()
    targets = torch.stack([1 - labels, labels], dim=1).to(logits.dtype)  # (N, 2)
    loss = mixed_cross_entropy(logits, targets, step, warmup_steps=warmup_steps, aux_coef=aux_coef)
    if not subtract_label_entropy:
        return loss
    return loss + (targets * (targets + 1e-10).log()).sum(dim=1).mean()


class LogConfidence(Recipe):
    """One network under the log-confidence loss; the ramp counts batches."""

    steps: Tensor

    def __init__(self, build_network: BuildNetwork, *, aux_coef: float = 0.5, warmup_steps: int = 200) -> None:
        super().__init__(build_network)
        if not 0 <= aux_coef <= 1:
            raise InputError(f"aux_coef is {aux_coef}; give a number from 0 to 1")
        self.aux_coef, self.warmup_steps = aux_coef, warmup_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the batch."""
        logits = self.network(batch["inputs"])  # (B, K)
        targets = functional.one_hot(batch["labels"], logits.shape[1]).to(logits.dtype)
        step = int(self.steps)
        self.steps += 1
        return mixed_cross_entropy(logits, targets, step, warmup_steps=self.warmup_steps, aux_coef=self.aux_coef)


RECIPES = {"log-confidence": LogConfidence}

CARD = Card(
    number=39,
    slug="quantity-quality",
    title="Balancing label quantity and quality (log-confidence loss, budgets, plans)",
    task="classification",
    fault="cheap labels, many of them wrong, beside few dear ones",
    recipe=("log-confidence",),
    idea="Train on many cheap labels, then on few dear ones for the rows the model is least sure of; how to share the "
    "budget between them depends on its size, and can be forecast.",
    paper="Balancing label quantity and quality for scalable elicitation, 2024",
    link="https://arxiv.org/abs/2410.13215",
    authors_code="EleutherAI/scalable-elicitation",
    licence="MIT",
    defaults={"aux_coef": 0.5, "warmup_steps": 200},
    cost="cross-entropy plus one quantile a batch; a plan trains some hundred linear models",
)
