"""ConR: contrastive regularizer for imbalanced regression (Keramati et al., ICLR 2024,
https://arxiv.org/abs/2309.06651).

Rare numbers: features of rows with rare labels fall on those of frequent labels, and predictions follow. Rows that the
model predicts alike although their labels differ are pushed apart, the harder the further apart and the rarer their
labels are; rows with labels within a window are pulled together.

The authors' code adds 1 to the denominator for every column that is no positive; so does the default here, and
``strict_denominator`` leaves them out, as the paper's formula does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.networks.hooks import recorded_input
from labelwise.numerics.label_density import SCHEMES, label_density_weights
from labelwise.numerics.losses import reduce_rows
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, Recipe

Augment = Callable[[Tensor, torch.Generator], Tensor]
DISTANCES = ("euclidean", "max")
PUSHINGS = ("exp", "linear")
LOSSES = ("absolute", "squared")


class ConRTerms(NamedTuple):
    """What is minimised, the error of the predictions, and the regularizer before it is weighed by beta."""

    loss: Tensor
    error: Tensor
    conr: Tensor


def conr_pair_masks(targets: Tensor, preds: Tensor, w: float, distance: str = "euclidean") -> tuple[Tensor, Tensor]:
    """Which pairs are positive (labels within ``w``) and negative (labels further, predictions within): (N, N) bool.

    ``targets`` and ``preds`` float (N,), (N, 1) or (N, K), ``w`` in their units. No row is paired with itself.
    """
    return _masks(_distances(targets, distance), _distances(preds, distance), w)


def conr_loss(
    features: Tensor,
    targets: Tensor,
    preds: Tensor,
    *,
    w: float = 1.0,
    temperature: float = 0.2,
    eta: float = 0.01,
    sample_weight: Tensor | None = None,
    pushing: str = "exp",
    count_self: bool = False,
    anchor_weight: bool = True,
    strict_denominator: bool = False,
    distance: str = "euclidean",
    reduction: str = "mean",
) -> Tensor:
    """The regularizer of a batch of rows, both views of each one after the other; scalar, or (N,) for ``none``.

    ``features`` (N, D) float with gradient; ``targets`` and ``preds`` (N,), (N, 1) or (N, K), used without gradient;
    ``sample_weight`` (N,) or (N, 1), of rare labels large. Anchors without a negative, or without a positive, give 0;
    the mean is over all N rows. ``pushing``: a negative weighs ``weight * exp(eta * label distance)``, or linear
    ``weight * eta * label distance``. ``count_self`` adds 1 to the number of positives that the sum is divided by;
    ``anchor_weight`` multiplies each row's loss by its weight. Raises InputError. Cost: O(N^2 (D + K)).
    """
    _check_options(w, temperature, eta, pushing, distance)
    _check_rows(features, targets, preds, sample_weight)
    gaps = _distances(targets, distance)  # (N, N)
    positive, negative = _masks(gaps, _distances(preds, distance), w)
    weight = features.new_ones(len(features)) if sample_weight is None else sample_weight.reshape(-1).to(features)
    unit = functional.normalize(features, dim=1, eps=1e-12)  # (N, D)
    similar = unit @ unit.T / temperature  # (N, N)

    push = eta * gaps if pushing == "exp" else torch.log(eta * gaps)
    pushed = similar + torch.log(weight).unsqueeze(1) + push.to(similar)
    outside = torch.full_like(similar, -math.inf)
    pulled = torch.where(positive, similar, outside if strict_denominator else torch.zeros_like(similar))
    # In logarithms: exp(similarity / temperature) leaves float32 below a temperature of 0.0113.
    log_sum = torch.logsumexp(torch.cat([pulled, torch.where(negative, pushed, outside)], dim=1), dim=1)  # (N,)

    count = positive.sum(dim=1)
    is_anchor = negative.any(dim=1) & (count > 0)
    total = count * torch.where(is_anchor, log_sum, 0.0) - (similar * positive).sum(dim=1)
    rows = torch.where(is_anchor, total / (count + int(count_self)).clamp(min=1), 0.0)
    return reduce_rows(rows * weight if anchor_weight else rows, reduction)


def conr_dense_loss(
    features: Tensor,
    targets: Tensor,
    preds: Tensor,
    *,
    w: float = 0.2,
    temperature: float = 0.07,
    eta: float = 0.2,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """The regularizer for maps of numbers such as depth: one row an image, its label the mean over its pixels.

    All of shape (N, ...): features are flattened, the others averaged. One view is enough. Options as published.
    """
    return conr_loss(
        features.flatten(1),
        targets.flatten(1).mean(dim=1),
        preds.flatten(1).mean(dim=1),
        w=w,
        temperature=temperature,
        eta=eta,
        sample_weight=None if sample_weight is None else sample_weight.flatten(1).mean(dim=1),
        pushing="linear",
        count_self=True,
        anchor_weight=False,
    )


class ConRLoss(nn.Module):
    """``conr_loss`` with its options held; nothing is remembered between batches."""

    def __init__(
        self,
        w: float = 1.0,
        temperature: float = 0.2,
        eta: float = 0.01,
        *,
        distance: str = "euclidean",
        strict_denominator: bool = False,
    ) -> None:
        super().__init__()
        _check_options(w, temperature, eta, "exp", distance)
        self.w, self.temperature, self.eta = w, temperature, eta
        self.distance, self.strict_denominator = distance, strict_denominator

    def forward(self, features: Tensor, targets: Tensor, preds: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the mean over the rows; arguments as for ``conr_loss``."""
        return conr_loss(
            features,
            targets,
            preds,
            w=self.w,
            temperature=self.temperature,
            eta=self.eta,
            sample_weight=sample_weight,
            distance=self.distance,
            strict_denominator=self.strict_denominator,
        )


class ConR(Recipe):
    """Absolute (or squared) error plus ``beta`` times ConR on the features before the head.

    Each batch is augmented three times: the error is the mean over all three, ConR is taken on the last two.
    ``augment(inputs, generator)`` makes one view; without it Gaussian noise of ``noise`` deviations of each feature is
    added, which suits tables. ``density`` weighs rows by how rare their label is, in bins of ``w`` (one output only).
    Labels are those that training sees: from ``Regressor`` standardised, so ``w`` is in deviations of the target.
    """

    spread: Tensor
    density_weights: Tensor

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        w: float = 0.1,
        beta: float = 0.2,
        temperature: float = 0.2,
        eta: float = 0.2,
        distance: str = "euclidean",
        strict_denominator: bool = False,
        loss: str = "absolute",
        density: str | None = None,
        smoothing: tuple[int, float] | None = None,
        noise: float = 0.1,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(build_network)
        if not 0 <= beta < math.inf or not 0 <= noise < math.inf:
            raise InputError(f"beta is {beta} and noise {noise}; give numbers of 0 or more")
        if loss not in LOSSES or density not in (None, *SCHEMES):
            raise InputError(f"loss is {loss!r} and density {density!r}; choose of {LOSSES} and {(None, *SCHEMES)}")
        self.criterion = ConRLoss(w, temperature, eta, distance=distance, strict_denominator=strict_denominator)
        self.beta, self.error = beta, loss
        self.density, self.smoothing = density, smoothing
        self.noise, self.augment = noise, augment

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Weigh the rows by how rare their labels are; measure the features' deviations for the noise."""
        weights = torch.ones(len(data))
        if self.density is not None:
            if data.num_classes != 1:
                raise InputError(f"density weights are of one output, but there are {data.num_classes}: leave it out")
            labels = data.labels.reshape(-1).numpy()
            found = label_density_weights(labels, self.density, self.smoothing, bin_width=self.criterion.w)
            weights = torch.from_numpy(found).float()
        self.register_buffer("density_weights", weights)
        spread = torch.zeros(())
        if self.augment is None and self.noise > 0:
            if not isinstance(data.inputs, Tensor):
                raise InputError("the noise of a data set's inputs is not known: give augment(inputs, generator)")
            spread = data.inputs.float().std(dim=0, correction=0)
        self.register_buffer("spread", spread)

    def loss(self, batch: Batch) -> ConRTerms:
        """Return the terms of the batch."""
        count = len(batch["index"])
        views = torch.cat([self.view(batch["inputs"]) for _ in range(3)])  # (3B, ...)
        with recorded_input(self.network.head) as recorded:  # type: ignore[arg-type]
            outputs = self.network(views)  # (3B, outputs)
        (features,) = recorded
        labels = batch["labels"].reshape(count, -1).repeat(3, 1)
        weight = self.density_weights[batch["index"]].repeat(3)
        gap = (outputs - labels).abs() if self.error == "absolute" else (outputs - labels).square()
        error = (gap.mean(dim=1) * weight).mean()
        conr = self.criterion(features[count:], labels[count:], outputs[count:], weight[count:])
        return ConRTerms(error + self.beta * conr, error, conr)

    def view(self, inputs: Tensor) -> Tensor:
        """One augmented copy of inputs (B, ...)."""
        if self.augment is not None:
            return self.augment(inputs, self.generator)
        if self.noise == 0:
            return inputs.float()
        noise = torch.randn(inputs.shape, generator=self.generator).to(inputs.device)
        return inputs.float() + self.noise * self.spread * noise


def _distances(values: Tensor, distance: str) -> Tensor:
    """Distances (N, N) of rows (N,) or (N, K), without gradient."""
    rows = values.detach().unsqueeze(1) if values.ndim == 1 else values.detach().flatten(1)
    gaps = (rows.unsqueeze(1) - rows.unsqueeze(0)).abs()  # (N, N, K)
    if gaps.shape[2] == 1:
        return gaps[:, :, 0]
    return gaps.amax(dim=2) if distance == "max" else gaps.square().sum(dim=2).sqrt()


def _masks(gaps: Tensor, pred_gaps: Tensor, w: float) -> tuple[Tensor, Tensor]:
    near = gaps <= w
    positive = near.clone().fill_diagonal_(False)
    return positive, (~near & (pred_gaps <= w)).fill_diagonal_(False)


def _check_options(w: float, temperature: float, eta: float, pushing: str, distance: str) -> None:
    if not 0 <= w < math.inf or not 0 <= eta < math.inf:
        raise InputError(f"w is {w} and eta {eta}; give numbers of 0 or more")
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature is {temperature}; give a number above 0")
    if pushing not in PUSHINGS or distance not in DISTANCES:
        raise InputError(f"pushing is {pushing!r}, distance {distance!r}; choose of {PUSHINGS} and {DISTANCES}")


def _check_rows(features: Tensor, targets: Tensor, preds: Tensor, sample_weight: Tensor | None) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise InputError(f"features are {tuple(features.shape)} {features.dtype}; give (N, D) as float")
    if len(targets) != len(features) or preds.shape[0] != len(features):
        raise InputError(
            f"there are {len(features)} rows of features, {len(targets)} targets and {len(preds)} predictions; "
            "give one of each a row"
        )
    if not torch.isfinite(targets).all():
        row = int((~torch.isfinite(targets).reshape(len(targets), -1).all(dim=1)).int().argmax())
        raise InputError(f"targets row {row} is no finite number; leave out rows whose label is not known")
    if sample_weight is None:
        return
    if sample_weight.numel() != len(features):
        raise InputError(f"there are {sample_weight.numel()} weights for {len(features)} rows; give one a row")
    if not (torch.isfinite(sample_weight) & (sample_weight >= 0)).all():
        row = int((~(torch.isfinite(sample_weight) & (sample_weight >= 0))).reshape(-1).int().argmax())
        raise InputError(f"sample_weight row {row} is {float(sample_weight.reshape(-1)[row])}; give 0 or more")


RECIPES = {"conr": ConR}

CARD = Card(
    number=6,
    slug="conr",
    title="ConR",
    task="regression",
    fault="rare numbers: few examples where the target is high or low",
    recipe=("conr",),
    idea="Push apart the features of rows that are predicted alike although their labels differ.",
    paper="ConR: Contrastive regularizer for deep imbalanced regression, ICLR 2024",
    link="https://arxiv.org/abs/2309.06651",
    authors_code="BorealisAI/ConR",
    licence="CC BY-NC-SA 4.0 (not used here)",
    defaults={"w": 0.1, "beta": 0.2, "temperature": 0.2, "eta": 0.2, "loss": "absolute", "density": None, "noise": 0.1},
    cost="three forward and backward passes a batch, and its pairwise similarities",
)
