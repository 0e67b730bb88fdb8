"""Progressive self-knowledge distillation, PS-KD (Kim et al., ICCV 2021, https://arxiv.org/abs/2006.12000).

Each one-hot target is mixed with the model's own prediction of the epoch before; the mixing weight grows from 0.
Hard examples then weigh more than easy ones, and confidence stays honest. Answers over-confident labels.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.memory.targets import TargetMemory
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.numerics.mixup import MixupPairs, draw_mixup, mix
from labelwise.training.data import Batch, TrainingData
from labelwise.training.recipe import BuildNetwork, Optimise, Recipe


def progressive_alpha(epoch: int, num_epochs: int, alpha_T: float) -> float:
    """Weight of the model's own prediction in a 0-based epoch, ``alpha_T (epoch + 1) / num_epochs`` (eq. 4)."""
    return alpha_T * (epoch + 1) / num_epochs


def refine_targets(onehot: Tensor, previous: Tensor, alpha: float) -> Tensor:
    """Mix hard targets with earlier predictions, ``(1 - alpha) onehot + alpha previous`` (eq. 3); both (..., classes).

    Boxes (images, boxes, classes) and tokens (sentences, tokens, classes) pass as they are.
    """
    return (1.0 - alpha) * onehot + alpha * previous


class PSKDTargets(nn.Module):
    """The soft targets of each epoch, made from a table of each example's last prediction.

    In the first epoch an example's earlier prediction is its own label, so training starts as plain cross-entropy.
    ``smoothing`` spreads that share of each label over all classes alike.
    """

    def __init__(
        self, num_examples: int, num_classes: int, alpha_T: float, num_epochs: int, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.memory = TargetMemory(num_examples, num_classes, momentum=0.0)
        self.alpha_T = alpha_T
        self.num_epochs = num_epochs
        self.smoothing = smoothing
        self.epoch = 0

    @property
    def alpha(self) -> float:
        """Weight of the earlier prediction in the current epoch."""
        return progressive_alpha(self.epoch, self.num_epochs, self.alpha_T)

    def begin_epoch(self, epoch: int) -> None:
        """Tell which 0-based epoch begins."""
        self.epoch = epoch

    def hard_targets(self, labels: Tensor) -> Tensor:
        """Return the targets (B, classes) of ``labels`` (B,) int64 before refinement: one-hot, or smoothed."""
        num_classes = self.memory.targets.shape[1]
        onehot = functional.one_hot(labels, num_classes).to(self.memory.targets.dtype)  # (B, classes)
        return (1.0 - self.smoothing) * onehot + self.smoothing / num_classes

    def targets(self, index: Tensor, labels: Tensor) -> Tensor:
        """Return soft targets (B, classes) for examples ``index`` (B,) with ``labels`` (B,) int64."""
        hard = self.hard_targets(labels)
        previous = hard if self.epoch == 0 else self.memory(index)
        return refine_targets(hard, previous, self.alpha)

    def update(self, index: Tensor, logits: Tensor) -> None:
        """Remember the predictions of ``logits`` (B, classes) for the next epoch."""
        self.memory.update(index, logits.detach().softmax(dim=1))


class PSKD(Recipe):
    """Train against progressively refined targets.

    ``teacher`` is ``memory`` (a table of examples x classes, from the last epoch's training passes) or ``snapshot``
    (a frozen copy of the last epoch's network, asked about the current view: for tables that would not fit).
    Label smoothing (``smoothing``) and mixup (``mixup_alpha`` of its Beta distribution, 0 for none) change the hard
    targets that are refined. Mixup needs the snapshot: a table holds no prediction for a mixed view.
    """

    criterion: PSKDTargets

    def __init__(
        self,
        build_network: BuildNetwork,
        *,
        alpha_T: float = 0.8,
        teacher: str = "memory",
        smoothing: float = 0.0,
        mixup_alpha: float = 0.0,
    ) -> None:
        super().__init__(build_network)
        if teacher not in ("memory", "snapshot"):
            raise InputError(f"teacher is {teacher!r}; choose 'memory' or 'snapshot'")
        if not 0 <= alpha_T <= 1:
            raise InputError(f"alpha_T is {alpha_T}; give a number from 0 to 1")
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing is {smoothing}; give a number from 0 to below 1")
        if mixup_alpha > 0 and teacher == "memory":
            raise InputError(f"mixup_alpha is {mixup_alpha}, which the memory cannot serve; choose teacher 'snapshot'")
        self.alpha_T, self.smoothing, self.mixup_alpha = alpha_T, smoothing, mixup_alpha
        self.snapshot = copy.deepcopy(self.network).requires_grad_(False) if teacher == "snapshot" else None
        self.epochs = 1
        self.epoch = 0

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Set up one remembered prediction an example (none for the snapshot teacher)."""
        self.epochs = epochs
        rows = 0 if self.snapshot is not None else len(data)
        self.criterion = PSKDTargets(rows, data.num_classes, self.alpha_T, epochs, self.smoothing)

    def begin_epoch(self, epoch: int) -> None:
        """Raise the weight of earlier predictions; the snapshot becomes the network as it stands."""
        self.epoch = epoch
        self.criterion.begin_epoch(epoch)
        if self.snapshot is not None:
            self.snapshot.load_state_dict(self.network.state_dict())
            self.snapshot.eval()

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Step towards the refined targets, then remember this pass's predictions."""
        pairs = draw_mixup(len(batch["index"]), self.mixup_alpha, self.generator)
        inputs = mix(batch["inputs"].float(), pairs) if self.mixup_alpha > 0 else batch["inputs"]
        logits = self.network(inputs)  # (B, classes)
        loss = soft_cross_entropy(logits, self._targets(batch, inputs, pairs))
        optimise(loss)
        if self.snapshot is None:
            self.criterion.update(batch["index"], logits)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def _targets(self, batch: Batch, inputs: Tensor, pairs: MixupPairs) -> Tensor:
        if self.snapshot is None:
            return self.criterion.targets(batch["index"], batch["labels"])
        hard = mix(self.criterion.hard_targets(batch["labels"]), pairs)
        if self.epoch == 0:
            return hard
        return refine_targets(hard, self.snapshot(inputs).softmax(dim=1), self.criterion.alpha)


RECIPES = {"ps-kd": PSKD}

CARD = Card(
    number=44,
    slug="ps-kd",
    title="Self-knowledge distillation with progressive refinement of targets (PS-KD)",
    task="classification",
    fault="over-confident labels",
    recipe=("ps-kd",),
    idea="Soften each hard target with the model's own prediction of the epoch before, more so as training goes on.",
    paper="Self-knowledge distillation with progressive refinement of targets, ICCV 2021",
    link="https://arxiv.org/abs/2006.12000",
    authors_code="lgcnsai/PS-KD-Pytorch",
    licence="MIT",
    defaults={"alpha_T": 0.8, "teacher": "memory", "smoothing": 0.0, "mixup_alpha": 0.0},
    cost="cross-entropy plus a table of examples x classes; the snapshot teacher adds a forward pass",
)
