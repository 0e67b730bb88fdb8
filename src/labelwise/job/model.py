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
from labelwise.estimators.classifier import Classifier
from labelwise.files import printable, remove_leftovers, write_csv
from labelwise.job.inputs import Inputs
from labelwise.job.outputs import set_cell, write_rejected
from labelwise.job.progress import Progress, Silent
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint

BATCH_ROWS = 512  # that the network sees at a time


class Counts(NamedTuple):
    """How many rows were predicted and how many could not be read."""

    predicted: int
    rejected: int


@dataclass(eq=False)
class Model:
    """A trained network with all that turns raw examples into labels, probabilities and prediction sets.

    ``conformal`` is None where the trust step was skipped; then temperature is 1 and there are no sets.
    """

    inputs: Inputs
    classifier: Classifier
    classes: tuple[str, ...]
    schema: dict[str, Any]
    temperature: float = 1.0
    conformal: SplitConformal | None = None
    alpha: float = 0.1

    def __post_init__(self) -> None:
        outputs = len(self.classifier.classes_)
        if len(self.classes) != outputs or not all(isinstance(name, str) for name in self.classes):
            raise InputError(f"the model has {outputs} outputs, and its classes are {self.classes}: train it anew")

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` and one safetensors file."""
        input_tensors, input_values = self.inputs.to_state()
        network_tensors, network_values = self.classifier.to_state()
        tensors = {f"inputs/{name}": value for name, value in input_tensors.items()}
        tensors |= {f"network/{name}": value for name, value in network_tensors.items()}
        manifest = {
            "kind": "labelwise.Model",
            "version": __version__,
            "classes": list(self.classes),
            "schema": self.schema,
            "inputs": input_values,
            "network": network_values,
            "temperature": self.temperature,
            "conformal": None if self.conformal is None else self.conformal.to_state(),
            "alpha": self.alpha,
        }
        save_checkpoint(folder, tensors, manifest)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read a saved model; raises InputError where files are missing, damaged or changed."""
        tensors, manifest = load_checkpoint(folder)
        if manifest.get("kind") != "labelwise.Model":
            raise InputError(f"{folder}: not the model folder of a run; give runs/NAME/model")

        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        try:
            return cls(
                Inputs.from_state(under("inputs/"), manifest["inputs"]),
                Classifier.from_state(under("network/"), manifest["network"], name=str(folder)),
                tuple(manifest["classes"]),
                manifest["schema"],
                float(manifest["temperature"]),
                None if manifest["conformal"] is None else SplitConformal.from_state(manifest["conformal"]),
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
        return softmax(self.classifier.predict_logits(self.inputs.transform(raw)), self.temperature)

    def predict_to_csv(
        self,
        source: str,
        out: Path,
        *,
        alpha: float | None = None,
        block_rows: int = 4096,
        progress: Progress | None = None,
    ) -> Counts:
        """Predict rows of ``source`` block by block; write labels, probabilities and sets to ``out``.

        Rejected rows go to ``OUT.rejected.csv``. Memory holds one block, or one batch of the network where that is
        larger; the files do not depend on the size of blocks. Raises InputError where a file would overwrite the
        source, or for an ``alpha`` without prediction sets.
        """
        if alpha is not None and self.conformal is None:
            raise InputError("this model has no prediction sets, as the trust step was skipped: leave out --alpha")
        out_rejected = out.with_name(out.stem + ".rejected.csv")
        for path in (out, out_rejected):
            _refuse_overwriting(source, path)
            remove_leftovers(path)
        progress = progress or Silent()
        progress.start("predict", 0)
        alpha = self.alpha if alpha is None else alpha
        rejected: list[Rejection] = []
        predicted = 0

        def rows() -> Iterator[list[Any]]:
            nonlocal predicted
            for batch in _batches(iter_blocks(source, self.schema, block_rows=block_rows), rejected):
                probs = self.predict_proba(batch.inputs)
                sets = None if self.conformal is None else self.conformal.predict_sets(probs, alpha)
                for row, best in enumerate(probs.argmax(axis=1)):
                    members = [] if sets is None else [self.classes[k] for k in np.flatnonzero(sets[row])]
                    numbers = [round(float(value), 6) for value in probs[row]]
                    yield [int(batch.index[row]), batch.location(row), self.classes[best], set_cell(members), *numbers]
                predicted += len(batch)
                progress.advance(f"{predicted:,} rows")

        header = ["index", "location", "predicted", "prediction_set", *(f"p({name})" for name in self.classes)]
        write_csv(out, header, rows())
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
