"""The steps of the main job, in order: check, audit, learn, trust. Each returns a record of what it found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from labelwise.audit.audit import Audit, audit
from labelwise.audit.cross_validation import cross_val_pred_probs
from labelwise.audit.explained import mean_log_likelihood
from labelwise.audit.filters import DEFAULT_FILTER
from labelwise.certainty.calibration import softmax
from labelwise.data.examples import DuplicateGroup, Examples
from labelwise.errors import InputError
from labelwise.files import quote
from labelwise.job.learning import Trained, Trainer, choose
from labelwise.job.workspace import Piece
from labelwise.training.seeding import derive_seed

# Of fewer, 15% are not five.
FEWEST_ROWS = 34


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of each part, int64 positions: what is trained on, measured on each epoch, calibrated on, and held out.

    ``audited`` are the rows whose labels are in doubt: all labelled rows that the source does not declare as test.
    ``group`` (n,) is the same number for rows whose inputs are equal: such rows never stand on both sides of a
    division, where a model would predict what it has seen.
    """

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    audited: np.ndarray
    group: np.ndarray

    @property
    def audited_groups(self) -> np.ndarray | None:
        """Groups of the audited rows; None where each row is one of its own."""
        groups = self.group[self.audited]
        return None if len(np.unique(groups)) == len(groups) else groups

    def names(self, count: int) -> np.ndarray:
        """Name of the part of each of ``count`` rows; rows without a label are ``unlabelled``."""
        names = np.full(count, "unlabelled", dtype=object)
        for part in ("train", "validation", "calibration", "test"):
            names[getattr(self, part)] = part
        return names


def split(examples: Examples, groups: Sequence[DuplicateGroup], seed: int) -> Parts:
    """Divide the labelled rows: 15% each for validation and calibration, 15% for test where none is declared.

    Rows of one of the ``groups`` of duplicates stay together.

    Raises InputError where too few rows, or rows of too few classes, are labelled to have all parts.
    """
    labelled = examples.given >= 0
    declared = np.zeros(len(examples.given), bool) if examples.split is None else np.asarray(examples.split) == "test"
    audited = np.flatnonzero(labelled & ~declared)
    known = labelled if examples.truth is None else labelled | (examples.truth >= 0)
    rest, test = audited, np.flatnonzero(declared & known)
    share = 0.15 * len(audited)
    group = _groups_to_keep_together(examples, groups, audited)
    if share < 5:
        raise InputError(
            f"{len(audited)} labelled rows are too few to train, choose, calibrate and test on; "
            f"give at least {FEWEST_ROWS}"
        )
    if not len(test):
        rest, test = _divide(rest, examples.given, group, round(share), derive_seed(seed, "test"))
    rest, calibration = _divide(rest, examples.given, group, round(share), derive_seed(seed, "calibration"))
    train, validation = _divide(rest, examples.given, group, round(share), derive_seed(seed, "validation"))
    _check_classes(examples, audited, train)
    return Parts(train, validation, calibration, test, audited, group)


def _groups_to_keep_together(examples: Examples, groups: Sequence[DuplicateGroup], audited: np.ndarray) -> np.ndarray:
    """Group (n,) of each row; each row is one of its own where too few different inputs are left to divide."""
    group = np.arange(len(examples.given))
    for duplicates in groups:
        group[duplicates.rows] = duplicates.rows[0]
    different = len(np.unique(group[audited]))
    if different >= min(FEWEST_ROWS, len(audited)):
        return group
    examples.notes.append(
        f"The labelled rows hold only {different} different inputs, so equal ones stand in training and in test: "
        "what is measured here is too favourable."
    )
    return np.arange(len(examples.given))


def _check_classes(examples: Examples, audited: np.ndarray, train: np.ndarray) -> None:
    """Each training must see two classes: the one on ``train``, and those of the audit on all folds but one."""
    counts = np.bincount(examples.given[audited], minlength=examples.num_classes)
    if (counts > 1).sum() > 1 and len(np.unique(examples.given[train])) > 1:
        return
    fewest = int(np.argsort(counts, kind="stable")[-2])
    raise InputError(
        f"nearly all labelled rows are of one class: only {counts[fewest]} are of {quote(examples.classes[fewest])}, "
        "too few to train and to check on; give more rows of the other classes"
    )


def _divide(
    rows: np.ndarray, labels: np.ndarray, group: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide groups of rows at random, so that about ``count`` rows are taken; by label, that of a group's first."""
    firsts = rows[np.unique(group[rows], return_index=True)[1]]
    wanted = min(max(1, round(count * len(firsts) / len(rows))), len(firsts) - 1)
    counts = np.bincount(labels[firsts])
    enough = counts[counts > 0].min() > 1 and wanted >= len(np.unique(labels[firsts]))
    _, taken = train_test_split(
        firsts, test_size=wanted, random_state=seed % 2**32, stratify=labels[firsts] if enough else None
    )
    is_taken = np.isin(group[rows], group[taken])
    return rows[~is_taken], rows[is_taken]


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
        flat = task.inputs[rows].reshape(len(rows), -1).astype(np.float32)
        probs = cross_val_pred_probs(
            model,
            flat,
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
