"""What a recipe predicts, a block of rows after the other."""

from collections.abc import Iterator

import torch
from torch import Tensor

from labelwise.networks.nodes import Nodes
from labelwise.training.data import TrainingData, in_order
from labelwise.training.recipe import Recipe

# So many labels are predicted at once: of masks of 240 x 180 pixels, six.
LABELS_A_BLOCK = 2**18


def predict_outputs(recipe: Recipe, data: TrainingData, *, batch_size: int | None = None) -> Tensor:
    """Return what the recipe predicts for every row (for classification logits (n, classes)), float32 on the CPU."""
    rows = [outputs for outputs, _ in predicted_blocks(recipe, data, batch_size=batch_size)]
    return torch.cat(rows) if rows else torch.zeros(0, data.num_classes)


@torch.no_grad()
def predicted_blocks(
    recipe: Recipe, data: TrainingData, *, batch_size: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield predictions float32 and given labels of a block of rows after the other, on the CPU.

    A block is of ``batch_size`` rows, or as many as ``rows_a_block`` says. The networks are in evaluation mode
    meanwhile and then left as they were.
    """
    was_training = {module: module.training for module in recipe.modules()}
    recipe.eval()
    device = next(recipe.parameters()).device
    for batch in data.batches(in_order(len(data), batch_size or rows_a_block(data))):
        yield recipe.predict(batch["inputs"].to(device)).float().cpu(), batch["labels"]
    for module, mode in was_training.items():
        module.training = mode


def rows_a_block(data: TrainingData) -> int:
    """How many rows are predicted at once: 512, fewer where a row's label is a whole mask, all nodes of a graph."""
    if isinstance(data.inputs, Nodes):
        return max(1, len(data))
    return max(1, min(512, LABELS_A_BLOCK // max(1, data.labels[:1].numel())))
