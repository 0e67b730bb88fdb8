"""`labelwise stability`: files of predictions and labels in, what a ranking of models is worth out.

A file of predictions holds a class an example or a probability for each class; names of models come from their files.
A model may predict classes that no example of the benchmark has; where most of its predictions are such, its classes
are numbered otherwise, and it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.blocks import map_npy
from labelwise.audit.ranking import Ranking, outside_classes, rank_models
from labelwise.audit.stability import BenchmarkStudy
from labelwise.audit.votes import aggregate_votes, read_votes
from labelwise.errors import InputError
from labelwise.files import atomic_write, existing_path, printable, write_csv
from labelwise.job.options import check_seed
from labelwise.labels.check import UNLABELLED, check_labels, check_pred_probs

Labels = NDArray[np.int64]
# Shares of the draws are then known to 0.3 points with 95% confidence; more draws take memory and minutes for nothing.
MOST_DRAWS = 100_000
COLUMNS = (
    "model", "original_accuracy", "original_rank", "corrected_accuracy", "corrected_low", "corrected_high",
    "corrected_rank", "benign_accuracy", "correctable_accuracy_given", "correctable_accuracy_corrected",
)  # fmt: skip


def study_files(
    predictions: Sequence[str],
    given: Path,
    *,
    corrected: Path | None = None,
    votes: Path | None = None,
    num_draws: int = 2000,
    seed: int = 0,
) -> Ranking:
    """Rank the models whose predictions stand in the files ``predictions``, each FILE or NAME=FILE.

    ``given`` and ``corrected`` hold class numbers, -1 in the latter where no label was agreed on; ``votes`` are what
    people answered, as `read_votes` reads them, with the number of its row as the id of each example. All but the
    votes are .npy, .parquet or .csv. Raises InputError with the place and the remedy.
    """
    if (corrected is None) == (votes is None):
        raise InputError("the corrected labels are needed once: give --corrected FILE, or --votes FILE of a review.")
    check_seed(seed)
    if not 1 <= num_draws <= MOST_DRAWS:
        raise InputError(f"--draws is {num_draws}: give a whole number from 1 to {MOST_DRAWS}.")
    labels = _read_labels(given)
    _refuse(labels == UNLABELLED, given, "has no label: leave such examples out of every file.")
    new = _read_labels(corrected) if corrected is not None else apply_votes(labels, votes)  # type: ignore[arg-type]
    if len(new) != len(labels):
        raise InputError(f"{corrected} has {len(new)} rows, {given} {len(labels)}: give the same examples in each.")
    study = BenchmarkStudy.of(labels, new)
    classes = {name: _read_classes(path, study, given) for name, path in _named(predictions).items()}
    return rank_models(study, classes, rng=np.random.default_rng(seed), num_draws=num_draws)


def apply_votes(given: Labels, votes: Path) -> Labels:
    """Labels (n,) after a review: those that no example's voters doubted stay, -1 where they agreed on none.

    Raises InputError for an id that is no row, twice the same, or a given label that is not that of its row.
    """
    records = read_votes(votes)
    rows = _as_integers(records.ids, votes, "id", "give the number of its row, from 0.")
    old = _as_integers(records.given, votes, "given_original_label", "give class numbers as in the labels.")
    guessed = _as_integers(records.guessed, votes, "our_guessed_label", "give class numbers as in the labels.")
    is_bad = (rows < 0) | (rows >= len(given))
    if is_bad.any():
        record = int(is_bad.argmax())
        raise InputError(f"{votes}, record {record}, is about row {rows[record]} of {len(given)}: give rows from 0.")
    first = np.unique(rows, return_index=True)[1]
    if len(first) < len(rows):
        record = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        raise InputError(f"{votes}, record {record}, is about row {rows[record]} again: give each example once.")
    differs = old != given[rows]
    if differs.any():
        record = int(differs.argmax())
        raise InputError(
            f"{votes}, record {record}, says that row {rows[record]} is labelled {old[record]}, but it is "
            f"{given[rows[record]]}: give the votes and the labels of the same examples in the same order."
        )
    corrected = given.copy()
    corrected[rows] = aggregate_votes(records.votes, old, guessed).corrected
    return corrected


def write_study(ranking: Ranking, out: Path) -> None:
    """Write ``stability.json``, ``stability.csv`` (one row a model) and ``stability.html`` to a folder."""
    from labelwise.report.stability import write_stability

    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "stability.json", text=True) as stream:
        stream.write(json.dumps(to_json(ranking), indent=1) + "\n")
    rows = (
        (
            each.name, each.accuracies.original, each.original_rank, each.accuracies.corrected, each.low, each.high,
            each.corrected_rank, each.accuracies.benign, each.accuracies.correctable_given,
            each.accuracies.correctable_corrected,
        )
        for each in ranking.models
    )  # fmt: skip
    write_csv(out / "stability.csv", COLUMNS, rows)
    write_stability(ranking, out / "stability.html")


def to_json(ranking: Ranking) -> dict[str, Any]:
    """The ranking as JSON-able values, its verdict first."""
    found: dict[str, Any] = {"verdict": ranking.verdict} | ranking._asdict()
    found["models"] = [each._asdict() | {"accuracies": each.accuracies._asdict()} for each in ranking.models]
    found["pairs"] = [each._asdict() for each in ranking.pairs]
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _named(predictions: Sequence[str]) -> dict[str, Path]:
    """The files by the name of their model: what stands before =, else the file's name without its ending."""
    found: dict[str, Path] = {}
    for each in predictions:
        path, name = Path(each), Path(each).stem
        if "=" in each and not path.exists():  # a path may hold the sign itself
            name, file = each.split("=", 1)
            if not file:
                raise InputError(f"{printable(each)} names no file: write NAME=FILE.")
            path = Path(file)
        if not name:
            raise InputError(f"{printable(each)} names no model: write NAME=FILE.")
        if name in found:
            raise InputError(
                f"two models are called {printable(name)}: name one of them, as in other={printable(path)}."
            )
        found[name] = path
    return found


def _read_classes(path: Path, study: BenchmarkStudy, given: Path) -> Labels:
    """Predicted classes (n,): as they stand, or the most probable ones."""
    array = _read(path)
    if len(array) != len(study.given):
        raise InputError(f"{path} has {len(array)} rows, {given} {len(study.given)}: give the same examples in each.")
    if array.ndim == 1:
        classes = check_labels(array, name=str(path))
        _refuse(classes == UNLABELLED, path, "has no prediction: give each model's class for every example.")
    else:
        probs = check_pred_probs(array, name=str(path))
        lacks = study.given >= probs.shape[1]
        _refuse(lacks, given, f"is of a class for which {path} has no column: give one a class.")
        classes = probs.argmax(axis=1).astype(np.int64)
    is_outside = outside_classes(study, classes)
    if 2 * is_outside.sum() > len(classes):
        row = int(is_outside.argmax())
        raise InputError(
            f"{path} row {row} is class {classes[row]}, which no label has, as are {is_outside.sum()} of its "
            f"{len(classes)} predictions: number the classes as in {given}."
        )
    return classes


def _read_labels(path: Path) -> Labels:
    return check_labels(_read(path), name=str(path))


def _read(path: Path) -> NDArray[Any]:
    """The array in a .npy file, or the columns of a table: (n,) of one column, else (n, columns)."""
    existing_path(path)
    if path.suffix == ".npy":
        array = map_npy(path)
    elif path.suffix in (".parquet", ".csv"):
        array = _read_table(path)
    else:
        raise InputError(f"{path} is neither .npy, .parquet nor .csv: save the array with numpy.save.")
    if array.ndim == 0 or len(array) == 0:
        raise InputError(f"{path} is empty: give at least one example.")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _read_table(path: Path) -> NDArray[Any]:
    import pandas as pd

    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        if table.shape[1] == 1 and len(table) and isinstance(table.iloc[0, 0], np.ndarray):
            return np.stack(table.iloc[:, 0].to_list())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}): save it again.") from error
    if path.suffix == ".csv":
        _refuse_headless(path)
    return table.to_numpy()


def _refuse_headless(path: Path) -> None:
    """Raise InputError for a .csv file whose first line is an example: it would be taken for the names of columns."""
    import pandas as pd

    cells = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy()
    are_names = len(numbers) > 1 and len(set(numbers)) == len(numbers) and (numbers == np.floor(numbers)).all()
    if np.isnan(numbers).any() or are_names:  # columns of probabilities may be called 0, 1, 2, ...
        return
    raise InputError(
        f"{path} line 1 is {printable(', '.join(cells[:3]))}, an example rather than the name of a column: "
        "put a line with names before it, or save the array with numpy.save."
    )


def _as_integers(values: Sequence[Any], path: Path, key: str, remedy: str) -> Labels:
    for record, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{path}, record {record}, has {key} {printable(repr(value))}: {remedy}")
    return np.asarray(values, dtype=np.int64)


def _refuse(is_bad: NDArray[np.bool_], path: Path, fault: str) -> None:
    if is_bad.any():
        raise InputError(f"{path} row {int(is_bad.argmax())} {fault}")
