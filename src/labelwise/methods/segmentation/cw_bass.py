"""Confidence-weighted boundary-aware learning, CW-BASS (Tarubinga et al., IJCNN 2025, arXiv 2502.15152).

A few images have masks, many have none. An averaged teacher labels the others; its labels count by its confidence,
those below a threshold that follows the batch's mean confidence are left out, and pixels at the borders of its classes
count once more. Answers few labels; none of those there are is wrong.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE
from labelwise.memory.teacher import AveragedTeacher, ema_decay
from labelwise.numerics.losses import pixel_cross_entropy, reduce_rows
from labelwise.numerics.photometric import jitter_pictures
from labelwise.numerics.schedules import linear_ramp
from labelwise.numerics.windows import sobel_boundary_mask
from labelwise.training.data import Batch, TrainingData, epoch_batches
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe

Augment = Callable[[Tensor, torch.Generator], Tensor]
LOWEST, HIGHEST = 0.3, 0.8


class UnsupervisedTerms(NamedTuple):
    """The loss on images without masks, its two parts, and what the teacher said; only ``loss`` has a gradient.

    ``threshold`` is one number a batch and ``kept`` the share of pixels above it. ``confidence``, ``weights`` (before
    the power), ``pseudo_labels`` (255 where left out) and ``boundary_mask`` are (B, H, W).
    """

    loss: Tensor
    weighted: Tensor
    boundary: Tensor
    threshold: Tensor
    kept: Tensor
    confidence: Tensor
    weights: Tensor
    pseudo_labels: Tensor
    boundary_mask: Tensor


class CWBASSTerms(NamedTuple):
    """The loss, its supervised and its unsupervised part before ramp and weight, the threshold and the share kept."""

    loss: Tensor
    supervised: Tensor
    unsupervised: Tensor
    threshold: Tensor
    kept: Tensor


def pixel_confidence(logits: Tensor) -> Tensor:
    """Largest class probability of each pixel: (B, K, H, W) to (B, H, W)."""
    return logits.softmax(dim=1).amax(dim=1)


def dynamic_threshold(
    confidence: Tensor, base: float = 0.6, beta: float = 0.5, min: float = LOWEST, max: float = HIGHEST
) -> Tensor:
    """Threshold ``base / (1 + exp(-beta (mean - 1/2)))`` between ``min`` and ``max``, from the mean of ``confidence``.

    With the published base 0.6 and beta 0.5 it lies between 0.3 and 0.34 whatever the confidence, so nearly every pixel
    passes; a base of 1.2 to 1.5 gives 0.6 to 0.8.
    """
    mean = confidence.detach().sum() / (confidence.numel() or 1)
    return (base * torch.sigmoid(beta * (mean - 0.5))).clamp(min, max)


def decay_confidence(confidence: Tensor, factor: float = 0.9, rounds: int = 1) -> Tensor:
    """Shrink confidence by ``factor`` once for each round."""
    return confidence * factor**rounds


def confidence_weighted_cross_entropy(
    logits: Tensor, labels: Tensor, confidence: Tensor, gamma: float = 1.0, ignore_index: int = IGNORE
) -> Tensor:
    """Mean over the labelled pixels of cross-entropy times ``confidence ** gamma``; 0 where none is labelled.

    ``logits`` (B, K, H, W), ``labels`` and ``confidence`` (B, H, W); the weights are not divided by their sum.
    """
    values = functional.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")  # (B, H, W)
    return reduce_rows(values * confidence.detach() ** gamma, mask=labels != ignore_index)


def boundary_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Mean cross-entropy over the labelled pixels of ``mask`` (B, H, W) bool; 0 where there is none."""
    values = functional.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")  # (B, H, W)
    return reduce_rows(values, mask=mask.bool() & (labels != ignore_index))


class CWBASSLoss(nn.Module):
    """Confidence-weighted cross-entropy on the teacher's labels plus ``boundary_weight`` times that at their borders.

    Both are means over the pixels they take. ``threshold_range`` are the ends of the threshold, which is fixed where
    they are one. ``use_confidence_decay`` multiplies the weights by ``decay_factor`` once for each round.
    """

    def __init__(
        self,
        num_classes: int,
        base_threshold: float = 0.6,
        beta: float = 0.5,
        gamma: float = 1.0,
        decay_factor: float = 0.9,
        use_confidence_decay: bool = False,
        boundary_weight: float = 0.5,
        threshold_range: tuple[float, float] = (LOWEST, HIGHEST),
        frame: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("base_threshold", base_threshold), ("gamma", gamma), ("boundary_weight", boundary_weight)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}; give a number of 0 or more")
        if not math.isfinite(beta):
            raise InputError(f"beta is {beta}; give a finite number")
        if not 0 <= decay_factor <= 1:
            raise InputError(f"decay_factor is {decay_factor}; give a number from 0 to 1")
        if len(threshold_range) != 2 or not 0 <= threshold_range[0] <= threshold_range[1] <= 1:
            raise InputError(f"threshold_range is {threshold_range}; give two numbers from 0 to 1, smaller first")
        self.num_classes, self.frame = num_classes, frame
        self.threshold = (base_threshold, beta, *threshold_range)
        self.gamma, self.boundary_weight = gamma, boundary_weight
        self.decay_factor = decay_factor if use_confidence_decay else 1.0

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, rounds: int = 1) -> UnsupervisedTerms:
        """Return the terms for logits (B, K, H, W) of student and teacher; the teacher gets no gradient."""
        confidence, labels = teacher_logits.detach().softmax(dim=1).max(dim=1)  # (B, H, W) each
        boundary_mask = sobel_boundary_mask(labels, self.num_classes, self.frame)
        threshold = dynamic_threshold(confidence, *self.threshold)
        kept = confidence > threshold
        pseudo = labels.masked_fill(~kept, IGNORE)
        weights = decay_confidence(confidence, self.decay_factor, rounds)
        weighted = confidence_weighted_cross_entropy(student_logits, pseudo, weights, self.gamma)
        boundary = boundary_cross_entropy(student_logits, pseudo, boundary_mask)
        return UnsupervisedTerms(
            loss=weighted + self.boundary_weight * boundary,
            weighted=weighted.detach(),
            boundary=boundary.detach(),
            threshold=threshold,
            kept=reduce_rows(kept.to(confidence.dtype)),
            confidence=confidence,
            weights=weights,
            pseudo_labels=pseudo,
            boundary_mask=boundary_mask,
        )


class CWBASS(Recipe):
    """A student, and an averaged teacher that labels the images whose masks are 255 throughout; the teacher predicts.

    Half of each batch has masks, half has none; an epoch sees every image. The teacher sees images as they are, the
    student in other light (``jitter``, or ``augment(inputs, generator)``, which must leave pixels in place): published
    code shows both the same. The average copies the student first and slows down to ``ema_decay``, so that short runs
    have a teacher too. The unsupervised part grows to its weight ``lambda_u`` over ``warmup_epochs``. ``progressive``
    confidence decay has one round more in each epoch.
    """

    steps: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        base_threshold: float = 0.6,
        beta: float = 0.5,
        gamma: float = 1.0,
        decay_factor: float = 0.9,
        use_confidence_decay: bool = False,
        progressive: bool = False,
        boundary_weight: float = 0.5,
        threshold_range: tuple[float, float] = (LOWEST, HIGHEST),
        frame: bool = True,
        lambda_u: float = 1.0,
        warmup_epochs: float = 5.0,
        ema_decay: float = 0.999,
        jitter: float = 0.2,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(build_network)
        for name, value in (("lambda_u", lambda_u), ("warmup_epochs", warmup_epochs), ("jitter", jitter)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}; give a number of 0 or more")
        if not 0 <= ema_decay < 1:
            raise InputError(f"ema_decay is {ema_decay}; give a number from 0 to below 1")
        self.criterion = CWBASSLoss(
            int(self.network.num_classes),  # type: ignore[arg-type]
            base_threshold,
            beta,
            gamma,
            decay_factor,
            use_confidence_decay,
            boundary_weight,
            tuple(threshold_range),  # type: ignore[arg-type]
            frame,
        )
        self.teacher = AveragedTeacher(self.network)
        self.lambda_u, self.warmup_epochs, self.ema_decay = lambda_u, warmup_epochs, ema_decay
        self.jitter, self.augment, self.progressive = jitter, augment, progressive
        self.rounds, self.steps_per_epoch = 1, 1
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Tell images with masks from those without."""
        known = _has_labels(data.labels)
        self.labelled, self.unlabelled = torch.nonzero(known).squeeze(1), torch.nonzero(~known).squeeze(1)
        if not len(self.labelled):
            raise InputError("no image has a labelled pixel (all masks are 255); give at least one with a mask")

    def begin_epoch(self, epoch: int) -> None:
        """Count the rounds of progressive decay."""
        self.rounds = epoch + 1 if self.progressive else 1

    def batches(self, num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """Images with masks, then as many without; the fewer of both are repeated until all have been seen."""
        if not len(self.unlabelled):
            batches = epoch_batches(num_examples, batch_size, generator)
        else:
            sizes = [max(1, batch_size // 2), max(1, batch_size - batch_size // 2)]
            kinds = (self.labelled, self.unlabelled)
            steps = max(math.ceil(len(rows) / size) for rows, size in zip(kinds, sizes, strict=True))
            parts = [_repeated(rows, size, steps, generator) for rows, size in zip(kinds, sizes, strict=True)]
            batches = [torch.cat(pair) for pair in zip(*parts, strict=True)]
        self.steps_per_epoch = len(batches)
        return batches

    def loss(self, batch: Batch) -> CWBASSTerms:
        """Return the terms of the batch."""
        inputs, labels = batch["inputs"], batch["labels"]
        known = _has_labels(labels)  # (B,)
        logits = self.network(self.view(inputs))  # (B, K, H, W)
        supervised = pixel_cross_entropy(logits[known], labels[known])
        if known.all():
            nothing = supervised.detach() * 0
            return CWBASSTerms(supervised, supervised, nothing, nothing, nothing)
        found = self.criterion(logits[~known], self.teacher(inputs[~known]), self.rounds)
        ramp = linear_ramp(int(self.steps), self.warmup_epochs * self.steps_per_epoch)
        loss = supervised + self.lambda_u * ramp * found.loss
        return CWBASSTerms(loss, supervised, found.loss, found.threshold, found.kept)

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Step, then let the teacher follow."""
        terms = super().step(batch, optimise)
        self.teacher.update(self.network, ema_decay(int(self.steps), self.ema_decay))
        self.steps += 1
        return terms

    def view(self, inputs: Tensor) -> Tensor:
        """Images (B, channels, H, W) as the student sees them."""
        if self.augment is not None:
            return self.augment(inputs, self.generator)
        return jitter_pictures(inputs, self.jitter, self.generator)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the teacher's logits (B, K, H, W)."""
        return self.teacher(inputs)


def _has_labels(masks: Tensor) -> Tensor:
    return (masks != IGNORE).flatten(1).any(dim=1)  # (B,)


def _repeated(rows: Tensor, size: int, steps: int, generator: torch.Generator) -> Sequence[Tensor]:
    """Shuffle rows again and again into ``steps`` batches of ``size``, or of all rows where there are fewer."""
    size = min(size, len(rows))
    rounds = math.ceil(steps * size / len(rows))
    order = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in range(rounds)])
    return order[: steps * size].split(size)


RECIPES = {"cw-bass": CWBASS}

CARD = Card(
    number=10,
    slug="cw-bass",
    title="Confidence-weighted boundary-aware learning (CW-BASS)",
    task="segmentation",
    fault="few labels: most images have no mask",
    recipe=("cw-bass",),
    idea="Learn from an averaged teacher's masks, weighed by its confidence, and once more at the borders it draws.",
    paper="CW-BASS: Confidence-weighted boundary-aware learning for semi-supervised semantic segmentation, IJCNN 2025",
    link="https://arxiv.org/abs/2502.15152",
    authors_code="psychofict/CW-BASS",
    licence="MIT (not used here)",
    defaults={
        "base_threshold": 0.6,
        "beta": 0.5,
        "gamma": 1.0,
        "boundary_weight": 0.5,
        "lambda_u": 1.0,
        "warmup_epochs": 5.0,
        "ema_decay": 0.999,
        "jitter": 0.2,
    },
    cost="one forward and backward pass over all images, and the teacher's forward pass over those without masks",
)
