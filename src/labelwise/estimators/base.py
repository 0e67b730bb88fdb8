"""What the estimators of all tasks share: parameters, inputs, networks, training, and models in files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.inputs import Inputs, example_shape, read_inputs
from labelwise.estimators.networks import find_backbone, standardize_for
from labelwise.methods import find_recipe
from labelwise.networks.build import build_network, default_network
from labelwise.networks.network import Standardize
from labelwise.networks.nodes import Nodes
from labelwise.networks.pretrained import backbone_features, restore_backbone
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint
from labelwise.training.data import TrainingData
from labelwise.training.loop import WEIGHT_TYPES, Checkpointing, Watch, train
from labelwise.training.predict import predict_outputs
from labelwise.training.recipe import Recipe
from labelwise.training.resume import Row
from labelwise.training.seeding import derive_seed, seeded
from labelwise.training.settings import Settings
from labelwise.training.task import Task


class NetworkEstimator(BaseEstimator):
    """A scikit-learn estimator that trains a network with any recipe of its task.

    ``recipe`` is a name of ``labelwise methods``, or ``auto`` for the task's own default; ``recipe_options`` go to
    it. ``network`` is ``auto``, ``mlp``, ``cnn``, ``linear``, ``mlp-64-64`` or a timm name. For pictures, ``auto``
    takes a pretrained backbone where its weights are at hand (``weights`` file, local cache, or ``download``),
    computes its features once and trains a small head on them (``fine_tune`` trains the whole of it instead); without
    weights, and for pictures under 28 pixels where no ``weights`` are named, it takes a small CNN. ``network_`` and
    ``backbone_name_`` tell what was used.

    The other parameters go to the training loop (see ``Settings``). ``standardize`` shifts and scales inputs by the
    training data's mean and deviation; ``workers`` processes load the items of a data set. ``checkpoint_folder`` keeps
    a checkpoint at most every ``checkpoint_seconds``; ``resume`` goes on from one that is there. ``random_state`` (a
    whole number, a ``RandomState``, or None for a fresh draw) fixes every draw: the same number gives the same model.

    A subclass sets ``task`` and ``default_recipe``, has a ``fit`` that puts the parts below together, and keeps what
    it needs to predict through ``_task_state`` and ``_set_task_state``.
    """

    task: ClassVar[Task]
    default_recipe: ClassVar[str]

    def __init__(
        self,
        recipe: str = "auto",
        *,
        network: str = "auto",
        recipe_options: dict[str, Any] | None = None,
        epochs: int = 60,
        batch_size: int = 128,
        optimizer: str = "sgd",
        learning_rate: float = 0.02,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 5e-4,
        schedule: str = "cosine",
        warmup_epochs: int = 0,
        gradient_clip: float | None = None,
        early_stopping: int | None = None,
        validation_fraction: float = 0.0,
        standardize: bool = True,
        weights: str | Path | None = None,
        download: bool = False,
        fine_tune: bool = False,
        accelerator: str = "auto",
        devices: int = 1,
        precision: str = "32-true",
        workers: int = 0,
        checkpoint_folder: str | Path | None = None,
        checkpoint_seconds: float = 10.0,
        resume: bool = False,
        random_state: int | None = 0,
    ) -> None:
        self.recipe = recipe
        self.network = network
        self.recipe_options = recipe_options
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.gradient_clip = gradient_clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.weights = weights
        self.download = download
        self.fine_tune = fine_tune
        self.accelerator = accelerator
        self.devices = devices
        self.precision = precision
        self.workers = workers
        self.checkpoint_folder = checkpoint_folder
        self.checkpoint_seconds = checkpoint_seconds
        self.resume = resume
        self.random_state = random_state

    # What a task fills in.

    def _num_outputs(self) -> int:
        """Width of the network's head."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many outputs its network has")

    def _task_state(self) -> dict[str, Any]:
        """JSON-able values that predictions need besides the network."""
        return {}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        """Take the values of ``_task_state`` back."""

    # Models in files.

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: ``manifest.json`` and one safetensors file, nothing half written."""
        save_checkpoint(Path(folder), *self.to_state())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a saved model; raises InputError where files are missing, damaged or changed. Runs no code of theirs."""
        return cls.from_state(*load_checkpoint(Path(folder)), name=str(folder))

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the model that predicts as named tensors and JSON-able values; memories of training rows stay out."""
        check_is_fitted(self, "recipe_")
        fresh = self._build_recipe(None).state_dict()
        tensors = {f"recipe/{name}": value for name, value in self.recipe_.state_dict().items() if name in fresh}
        if self.backbone_ is not None:
            tensors |= {f"backbone/{name}": value for name, value in self.backbone_.state_dict().items()}
        seed = self.random_state if isinstance(self.random_state, (int, np.integer)) else None
        parameters = self.get_params(deep=False) | {
            "recipe": self._recipe_name(),
            "checkpoint_folder": None,
            "resume": False,
            "random_state": seed,
        }
        return tensors, {
            "kind": f"labelwise.{type(self).__name__}",
            "parameters": _plain(parameters),
            "input_shape": list(self.input_shape_),
            "network": self.network_,
            "backbone": self.backbone_name_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            **self._task_state(),
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any], *, name: str = "model") -> Self:
        """Make the model anew from what ``to_state`` gave; raises InputError where the two do not fit."""
        if manifest.get("kind") != f"labelwise.{cls.__name__}":
            raise InputError(f"{name}: not a saved {cls.__name__} (kind {manifest.get('kind')!r})")
        try:
            model = cls(**manifest["parameters"])
            model._set_task_state(manifest)
            model._set_shape(tuple(manifest["input_shape"]))
            model.network_, model.backbone_name_ = manifest["network"], manifest["backbone"]
            model.history_, model.best_epoch_, model.best_state_ = manifest["history"], manifest["best_epoch"], None
            model.backbone_ = None
            if model.backbone_name_ is not None:
                model.backbone_ = restore_backbone(model.backbone_name_, _under("backbone/", tensors))
            model.recipe_ = model._build_recipe(None)
            model.recipe_.load_state_dict(_under("recipe/", tensors))
        except InputError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{name}: the manifest does not describe this model ({error}); copy it again or train anew"
            ) from error
        model.recipe_.eval()
        return model

    # Training.

    def use_best_epoch(self) -> Self:
        """Return to the state of the epoch with the best validation accuracy.

        Raises InputError where no such state is kept: without validation, and in a model read from a file.
        """
        check_is_fitted(self, "recipe_")
        if self.best_state_ is None:
            raise InputError(
                "no state of a best epoch is kept: give fit a validation set, and go back before the model is saved"
            )
        self.recipe_.load_state_dict(self.best_state_)
        return self

    def _train(
        self,
        data: TrainingData,
        settings: Settings,
        *,
        validation: TrainingData | None,
        pretrained: nn.Module | None,
        watch: Watch | None,
        on_epoch: Callable[[Row], None] | None,
    ) -> None:
        """Build the recipe, train it, and keep its history; with early stopping, keep the best epoch."""
        self.recipe_ = self._build_recipe(data.inputs, settings.seed, pretrained)
        result = train(
            self.recipe_,
            data,
            settings,
            validation=validation,
            watch=watch,
            checkpointing=self._checkpointing(),
            on_epoch=on_epoch,
        )
        self.history_, self.best_epoch_, self.best_state_ = result.history, result.best_epoch, result.best_state
        if settings.precision in WEIGHT_TYPES:
            self.recipe_.float()  # so that it predicts as it will after save and load
        if self.early_stopping is not None and result.best_state is not None:
            self.recipe_.load_state_dict(result.best_state)

    def _settings(self) -> Settings:
        shared = set(Settings.__dataclass_fields__) & set(self.get_params(deep=False))
        return Settings(seed=self._seed(), **{name: _plain(getattr(self, name)) for name in shared})

    def _seed(self) -> int:
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        raise InputError(f"random_state is {self.random_state!r}; give a whole number, a RandomState or None")

    def _checkpointing(self) -> Checkpointing | None:
        if self.checkpoint_folder is None:
            return None
        return Checkpointing(Path(self.checkpoint_folder), self.checkpoint_seconds, self.resume)

    def _check_validation(self, X_val: Inputs | None) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"validation_fraction is {self.validation_fraction}; give a number from 0 to below 1")
        if self.early_stopping is not None and X_val is None and self.validation_fraction == 0:
            raise InputError("early_stopping needs examples to measure on; set validation_fraction or give X_val")

    def _hold_out(self, rows: np.ndarray, seed: int, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Divide rows into those kept and those held out, (m,) int64 each; ``groups`` (rows,) are shared out evenly."""
        count = max(1, round(self.validation_fraction * len(rows)))
        if count >= len(rows):
            raise InputError(
                f"validation_fraction {self.validation_fraction} of {len(rows)} labelled rows leaves none to train on; "
                "give a smaller fraction or more rows"
            )
        if groups is not None:
            sizes = np.unique(groups, return_counts=True)[1]
            if sizes.min() < 2 or len(sizes) > min(count, len(rows) - count):
                groups = None
        kept, held = train_test_split(rows, test_size=count, random_state=seed % 2**32, stratify=groups)
        return np.sort(kept), np.sort(held)

    # Inputs and networks.

    def _read(self, X: Inputs) -> Tensor | Dataset:
        """Check new X against what the model was trained on, and return what its network takes."""
        inputs = read_inputs(self, X, reset=False)
        shape = example_shape(inputs)
        if shape != self.input_shape_:
            raise InputError(
                f"an example of X has shape {shape}, but the model was trained on {self.input_shape_} "
                "(pictures as channels, height, width): give X as it was in training"
            )
        return self._to_features(inputs)

    def _predict(self, X: Inputs) -> np.ndarray:
        """Outputs of the network, (n, outputs) float32."""
        check_is_fitted(self, "recipe_")
        inputs = self._read(X)
        data = self._data(inputs, np.full(len(inputs), -1))  # type: ignore[arg-type]
        return predict_outputs(self.recipe_, data).numpy()

    def _data(self, inputs: Tensor | Dataset | Nodes, labels: np.ndarray) -> TrainingData:
        return TrainingData(inputs, torch.from_numpy(labels), self._num_outputs(), self.workers, self.task)

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        self.input_shape_ = shape
        if len(shape) == 1:
            self.n_features_in_ = shape[0]
        elif hasattr(self, "n_features_in_"):
            del self.n_features_in_  # of an earlier fit on a table

    def _choose_network(self, inputs: Tensor | Dataset) -> nn.Module | None:
        """Settle on a network; return the pretrained backbone where one is to be trained on."""
        self._set_shape(example_shape(inputs))
        self.network_ = default_network(self.input_shape_) if self.network == "auto" else self.network
        self.backbone_name_, self.backbone_ = None, None
        found = find_backbone(
            inputs, network=self.network, weights=self.weights, download=self.download, fine_tune=self.fine_tune
        )
        if found is None:
            return None
        if self.fine_tune:
            self.network_ = found.name
            return found.module
        self.backbone_name_, self.backbone_ = found
        self.network_ = "mlp-256"
        return None

    def _to_features(self, inputs: Tensor | Dataset) -> Tensor | Dataset:
        """What the network takes: features of a frozen backbone, or the inputs as they are."""
        if self.backbone_ is not None and not isinstance(inputs, Tensor):
            raise InputError("X is a data set, but features of frozen weights are computed from pictures in an array")
        if not isinstance(inputs, Tensor):
            return inputs
        if self.backbone_ is not None:
            return torch.from_numpy(backbone_features(self.backbone_, inputs.movedim(1, -1).numpy()))
        return inputs if self.standardize else inputs.float()

    def _build_network(
        self, shape: tuple[int, ...], standardize: Standardize | None, pretrained: nn.Module | None
    ) -> nn.Module:
        """A freshly initialised network for inputs of a shape."""
        return build_network(self.network_, shape, self._num_outputs(), standardize=standardize, pretrained=pretrained)

    def _standardize(self, inputs: Tensor | Dataset | Nodes | None, shape: tuple[int, ...]) -> Standardize | None:
        """The standardisation of inputs of a shape, None where none is wanted."""
        return standardize_for(inputs, shape) if self.standardize else None

    def _recipe_name(self) -> str:
        return self.default_recipe if self.recipe == "auto" else self.recipe

    def _build_recipe(
        self, inputs: Tensor | Dataset | Nodes | None, seed: int = 0, pretrained: nn.Module | None = None
    ) -> Recipe:
        """Build the recipe; ``inputs`` to measure mean and spread on, None where a state will be loaded."""
        shape = self.input_shape_ if self.backbone_ is None else (int(self.backbone_.num_features),)  # type: ignore[arg-type]
        scale = self._standardize(inputs, shape)

        def build() -> nn.Module:
            return self._build_network(shape, scale, pretrained)

        try:
            with seeded(derive_seed(seed, "weights")):
                return find_recipe(self._recipe_name(), self.task.name)(build, **(self.recipe_options or {}))
        except TypeError as error:
            raise InputError(f"recipe {self.recipe!r} does not take these recipe_options: {error}") from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
