"""The main job from data to report."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from labelwise import __version__
from labelwise.data.examples import Examples, duplicates
from labelwise.data.open import open_data
from labelwise.errors import InputError
from labelwise.files import printable, remove_leftovers
from labelwise.job import outputs
from labelwise.job.findings import FILES, make_findings
from labelwise.job.inputs import Inputs
from labelwise.job.learning import Task, Trainer
from labelwise.job.model import Model
from labelwise.job.options import Options
from labelwise.job.progress import Progress, Silent
from labelwise.job.steps import AuditStep, LearnStep, Parts, run_audit, run_learn, split
from labelwise.job.trust import TrustStep, run_trust
from labelwise.job.workspace import Workspace, fingerprint
from labelwise.methods import find_recipe
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
    """Run the steps that ``options`` does not skip and write the results to its folder.

    With ``resume``, pieces that an interrupted run finished are read instead of made again; the result is the same
    to the byte. Raises InputError where the data or the options make a step impossible.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    progress = progress or Silent()
    folder = options.folder
    find_recipe(options.recipe, "classification")
    _check_places(options)
    examples = _check(options, progress)
    groups = duplicates(examples)
    parts = split(examples, groups, options.seed)
    inputs, encoded = _encode(examples, options, progress)
    task = Task(encoded, examples.given, _truth_to_score_by(examples, parts), examples.num_classes)
    workspace = Workspace(folder, _identity(options, examples, encoded), resume=resume)
    for name in WRITTEN:
        remove_leftovers(folder / name)
    outputs.write_rejected(folder / "rejected.csv", examples.rejected)

    network = _network_name(options, inputs)
    trainer = Trainer(task, options, network, workspace, progress)
    inputs, trainer = _choose_unit(inputs, trainer, examples, parts)
    task = trainer.task
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
    report = None if "report" in options.skip else folder / REPORT
    if report is not None:
        findings = make_findings(
            options, examples, task, parts, groups, audited, learnt, trusted, metrics, inputs.notes, trainer
        )
        write_report(findings, report)
    workspace.close()
    return Outcome(folder, report, metrics)


def _check_places(options: Options) -> None:
    """Nothing that is read may be overwritten, and nothing that is written may be taken for data the next time."""
    if options.source is None or not Path(options.source).exists():
        return
    source, folder = Path(options.source).resolve(), options.folder.resolve()
    if source.is_dir() and folder.is_relative_to(source):
        raise InputError(f"the results would go into {printable(folder)}, among the data: choose a folder with --out")
    if source in {folder / name for name in WRITTEN}:
        raise InputError(f"the results would overwrite {printable(options.source)}: choose a folder with --out")


def _identity(options: Options, examples: Examples, encoded: np.ndarray) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on from."""
    truth = () if examples.truth is None else (examples.truth,)
    data = fingerprint(encoded, examples.index, examples.given, *truth)
    return options.identity() | {"data": data, "version": __version__}


def _truth_to_score_by(examples: Examples, parts: Parts) -> np.ndarray | None:
    if examples.truth is None or (examples.truth[parts.test] >= 0).any():
        return examples.truth
    examples.notes.append("No test row has a known true label, so the models are scored on given labels.")
    return None


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


def _encode(examples: Examples, options: Options, progress: Progress) -> tuple[Inputs, np.ndarray]:
    progress.start("prepare", 1)
    inputs = Inputs.fit(examples, network=options.network, weights=options.weights, download=options.download)
    encoded = inputs.transform(examples.inputs)
    progress.finish(" x ".join(str(size) for size in encoded.shape[1:]) + " numbers a row")
    return inputs, encoded


def _choose_unit(inputs: Inputs, trainer: Trainer, examples: Examples, parts: Parts) -> tuple[Inputs, Trainer]:
    """Keep the proportions of numeric columns where the baseline does better so on the given validation labels."""
    other_inputs = inputs.in_one_unit()
    if other_inputs is None:
        return inputs, trainer
    task = replace(trainer.task, inputs=other_inputs.transform(examples.inputs))
    other = Trainer(task, trainer.options, trainer.network, trainer.workspace, trainer.progress, standardize=False)
    scores = [each.baseline(parts.train, parts.validation).best_score for each in (trainer, other)]
    return (other_inputs, other) if scores[1] > scores[0] else (inputs, trainer)


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
