"""The main job from data to report."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelwise.files import remove_leftovers
from labelwise.job import outputs
from labelwise.job.classification import run_classes
from labelwise.job.findings import FILES
from labelwise.job.options import Options
from labelwise.job.prepare import BY_CLASS, prepare, settle_task
from labelwise.job.progress import Progress, Silent
from labelwise.job.reviewed import compare, review_metrics
from labelwise.job.tasks.run import run_task
from labelwise.report.page import write_report

REPORT = "report.html"
WRITTEN = (*FILES, REPORT)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where the results are, the report among them unless it was skipped, and the numbers of ``metrics.json``."""

    folder: Path
    report: Path | None
    metrics: dict[str, Any]


def run(options: Options, *, progress: Progress | None = None, resume: bool = False) -> Outcome:
    """Run the steps that ``options`` does not skip, for the task of the data, and write the results to its folder.

    With ``resume``, pieces that an interrupted run finished are read instead of made again; the result is the same
    to the byte. Raises InputError where the data or the options make a step impossible.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    settled, folder = settle_task(options), options.folder
    prepared = prepare(settled, WRITTEN, progress or Silent(), resume=resume)
    for name in WRITTEN:
        remove_leftovers(folder / name)
    outputs.write_rejected(folder / "rejected.csv", prepared.examples.rejected)
    metrics, findings = run_classes(prepared) if settled.task in BY_CLASS else run_task(prepared)
    metrics |= {"seconds": round(time.monotonic() - began, 1), "started": started.isoformat(timespec="seconds")}
    if prepared.reviewed is not None:
        findings = replace(findings, review=compare(prepared.reviewed, metrics, prepared.examples))
        metrics |= review_metrics(prepared.reviewed)
    outputs.write_metrics(folder, metrics)
    report = None if "report" in options.skip else folder / REPORT
    if report is not None:
        dated = replace(findings, when=metrics["started"], seconds=metrics["seconds"], command=options.command())
        write_report(dated, report)
    prepared.workspace.close()
    return Outcome(folder, report, metrics)
