"""Labels that training may rewrite: one entry an example, with a trail from which every rewriting can be taken back."""

from datetime import datetime
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.labels.layer import LabelLayer
from labelwise.labels.masks import IGNORE

# Columns of the trail.
MOMENT, PLACE, BEFORE, AFTER = range(4)


class Rewriting(NamedTuple):
    """What was rewritten at one moment: ``places`` (m,) in the flattened labels, and the labels there, (m,) each."""

    moment: int
    places: Tensor
    before: Tensor
    after: Tensor


class LabelStore(nn.Module):
    """Current labels (n, ...) of each example, 0 to 254 or 255 = not labelled, and who was what before.

    ``labels`` is a buffer of bytes; the trail is saved with it. ``given`` labels are where the trail leads back to.
    Under several processes each must rewrite the same. Cost: one byte a label, 32 bytes a change.
    """

    labels: Tensor

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.register_buffer("labels", given.to(torch.uint8))
        self._trail = torch.zeros((0, 4), dtype=torch.int64)

    def forward(self, index: Tensor) -> Tensor:
        """Return the current labels of examples ``index`` (B,), (B, ...) int64."""
        return self.labels[index].long()

    def given(self) -> Tensor:
        """Return the labels as they came, (n, ...) uint8."""
        labels = self.labels.flatten().clone()
        for past in reversed(self.history()):
            labels[past.places] = past.before.to(labels)
        return labels.view_as(self.labels)

    @torch.no_grad()
    def rewrite(self, labels: Tensor, moment: int) -> int:
        """Set all labels (n, ...) at a moment later than those before; return how many changed."""
        if len(self._trail) and moment <= int(self._trail[-1, MOMENT]):
            raise ValueError(f"moment {moment} is not after {int(self._trail[-1, MOMENT])}, the last one")
        before, after = self.labels.flatten(), labels.to(self.labels).flatten()
        places = torch.nonzero(before != after).squeeze(1)  # (m,)
        rows = torch.stack([torch.full_like(places, moment), places, before[places].long(), after[places].long()], 1)
        self._trail = torch.cat([self._trail, rows.cpu()])
        self.labels.copy_(after.view_as(self.labels))
        return len(places)

    @torch.no_grad()
    def undo(self) -> bool:
        """Take back the last rewriting; False where there is none."""
        history = self.history()
        if not history:
            return False
        last = history[-1]
        self.labels.view(-1)[last.places] = last.before.to(self.labels)
        self._trail = self._trail[: len(self._trail) - len(last.places)]
        return True

    def history(self) -> list[Rewriting]:
        """Return every rewriting that changed something, oldest first."""
        moments, counts = self._trail[:, MOMENT].unique_consecutive(return_counts=True)
        parts = self._trail.split(counts.tolist())
        return [
            Rewriting(int(moment), part[:, PLACE], part[:, BEFORE], part[:, AFTER])
            for moment, part in zip(moments, parts, strict=True)
        ]

    def to_layer(self, who: str, when: datetime | None = None) -> LabelLayer:
        """Return the flattened labels as a layer, one action a rewriting: to save, look through, and take back.

        Unlabelled is -1 there. Cost: one Python object a change.
        """
        layer = LabelLayer(_unlabelled(self.given()).ravel())
        for moment, places, _, after in self.history():
            layer.correct(places.numpy(), _unlabelled(after), who, f"epoch {moment}", when)
        return layer

    def get_extra_state(self) -> Tensor:
        """Return the trail, whose length a buffer could not change when it is read."""
        return self._trail

    def set_extra_state(self, state: Tensor) -> None:
        """Take the trail back."""
        self._trail = state.cpu()


def _unlabelled(labels: Tensor) -> np.ndarray:
    values = labels.cpu().numpy().astype(np.int64)
    return np.where(values == IGNORE, -1, values)
