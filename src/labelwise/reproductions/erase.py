"""ERASE against cross-entropy on citation networks whose few training labels are partly wrong.

Chen et al., "ERASE: Error-resilient representation learning on graphs for label noise tolerance", CIKM 2024. All arms
have the same body, a graph attention network; for each of them validation nodes choose one of two learning rates, and
the epoch. As in the paper the validation labels are clean, for the baseline too. Test nodes choose nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.estimators.node_classifier import NodeClassifier
from labelwise.methods.graphs.erase import corrupt_labels
from labelwise.numerics.graphs import graph_from_edges
from labelwise.reproductions.inputs import data_folder
from labelwise.reproductions.result import (
    Result,
    clearly_above,
    library_version,
    paired_interval,
    summarise,
)

SLUG = "erase"
CLAIM = (
    "With 40% of the training labels flipped to another class's, or 50% to any other class, ERASE classifies the other "
    "nodes better than the same network under cross-entropy, and its pseudo-labels of the training nodes are more "
    "often right than the given ones; it holds if the 95% intervals of both differences, each averaged over data and "
    "noise, lie above 0."
)
DEFAULT_SEEDS = 4

BASELINE, PROTOTYPES, METHOD = "cross-entropy", "erase without spreading", "erase"
RECIPES = {BASELINE: "node-cross-entropy", PROTOTYPES: "erase", METHOD: "erase"}
# The paper's values of each network, but for the embeddings and their precision: it has 512 with 0.05 and 0.4.
DEFAULTS: dict[str, dict[str, Any]] = {
    "cora": {"alpha": 0.6, "beta": 0.6, "num_steps": 5},
    "citeseer": {"alpha": 0.6, "beta": 0.7, "num_steps": 4},
}
CODING: dict[str, Any] = {"embedding_size": 64, "eps": 0.05}
NETWORK = "gat-8x8"
NOISES = (("asymm", 0.4), ("symm", 0.5))
RATES = (5e-3, 1e-2)
EPOCHS, PATIENCE = 100, 30
Ints = NDArray[np.int64]


class Citations(NamedTuple):
    """Word counts (n, d) and links of papers, classes (n,) with -1 = none, and the rows of the public split."""

    features: Any
    graph: Any
    classes: Ints
    train: Ints
    validation: Ints
    test: Ints


class Trial(NamedTuple):
    """What one training came to, at the epoch that the validation nodes like best."""

    validation: float
    test: float
    pseudo_labels: float  # share of training nodes whose pseudo-label is right; of the given label without any
    rate: float


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all arms on Cora and Citeseer; without a data folder, or when quick, on a planted graph.

    Raises InputError when a data folder is given that lacks planetoid/. About 80 s a seed with data.
    """
    start = time.perf_counter()
    if data_dir is None or quick:
        sets, epochs = {"planted": planted_citations(0)}, 30 if quick else EPOCHS
    else:
        folder = data_folder(data_dir, "planetoid").parent
        sets, epochs = {name: read_citations(name, folder) for name in ("cora", "citeseer")}, EPOCHS
    trials = {
        (name, kind, arm): [best_of_rates(arm, name, papers, (kind, ratio), seed, epochs) for seed in range(seeds)]
        for name, papers in sets.items()
        for kind, ratio in NOISES
        for arm in RECIPES
    }
    given = {
        (name, kind): [given_right(papers, (kind, ratio), seed) for seed in range(seeds)]
        for name, papers in sets.items()
        for kind, ratio in NOISES
    }
    accuracy = {arm: _average([found for key, found in trials.items() if key[2] == arm], "test") for arm in RECIPES}
    pseudo = _average([found for key, found in trials.items() if key[2] == METHOD], "pseudo_labels")
    right = np.mean(list(given.values()), axis=0).tolist()
    found, cleaned = paired_interval(accuracy[METHOD], accuracy[BASELINE]), paired_interval(pseudo, right)
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data=f"{', '.join(sets)}: the public split" if "cora" in sets else "a planted graph",
        fault="of each class's training labels 40% flipped to one other class, or 50% to any",
        metric="test accuracy, mean over data and noise",
        baselines={arm: summarise(accuracy[arm]) for arm in (BASELINE, PROTOTYPES)},
        methods={METHOD: summarise(accuracy[METHOD])},
        difference=found.difference,
        interval=found.interval,
        holds=clearly_above(found) and clearly_above(cleaned),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "erase minus erase without spreading": paired_interval(accuracy[METHOD], accuracy[PROTOTYPES])._asdict(),
            "labels of training nodes that are right": {
                "given": float(np.mean(right)),
                "pseudo-labels": float(np.mean(pseudo)),
                "difference": cleaned._asdict(),
            },
            "each": {
                f"{name}, {kind} {ratio}": _details(name, kind, trials, given)
                for name in sets
                for kind, ratio in NOISES
            },
        },
        notes=_notes(seeds, "cora" in sets, epochs),
    )


def best_of_rates(arm: str, name: str, papers: Citations, noise: tuple[str, float], seed: int, epochs: int) -> Trial:
    """The trial, one a learning rate, that the validation nodes like best; of equal ones the first."""
    trials = [train_once(arm, name, papers, noise, seed, epochs, rate) for rate in RATES]
    return max(trials, key=lambda trial: trial.validation)


def train_once(
    arm: str, name: str, papers: Citations, noise: tuple[str, float], seed: int, epochs: int, rate: float
) -> Trial:
    """Train one arm on noisy labels and go back to its best epoch."""
    options = CODING | DEFAULTS.get(name, {})
    if arm == PROTOTYPES:
        options |= {"alpha": 1.0}
    noisy = noisy_labels(papers, noise, seed)
    model = NodeClassifier(
        RECIPES[arm],
        network=NETWORK,
        recipe_options=None if arm == BASELINE else options,
        epochs=epochs,
        learning_rate=rate,
        early_stopping=PATIENCE,
        accelerator="cpu",
        random_state=seed,
    )
    classes = np.arange(papers.classes.max() + 1)
    known = np.where(np.isin(np.arange(len(noisy)), papers.validation), papers.classes, -1)
    model.fit(papers.features, noisy, graph=papers.graph, y_val=known, classes=classes)
    is_right = model.predict() == papers.classes
    score = max(row["validation_score"] for row in model.history_)
    cleaned = model.recipe_.corrections()
    labels = noisy if cleaned is None else cleaned.targets.argmax(dim=1).numpy()
    train = papers.train
    return Trial(score, float(is_right[papers.test].mean()), float((labels == papers.classes)[train].mean()), rate)


def noisy_labels(papers: Citations, noise: tuple[str, float], seed: int) -> Ints:
    """Labels (n,): those of the training nodes, with noise, and -1 elsewhere."""
    kind, ratio = noise
    labels = np.full(len(papers.classes), -1)
    labels[papers.train] = corrupt_labels(papers.classes[papers.train], ratio, kind, seed)  # type: ignore[arg-type]
    return labels


def given_right(papers: Citations, noise: tuple[str, float], seed: int) -> float:
    """Share of the given training labels that are right."""
    return float((noisy_labels(papers, noise, seed) == papers.classes)[papers.train].mean())


def read_citations(name: str, data_dir: Path) -> Citations:
    """A citation network with its public split."""
    data = named.load_arrays(name, data_dir)
    count = len(data["labels"])
    links = np.ones(len(data["adj_indices"]))
    graph = scipy.sparse.csr_array((links, data["adj_indices"], data["adj_indptr"]), shape=(count, count))
    shape = tuple(data["x_shape"].tolist())
    words = scipy.sparse.csr_array((data["x_data"], data["x_indices"], data["x_indptr"]), shape=shape)
    parts = (data[f"{part}_index"] for part in ("train", "val", "test"))
    return Citations(words, graph.maximum(graph.T), data["labels"].astype(np.int64), *parts)


def planted_citations(seed: int, size: int = 60, num_classes: int = 4) -> Citations:
    """Papers of equal classes: most links within a class, and words that only hint at it."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(num_classes), size))
    pairs = np.column_stack(np.triu_indices(len(classes), 1))
    alike = classes[pairs[:, 0]] == classes[pairs[:, 1]]
    edges = pairs[rng.random(len(pairs)) < np.where(alike, 3.5 / size, 0.2 / size)]
    favoured = rng.random((num_classes, 200)) < 0.1  # (classes, words)
    words = rng.random((len(classes), 200)) < np.where(favoured[classes], 0.2, 0.04)
    order = np.argsort(classes, kind="stable").reshape(num_classes, size)  # nodes of each class
    train, validation, test = (np.sort(part, axis=None) for part in np.split(order, [20, 40], axis=1))
    graph = graph_from_edges(edges, len(classes))
    return Citations(scipy.sparse.csr_array(words.astype(np.float32)), graph, classes, train, validation, test)


def _average(groups: list[list[Trial]], name: str) -> list[float]:
    """Mean over groups of a value of each seed's trial."""
    return np.mean([[getattr(trial, name) for trial in group] for group in groups], axis=0).tolist()


def _details(name: str, kind: str, trials: Any, given: Any) -> dict[str, Any]:
    found = {arm: trials[name, kind, arm] for arm in RECIPES}
    test = {arm: [trial.test for trial in each] for arm, each in found.items()}
    return {
        "accuracy": {arm: float(np.mean(values)) for arm, values in test.items()},
        "erase minus cross-entropy": paired_interval(test[METHOD], test[BASELINE])._asdict(),
        "given labels right": float(np.mean(given[name, kind])),
        "pseudo-labels right": float(np.mean([trial.pseudo_labels for trial in found[METHOD]])),
        "rates chosen": {arm: [trial.rate for trial in each] for arm, each in found.items()},
    }


def _notes(seeds: int, has_data: bool, epochs: int) -> list[str]:
    notes = [
        f"{NETWORK}, at most {epochs} epochs, stopped after {PATIENCE} without gain; ERASE's classifier is fitted anew "
        "every tenth epoch (the authors: every epoch)",
        "what counts in the coding rates is the embedding's size over eps. Embeddings are of 64 (the paper: 512) with "
        "eps 0.05. A first run, of 3 seeds, took the paper's 0.4 for Citeseer: there ERASE fell to 0.37 and 0.31 where "
        "cross-entropy reached 0.41 and 0.45, and the claim did not hold (mean difference +0.017). 0.05 was then "
        "chosen by validation nodes, on draws of noise that are no seeds here",
        "on one of these draws, on Cora, cross-entropy's best validation accuracy in 200 epochs came within the first "
        "100; a rate of 0.001 gave less",
        "erase without spreading has alpha = 1: the coding rate of labels from prototypes and given labels alone",
    ]
    if not has_data:
        notes.append(
            "Cora and Citeseer were not run: give the folder that holds planetoid/ with --data-dir, no --quick"
        )
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the sign of the differences")
    return notes
