"""Time and memory of the audits of labels that are not single classes, against cleanlab.

    python benchmarks/audit_tasks.py multilabel --preset quick
    python benchmarks/audit_tasks.py multilabel --preset coco wide --out docs/results/bench-audit-multilabel.json
    python benchmarks/audit_tasks.py segmentation --preset all --out docs/results/bench-audit-segmentation.json
    python benchmarks/audit_tasks.py regression --preset all --out docs/results/bench-audit-regression.json

Every job starts from .npy files and ends with the answer, in a process of its own, so that its peak memory is its own,
and runs there once, as a user would run it. Files are in the page cache when timing starts; every job first runs on a
tiny file, so that imports and compiled kernels are loaded (`warm_up_seconds`). The jobs take turns for some rounds;
what is reported is the median of the rounds, for ratios that of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audit import peak_megabytes

Answer = dict[str, np.ndarray]
Size = tuple[int, ...]
OURS, PEER = "labelwise", "cleanlab"


class Task(NamedTuple):
    """One kind of audit: the same files for both jobs, and what their answers have in common.

    ``write(folder, size)`` leaves the .npy files; a job reads them and returns its answer; ``compare(ours, theirs)``
    says in JSON-able values how the two answers differ. ``tiny`` is a size to warm up with.
    """

    title: str
    text: str
    axes: tuple[str, ...]  # what the numbers of a size count
    presets: Mapping[str, list[Size]]
    tiny: Size
    write: Callable[[Path, Size], None]
    jobs: Mapping[str, Callable[[Path], Answer]]
    compare: Callable[[Answer, Answer], dict[str, Any]]


def write_multilabel(folder: Path, size: Size) -> None:
    """labels.npy (rows, classes) int8, pred_probs.npy float32: each class in 2 to 20% of the rows, a fair model, 5% of
    the present labels missing and 1% of the absent ones wrongly given.
    """
    num_rows, num_classes = size
    rng = np.random.default_rng(0)
    labels = np.lib.format.open_memmap(folder / "labels.npy", "w+", np.int8, size)
    probs = np.lib.format.open_memmap(folder / "pred_probs.npy", "w+", np.float32, size)
    rates = rng.uniform(0.02, 0.2, num_classes)
    step = max(1, 5_000_000 // num_classes)
    for start in range(0, num_rows, step):
        shape = (min(step, num_rows - start), num_classes)
        truth = rng.random(shape) < rates
        logits = rng.standard_normal(shape, dtype=np.float32) * 1.5 + np.where(truth, 2.0, -3.0).astype(np.float32)
        is_wrong = rng.random(shape) < np.where(truth, 0.05, 0.01)
        probs[start : start + len(truth)] = 1 / (1 + np.exp(-logits))
        labels[start : start + len(truth)] = truth ^ is_wrong
    labels[0] = 0  # cleanlab refuses a class that all rows have


def multilabel_labelwise(folder: Path) -> Answer:
    """Issues, ranking and scores of examples, from mapped files."""
    from labelwise import audit_multilabel

    labels, probs = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("labels", "pred_probs"))
    found = audit_multilabel(labels, probs)
    return {"row": found.issues.row, "class": found.issues.label_class, "ranked": found.ranked, "scores": found.scores}


def multilabel_cleanlab(folder: Path) -> Answer:
    """The same with cleanlab's functions, which take label-sets as lists; in one process, where it is quickest."""
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    labels, probs = (np.load(folder / f"{name}.npy") for name in ("labels", "pred_probs"))
    sets = [np.flatnonzero(row).tolist() for row in labels]
    mask = find_multilabel_issues_per_class(sets, probs, n_jobs=1)
    scores = get_label_quality_scores(sets, probs)
    row, label_class = np.nonzero(mask)
    ranked = np.flatnonzero(mask.any(axis=1))
    return {"row": row, "class": label_class, "ranked": ranked[np.argsort(scores[ranked])], "scores": scores}


def compare_multilabel(ours: Answer, theirs: Answer) -> dict[str, Any]:
    """Issues that only one of them has, and the largest difference of a score."""
    mine, other = ({*zip(each["row"].tolist(), each["class"].tolist(), strict=True)} for each in (ours, theirs))
    return {
        "issues": len(other),
        "issues_that_differ": len(mine ^ other),
        "largest_gap_of_scores": float(np.abs(ours["scores"] - theirs["scores"]).max()),
    }


def write_segmentation(folder: Path, size: Size) -> None:
    """masks.npy (images, side, side) uint8, pred_probs.npy (images, classes, side, side) float32: patches of a class, a
    model that is unsure at their borders, and one patch in twenty labelled wrongly.
    """
    num_images, num_classes, side = size
    rng = np.random.default_rng(0)
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (num_images, side, side))
    probs = np.lib.format.open_memmap(
        folder / "pred_probs.npy", "w+", np.float32, (num_images, num_classes, side, side)
    )
    patch = max(side // 16, 1)
    rows = np.arange(side) // patch
    for image in range(num_images):
        true = rng.integers(0, num_classes, (rows[-1] + 1, rows[-1] + 1))
        given = np.where(rng.random(true.shape) < 0.05, rng.integers(0, num_classes, true.shape), true)
        masks[image] = given[rows[:, None], rows]
        logits = rng.standard_normal((num_classes, side, side), dtype=np.float32)
        for reach, evidence in ((0, 4.0), (patch // 4, 2.5)):  # what a pixel is, and what it is near to
            seen = np.roll(true[rows[:, None], rows], (reach, reach), axis=(0, 1))[None]
            np.put_along_axis(logits, seen, np.take_along_axis(logits, seen, axis=0) + np.float32(evidence), axis=0)
        np.exp(logits - logits.max(axis=0), out=logits)
        probs[image] = logits / logits.sum(axis=0)


def segmentation_labelwise(folder: Path) -> Answer:
    """Issue pixels, scores of images and confused classes, from mapped files."""
    from labelwise import audit_segmentation

    found = audit_segmentation(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("masks", "pred_probs")))
    images = np.repeat(np.arange(len(found.scores)), found.num_issues)
    return {"issues": images * found.shapes[0].prod() + found.pixels, "scores": found.scores}


def segmentation_cleanlab(folder: Path) -> Answer:
    """Issue pixels and scores, without the confused classes; one process, which is quicker here than several."""
    from cleanlab.segmentation.filter import find_label_issues
    from cleanlab.segmentation.rank import get_label_quality_scores

    masks, probs = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("masks", "pred_probs"))
    issues = find_label_issues(masks, probs, downsample=1, n_jobs=1, verbose=False)
    scores, _ = get_label_quality_scores(masks, probs, verbose=False)
    return {"issues": np.flatnonzero(issues), "scores": scores}


def compare_segmentation(ours: Answer, theirs: Answer) -> dict[str, Any]:
    """Issue pixels that only one of them has, and the largest difference of a score."""
    return {
        "issue_pixels": len(theirs["issues"]),
        "that_differ": len(np.setxor1d(ours["issues"], theirs["issues"])),
        "largest_difference_of_a_score": float(f"{np.abs(ours['scores'] - theirs['scores']).max():.1g}"),
    }


def write_regression(folder: Path, size: Size) -> None:
    """targets.npy, predictions.npy (rows,) float64: a fair model, one target in twenty exchanged for another."""
    rng = np.random.default_rng(0)
    true = rng.gamma(2.0, 2.0, size)
    targets = true + rng.standard_t(5, size)
    targets = np.where(rng.random(size) < 0.05, rng.permutation(targets), targets)
    np.save(folder / "targets.npy", targets)
    np.save(folder / "predictions.npy", true + 0.3 * rng.standard_normal(size))


def regression_labelwise(folder: Path) -> Answer:
    """Scores, issues, and the share of wrong targets with an interval, from mapped files."""
    from labelwise import audit_regression

    files = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("targets", "predictions"))
    return {"scores": audit_regression(*files, rank_by="outre").scores}


def regression_cleanlab(folder: Path) -> Answer:
    """The scores alone, by cleanlab's default."""
    from cleanlab.regression.rank import get_label_quality_scores

    targets, predictions = (np.load(folder / f"{name}.npy") for name in ("targets", "predictions"))
    return {"scores": get_label_quality_scores(targets, predictions)}


def compare_regression(ours: Answer, theirs: Answer) -> dict[str, Any]:
    """The largest difference of a score."""
    return {"largest_difference_of_a_score": float(f"{np.abs(ours['scores'] - theirs['scores']).max():.1g}")}


TASKS = {
    "multilabel": Task(
        title="The audit of multi-labels",
        text=(
            "From .npy files of probabilities (rows x classes, float32) and labels (int8) to the labels that look "
            "wrong by confident learning of each class, filter `prune_by_noise_rate`, and the score of each example. "
            "cleanlab takes the labels of a row as a list, which is made within its time, and works on one class after "
            "the other, in one process: with one a core, its default, it took longer. Issues can differ where equal "
            "probabilities straddle the last place to be taken: cleanlab leaves their order to the processor. Every "
            "job runs once in a process of its own; medians of rounds in which the jobs take turns, ratios taken "
            "within a round."
        ),
        axes=("rows", "classes"),
        presets={"quick": [(20_000, 20)], "coco": [(122_218, 80)], "wide": [(50_000, 500)], "long": [(1_000_000, 20)]},
        tiny=(200, 3),
        write=write_multilabel,
        jobs={OURS: multilabel_labelwise, PEER: multilabel_cleanlab},
        compare=compare_multilabel,
    ),
    "segmentation": Task(
        title="The audit of masks",
        text=(
            "From .npy files of masks (images x side x side, uint8) and probabilities (images x classes x side x side, "
            "float32), both mapped, to the issue pixels and the scores of images; labelwise also counts which classes "
            "are confused. cleanlab without down-sampling, in one process. Files are in the page cache, imports and "
            "compiled loops loaded; every job runs once in a process of its own, and the peak is that of the whole "
            "process. Medians of rounds in which the jobs take turns; ratios are taken within a round."
        ),
        axes=("images", "classes", "side"),
        presets={"quick": [(4, 5, 64)], "all": [(100, 20, 128), (20, 20, 512), (40, 20, 512)]},
        tiny=(2, 3, 16),
        write=write_segmentation,
        jobs={OURS: segmentation_labelwise, PEER: segmentation_cleanlab},
        compare=compare_segmentation,
    ),
    "regression": Task(
        title="The audit of numeric targets",
        text=(
            "From .npy files of targets and out-of-sample predictions (rows, float64) to the score OUTRE of every "
            "target; labelwise also finds the issues and the share of wrong targets. Up to 32,768 rows both take every "
            "pair of rows; beyond, labelwise takes cells of a grid for neighbours. Files are in the page cache, "
            "imports and compiled loops loaded; every job runs once in a process of its own, and the peak is that of "
            "the whole process. Medians of rounds in which the jobs take turns; ratios are taken within a round."
        ),
        axes=("rows",),
        presets={"quick": [(1_000,)], "all": [(2_000,), (10_000,), (20_000,)]},
        tiny=(100,),
        write=write_regression,
        jobs={OURS: regression_labelwise, PEER: regression_cleanlab},
        compare=compare_regression,
    ),
}


def run_job(task: Task, name: str, folder: Path) -> None:
    """In a process of its own: time the job, keep its answer in the folder, print the measurements as JSON."""
    job = task.jobs[name]
    with tempfile.TemporaryDirectory() as small:
        task.write(Path(small), task.tiny)
        started = time.perf_counter()
        job(Path(small))
        measured: dict[str, Any] = {"warm_up_seconds": round(time.perf_counter() - started, 3)}
    started, started_processor = time.perf_counter(), time.process_time()
    answer = job(folder)
    measured["seconds"] = round(time.perf_counter() - started, 4)
    measured["processor_seconds"] = round(time.process_time() - started_processor, 4)
    measured["peak_megabytes"] = round(peak_megabytes())
    np.savez(folder / f"{name}.npz", **answer)
    print(json.dumps(measured))


def measure(task_name: str, job: str, folder: Path) -> dict[str, Any]:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, task_name, "--job", job, "--folder", str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(answer.splitlines()[-1])
    print(f"  {job:12s} {measured['seconds']:9.3f} s   peak {measured['peak_megabytes']:6d} MB", flush=True)
    return measured


def bench(task_name: str, size: Size, rounds: int, tmp: Path | None) -> dict[str, Any]:
    """Some rounds of the jobs on the files of one size."""
    task = TASKS[task_name]
    record: dict[str, Any] = dict(zip(task.axes, size, strict=True))
    print(", ".join(f"{count:,} {axis}" for axis, count in record.items()), flush=True)
    with tempfile.TemporaryDirectory(dir=tmp) as name:
        folder = Path(name)
        task.write(folder, size)
        for _ in range(rounds):
            for job in task.jobs:
                record.setdefault(job, []).append(measure(task_name, job, folder))
        with np.load(folder / f"{OURS}.npz") as ours, np.load(folder / f"{PEER}.npz") as theirs:
            record["against_cleanlab"] = task.compare(dict(ours), dict(theirs))
    print(f"  cleanlab / labelwise: {ratio(record):.1f}   {record['against_cleanlab']}", flush=True)
    return record


def ratio(record: dict[str, Any]) -> float:
    """Median over the rounds of the time of cleanlab divided by that of labelwise."""
    return statistics.median(
        theirs["seconds"] / ours["seconds"] for theirs, ours in zip(record[PEER], record[OURS], strict=True)
    )


def table(task: Task, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Times, memory and agreement at each size."""
    columns = [*task.axes, "labelwise, s", "cleanlab, s", "times faster", "peak, MB", "cleanlab's, MB", "answers"]
    rows = [
        [
            *(f"{record[axis]:,}" for axis in task.axes),
            *(f"{statistics.median(each['seconds'] for each in record[job]):.3g}" for job in (OURS, PEER)),
            f"{ratio(record):.1f}",
            *(f"{max(each['peak_megabytes'] for each in record[job])}" for job in (OURS, PEER)),
            ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in record["against_cleanlab"].items()),
        ]
        for record in records
    ]
    return {"columns": columns, "rows": rows}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--preset", nargs="+", default=["quick"])
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--tmp", type=Path, help="folder for the files that are audited")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    if arguments.job:
        run_job(task, arguments.job, arguments.folder)
        return
    unknown = sorted(set(arguments.preset) - set(task.presets))
    if unknown:
        parser.error(f"{arguments.task} has no preset {unknown[0]!r}: choose of {', '.join(task.presets)}")
    sizes = [size for preset in arguments.preset for size in task.presets[preset]]
    records = [bench(arguments.task, size, arguments.rounds, arguments.tmp) for size in sizes]
    if arguments.out is None:
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report = {
        "title": task.title,
        "text": task.text,
        "machine": f"{platform.machine()}, {num_cores} cores",
        "versions": {name: version(name) for name in ("labelwise", "cleanlab", "numpy", "numba")},
        "tables": [table(task, records)],
        "records": records,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
