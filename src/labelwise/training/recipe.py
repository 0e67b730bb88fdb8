"""A recipe: all that a method trains and remembers, and what it does in each step."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from labelwise.labels.corrections import Corrections
from labelwise.training.data import Batch, TrainingData, epoch_batches, in_order

BuildNetwork = Callable[[], nn.Module]


class Optimise(Protocol):
    """One optimiser step: clear the gradients, go backward, step. Name the network where there are several."""

    def __call__(self, loss: Tensor, network: str = "network") -> None:
        """Take the step."""


class Recipe(nn.Module):
    """Base of every method that trains by gradient.

    A recipe owns its networks, memories and teachers as submodules and buffers, so all of it is saved and moved.
    Fill in ``loss`` (one optimiser, the common case) or ``step`` (several networks or backward passes).
    ``generator`` is set by the loop anew in each epoch; every random draw of the method comes from it.
    """

    passes_per_epoch = 1

    def __init__(self, build_network: BuildNetwork) -> None:
        super().__init__()
        self.network = build_network()
        self.generator = torch.Generator()

    def __getstate__(self) -> dict[str, Any]:
        # A generator does not survive the way to another process; the loop makes one in each epoch anyhow.
        return {name: value for name, value in self.__dict__.items() if name != "generator"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.generator = torch.Generator()

    def networks(self) -> list[str]:
        """Names of the submodules that are trained, each with an optimiser of its own."""
        return ["network"]

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Set up what depends on the data (per-example memory); called once, before a checkpoint is read."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before a 0-based epoch."""

    def begin_pass(self, number: int) -> None:
        """Called before each pass over the data within an epoch (``passes_per_epoch`` of them)."""

    def batches(self, num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """Indices (B,) of each batch of a pass: all examples shuffled, unless the method needs others together."""
        return epoch_batches(num_examples, batch_size, generator)

    def own_share(self, index: Tensor, rank: int, world_size: int) -> Tensor:
        """One process's part of a global batch (B,): every world-size-th example, of a smaller batch all."""
        return index if len(index) < world_size else index[rank::world_size]

    def stage(self, epoch: int, epochs: int) -> tuple[int, int]:
        """First epoch and end of the stage that holds ``epoch``; each has a schedule and optimisers of its own."""
        return 0, epochs

    def learning_rate_factor(self, epoch: int) -> float:
        """A factor on top of the schedule, for methods with stages."""
        return 1.0

    def loss(self, batch: Batch) -> Tensor | tuple[Tensor, ...]:
        """Return the batch's loss, or a NamedTuple of terms whose first is the loss."""
        raise NotImplementedError(f"{type(self).__name__} fills in neither loss nor step")

    def step(self, batch: Batch, optimise: Optimise) -> dict[str, Tensor]:
        """Take the step(s) of one batch; return detached terms for the log."""
        terms = self.loss(batch)
        if isinstance(terms, Tensor):
            optimise(terms)
            return {"loss": terms.detach()}
        optimise(terms[0])
        names: tuple[str, ...] = getattr(terms, "_fields", ("loss",))
        return {name: term.detach() for name, term in zip(names, terms, strict=True)}

    def end_epoch(self, epoch: int) -> None:
        """Called after a 0-based epoch."""

    def predict(self, inputs: Tensor) -> Tensor:
        """Return outputs for new inputs (B, ...): for classification logits (B, classes)."""
        return self.network(inputs)

    def corrections(self) -> Corrections | None:
        """What training learnt of the training labels, or None where the method keeps no such memory."""
        return None

    def extra_manifest(self) -> dict[str, Any]:
        """Small settings, chosen while training, that the report should show."""
        return {}


class GraphRecipe(Recipe):
    """Base of methods for the nodes of a graph: all of it is one batch, in every process, as nodes need neighbours."""

    def batches(self, num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """All nodes in order, whatever the size of a batch is."""
        return in_order(num_examples, num_examples)

    def own_share(self, index: Tensor, rank: int, world_size: int) -> Tensor:
        """Every process has all nodes."""
        return index
