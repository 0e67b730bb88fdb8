"""The audit and learn steps of the main job; each returns a record of what it found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from labelwise.audit.audit import Audit, audit
from labelwise.audit.cross_validation import cross_val_pred_probs
from labelwise.audit.explained import mean_log_likelihood
from labelwise.audit.filters import DEFAULT_FILTER
from labelwise.certainty.calibration import softmax
from labelwise.job.learning import Trained, Trainer, choose
from labelwise.job.parts import Parts
from labelwise.job.workspace import Piece


@dataclass(frozen=True, eq=False)
class AuditStep:
    """The audit of the rows ``rows``; its arrays are in the order of ``rows``."""

    rows: np.ndarray
    audit: Audit
    pred_probs: np.ndarray
    model_name: str
    filter_by: str


def run_audit(trainer: Trainer, parts: Parts, kind: str, folds: int, filter_by: str | None) -> AuditStep:
    """Get out-of-sample probabilities by cross-validation, then audit the labels with them.

    Two models predict the rows they have not seen: the robust recipe, and a classic one (gradient boosting for tables,
    logistic regression for the rest). The one that explains the given labels better, noise reckoned with, is kept.
    """
    rows = parts.audited
    labels = trainer.task.labels[rows]
    smallest = int(np.bincount(labels)[np.unique(labels)].min())
    folds = max(2, min(folds, smallest, len(np.unique(parts.group[rows]))))
    name, classic = _classic_model(kind)
    # The recipe goes first: options that do not fit it are then refused at once.
    probabilities = {
        trainer.options.recipe: _recipe_probs(trainer, parts, folds),
        name: _classic_probs(trainer, classic, parts, name, folds),
    }
    best = max(probabilities, key=lambda each: mean_log_likelihood(labels, probabilities[each]))
    filter_by = filter_by or DEFAULT_FILTER
    found = audit(labels, probabilities[best], filter_by=filter_by, seed=trainer.options.seed)
    return AuditStep(rows, found, probabilities[best], best, filter_by)


def _recipe_probs(trainer: Trainer, parts: Parts, folds: int) -> np.ndarray:
    chosen = choose(trainer, parts.train, parts.validation)
    rows = parts.audited
    groups = parts.audited_groups
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=trainer.options.seed)
    logits = np.zeros((len(rows), trainer.task.num_classes))
    for number, (kept, held) in enumerate(splitter.split(rows, trainer.task.labels[rows], groups), start=1):
        trained = trainer.train(
            f"fold {number}", trainer.options.recipe, chosen.options, rows[kept], predict_rows=rows[held]
        )
        logits[held] = trained.logits
    return softmax(logits)


def _classic_model(kind: str) -> tuple[str, Any]:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "table":
        return "gradient boosting", HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=0)
    reduce = PCA(0.99, svd_solver="full") if kind == "images" else "passthrough"
    return "logistic regression", make_pipeline(StandardScaler(), reduce, LogisticRegression(C=0.01, max_iter=300))


def _classic_probs(trainer: Trainer, model: Any, parts: Parts, name: str, folds: int) -> np.ndarray:
    task, rows = trainer.task, parts.audited

    def make() -> Piece:
        probs = cross_val_pred_probs(
            model,
            trainer.classic_inputs(rows),
            task.labels[rows],
            cv=folds,
            random_state=trainer.options.seed,
            groups=parts.audited_groups,
            num_classes=task.num_classes,
        )
        return {"probs": probs}, {}

    return trainer.work(name, make, f"{folds} folds")[0]["probs"]


@dataclass(frozen=True, eq=False)
class LearnStep:
    """Cross-entropy as baseline, and the robust recipe with the options chosen."""

    baseline: Trained
    robust: Trained


def run_learn(trainer: Trainer, parts: Parts) -> LearnStep:
    """Train the baseline and the robust recipe for the same number of epochs on the same rows."""
    baseline = trainer.baseline(parts.train, parts.validation)
    robust = choose(trainer, parts.train, parts.validation)
    return LearnStep(baseline, robust)
