"""What balancing quantity and quality is tried on: binary tasks with cheap labels for a pool of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.data.encode import TextEncoder
from labelwise.reproductions.inputs import cifar10n_features, data_folder
from labelwise.reproductions.lp_icp_data import sentence_vectors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MACHINES = (0, 1, 8, 9)  # airplane, automobile, ship, truck
NUM_STORIES = 3000
NUM_TAUGHT = 60  # rows the weak labeller learns from


class Task(NamedTuple):
    """Pool rows X (n, d), cheap labels (n,) as probabilities of class 1, right ones (n,), and rows to test on."""

    X: Floats
    cheap: Floats
    truth: Ints
    test_X: Floats
    test_y: Ints


class Source(NamedTuple):
    """``draw(seed)`` divides the rows anew; ``words`` say what the task is."""

    name: str
    words: str
    draw: Callable[[int], Task]


def digits_source() -> Source:
    """Digits of 5 and more; a linear model of 60 digits labels the others."""
    data = named.load_arrays("digits")
    X, y = data["x"].reshape(-1, 64) / 255, data["y"]

    def draw(seed: int) -> Task:
        return _with_weak_labeller(X - X.mean(axis=0), (y >= 5).astype(np.int64), 440, seed, components=None)

    return Source("digits", "digits of 5 and more; cheap labels of a linear model taught 60 digits", draw)


def photographs_source(data_dir: Path) -> Source:
    """CIFAR-10N, machines against animals: the worst of three people's votes are cheap, the clean labels dear."""
    rows = cifar10n_features(data_dir)
    scale = np.sqrt((rows.train_X.astype(np.float64) ** 2).mean())
    cheap, truth, test_y = (np.isin(each, MACHINES).astype(np.int64) for each in (rows.given, rows.truth, rows.test_y))

    def draw(seed: int) -> Task:
        pool = np.random.default_rng(seed).permutation(len(truth))[:10_000]
        return Task(
            rows.train_X[pool].astype(np.float64) / scale,
            cheap[pool].astype(np.float64),
            truth[pool],
            rows.test_X[:2000].astype(np.float64) / scale,
            test_y[:2000],
        )

    return Source("CIFAR-10N", "machines against animals; cheap labels are the worst of three people's votes", draw)


def stories_source(data_dir: Path) -> Source:
    """Reuters, takeovers against all other stories but earnings, in MiniLM's vectors, or TF-IDF where it is absent."""
    data = named.load_arrays("reuters21578", data_folder(data_dir, "reuters21578").parent)
    kept = [row for row, topics in enumerate(data["topics"]) if len(topics) == 1 and topics[0] != "earn"][:NUM_STORIES]
    y = np.array([data["topics"][row][0] == "acq" for row in kept], dtype=np.int64)
    texts = data["texts"][kept]
    vectors, by = sentence_vectors(texts), "MiniLM"
    if vectors is None:
        vectors, by = TextEncoder().fit(list(texts)).transform(list(texts)).astype(np.float64), "TF-IDF"
    X = (vectors - vectors.mean(axis=0)) / vectors.std()

    def draw(seed: int) -> Task:
        return _with_weak_labeller(X, y, 600, seed, components=3)

    words = f"takeovers against other news, in {by}; cheap labels of a linear model on 3 components, taught 60 stories"
    return Source(f"Reuters, {by}", words, draw)


def _with_weak_labeller(X: Floats, y: Ints, num_test: int, seed: int, components: int | None) -> Task:
    """Rows divided into those that teach the weak labeller, those to test on and the pool it labels."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    order = np.random.default_rng(seed).permutation(len(y))
    taught, test, pool = np.split(order, [NUM_TAUGHT, NUM_TAUGHT + num_test])
    seen = X if components is None else PCA(components, random_state=0).fit(X[pool]).transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it is to be weak
        weak = LogisticRegression(max_iter=500).fit(seen[taught], y[taught])
    return Task(X[pool], weak.predict_proba(seen[pool])[:, 1], y[pool], X[test], y[test])
