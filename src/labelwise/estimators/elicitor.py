"""Train a classifier on one label source after the other: many cheap labels first, then few dear ones.

Wu, Mallen, Belrose, "Balancing Label Quantity and Quality for Scalable Elicitation", 2024
(https://arxiv.org/abs/2410.13215), sequential fine-tuning. The training loop of the other estimators steps by epochs;
here a source may be a handful of labels, so learning rate and early stopping go by steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelwise.audit.elicitation import Oracle, roc_auc, uncertainty_sample
from labelwise.errors import InputError
from labelwise.methods.classification.log_confidence import log_confidence_loss
from labelwise.numerics.schedules import warmup_cosine
from labelwise.training.seeding import derive_seed, generator, seeded

Ints = NDArray[np.int64]

SOURCES = ("weak", "oracle")
LOSSES = ("xent", "kl", "logconf")
SAMPLINGS = ("random", "least_confident_pred", "most_confident_label")
MODULES = ("all", "head", "body")
METRICS = ("auroc", "cross-entropy")
FEWEST_TO_HOLD_OUT = 5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One source's turn: ``size`` labels of it, how they are picked, which parameters they train, by which loss.

    ``modules``: ``head`` is what the model calls ``head``, ``body`` all else. ``reinit_head`` draws the head anew from
    N(0, (0.01 / sqrt(d))^2). ``learning_rate`` None is the elicitor's. ``keep_optimizer`` carries its state over from
    the stage before, which must train the same modules. Raises InputError for bad values.
    """

    source: str
    size: int
    loss: str = "xent"
    sampling: str = "random"
    temperature: float = 0.25
    modules: str = "all"
    reinit_head: bool = False
    learning_rate: float | None = None
    keep_optimizer: bool = False

    def __post_init__(self) -> None:
        for name, known in (("source", SOURCES), ("loss", LOSSES), ("sampling", SAMPLINGS), ("modules", MODULES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")
        if self.size < 0:
            raise InputError(f"size is {self.size}; give 0 or more labels")


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How long and how fast each stage trains.

    A stage sees ``total_points`` rows, but each at least once and at most ``max_epochs`` times. Of its labels a share
    ``val_fraction`` (2 at least) is held out and scored every ``evaluate_every`` steps, or once an epoch where that
    comes first, by ``stop_on``: the area under the ROC curve, or minus the cross-entropy. ``patience`` scores in a row
    that do not beat the best by ``min_improvement`` end the stage, and the best state returns. A held-out share of one
    class is scored by cross-entropy. A stage of fewer than 5 labels takes ``few_steps`` steps, with none held out.
    """

    learning_rate: float = 1e-3
    batch_size: int = 32
    total_points: int = 30_000
    max_epochs: int | None = None
    val_fraction: float = 0.2
    stop_on: str = "auroc"
    patience: int = 4
    min_improvement: float = 0.01
    evaluate_every: int = 50
    warmup: int = 40
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    few_steps: int = 40

    def __post_init__(self) -> None:
        if self.stop_on not in METRICS:
            raise InputError(f"stop_on is {self.stop_on!r}; choose one of {', '.join(METRICS)}")


class SequentialElicitor:
    """Trains ``model``, which maps inputs (B, ...) to logits (B, 2), through ``stages``, in place.

    Weights go on from stage to stage; a stage of size 0 is dropped. After ``fit``: ``queried_`` (a list of rows a
    source) and ``history_`` (one dict a stage).
    """

    def __init__(
        self, model: nn.Module, stages: Sequence[Stage], settings: StageSettings | None = None, *, seed: int = 0
    ) -> None:
        self.model, self.stages, self.seed = model, tuple(stages), seed
        self.settings = settings or StageSettings()

    def fit(self, low: Any, oracle: Oracle, X: Any) -> SequentialElicitor:
        """Train on X (n, ...) with weak labels ``low`` (n,), probabilities of class 1, and right ones of the oracle.

        The rows are divided at random, in proportion to what each source is to give, so that no row is labelled by
        both. Raises InputError where lengths differ or there are fewer rows than labels wanted.
        """
        inputs = torch.as_tensor(X, dtype=torch.float32)
        weak = np.asarray(low, dtype=np.float64)
        if not len(inputs) == len(weak) == len(oracle):
            raise InputError(f"there are {len(inputs)} rows, {len(weak)} weak labels and {len(oracle)} of the oracle.")
        if not ((weak >= 0) & (weak <= 1)).all():
            raise InputError("weak labels must be probabilities of class 1, from 0 to 1.")
        rng = np.random.default_rng(derive_seed(self.seed, "rows"))
        pools = self._pools(len(inputs), rng)
        self.queried_: dict[str, list[int]] = {source: [] for source in SOURCES}
        self.history_: list[dict[str, Any]] = []
        self._optimizer: torch.optim.Optimizer | None = None
        for number, stage in enumerate(self.stages):
            if stage.size == 0:
                continue
            rows = self._pick(stage, pools[stage.source], weak, inputs, rng)
            self.queried_[stage.source] += rows.tolist()
            labels = weak[rows] if stage.source == "weak" else np.asarray(oracle.query(rows), dtype=np.float64)
            self._train(stage, inputs[torch.from_numpy(rows)], torch.from_numpy(labels).float(), number, rng)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, 2) float64."""
        return _probs(self.model, torch.as_tensor(X, dtype=torch.float32)).double().numpy()

    def _pools(self, num_rows: int, rng: np.random.Generator) -> dict[str, Ints]:
        wanted = {source: sum(stage.size for stage in self.stages if stage.source == source) for source in SOURCES}
        total = sum(wanted.values())
        if total > num_rows:
            raise InputError(f"the stages want {total} labels of {num_rows} rows: lower their sizes or give more rows.")
        order = rng.permutation(num_rows)
        # Rounded so that neither pool is smaller than what is wanted of it.
        cut = num_rows * wanted["weak"] // max(total, 1)
        cut = min(max(cut, wanted["weak"]), num_rows - wanted["oracle"])
        # From the two ends, so that draws of more labels under one seed hold those of fewer.
        return {"weak": order[:cut], "oracle": order[cut:][::-1]}

    def _pick(
        self, stage: Stage, pool: Ints, weak: NDArray[np.float64], inputs: Tensor, rng: np.random.Generator
    ) -> Ints:
        left = pool[~np.isin(pool, self.queried_[stage.source])]
        if stage.sampling == "random":
            return left[: stage.size]
        confident = stage.sampling == "most_confident_label"
        if confident and stage.source == "oracle":
            raise InputError("most_confident_label needs labels before they are bought: it is for the weak source.")
        if confident:
            probs = np.stack([1 - weak[left], weak[left]], axis=1)
        else:
            probs = _probs(self.model, inputs[torch.from_numpy(left)]).double().numpy()
        return left[uncertainty_sample(probs, stage.size, stage.temperature, confident, rng=rng)]

    def _train(self, stage: Stage, inputs: Tensor, labels: Tensor, number: int, rng: np.random.Generator) -> None:
        settings = self.settings
        rate = stage.learning_rate or settings.learning_rate
        if stage.reinit_head:
            self._reinit_head(number)
        parameters = self._parameters(stage.modules)
        optimizer = self._optimizer if stage.keep_optimizer else None
        if optimizer is None:
            optimizer = torch.optim.AdamW(parameters, rate, betas=settings.betas, weight_decay=settings.weight_decay)
        self._optimizer = optimizer
        held, kept = _hold_out(len(labels), settings.val_fraction, rng)
        score = _scorer(self.model, inputs[held], labels[held], settings.stop_on)
        num_steps = self._num_steps(len(kept), bool(len(held)))
        steps_an_epoch = -(-len(kept) // settings.batch_size)
        warmup = max(2, min(settings.warmup, steps_an_epoch))
        every = min(settings.evaluate_every, steps_an_epoch)

        stopping = _Stopping(settings.patience, settings.min_improvement)
        best, best_state, step = -np.inf, copy.deepcopy(self.model.state_dict()), 0
        with seeded(derive_seed(self.seed, "stage", number)):
            for step, index in enumerate(self._batches(len(kept), num_steps, number)):
                for group in optimizer.param_groups:
                    group["lr"] = warmup_cosine(step + 1, 0.0, rate, 0.0, warmup, num_steps + 1)
                rows = kept[index]
                self.model.train()
                optimizer.zero_grad(set_to_none=True)
                loss = _loss(stage.loss, self.model(inputs[rows]), labels[rows], step)
                grads = torch.autograd.grad(loss, parameters)
                for parameter, grad in zip(parameters, grads, strict=True):
                    parameter.grad = grad
                optimizer.step()
                if len(held) and (step + 1) % every == 0:
                    value = score()
                    if value > best:
                        best, best_state = value, copy.deepcopy(self.model.state_dict())
                    if stopping.ends(value):
                        break
        if len(held) and best > -np.inf:
            self.model.load_state_dict(best_state)
        self.history_.append({"source": stage.source, "labels": len(labels), "steps": step + 1, "held_out": len(held)})

    def _num_steps(self, num_rows: int, has_held: bool) -> int:
        settings = self.settings
        if not has_held:
            return settings.few_steps
        epochs = max(settings.total_points / num_rows, 1)
        if settings.max_epochs is not None:
            epochs = min(epochs, settings.max_epochs)
        return max(1, round(epochs * -(-num_rows // settings.batch_size)))

    def _batches(self, num_rows: int, num_steps: int, number: int) -> Any:
        taken, epoch = 0, 0
        while taken < num_steps:
            order = torch.randperm(num_rows, generator=generator(self.seed, "order", number, epoch))
            for index in order.split(self.settings.batch_size)[: num_steps - taken]:
                yield index
                taken += 1
            epoch += 1

    def _parameters(self, modules: str) -> list[nn.Parameter]:
        if modules == "all":
            return [each for each in self.model.parameters() if each.requires_grad]
        self._head()
        chosen = [
            each for name, each in self.model.named_parameters() if name.startswith("head.") == (modules == "head")
        ]
        return [each for each in chosen if each.requires_grad]

    def _head(self) -> nn.Linear:
        head = getattr(self.model, "head", None)
        if not isinstance(head, nn.Linear):
            raise InputError("the model has no linear layer named head; give one, or train all modules.")
        return head

    def _reinit_head(self, number: int) -> None:
        head = self._head()
        draws = generator(self.seed, "head", number)
        with torch.no_grad():
            head.weight.normal_(0.0, 0.01 / head.in_features**0.5, generator=draws)
            if head.bias is not None:
                head.bias.zero_()


class _Stopping:
    """Counts scores in a row that do not beat the best by enough."""

    def __init__(self, patience: int, min_improvement: float) -> None:
        self.patience, self.min_improvement = patience, min_improvement
        self.best, self.count = -np.inf, 0

    def ends(self, value: float) -> bool:
        if value >= self.best + self.min_improvement:
            self.best, self.count = value, 0
        else:
            self.count += 1
        return self.count >= self.patience


def _hold_out(num_labels: int, fraction: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Positions held out and kept, both int64."""
    order = torch.from_numpy(rng.permutation(num_labels))
    count = 0 if num_labels < FEWEST_TO_HOLD_OUT else max(2, int(fraction * num_labels))
    return order[:count], order[count:]


def _scorer(model: nn.Module, inputs: Tensor, labels: Tensor, metric: str) -> Callable[[], float]:
    classes = (labels > 0.5).numpy()
    by_ranks = metric == "auroc" and 0 < classes.sum() < len(classes)

    def score() -> float:
        probs = _probs(model, inputs)
        if by_ranks:
            return roc_auc(classes, probs[:, 1].double().numpy())
        logs = probs.clamp_min(1e-12).log()
        return float(((1 - labels) * logs[:, 0] + labels * logs[:, 1]).mean())

    return score


@torch.no_grad()
def _probs(model: nn.Module, inputs: Tensor) -> Tensor:
    model.eval()
    return model(inputs).softmax(dim=1)


def _loss(name: str, logits: Tensor, labels: Tensor, step: int) -> Tensor:
    if name == "logconf":
        return log_confidence_loss(logits, labels, step)
    return log_confidence_loss(logits, labels, step, aux_coef=0.0, subtract_label_entropy=name == "kl")
