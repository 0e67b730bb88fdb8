"""Random labels and probabilities for the tests of the audit."""

from typing import Any

import numpy as np
from hypothesis import strategies as st


def draw_case(
    rng: np.random.Generator, num_classes: int, num_rows: int, *, ties: bool = False, unlabelled: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n, classes) that agree for about two thirds of the rows."""
    pred_probs = rng.dirichlet(np.full(num_classes, rng.choice([0.1, 0.5, 3.0])), num_rows)
    if ties:
        pred_probs = np.round(pred_probs * 4)
        pred_probs[pred_probs.sum(axis=1) == 0, 0] = 1
        pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    draws = rng.random((num_rows, 1))
    labels = np.minimum((pred_probs.cumsum(axis=1) < draws).sum(axis=1), num_classes - 1)
    is_flipped = rng.random(num_rows) < 0.25
    labels[is_flipped] = rng.integers(0, num_classes, is_flipped.sum())
    labels[rng.random(num_rows) < unlabelled] = -1
    return labels, pred_probs


@st.composite
def cases(draw: Any, *, max_classes: int = 6, unlabelled: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_classes, num_rows = draw(st.integers(1, max_classes)), draw(st.integers(1, 60))
    return draw_case(rng, num_classes, num_rows, ties=draw(st.booleans()), unlabelled=unlabelled)
