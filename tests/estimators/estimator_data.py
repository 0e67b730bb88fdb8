"""Tiny data and tiny models for the tests of the estimators."""

from typing import Any

import numpy as np

from labelwise import Classifier


def tiny(recipe: str = "elr", **changes: Any) -> Classifier:
    """A classifier that trains in a blink."""
    fixed = {"network": "mlp-8", "epochs": 4, "batch_size": 16, "learning_rate": 0.1, "accelerator": "cpu"}
    return Classifier(recipe, **(fixed | changes))


def points(n: int = 60, num_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated classes: X (n, 5) float64, y (n,) int64 that goes round through the classes."""
    y = np.arange(n) % num_classes
    centres = 4 * np.eye(num_classes, 5)
    return centres[y] + np.random.default_rng(seed).normal(size=(n, 5)), y


def pictures(n: int = 40, side: int = 8, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (n, side, side, channels): the left half is brighter in class 0, the right half in class 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.integers(0, 100, (n, side, side, channels))
    X[y == 0, :, : side // 2] += 120
    X[y == 1, :, side // 2 :] += 120
    return X.astype(np.uint8), y
