"""Tiny data, networks and estimators of each task for the settings table in `recipes.py`."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labelwise import Classifier, Regressor, Segmenter
from labelwise.data.scenes import draw_scenes
from labelwise.networks.build import build_network
from labelwise.networks.unet import build_unet
from labelwise.training.data import TrainingData
from labelwise.training.task import REGRESSION, SEGMENTATION


class Toy(Protocol):
    """One task in small; `size` is the number of examples of each kind."""

    good_score: float  # of unseen data after training: clearly better than chance

    def data(self, network: str, seed: int, size: int) -> TrainingData: ...

    def network(self, name: str, data: TrainingData) -> nn.Module: ...

    def alike(self, data: TrainingData) -> TrainingData:
        """The same inputs with labels that are all the same."""
        ...

    def are_alike(self, outputs: Tensor) -> bool:
        """Whether a model trained on `alike` data says what all labels say."""
        ...

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        """Labels that must be refused, by a part of the message."""
        ...

    def estimator(self, recipe: str, network: str, **options: Any) -> Any:
        """The task's estimator, which fits what `arrays` gives."""
        ...

    def arrays(self, data: TrainingData) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Points:
    """Three well separated classes of (n, 6) numbers or (n, 1, 8, 8) pictures."""

    good_score: float = 0.8  # chance is a third
    num_classes: int = 3

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(self.num_classes).repeat(size)
        shape = (1, 8, 8) if network == "cnn" else (6,)
        centres = 2 * torch.randn(self.num_classes, *shape, generator=torch.Generator().manual_seed(99))
        noise = torch.randn(len(labels), *shape, generator=generator)
        return TrainingData(centres[labels] + noise, labels, self.num_classes)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Tensor)
        return build_network(name, data.inputs.shape[1:], self.num_classes)

    def alike(self, data: TrainingData) -> TrainingData:
        return TrainingData(data.inputs, torch.zeros_like(data.labels), self.num_classes)

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs.argmax(dim=1) == 0).double().mean() > 0.8)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        wrong, unlabelled = data.labels.clone(), data.labels.clone()
        wrong[5], unlabelled[5] = self.num_classes, -1
        return {"example 5 has label 3": wrong, "example 5 has label -1": unlabelled}

    def estimator(self, recipe: str, network: str, **options: Any) -> Classifier:
        return Classifier(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        inputs = data.inputs.numpy()
        return inputs[:, 0] if inputs.ndim == 4 else inputs, data.labels.numpy()


POINTS = Points()


@dataclass(frozen=True)
class Scenes:
    """Scenes of 12 x 11 pixels with zeros and ones on background; the last row of every mask is not labelled."""

    good_score: float = 0.4  # background everywhere scores below a third
    num_classes: int = 3

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        drawn = draw_scenes(
            3 * size,
            np.random.default_rng(seed),
            size=12,
            kinds=(0, 1),
            glyph_sizes=(8, 9),
            most_objects=1,
            texture=0.05,
            blur=0.5,
            noise=0.05,
        )
        masks = torch.from_numpy(drawn.masks[:, :, :11].copy())
        masks[:, -1] = 255
        images = torch.from_numpy(drawn.images[:, None, :, :11].copy())
        return TrainingData(images, masks, self.num_classes, task=SEGMENTATION)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Tensor)
        return build_unet(name, data.inputs.shape[1:], self.num_classes)

    def alike(self, data: TrainingData) -> TrainingData:
        return replace(data, labels=torch.ones_like(data.labels))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs.argmax(dim=1) == 1).double().mean() > 0.8)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        wrong, negative = data.labels.clone(), data.labels.clone()
        wrong[5, 2, 3], negative[5, 2, 3] = self.num_classes, -1
        return {
            "mask 5 has label 3 at row 2, column 3": wrong,
            "mask 5 has label -1 at row 2, column 3": negative,
            r"\(n, height, width\)": data.labels[:, 0],
        }

    def estimator(self, recipe: str, network: str, **options: Any) -> Segmenter:
        return Segmenter(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        return data.inputs[:, 0].numpy(), data.labels.numpy()


SCENES = Scenes()


@dataclass(frozen=True)
class Numbers:
    """Numbers that follow from (n, 6) inputs, (n,) for one output; inputs may be (n, 1, 8, 8) pictures."""

    good_score: float = 0.4  # R^2; the mean of the labels scores 0
    num_outputs: int = 1

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        shape = (1, 8, 8) if network == "cnn" else (6,)
        inputs = torch.randn(3 * size, *shape, generator=generator)
        slopes = torch.randn(6, self.num_outputs, generator=torch.Generator().manual_seed(99)) / 2
        signal = inputs.flatten(1)[:, :6] @ slopes + 0.3
        labels = signal + 0.1 * torch.randn(signal.shape, generator=generator)
        return TrainingData(inputs, labels.squeeze(1), self.num_outputs, task=REGRESSION)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Tensor)
        return build_network(name, data.inputs.shape[1:], self.num_outputs)

    def alike(self, data: TrainingData) -> TrainingData:
        return replace(data, labels=torch.ones_like(data.labels))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs - 1).abs().mean() < 0.5)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        unknown, infinite = data.labels.clone(), data.labels.clone()
        unknown[5], infinite[5] = float("nan"), float("inf")
        return {
            "example 5 has label nan": unknown,
            "example 5 has label inf": infinite,
            "labels are of type torch.int64": data.labels.long(),
            "the network has . outputs": torch.zeros(len(data), 7),
        }

    def estimator(self, recipe: str, network: str, **options: Any) -> Regressor:
        return Regressor(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        return data.inputs.numpy(), data.labels.numpy()


NUMBERS = Numbers()
TWO_NUMBERS = Numbers(num_outputs=2)
