"""Training data as the loop sees it: examples addressed by index, batches as dicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labelwise.networks.nodes import Nodes
from labelwise.training.task import CLASSIFICATION, Task


class Batch(TypedDict):
    """``index`` (B,) int64, the position in the data; ``inputs`` (B, ...); ``labels`` (B, ...) as the task has them."""

    index: Tensor
    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TrainingData:
    """Inputs and given labels of the examples to learn from.

    ``inputs`` is a tensor (n, ...), a map-style data set whose items are (input, label), or the nodes of a graph.
    ``labels`` (n, ...) are of the kind that ``task`` says, for classification (n,) int64, and (n, 0) where there are
    none. ``num_classes`` is the number of outputs a network has. With a data set, ``workers`` processes load items.
    """

    inputs: Tensor | Dataset | Nodes
    labels: Tensor
    num_classes: int
    workers: int = 0
    task: Task = CLASSIFICATION

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, indices: list[Tensor], *, seed: int = 0) -> Iterator[Batch]:
        """Yield one batch for each tensor of indices (B,) int64."""
        if not isinstance(self.inputs, Dataset):
            for index in indices:
                # Nodes go through as they are: only networks for graphs look into them.
                inputs = cast(Tensor, self.inputs[index])
                yield Batch(index=index, inputs=inputs, labels=self.labels[index])
            return
        loader: DataLoader = DataLoader(
            self.inputs,
            batch_sampler=[index.tolist() for index in indices],
            num_workers=self.workers,
            collate_fn=_collate_inputs,
            generator=torch.Generator().manual_seed(seed),
        )
        for index, inputs in zip(indices, loader, strict=True):
            yield Batch(index=index, inputs=inputs, labels=self.labels[index])


def _collate_inputs(items: list[Any]) -> Tensor:
    return torch.stack([torch.as_tensor(item[0]) for item in items])


def epoch_batches(num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffle 0..n-1 into batches of indices; a last batch of one example joins the one before it.

    One example has no batch statistics, so BatchNorm would refuse it.
    """
    batches = list(torch.randperm(num_examples, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def in_order(num_examples: int, batch_size: int) -> list[Tensor]:
    """Batches of indices 0..n-1 in order."""
    return list(torch.arange(num_examples).split(batch_size))
