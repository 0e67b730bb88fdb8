"""The job of rows, or nodes of a graph, with one class each: audit, learn, trust."""

from dataclasses import replace
from typing import Any

import numpy as np

from labelwise.data.examples import Examples
from labelwise.job import outputs
from labelwise.job.findings import make_findings
from labelwise.job.inputs import Inputs
from labelwise.job.learning import Task, Trainer
from labelwise.job.model import Model
from labelwise.job.node_learning import NodeTrainer
from labelwise.job.options import Options
from labelwise.job.parts import Parts
from labelwise.job.prepare import Prepared, truth_to_score_by
from labelwise.job.progress import Progress
from labelwise.job.review_items import class_rows, write_review
from labelwise.job.steps import AuditStep, LearnStep, run_audit, run_learn
from labelwise.job.trust import TrustStep, run_trust
from labelwise.report.findings import Findings
from labelwise.review.items import FILE


def run_classes(prepared: Prepared) -> tuple[dict[str, Any], Findings]:
    """Run the steps that are not skipped, write their files; returns the numbers and what the report shows."""
    options, examples, parts = prepared.options, prepared.examples, prepared.parts
    inputs, trainer = _make_trainer(prepared)
    if examples.task == "classification":
        inputs, trainer = _choose_unit(inputs, trainer, examples, parts)
    task = trainer.task
    audited = _audit(trainer, parts, options, examples) if "audit" not in options.skip else None
    learnt = run_learn(trainer, parts) if "learn" not in options.skip else None
    trusted = None
    if learnt is not None and "trust" not in options.skip:
        trusted = run_trust(learnt.robust, task, parts, audited, options)

    folder = options.folder
    if audited is not None:
        outputs.write_audit(folder, examples, audited)
        rows = class_rows(examples, audited, task.inputs, options.source, options.seed)
        write_review(folder / FILE, examples, rows)
    if learnt is not None:
        outputs.write_predictions(folder, examples, parts, learnt, trusted)
        _save(inputs, examples, learnt, trusted, options)
    metrics = outputs.metrics(options, examples, task, parts, prepared.groups, audited, learnt, trusted)
    findings = make_findings(
        options, examples, task, parts, prepared.groups, audited, learnt, trusted, metrics, inputs.notes, trainer
    )
    return metrics, findings


def _make_trainer(prepared: Prepared) -> tuple[Inputs, Trainer]:
    options, examples = prepared.options, prepared.examples
    inputs, encoded = _encode(examples, options, prepared.progress)
    truth = truth_to_score_by(examples, prepared.parts)
    task = Task(encoded, examples.given, truth, examples.num_classes)
    if examples.edges is not None:
        return inputs, NodeTrainer(task, examples, options, prepared.workspace, prepared.progress)
    network = "mlp-256" if inputs.backbone is not None else options.network
    return inputs, Trainer(task, options, network, prepared.workspace, prepared.progress)


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


def _audit(trainer: Trainer, parts: Parts, options: Options, examples: Examples) -> AuditStep:
    pixels = trainer.task.inputs.ndim == 4 and min(trainer.task.inputs.shape[1:3]) > 16
    folds = options.folds or (3 if pixels or examples.edges is not None else 5)
    return run_audit(trainer, parts, examples.kind, folds, options.filter_by)


def _save(inputs: Inputs, examples: Examples, learnt: LearnStep, trusted: TrustStep | None, options: Options) -> None:
    """Save what predicts new rows; nodes are predicted in a graph, so the estimator is saved for use in Python."""
    folder = options.folder / "model"
    if examples.edges is not None:
        learnt.robust.model.save(folder)
        return
    model = Model(inputs, learnt.robust.model, examples.classes, examples.schema, alpha=options.alpha)
    if trusted is not None:
        model.temperature, model.conformal = trusted.temperature, trusted.conformal
    model.save(folder)
