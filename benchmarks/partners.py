"""Time to draw partners whose labels are near, as the data grow.

    python benchmarks/partners.py --out docs/results/bench-partners.json

A batch of 256 anchors, labels from a long-tailed law, a bandwidth of 0.1 deviations unless the row says otherwise; one
core, median of 30 batches in processor time. The exact row is what the published code does for each anchor: a kernel
value for every label. The floor is reading the labels of 256 partners at random places. Set-up is paid once.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from labelwise.methods.regression.c_mixup import inverse_cdf
from labelwise.numerics.partners import CMixupSampler

BATCH = 256
CASES = (("one label", 1, 0.1), ("one label, bandwidth 1", 1, 1.0), ("one label, bandwidth 0.001", 1, 0.001))
CASES += (("three labels, bandwidth 0.5", 3, 0.5),)


def median_ms(job: Callable[[], Any], times: int) -> float:
    """Median processor time in milliseconds, after one run that warms up."""
    job()
    seconds = []
    for _ in range(times):
        started = time.process_time()
        job()
        seconds.append(time.process_time() - started)
    return round(1000 * sorted(seconds)[len(seconds) // 2], 3)


def measure(n: int, outputs: int, bandwidth: float) -> dict[str, float]:
    """Milliseconds of set-up, a batch, the exact rows of a batch (from 8 anchors), and the floor."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(n, outputs, dtype=torch.float64, generator=generator).exp()
    y = (y - y.mean(dim=0)) / y.std(dim=0)
    started = time.process_time()
    sampler = CMixupSampler(y, bandwidth, generator)
    set_up = 1000 * (time.process_time() - started)
    anchors = torch.randint(n, (BATCH,), generator=generator)

    def exact() -> torch.Tensor:
        rows = torch.stack([sampler.probabilities(int(row)) for row in anchors[:8]])
        return inverse_cdf(rows, torch.rand(8, dtype=torch.float64, generator=generator))

    return {
        "set_up": round(set_up, 1),
        "batch": median_ms(lambda: sampler.sample_partners(anchors), 30),
        "exact": round(median_ms(exact, 3) * BATCH / 8, 1),
        "floor": median_ms(lambda: y[torch.randint(n, (BATCH,), generator=generator)], 30),
    }


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(size) for size in arguments.rows]
    found = {(name, size): measure(size, outputs, bandwidth) for name, outputs, bandwidth in CASES for size in sizes}
    heads = {
        "batch": "ms a batch of 256 partners",
        "exact": "exact rows: ms a batch",
        "set_up": "set-up: ms, once",
        "floor": "floor: ms",
    }
    tables = [
        {
            "columns": [head, *(f"{size:,} rows" for size in sizes)],
            "rows": [[name, *(found[name, size][key] for size in sizes)] for name, _, _ in CASES],
        }
        for key, head in heads.items()
    ]
    report = {
        "title": "Partners whose labels are near",
        "text": " ".join(str(__doc__).split("\n\n")[2].split()),
        "tables": tables,
        "machine": f"{platform.machine()}, one core",
        "versions": {name: version(name) for name in ("labelwise", "torch")},
    }
    for table in tables:
        print("\n".join(" | ".join(map(str, row)) for row in [table["columns"], *table["rows"]]), end="\n\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
