"""Rival labels of known quality: good masks of rendered organs and of road scenes, damaged by three sources each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.critic.critic import Case
from labelwise.audit.critic.projections import dice
from labelwise.data import named
from labelwise.data.organs import draw_volume
from labelwise.labels.mask_defects import add_island, cut, jitter, shift

Mask = NDArray[np.bool_]

# Each source errs in its own way: defect -> probability.
SOURCES: tuple[Mapping[str, float], ...] = tuple(
    MappingProxyType(dict(zip(("jitter", "cut", "island", "shift", "wrong"), shares, strict=True)))
    for shares in ((0.5, 0.2, 0.2, 0.05, 0.05), (0.45, 0.1, 0.1, 0.25, 0.1), (0.4, 0.3, 0.2, 0.05, 0.05))
)
CAMVID_SUBJECTS = ("sky", "building", "road", "pavement", "tree", "car")
CAMVID_LEAST_SHARE = 0.02


class Good(NamedTuple):
    """A good mask of something, what it labels, the masks of other things there, and how far shifts go (pixels)."""

    volume: NDArray[Any]
    mask: Mask
    subject: str
    others: Sequence[Mask]
    shifts: tuple[float, float]


class Rivals(NamedTuple):
    """A case with rival labels, and the true quality of each, its Dice with the good mask, hidden from the judge."""

    case: Case
    quality: NDArray[np.float64]


def organs(count: int, rng: np.random.Generator) -> Iterator[Good]:
    """The organs of ``count`` rendered volumes."""
    for _ in range(count):
        volume = draw_volume(rng)
        for name, mask in volume.masks.items():
            others = [other for other_name, other in volume.masks.items() if other_name != name]
            yield Good(volume.ct, mask, name, others, (4.0, 8.0))


def camvid(data_dir: Path, part: str, every: int) -> Iterator[Good]:
    """The larger classes of every so many frames of CamVid's train or test part, at half its size."""
    data = named.load_arrays("camvid", data_dir)
    for picture, labels in zip(data[f"x_{part}"][::every, ::2, ::2], data[f"y_{part}"][::every, ::2, ::2], strict=True):
        masks = {name: labels == named.CAMVID_CLASSES.index(name) for name in CAMVID_SUBJECTS}
        masks = {name: mask for name, mask in masks.items() if mask.mean() >= CAMVID_LEAST_SHARE}
        for name, mask in masks.items():
            others = [other for other_name, other in masks.items() if other_name != name]
            yield Good(picture, mask, name, others, (10.0, 30.0))


def rivals(goods: Iterator[Good], rng: np.random.Generator, labels_a_source: int = 1) -> list[Rivals]:
    """Let each source label each thing, ``labels_a_source`` times."""
    found = []
    for good in goods:
        labels = [damaged(good, rng, source) for source in SOURCES for _ in range(labels_a_source)]
        quality = np.array([dice(label, good.mask) for label in labels])
        found.append(Rivals(Case(good.volume, labels, good.subject), quality))
    return found


def damaged(good: Good, rng: np.random.Generator, source: Mapping[str, float]) -> Mask:
    """A label by a source: one defect of its mix."""
    defect = rng.choice(list(source), p=list(source.values()))
    if defect == "wrong" and good.others:
        return good.others[int(rng.integers(len(good.others)))]
    makers: dict[str, Callable[[], Mask]] = {
        "cut": lambda: cut(good.mask, rng, rng.uniform(0.15, 0.6)),
        "island": lambda: add_island(good.mask, rng, rng.uniform(0.15, 0.8)),
        "shift": lambda: shift(good.mask, rng, rng.uniform(*good.shifts)),
    }
    return makers[defect]() if defect in makers else jitter(good.mask, rng, rng.uniform(0.3, 1.0))
