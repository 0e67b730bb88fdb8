"""All reproductions, several at a time, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labelwise.audit.blocks import num_cores
from labelwise.errors import InputError
from labelwise.reproductions import slugs

if TYPE_CHECKING:
    from labelwise.reproductions.result import Result

# Beginning with the longest leaves no core idle at the end; the rest follow as listed.
LONGEST_FIRST = ("elr", "quantity-quality", "cw-bass", "compress-features", "adele", "pu-mlc", "erase", "ps-kd")
COMMAND = (sys.executable, "-c", "from labelwise.cli import main; main()", "reproduce")


def reproduce_all(
    seeds: int | None = None, data_dir: str | Path | None = None, *, quick: bool = False, jobs: int | None = None
) -> Iterator[Result]:
    """Yield the results as they come; ``jobs`` run at a time, one thread each (default: one a core).

    Small networks gain nothing by a second thread, so two at a time take little more than half as long. Raises
    InputError at the end, with what each reproduction that failed has said: data may be missing for some.
    """
    from labelwise.reproductions.result import Result

    count = num_cores() if jobs is None else jobs
    if count < 1:
        raise InputError(f"jobs is {count}: give at least 1.")
    order = sorted(slugs(), key=lambda slug: LONGEST_FIRST.index(slug) if slug in LONGEST_FIRST else len(LONGEST_FIRST))
    with TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:
        files = {slug: Path(folder) / f"{slug}.json" for slug in order}
        running = {pool.submit(_run, slug, files[slug], seeds, data_dir, quick): slug for slug in order}
        failed = []
        try:
            for done in as_completed(running):
                said = done.result()
                if said is None:
                    yield Result.load(files[running[done]])
                else:
                    failed.append(f"{running[done]} ({said})")
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        raise InputError(f"{len(failed)} of {len(order)} were not run: {'; '.join(sorted(failed))}")


def _run(slug: str, file: Path, seeds: int | None, data_dir: str | Path | None, quick: bool) -> str | None:
    """Run one reproduction to its file; returns what it said where it failed."""
    words = [*COMMAND, slug, "--json", str(file)]
    words += ["--seeds", str(seeds)] if seeds is not None else []
    words += ["--data-dir", str(data_dir)] if data_dir is not None else []
    words += ["--quick"] if quick else []
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    ended = subprocess.run(words, env=os.environ | threads, capture_output=True, text=True, check=False)
    if not ended.returncode:
        return None
    said = ended.stderr.strip().splitlines() or [f"it ended with status {ended.returncode}"]
    return said[-1].removeprefix("labelwise: ")
