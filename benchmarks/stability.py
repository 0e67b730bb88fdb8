"""Does a benchmark's ranking hold? Six models of different capacity on CIFAR-10N, and on CIFAR-10's test set.

    python benchmarks/stability.py --out docs/results/stability.json --picture docs/pictures/stability.png

CIFAR-10N: 10,000 photographs of the training part are the benchmark, with the labels that people gave (once the worst
of three, once those of the majority), and corrected ones, which all are known; the models learn from 20,000 other
photographs with the same kind of labels. CIFAR-10: the test set with its own labels, corrected by the votes of the
label-errors study, which has no photographs of its other sets; the models learn from 20,000 photographs with CIFAR-10's
labels. All models see the 256 features of a photograph. They and their options were fixed before the first run, and
nothing is chosen by a result. Two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.ranking import Ranking
from labelwise.job.stability import study_files, to_json, write_study
from labelwise.report.stability import sentences
from labelwise.reproductions.inputs import NoisySet, cifar10n_features, data_folder

NUM_TRAIN, NUM_BENCHMARK = 20_000, 10_000
SEED = 0

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class Benchmark(NamedTuple):
    """Rows to learn from, and the files of the benchmark: its inputs, given labels and what corrects them."""

    train_X: Floats
    train_y: Ints
    X: Floats
    given: Ints
    corrected: Ints | None
    votes: Path | None


def models() -> dict[str, Any]:
    """Six classifiers, from stiff to one that repeats what it saw."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
    from sklearn.neural_network import MLPClassifier

    return {
        "class means": NearestCentroid(),
        "logistic": LogisticRegression(C=0.01, max_iter=300),
        "30 neighbours": KNeighborsClassifier(30),
        "1 neighbour": KNeighborsClassifier(1),
        "forest": RandomForestClassifier(100, random_state=SEED),
        "MLP": MLPClassifier((512,), max_iter=30, random_state=SEED),
    }


def cifar10n(data_dir: Path, label: str) -> Benchmark:
    """Photographs drawn from the training part, with labels of people."""
    data = cifar10n_features(data_dir, label)
    train, test, _ = np.split(np.random.default_rng(SEED).permutation(50_000), [NUM_TRAIN, NUM_TRAIN + NUM_BENCHMARK])
    X, given, truth = data.train_X, data.given, data.truth
    return Benchmark(X[train], given[train], X[test], given[test], truth[test], None)


def cifar10(data_dir: Path) -> Benchmark:
    """The test set in the order of the label-errors study: CIFAR-10's own, of which ours keeps that within a class."""
    folder = data_folder(data_dir, "label-errors")
    given = np.load(folder / "original_test_labels" / "cifar10_test_set_original_labels.npy").astype(np.int64)
    data: NoisySet = cifar10n_features(data_dir)
    train = np.random.default_rng(SEED).permutation(50_000)[:NUM_TRAIN]
    X = np.empty_like(data.test_X)
    X[np.argsort(given, kind="stable")] = data.test_X[np.argsort(data.test_y, kind="stable")]
    return Benchmark(data.train_X[train], data.truth[train], X, given, None, folder / "mturk" / "cifar10_mturk.json")


def run(benchmark: Benchmark, folder: Path) -> Ranking:
    """Train the models, write the files that a user would have, and study those."""
    scale = benchmark.train_X.std()
    np.save(folder / "given.npy", benchmark.given)
    files = []
    for number, (name, model) in enumerate(models().items()):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the MLP stops after so many rounds as it was told
            model.fit(benchmark.train_X / scale, benchmark.train_y)
        np.save(folder / f"{number}.npy", model.predict(benchmark.X / scale).astype(np.int64))
        files.append(f"{name}={folder / f'{number}.npy'}")
        print(f"  {name}: {time.perf_counter() - start:.0f} s", flush=True)
    corrected = None
    if benchmark.corrected is not None:
        corrected = folder / "corrected.npy"
        np.save(corrected, benchmark.corrected)
    ranking = study_files(files, folder / "given.npy", corrected=corrected, votes=benchmark.votes, seed=SEED)
    write_study(ranking, folder)
    return ranking


def draw(rankings: dict[str, Ranking], path: Path) -> None:
    """One panel a benchmark: corrected accuracy of each model at every noise prevalence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rankings), figsize=(3.4 * len(rankings), 3.8), layout="constrained")
    colours = dict(zip(models(), ("#0b63b0", "#b84c00", "#00785a", "#a4508b", "#8a6d00", "#5b6672"), strict=True))
    for panel, (title, ranking) in zip(panels, rankings.items(), strict=True):
        for place, model in enumerate(ranking.models):
            colour = colours[model.name]
            panel.fill_between(ranking.grid, ranking.low[place], ranking.high[place], color=colour, alpha=0.12, lw=0)
            panel.plot(ranking.grid, ranking.curves[place], color=colour, lw=2, label=model.name)
        panel.axvline(ranking.noise_prevalence, color="black", lw=1.5)
        panel.set(title=f"{title}\n{ranking.noise_prevalence:.1%} wrong labels", xlabel="share of wrong labels")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on corrected labels")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=6, frameon=False)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run all three, print what was found, keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("LABELWISE_DATA"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--pages", type=Path, help="folder to keep the pages in")
    arguments = parser.parse_args()
    benchmarks = {
        "CIFAR-10N, worst labels": cifar10n(arguments.data_dir, "worst_label"),
        "CIFAR-10N, majority labels": cifar10n(arguments.data_dir, "aggregate_label"),
        "CIFAR-10 test, reviewed": cifar10(arguments.data_dir),
    }
    start, rankings = time.perf_counter(), {}
    for number, (title, benchmark) in enumerate(benchmarks.items()):
        print(title, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if arguments.pages is None else arguments.pages / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            rankings[title] = run(benchmark, folder)
        print("\n".join(sentences(rankings[title])), flush=True)
    if arguments.picture is not None:
        draw(rankings, arguments.picture)
    if arguments.out is not None:
        kept = {title: _summary(ranking) for title, ranking in rankings.items()}
        record = {"seconds": time.perf_counter() - start, "version": version("labelwise"), "benchmarks": kept}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _summary(ranking: Ranking) -> dict[str, Any]:
    """All but the curves, which follow from the accuracies."""
    curves = ("grid", "curves", "low", "high")
    kept = {name: value for name, value in to_json(ranking).items() if name not in curves}
    return {"found": sentences(ranking)} | kept


if __name__ == "__main__":
    main()
