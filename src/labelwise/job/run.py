"""The main job from data to report."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.examples import Examples, duplicates
from labelwise.data.open import open_data
from labelwise.errors import InputError
from labelwise.job import outputs
from labelwise.job.findings import make_findings
from labelwise.job.inputs import Inputs
from labelwise.job.learning import Task, Trainer
from labelwise.job.model import Model
from labelwise.job.options import Options
from labelwise.job.progress import Progress, Silent
from labelwise.job.steps import AuditStep, LearnStep, Parts, run_audit, run_learn, split
from labelwise.job.trust import TrustStep, run_trust
from labelwise.job.workspace import Workspace, fingerprint
from labelwise.report.page import write_report


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where the results are, and the numbers of ``metrics.json``."""

    folder: Path
    metrics: dict[str, Any]


def run(options: Options, *, progress: Progress | None = None, resume: bool = False) -> Outcome:
    """Run the steps that ``options`` does not skip and write the results to its folder.

    With ``resume``, pieces that an interrupted run finished are read instead of made again; the result is the same
    to the byte. Raises InputError where the data or the options make a step impossible.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    progress = progress or Silent()
    folder = options.folder
    examples = _check(options, progress)
    groups = duplicates(examples)
    inputs, task = _encode(examples, options, progress)
    identity = options.identity() | {"data": fingerprint(task.inputs, task.labels)}
    workspace = Workspace(folder, identity, resume=resume)
    outputs.write_rejected(folder, examples)

    parts = split(examples, options.seed)
    network = _network_name(options, inputs)
    trainer = Trainer(task, options, network, workspace, progress)
    audited = _audit(trainer, parts, options, examples) if "audit" not in options.skip else None
    learnt = run_learn(trainer, parts) if "learn" not in options.skip else None
    trusted = None
    if learnt is not None and "trust" not in options.skip:
        trusted = run_trust(learnt.robust, task, parts, audited, options)

    if audited is not None:
        outputs.write_audit(folder, examples, audited)
    if learnt is not None:
        outputs.write_predictions(folder, examples, parts, learnt, trusted)
        _model(inputs, examples, learnt, trusted, options).save(folder / "model")
    metrics = outputs.metrics(options, examples, task, parts, groups, audited, learnt, trusted)
    metrics |= {"seconds": round(time.monotonic() - began, 1), "started": started.isoformat(timespec="seconds")}
    outputs.write_metrics(folder, metrics)
    if "report" not in options.skip:
        findings = make_findings(
            options, examples, task, parts, groups, audited, learnt, trusted, metrics, inputs.notes, trainer
        )
        write_report(findings, folder / "report.html")
    workspace.close()
    return Outcome(folder, metrics)


def _check(options: Options, progress: Progress) -> Examples:
    progress.start("check", 1)
    examples = open_data(
        options.source,
        label=options.label,
        text=options.text,
        image=options.image,
        truth=options.truth,
        split=options.split,
        image_size=options.image_size,
        data_dir=options.data_dir,
        seed=options.seed,
    )
    if options.limit is not None and options.limit < len(examples):
        rng = np.random.default_rng(options.seed)
        examples = examples.subset(np.sort(rng.choice(len(examples), options.limit, replace=False)))
        examples.notes.append(f"Only {options.limit:,} rows were used, drawn at random (--limit).")
    if examples.num_classes < 2:
        raise InputError("the labels hold fewer than two classes, so there is nothing to tell apart; check the labels")
    progress.finish(f"{len(examples):,} rows, {examples.num_classes} classes, {len(examples.rejected):,} rejected")
    return examples


def _encode(examples: Examples, options: Options, progress: Progress) -> tuple[Inputs, Task]:
    progress.start("prepare", 1)
    inputs = Inputs.fit(examples, network=options.network, weights=options.weights, download=options.download)
    encoded = inputs.transform(examples.inputs)
    progress.finish(" x ".join(str(size) for size in encoded.shape[1:]) + " numbers a row")
    return inputs, Task(encoded, examples.given, examples.truth, examples.num_classes)


def _network_name(options: Options, inputs: Inputs) -> str:
    if inputs.backbone is not None:
        return "mlp-256"
    return options.network


def _audit(trainer: Trainer, parts: Parts, options: Options, examples: Examples) -> AuditStep:
    pixels = trainer.task.inputs.ndim == 4 and min(trainer.task.inputs.shape[1:3]) > 16
    folds = options.folds or (3 if pixels else 5)
    return run_audit(trainer, parts, examples.kind, folds, options.filter_by)


def _model(inputs: Inputs, examples: Examples, learnt: LearnStep, trusted: TrustStep | None, options: Options) -> Model:
    model = Model(inputs, learnt.robust.model, examples.classes, examples.schema, alpha=options.alpha)
    if trusted is not None:
        model.temperature, model.conformal = trusted.temperature, trusted.conformal
    return model
