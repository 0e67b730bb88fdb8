"""From a source to rows that every task's job starts from: read, checked, divided, with a folder to work in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwise import __version__
from labelwise.data.examples import DuplicateGroup, Examples, duplicates, has_label, row_hashes
from labelwise.data.open import find_task, open_data
from labelwise.errors import InputError
from labelwise.files import printable
from labelwise.job.options import Options
from labelwise.job.parts import Parts, split
from labelwise.job.progress import Progress
from labelwise.job.reviewed import Reviewed, apply_decisions, check_reviewed, rounds, without_unlabelled
from labelwise.job.workspace import Workspace, fingerprint
from labelwise.methods import find_recipe

BY_CLASS = ("classification", "nodes")
# Rows of these are not of one distribution each: equal ones are no copies of each other.
RELATED = ("nodes", "bags")


@dataclass(frozen=True, eq=False)
class Prepared:
    """``options`` name task and recipe; ``groups`` are rows with equal inputs; ``reviewed`` tells of the labels that
    people decided on, which the examples have in place of the given ones.
    """

    options: Options
    examples: Examples
    groups: Sequence[DuplicateGroup]
    parts: Parts
    workspace: Workspace
    progress: Progress
    reviewed: Reviewed | None = None


def settle_task(options: Options) -> Options:
    """The options with the task that was asked for or that the data speak of, and its recipe.

    Raises InputError for a recipe of another task.
    """
    task = options.task or find_task(options.source, label=options.label, bag=options.bag, edges=options.edges)
    settled = options.settled(task)
    find_recipe(settled.recipe, task)
    return settled


def prepare(options: Options, written: Sequence[str], progress: Progress, *, resume: bool) -> Prepared:
    """Read and divide the data; ``written`` are the files that a run writes. Raises InputError."""
    check_places(options, written)
    examples = _check(options, progress)
    groups = [] if examples.task in RELATED else duplicates(examples)
    parts = split(examples, groups, options.seed)
    reviewed = None
    if options.labels_from is not None:
        # After the division: it must not depend on what was decided, or the runs would not compare.
        examples, reviewed = apply_decisions(examples, Path(options.labels_from))
        parts = without_unlabelled(parts, examples)
    workspace = Workspace(options.folder, _identity(options, examples), resume=resume)
    return Prepared(options, examples, groups, parts, workspace, progress, reviewed)


def truth_to_score_by(examples: Examples, parts: Parts) -> np.ndarray | None:
    """The true labels where any test row has one, else None."""
    if examples.truth is None or has_label(examples.truth, examples.task)[parts.test].any():
        return examples.truth
    examples.notes.append("No test row has a known true label, so the models are scored on given labels.")
    return None


def check_places(options: Options, written: Sequence[str]) -> None:
    """Nothing that is read may be overwritten, and nothing that is written may be taken for data the next time."""
    if options.labels_from is not None:
        for each in rounds(Path(options.labels_from)):
            if each.resolve() == options.folder.resolve():
                raise InputError(
                    f"the results would overwrite the reviewed run {printable(each)}: choose a folder with --out"
                )
            check_reviewed(each)
    if options.source is None or not Path(options.source).exists():
        return
    source, folder = Path(options.source).resolve(), options.folder.resolve()
    if source.is_dir() and folder.is_relative_to(source):
        raise InputError(f"the results would go into {printable(folder)}, among the data: choose a folder with --out")
    if source in {folder / name for name in written}:
        raise InputError(f"the results would overwrite {printable(options.source)}: choose a folder with --out")


def _identity(options: Options, examples: Examples) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on from."""
    more = [each for each in (examples.truth, examples.edges) if each is not None]
    if examples.bags is not None:
        more.append(row_hashes(np.asarray(examples.bags, dtype=object)))
    data = fingerprint(row_hashes(examples.inputs), examples.index, examples.given, *more)
    return options.identity() | {"data": data, "version": __version__}


def _check(options: Options, progress: Progress) -> Examples:
    progress.start("check", 1)
    examples = open_data(
        options.source,
        label=options.label,
        text=options.text,
        image=options.image,
        truth=options.truth,
        split=options.split,
        image_size=options.image_size,
        data_dir=options.data_dir,
        seed=options.seed,
        task=str(options.task),
        bag=options.bag,
        edges=options.edges,
    )
    if options.limit is not None and options.limit < len(examples):
        examples = examples.subset(draw_rows(examples, options.limit, options.seed))
        examples.notes.append(f"Only {len(examples):,} rows were used, drawn at random (--limit).")
    if examples.num_classes < 2 and examples.task != "regression":
        raise InputError("the labels hold fewer than two classes, so there is nothing to tell apart; check the labels")
    classes = f"{examples.num_classes} classes, " if examples.num_classes else ""
    progress.finish(f"{examples.task}: {len(examples):,} rows, {classes}{len(examples.rejected):,} rejected")
    return examples


def draw_rows(examples: Examples, limit: int, seed: int) -> np.ndarray:
    """At most ``limit`` rows at random, in order; bags are taken whole, as the count of a part is not known."""
    rng = np.random.default_rng(seed)
    if examples.bags is None:
        return np.sort(rng.choice(len(examples), limit, replace=False))
    bag = np.unique(np.asarray(examples.bags, dtype=str), return_inverse=True)[1]
    order = rng.permutation(bag.max() + 1)
    whole = order[np.cumsum(np.bincount(bag)[order]) <= limit]
    return np.flatnonzero(np.isin(bag, whole))
