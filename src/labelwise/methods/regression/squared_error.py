"""Plain squared error: the baseline that regression methods are held against."""

from torch import Tensor

from labelwise.card import Card
from labelwise.training.data import Batch
from labelwise.training.recipe import Recipe


class SquaredError(Recipe):
    """Minimise the mean squared error."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch and the outputs."""
        outputs = self.network(batch["inputs"])  # (B, outputs)
        return (outputs - batch["labels"].reshape(outputs.shape)).square().mean()


RECIPES = {"squared-error": SquaredError}

CARD = Card(
    number=None,
    slug="squared-error",
    title="Squared error (baseline)",
    task="regression",
    fault="none: takes every number as right and every region of them as equally frequent",
    recipe=("squared-error",),
    idea="Fit the given numbers by least squares.",
    paper="Gauss, Theoria motus corporum coelestium, 1809",
    link="https://en.wikipedia.org/wiki/Least_squares",
    authors_code="",
    licence="",
    cost="one forward and one backward pass a batch",
)
