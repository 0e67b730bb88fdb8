"""What a reproduction found, as a record that is printed and kept: claim, baselines, difference, interval, verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwise.errors import InputError
from labelwise.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console


class Comparison(NamedTuple):
    """Mean paired difference and its two-sided t interval [low, high]; the interval is None for a single pair."""

    difference: float
    interval: list[float] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, standard deviation (n - 1 in the divisor, None for one value) and the values themselves, one a seed."""

    mean: float
    std: float | None
    values: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one reproduction.

    slug, claim: which claim, in words. data, fault: what it was tried on and what is wrong with those labels. metric:
    what the summaries measure. baselines, methods: name -> Summary. difference, interval: method minus baseline,
    paired over seeds, with its 95% interval; the interval is None for one seed. holds: the verdict; with one seed it
    can only rest on the sign of the difference, and `notes` says so. seeds: how many; seconds: wall clock; version:
    of labelwise. details: further measured numbers, JSON values. notes: what a reader must know, such as parts that
    were not run.
    """

    slug: str
    claim: str
    data: str
    fault: str
    metric: str
    baselines: Mapping[str, Summary]
    methods: Mapping[str, Summary]
    difference: float
    interval: Sequence[float] | None
    holds: bool
    seeds: int
    seconds: float
    version: str
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> str:
        """The record as indented JSON; raises ValueError for NaN or infinite numbers, which JSON does not know."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all (temporary file, then rename)."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, text=True) as stream:
            stream.write(self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a saved record. Raises InputError for a file that is not one."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            for group in ("baselines", "methods"):
                record[group] = {name: Summary(**summary) for name, summary in record[group].items()}
            return cls(**record)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path} is not a saved reproduction ({error}): write one with `labelwise reproduce SLUG --json FILE`."
            ) from error


def summarise(values: Sequence[float]) -> Summary:
    """Mean and standard deviation over seeds. Raises InputError without values."""
    if len(values) == 0:
        raise InputError("there are no values to summarise: run at least one seed.")
    numbers = [float(value) for value in values]
    return Summary(float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None, numbers)


def paired_interval(method: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Mean of method - baseline, paired by seed, with its Student t interval; one pair has no interval (None).

    Raises InputError for lengths that differ or are 0.
    """
    from scipy.stats import t

    if len(method) != len(baseline) or len(method) == 0:
        raise InputError(
            f"method has {len(method)} values, baseline {len(baseline)}: "
            "give one value a seed for each, from the same seeds."
        )
    differences = np.asarray(method, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)  # (seeds,)
    mean = float(differences.mean())
    count = len(differences)
    if count == 1:
        return Comparison(mean, None)
    half = float(t.ppf((1 + confidence) / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return Comparison(mean, [mean - half, mean + half])


def clearly_above(found: Comparison, margin: float = 0.0) -> bool:
    """Whether the difference exceeds `margin`: by its whole interval, or by itself if one seed leaves no interval."""
    low = found.interval[0] if found.interval else found.difference
    return low > margin


def library_version() -> str:
    """Version of the installed labelwise."""
    from importlib.metadata import version

    return version("labelwise")


def print_result(result: Result, console: Console) -> None:
    """Print the record as a table, the paired difference with its interval, the notes and the verdict."""
    from rich.table import Table

    table = Table(title=f"{result.slug}: {result.metric}", title_justify="left")
    for header in ("", "name", "mean", "std"):
        table.add_column(header, justify="right" if header in ("mean", "std") else "left")
    for kind, group in (("baseline", result.baselines), ("method", result.methods)):
        for name, summary in group.items():
            table.add_row(kind, name, f"{summary.mean:.4f}", "-" if summary.std is None else f"{summary.std:.4f}")

    interval = "no interval from one seed"
    if result.interval is not None:
        interval = f"95% interval {result.interval[0]:+.4f} to {result.interval[1]:+.4f}"
    console.print(f"claim: {result.claim}", markup=False)
    console.print(f"data: {result.data}; fault: {result.fault}", markup=False)
    console.print(table)
    console.print(f"paired difference {result.difference:+.4f}, {interval}, {result.seeds} seeds", markup=False)
    for name, value in _flatten(result.details):
        console.print(f"  {name}: {value}", markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    console.print("claim holds" if result.holds else "claim does not hold", style="bold")
    console.print(f"{result.seconds:.1f} s, labelwise {result.version}", markup=False)


def _flatten(details: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in details.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{name}, ")
        else:
            rows.append((f"{prefix}{name}", _show(value)))
    return rows


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return " ".join(_show(each) for each in value)
    return str(value)
