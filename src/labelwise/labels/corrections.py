"""The one answer of whatever corrects or doubts labels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Corrections(NamedTuple):
    """Targets, weights and mask of n examples, as arrays or tensors of one kind.

    ``targets`` (n, classes) float rows that may sum to less than 1 (partial mass: nobody renormalises them);
    ``weights`` (n,) float, how much an example should count; ``mask`` (n,) bool, whether it should count at all.
    Of masks there is one a pixel: (n, classes, H, W), where one-hot targets may be bool, (n, H, W) and (n, H, W).
    """

    targets: Any
    weights: Any
    mask: Any

    def spread(self, rows: NDArray[np.int64], count: int) -> "Corrections":
        """Return them as arrays of ``count`` examples, at positions ``rows`` (n,); the others get 0 and False."""
        parts = [np.asarray(part) for part in self]
        whole = [np.zeros((count, *part.shape[1:]), part.dtype) for part in parts]
        for target, part in zip(whole, parts, strict=True):
            target[rows] = part
        return Corrections(*whole)
