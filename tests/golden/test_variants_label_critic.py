"""Random cases with the fields of 35-label-critic.json against plain loops."""

import statistics
from typing import Any

import numpy as np
import pytest
from adapters import UnknownCase, label_critic
from comparison import mismatches


def check(inputs: dict[str, Any], params: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    computed = label_critic.run({"inputs": inputs, "params": params, "expected": expected}, None)
    assert mismatches(expected, computed, atol) == []


def read(text: str) -> float:
    first, second = ("overlay 1" in text.lower(), "overlay 2" in text.lower())
    return 0.5 if first == second else 1 if first else 2


WORDS = (
    "Overlay 1",
    "Overlay 2",
    "Neither",
    "I prefer OVERLAY 2.",
    "overlay 1 rather than overlay 2",
    "",
    "overlay 1!",
)


@pytest.mark.parametrize("conservative", [False, True])
def test_verdicts(conservative: bool) -> None:
    pairs = [[first, second] for first in WORDS for second in WORDS]
    expected = []
    for first, second in pairs:
        a, b = read(first), read(second)
        if a == b or (conservative and 0.5 in (a, b)):
            expected.append(0.5)
        elif a == 0.5:
            expected.append(3 - b)
        else:
            expected.append(a)
    check({"answer_pairs": pairs}, {"conservative": conservative}, {"verdict": expected})


def test_dice() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.random((2, 4, 5)) < share).astype(int).tolist() for share in (0, 0.2, 0.5, 1)]
    expected = []
    for a, b in pairs:
        flat = list(zip(np.ravel(a).tolist(), np.ravel(b).tolist(), strict=True))
        size = sum(x + y for x, y in flat)
        expected.append(2 * sum(x * y for x, y in flat) / (size + 1e-6))
    check({"mask_pairs": pairs}, {}, {"dice": expected})


def slow_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear by hand: pixel centres at (i + 0.5) * old / new - 0.5, borders repeated."""

    def places(old: int, new: int) -> list[tuple[int, int, float]]:
        found = []
        for i in range(new):
            at = max((i + 0.5) * old / new - 0.5, 0.0)
            low = min(int(at), old - 1)
            found.append((low, min(low + 1, old - 1), at - low))
        return found

    rows, columns = places(image.shape[0], size[0]), places(image.shape[1], size[1])
    return np.array(
        [
            [
                (1 - u) * ((1 - v) * image[a, c] + v * image[a, d]) + u * ((1 - v) * image[b, c] + v * image[b, d])
                for c, d, v in columns
            ]
            for a, b, u in rows
        ]
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("th", [0.5, 0.0, 0.7])
@pytest.mark.parametrize("spacing", [[1, 1, 1], [0.7, 2.5, 1.4], [3, 1, 0.5], None])
def test_projections(axis: int, th: float, spacing: list[float] | None) -> None:
    rng = np.random.default_rng(axis)
    ct = rng.uniform(-1000, 2500, (4, 3, 5))
    mask = (rng.random(ct.shape) < 0.3).astype(int)
    windows = {"bone": [-400, 1200], "skeleton": [300, 1900], "soft": [-10, 90]}
    kept = [each for each in range(3) if each != axis]
    thickness = mask.sum(axis)
    drawn = np.where(thickness > 0, th + (1 - th) * thickness / thickness.max(), 0)
    shape = tuple(ct.shape[k] for k in kept)
    if spacing is not None:
        shape = tuple(int(ct.shape[k] * spacing[k]) for k in kept)
    expected: dict[str, Any] = {"mask_projection": drawn, "projection_shape": list(shape)}
    for name, (low, high) in windows.items():
        image = ((np.clip(ct, low, high) - low) / (high - low)).sum(axis)
        image = image / image.max()
        expected[f"projection_{name}"] = slow_resize(image, shape)
        red = np.stack([image, image, image])
        for i in range(image.shape[0]):
            for j in range(image.shape[1]):
                if drawn[i, j] > 0.5:
                    red[1:, i, j] = 0
                    red[0, i, j] = min(1, image[i, j] + (0.5 if name == "skeleton" else 0))
        expected[f"overlay_{name}"] = red
    inputs = {"ct": ct.tolist(), "mask": mask.tolist()} | ({} if spacing is None else {"spacing": spacing})
    check(
        inputs, {"axis": axis, "th": th, "windows": windows}, {k: np.asarray(v).tolist() for k, v in expected.items()}
    )


def test_an_empty_mask() -> None:
    ct, mask = np.zeros((2, 3, 4)), np.zeros((2, 3, 4), int)
    image = np.full((2, 4), 1.0)
    expected = {"mask_projection": np.zeros((2, 4)).tolist(), "overlay_bone": np.stack([image] * 3).tolist()}
    check({"ct": ct.tolist(), "mask": mask.tolist(), "spacing": [1, 1, 1]}, {"axis": 1, "th": 0.5}, expected)


@pytest.mark.parametrize("seed", range(12))
def test_selections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dice = rng.beta(4, 1, int(rng.integers(3, 40))).tolist()
    params = {"threshold_max": 0.7, "min_cases": int(rng.integers(0, 3)) * (1 + seed % 3), "max_cases": 6}
    if len(dice) <= params["min_cases"]:
        return
    threshold = min(statistics.mean(dice) - statistics.stdev(dice), 0.7)
    if sum(d < threshold for d in dice) < params["min_cases"]:
        threshold = sorted(dice)[params["min_cases"]]
    below = sorted([(d, i) for i, d in enumerate(dice) if d < threshold])[:6]
    check({"dice": dice}, params, {"threshold": threshold, "selected": sorted(i for _, i in below)})


@pytest.mark.parametrize("seed", range(12))
def test_winners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 7))
    table = rng.choice([0.5, 1, 2], (k, k)).tolist()
    best = 0
    for j in range(1, k):
        best = j if table[best][j] == 2 else best
    scores = [sum({1: 1.0, 0.5: 0.5, 2: 0.0}[table[i][j]] for j in range(k) if j != i) for i in range(k)]
    expected = {"sequential_best": best, "scores": scores, "copeland_best": scores.index(max(scores))}
    check({"verdict_matrix": table}, {}, expected)


@pytest.mark.parametrize(
    ("inputs", "params"),
    [
        ({"answers": [["Overlay 1", "Overlay 2"]]}, {}),
        ({"answer_pairs": [["Overlay 1", "Overlay 2"]]}, {"strict": True}),
        ({"dice": [0.5]}, {"threshold": 0.5}),
    ],
)
def test_unknown_cases_are_refused(inputs: Any, params: Any) -> None:
    with pytest.raises(UnknownCase):
        label_critic.run({"inputs": inputs, "params": params, "expected": {"verdict": [1]}}, None)
