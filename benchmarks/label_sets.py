"""Label-sets with a guarantee: time against exhaustive enumeration, size and coverage against MAPIE.

    python benchmarks/label_sets.py
    python benchmarks/label_sets.py --data-dir DATA --out docs/results/bench-label-sets.json

With the folder that holds reuters21578/ the comparison with MAPIE is on news stories (90 topics, TF-IDF), without it on
mosaics of digits (60 labels). Times are the best of the repeats, in milliseconds a row, on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.certainty.conformal import conformal_rank
from labelwise.certainty.label_powerset import LabelPowersetICP, nonconformity, p_value
from labelwise.reproductions import lp_icp_data
from labelwise.reproductions.lp_icp_data import Calibrated

LEVELS = (0.05, 0.1, 0.2)
EPSILON, NUM_ROWS, NUM_CALIBRATION = 0.1, 50, 999
EXHAUSTIVE_LABELS = (4, 8, 10, 12)
MANY_LABELS = (20, 40, 60, 90, 118)


def draw(num_labels: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a fair model, few labels in doubt however many there are, and label-sets drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2 * np.log(num_labels), 3, (rows, num_labels))
    outputs = 1 / (1 + np.exp(-logits))
    return outputs, (rng.random(outputs.shape) < outputs).astype(np.int64)


def best_time(job: Callable[[], Any], repeats: int, rows: int) -> float:
    """Milliseconds a row, the best of the repeats."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds) / rows


def exhaustive(outputs: np.ndarray, calibration: np.ndarray, every: np.ndarray) -> list[np.ndarray]:
    """The same sets by looking at all 2^M label-sets of each row."""
    found = []
    for row in outputs:
        p_values = p_value(nonconformity(np.tile(row, (len(every), 1)), every), calibration)
        found.append(every[p_values > EPSILON])
    return found


def time_row(num_labels: int, repeats: int) -> list[Any]:
    """Times for one number of labels; where all label-sets can be tried, the sets are checked against them."""
    outputs, labels = draw(num_labels, NUM_CALIBRATION + NUM_ROWS)
    icp = LabelPowersetICP().calibrate(outputs[:NUM_CALIBRATION], labels[:NUM_CALIBRATION])
    new, true = outputs[NUM_CALIBRATION:], labels[NUM_CALIBRATION:]
    slow = "-"
    if num_labels <= max(EXHAUSTIVE_LABELS):
        every = np.array(list(itertools.product((0, 1), repeat=num_labels)))
        scores = nonconformity(outputs[:NUM_CALIBRATION], labels[:NUM_CALIBRATION])
        for found, expected in zip(icp.prediction_set(new, EPSILON), exhaustive(new, scores, every), strict=True):
            assert {row.tobytes() for row in found.label_sets} == {row.tobytes() for row in expected == 1}
        slow = f"{best_time(lambda: exhaustive(new, scores, every), repeats, NUM_ROWS):.3g}"
    jobs = (
        lambda: icp.prediction_set(new, EPSILON),
        lambda: icp.set_sizes(new, EPSILON),
        lambda: icp.contains(new, true, EPSILON),
    )
    times = [f"{best_time(job, repeats, NUM_ROWS):.3g}" for job in jobs]
    return [num_labels, f"{2.0**num_labels:.3g}", f"{icp.set_sizes(new, EPSILON).mean():.4g}", slow, *times]


def time_table(repeats: int) -> dict[str, Any]:
    """Time by number of labels."""
    rows = [time_row(num_labels, repeats) for num_labels in (*EXHAUSTIVE_LABELS, *MANY_LABELS)]
    for row in rows:
        print(row)
    columns = ["labels", "label-sets", "mean set", "exhaustive, ms", "listed, ms", "counted, ms", "contains, ms"]
    return {"columns": columns, "rows": rows}


def rows_with_a_label(rows: Calibrated) -> Calibrated:
    """The rows that have a label: MAPIE refuses the others."""
    calibration, test = rows.calibration_labels.any(axis=1), rows.test_labels.any(axis=1)
    return Calibrated(
        rows.calibration_outputs[calibration],
        rows.calibration_labels[calibration],
        rows.test_outputs[test],
        rows.test_labels[test],
    )


def mapie_sets(rows: Calibrated, level: float) -> tuple[np.ndarray, float]:
    """MAPIE's labels (n, M) for a mean recall of 1 - level, and the seconds it took."""
    from mapie.risk_control import MultiLabelClassificationController

    started = time.perf_counter()
    controller = MultiLabelClassificationController(
        predict_function=lambda outputs: outputs, risk="recall", method="crc", target_level=1 - level
    )
    controller.calibrate(rows.calibration_outputs, rows.calibration_labels)
    found = controller.predict(rows.test_outputs)[:, :, 0]
    return found, time.perf_counter() - started


def whole_set_labels(rows: Calibrated, level: float) -> np.ndarray:
    """Labels (n, M) above the cut that would have kept all true labels of a share 1 - level of the calibration rows."""
    lowest = np.where(rows.calibration_labels == 1, rows.calibration_outputs, 1.0).min(axis=1)
    return rows.test_outputs >= np.sort(lowest)[len(lowest) - conformal_rank(len(lowest), level)]


def labels_row(name: str, level: float, members: np.ndarray, true: np.ndarray, seconds: str) -> list[Any]:
    """One row of the comparison for a set of labels: it stands for all its subsets."""
    is_held = members | (true == 0)
    recall = (members & (true == 1)).sum(axis=1) / np.maximum(true.sum(axis=1), 1)
    sizes = 2.0 ** members.sum(axis=1)
    return [name, level, *summary(is_held.all(axis=1), recall, sizes, members.sum(axis=1)), seconds]


def summary(is_covered: np.ndarray, recall: np.ndarray, sizes: np.ndarray, possible: np.ndarray) -> list[str]:
    """Coverage of whole label-sets, recall, median and mean number of label-sets, mean number of possible labels."""
    return [
        f"{is_covered.mean():.3f}",
        f"{recall.mean():.3f}",
        f"{np.median(sizes):.4g}",
        f"{sizes.mean():.4g}",
        f"{possible.mean():.2f}",
    ]


def mapie_table(rows: Calibrated) -> dict[str, Any]:
    """Size and coverage level by level."""
    table = []
    for level in LEVELS:
        started = time.perf_counter()
        icp = LabelPowersetICP().calibrate(rows.calibration_outputs, rows.calibration_labels)
        sets = icp.prediction_set(rows.test_outputs, level)
        seconds = time.perf_counter() - started
        possible = np.array([found.label_sets.any(axis=0) for found in sets])
        recall = (possible & (rows.test_labels == 1)).sum(axis=1) / np.maximum(rows.test_labels.sum(axis=1), 1)
        covered = icp.contains(rows.test_outputs, rows.test_labels, level)
        sizes = np.array([len(found.scores) for found in sets])
        table.append(
            ["LP-ICP", level, *summary(covered, recall, sizes, possible.sum(axis=1)), f"{seconds:.2f}"],
        )
        members, mapie_seconds = mapie_sets(rows, level)
        table.append(labels_row("MAPIE, recall", level, members, rows.test_labels, f"{mapie_seconds:.2f}"))
        members = whole_set_labels(rows, level)
        table.append(labels_row("labels above a conformal cut", level, members, rows.test_labels, "-"))
        for each in table[-3:]:
            print(each, flush=True)
    columns = ["", "level", "whole set held", "recall", "label-sets, median", "mean", "possible labels", "seconds"]
    return {"columns": columns, "rows": table}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("LABELWISE_DATA"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        data, rows = "mosaics of digits, 60 labels", lp_icp_data.mosaics(0, quick=False)
    else:
        data = "Reuters-21578, 90 topics, TF-IDF"
        texts, labels, _ = lp_icp_data.read_stories(Path(arguments.data_dir))
        rows = lp_icp_data.stories_run(texts, None, labels, lp_icp_data.random_parts(len(texts), 0), 0).rows
    rows = rows_with_a_label(rows)
    tables = [time_table(arguments.repeats), mapie_table(rows)]
    if arguments.out is None:
        return
    report = {
        "title": "Label-sets with a guarantee",
        "text": (
            f"First table: synthetic outputs, {NUM_CALIBRATION} calibration rows, epsilon {EPSILON}, sets checked "
            "against the exhaustive ones where these can be had. A set that lists K label-sets writes K bytes a label: "
            f"that is the floor. Second table: {data}, {len(rows.calibration_labels)} calibration and "
            f"{len(rows.test_labels)} test rows, the same outputs for all. LP-ICP and the conformal cut promise that "
            "the whole true label-set is held; MAPIE promises mean recall, which is less, and does not know the other "
            "promise. A set of labels stands for all its subsets, hence its number of label-sets. Which of the two "
            "that hold whole label-sets is smaller depends on the level: once the threshold of LP-ICP passes about 1, "
            "any single change fits, and a set jumps to at least one label-set a label. Seconds: calibration and all "
            "test rows."
        ),
        "machine": f"{platform.machine()}, one core",
        "versions": {name: version(name) for name in ("labelwise", "mapie", "numpy")},
        "tables": tables,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
