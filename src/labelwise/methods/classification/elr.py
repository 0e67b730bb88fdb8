"""Early-Learning Regularization, ELR and ELR+ (Liu et al., NeurIPS 2020, https://arxiv.org/abs/2007.00151).

Networks learn the clean labels before they memorise the wrong ones. Each example keeps a running average of its
predictions; a regulariser pulls the network towards that average, which cancels the gradient of a wrong label and
keeps that of a right one alive. Answers wrong labels, whatever made them wrong; needs no clean subset.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.labels.corrections import Corrections
from labelwise.memory.targets import TargetMemory
from labelwise.memory.teacher import update_ema
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.numerics.mixup import MixupPairs, draw_mixup, mix
from labelwise.numerics.schedules import sigmoid_rampup
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe


class ELRTerms(NamedTuple):
    """The loss and its two parts: cross-entropy, and the regulariser before it is weighed."""

    loss: Tensor
    cross_entropy: Tensor
    regularizer: Tensor


def elr_regularizer(probs: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of ``log(1 - <target, probs>)`` (eq. 6): at most 0, smaller the more the two agree.

    ``probs`` and ``target`` (B, classes) float. Finite as long as no probability reaches 1.
    """
    return torch.log1p(-(target * probs).sum(dim=1)).mean()


def reweight_labels(labels: Tensor, target: Tensor) -> Tensor:
    """Multiply soft labels by targets and scale the rows to sum to 1 (the authors' variant for CIFAR-100).

    ``labels`` and ``target`` (B, classes) float; a row whose product is all zero becomes zero.
    """
    weighted = labels * target
    return weighted / weighted.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weighted.dtype).tiny)


class ELRLoss(nn.Module):
    """Cross-entropy plus ``lambda_`` times the regulariser against the memory of past predictions (eq. 6-9).

    The memory moves before the loss is taken, so a fresh prediction already counts with weight ``1 - beta``.
    The mean is over the batch. Cost on top of cross-entropy: one softmax and one row update an example.
    """

    def __init__(
        self, num_examples: int, num_classes: int, lambda_: float = 3.0, beta: float = 0.7, eps: float = 1e-4
    ) -> None:
        super().__init__()
        self.lambda_ = lambda_
        self.eps = eps
        self.memory = TargetMemory(num_examples, num_classes, momentum=beta)

    def forward(self, logits: Tensor, labels: Tensor, index: Tensor) -> ELRTerms:
        """Return the terms for ``logits`` (B, classes), ``labels`` (B,) int64 and ``index`` (B,) int64."""
        # One softmax serves both parts.
        log_probs = logits.log_softmax(dim=1)  # (B, classes)
        probs = log_probs.exp().clamp(self.eps, 1.0 - self.eps)
        fresh = probs.detach()
        target = self.memory.update(index, fresh / fresh.sum(dim=1, keepdim=True))  # (B, classes)
        cross_entropy = functional.nll_loss(log_probs, labels)
        regularizer = elr_regularizer(probs, target)
        return ELRTerms(cross_entropy + self.lambda_ * regularizer, cross_entropy, regularizer)


class ELRPlusLoss(nn.Module):
    """ELR against targets that an averaged teacher makes, on mixed examples with mixed labels.

    ``ramp_steps`` is the number of steps over which the regulariser grows to full weight (0: at once);
    ``reweight`` multiplies the labels by the targets, as the authors do on CIFAR-100.
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        lambda_: float = 3.0,
        beta: float = 0.7,
        ramp_steps: int = 0,
        reweight_labels: bool = False,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.lambda_ = lambda_
        self.ramp_steps = ramp_steps
        self.reweight_labels = reweight_labels
        self.eps = eps
        self.memory = TargetMemory(num_examples, num_classes, momentum=beta)

    def update_targets(
        self, teacher_logits: Tensor, index: Tensor, mix_index: Tensor | None = None, mix_lambda: float = 1.0
    ) -> Tensor:
        """Mix the teacher's predictions into the memory, then return the mixed targets (B, classes), detached.

        ``mix_index`` (B,) are the partners' positions in the batch and ``mix_lambda`` the weight on the example itself.
        """
        rows = self.memory.update(index, teacher_logits.detach().softmax(dim=1))  # (B, classes)
        return rows if mix_index is None else mix(rows, MixupPairs(mix_index, mix_lambda))

    def forward(self, logits: Tensor, soft_labels: Tensor, targets: Tensor, step: int = 0) -> ELRTerms:
        """Return the terms for ``logits``, mixed ``soft_labels`` and mixed ``targets``, all (B, classes)."""
        probs = logits.softmax(dim=1).clamp(self.eps, 1.0 - self.eps)
        labels = reweight_labels(soft_labels, targets) if self.reweight_labels else soft_labels
        cross_entropy = soft_cross_entropy(logits, labels)
        regularizer = elr_regularizer(probs, targets)
        weight = sigmoid_rampup(step, self.ramp_steps) * self.lambda_
        return ELRTerms(cross_entropy + weight * regularizer, cross_entropy, regularizer)


class ELR(Recipe):
    """One network under the ELR loss; the memory's largest class is the corrected label."""

    criterion: ELRLoss

    def __init__(self, build_network: BuildNetwork, *, lambda_: float = 3.0, beta: float = 0.7) -> None:
        super().__init__(build_network)
        self.lambda_ = lambda_
        self.beta = beta

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Set up one target row an example."""
        self.criterion = ELRLoss(len(data), data.num_classes, self.lambda_, self.beta)

    def loss(self, batch: Batch) -> ELRTerms:
        """Return the ELR terms of the batch."""
        return self.criterion(self.network(batch["inputs"]), batch["labels"], batch["index"])

    def corrections(self) -> Corrections:
        """Return the running targets; every example counts fully."""
        return _corrections(self.criterion.memory.targets)


class ELRPlus(Recipe):
    """Two networks that teach each other through averaged copies, with mixup (ELR+).

    In each epoch the first network trains on all data, then the second. The averaged copy of the peer makes the
    targets from unmixed examples. Predictions average the two networks' logits.
    """

    passes_per_epoch = 2
    criterion: ELRPlusLoss
    peer_criterion: ELRPlusLoss
    steps: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        lambda_: float = 3.0,
        beta: float = 0.7,
        mixup_alpha: float = 1.0,
        ema_decay: float = 0.997,
        ema_ramp_steps: int | None = None,
        ramp_steps: int = 0,
        reweight_labels: bool = False,
    ) -> None:
        super().__init__(build_network)
        self.peer = build_network()
        # A teacher starts as its student: the authors start it at random, and their ramp soon forgets the start.
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)
        self.peer_teacher = copy.deepcopy(self.peer).requires_grad_(False)
        self.lambda_, self.beta, self.mixup_alpha = lambda_, beta, mixup_alpha
        self.ema_decay, self.ema_ramp_steps = ema_decay, ema_ramp_steps
        self.ramp_steps, self.reweight_labels = ramp_steps, reweight_labels
        self.pass_number = 0
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))  # taken by each network

    def networks(self) -> list[str]:
        """Both networks train."""
        return ["network", "peer"]

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Set up one target memory a network."""
        self.criterion, self.peer_criterion = (
            ELRPlusLoss(len(data), data.num_classes, self.lambda_, self.beta, self.ramp_steps, self.reweight_labels)
            for _ in range(2)
        )

    def begin_pass(self, number: int) -> None:
        """The first pass trains the network, the second its peer."""
        self.pass_number = number

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Mix, ask the other network's teacher for targets, step, and let the own teacher follow."""
        if self.pass_number == 0:
            name, student, criterion = "network", self.network, self.criterion
            own_teacher, other_teacher = self.teacher, self.peer_teacher
        else:
            name, student, criterion = "peer", self.peer, self.peer_criterion
            own_teacher, other_teacher = self.peer_teacher, self.teacher
        self.steps[self.pass_number] += 1
        step = int(self.steps[self.pass_number])

        inputs = batch["inputs"].float()
        pairs = draw_mixup(len(inputs), self.mixup_alpha, self.generator, at_least_half=True)
        logits = student(mix(inputs, pairs))  # (B, classes)
        with torch.no_grad():
            teacher_logits = other_teacher(inputs)
        targets = criterion.update_targets(teacher_logits, batch["index"], pairs.partner, pairs.weight)
        onehot = functional.one_hot(batch["labels"], logits.shape[1]).to(logits.dtype)
        terms: ELRTerms = criterion(logits, mix(onehot, pairs), targets, step)
        optimise(terms.loss, name)
        update_ema(student, own_teacher, step, self.ema_decay, self.ema_ramp_steps)
        return {key: value.detach() for key, value in terms._asdict().items()}

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the average of the two networks' logits, (B, classes)."""
        return 0.5 * (self.network(inputs) + self.peer(inputs))

    def corrections(self) -> Corrections:
        """Return the mean of the two memories."""
        return _corrections(0.5 * (self.criterion.memory.targets + self.peer_criterion.memory.targets))


def _corrections(targets: Tensor) -> Corrections:
    ones = torch.ones(len(targets))
    return Corrections(targets.clone(), ones, ones.bool())


RECIPES = {"elr": ELR, "elr-plus": ELRPlus}

CARD = Card(
    number=1,
    slug="elr",
    title="Early-Learning Regularization (ELR, ELR+)",
    task="classification",
    fault="wrong labels",
    recipe=("elr", "elr-plus"),
    idea="Pull each prediction towards the running average of that example's own earlier predictions.",
    paper="Early-learning regularization prevents memorization of noisy labels, NeurIPS 2020",
    link="https://arxiv.org/abs/2007.00151",
    authors_code="shengliu66/ELR",
    licence="MIT",
    defaults={"lambda_": 3.0, "beta": 0.7},
    cost="cross-entropy plus one softmax an example and a table of examples x classes; ELR+ four times that",
)
