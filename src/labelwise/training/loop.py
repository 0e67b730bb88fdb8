"""The training loop: runs any recipe on any device, and goes on after a kill as if nothing had happened."""

import copy
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException

from labelwise.errors import InputError
from labelwise.memory.gather import part
from labelwise.numerics.schedules import learning_rate_factor
from labelwise.training.checkpoint import (
    set_learning_rate,
)
from labelwise.training.data import TrainingData
from labelwise.training.predict import predicted_blocks
from labelwise.training.recipe import Recipe
from labelwise.training.resume import Row, TrainResult, restore_training, save_training, training_identity
from labelwise.training.seeding import derive_seed, generator, seeded
from labelwise.training.settings import Settings

Watch = Callable[[Recipe, int], Row]

REFUSAL = "refusal.txt"
# Precisions under which the weights themselves are of another type than float32.
WEIGHT_TYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


@dataclass(frozen=True)
class Checkpointing:
    """Where to keep checkpoints, how many seconds apart at least, and whether to go on from one that is there."""

    folder: Path
    every_seconds: float = 10.0
    resume: bool = False


def train(
    recipe: Recipe,
    data: TrainingData,
    settings: Settings,
    *,
    validation: TrainingData | None = None,
    watch: Watch | None = None,
    checkpointing: Checkpointing | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train a recipe in place; return its history.

    ``validation`` is measured after each epoch against its given labels; ``watch(recipe, epoch)`` adds numbers of
    the caller's to the row; ``on_epoch`` hears each finished row. With several devices the work is spread over
    processes by Lightning Fabric and ``watch`` and ``on_epoch`` must be importable functions.
    A run resumed from a checkpoint ends with the same bytes as one that was never stopped (same machine and versions).
    Raises InputError where there is nothing to learn from, labels are not of the task's kind, or the loss stops being
    finite.
    """
    _check(data)
    arguments = (recipe, data, settings, validation, watch, checkpointing, on_epoch)
    if settings.devices == 1:
        return _train(_fabric(settings), *arguments)
    recipe.begin(data, validation, settings.epochs)
    with tempfile.TemporaryDirectory() as folder:
        _launch(_fabric(settings), arguments, Path(folder))
        result = restore_training(recipe, {}, Path(folder), {})
    recipe.eval()
    return result


def _check(data: TrainingData) -> None:
    if len(data) == 0:
        raise InputError("there are no labelled training examples; give at least one")
    if len(data.inputs) != len(data):  # type: ignore[arg-type]
        raise InputError(f"there are {len(data.inputs)} inputs but {len(data)} labels; give one label an input")  # type: ignore[arg-type]
    data.task.check(data)


def _fabric(settings: Settings) -> Fabric:
    strategy = "auto" if settings.devices == 1 else "ddp_spawn"
    try:
        return Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=strategy,
            precision=settings.precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"accelerator {settings.accelerator!r} with {settings.devices} devices and precision "
            f"{settings.precision!r} cannot be had on this machine ({error}); accelerator 'auto' takes what there is"
        ) from error


def _launch(fabric: Fabric, arguments: tuple[Any, ...], folder: Path) -> None:
    """Train in several processes, which leave what they made in ``folder``: a queue would block on large results."""
    try:
        fabric.launch(partial(_train_and_part, arguments=arguments, folder=folder))
    except ProcessRaisedException:
        if (folder / REFUSAL).exists():
            raise InputError((folder / REFUSAL).read_text(encoding="utf-8")) from None
        raise


def _train_and_part(fabric: Fabric, arguments: tuple[Any, ...], folder: Path) -> None:
    _train_in_process(fabric, arguments, folder)
    part()


def _train_in_process(fabric: Fabric, arguments: tuple[Any, ...], folder: Path) -> None:
    # What comes to a process lies in memory shared with the others; each must step on weights of its own.
    recipe = copy.deepcopy(arguments[0])
    try:
        result = _train(fabric, recipe, *arguments[1:])
    except InputError as error:
        (folder / REFUSAL).write_text(str(error), encoding="utf-8")
        raise
    if fabric.is_global_zero:
        save_training(recipe, {}, result, folder, {})


def _train(
    fabric: Fabric,
    recipe: Recipe,
    data: TrainingData,
    settings: Settings,
    validation: TrainingData | None,
    watch: Watch | None,
    checkpointing: Checkpointing | None,
    on_epoch: Callable[[Row], None] | None,
) -> TrainResult:
    recipe.begin(data, validation, settings.epochs)
    # Before a checkpoint is read: weights of another type would round what it holds.
    recipe.to(device=fabric.device, dtype=WEIGHT_TYPES.get(settings.precision))
    plain = {name: getattr(recipe, name) for name in recipe.networks()}
    optimizers = {name: _optimizer(network, settings) for name, network in plain.items()}
    identity = training_identity(recipe, data, settings)
    result = TrainResult()
    if checkpointing is not None and checkpointing.resume:
        result = restore_training(recipe, optimizers, checkpointing.folder, identity)

    for name, network in plain.items():
        module, optimizer = fabric.setup(network, optimizers[name])
        setattr(recipe, name, module)
        optimizers[name] = optimizer

    recipe.train()
    saved_at = time.monotonic()
    for epoch in range(len(result.history), settings.epochs):
        if _out_of_patience(result, settings):
            break
        with seeded(_epoch_seed(fabric, settings, epoch)):
            row = _run_epoch(fabric, recipe, optimizers, data, settings, epoch)
        row |= _measure(recipe, validation, watch, epoch)
        result.history.append(row)
        if validation is not None and _is_best(result):
            result.best_epoch, result.best_state = epoch, _copy_state(recipe)
        last = epoch + 1 == settings.epochs
        if checkpointing is not None and (last or time.monotonic() - saved_at >= checkpointing.every_seconds):
            if fabric.is_global_zero:
                save_training(recipe, optimizers, result, checkpointing.folder, identity)
            saved_at = time.monotonic()
        if on_epoch is not None and fabric.is_global_zero:
            on_epoch(row)

    for name, network in plain.items():
        setattr(recipe, name, network)
    recipe.to("cpu")
    recipe.eval()
    return result


def _epoch_seed(fabric: Fabric, settings: Settings, epoch: int) -> int:
    """Processes see different examples, so their layers draw different masks."""
    rank = [fabric.global_rank] if fabric.global_rank else []
    return derive_seed(settings.seed, "epoch", epoch, *rank)


def _run_epoch(
    fabric: Fabric,
    recipe: Recipe,
    optimizers: dict[str, torch.optim.Optimizer],
    data: TrainingData,
    settings: Settings,
    epoch: int,
) -> Row:
    start, end = recipe.stage(epoch, settings.epochs)
    factor = learning_rate_factor(settings.schedule, epoch - start, end - start, settings.warmup_epochs)
    rate = settings.learning_rate * factor * recipe.learning_rate_factor(epoch)
    for optimizer in optimizers.values():
        set_learning_rate(optimizer, rate)
        if epoch == start > 0:
            optimizer.state.clear()
    recipe.generator = generator(settings.seed, "recipe", epoch)
    recipe.begin_epoch(epoch)

    terms: dict[str, list[Tensor]] = {}
    weights: dict[str, list[float]] = {}
    for number in range(recipe.passes_per_epoch):
        recipe.begin_pass(number)
        order = recipe.batches(len(data), settings.batch_size, generator(settings.seed, "order", epoch, number))
        shares = [recipe.own_share(index, fabric.global_rank, fabric.world_size) for index in order]
        for index, batch in zip(order, data.batches(shares, seed=settings.seed + epoch), strict=True):
            optimise = _Optimise(fabric, recipe, optimizers, settings, len(batch["index"]) / len(index))
            moved = batch if fabric.device.type == "cpu" else fabric.to_device(batch)
            # Added up after the epoch: to fetch a number from an accelerator in each step would make it wait.
            for name, term in recipe.step(moved, optimise).items():
                terms.setdefault(name, []).append(term)
                weights.setdefault(name, []).append(optimise.weight)
    recipe.end_epoch(epoch)

    row: Row = {"epoch": epoch, "learning_rate": rate}
    for name, values in terms.items():
        numbers = torch.stack([value.double().cpu() for value in values])
        total = numbers @ torch.tensor(weights[name], dtype=torch.float64)
        row[name] = float(torch.as_tensor(fabric.all_reduce(total))) / len(values)
    if not all(math.isfinite(value) for value in row.values()):
        raise InputError(
            f"training diverged in epoch {epoch + 1}: the loss is no longer a finite number; "
            f"lower learning_rate (now {settings.learning_rate}) or set gradient_clip"
        )
    return row


class _Optimise:
    """One optimiser step; the loss weighs as much as its share of the global batch."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        optimizers: dict[str, torch.optim.Optimizer],
        settings: Settings,
        share: float,
    ) -> None:
        self.fabric, self.recipe, self.optimizers, self.settings = fabric, recipe, optimizers, settings
        self.weight = 1.0 if share == 1.0 else share * fabric.world_size

    def __call__(self, loss: Tensor, network: str = "network") -> None:
        optimizer = self.optimizers[network]
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss if self.weight == 1.0 else loss * self.weight)
        if self.settings.gradient_clip is not None:
            module = getattr(self.recipe, network)
            self.fabric.clip_gradients(module, optimizer, max_norm=self.settings.gradient_clip)
        optimizer.step()


def _optimizer(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def _measure(recipe: Recipe, validation: TrainingData | None, watch: Watch | None, epoch: int) -> Row:
    row: Row = {}
    if validation is not None:
        row["validation_score"] = validation.task.score(predicted_blocks(recipe, validation))
    if watch is not None:
        row |= watch(recipe, epoch)
    return row


def _is_best(result: TrainResult) -> bool:
    """Strictly better than every epoch before: of equal epochs the first is kept."""
    scores = [row["validation_score"] for row in result.history]
    return len(scores) == 1 or scores[-1] > max(scores[:-1])


def _out_of_patience(result: TrainResult, settings: Settings) -> bool:
    if settings.early_stopping is None or result.best_epoch is None:
        return False
    return len(result.history) - 1 - result.best_epoch >= settings.early_stopping


def _copy_state(recipe: Recipe) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in recipe.state_dict().items()}
