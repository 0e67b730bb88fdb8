"""The one answer of whatever corrects or doubts labels."""

from typing import Any, NamedTuple


class Corrections(NamedTuple):
    """Targets, weights and mask of n examples, as arrays or tensors of one kind.

    ``targets`` (n, classes) float rows that may sum to less than 1 (partial mass: nobody renormalises them);
    ``weights`` (n,) float, how much an example should count; ``mask`` (n,) bool, whether it should count at all.
    """

    targets: Any
    weights: Any
    mask: Any
