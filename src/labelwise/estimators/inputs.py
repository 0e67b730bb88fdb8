"""What X and y may be: a table, pictures or a torch data set with its labels; checked at the door, then tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array, column_or_1d, validate_data
from torch import Tensor
from torch.utils.data import Dataset, Subset

from labelwise.errors import InputError
from labelwise.networks.nodes import Nodes

Inputs = np.ndarray | Tensor | Dataset


def read_inputs(estimator: Any, X: Inputs, *, reset: bool) -> Tensor | Dataset:
    """Return a table as (n, features) float32, pictures as (n, channels, H, W), bytes left as bytes, a data set as is.

    ``reset`` notes the table's columns on the estimator; otherwise they are held against what was noted. Raises
    InputError for anything else, and for NaN and infinity. Cost: one copy of the array.
    """
    if isinstance(X, Dataset):
        _check_dataset(X)
        return X
    array = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
    if _num_axes(array) > 2:
        return _pictures(np.asarray(array))
    with sklearn_errors():
        table = validate_data(estimator, array, dtype=[np.float32, np.float64], reset=reset, ensure_all_finite=False)
    return torch.from_numpy(as_float32(table))


def example_shape(inputs: Tensor | Dataset) -> tuple[int, ...]:
    """Shape of one example: (features,) or (channels, H, W)."""
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else tuple(torch.as_tensor(inputs[0][0]).shape)


def take_rows(inputs: Tensor | Dataset, rows: np.ndarray) -> Tensor | Dataset:
    """Rows (m,) int64 of a tensor or a data set."""
    return inputs[torch.from_numpy(rows)] if isinstance(inputs, Tensor) else Subset(inputs, rows.tolist())


def read_labels(inputs: Tensor | Dataset | Nodes, y: Any, *, suffix: str = "") -> np.ndarray:
    """Return labels (n,) of any kind, one an input; those of a data set where ``y`` is None.

    ``suffix`` as in ``X_val`` and ``y_val`` goes into the messages. Raises InputError.
    """
    given = _given_labels(inputs, y, suffix)
    with sklearn_errors():
        labels = column_or_1d(given, warn=True)
    _check_count(inputs, labels, suffix)
    return labels


def read_numbers(inputs: Tensor | Dataset, y: Any, *, suffix: str = "") -> np.ndarray:
    """Return numbers (n,) or (n, outputs) float64, one row an input, NaN where unknown; else as ``read_labels``."""
    given = _given_labels(inputs, y, suffix)
    with sklearn_errors():
        numbers = check_array(
            given,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name="y",
        )
    if numbers.ndim not in (1, 2) or 0 in numbers.shape[1:]:
        raise InputError(f"y{suffix} has shape {numbers.shape}: give (n,) for one number a row, else (n, outputs)")
    _check_count(inputs, numbers, suffix)
    return numbers


def _given_labels(inputs: Tensor | Dataset | Nodes, y: Any, suffix: str) -> Any:
    if y is None and not isinstance(inputs, Dataset):
        raise InputError(f"X{suffix} requires y{suffix} to be passed, but the target y is None: give one label a row")
    return _dataset_labels(inputs) if y is None else y


def _check_count(inputs: Tensor | Dataset | Nodes, labels: np.ndarray, suffix: str) -> None:
    count = len(inputs)  # type: ignore[arg-type]
    if count != len(labels):
        raise InputError(
            f"X{suffix} has {count} examples but there are {len(labels)} labels; give one label an example"
        )


@contextmanager
def sklearn_errors() -> Iterator[None]:
    """Turn what scikit-learn's checks refuse into InputError, its message on one line."""
    try:
        yield
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error


def _check_dataset(dataset: Any) -> None:
    if not hasattr(dataset, "__len__") or len(dataset) == 0:
        raise InputError("X is a data set without length or without examples: give one with __len__ and __getitem__")
    item = dataset[0]
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"item 0 of the data set is a {type(item).__name__}: let each item be a pair (input, label)")
    try:
        torch.as_tensor(item[0])
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the input of item 0 of the data set is a {type(item[0]).__name__}, not a tensor: "
            "add a transform that makes tensors of one shape"
        ) from error


def _pictures(pictures: np.ndarray) -> Tensor:
    if pictures.ndim not in (3, 4) or pictures.dtype.kind not in "uif":
        raise InputError(
            f"X has shape {pictures.shape} and type {pictures.dtype}: give numbers as (n, features) "
            "or pictures as (n, height, width) or (n, height, width, channels)"
        )
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.shape[1] in (1, 3) and pictures.shape[3] > 4:
        raise InputError(f"X has shape {pictures.shape}, with the channels first: move them with np.moveaxis(X, 1, -1)")
    checked = pictures.astype(np.uint8, copy=False) if _are_bytes(pictures) else as_float32(pictures)
    # torch warns of memory it may not write to, so that is copied.
    return torch.from_numpy(np.require(np.moveaxis(checked, -1, 1), requirements=["C", "W"]))


def _are_bytes(pictures: np.ndarray) -> bool:
    if pictures.dtype == np.uint8 or not pictures.size:
        return pictures.dtype.kind in "iu"
    return pictures.dtype.kind in "iu" and pictures.min() >= 0 and pictures.max() <= 255


def as_float32(X: np.ndarray) -> np.ndarray:
    """A float32 copy; raises InputError, with the place, for what is NaN or infinite in it."""
    with np.errstate(over="ignore"):
        single = X.astype(np.float32)
    if not np.isfinite(single).all():
        place = tuple(np.argwhere(~np.isfinite(single))[0].tolist())
        where = f"X row {place[0]}, column {place[1]}" if X.ndim == 2 else f"picture {place[0]}"
        raise InputError(
            f"{where} holds {X[place]}: repair or leave out rows with NaN, infinity or numbers too large for float32"
        )
    return single


def _num_axes(X: Any) -> int:
    """Number of axes; 2 for what is no array yet, so that scikit-learn checks it as a table."""
    axes = getattr(X, "ndim", None)
    if axes is not None:
        return int(axes)
    try:
        return np.asarray(X).ndim
    except ValueError:
        return 2


def _dataset_labels(dataset: Any) -> np.ndarray:
    """Labels of a data set: its ``targets`` where items give them unchanged, else read item by item."""
    if hasattr(dataset, "targets") and getattr(dataset, "target_transform", None) is None:
        return np.asarray(dataset.targets)
    labels = [dataset[row][1] for row in range(len(dataset))]
    return np.asarray([label.tolist() if isinstance(label, Tensor) else label for label in labels])
