"""Which rows are trained on, measured on, calibrated on and held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from labelwise.data.examples import DuplicateGroup, Examples, has_label
from labelwise.errors import InputError
from labelwise.files import quote
from labelwise.training.seeding import derive_seed

# Of fewer, 15% are not five.
FEWEST_ROWS = 34
FEWEST_BAGS = 8


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of each part, int64 positions: what is trained on, measured on each epoch, calibrated on, and held out.

    ``audited`` are the rows whose labels are in doubt: all labelled rows that the source does not declare as test.
    ``group`` (n,) is the same number for rows whose inputs are equal: such rows never stand on both sides of a
    division, where a model would predict what it has seen.
    """

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    audited: np.ndarray
    group: np.ndarray

    @property
    def audited_groups(self) -> np.ndarray | None:
        """Groups of the audited rows; None where each row is one of its own."""
        groups = self.group[self.audited]
        return None if len(np.unique(groups)) == len(groups) else groups

    def names(self, count: int) -> np.ndarray:
        """Name of the part of each of ``count`` rows; rows without a label are ``unlabelled``."""
        names = np.full(count, "unlabelled", dtype=object)
        for part in ("train", "validation", "calibration", "test"):
            names[getattr(self, part)] = part
        return names


def split(examples: Examples, groups: Sequence[DuplicateGroup], seed: int) -> Parts:
    """Divide the labelled rows: 15% each for validation and calibration, 15% for test where none is declared.

    Rows of one of the ``groups`` of duplicates, or of one bag, stay together; each class is divided alike.

    Raises InputError where too few rows, or rows of too few classes, are labelled to have all parts.
    """
    labelled, declared = examples.is_labelled, examples.is_test
    audited = np.flatnonzero(labelled & ~declared)
    known = labelled if examples.truth is None else labelled | has_label(examples.truth, examples.task)
    rest, test = audited, np.flatnonzero(declared & known)
    share = 0.15 * len(audited)
    by_class = examples.task in ("classification", "nodes")
    strata = examples.given if by_class else np.zeros(len(examples), dtype=np.int64)  # (n,)
    group = _bags(examples) if examples.task == "bags" else _groups_to_keep_together(examples, groups, audited)
    if share < 5:
        raise InputError(
            f"{len(audited)} labelled rows are too few to train, choose, calibrate and test on; "
            f"give at least {FEWEST_ROWS}"
        )
    if not len(test):
        rest, test = _divide(rest, strata, group, round(share), derive_seed(seed, "test"))
    rest, calibration = _divide(rest, strata, group, round(share), derive_seed(seed, "calibration"))
    train, validation = _divide(rest, strata, group, round(share), derive_seed(seed, "validation"))
    if by_class:
        _check_classes(examples, audited, train)
    return Parts(train, validation, calibration, test, audited, group)


def _bags(examples: Examples) -> np.ndarray:
    """Number (n,) of each row's bag; raises InputError for too few, or one that the source divides."""
    names, bag = np.unique(np.asarray(examples.bags, dtype=str), return_inverse=True)
    if len(names) < FEWEST_BAGS:
        raise InputError(
            f"the rows lie in {len(names)} bags, too few to train, choose, calibrate and test on; "
            f"give at least {FEWEST_BAGS}"
        )
    held_out = np.bincount(bag, weights=examples.is_test) / np.bincount(bag)  # (bags,) share of test rows
    divided = np.flatnonzero((held_out > 0) & (held_out < 1))
    if len(divided):
        raise InputError(
            f"the split puts rows of the bag {quote(names[divided[0]])} into training and into test, but its count "
            "is known for the whole only: give all rows of a bag the same split"
        )
    return bag


def _groups_to_keep_together(examples: Examples, groups: Sequence[DuplicateGroup], audited: np.ndarray) -> np.ndarray:
    """Group (n,) of each row; each row is one of its own where too few different inputs are left to divide."""
    group = np.arange(len(examples.given))
    for duplicates in groups:
        group[duplicates.rows] = duplicates.rows[0]
    different = len(np.unique(group[audited]))
    if different >= min(FEWEST_ROWS, len(audited)):
        return group
    examples.notes.append(
        f"The labelled rows hold only {different} different inputs, so equal ones stand in training and in test: "
        "what is measured here is too favourable."
    )
    return np.arange(len(examples.given))


def _check_classes(examples: Examples, audited: np.ndarray, train: np.ndarray) -> None:
    """Each training must see two classes: the one on ``train``, and those of the audit on all folds but one."""
    counts = np.bincount(examples.given[audited], minlength=examples.num_classes)
    if (counts > 1).sum() > 1 and len(np.unique(examples.given[train])) > 1:
        return
    fewest = int(np.argsort(counts, kind="stable")[-2])
    raise InputError(
        f"nearly all labelled rows are of one class: only {counts[fewest]} are of {quote(examples.classes[fewest])}, "
        "too few to train and to check on; give more rows of the other classes"
    )


def _divide(
    rows: np.ndarray, labels: np.ndarray, group: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide groups of rows at random, so that about ``count`` rows are taken; by label, that of a group's first."""
    firsts = rows[np.unique(group[rows], return_index=True)[1]]
    wanted = min(max(1, round(count * len(firsts) / len(rows))), len(firsts) - 1)
    counts = np.bincount(labels[firsts])
    enough = counts[counts > 0].min() > 1 and wanted >= len(np.unique(labels[firsts]))
    _, taken = train_test_split(
        firsts, test_size=wanted, random_state=seed % 2**32, stratify=labels[firsts] if enough else None
    )
    is_taken = np.isin(group[rows], group[taken])
    return rows[~is_taken], rows[is_taken]
