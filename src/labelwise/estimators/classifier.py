"""The estimator for single labels: any recipe, any network, on arrays, pictures or torch data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.labels.corrections import Corrections
from labelwise.methods import find_recipe
from labelwise.networks.build import build_network, default_network, is_small
from labelwise.networks.network import Network, Standardize
from labelwise.networks.pretrained import DEFAULT_BACKBONE, backbone_features, load_backbone
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint
from labelwise.training.data import TrainingData
from labelwise.training.loop import Checkpointing, Row, Watch, predict_outputs, train
from labelwise.training.recipe import Recipe
from labelwise.training.seeding import derive_seed, seeded
from labelwise.training.settings import Settings

Inputs = np.ndarray | Tensor | Dataset


class Classifier(ClassifierMixin, BaseEstimator):
    """Train a network on labels that may be wrong, with any recipe of ``labelwise methods``.

    X is an array (n, features), pictures (n, height, width[, channels]) or a torch data set of (x, y) pairs; y holds
    class labels of any kind. An integer label -1 means unlabelled: such rows take no part in training (where only
    one other value is left, as in the labels -1 and 1, it is a class like any other).

    ``network`` is ``auto``, ``mlp``, ``cnn``, ``linear``, ``mlp-64-64`` or a timm name. For pictures, ``auto`` takes
    a pretrained backbone where its weights are at hand (``weights`` file, local cache, or ``download``), computes
    its features once and trains a small head on them (``fine_tune`` trains the whole of it instead); without weights
    it takes a small CNN. ``network_`` tells what was used.

    ``recipe_options`` go to the recipe, the others to the training loop (see ``Settings``). ``validation_fraction``
    holds out given, possibly wrong, labels to measure each epoch on and, with ``early_stopping``, to stop by; pass
    ``X_val, y_val`` to ``fit`` where clean ones exist. ``random_state`` fixes every draw: the same number gives the
    same model. Fitting costs ``epochs`` forward and backward passes over the data, times the card's ``cost``.

    Attributes: ``classes_``, ``history_`` (one dict an epoch), ``best_epoch_``, ``network_``, ``recipe_``,
    ``corrections_`` (targets, weights, mask of all n rows, where the recipe keeps them).
    """

    def __init__(
        self,
        recipe: str = "elr",
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

    def fit(
        self,
        X: Inputs,
        y: Any = None,
        *,
        X_val: Inputs | None = None,
        y_val: Any = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on ``X`` and given labels ``y``; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        Raises InputError where rows and labels do not match, where fewer than two classes are given, or where the
        options do not fit the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        X, y = self._check_training(X, y)
        labels = self._encode_labels(y)
        pretrained = self._choose_network(X)
        inputs = self._to_inputs(X)
        validation = None
        train_rows = np.flatnonzero(labels >= 0)
        if X_val is not None:
            validation = self._given_validation(X_val, y_val)
        elif self.validation_fraction > 0:
            train_rows, held = self._split(train_rows, labels, settings.seed)
            validation = self._training_data(_rows(inputs, held), labels[held])

        self.train_rows_ = train_rows
        data = self._training_data(_rows(inputs, train_rows), labels[train_rows])
        with seeded(derive_seed(settings.seed, "weights")):
            self.recipe_ = self._make_recipe(data.inputs, pretrained)
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
        if self.early_stopping is not None and result.best_state is not None:
            self.recipe_.load_state_dict(result.best_state)
        self.corrections_ = self._corrections_of_all_rows(len(labels))
        return self

    def predict_logits(self, X: Inputs) -> np.ndarray:
        """Return logits (n, classes) float32."""
        check_is_fitted(self, "recipe_")
        inputs = self._to_inputs(self._check_new(X))
        return predict_outputs(self.recipe_, self._training_data(inputs, np.full(len(inputs), -1))).numpy()  # type: ignore[arg-type]

    def predict_proba(self, X: Inputs) -> np.ndarray:
        """Return class probabilities (n, classes) float64 whose rows sum to 1, columns in the order of ``classes_``."""
        logits = self.predict_logits(X).astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def predict(self, X: Inputs) -> np.ndarray:
        """Return the most probable class of each row, (n,)."""
        best = self.predict_logits(X).argmax(axis=1)
        return self.classes_[best]

    def use_best_epoch(self) -> Self:
        """Return to the state of the epoch with the best validation accuracy; raises InputError without validation."""
        if self.best_state_ is None:
            raise InputError("no validation set was given to fit, so no epoch is known to be the best")
        self.recipe_.load_state_dict(self.best_state_)
        return self

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: ``manifest.json`` and one safetensors file, nothing half written."""
        save_checkpoint(Path(folder), *self.to_state())

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Read a saved model; raises InputError where files are missing, damaged or changed. Runs no code of theirs."""
        return cls.from_state(*load_checkpoint(Path(folder)), name=str(folder))

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the model that predicts as named tensors and JSON-able values; memories of training rows stay out."""
        check_is_fitted(self, "recipe_")
        fresh = self._make_recipe(None).state_dict()
        tensors = {name: value for name, value in self.recipe_.state_dict().items() if name in fresh}
        parameters = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        return tensors, {
            "kind": "labelwise.Classifier",
            "parameters": parameters | {"checkpoint_folder": None, "resume": False},
            "classes": self.classes_.tolist(),
            "classes_dtype": self.classes_.dtype.str,
            "input_shape": list(self.input_shape_),
            "given_shape": list(self.given_shape_),
            "network": self.network_,
            "backbone": self.backbone_name_,
        }

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], manifest: dict[str, Any], *, name: str = "model") -> "Classifier":
        """Make the model anew from what ``to_state`` gave; raises InputError where the two do not fit."""
        if manifest.get("kind") != "labelwise.Classifier":
            raise InputError(f"{name}: not a saved Classifier (kind {manifest.get('kind')!r})")
        try:
            model = cls(**manifest["parameters"])
            model.classes_ = np.array(manifest["classes"], dtype=np.dtype(manifest["classes_dtype"]))
            model.input_shape_ = tuple(manifest["input_shape"])
            model.given_shape_ = tuple(manifest["given_shape"])
            model.network_, model.backbone_name_ = manifest["network"], manifest["backbone"]
            if len(model.given_shape_) == 1:
                model.n_features_in_ = model.given_shape_[0]
            model.recipe_ = model._make_recipe(None)
            model.recipe_.load_state_dict(tensors)
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{name}: the manifest does not describe this model ({error}); copy it again or train anew"
            ) from error
        model.recipe_.eval()
        model.best_state_, model.backbone_ = None, None
        if model.backbone_name_ is not None:
            model.backbone_ = model._load_backbone(model.backbone_name_)
            if model.backbone_ is None:
                raise InputError(
                    f"{name}: the weights of its backbone {model.backbone_name_} are not at hand; "
                    "put them into the local cache, or load with download allowed"
                )
        return model

    def _settings(self) -> Settings:
        shared = set(Settings.__dataclass_fields__) & set(self.get_params(deep=False))
        seed = self.random_state
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        elif isinstance(seed, np.random.RandomState):
            seed = int(seed.randint(2**31))
        return Settings(seed=int(seed), **{name: getattr(self, name) for name in shared})

    def _checkpointing(self) -> Checkpointing | None:
        if self.checkpoint_folder is None:
            return None
        return Checkpointing(Path(self.checkpoint_folder), self.checkpoint_seconds, self.resume)

    def _check_validation(self, X_val: Inputs | None) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"validation_fraction is {self.validation_fraction}; give a number from 0 to below 1")
        if self.early_stopping is not None and X_val is None and self.validation_fraction == 0:
            raise InputError("early_stopping needs examples to measure on; set validation_fraction or give X_val")

    def _given_validation(self, X_val: Inputs, y_val: Any) -> TrainingData:
        X_val = self._check_new(X_val)
        if y_val is None and isinstance(X_val, Dataset):
            y_val = _dataset_labels(X_val)
        if y_val is None:
            raise InputError("X_val came without y_val; give one label a row")
        labels = self._known_labels(column_or_1d(y_val))
        _check_lengths("X_val", X_val, labels)
        return self._training_data(self._to_inputs(X_val), labels)

    def _check_training(self, X: Inputs, y: Any) -> tuple[Inputs, np.ndarray]:
        if y is None and not isinstance(X, Dataset):
            raise InputError("Classifier requires y to be passed, but the target y is None: give one label a row")
        if isinstance(X, Dataset):
            y = _dataset_labels(X) if y is None else column_or_1d(y)
            _check_lengths("X", X, y)
            return X, y
        if _num_axes(X) > 2:
            X = _check_pictures(X)
            y = column_or_1d(y, warn=True)
            _check_lengths("X", X, y)
            return X, y
        return validate_data(self, X, y, dtype=[np.float32, np.float64])

    def _check_new(self, X: Inputs) -> Inputs:
        if isinstance(X, Dataset):
            return X
        if len(self.given_shape_) > 1:
            X = _check_pictures(X)
            if X.shape[1:] != self.given_shape_:
                raise InputError(f"pictures have shape {X.shape[1:]}, but the model was trained on {self.given_shape_}")
            return X
        return validate_data(self, X, dtype=[np.float32, np.float64], reset=False)

    def _encode_labels(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        classes = np.unique(y)
        if classes.dtype.kind in "iu" and len(classes) > 2:
            classes = classes[classes != -1]
        elif classes.dtype.kind in "iu" and len(classes) == 2 and classes[0] == -1 and classes[1] != 1:
            classes = classes[1:]
        if len(classes) < 2:
            raise InputError(
                f"Classifier can't train when only one class is present (y holds {classes.tolist()}): "
                "give labels of at least two"
            )
        self.classes_ = classes
        return self._known_labels(y)

    def _known_labels(self, y: Any) -> np.ndarray:
        """Positions in ``classes_``; -1 for what is not there."""
        y = np.asarray(y)
        positions = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
        return np.where(self.classes_[positions] == y, positions, -1).astype(np.int64)

    def _to_inputs(self, X: Inputs) -> Tensor | Dataset:
        if isinstance(X, Dataset):
            return X
        if self.backbone_ is not None:
            return torch.from_numpy(backbone_features(self.backbone_, np.asarray(X)))
        inputs = _as_tensor(np.asarray(X))
        return inputs if self.standardize else inputs.float()

    def _choose_network(self, X: Inputs) -> nn.Module | None:
        """Settle on a network; return the pretrained backbone where one is to be trained on."""
        sample = torch.as_tensor(X[0][0]) if isinstance(X, Dataset) else _as_tensor(np.asarray(X[:1]))[0]
        self.given_shape_ = tuple(sample.shape) if isinstance(X, Dataset) else tuple(np.shape(X)[1:])
        self.input_shape_ = tuple(sample.shape)
        if len(self.given_shape_) == 1:
            self.n_features_in_ = self.given_shape_[0]
        self.network_ = default_network(self.input_shape_) if self.network == "auto" else self.network
        self.backbone_name_, self.backbone_ = None, None
        if len(self.input_shape_) != 3 or is_small(self.network):
            return None
        # Features of a data set that draws its pictures anew cannot be computed once.
        if isinstance(X, Dataset) and not self.fine_tune:
            return None
        name = DEFAULT_BACKBONE if self.network == "auto" else self.network
        backbone = self._load_backbone(name)
        if backbone is None:
            return None
        if self.fine_tune:
            self.network_ = name
            return backbone
        self.backbone_name_, self.backbone_ = name, backbone
        self.network_ = "mlp-256"
        self.input_shape_ = (int(backbone.num_features),)  # type: ignore[arg-type]
        return None

    def _load_backbone(self, name: str) -> nn.Module | None:
        return load_backbone(name, self.weights, download=self.download)

    def _make_recipe(self, inputs: Tensor | Dataset | None, pretrained: nn.Module | None = None) -> Recipe:
        """Build the recipe; ``inputs`` to measure mean and spread on, None where a state will be loaded."""
        scale = self._standardize(inputs) if self.standardize else None

        def build() -> Network:
            return build_network(
                self.network_, self.input_shape_, len(self.classes_), standardize=scale, pretrained=pretrained
            )

        try:
            return find_recipe(self.recipe)(build, **(self.recipe_options or {}))
        except TypeError as error:
            raise InputError(f"recipe {self.recipe!r} does not take these recipe_options: {error}") from error

    def _standardize(self, inputs: Tensor | Dataset | None) -> Standardize:
        if inputs is None:
            statistics = torch.zeros(self.input_shape_[0], *[1] * (len(self.input_shape_) - 1))
            return Standardize(statistics, statistics)
        if isinstance(inputs, Tensor):
            return Standardize.fit(inputs)
        count = min(1000, len(inputs))  # type: ignore[arg-type]
        return Standardize.fit(torch.stack([torch.as_tensor(inputs[row][0]) for row in range(count)]))

    def _training_data(self, inputs: Tensor | Dataset, labels: np.ndarray) -> TrainingData:
        return TrainingData(inputs, torch.from_numpy(labels), len(self.classes_), self.workers)

    def _split(self, rows: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        count = max(1, round(self.validation_fraction * len(rows)))
        if count >= len(rows):
            raise InputError(
                f"validation_fraction {self.validation_fraction} of {len(rows)} labelled rows leaves none to train on; "
                "give a smaller fraction or more rows"
            )
        counts = np.bincount(labels[rows])
        stratify = labels[rows] if counts[counts > 0].min() > 1 and count >= len(self.classes_) else None
        kept, held = train_test_split(rows, test_size=count, random_state=seed % 2**32, stratify=stratify)
        return np.sort(kept), np.sort(held)

    def _corrections_of_all_rows(self, count: int) -> Corrections | None:
        found = self.recipe_.corrections()
        if found is None:
            return None
        targets = np.zeros((count, len(self.classes_)), dtype=np.float32)
        weights, mask = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=bool)
        targets[self.train_rows_], weights[self.train_rows_] = found.targets.numpy(), found.weights.numpy()
        mask[self.train_rows_] = found.mask.numpy()
        return Corrections(targets, weights, mask)


def _check_pictures(X: Any) -> np.ndarray:
    pictures = np.asarray(X)
    if pictures.ndim not in (3, 4) or pictures.dtype.kind not in "uif":
        raise InputError(
            f"X has shape {pictures.shape} and type {pictures.dtype}: give numbers as (n, features) "
            "or pictures as (n, height, width) or (n, height, width, channels)"
        )
    if pictures.dtype.kind == "f" and not np.isfinite(pictures).all():
        row = int(np.flatnonzero(~np.isfinite(pictures).all(axis=tuple(range(1, pictures.ndim))))[0])
        raise InputError(f"picture {row} holds NaN or infinity; leave it out or repair it")
    return pictures


def _as_tensor(X: np.ndarray) -> Tensor:
    """(n, features) as float32; pictures as (n, channels, height, width), bytes left as bytes."""
    if X.ndim == 3:
        X = X[..., None]
    if X.ndim == 4:
        X = np.moveaxis(X, -1, 1)
    X = np.ascontiguousarray(X)
    return torch.from_numpy(X if X.dtype == np.uint8 else X.astype(np.float32))


def _rows(inputs: Tensor | Dataset, rows: np.ndarray) -> Tensor | Dataset:
    if isinstance(inputs, Tensor):
        return inputs[torch.from_numpy(rows)]
    return torch.utils.data.Subset(inputs, rows.tolist())


def _num_axes(X: Any) -> int:
    """Number of axes; 2 for what is no array yet, so that scikit-learn checks it as a table."""
    axes = getattr(X, "ndim", None)
    if axes is not None:
        return int(axes)
    try:
        return np.asarray(X).ndim
    except ValueError:
        return 2


def _check_lengths(name: str, X: Any, y: Any) -> None:
    if len(X) != len(y):
        raise InputError(f"{name} has {len(X)} examples but there are {len(y)} labels; give one label an example")


def _dataset_labels(dataset: Any) -> np.ndarray:
    """Labels of a data set: its ``targets`` where it has them, else read item by item."""
    if hasattr(dataset, "targets"):
        return np.asarray(dataset.targets)
    labels = [dataset[row][1] for row in range(len(dataset))]
    return np.asarray([label.item() if isinstance(label, Tensor) else label for label in labels])


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
