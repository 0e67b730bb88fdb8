"""Time and memory of the audit from files, against cleanlab and against one bare argmax pass over the same file.

    python benchmarks/audit.py --preset quick
    python benchmarks/audit.py --preset imagenet wide long --out docs/results/bench-audit.json
    python benchmarks/audit.py --preset scaling --out docs/results/bench-audit-scaling.json
    python benchmarks/audit.py --rows 100000 --classes 50

Every job starts from the .npy files and ends with the answer, in a process of its own, so that its peak memory is its
own, and runs there once, as a user would run it: a second time is quicker, for memory has been touched then. Files are
in the page cache when timing starts; every job first runs on a tiny file, so that imports and compiled kernels are
loaded (`warm_up_seconds` says how long that took). The jobs take turns for some rounds; what is reported is the median
of the rounds, for ratios that of the ratios within a round. cleanlab's full path runs only where its copies of the
probabilities fit into the free memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Answer = dict[str, np.ndarray]
Rounds = list[dict[str, Any]]
PRESETS = {
    "imagenet": [(1_281_167, 1000)],
    "wide": [(100_000, 1000)],
    "long": [(5_000_000, 10)],
    "quick": [(20_000, 100)],
    "scaling": [(n, 1000) for n in (50_000, 100_000, 200_000, 400_000)] + [(200_000, k) for k in (10, 100, 300, 600)],
}
NUM_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Copies of the probabilities that cleanlab's full path holds at its peak: 1.97 measured at 1,281,167 x 1,000 float32.
FULL_COPIES = 2.2
# From this size on there are fewer rounds: cleanlab takes half a minute each time.
LARGE_BYTES, LARGE_ROUNDS = 1 << 32, 3
OWN_JOBS = ("floor", "labelwise", "labelwise_noise_rate")

PEER_TEXT = (
    "From a .npy file of float32 probabilities (rows x classes) and one of labels to the confident joint, the issues "
    "by filter `confident_learning` and the self-confidence scores. The floor reads the file once, as the audit does, "
    "and takes the argmax of each row, on all cores; the default filter, `prune_by_noise_rate`, needs a second read. "
    "cleanlab's batched path approximates, so only the answers of its full path are compared. Files are in the page "
    "cache, imports and compiled loops loaded; every job runs once in a process of its own, and the peak is that of "
    "the whole process. Medians of rounds in which the jobs take turns; ratios are taken within a round."
)
SCALING_TEXT = (
    "The same jobs on smaller files: time grows in proportion to the rows and to the classes, on top of a few "
    "milliseconds that do not depend on them."
)


def job_floor(pred_probs: Path, labels: Path) -> Answer:
    """One argmax pass, read like the audit reads."""
    from labelwise.audit.blocks import for_each_block, open_pred_probs

    source = open_pred_probs(pred_probs)
    best = np.empty(source.num_rows, dtype=np.int64)

    def work(start: int, block: np.ndarray) -> None:
        best[start : start + len(block)] = block.argmax(axis=1)

    for_each_block(source, NUM_CORES, lambda: work)
    return {}


def job_labelwise(pred_probs: Path, labels: Path) -> Answer:
    """The audit with the filter that needs one read."""
    from labelwise.audit.streaming import audit_file

    found = audit_file(pred_probs, labels, filter_by="confident_learning")
    return {"joint": found.confident_joint, "mask": found.is_issue, "scores": found.scores}


def job_labelwise_noise_rate(pred_probs: Path, labels: Path) -> Answer:
    """The audit with the default filter, which needs two reads."""
    from labelwise.audit.streaming import audit_file

    audit_file(pred_probs, labels)
    return {}


def job_cleanlab_batched(pred_probs: Path, labels: Path) -> Answer:
    """cleanlab's path for data that does not fit into memory; it approximates, so its answer is not compared."""
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched

    find_label_issues_batched(
        labels_file=str(labels), pred_probs_file=str(pred_probs), batch_size=10_000, n_jobs=1, verbose=False
    )
    return {}


def job_cleanlab_full(pred_probs: Path, labels: Path) -> Answer:
    """cleanlab's path in memory: joint, issues and scores."""
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probs, given = np.load(pred_probs), np.load(labels)
    return {
        "joint": compute_confident_joint(given, probs, calibrate=False),
        "mask": find_label_issues(given, probs, filter_by="confident_learning"),
        "scores": get_label_quality_scores(given, probs, method="self_confidence"),
    }


JOBS: dict[str, Callable[[Path, Path], Answer]] = {
    "floor": job_floor,
    "labelwise": job_labelwise,
    "labelwise_noise_rate": job_labelwise_noise_rate,
    "cleanlab_batched": job_cleanlab_batched,
    "cleanlab_full": job_cleanlab_full,
}


def write_data(folder: Path, num_rows: int, num_classes: int, seed: int = 0) -> tuple[Path, Path]:
    """Softmax outputs (rows, classes) float32 of a fair classifier and labels of which about one in eight is wrong."""
    rng = np.random.default_rng(seed)
    pred_probs, labels = folder / "pred_probs.npy", folder / "labels.npy"
    probs = np.lib.format.open_memmap(pred_probs, "w+", np.float32, (num_rows, num_classes))
    given = np.empty(num_rows, dtype=np.int64)
    evidence = 2 + 2 * np.log10(num_classes)
    step = max(1, 20_000_000 // num_classes)
    for start in range(0, num_rows, step):
        size = min(step, num_rows - start)
        rows = np.arange(size)
        true = rng.integers(0, num_classes, size)
        alike = (true + 1 + rng.integers(0, 3, size)) % num_classes
        logits = rng.standard_normal((size, num_classes), dtype=np.float32)
        logits[rows, true] += rng.normal(evidence, 3, size)
        logits[rows, alike] += rng.normal(evidence / 2, 2, size)
        np.exp(logits - logits.max(axis=1, keepdims=True), out=logits)
        probs[start : start + size] = logits / logits.sum(axis=1, keepdims=True)
        wrong = np.where(rng.random(size) < 0.8, alike, rng.integers(0, num_classes, size))
        given[start : start + size] = np.where(rng.random(size) < 0.12, wrong, true)
    probs.flush()
    np.save(labels, given)
    return pred_probs, labels


def peak_megabytes() -> float:
    """Peak resident memory of this process; Linux's ru_maxrss would count the parent's before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_job(name: str, folder: Path) -> None:
    """In a process of its own: time the job, keep its answer in the folder, print the measurements as JSON."""
    job = JOBS[name]
    with tempfile.TemporaryDirectory() as small:
        files = write_data(Path(small), 200, 100)
        started = time.perf_counter()
        job(*files)
        measured: dict[str, Any] = {"warm_up_seconds": round(time.perf_counter() - started, 3)}
    started, started_processor = time.perf_counter(), time.process_time()
    answer = job(folder / "pred_probs.npy", folder / "labels.npy")
    measured["seconds"] = round(time.perf_counter() - started, 4)
    measured["processor_seconds"] = round(time.process_time() - started_processor, 4)
    measured["peak_megabytes"] = round(peak_megabytes())
    if answer:
        np.savez(folder / f"{name}.npz", **answer)
    print(json.dumps(measured))


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, "--job", name, "--folder", str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured: dict[str, Any] = json.loads(answer.splitlines()[-1])
    print(f"  {name:22s} {measured['seconds']:9.3f} s   peak {measured['peak_megabytes']:6d} MB", flush=True)
    return measured


def free_bytes() -> float:
    """Memory that a new process can have; infinite where the system does not say."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    return int(info.read_text().split("MemAvailable:")[1].split()[0]) * 1024


def compare(folder: Path) -> dict[str, Any]:
    """How the answers of labelwise and of cleanlab's full path differ."""
    with np.load(folder / "labelwise.npz") as ours, np.load(folder / "cleanlab_full.npz") as theirs:
        return {
            "joint_equal": bool(np.array_equal(ours["joint"], theirs["joint"])),
            "issues": int(theirs["mask"].sum()),
            "issues_that_differ": int((ours["mask"] != theirs["mask"]).sum()),
            "scores_equal": bool(np.array_equal(ours["scores"], theirs["scores"])),
        }


def bench(num_rows: int, num_classes: int, jobs: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Some rounds of the jobs on one file."""
    size = num_rows * num_classes * 4
    print(f"{num_rows:,} x {num_classes:,} float32, {size / 1e9:.2f} GB", flush=True)
    if "cleanlab_full" in jobs and FULL_COPIES * size > free_bytes():
        print(f"  cleanlab_full left out: it needs about {FULL_COPIES * size / 1e9:.0f} GB of free memory")
        jobs = [job for job in jobs if job != "cleanlab_full"]
    record: dict[str, Any] = {"rows": num_rows, "classes": num_classes, "gigabytes": round(size / 1e9, 3)}
    with tempfile.TemporaryDirectory(dir=arguments.tmp) as name:
        folder = Path(name)
        write_data(folder, num_rows, num_classes)
        for _ in range(min(arguments.rounds, LARGE_ROUNDS) if size > LARGE_BYTES else arguments.rounds):
            for job in jobs:
                record.setdefault(job, []).append(measure(job, folder))
        if "cleanlab_full" in jobs:
            record["against_cleanlab"] = compare(folder)
    for job in jobs:
        if job != "labelwise":
            print(f"  {job} / labelwise: {ratio(record, job, 'labelwise'):.2f}", flush=True)
    print(f"  {record.get('against_cleanlab')}", flush=True)
    return record


def ratio(record: dict[str, Any], job: str, other: str) -> float:
    """Median over the rounds of the time of one job, divided by that of another."""
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(record[job], record[other], strict=True))


def median(rounds: Rounds, key: str = "seconds") -> float:
    """Median over the rounds."""
    return statistics.median(measured[key] for measured in rounds)


def peer_table(records: list[dict[str, Any]]) -> dict[str, Any]:
    """labelwise, cleanlab and the floor on each file."""
    columns = ["file", "argmax pass, s", "labelwise, s", "default filter, s", "cleanlab batched, s", "cleanlab, s"]
    columns += ["times floor", "faster than batched", "faster than cleanlab", "peak, MB", "cleanlab's, MB", "answers"]
    rows = []
    for record in records:
        cells = [f"{record['rows']:,} x {record['classes']:,}"]
        cells += [f"{median(record[job]):.3g}" if job in record else "-" for job in JOBS]
        cells.append(f"{ratio(record, 'labelwise', 'floor'):.2f}")
        cells += [
            f"{ratio(record, job, 'labelwise'):.1f}" if job in record else "-"
            for job in ("cleanlab_batched", "cleanlab_full")
        ]
        cells.append(f"{max(each['peak_megabytes'] for each in record['labelwise'])}")
        peers = record.get("cleanlab_full")
        cells.append(f"{max(each['peak_megabytes'] for each in peers)}" if peers else "-")
        cells.append(agreement(record.get("against_cleanlab")))
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def agreement(found: dict[str, Any] | None) -> str:
    """In words, how the answers compare."""
    if found is None:
        return "not compared"
    same = found["joint_equal"] and found["scores_equal"] and not found["issues_that_differ"]
    return f"same joint, scores and {found['issues']:,} issues" if same else f"differ: {found}"


def scaling_table(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Time against size."""
    columns = ["rows", "classes", "GB", "argmax pass, s", "labelwise, s", "default filter, s", "GB/s of labelwise"]
    rows = [
        [
            f"{record['rows']:,}",
            f"{record['classes']:,}",
            f"{record['gigabytes']:.3g}",
            *(f"{median(record[job]):.3g}" for job in OWN_JOBS),
            f"{record['gigabytes'] / median(record['labelwise']):.2g}",
        ]
        for record in records
    ]
    return {"columns": columns, "rows": rows}


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Time against rows and against classes, both axes linear."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (x, other) in zip(axes, (("rows", "classes"), ("classes", "rows")), strict=True):
        sizes = [record[other] for record in records]
        fixed = max(sizes, key=sizes.count)  # the size of the other side that was measured most often
        chosen = sorted((record for record in records if record[other] == fixed), key=lambda record: record[x])
        for job in OWN_JOBS:
            axis.plot([r[x] for r in chosen], [median(r[job]) for r in chosen], "o-", label=job.replace("_", " "))
        axis.set(xlabel=x, ylabel="seconds", title=f"{fixed:,} {other}", xlim=(0, None), ylim=(0, None))
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, nargs="+", default=[])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--out", type=Path, help="JSON file; the plot of the scaling goes next to it")
    parser.add_argument("--tmp", type=Path, help="folder for the files that are audited")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(arguments.job, arguments.folder)
        return
    is_scaling = arguments.preset == ["scaling"]
    jobs = list(OWN_JOBS if is_scaling else JOBS)
    sizes = [size for preset in arguments.preset for size in PRESETS[preset]] or [(arguments.rows, arguments.classes)]
    records = [bench(rows, classes, jobs, arguments) for rows, classes in sizes]
    if arguments.out is None:
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "title": "The audit as files grow" if is_scaling else "The audit of files",
        "text": SCALING_TEXT if is_scaling else PEER_TEXT,
        "machine": f"{platform.machine()}, {NUM_CORES} cores",
        "versions": {name: version(name) for name in ("labelwise", "cleanlab", "numpy", "numba")},
        "tables": [scaling_table(records) if is_scaling else peer_table(records)],
        "records": records,
    }
    if is_scaling:
        picture = arguments.out.with_suffix(".png")
        plot(records, picture)
        report["pictures"] = [picture.name]
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
