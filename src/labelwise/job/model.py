"""The saved model of a run: encoding, network, temperature and prediction sets in one folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from labelwise import __version__
from labelwise.certainty.calibration import softmax
from labelwise.certainty.conformal import SplitConformal
from labelwise.data.files import write_csv
from labelwise.data.open import iter_blocks
from labelwise.errors import InputError
from labelwise.estimators.classifier import Classifier
from labelwise.job.inputs import Inputs
from labelwise.job.progress import Progress, Silent
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint


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
        except (KeyError, TypeError, RuntimeError) as error:
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
        """Predict rows of ``source`` block by block; write labels, probabilities and sets, rejected rows beside it.

        Memory holds one block. The rejected rows go to ``OUT.rejected.csv``, where there are any.
        """
        progress = progress or Silent()
        progress.start("predict", 0)
        alpha = self.alpha if alpha is None else alpha
        rejected: list[list[Any]] = []
        predicted = 0

        def rows() -> Iterator[list[Any]]:
            nonlocal predicted
            for block in iter_blocks(source, self.schema, block_rows=block_rows):
                rejected.extend([each.index, each.location, each.reason] for each in block.rejected)
                if not len(block):
                    continue
                probs = self.predict_proba(block.inputs)
                sets = None if self.conformal is None else self.conformal.predict_sets(probs, alpha)
                for row, best in enumerate(probs.argmax(axis=1)):
                    members = [] if sets is None else [self.classes[k] for k in np.flatnonzero(sets[row])]
                    numbers = [round(float(value), 6) for value in probs[row]]
                    yield [int(block.index[row]), block.location(row), self.classes[best], "|".join(members), *numbers]
                predicted += len(block)
                progress.advance(f"{predicted:,} rows")

        header = ["index", "location", "predicted", "prediction_set", *(f"p({name})" for name in self.classes)]
        write_csv(out, header, rows())
        if rejected:
            write_csv(out.with_name(out.stem + ".rejected.csv"), ["index", "location", "reason"], rejected)
        progress.finish(f"{predicted:,} rows")
        return Counts(predicted, len(rejected))
