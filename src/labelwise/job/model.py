"""The saved model of a run: encoding, network, temperature and prediction sets in one folder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from labelwise import __version__
from labelwise.certainty.calibration import softmax
from labelwise.certainty.conformal import SplitConformal
from labelwise.data.examples import Examples, Rejection, concatenate
from labelwise.data.open import iter_blocks
from labelwise.errors import InputError
from labelwise.files import printable, remove_leftovers, write_csv
from labelwise.job.answers import ANSWERS, ESTIMATORS
from labelwise.job.inputs import Inputs
from labelwise.job.outputs import write_rejected
from labelwise.job.progress import Progress, Silent
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint

# Saved by the estimator itself: masks and nodes are no rows of a table.
IN_PYTHON = ("labelwise.Segmenter", "labelwise.NodeClassifier")
BATCH_ROWS = 512  # that the network sees at a time


class Counts(NamedTuple):
    """How many rows were predicted and how many could not be read."""

    predicted: int
    rejected: int


@dataclass(eq=False)
class Model:
    """A trained network of one task with all that turns raw examples into its answers.

    ``conformal`` (classes) and ``half_width`` (numbers) are None where the trust step was skipped; then temperature is
    1 and there are no sets and intervals.
    """

    inputs: Inputs
    estimator: Any
    classes: tuple[str, ...]
    schema: dict[str, Any]
    task: str = "classification"
    temperature: float = 1.0
    conformal: SplitConformal | None = None
    half_width: float | None = None
    alpha: float = 0.1

    def __post_init__(self) -> None:
        outputs = len(getattr(self.estimator, "classes_", ()))
        if len(self.classes) != outputs or not all(isinstance(name, str) for name in self.classes):
            raise InputError(f"the model has {outputs} outputs, and its classes are {self.classes}: train it anew")

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` and one safetensors file."""
        input_tensors, input_values = self.inputs.to_state()
        network_tensors, network_values = self.estimator.to_state()
        tensors = {f"inputs/{name}": value for name, value in input_tensors.items()}
        tensors |= {f"network/{name}": value for name, value in network_tensors.items()}
        manifest = {
            "kind": "labelwise.Model",
            "version": __version__,
            "task": self.task,
            "classes": list(self.classes),
            "schema": self.schema,
            "inputs": input_values,
            "network": network_values,
            "temperature": self.temperature,
            "conformal": None if self.conformal is None else self.conformal.to_state(),
            "half_width": self.half_width,
            "alpha": self.alpha,
        }
        save_checkpoint(folder, tensors, manifest)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read a saved model; raises InputError where files are missing, damaged or changed."""
        tensors, manifest = load_checkpoint(folder)
        kind = str(manifest.get("kind"))
        if kind in IN_PYTHON:
            raise InputError(f"{folder}: holds a {kind}, which predicts in Python only: read it with {kind}.load")
        if kind != "labelwise.Model":
            raise InputError(f"{folder}: not the model folder of a run; give runs/NAME/model")

        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        try:
            return cls(
                Inputs.from_state(under("inputs/"), manifest["inputs"]),
                ESTIMATORS[manifest["task"]].from_state(under("network/"), manifest["network"], name=str(folder)),
                tuple(manifest["classes"]),
                manifest["schema"],
                manifest["task"],
                float(manifest["temperature"]),
                None if manifest["conformal"] is None else SplitConformal.from_state(manifest["conformal"]),
                None if manifest["half_width"] is None else float(manifest["half_width"]),
                float(manifest["alpha"]),
            )
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder}: the manifest does not describe this model ({type(error).__name__}: {error}); "
                "copy it again or train anew"
            ) from error

    def predict_proba(self, raw: Any) -> np.ndarray:
        """Return calibrated probabilities (n, classes) of raw examples."""
        return softmax(self.estimator.predict_logits(self.inputs.transform(raw)), self.temperature)

    def predict_to_csv(
        self,
        source: str,
        out: Path,
        *,
        alpha: float | None = None,
        block_rows: int = 4096,
        progress: Progress | None = None,
    ) -> Counts:
        """Predict rows of ``source`` block by block; write the answers of the task to ``out``.

        Rejected rows go to ``OUT.rejected.csv``. Memory holds one block, or one batch of the network where that is
        larger; the files do not depend on the size of blocks. Raises InputError where a file would overwrite the
        source, or for an ``alpha`` without prediction sets.
        """
        if alpha is not None and self.conformal is None:
            why = "as the trust step was skipped" if self.task == "classification" else f"as its task is {self.task}"
            raise InputError(f"this model has no prediction sets of any alpha, {why}: leave out --alpha")
        out_rejected = out.with_name(out.stem + ".rejected.csv")
        for path in (out, out_rejected):
            _refuse_overwriting(source, path)
            remove_leftovers(path)
        progress = progress or Silent()
        progress.start("predict", 0)
        alpha = self.alpha if alpha is None else alpha
        answers = ANSWERS[self.task]
        rejected: list[Rejection] = []
        predicted = 0

        def rows() -> Iterator[list[Any]]:
            nonlocal predicted
            for batch in _batches(iter_blocks(source, self.schema, block_rows=block_rows), rejected):
                cells = answers.cells(self, self.inputs.transform(batch.inputs), alpha)
                for row, own in enumerate(cells):
                    yield [int(batch.index[row]), batch.location(row), *own]
                predicted += len(batch)
                progress.advance(f"{predicted:,} rows")

        write_csv(out, ["index", "location", *answers.header(self)], rows())
        write_rejected(out_rejected, rejected)
        progress.finish(f"{predicted:,} rows")
        return Counts(predicted, len(rejected))


def _batches(blocks: Iterable[Examples], rejected: list[Rejection]) -> Iterator[Examples]:
    """The rows of all blocks, regrouped to multiples of BATCH_ROWS but for the rest; adds to ``rejected``.

    How many rows are multiplied at a time shows in the last bits of a product: with the same batches, whatever the
    blocks, the same numbers come out.
    """
    held: list[Examples] = []
    count = 0
    for block in blocks:
        rejected.extend(block.rejected)
        if not len(block):
            continue
        held.append(block)
        count += len(block)
        if count < BATCH_ROWS:
            continue
        joined = concatenate(held)
        whole = count - count % BATCH_ROWS
        yield joined.subset(np.arange(whole))
        held, count = [joined.subset(np.arange(whole, count))], count - whole
    if count:
        yield concatenate(held)


def _refuse_overwriting(source: str, out: Path) -> None:
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"the predictions would overwrite {printable(source)}: choose another file with --out")
