"""Plain cross-entropy of every labelled pixel: the baseline that segmentation methods are held against."""

from torch import Tensor

from labelwise.card import Card
from labelwise.errors import InputError
from labelwise.numerics.losses import pixel_cross_entropy
from labelwise.training.data import Batch
from labelwise.training.recipe import BuildNetwork, Recipe


class SegmentationCrossEntropy(Recipe):
    """Minimise the mean cross-entropy of the labelled pixels, their labels smoothed where ``smoothing`` is above 0."""

    def __init__(self, build_network: BuildNetwork, *, smoothing: float = 0.0) -> None:
        super().__init__(build_network)
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing is {smoothing}; give a number from 0 to below 1")
        self.smoothing = smoothing

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch's labelled pixels; 0 where none is."""
        return pixel_cross_entropy(self.network(batch["inputs"]), batch["labels"], smoothing=self.smoothing)


RECIPES = {"segmentation-cross-entropy": SegmentationCrossEntropy}

CARD = Card(
    number=None,
    slug="segmentation-cross-entropy",
    title="Cross-entropy of pixels (baseline)",
    task="segmentation",
    fault="none: takes the label of every pixel as right",
    recipe=("segmentation-cross-entropy",),
    idea="Fit the given class of every pixel; with smoothing, move a share of it to all classes alike.",
    paper="Long et al., Fully convolutional networks for semantic segmentation, CVPR 2015",
    link="https://arxiv.org/abs/1411.4038",
    authors_code="",
    licence="",
    defaults={"smoothing": 0.0},
    cost="one forward and one backward pass a batch",
)
