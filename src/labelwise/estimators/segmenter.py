"""The estimator for masks: any recipe of its task, any network for masks, on pictures or torch data sets."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from labelwise.errors import InputError
from labelwise.estimators.base import NetworkEstimator
from labelwise.estimators.inputs import Inputs, example_shape, read_inputs, take_rows
from labelwise.labels.corrections import Corrections
from labelwise.labels.masks import IGNORE, check_masks
from labelwise.networks.network import Standardize
from labelwise.networks.pretrained import load_backbone
from labelwise.networks.unet import build_unet, encoder_name
from labelwise.training.loop import Watch
from labelwise.training.predict import predicted_blocks
from labelwise.training.resume import Row
from labelwise.training.task import SEGMENTATION


class Segmenter(NetworkEstimator):
    """Train a network that says the class of every pixel, with any segmentation recipe of ``labelwise methods``.

    X is pictures (n, height, width[, channels]) as bytes or floats, or a torch data set of (picture, mask) pairs whose
    pictures are (channels, height, width). ``masks`` (n, height, width) hold class numbers 0, 1, ... and 255 where a
    pixel is not labelled; an image without labels has a mask of 255 (or -1) only, and recipes that learn from few
    labels use it. Images of one call share one size.

    ``network`` is ``unet`` (what ``auto`` means), ``unet-8-16-32``, ``hourglass`` or ``unet-`` and a timm name, whose
    encoder starts from ``weights`` where they are given or, with ``download``, fetched. The other parameters are those
    of ``labelwise.estimators.base.NetworkEstimator``; the size of a batch is in images, and eight of 240 x 180 are
    plenty. Fitting costs ``epochs`` forward and backward passes over the pictures, times the card's ``cost``.

    Attributes: ``num_classes_``, ``history_`` (one dict an epoch), ``best_epoch_`` (0-based, by mean IoU),
    ``network_``, ``recipe_``, ``train_rows_`` (positions of the images trained on), ``corrections_`` (targets, weights,
    mask of every pixel of all images where the recipe keeps them, else None), ``corrected_masks_`` (the given masks
    with those corrections, (n, height, width) int64, or None).
    """

    task = SEGMENTATION
    default_recipe = "segmentation-cross-entropy"

    def fit(
        self,
        X: Inputs,
        masks: Any = None,
        *,
        X_val: Inputs | None = None,
        masks_val: Any = None,
        num_classes: int | None = None,
        watch: Watch | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Self:
        """Train on pictures and given masks; ``watch(recipe, epoch)`` adds numbers to each epoch's history row.

        ``num_classes`` is how many there may be, where ``masks`` lack the highest. Raises InputError where pictures
        and masks do not match, where no pixel is labelled, or where the options do not fit the recipe.
        """
        settings = self._settings()
        self._check_validation(X_val)
        given = read_inputs(self, X, reset=True)
        _check_pictures(given)
        labels = _read_masks(given, masks, num_classes=num_classes)
        self.num_classes_ = _count_classes(labels, num_classes)
        pretrained = self._choose_network(given)
        inputs = self._to_features(given)
        rows, validation = np.arange(len(labels)), None
        if X_val is not None:
            inputs_val = self._read(X_val)
            labels_val = _read_masks(inputs_val, masks_val, num_classes=self.num_classes_, suffix="_val")
            validation = self._data(inputs_val, labels_val)
        elif self.validation_fraction > 0:
            labelled = (labels != IGNORE).any(axis=(1, 2))
            _, held = self._hold_out(np.flatnonzero(labelled), settings.seed)
            rows = np.setdiff1d(rows, held)
            validation = self._data(take_rows(inputs, held), labels[held])
        self._train(
            self._data(take_rows(inputs, rows), labels[rows]),
            settings,
            validation=validation,
            pretrained=pretrained,
            watch=watch,
            on_epoch=on_epoch,
        )
        self.train_rows_ = rows
        found = self.recipe_.corrections()
        self.corrections_ = self.corrected_masks_ = None
        if found is not None:
            self.corrections_ = found.spread(rows, len(labels))
            self.corrected_masks_ = labels.copy()
            self.corrected_masks_[rows] = _to_masks(self.corrections_)[rows]
        return self

    def predict(self, X: Inputs) -> np.ndarray:
        """Return the most probable class of each pixel, (n, H, W) int64; logits are held for one block at a time."""
        return np.concatenate([logits.argmax(dim=1).numpy() for logits in self._blocks(X)])

    def predict_proba(self, X: Inputs) -> np.ndarray:
        """Return class probabilities (n, classes, H, W) float32 that sum to 1 over classes.

        The result takes 4 bytes a pixel and class; ``predict_blocks`` yields it in parts.
        """
        return np.concatenate(list(self.predict_blocks(X)))

    def predict_blocks(self, X: Inputs) -> Iterator[np.ndarray]:
        """Yield class probabilities (b, classes, H, W) float32 of a few images after the other, in order."""
        for logits in self._blocks(X):
            yield logits.softmax(dim=1).numpy()

    def _blocks(self, X: Inputs) -> Iterator[Tensor]:
        check_is_fitted(self, "recipe_")
        inputs = self._read(X)
        unknown = np.full((1, 1, 1), IGNORE)
        labels = np.broadcast_to(unknown, (len(inputs), *self.input_shape_[1:]))  # type: ignore[arg-type]
        for logits, _ in predicted_blocks(self.recipe_, self._data(inputs, labels.astype(np.int64))):
            yield logits

    def _num_outputs(self) -> int:
        return self.num_classes_

    def _task_state(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes_}

    def _set_task_state(self, state: Mapping[str, Any]) -> None:
        self.num_classes_ = int(state["num_classes"])

    def _choose_network(self, inputs: Tensor | Dataset) -> nn.Module | None:
        """Settle on a network; return the backbone its encoder is to start from."""
        self._set_shape(example_shape(inputs))
        self.network_ = "unet" if self.network == "auto" else self.network
        self.backbone_name_, self.backbone_ = None, None
        name = encoder_name(self.network_)
        if name is None:
            if self.weights is not None:
                raise InputError(
                    f"weights are for the encoder of a timm backbone, but network is {self.network_!r}: "
                    "leave weights out, or name a network such as 'unet-resnet18'"
                )
            return None
        if self.weights is None and not self.download:
            return None
        return load_backbone(name, self.weights, download=self.download)

    def _build_network(
        self, shape: tuple[int, ...], standardize: Standardize | None, pretrained: nn.Module | None
    ) -> nn.Module:
        return build_unet(self.network_, shape, self.num_classes_, standardize=standardize, pretrained=pretrained)


def _check_pictures(inputs: Tensor | Dataset) -> None:
    shape = example_shape(inputs)
    if len(shape) != 3:
        raise InputError(f"an example of X has shape {shape}: give pictures as (n, height, width[, channels])")


def _read_masks(inputs: Tensor | Dataset, masks: Any, *, num_classes: int | None, suffix: str = "") -> np.ndarray:
    """Masks (n, H, W) int64 that fit the pictures; those of a data set's items where ``masks`` is None."""
    if masks is None and not isinstance(inputs, Dataset):
        raise InputError(f"X{suffix} requires masks{suffix}: give one mask for each image, 255 where not labelled")
    count = len(inputs)  # type: ignore[arg-type]
    if masks is None:
        masks = np.stack([np.asarray(inputs[row][1]) for row in range(count)])
    labels = check_masks(_without_minus_one(masks), num_classes=num_classes, name=f"masks{suffix}")
    if len(labels) != count:
        raise InputError(f"X{suffix} has {count} images but there are {len(labels)} masks; give one mask an image")
    size = example_shape(inputs)[1:]
    if labels.shape[1:] != size:
        raise InputError(
            f"masks{suffix} are {labels.shape[1]} x {labels.shape[2]}, but images are {size[0]} x {size[1]} "
            "(height x width): give masks of the images' size"
        )
    return labels


def _without_minus_one(masks: Any) -> np.ndarray:
    """Masks of -1 only, which stand for images without labels, as masks of 255."""
    given = np.asarray(masks)
    if given.ndim != 3 or given.dtype.kind not in "if":
        return given
    unlabelled = (given == -1).all(axis=(1, 2))
    if not unlabelled.any():
        return given
    labels = given.astype(np.int64) if given.dtype.kind == "i" else given.copy()  # 255 is too much for int8
    labels[unlabelled] = IGNORE
    return labels


def _to_masks(corrections: Corrections) -> np.ndarray:
    return np.where(corrections.mask, corrections.targets.argmax(axis=1), IGNORE)  # (n, H, W)


def _count_classes(labels: np.ndarray, num_classes: int | None) -> int:
    known = labels[labels != IGNORE]
    if not len(known):
        raise InputError("masks has no labelled pixel (all are 255): give at least one labelled image")
    if num_classes is not None:
        return num_classes
    return max(2, int(known.max()) + 1)
