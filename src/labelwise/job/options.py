"""What a run was asked to do."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from labelwise.audit.filters import FILTERS
from labelwise.data.examples import TASKS
from labelwise.errors import InputError

STEPS = ("audit", "learn", "trust", "report")
RECIPES = {
    "classification": "elr",
    "nodes": "erase",
    "multilabel": "pu-mlc",
    "regression": "c-mixup",
    "segmentation": "adele",
    "bags": "llp-bp",
}
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")
LARGEST_SEED = 2**32 - 1  # scikit-learn takes no larger one


@dataclass(frozen=True, kw_only=True)
class Options:
    """All choices of ``labelwise run``; None means the job's own choice, which the report tells.

    ``source`` None is the embedded default. ``skip`` names steps to leave out. Raises InputError for bad values.
    """

    source: str | None = None
    task: str | None = None
    label: str | None = None
    text: str | None = None
    image: str | None = None
    truth: str | None = None
    split: str | None = None
    bag: str | None = None
    edges: str | None = None
    labels_from: str | None = None
    out: str | None = None
    data_dir: str | None = None
    limit: int | None = None
    image_size: int | None = None
    recipe: str = "auto"
    network: str = "auto"
    weights: str | None = None
    download: bool = False
    epochs: int | None = None
    batch_size: int = 64
    learning_rate: float = 0.02
    folds: int | None = None
    filter_by: str | None = None
    alpha: float = 0.1
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    skip: tuple[str, ...] = ()
    seed: int = 0
    gallery: int = 60

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha is {self.alpha}; give the share of misses allowed, above 0 and below 1")
        check_seed(self.seed)
        for name, least in (("limit", 1), ("epochs", 1), ("devices", 1), ("image_size", 1), ("folds", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name.replace('_', ' ')} is {value}; give at least {least}")
        self._require("task", self.task, TASKS)
        self._require("filter", self.filter_by, FILTERS)
        self._require("accelerator", self.accelerator, ACCELERATORS)
        self._require("precision", self.precision, PRECISIONS)
        for step in self.skip:
            self._require("step to skip", step, STEPS)

    @staticmethod
    def _require(what: str, value: str | None, known: tuple[str, ...]) -> None:
        if value is not None and value not in known:
            raise InputError(f"there is no {what} {value!r}; choose one of {', '.join(known)}")

    @property
    def name(self) -> str:
        """A short name for the data, fit for a folder."""
        if self.source is None:
            return "digits"
        stem = Path(self.source).stem or "data"
        return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem)[:60]

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out:
            return Path(self.out)
        return Path("runs") / (self.name if self.labels_from is None else f"{self.name}-reviewed")

    def settled(self, task: str) -> "Options":
        """The options with a task, and a recipe for it where none was asked for; none that the task does not heed."""
        heeded = {
            "bag": (self.bag, ("bags",)),
            "edges": (self.edges, ("nodes",)),
            "filter": (self.filter_by, ("classification", "nodes")),
            "labels-from": (self.labels_from, tuple(task for task in TASKS if task != "bags")),
        }
        for name, (value, tasks) in heeded.items():
            if value is not None and task not in tasks:
                raise InputError(f"--{name} has no effect on the task {task}: leave it out, or choose another --task")
        return replace(self, task=task, recipe=RECIPES[task] if self.recipe == "auto" else self.recipe)

    def identity(self) -> dict[str, Any]:
        """Everything that decides the results: what a resumed run must share with the one it goes on from."""
        values = asdict(self) | {"skip": list(self.skip)}
        return {name: value for name, value in values.items() if name not in ("out", "devices", "accelerator")}

    def settings(self) -> dict[str, Any]:
        """What decides the numbers of a run on the same data: all choices but where from and where to."""
        places = ("source", "out", "data_dir", "labels_from", "devices", "accelerator", "skip", "gallery", "weights")
        return {name: value for name, value in asdict(self).items() if name not in places}

    def command(self) -> str:
        """The command line that repeats the run."""
        words = ["labelwise", "run"] + ([_quote(self.source)] if self.source else [])
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("source", "skip") or value == each.default:
                continue
            flag = "--" + each.name.replace("filter_by", "filter").replace("_", "-")
            words += [flag] if value is True else [flag, _quote(str(value))]
        for step in self.skip:
            words += ["--skip", step]
        return " ".join(words)


def check_seed(seed: int) -> None:
    """Raise InputError for a seed that some generator would not take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed is {seed}; give a whole number from 0 to {LARGEST_SEED}")


def _quote(word: str) -> str:
    import shlex

    return shlex.quote(word)
