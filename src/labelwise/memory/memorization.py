"""When a network begins to memorise the wrong labels of a class, from its scores on the training labels."""

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.numerics.learning_curves import correction_epoch


class MemorizationDetector(nn.Module):
    """Says class by class when the network starts to memorise, from its overlap with the training masks.

    ``update`` takes the IoU of an epoch; a class that became active stays so. The background (class 0) never does.
    ``common``: all classes start together, by the mean of their curves. What was seen is held in buffers.
    """

    curves: Tensor
    seen: Tensor
    active: Tensor

    def __init__(
        self,
        num_classes: int,
        n_epochs: int,
        r: float = 0.9,
        skip_flat: float | None = 0.1,
        interval: float = 1.0,
        common: bool = False,
    ) -> None:
        super().__init__()
        self.n_epochs, self.r, self.skip_flat, self.interval, self.common = n_epochs, r, skip_flat, interval, common
        self.register_buffer("curves", torch.zeros(n_epochs, num_classes, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("active", torch.zeros(num_classes, dtype=torch.bool))

    def update(self, iou_per_class: Tensor) -> Tensor:
        """Add the IoU (K,) of one more epoch; return which classes are active, (K,) bool."""
        count = int(self.seen) + 1
        if count > self.n_epochs:
            raise ValueError(f"epoch {count} is one more than the {self.n_epochs} that were announced")
        self.curves[count - 1] = iou_per_class
        self.seen += 1
        curves = self.curves[:count].cpu().double().numpy()
        if self.common:
            mean = curves[:, 1:].mean(axis=1) if curves.shape[1] > 1 else np.zeros(count)
            curves = np.broadcast_to(mean[:, None], curves.shape)
        for label in range(1, len(self.active)):
            if not self.active[label]:
                start = correction_epoch(curves[:, label], self.n_epochs, self.r, self.interval, self.skip_flat)
                self.active[label] = start is not None and count - 1 >= start
        return self.active
