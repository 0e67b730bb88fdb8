"""Where a reproduction finds its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.data.examples import Examples
from labelwise.errors import InputError

TrainTest = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]
NUM_DIGITS_TEST = 397


class NoisySet(NamedTuple):
    """Rows to learn from with given and true labels, and test rows with true ones.

    train_X (n, ...), given (n,) int64, truth (n,) int64 (only ever used to score), test_X (m, ...), test_y (m,) int64.
    """

    train_X: NDArray[Any]
    given: NDArray[np.int64]
    truth: NDArray[np.int64]
    test_X: NDArray[Any]
    test_y: NDArray[np.int64]


def data_folder(data_dir: Path | None, name: str) -> Path:
    """The folder `name` in the data folder. Raises InputError, with the remedy, if it is not there."""
    if data_dir is None:
        raise InputError(
            f"the {name} data are needed: give the folder that holds {name}/ with --data-dir or LABELWISE_DATA."
        )
    folder = data_dir / name
    if not folder.is_dir():
        raise InputError(f"{data_dir} has no folder {name}: give the folder that holds {name}/ with --data-dir.")
    return folder


def digits() -> TrainTest:
    """scikit-learn's digits: train_X uint8 (1400, 8, 8), train_y (1400,) int64, test_X (397, 8, 8), test_y.

    The split is always the same, even over the classes.
    """
    from sklearn.model_selection import train_test_split

    data = named.load_arrays("digits")
    train_X, test_X, train_y, test_y = train_test_split(
        data["x"], data["y"], test_size=NUM_DIGITS_TEST, random_state=0, stratify=data["y"]
    )
    return train_X, train_y, test_X, test_y


def fashion_mnist(data_dir: Path | None) -> TrainTest:
    """Fashion-MNIST: train_X uint8 (60000, 28, 28), train_y (60000,) int64, test_X (10000, 28, 28), test_y.

    Looked for in `data_dir`, then where named sets lie. Raises InputError, with the remedy, if it is not there.
    """
    data = named.load_arrays("fashion-mnist", data_dir)
    return data["x_train"], data["y_train"].astype(np.int64), data["x_test"], data["y_test"].astype(np.int64)


def cifar10n_features(data_dir: Path | None, label: str = "worst_label") -> NoisySet:
    """CIFAR-10N in 256 numbers a photograph: train_X float32 (50000, 256), test_X (10000, 256).

    label: whose labels are given, `worst_label` (40% wrong), `aggregate_label` (9%), ... Raises InputError, with the
    remedy, if the set is not there.
    """
    return _noisy_set(named.load(f"cifar10n-features:{label}", data_dir))


def cifar10n_pictures(data_dir: Path | None, label: str = "worst_label", limit: int = 4000) -> NoisySet:
    """CIFAR-10N photographs: train_X uint8 (limit, 32, 32, 3), the first ones, and as many evenly spaced test_X.

    label as for `cifar10n_features`; raises as it does.
    """
    return _noisy_set(named.load(f"cifar10n:{label}", data_dir, limit=limit))


def _noisy_set(examples: Examples) -> NoisySet:
    assert examples.truth is not None
    train, test = ~examples.is_test, examples.is_test
    return NoisySet(
        examples.inputs[train],
        examples.given[train],
        examples.truth[train],
        examples.inputs[test],
        examples.truth[test],
    )
