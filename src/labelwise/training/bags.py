"""What recipes that learn from bags share: whole bags in a batch, and in a process's share of it."""

import torch
from torch import Tensor

from labelwise.labels.bags import Bags, bags_of_rows
from labelwise.training.data import TrainingData
from labelwise.training.recipe import Recipe


class BagRecipe(Recipe):
    """Base of the recipes of the task ``bags``; labels (n, 2) int64 are the bag of a row and its count of positives.

    A bag is never parted: neither between batches nor between the processes that share one. Batches have about equally
    many rows, not bags, so a loss of bags should be a mean in which each weighs by its rows: then a row counts the same
    in every batch, and processes that share one take the step that one alone would take.
    """

    bags: Bags

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        """Note which rows belong together."""
        self.bags = bags_of_rows(data.labels.numpy())

    def batches(self, num_examples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
        """Shuffled bags, so many that they have about ``batch_size`` rows: a new batch begins where that is passed."""
        order, starts = (torch.from_numpy(part) for part in self.bags.members())
        shuffled = torch.randperm(len(self.bags), generator=generator)
        sizes = torch.from_numpy(self.bags.sizes)[shuffled]
        before = sizes.cumsum(0) - sizes  # (bags,) rows before each
        offset = torch.repeat_interleave(starts[shuffled] - before, sizes)  # (n,)
        rows = order[torch.arange(num_examples) + offset]
        lengths = torch.zeros(num_examples // batch_size + 1, dtype=torch.int64)
        lengths.scatter_add_(0, before // batch_size, sizes)
        return _without_single(list(rows.split(lengths[lengths > 0].tolist())))

    def own_share(self, index: Tensor, rank: int, world_size: int) -> Tensor:
        """Every world-size-th bag of a batch; a batch of fewer bags than processes is everybody's."""
        number = number_in_order(torch.from_numpy(self.bags.of_row)[index])  # (B,)
        return index if number[-1] + 1 < world_size else index[number % world_size == rank]


def number_in_order(bags: Tensor) -> Tensor:
    """Number the bags of a batch, of which each stands in one piece, 0, 1, ...: (B,) int64."""
    is_new = bags[1:] != bags[:-1]
    return torch.cat([is_new.new_zeros(1), is_new]).long().cumsum(0)


def bag_means(values: Tensor, number: Tensor) -> Tensor:
    """Mean of values (B, ...) over the rows of each bag, (bags, ...), for ``number`` (B,) from ``number_in_order``."""
    sizes = torch.bincount(number)
    sums = values.new_zeros(len(sizes), *values.shape[1:]).index_add_(0, number, values)
    return sums / sizes.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))


def bag_proportions(labels: Tensor, number: Tensor) -> Tensor:
    """Share of positives of each bag, (bags,) float32, from labels (B, 2) and ``number`` (B,)."""
    return bag_means(labels[:, 1].float(), number) / torch.bincount(number)


def _without_single(batches: list[Tensor]) -> list[Tensor]:
    """A last batch of one row joins the one before it, as BatchNorm would refuse it."""
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
