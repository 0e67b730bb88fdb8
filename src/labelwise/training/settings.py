"""How long, how fast, and on what to train."""

import math
from dataclasses import dataclass
from numbers import Integral

from labelwise.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything about training that is not the method.

    ``optimizer`` is ``sgd`` or ``adamw``; ``schedule`` is ``constant``, ``cosine``, ``poly`` or ``steps``;
    ``early_stopping`` is the number of epochs without a better validation accuracy after which training ends (None:
    never). ``accelerator``, ``devices`` and ``precision`` are Lightning Fabric's words. Raises InputError for bad
    values.
    """

    epochs: int = 60
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.02
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: int = 0
    gradient_clip: float | None = None
    early_stopping: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "devices"):
            self._require(name, _is_whole(getattr(self, name), 1), "a whole number of at least 1")
        self._require("warmup_epochs", _is_whole(self.warmup_epochs, 0), "a whole number of at least 0")
        self._require(
            "early_stopping",
            self.early_stopping is None or _is_whole(self.early_stopping, 1),
            "a whole number of epochs, at least 1, or None",
        )
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "a number above 0")
        self._require("momentum", 0 <= self.momentum < 1, "a number from 0 to below 1")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self._require("gradient_clip", self.gradient_clip is None or self.gradient_clip > 0, "a number above 0 or None")
        self._require("nesterov", not (self.nesterov and self.momentum == 0), "False, or a momentum above 0")
        self._require("optimizer", self.optimizer in ("sgd", "adamw"), "'sgd' or 'adamw'")
        schedules = ("constant", "cosine", "poly", "steps")
        self._require("schedule", self.schedule in schedules, "'constant', 'cosine', 'poly' or 'steps'")

    def _require(self, name: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise InputError(f"{name} is {getattr(self, name)!r}; give {remedy}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
