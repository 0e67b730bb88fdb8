"""One running target per training example."""

import torch
from torch import Tensor, nn

from labelwise.memory.gather import gather_rows


class TargetMemory(nn.Module):
    """Running average of an example's predictions, ``T[i] <- momentum T[i] + (1 - momentum) p_i``.

    ``targets`` is a buffer (examples, classes) float32 that starts at zero and is not bias-corrected: after k
    visits with the same p, a row is ``(1 - momentum^k) p``. Momentum 0 keeps the last prediction. Under several
    processes each writes the rows of all, so the memory is the same everywhere.
    """

    targets: Tensor

    def __init__(self, num_examples: int, num_classes: int, momentum: float) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum is {momentum}; it must lie in [0, 1)")
        self.momentum = momentum
        self.register_buffer("targets", torch.zeros(num_examples, num_classes))

    @torch.no_grad()
    def update(self, index: Tensor, probs: Tensor) -> Tensor:
        """Mix predictions ``probs`` (B, classes) into rows ``index`` (B,) int64; return those rows, detached."""
        all_index, all_probs = gather_rows(index, probs.detach().to(self.targets.dtype))
        # Few calls into torch, which are what a step of a small network consists of.
        rows = torch.lerp(all_probs, self.targets.index_select(0, all_index), self.momentum)  # (B, classes)
        self.targets.index_copy_(0, all_index, rows)
        return rows if all_index is index else self.targets[index]

    def forward(self, index: Tensor) -> Tensor:
        """Return the rows ``index`` (B,) as they stand, (B, classes)."""
        return self.targets[index]
