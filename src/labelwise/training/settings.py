"""How long, how fast, and on what to train."""

from dataclasses import dataclass

from labelwise.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything about training that is not the method.

    ``optimizer`` is ``sgd`` or ``adamw``; ``schedule`` is ``constant``, ``cosine`` or ``steps``; ``early_stopping``
    is the number of epochs without a better validation accuracy after which training ends (None: never).
    ``accelerator``, ``devices`` and ``precision`` are Lightning Fabric's words. Raises InputError for bad values.
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
            if int(getattr(self, name)) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give a whole number of at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; give a number above 0")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}; give a number from 0 to below 1")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay is {self.weight_decay}; give 0 or more")
        if self.optimizer not in ("sgd", "adamw"):
            raise InputError(f"optimizer is {self.optimizer!r}; choose 'sgd' or 'adamw'")
        if self.schedule not in ("constant", "cosine", "steps"):
            raise InputError(f"schedule is {self.schedule!r}; choose 'constant', 'cosine' or 'steps'")
