"""Runs the job of a task other than classification, and puts what it found into the records of the report."""

from typing import Any

from labelwise import __version__
from labelwise.job.findings import FILES
from labelwise.job.outputs import data_metrics
from labelwise.job.prepare import Prepared
from labelwise.job.tasks.bags import BagsJob
from labelwise.job.tasks.base import TaskJob
from labelwise.job.tasks.multilabel import MultilabelJob
from labelwise.job.tasks.regression import RegressionJob
from labelwise.job.tasks.segmentation import SegmentationJob
from labelwise.report.findings import Findings
from labelwise.review.items import FILE

JOBS: dict[str, type[TaskJob]] = {
    "multilabel": MultilabelJob,
    "regression": RegressionJob,
    "segmentation": SegmentationJob,
    "bags": BagsJob,
}


def run_task(prepared: Prepared) -> tuple[dict[str, Any], Findings]:
    """Run the steps that are not skipped, write their files; returns the numbers and what the report shows."""
    options, examples, folder = prepared.options, prepared.examples, prepared.options.folder
    job = JOBS[examples.task](prepared)
    job.prepare()
    audited = learnt = trusted = None
    if "audit" not in options.skip:
        audited = job.audit()
        job.write_suspects(folder / "suspects.csv")
        job.write_labels(folder)
        job.write_review(folder / FILE)
    if "learn" not in options.skip:
        learnt = job.learn()
        if "trust" not in options.skip:
            trusted = job.trust(learnt.robust)
        job.write_predictions(learnt.robust, folder / "predictions.csv")
        job.save(learnt.robust, folder / "model")
    metrics = data_metrics(options, examples, prepared.parts, prepared.groups) | job.metrics
    findings = Findings(
        title=examples.name,
        kind={"images": "pictures"}.get(examples.kind, examples.kind),
        when="",
        seconds=0.0,
        seed=options.seed,
        version=__version__,
        command=options.command(),
        notes=(*examples.notes, *job.notes),
        files={name: FILES.get(name, "") for name in ("rejected.csv", "metrics.json")} | job.files,
        check=job.check(prepared.groups),
        audit=audited,
        learn=None if learnt is None else learnt.findings,
        trust=trusted,
    )
    return metrics, findings
