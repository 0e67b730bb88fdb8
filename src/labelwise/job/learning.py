"""Trainings of the job: each one is a finished piece of work, read again where it was done before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from labelwise.estimators.classifier import Classifier
from labelwise.job.options import Options
from labelwise.job.progress import Progress
from labelwise.job.workspace import Piece, Workspace
from labelwise.training.data import TrainingData
from labelwise.training.loop import Watch
from labelwise.training.predict import predict_outputs
from labelwise.training.recipe import Recipe
from labelwise.training.resume import Row

# The strength of the regulariser is the one option of the default recipe that matters; it is chosen from these.
LAMBDAS = (1.0, 3.0, 7.0, 10.0)
CHECKPOINT_SECONDS = 5.0
# More would make the curves smoother and each epoch slower.
WATCHED_ROWS = 2000


def loop_settings(options: Options, workspace: Workspace, piece: str) -> dict[str, Any]:
    """Parameters of an estimator that say where it trains and where it goes on from."""
    return {
        "accelerator": options.accelerator,
        "devices": options.devices,
        "precision": options.precision,
        "checkpoint_folder": workspace.checkpoints(piece),
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "resume": True,
        "random_state": options.seed,
    }


@dataclass(frozen=True, eq=False)
class Task:
    """The rows of a run as the trainings see them.

    ``inputs`` (n, ...), ``labels`` (n,) int64 positions in the classes, -1 unlabelled; ``truth`` (n,), -1 unknown, or
    None where no test row has one to score by.
    """

    inputs: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None
    num_classes: int


@dataclass(frozen=True, eq=False)
class Trained:
    """One finished training: a row of numbers an epoch, and logits (n, classes) of all rows of the task."""

    name: str
    options: dict[str, Any]
    history: list[Row]
    logits: np.ndarray
    best_logits: np.ndarray
    best_epoch: int
    model: Classifier

    @property
    def best_score(self) -> float:
        """Score on the given validation labels after the best epoch."""
        return self.history[self.best_epoch]["validation_score"]

    @property
    def validation_score(self) -> float:
        """Score on the given validation labels after the last epoch."""
        return self.history[-1]["validation_score"]


def candidates(recipe: str) -> list[dict[str, Any]]:
    """Options of a recipe to choose from."""
    return [{"lambda_": value} for value in LAMBDAS] if recipe in ("elr", "elr-plus") else [{}]


def epochs_for(task: Task, options: Options) -> int:
    """Epochs of every training of a run: enough visits to learn from small data, few enough to end on large."""
    if options.epochs is not None:
        return options.epochs
    pictures = task.inputs.ndim == 4 and min(task.inputs.shape[1:3]) > 16
    visits = 60_000 if pictures else 400_000
    return int(np.clip(round(visits / max(len(task.labels), 1)), 15, 70))


class Trainer:
    """Trains on rows of one task with the settings of one run."""

    estimator_class: type[Classifier] = Classifier
    baseline_recipe = "cross-entropy"

    def __init__(
        self,
        task: Task,
        options: Options,
        network: str,
        workspace: Workspace,
        progress: Progress,
        *,
        standardize: bool = True,
    ) -> None:
        self.task = task
        self.options = options
        self.network = network
        self.workspace = workspace
        self.progress = progress
        self.standardize = standardize
        self.epochs = epochs_for(task, options)

    def train(
        self,
        name: str,
        recipe: str,
        recipe_options: dict[str, Any],
        rows: np.ndarray,
        validation_rows: np.ndarray | None = None,
        *,
        predict_rows: np.ndarray | None = None,
    ) -> Trained:
        """Train on ``rows``; measure each epoch on the given labels of ``validation_rows``.

        Logits are for ``predict_rows`` (all rows of the task where not given). Where the truth is known, each epoch
        is also scored against it, which decides nothing.
        """
        asked = np.arange(len(self.task.labels)) if predict_rows is None else predict_rows

        def make() -> Piece:
            model = self._classifier(recipe, recipe_options, name)
            self._fit(model, rows, validation_rows)
            last = self._logits(model, asked)
            tensors, manifest = model.to_state()
            best = last
            if model.best_state_ is not None:
                model.use_best_epoch()
                best = self._logits(model, asked)
            arrays = {f"model/{key}": value.numpy() for key, value in tensors.items()}
            best_epoch = len(model.history_) - 1 if model.best_epoch_ is None else model.best_epoch_
            values = {"history": model.history_, "best_epoch": best_epoch, "model": manifest}
            return arrays | {"logits": last, "best_logits": best}, values

        arrays, values = self.work(name, make, parts=self.epochs)
        tensors = {
            key.removeprefix("model/"): torch.from_numpy(array)
            for key, array in arrays.items()
            if key.startswith("model/")
        }
        model = self.estimator_class.from_state(tensors, values["model"])
        return Trained(
            name,
            recipe_options,
            values["history"],
            arrays["logits"],
            arrays["best_logits"],
            values["best_epoch"],
            model,
        )

    def work(self, name: str, make: Callable[[], Piece], summary: str = "", *, parts: int = 1) -> Piece:
        """Return a piece of work, read where it is finished; only new work is shown."""
        piece = self._piece(name)
        if self.workspace.has(piece):
            return self.workspace.piece(piece, make)
        self.progress.start(name, parts)
        arrays, values = self.workspace.piece(piece, make)
        self.progress.finish(summary or _summary(values["history"][-1]))
        return arrays, values

    def _piece(self, name: str) -> str:
        return name.replace(" ", "-") + ("" if self.standardize else "-in-one-unit")

    def baseline(self, rows: np.ndarray, validation_rows: np.ndarray) -> Trained:
        """Plain cross-entropy, measured after each epoch on the given labels of ``validation_rows``."""
        return self.train("cross-entropy", self.baseline_recipe, {}, rows, validation_rows)

    def classic_inputs(self, rows: np.ndarray) -> np.ndarray:
        """What a classic model sees of ``rows``, (m, features) float32."""
        return self.task.inputs[rows].reshape(len(rows), -1).astype(np.float32)

    def _classifier(self, recipe: str, recipe_options: dict[str, Any], name: str) -> Classifier:
        return self.estimator_class(
            recipe,
            network=self.network,
            recipe_options=recipe_options,
            epochs=self.epochs,
            **self._steps(),
            **loop_settings(self.options, self.workspace, self._piece(name)),
        )

    def _steps(self) -> dict[str, Any]:
        """Parameters of the estimator that decide what a step is."""
        return {
            "batch_size": self.options.batch_size,
            "learning_rate": self.options.learning_rate,
            "standardize": self.standardize,
        }

    def _fit(self, model: Classifier, rows: np.ndarray, validation_rows: np.ndarray | None) -> None:
        held = {}
        if validation_rows is not None:
            held = {"X_val": self.task.inputs[validation_rows], "y_val": self.task.labels[validation_rows]}
        alone = self.options.devices == 1
        model.fit(
            self.task.inputs[rows],
            self.task.labels[rows],
            classes=np.arange(self.task.num_classes),
            watch=self._watch(rows) if alone else None,
            on_epoch=self._advance if alone else None,
            **held,
        )

    def _logits(self, model: Classifier, rows: np.ndarray) -> np.ndarray:
        return model.predict_logits(self.task.inputs[rows])

    def _advance(self, row: Row) -> None:
        self.progress.advance(_summary(row))

    def _watch(self, rows: np.ndarray) -> Watch | None:
        """Score each epoch against the truth: accuracy on rows not trained on, and the share memorised."""
        if self.task.truth is None:
            return None
        truth, labels = self.task.truth, self.task.labels
        wrong = _thinned(rows[(truth[rows] >= 0) & (labels[rows] != truth[rows])])
        asked = np.concatenate([wrong, _thinned(np.setdiff1d(np.flatnonzero(truth >= 0), rows))])
        data = self._data(asked)
        split = len(wrong)

        def watch(recipe: Recipe, epoch: int) -> Row:
            predicted = predict_outputs(recipe, data).argmax(dim=1).numpy()
            return {
                "accuracy_true": _share(predicted[split:] == truth[asked[split:]]),
                "memorised": _share(predicted[:split] == labels[asked[:split]]),
            }

        return watch

    def _data(self, rows: np.ndarray) -> TrainingData:
        inputs = self.task.inputs[rows]
        if inputs.ndim == 4:
            inputs = np.moveaxis(inputs, -1, 1)
        return TrainingData(
            torch.from_numpy(np.ascontiguousarray(inputs)),
            torch.from_numpy(self.task.labels[rows]),
            self.task.num_classes,
        )


def choose(trainer: Trainer, rows: np.ndarray, validation_rows: np.ndarray) -> Trained:
    """Train the robust recipe with each candidate's options; keep the best on the given validation labels.

    Accuracy on given labels may choose because wrong labels lower every candidate's score in the same way: as long
    as a wrong label is no easier to guess for one model than for another, the order by given labels is the order by
    true ones. The last epoch counts, not the best, since the last is what is used; of equal ones the first wins.
    """
    recipe = trainer.options.recipe
    trained = [
        trainer.train(_name(recipe, options), recipe, options, rows, validation_rows) for options in candidates(recipe)
    ]
    return max(trained, key=lambda each: each.validation_score)


def _name(recipe: str, options: dict[str, Any]) -> str:
    return " ".join([recipe, *(f"{key.rstrip('_')}-{value:g}" for key, value in options.items())])


def _summary(row: Row) -> str:
    if "validation_score" in row:
        return f"agrees with {row['validation_score']:.1%} of the given validation labels"
    return f"loss {row['loss']:.3f}" if "loss" in row else ""


def _thinned(rows: np.ndarray) -> np.ndarray:
    """At most WATCHED_ROWS of the rows, from all over: the first ones may be of one class only."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), WATCHED_ROWS)).round().astype(np.int64)]


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if len(hits) else 0.0
