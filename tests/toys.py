"""Tiny data, networks and estimators of each task for the settings table in `recipes.py`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labelwise import TJEPA, BagClassifier, Classifier, MultiLabelClassifier, NodeClassifier, Regressor, Segmenter
from labelwise.data.scenes import draw_scenes
from labelwise.labels.bags import bags_of_rows, check_bags
from labelwise.networks.build import build_network
from labelwise.networks.graph import build_graph_network
from labelwise.networks.nodes import Nodes
from labelwise.networks.tabular import TabularEncoder
from labelwise.networks.unet import build_unet
from labelwise.training.data import TrainingData
from labelwise.training.task import BAGS, MULTILABEL, NODES, PRETRAINING, REGRESSION, SEGMENTATION


def changed(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Inputs of any kind with other numbers in them."""
    return Nodes(change(inputs.features), inputs.adjacency) if isinstance(inputs, Nodes) else change(inputs)


class Toy(Protocol):
    """One task in small; `size` is the number of examples of each kind."""

    good_score: float  # of unseen data after training: clearly better than chance

    def data(self, network: str, seed: int, size: int) -> TrainingData: ...

    def network(self, name: str, data: TrainingData) -> nn.Module: ...

    def alike(self, data: TrainingData) -> TrainingData:
        """The same inputs with labels that are all the same; without labels, rows that are."""
        ...

    def are_alike(self, outputs: Tensor) -> bool:
        """Whether a model trained on `alike` data says what all labels say, or the same of all rows."""
        ...

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        """Labels that must be refused, by a part of the message."""
        ...

    def estimator(self, recipe: str, network: str, **options: Any) -> Any:
        """The task's estimator, which fits what `arrays` gives."""
        ...

    def arrays(self, data: TrainingData) -> tuple[Any, ...]: ...


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
        return {f"example 5 has label {self.num_classes}": wrong, "example 5 has label -1": unlabelled}

    def estimator(self, recipe: str, network: str, **options: Any) -> Classifier:
        return Classifier(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        inputs = data.inputs.numpy()
        return inputs[:, 0] if inputs.ndim == 4 else inputs, data.labels.numpy()


POINTS = Points()
TWO_CLASSES = Points(num_classes=2)


@dataclass(frozen=True)
class Scenes:
    """Scenes of 12 x 11 pixels with zeros and ones on background; the last row of every mask is not labelled.

    With `few_masks` every second image has no mask.
    """

    good_score: float = 0.4  # background everywhere scores below a third
    num_classes: int = 3
    few_masks: bool = False

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
        if self.few_masks:
            masks[1::2] = 255
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
FEW_MASKS = Scenes(few_masks=True)


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


@dataclass(frozen=True)
class LabelSets:
    """Three labels that follow from (n, 6) numbers or (n, 8, 8, 8) pictures; a third of the entries is not known."""

    good_score: float = 0.75  # mean average precision; chance is a third
    num_classes: int = 3

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        shape = (8, 8, 8) if network == "cnn" else (6,)
        prototypes = 3 * torch.randn(self.num_classes, *shape, generator=torch.Generator().manual_seed(99))
        present = torch.rand(3 * size, self.num_classes, generator=generator) < 1 / 3
        inputs = torch.tensordot(present.float(), prototypes, dims=1)
        inputs = inputs + torch.randn(inputs.shape, generator=generator)
        unknown = torch.rand(present.shape, generator=generator) < 1 / 3
        labels = present.long().where(~unknown, -1)
        return TrainingData(inputs, labels, self.num_classes, task=MULTILABEL)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Tensor)
        return build_network(name, data.inputs.shape[1:], self.num_classes)

    def alike(self, data: TrainingData) -> TrainingData:
        return replace(data, labels=torch.ones_like(data.labels))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs > 0).double().mean() > 0.8)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        high, low = data.labels.clone(), data.labels.clone()
        high[5, 2], low[5, 1] = 2, -2
        return {
            "example 5 has label 2 in column 2": high,
            "example 5 has label -2 in column 1": low,
            "the network has 3 outputs": data.labels[:, :2],
            "torch.float32": data.labels.float(),
        }

    def estimator(self, recipe: str, network: str, **options: Any) -> MultiLabelClassifier:
        return MultiLabelClassifier(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        inputs = data.inputs.numpy()
        return np.moveaxis(inputs, 1, -1) if inputs.ndim == 4 else inputs, data.labels.numpy()


LABEL_SETS = LabelSets()


@dataclass(frozen=True)
class Graphs:
    """Nodes of three classes with (n, 6) numbers, most edges within a class; a fifth of the nodes is not labelled."""

    good_score: float = 0.8  # chance is a third
    num_classes: int = 3

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        classes = torch.arange(self.num_classes).repeat(size)
        count = len(classes)
        centres = 2 * torch.randn(self.num_classes, 6, generator=torch.Generator().manual_seed(99))
        features = centres[classes] + torch.randn(count, 6, generator=generator)
        chance = torch.where(classes[:, None] == classes, 4 / size, 0.5 / size)
        joined = (torch.rand(count, count, generator=generator) < chance).triu(1)
        adjacency = (joined | joined.T).float().to_sparse_coo().coalesce()
        labels = torch.where(torch.arange(count) % 5 == 4, -1, classes)
        return TrainingData(Nodes(features, adjacency), labels, self.num_classes, task=NODES)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Nodes)
        return build_graph_network(name, data.inputs.features.shape[1], self.num_classes)

    def alike(self, data: TrainingData) -> TrainingData:
        return replace(data, labels=torch.zeros_like(data.labels))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs.argmax(dim=1) == 0).double().mean() > 0.8)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        high, low = data.labels.clone(), data.labels.clone()
        high[5], low[5] = self.num_classes, -2
        return {
            "node 5 has label 3": high,
            "node 5 has label -2": low,
            "no node is labelled": torch.full_like(data.labels, -1),
        }

    def estimator(self, recipe: str, network: str, **options: Any) -> NodeClassifier:
        return NodeClassifier(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[Nodes, np.ndarray]:
        assert isinstance(data.inputs, Nodes)
        return data.inputs, data.labels.numpy()


GRAPHS = Graphs()


@dataclass(frozen=True)
class Groups:
    """Two separated classes of (n, 6) numbers in bags of seven rows, the first of one row."""

    good_score: float = 0.85  # the mean proportion everywhere scores 0.7

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.arange(3 * size)
        bag = (rows + 6) // 7
        share = torch.rand(int(bag.max()) + 1, generator=generator)
        positive = torch.rand(3 * size, generator=generator) < share[bag]
        centre = 3 * torch.randn(6, generator=torch.Generator().manual_seed(99))
        inputs = positive[:, None] * centre + torch.randn(3 * size, 6, generator=generator)
        counts = torch.bincount(bag, weights=positive.double())
        labels = check_bags(bag.numpy(), counts.numpy()).rows()
        return TrainingData(inputs, torch.from_numpy(labels), 1, task=BAGS)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        assert isinstance(data.inputs, Tensor)
        return build_network(name, data.inputs.shape[1:], 1)

    def alike(self, data: TrainingData) -> TrainingData:
        sizes = torch.bincount(data.labels[:, 0])
        return replace(data, labels=torch.stack([data.labels[:, 0], sizes[data.labels[:, 0]]], dim=1))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs > 0).double().mean() > 0.8)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        high, low, apart = data.labels.clone(), data.labels.clone(), data.labels.clone()
        high[data.labels[:, 0] == 1, 1], low[data.labels[:, 0] == 1, 1], apart[5, 1] = 9, -1, 9
        return {
            "bag 1 has 7 rows but a count of 9": high,
            "bag 1 has 7 rows but a count of -1": low,
            "row 5 gives bag 1 the count 9": apart,
            r"shape \(n, 2\)": data.labels[:, 0],
            "torch.float32|float32": data.labels.float(),
        }

    def estimator(self, recipe: str, network: str, **options: Any) -> BagClassifier:
        return BagClassifier(recipe, network=network, accelerator="cpu", **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        bags = bags_of_rows(data.labels.numpy())
        return data.inputs.numpy(), bags.of_row, bags.counts


GROUPS = Groups()


@dataclass(frozen=True)
class Tables:
    """Three numbers and two categories that follow from one hidden number, a tenth of them missing; no labels."""

    good_score: float = 0.1  # spread of representations, which is 0 where training collapses
    cardinalities: tuple[int, int] = (3, 2)
    sizes: tuple[tuple[str, int], ...] = (("dim", 8), ("heads", 2), ("layers", 1), ("feedforward", 16))

    def data(self, network: str, seed: int, size: int) -> TrainingData:
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.rand(3 * size, 1, generator=generator)
        numbers = hidden * torch.tensor([1.0, -1.0, 0.5]) + torch.tensor([0.0, 1.0, 0.2])
        codes = (hidden * torch.tensor(self.cardinalities)).floor()
        rows = torch.cat([numbers, codes], dim=1)  # (n, 5)
        rows[torch.rand(rows.shape, generator=generator) < 0.1] = float("nan")
        return TrainingData(rows, torch.zeros(3 * size, 0), 6 * 8, task=PRETRAINING)

    def network(self, name: str, data: TrainingData) -> nn.Module:
        return TabularEncoder(3, self.cardinalities, dropout=0.1, **dict(self.sizes))

    def alike(self, data: TrainingData) -> TrainingData:
        assert isinstance(data.inputs, Tensor)
        return replace(data, inputs=data.inputs[:1].repeat(len(data), 1))

    def are_alike(self, outputs: Tensor) -> bool:
        return bool((outputs - outputs[:1]).abs().max() < 1e-4)

    def bad_labels(self, data: TrainingData) -> dict[str, Tensor]:
        return {"pretraining takes none": torch.zeros(len(data)), r"\(12, 1\)": torch.zeros(len(data), 1)}

    def estimator(self, recipe: str, network: str, **options: Any) -> TJEPA:
        return TJEPA(recipe, categorical=(3, 4), accelerator="cpu", **dict(self.sizes), **options)

    def arrays(self, data: TrainingData) -> tuple[np.ndarray]:
        assert isinstance(data.inputs, Tensor)
        return (data.inputs.numpy(),)


TABLES = Tables()
