"""The steps of the main job, in order: check, audit, learn, trust. Each returns a record of what it found."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from labelwise.audit.audit import Audit, audit
from labelwise.audit.filters import DEFAULT_FILTER
from labelwise.certainty.calibration import softmax
from labelwise.data.examples import Examples
from labelwise.errors import InputError
from labelwise.job.learning import Trained, Trainer, choose
from labelwise.training.seeding import derive_seed


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of each part, int64 positions: what is trained on, measured on each epoch, calibrated on, and held out.

    ``audited`` are the rows whose labels are in doubt: all labelled rows that the source does not declare as test.
    """

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    audited: np.ndarray

    def names(self, count: int) -> np.ndarray:
        """Name of the part of each of ``count`` rows; rows without a label are ``unlabelled``."""
        names = np.full(count, "unlabelled", dtype=object)
        for part in ("train", "validation", "calibration", "test"):
            names[getattr(self, part)] = part
        return names


def split(examples: Examples, seed: int) -> Parts:
    """Divide the labelled rows: 15% each for validation and calibration, 15% for test where none is declared.

    Raises InputError where too few rows are labelled to have all parts.
    """
    labelled = examples.given >= 0
    declared = np.zeros(len(examples.given), bool) if examples.split is None else np.asarray(examples.split) == "test"
    audited = np.flatnonzero(labelled & ~declared)
    known = labelled if examples.truth is None else labelled | (examples.truth >= 0)
    rest, test = audited, np.flatnonzero(declared & known)
    share = 0.15 * len(audited)
    if share < 5:
        raise InputError(
            f"{len(audited)} labelled rows are too few to train, choose, calibrate and test on; give at least 34"
        )
    if not len(test):
        rest, test = _divide(rest, examples.given, round(share), derive_seed(seed, "test"))
    rest, calibration = _divide(rest, examples.given, round(share), derive_seed(seed, "calibration"))
    train, validation = _divide(rest, examples.given, round(share), derive_seed(seed, "validation"))
    return Parts(train, validation, calibration, test, audited)


def _divide(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(labels[rows])
    enough = counts[counts > 0].min() > 1 and count >= len(np.unique(labels[rows]))
    kept, taken = train_test_split(
        rows, test_size=count, random_state=seed % 2**32, stratify=labels[rows] if enough else None
    )
    return np.sort(kept), np.sort(taken)


@dataclass(frozen=True, eq=False)
class AuditStep:
    """The audit of the rows ``rows``; its arrays are in the order of ``rows``."""

    rows: np.ndarray
    audit: Audit
    pred_probs: np.ndarray
    model_name: str
    filter_by: str


def run_audit(trainer: Trainer, parts: Parts, folds: int, filter_by: str | None) -> AuditStep:
    """Cross-validate the robust recipe for out-of-sample probabilities, then audit the labels with them."""
    chosen = choose(trainer, parts.train, parts.validation)
    rows = parts.audited
    labels = trainer.task.labels[rows]
    smallest = int(np.bincount(labels)[np.unique(labels)].min())
    splitter = StratifiedKFold(max(2, min(folds, smallest)), shuffle=True, random_state=trainer.options.seed)
    logits = np.zeros((len(rows), trainer.task.num_classes), dtype=np.float64)
    for number, (kept, held) in enumerate(splitter.split(rows, labels), start=1):
        trained = trainer.train(
            f"fold {number}", trainer.options.recipe, chosen.options, rows[kept], predict_rows=rows[held]
        )
        logits[held] = trained.logits
    pred_probs = softmax(logits)
    filter_by = filter_by or DEFAULT_FILTER
    return AuditStep(rows, audit(labels, pred_probs, filter_by=filter_by), pred_probs, chosen.name, filter_by)


@dataclass(frozen=True, eq=False)
class LearnStep:
    """Cross-entropy as baseline, and the robust recipe with the options chosen."""

    baseline: Trained
    robust: Trained


def run_learn(trainer: Trainer, parts: Parts) -> LearnStep:
    """Train the baseline and the robust recipe for the same number of epochs on the same rows."""
    baseline = trainer.train("cross-entropy", "cross-entropy", {}, parts.train, parts.validation)
    robust = choose(trainer, parts.train, parts.validation)
    return LearnStep(baseline, robust)
