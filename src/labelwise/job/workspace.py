"""The folder of a run: finished pieces are kept there, so that a killed run goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.errors import InputError
from labelwise.files import atomic_write
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint

MARK = "run.json"

Arrays = dict[str, np.ndarray]
Piece = tuple[Arrays, dict[str, Any]]


class Workspace:
    """``OUT/.work`` holds one folder a finished piece of work; it goes when the run is complete.

    A piece is named arrays and JSON-able values, written whole or not at all and checked by sha256 when read.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.out = out
        self.folder = out / ".work"
        wanted = json.dumps(identity, indent=1, sort_keys=True, default=str).encode()
        mark = self.folder / MARK
        if resume and mark.exists():
            if mark.read_bytes() != wanted:
                raise InputError(
                    f"{out}: the run to resume was started with other options or data; give the same ones, "
                    "or start afresh without --resume"
                )
            return
        self.close()
        self.folder.mkdir(parents=True)
        with atomic_write(mark) as stream:
            stream.write(wanted)

    def has(self, name: str) -> bool:
        """Whether a piece is finished."""
        return (self.folder / name / "manifest.json").exists()

    def piece(self, name: str, make: Callable[[], Piece]) -> Piece:
        """Return a piece of work: read where it is finished, else made and kept."""
        folder = self.folder / name
        if self.has(name):
            return self._read(folder)
        arrays, values = make()
        self._write(folder, arrays, values)
        # What was computed and what is read back must be the same to the bit, so all go through the file.
        return self._read(folder)

    def checkpoints(self, name: str) -> Path:
        """Folder for the checkpoints of a training that is under way."""
        return self.folder / f"{name}.checkpoints"

    def close(self) -> None:
        """Remove the pieces: the run is complete, or another begins."""
        # The mark goes first: where a kill leaves some of the pieces, nothing must take them for a run to go on with.
        (self.folder / MARK).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _write(folder: Path, arrays: Arrays, values: dict[str, Any]) -> None:
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        save_checkpoint(folder, tensors, {"values": values})

    @staticmethod
    def _read(folder: Path) -> Piece:
        tensors, manifest = load_checkpoint(folder)
        return {name: tensor.numpy() for name, tensor in tensors.items()}, manifest["values"]


def fingerprint(*arrays: np.ndarray) -> str:
    """A short hash of arrays, to notice that the data changed between a run and its resumption."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
