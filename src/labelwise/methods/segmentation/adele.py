"""Adaptive early-learning correction, ADELE (Liu et al., CVPR 2022, https://arxiv.org/abs/2110.03740).

Networks fit right pixels first and memorise wrong ones later, at a different time for each class. ADELE fits a curve to
each class's overlap with the training masks, rewrites its labels from the network's own predictions once the curve
levels off, and keeps predictions alike at three scales. Answers masks drawn too small, too large, or by a weak model.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.labels.corrections import Corrections
from labelwise.labels.masks import BACKGROUND, IGNORE
from labelwise.memory.gather import sum_processes
from labelwise.memory.label_store import LabelStore
from labelwise.memory.memorization import MemorizationDetector
from labelwise.networks.multiscale import MultiScale
from labelwise.numerics.segmentation_metrics import ConfusionIoU
from labelwise.training.data import Batch, TrainingData, in_order
from labelwise.training.recipe import BuildNetwork, Recipe

Mode = Literal["both", "new"]
MODES = ("both", "new")
# Probabilities of the mixture are kept this far from 0 and 1 before their logarithm is taken.
CLAMP = 1e-3
# In mode "new" an image is left alone where its objects would shrink below the first share of what they were and cover
# less than the second share of the image.
LEAST_LEFT, LEAST_COVERED = 0.5, 0.05
PIXELS_A_BLOCK = 2**18


class MultiScaleTerms(NamedTuple):
    """Cross-entropy, consistency before it is weighed, and the clamped mixture of probabilities (B, K, H, W)."""

    cross_entropy: Tensor
    consistency: Tensor
    mixture: Tensor


class ADELETerms(NamedTuple):
    """The loss, its cross-entropy, and the consistency before it is weighed by lambda."""

    loss: Tensor
    cross_entropy: Tensor
    consistency: Tensor


def multiscale_consistency_loss(
    logits_list: Sequence[Tensor],
    labels: Tensor,
    scale_weights: Tensor,
    rho: float = 0.8,
    ignore_index: int = IGNORE,
) -> MultiScaleTerms:
    """Cross-entropy of each scale's weighted logits, and how far the scales are from their mixture.

    ``logits_list`` holds one (B, K, H, W) a scale, at one size; ``labels`` (B, H, W) int64; ``scale_weights`` (scales,)
    is v, whose softmax w weighs the logits in the cross-entropy and the probabilities in the mixture q. Both terms are
    means over all B H W pixels: ignored ones add 0 to the cross-entropy, and count fully in the consistency
    ``sum_s KL(p_s || q)``, which is 0 for images where no labelled pixel of q reaches ``rho``.
    """
    logits = torch.stack(list(logits_list))  # (S, B, K, H, W)
    weights = scale_weights.softmax(dim=0).view(-1, 1, 1, 1, 1)  # (S, 1, 1, 1, 1)
    repeated = labels.repeat(len(logits), 1, 1)  # (S B, H, W)
    cross_entropy = functional.cross_entropy(
        (weights * logits).flatten(0, 1), repeated, ignore_index=ignore_index, reduction="sum"
    )
    log_probs = logits.log_softmax(dim=2)
    probs = log_probs.exp()
    mixture = (weights * probs).sum(dim=0).clamp(CLAMP, 1.0 - CLAMP)  # (B, K, H, W)
    surest = mixture.detach().amax(dim=1).masked_fill(labels == ignore_index, -1.0).flatten(1).amax(dim=1)  # (B,)
    divergence = (probs * (log_probs - mixture.log())).sum(dim=(0, 2, 3, 4))  # (B,)
    consistency = (divergence * (surest >= rho)).sum()
    pixels = max(labels.numel(), 1)
    return MultiScaleTerms(cross_entropy / pixels, consistency / pixels, mixture)


def correct_labels(
    labels: Tensor,
    probs: Tensor,
    active: Tensor,
    tau_fg: float = 0.7,
    tau_bg: float = 0.7,
    class_constraint: bool = True,
    mode: Mode = "both",
    ignore_rule: bool = False,
) -> Tensor:
    """Replace labels (B, H, W) int64 by the most probable class where it is sure and its class is ``active`` (K,) bool.

    ``probs`` (B, K, H, W). A pixel is sure where a foreground class is above ``tau_fg`` or the background above
    ``tau_bg``. Images without an active class are left alone. ``both``: the old and the new label must be active or
    background; ``new``: the new one only, images of background only take part, and images are left alone whose objects
    would all but vanish. ``class_constraint``: an image gains no class. ``ignore_rule``: what would turn from
    foreground into background becomes 255 instead. Raises InputError.
    """
    _check_shares(tau_fg=tau_fg, tau_bg=tau_bg)
    _check_mode(mode)
    _check_images(labels, probs, active)
    allowed = torch.ones(IGNORE + 1, dtype=torch.bool, device=labels.device)
    allowed[1 : len(active)] = active[1:]
    allowed[len(active) :] = False
    predicted = probs.argmax(dim=1)  # (B, H, W)
    present = _present(labels, len(active))  # (B, K)
    eligible = (present & allowed[: len(active)])[:, 1:].any(dim=1)  # (B,)
    replaced = (probs[:, 1:] > tau_fg).any(dim=1) | (probs[:, BACKGROUND] > tau_bg)  # (B, H, W)
    replaced &= allowed[predicted]
    if mode == "both":
        replaced &= allowed[labels]
    else:
        eligible |= ~present[:, 1:].any(dim=1)
    if class_constraint:
        present[:, BACKGROUND] = True
        replaced &= present.gather(1, predicted.flatten(1)).view_as(predicted)
    replaced &= eligible.view(-1, 1, 1)
    if mode == "new":
        replaced &= ~_vanishing(labels, labels.where(~replaced, predicted)).view(-1, 1, 1)
    lost = (labels != BACKGROUND) & (predicted == BACKGROUND)
    new = predicted.masked_fill(lost, IGNORE) if ignore_rule else predicted
    return torch.where(replaced, new, labels)


class ADELE(Recipe):
    """One network at several scales, whose training masks are rewritten class by class; predictions are at scale 1.

    An epoch ends with the IoU of its training predictions (scale 1) with the masks trained on. Once a class is
    active, masks are corrected from the mixture of the scales: when another class joins, and every ``correct_every``
    epochs. ``from_given``: the IoU is taken with the given masks and each correction starts from them. ``store`` holds
    the masks and the trail of what was rewritten when.
    """

    store: LabelStore
    detector: MemorizationDetector

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        r: float = 0.9,
        tau: float = 0.7,
        lambda_: float = 1.0,
        rho: float = 0.8,
        scales: Sequence[float] = (0.7, 1.0, 1.5),
        learn_scales: bool = False,
        skip_flat: float | None = 0.1,
        correct_every: int = 10,
        from_given: bool = False,
        common_start: bool = False,
        mode: Mode = "both",
        class_constraint: bool = True,
        ignore_rule: bool = False,
    ) -> None:
        super().__init__(build_network)
        _check_shares(r=r, tau=tau, rho=rho)
        _check_mode(mode)
        if not 0 <= lambda_ < math.inf:
            raise InputError(f"lambda_ is {lambda_}; give a weight of 0 or more")
        if correct_every < 1:
            raise InputError(f"correct_every is {correct_every}; give a number of epochs of at least 1")
        self.network = MultiScale(self.network, scales, learn_scales)
        self.middle = int(np.abs(np.asarray(scales) - 1.0).argmin())  # whose predictions are watched
        self.r, self.tau, self.lambda_, self.rho = r, tau, lambda_, rho
        self.skip_flat, self.common_start = skip_flat, common_start
        self.correct_every, self.from_given = correct_every, from_given
        self.mode, self.class_constraint, self.ignore_rule = mode, class_constraint, ignore_rule

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Set up the store of masks and the curves."""
        self.data = data
        self.store = LabelStore(data.labels)
        self.detector = MemorizationDetector(data.num_classes, epochs, self.r, self.skip_flat, common=self.common_start)

    @property
    def weights(self) -> Tensor:
        """The scales' weights before their softmax, (scales,)."""
        return self.network.scale_weights  # type: ignore[return-value]

    def begin_epoch(self, epoch: int) -> None:
        """Count anew."""
        self.counts = ConfusionIoU(self.data.num_classes)

    def loss(self, batch: Batch) -> ADELETerms:
        """Return the terms of the batch on the masks as they stand, and count its overlap with them."""
        labels = self.store(batch["index"])
        logits = self.network(batch["inputs"])
        predicted = logits[self.middle].detach().argmax(dim=1)  # (B, H, W)
        self.counts.update(predicted, batch["labels"] if self.from_given else labels)
        cross_entropy, consistency, _ = multiscale_consistency_loss(logits, labels, self.weights, self.rho)
        return ADELETerms(cross_entropy + self.lambda_ * consistency, cross_entropy, consistency)

    def end_epoch(self, epoch: int) -> None:
        """See which classes are being memorised, and correct the masks where it is time."""
        device = self.store.labels.device
        for name in ("TP", "P", "T"):
            setattr(self.counts, name, sum_processes(getattr(self.counts, name).to(device)).cpu())
        before = self.detector.active.clone()
        active = self.detector.update(self.counts.iou)
        if active.any() and (not torch.equal(active, before) or (epoch + 1) % self.correct_every == 0):
            self.correct(epoch)

    @torch.no_grad()
    def correct(self, epoch: int) -> None:
        """Rewrite the masks of all training images from the mixture of the scales; cost: one forward pass a scale."""
        given = self.store.given() if self.from_given else self.store.labels
        corrected = given.clone()
        rules = (self.tau, self.tau, self.class_constraint, self.mode, self.ignore_rule)
        self.network.eval()
        rows = max(1, PIXELS_A_BLOCK // max(1, given[0].numel()))
        for batch in self.data.batches(in_order(len(self.data), rows)):
            logits = torch.stack(self.network(batch["inputs"].to(given.device))).float()  # (S, B, K, H, W)
            probs = torch.tensordot(self.weights.softmax(dim=0).to(logits), logits.softmax(dim=2), dims=1)
            labels = given[batch["index"]].long()
            corrected[batch["index"]] = correct_labels(labels, probs, self.detector.active, *rules).to(torch.uint8)
        self.network.train()
        self.store.rewrite(corrected, epoch)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K, H, W) at scale 1."""
        return self.network(inputs, scales=(1.0,))[0]

    def corrections(self) -> Corrections:
        """Return the masks as they stand: one-hot bool targets (n, K, H, W), weights and mask (n, H, W) a pixel."""
        labels = self.store.labels
        classes = torch.arange(self.data.num_classes, device=labels.device).view(1, -1, 1, 1)
        known = labels != IGNORE
        return Corrections(labels.unsqueeze(1) == classes, known.float(), known)


def _present(labels: Tensor, num_classes: int) -> Tensor:
    """Which classes are in each image (B, K) bool; 255 is none."""
    counts = torch.zeros(len(labels), IGNORE + 1, dtype=torch.bool, device=labels.device)
    counts.scatter_(1, labels.flatten(1), True)
    return counts[:, :num_classes]


def _vanishing(old: Tensor, new: Tensor) -> Tensor:
    """Images (B,) whose foreground would shrink below half and cover under 5%."""
    before, after = (((each != BACKGROUND) & (each != IGNORE)).flatten(1).double().mean(dim=1) for each in (old, new))
    return (after < LEAST_LEFT * before) & (after < LEAST_COVERED)


def _check_shares(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}; give a number from 0 to 1")


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; choose both or new")


def _check_images(labels: Tensor, probs: Tensor, active: Tensor) -> None:
    if probs.ndim != 4 or labels.shape != (len(probs), *probs.shape[2:]):
        raise InputError(
            f"labels have shape {tuple(labels.shape)} and probs {tuple(probs.shape)}; give (B, H, W) and (B, K, H, W)"
        )
    if active.shape != probs.shape[1:2] or active.dtype != torch.bool:
        raise InputError(f"active is {tuple(active.shape)} {active.dtype}; give one bool for each of the classes")
    if not torch.isfinite(probs).all():
        raise InputError("probs hold a number that is not finite; give probabilities")


RECIPES = {"adele": ADELE}

CARD = Card(
    number=9,
    slug="adele",
    title="Adaptive early-learning correction (ADELE)",
    task="segmentation",
    fault="masks drawn too small or too large, or made by a weak model",
    recipe=("adele",),
    idea="Watch each class's training curve and rewrite its labels from the predictions just before it is memorised.",
    paper="Adaptive early-learning correction for segmentation from noisy annotations, CVPR 2022",
    link="https://arxiv.org/abs/2110.03740",
    authors_code="Kangningthu/ADELE",
    licence="MIT (not used here)",
    defaults={"r": 0.9, "tau": 0.7, "lambda_": 1.0, "rho": 0.8, "skip_flat": 0.1, "correct_every": 10},
    cost="forward and backward passes at three scales, 3.7 times the pixels; one more forward pass a correction",
)
