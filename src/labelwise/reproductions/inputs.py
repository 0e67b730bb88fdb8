"""Where a reproduction finds its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.errors import InputError

TrainTest = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]
NUM_DIGITS_TEST = 397


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
