"""Glyphs that reproductions on masks draw their scenes from: one half to train on, other glyphs to test on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelwise.data.scenes import Glyphs, digit_glyphs
from labelwise.reproductions.inputs import fashion_mnist


class Source(NamedTuple):
    """Glyphs of the scenes to train on and of those to test on, which kinds, and their name."""

    train: Glyphs
    test: Glyphs
    kinds: tuple[int, ...]
    name: str


def find_source(data_dir: Path | None, *, quick: bool) -> Source:
    """Fashion-MNIST; digits without a data folder, or if `quick`.

    Raises InputError when a data folder is given and Fashion-MNIST is found nowhere.
    """
    return _digits() if quick or data_dir is None else _fashion(data_dir)


def source_notes(data_dir: Path | None, seeds: int, *, quick: bool) -> list[str]:
    """What a reader must know of the form that ran."""
    notes = []
    if quick:
        notes.append("quick form: few scenes of digits and epochs, the verdict means little")
    elif data_dir is None:
        notes.append("scenes of digits; give a data folder (--data-dir or LABELWISE_DATA) for those of Fashion-MNIST")
    if seeds == 1:
        notes.append("one seed: the verdict rests on the sign of the difference")
    return notes


def _digits() -> Source:
    glyphs = digit_glyphs()
    half = len(glyphs.labels) // 2
    train = Glyphs(glyphs.pictures[:half], glyphs.labels[:half])
    test = Glyphs(glyphs.pictures[half:], glyphs.labels[half:])
    return Source(train, test, (0, 1, 7), "scikit-learn's digits 0, 1 and 7")


def _fashion(data_dir: Path) -> Source:
    train_X, train_y, test_X, test_y = fashion_mnist(data_dir)
    train = Glyphs((train_X[:10_000] / 255).astype(np.float32), train_y[:10_000])
    test = Glyphs((test_X / 255).astype(np.float32), test_y)
    return Source(train, test, (1, 8, 9), "Fashion-MNIST trousers, bags and ankle boots")
