"""Draw rows in proportion to a Gaussian kernel of the distance of their labels, without an n x n matrix."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from labelwise.errors import InputError

MOST_DRAWS_AT_ONCE = 512


class Boxes(NamedTuple):
    """Labels parted into small boxes: ``rows`` (n,) int64 box after box, where each box starts, and its extent.

    ``starts`` and ``sizes`` (boxes,) int64, ``low`` and ``high`` (boxes, K): the box's smallest and largest labels.
    """

    rows: Tensor
    starts: Tensor
    sizes: Tensor
    low: Tensor
    high: Tensor


class CMixupSampler:
    """Partners j of rows i with probability in proportion to ``exp(-|y_i - y_j|^2 / (2 bandwidth^2))``, j = i included.

    ``y`` (n,) or (n, K) float without NaN; ``bandwidth`` in units of y, infinity for partners that are uniform.
    ``generator`` makes the draws, unless one is given with them. Partners of ``chunk_size`` rows are drawn at once.

    Exact by rejection: the labels lie in about sqrt(n) boxes of equal counts. A box is drawn by its count times the
    kernel at its nearest corner, a row of it at random, and the row is kept with the probability that makes up for the
    bound. Only where the float64 kernel is itself 0 (beyond 38 bandwidths) is a row never drawn. Set-up costs
    O(n log n), a partner O(sqrt(n) K) and a few draws; memory is O(n K).
    """

    def __init__(
        self, y: Tensor, bandwidth: float, generator: torch.Generator | None = None, chunk_size: int = 1024
    ) -> None:
        self.y = label_rows(y)
        self.bandwidth = check_bandwidth(bandwidth)
        self.generator = generator
        self.chunk_size = chunk_size
        self.boxes = part_into_boxes(self.y)

    def probabilities(self, i: int) -> Tensor:
        """Row i of the matrix of partner probabilities, (n,) float64. Cost: O(n K)."""
        return torch.softmax(-half_squares(self.y - self.y[i], self.bandwidth), dim=0)

    def sample_partners(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one partner for each of ``indices`` (B,) int64, independently: (B,) int64."""
        generator = generator or self.generator
        if generator is None:
            raise ValueError("give a generator, to the sampler or with the draw")
        if not len(indices):
            return indices.clone()
        return torch.cat([self._sample(self.y[chunk], generator) for chunk in indices.split(self.chunk_size)])

    def _sample(self, anchors: Tensor, generator: torch.Generator) -> Tensor:
        boxes = self.boxes
        corner = torch.zeros(len(anchors), len(boxes.sizes), dtype=torch.float64)  # (B, boxes), half squared distance
        for low, high, value in zip(boxes.low.T, boxes.high.T, anchors.T, strict=True):
            nearest = value.unsqueeze(1).clamp(low, high)  # (B, boxes)
            corner += ((nearest - value.unsqueeze(1)) / self.bandwidth).square() / 2
        bounds = (boxes.sizes * torch.exp(-corner)).cumsum(dim=1)  # (B, boxes)

        partners = torch.empty(len(anchors), dtype=torch.int64)
        left, draws = torch.arange(len(anchors)), 4
        while len(left):
            where, which, keep = torch.rand(3, len(left), draws, dtype=torch.float64, generator=generator)
            sums = bounds[left]
            box = torch.searchsorted(sums, where * sums[:, -1:], right=True).clamp(max=len(boxes.sizes) - 1)
            row = boxes.rows[boxes.starts[box] + (which * boxes.sizes[box]).long()]  # (left, draws)
            exact = half_squares(self.y[row] - anchors[left].unsqueeze(1), self.bandwidth)
            kept = keep < torch.exp(corner[left].gather(1, box) - exact)
            found = kept.any(dim=1)
            first = kept.int().argmax(dim=1, keepdim=True)
            partners[left[found]] = row.gather(1, first)[found, 0]
            # Each round is a fresh set of trials, so more of them at once leaves the law as it is.
            left, draws = left[~found], min(4 * draws, MOST_DRAWS_AT_ONCE)
        return partners


def label_rows(y: Tensor) -> Tensor:
    """Return labels (n,) or (n, K) as (n, K) float64; raises InputError for none, NaN and infinity."""
    labels = torch.as_tensor(y).double()
    if labels.ndim not in (1, 2) or not labels.numel():
        raise InputError(f"labels have shape {tuple(labels.shape)}; give (n,) or (n, outputs) with at least one row")
    labels = labels.reshape(len(labels), -1)
    wrong = ~torch.isfinite(labels).all(dim=1)
    if wrong.any():
        row = int(wrong.int().argmax())
        raise InputError(f"labels row {row} is {labels[row].tolist()}; leave out rows whose label is not known")
    return labels


def check_bandwidth(bandwidth: float) -> float:
    """Return it as a float; raises InputError unless it is above 0."""
    if not bandwidth > 0:
        raise InputError(f"bandwidth is {bandwidth}; give a number above 0 in units of the labels")
    return float(bandwidth)


def half_squares(gaps: Tensor, bandwidth: float) -> Tensor:
    """``|gap|^2 / (2 bandwidth^2)`` over the last axis, without underflow of a small bandwidth's square."""
    return (gaps / bandwidth).square().sum(dim=-1) / 2


def part_into_boxes(y: Tensor) -> Boxes:
    """Halve the rows of ``y`` (n, K) along the axis of largest spread until there are about sqrt(n) boxes."""
    parts = [torch.arange(len(y))]
    for _ in range(round(math.log2(len(y)) / 2)):
        parts = [half for rows in parts for half in _halves(y, rows)]
    sizes = torch.tensor([len(rows) for rows in parts])
    low = torch.stack([y[rows].amin(dim=0) for rows in parts])
    high = torch.stack([y[rows].amax(dim=0) for rows in parts])
    return Boxes(torch.cat(parts), sizes.cumsum(0) - sizes, sizes, low, high)


def _halves(y: Tensor, rows: Tensor) -> list[Tensor]:
    if len(rows) < 2:
        return [rows]
    labels = y[rows]
    axis = int((labels.amax(dim=0) - labels.amin(dim=0)).argmax())
    ordered = rows[labels[:, axis].argsort(stable=True)]
    middle = len(rows) // 2
    return [ordered[:middle], ordered[middle:]]
