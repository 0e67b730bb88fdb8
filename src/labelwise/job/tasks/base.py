"""What the jobs of all tasks but plain classification share: trainings, folds, files and the records of the report."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupKFold

from labelwise.data.examples import DuplicateGroup
from labelwise.estimators.base import NetworkEstimator
from labelwise.job.findings import FILES, check_findings, class_counts
from labelwise.job.inputs import Inputs
from labelwise.job.learning import loop_settings
from labelwise.job.looks import look
from labelwise.job.model import Model
from labelwise.job.outputs import write_layer, write_suspects
from labelwise.job.prepare import Prepared, truth_to_score_by
from labelwise.job.workspace import Arrays, Piece
from labelwise.report.findings import (
    AuditFindings,
    CheckFindings,
    LearnFindings,
    MeasuredOn,
    SuspectCard,
    TrainingRun,
    TrustFindings,
)
from labelwise.training.resume import Row


@dataclass(frozen=True, eq=False)
class Fitted:
    """One finished training: its model, a row of numbers an epoch, and scores on the test rows."""

    name: str
    model: Any
    history: list[Row]
    score: float
    best_score: float
    best_epoch: int


class Learnt(NamedTuple):
    """What the report shows of the learn step, and its two models."""

    findings: LearnFindings
    trusting: Fitted
    robust: Fitted


@dataclass(frozen=True)
class Suspect:
    """One label under suspicion: its row among the examples, and what the list says of it."""

    row: int
    given: str | float
    suggested: str | float
    score: float
    why: str


class TaskJob(ABC):
    """The audit, learn and trust steps of one task.

    ``metrics`` collects the numbers of ``metrics.json``; what was measured on given labels says so in its name.
    ``suspects`` are worst first. ``files`` tells what each file beside the report holds.
    """

    estimator_class: ClassVar[type[NetworkEstimator]]
    baseline: ClassVar[str]
    unit: ClassVar[tuple[str, str]] = ("label", "labels")
    folds: ClassVar[int] = 5
    visits: ClassVar[int] = 400_000

    def __init__(self, prepared: Prepared) -> None:
        self.examples, self.parts, self.options = prepared.examples, prepared.parts, prepared.options
        self.workspace, self.progress = prepared.workspace, prepared.progress
        self.truth = truth_to_score_by(self.examples, self.parts)
        self.metrics: dict[str, Any] = {}
        self.suspects: list[Suspect] = []
        self.notes: list[str] = []
        self.files: dict[str, str] = {}
        self.half_width: float | None = None

    # What a task fills in.

    def prepare(self) -> None:
        """Bring the inputs into the form that the network takes: tables and texts encoded, pictures as they are."""
        options = self.options
        self.inputs = Inputs.fit(
            self.examples, network=options.network, weights=options.weights, download=options.download
        )
        self.encoded = self.inputs.transform(self.examples.inputs)
        self.notes += self.inputs.notes

    def fit(self, model: Any, rows: np.ndarray, validation_rows: np.ndarray | None, **watching: Any) -> None:
        """Train ``model`` on ``rows``, measured after each epoch on the given labels of ``validation_rows``."""
        held = {}
        if validation_rows is not None:
            held = {"X_val": self.encoded[validation_rows], "y_val": self.examples.given[validation_rows]}
        model.fit(self.encoded[rows], self.examples.given[rows], **held, **watching)

    def test_score(self, model: Any) -> float:
        """Score on the test rows, by true labels where they are known."""
        rows = self.parts.test
        return float(model.score(self.encoded[rows], self.reference[rows]))

    @abstractmethod
    def audit(self) -> AuditFindings:
        """Audit the given labels; fills ``suspects`` and ``metrics``."""

    @abstractmethod
    def trust(self, fitted: Fitted) -> TrustFindings | None:
        """Say how sure predictions are, measured on rows kept aside; None where the task has no such part."""

    @abstractmethod
    def write_predictions(self, fitted: Fitted, path: Path) -> None:
        """Write the predictions for every row."""

    @abstractmethod
    def write_labels(self, folder: Path) -> None:
        """Write the corrected layer, given labels beside it, where the task has one."""

    @abstractmethod
    def write_review(self, path: Path) -> None:
        """Write what ``labelwise review`` shows; nothing where no single label could be changed."""

    def check_facts(self) -> tuple[tuple[str, str], ...]:
        """Further numbers of the data, each with what it counts."""
        return ()

    def class_counts(self) -> list[tuple[str, int]]:
        """Given labels of each class."""
        return class_counts(self.examples)

    def network(self) -> dict[str, Any]:
        """Parameters of the estimator that the task chooses itself."""
        return {"network": "mlp-256" if self.inputs.backbone is not None else self.options.network}

    # What is the same for all.

    @property
    def reference(self) -> np.ndarray:
        """The labels that scores are counted by: true ones where they are known."""
        return self.examples.given if self.truth is None else self.truth

    @property
    def measured_on(self) -> MeasuredOn:
        """Which labels those are."""
        return "given (noisy) labels" if self.truth is None else "true labels"

    @property
    def suffix(self) -> str:
        """Ends the name of a number that was measured on given labels."""
        return "_on_noisy_labels" if self.truth is None else ""

    @property
    def epochs(self) -> int:
        """Epochs of every training: enough visits to learn from small data, few enough to end on large."""
        if self.options.epochs is not None:
            return self.options.epochs
        return int(np.clip(round(self.visits / max(len(self.examples), 1)), 15, 70))

    def estimator(self, recipe: str, name: str) -> Any:
        """A fresh estimator with the run's settings."""
        options = self.options
        return self.estimator_class(
            recipe,
            epochs=self.epochs,
            **loop_settings(options, self.workspace, name),
            **{"batch_size": options.batch_size, "learning_rate": options.learning_rate} | self.network(),
        )

    def train(self, name: str, recipe: str, rows: np.ndarray, validation_rows: np.ndarray | None = None) -> Fitted:
        """Train on ``rows``, or read the training where it is finished."""
        piece = name.replace(" ", "-")

        def make() -> Piece:
            model = self.estimator(recipe, piece)
            watching = {}
            if self.options.devices == 1:
                watching = {"on_epoch": lambda row: self.progress.advance(self._summary(row))}
            self.fit(model, rows, validation_rows, **watching)
            tensors, manifest = model.to_state()
            score = best_score = self.test_score(model) if validation_rows is not None else 0.0
            if model.best_state_ is not None:
                model.use_best_epoch()
                best_score = self.test_score(model)
            best = len(model.history_) - 1 if model.best_epoch_ is None else model.best_epoch_
            values = {"history": model.history_, "best_epoch": best, "score": score, "best_score": best_score}
            return {key: value.numpy() for key, value in tensors.items()}, values | {"model": manifest}

        arrays, values = self.work(piece, name, make, parts=self.epochs)
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        model = self.estimator_class.from_state(tensors, values["model"])
        return Fitted(name, model, values["history"], values["score"], values["best_score"], values["best_epoch"])

    def work(self, piece: str, shown: str, make: Any, *, parts: int = 1) -> tuple[Arrays, dict[str, Any]]:
        """A piece of work, read where it is finished; only new work is shown."""
        if self.workspace.has(piece):
            return self.workspace.piece(piece, make)
        self.progress.start(shown, parts)
        arrays, values = self.workspace.piece(piece, make)
        self.progress.finish(self._summary(values["history"][-1]) if "history" in values else "")
        return arrays, values

    def _summary(self, row: Row) -> str:
        if "validation_score" in row:
            return f"{self.estimator_class.task.metric} {row['validation_score']:.3f} on given validation labels"
        return f"loss {row['loss']:.3f}" if "loss" in row else ""

    def held_out(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Divisions of the audited rows as (name, rows to train on, rows to predict); equal inputs stay together."""
        rows = self.parts.audited
        groups = self.parts.group[rows]
        count = min(self.options.folds or self.folds, len(np.unique(groups)))
        splitter = GroupKFold(count, shuffle=True, random_state=self.options.seed)
        for number, (kept, held) in enumerate(splitter.split(rows, groups=groups), start=1):
            yield f"fold {number}", rows[kept], rows[held]

    def out_of_fold(self, predict: Callable[[str, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Answers (m, ...) for the audited rows in their order, from ``predict(name, rows kept, rows held out)``."""
        order, answers = zip(*((held, predict(name, kept, held)) for name, kept, held in self.held_out()), strict=True)
        return np.concatenate(answers)[np.argsort(np.concatenate(order))]  # audited rows ascend

    def learn(self) -> Learnt:
        """Train the baseline and the robust recipe for the same number of epochs on the same rows."""
        parts = self.parts
        trusting = self.train(self.baseline, self.baseline, parts.train, parts.validation)
        robust = self.train(self.options.recipe, self.options.recipe, parts.train, parts.validation)
        metric = self.estimator_class.task.metric
        self.metrics |= {
            "metric": metric,
            "baseline": self.baseline,
            f"score_baseline{self.suffix}": trusting.score,
            f"score_early_stopped{self.suffix}": trusting.best_score,
            f"score_robust{self.suffix}": robust.score,
            "epochs": self.epochs,
        }
        findings = LearnFindings(
            measured_on=self.measured_on,
            accuracy_baseline=trusting.score,
            accuracy_robust=robust.score,
            accuracy_early_stopped=trusting.best_score,
            early_stopped_epoch=trusting.best_epoch + 1,
            baseline_name=self.baseline,
            robust_name=self.options.recipe,
            measured_rows=len(parts.test),
            runs=(_curve(trusting, "baseline"), _curve(robust, "robust")),
            options={"epochs": str(self.epochs), "network": robust.model.network_},
            metric=metric,
        )
        return Learnt(findings, trusting, robust)

    def check(self, groups: Sequence[DuplicateGroup]) -> CheckFindings:
        """What was read."""
        counts = self.class_counts()
        return check_findings(self.examples, groups, counts, counted=self.unit[1], facts=self.check_facts())

    def save(self, fitted: Fitted, folder: Path) -> None:
        """Write the robust model with what encodes its rows."""
        examples = self.examples
        model = Model(self.inputs, fitted.model, examples.classes, examples.schema, examples.task)
        model.half_width, model.alpha = self.half_width, self.options.alpha
        model.save(folder)
        self.files["model/"] = FILES["model/"]

    def write_suspects(self, path: Path) -> None:
        """Write every suspect, worst first."""
        self.files["suspects.csv"] = FILES["suspects.csv"]
        write_suspects(path, self.examples, ((s.row, s.given, s.suggested, s.score, s.why) for s in self.suspects))

    def write_layer(self, folder: Path, rows: Iterable[tuple[Any, Any, Any, int]]) -> None:
        """Write ``labels.csv``; ``rows`` are as in ``outputs.write_layer``."""
        self.files["labels.csv"] = FILES["labels.csv"]
        write_layer(folder / "labels.csv", self.examples, rows)

    def cards(self) -> tuple[SuspectCard, ...]:
        """The worst suspects as the report shows them."""
        return tuple(
            SuspectCard(
                index=int(self.examples.index[each.row]),
                location=self.examples.location(each.row),
                given=str(each.given),
                suggested=str(each.suggested),
                score=each.score,
                why=each.why,
                **self.look(each),
            )
            for each in self.suspects[: self.options.gallery]
        )

    def look(self, suspect: Suspect) -> dict[str, Any]:
        """What a person needs to see of a suspect."""
        return look(self.examples, suspect.row)


def _curve(fitted: Fitted, role: Any) -> TrainingRun:
    history = fitted.history
    scores = tuple(row["validation_score"] for row in history) if "validation_score" in history[0] else ()
    return TrainingRun(fitted.name, role, tuple(row.get("loss", np.nan) for row in history), scores)
