"""Stages of a training: schedule and optimisers begin anew, so that a stage from the first weights is a training."""

import copy

import pytest
import torch

from labelwise.methods.classification.cross_entropy import CrossEntropy
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.recipe import BuildNetwork
from labelwise.training.seeding import seeded
from labelwise.training.settings import Settings
from toys import POINTS


class Twice(CrossEntropy):
    """Two stages of equal length, the second from the first weights again."""

    def __init__(self, build_network: BuildNetwork) -> None:
        super().__init__(build_network)
        self.initial = copy.deepcopy(self.network).requires_grad_(False)

    def begin(self, data: TrainingData, validation: TrainingData | None, epochs: int) -> None:
        self.half = epochs // 2

    def stage(self, epoch: int, epochs: int) -> tuple[int, int]:
        return (0, self.half) if epoch < self.half else (self.half, epochs)

    def begin_epoch(self, epoch: int) -> None:
        if epoch == self.half:
            self.network.load_state_dict(self.initial.state_dict())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stage_from_the_first_weights_is_a_training_of_its_own(optimizer: str) -> None:
    data = POINTS.data("mlp-12", 0, 8)
    found = []
    for kind, epochs in ((CrossEntropy, 4), (Twice, 8)):
        with seeded(0):
            recipe = kind(lambda: POINTS.network("mlp-12", data))
        settings = Settings(
            epochs=epochs, batch_size=len(data), optimizer=optimizer, warmup_epochs=1, accelerator="cpu"
        )
        history = train(recipe, data, settings).history
        found.append((recipe.network.state_dict(), [row["learning_rate"] for row in history]))
    (once, rates), (again, both_rates) = found
    assert both_rates == rates * 2
    for name, value in once.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-5)
