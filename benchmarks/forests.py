"""Time and memory of forests as smoothers, against the plain n x n construction and against the floor.

    python benchmarks/forests.py --preset quick
    python benchmarks/forests.py --preset full --out docs/results/bench-forests.json

Every job runs in a process of its own, so that its peak memory is its own. Leaf ids come from fully grown trees on
bootstrap samples of the additive MARS data (5 inputs), grown one at a time and kept in files; there are as many
queries as training rows. The floor reads each leaf id once and looks each up once, in a table of its tree's leaves: no
way to the exact effective parameters can do less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, float]
Size = tuple[int, int]  # rows, trees
PRESETS: dict[str, dict[str, list[Size]]] = {
    "quick": {"smoother": [(2000, 50)], "dense": [(500, 50)], "model": [(5000, 50)], "boosting": [(5000, 50)]},
    "full": {
        "smoother": [(12_500, 500), (25_000, 500), (50_000, 500), (100_000, 500)],
        "dense": [(1000, 100), (2000, 100), (4000, 100)],
        "model": [(100_000, 500)],
        "boosting": [(100_000, 500)],
    },
}
NUM_PROBES = 32


def grow(folder: Path, num_rows: int, num_trees: int) -> None:
    """Leaf ids of training rows and queries, and counts, a row a tree; trees are dropped as they are read."""
    from sklearn.tree import DecisionTreeRegressor

    from labelwise.certainty.forest_smoothers import mars_additive

    rng = np.random.default_rng(0)
    X, y = mars_additive(num_rows, 5, 1.0, rng)
    X_query, _ = mars_additive(num_rows, 5, 1.0, rng)
    shape = (num_trees, num_rows)
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        for name, dtype in (("train", np.int32), ("query", np.int32), ("counts", np.uint8))
    }
    for tree in range(num_trees):
        counts = np.bincount(rng.integers(0, num_rows, num_rows), minlength=num_rows)
        grown = DecisionTreeRegressor(max_features=1 / 3, random_state=tree).fit(X, y, sample_weight=counts)
        files["train"][tree], files["query"][tree], files["counts"][tree] = grown.apply(X), grown.apply(X_query), counts
    np.save(folder / "y.npy", y)


def load(folder: Path) -> dict[str, np.ndarray]:
    """The files that grow wrote, mapped."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("train", "query", "counts", "y")}


def job_floor(folder: Path) -> Found:
    """One read of all ids and counts, one lookup of each query's leaf in each tree."""
    files = load(folder)
    total = 0.0
    for train, query, counts in zip(files["train"], files["query"], files["counts"], strict=True):
        mass = np.bincount(train, weights=counts)
        total += mass[query].sum()
    return {"total": float(total)}


def job_smoother(folder: Path) -> Found:
    """Leaf ids to the exact effective parameters at the queries."""
    from labelwise.certainty.forest_smoothers import effective_parameters, forest_smoother_from_leaves

    files = load(folder)
    smoother = forest_smoother_from_leaves(files["train"], files["query"], files["counts"])
    return {"effective_parameters": effective_parameters(smoother)}


def job_predict(folder: Path) -> Found:
    """Leaf ids to predictions and the mean weight of every label."""
    from labelwise.certainty.forest_smoothers import forest_smoother_from_leaves, label_influence

    files = load(folder)
    smoother = forest_smoother_from_leaves(files["train"], files["query"], files["counts"])
    return {"mean": float((smoother @ files["y"]).mean()), "largest": float(label_influence(smoother).max())}


def job_train(folder: Path) -> Found:
    """Leaf ids to the exact effective parameters and the trace at the training rows."""
    from labelwise.certainty.forest_smoothers import (
        effective_parameters,
        forest_smoother_from_leaves,
        trace_parameters,
    )

    files = load(folder)
    smoother = forest_smoother_from_leaves(files["train"], files["train"], files["counts"])
    return {"effective_parameters": effective_parameters(smoother), "trace": trace_parameters(smoother)}


def job_dense(folder: Path) -> Found:
    """The plain way: for each tree compare every query's leaf with every training row's, add up n x n arrays."""
    files = load(folder)
    num_trees, num_rows = files["train"].shape
    summed = np.zeros((num_rows, num_rows))
    for train, query, counts in zip(files["train"], files["query"], files["counts"], strict=True):
        tree = (query[:, None] == train[None, :]) * counts.astype(np.float64)
        summed += tree / tree.sum(axis=1, keepdims=True)
    return {"effective_parameters": float(num_rows * ((summed / num_trees) ** 2).sum(axis=1).mean())}


def job_model(num_rows: int, num_trees: int) -> Found:
    """A scikit-learn forest with leaves of 5 rows, fitted and then seen as a smoother; memory includes the forest."""
    from sklearn.ensemble import RandomForestRegressor

    from labelwise.certainty.forest_smoothers import effective_parameters, forest_smoother, mars_additive

    rng = np.random.default_rng(0)
    X, y = mars_additive(num_rows, 5, 1.0, rng)
    X_query, _ = mars_additive(num_rows, 5, 1.0, rng)
    start = time.process_time()
    model = RandomForestRegressor(num_trees, min_samples_leaf=5, max_features=1 / 3, random_state=0).fit(X, y)
    fitted = time.process_time()
    smoother = forest_smoother(model, X, X_query)
    made = time.process_time()
    found = {"effective_parameters": effective_parameters(smoother)}
    found |= {"fit_seconds": fitted - start, "smoother_seconds": made - fitted}
    found["parameters_seconds"] = time.process_time() - made
    start = time.process_time()
    predicted = model.predict(X_query)
    found["model_predict_seconds"] = time.process_time() - start
    found["largest_gap"] = float(np.abs(smoother @ y - predicted).max())
    return found


def job_boosting(num_rows: int, num_trees: int) -> Found:
    """Histogram gradient boosting, then its effective parameters at the queries from random probes."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    from labelwise.certainty.forest_smoothers import estimated_effective_parameters, forest_smoother, mars_additive

    rng = np.random.default_rng(0)
    X, y = mars_additive(num_rows, 5, 1.0, rng)
    X_query, _ = mars_additive(num_rows, 5, 1.0, rng)
    start = time.process_time()
    model = HistGradientBoostingRegressor(max_iter=num_trees, early_stopping=False).fit(X, y)
    fitted = time.process_time()
    smoother = forest_smoother(model, X, X_query)
    made = time.process_time()
    value, error = estimated_effective_parameters(smoother, rng, NUM_PROBES)
    return {
        "effective_parameters": value,
        "standard_error": error,
        "fit_seconds": fitted - start,
        "smoother_seconds": made - fitted,
        "parameters_seconds": time.process_time() - made,
        "largest_gap": float(np.abs(smoother @ y - model.predict(X_query)).max()),
    }


ON_LEAVES: dict[str, Callable[[Path], Found]] = {
    "floor": job_floor,
    "smoother": job_smoother,
    "predict": job_predict,
    "train": job_train,
    "dense": job_dense,
}
ON_ROWS: dict[str, Callable[[int, int], Found]] = {"model": job_model, "boosting": job_boosting}


def peak_megabytes() -> float:
    """Peak resident memory of this process, files it has mapped included."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def run_job(name: str, folder: Path, size: Size, repeats: int) -> None:
    """In a process of its own: time the job, best of the repeats, and print what was measured as JSON.

    Processor time, since others may be at work on the machine; the jobs run in one thread.
    """
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        found = ON_LEAVES[name](folder) if name in ON_LEAVES else ON_ROWS[name](*size)
        seconds.append(time.process_time() - start)
    print(json.dumps(found | {"seconds": min(seconds), "peak_megabytes": peak_megabytes()}))


def measure(name: str, folder: Path, size: Size, repeats: int = 1) -> Found:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, "--job", name, "--folder", str(folder), "--size", *map(str, size)]
    command += ["--repeats", str(repeats)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: Found = json.loads(answer.splitlines()[-1])
    print(f"  {name:10s} {found['seconds']:9.3f} s   peak {found['peak_megabytes']:6.0f} MB   {found}", flush=True)
    return found


def bench_leaves(size: Size, jobs: tuple[str, ...]) -> dict[str, Found]:
    """The jobs on one set of grown trees."""
    print(f"{size[0]:,} training rows, as many queries, {size[1]} trees", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grow(folder, *size)
        return {job: measure(job, folder, size, repeats=3) for job in jobs}


def scaling_table(sizes: list[Size]) -> dict[str, Any]:
    """Fully grown trees, exact parameters."""
    columns = ["rows = queries", "trees", "MB of leaf ids and counts", "floor, s", "p at queries, s", "times floor"]
    columns += ["p and trace at training rows, s", "predictions and influence, s", "largest peak, MB", "p", "p, train"]
    rows = []
    for size in sizes:
        found = bench_leaves(size, ("floor", "smoother", "predict", "train"))
        seconds = {job: each["seconds"] for job, each in found.items()}
        cells = [f"{size[0]:,}", size[1], round(size[0] * size[1] * 9 / 1e6), f"{seconds['floor']:.2f}"]
        cells += [f"{seconds['smoother']:.2f}", f"{seconds['smoother'] / seconds['floor']:.1f}"]
        cells += [f"{seconds['train']:.2f}", f"{seconds['predict']:.2f}"]
        cells.append(round(max(each["peak_megabytes"] for each in found.values())))
        cells += [f"{found[job]['effective_parameters']:.1f}" for job in ("smoother", "train")]
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def dense_table(sizes: list[Size]) -> dict[str, Any]:
    """Against n x n arrays."""
    columns = ["rows = queries", "trees", "n x n arrays, s", "n x n, MB", "labelwise, s", "labelwise, MB"]
    columns += ["times faster", "same p to"]
    rows = []
    for size in sizes:
        found = bench_leaves(size, ("dense", "smoother"))
        dense, own = found["dense"], found["smoother"]
        gap = abs(dense["effective_parameters"] / own["effective_parameters"] - 1)
        cells: list[Any] = [f"{size[0]:,}", size[1]]
        for each in (dense, own):
            cells += [f"{each['seconds']:.3f}", round(each["peak_megabytes"])]
        rows.append([*cells, f"{dense['seconds'] / own['seconds']:.0f}", f"{gap:.0e}"])
    return {"columns": columns, "rows": rows}


def model_table(models: list[Size], boosted: list[Size]) -> dict[str, Any]:
    """Whole scikit-learn models."""
    columns = ["model", "rows = queries", "trees", "fit, s", "smoother, s", "effective parameters, s"]
    columns += ["peak with the model, MB", "p at queries", "largest gap to predict"]
    rows = []
    names = {
        "model": "RandomForestRegressor, leaves of 5",
        "boosting": f"HistGradientBoostingRegressor, p from {NUM_PROBES} probes",
    }
    for job, sizes in (("model", models), ("boosting", boosted)):
        for size in sizes:
            print(f"{size[0]:,} training rows, as many queries, {size[1]} trees", flush=True)
            found = measure(job, Path(), size)
            p = f"{found['effective_parameters']:.1f}"
            if "standard_error" in found:
                p += f" (standard error {found['standard_error']:.1f})"
            times = [f"{found[f'{part}_seconds']:.1f}" for part in ("fit", "smoother", "parameters")]
            cells = [names[job], f"{size[0]:,}", size[1], *times, round(found["peak_megabytes"]), p]
            rows.append([*cells, f"{found['largest_gap']:.0e}"])
    return {"columns": columns, "rows": rows}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--job", choices=[*ON_LEAVES, *ON_ROWS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(arguments.job, arguments.folder, tuple(arguments.size), arguments.repeats)
        return
    preset = PRESETS[arguments.preset]
    tables = [
        scaling_table(preset["smoother"]),
        dense_table(preset["dense"]),
        model_table(preset["model"], preset["boosting"]),
    ]
    if arguments.out is None:
        return
    report = {
        "title": "Forests as smoothers",
        "text": (
            "Fully grown trees on bootstrap samples, as many queries as training rows. Times are processor seconds of "
            "one thread, since the machine was shared; the best of three for what starts from leaf ids. The floor "
            "reads every leaf id and count once and looks each query's leaf up once in each tree; exact effective "
            "parameters also have to add up the weights of different trees on the same training row. The plain way "
            "compares all rows with all queries, a tree at a time; at 100,000 rows its one matrix would hold 80 GB. "
            "Memory is the peak of the whole process, the mapped files of leaf ids included."
        ),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("labelwise", "scikit-learn", "numpy", "scipy")},
        "tables": tables,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
