"""What lies on the reviewers' desk: which labels are next for whom, what was decided, how far people agree."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError
from labelwise.files import quote
from labelwise.labels.cells import set_cell
from labelwise.review.consensus import Consensus
from labelwise.review.decisions import VERDICTS, Decision, DecisionStore
from labelwise.review.items import Item, Items
from labelwise.review.standing import Standing

Positions = NDArray[np.integer]
Order = Callable[[dict[int, bool]], Positions]
SHOWN = ("undecided", "decided", "conflicts", "all")
MOST_PAIRS = 200
# What a task's labels have no use for: an entry is there or not, a mask is taken whole.
WITHOUT = {"multilabel": ("other", "both"), "segmentation": ("other", "both"), "regression": ("both",)}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which labels to show: those that ``show`` says, seen from ``by``, of a class pair, up to a score.

    ``suspects`` leaves out labels that are not under suspicion.
    """

    show: str = "undecided"
    by: str = ""
    given: str | None = None
    suggested: str | None = None
    score: float | None = None
    suspects: bool = True


class Desk:
    """The items of a run and the decisions on them, kept in step with the store, also where another process writes.

    All lookups are over arrays of positions; one lock guards what is kept of the decisions.
    """

    def __init__(self, items: Items, store: DecisionStore, reorder: Order | None = None) -> None:
        self.items, self.store, self._reorder = items, store, reorder
        self._lock = threading.RLock()
        self._standing = Standing(store, items)
        self._order: Positions | None = None  # that of the items

    def decide(self, position: int, verdict: str, after: str, reviewer: str, note: str = "") -> Decision:
        """Record a decision on the label at a position; it is on the disk when this returns. Raises InputError."""
        item = self.item(position)
        self._check_label(item, verdict, after)
        return self.store.add(
            index=item.index,
            part=item.part,
            example=item.example,
            verdict=verdict,
            before=item.given,
            after=after,
            reviewer=reviewer,
            note=note,
        )

    def undo(self, reviewer: str) -> tuple[Decision, int | None] | None:
        """Take back the reviewer's last decision; it and the position of its label, None where there is none."""
        undone = self.store.undo(reviewer)
        return None if undone is None else (undone, self.items.position(undone.index, undone.part))

    @property
    def verdicts(self) -> list[str]:
        """What can be decided on labels of this task."""
        return [verdict for verdict in VERDICTS if verdict not in WITHOUT.get(self.items.task, ())]

    @cached_property
    def run(self) -> str:
        """A name for just these items in this order: positions mean nothing among others."""
        items = self.items
        digest = sha256(json.dumps([items.name, items.task, items.cells]).encode())
        for column in (items.index, items.score, items.given_code, items.suggested_code):
            digest.update(column.tobytes())
        return digest.hexdigest()[:16]

    def item(self, position: int) -> Item:
        """The item at a position; raises InputError where there is none."""
        try:
            return self.items.item(position)
        except IndexError:
            raise InputError(f"there is no label number {position}: reload the page") from None

    def batch(self, which: Filter, size: int, *, active: bool) -> tuple[list[int], int]:
        """The first ``size`` positions that a filter lets through, and how many it lets through in all."""
        with self._lock:
            self._standing.update()
            passing = self._passing(which)
            order = self._order if active else None
            chosen: Positions = np.flatnonzero(passing) if order is None else order[passing[order]]
        return chosen[:size].tolist(), len(chosen)

    def rerank(self) -> None:
        """Put the labels in the order of what the decisions so far have taught."""
        with self._lock:
            if self._reorder is not None:
                self._order = self._reorder(self.errors())

    def errors(self) -> dict[int, bool]:
        """Positions that were settled, and whether the given label was wrong there."""
        with self._lock:
            outcomes = self.consensus.layer.items()
            settled = ((key, outcome) for key, outcome in outcomes if isinstance(outcome.cell, str))
            placed = ((self._standing.place(key), outcome.cell != outcome.before) for key, outcome in settled)
            return {position: wrong for position, wrong in placed if position is not None}

    def decisions_on(self, item: Item) -> list[Decision]:
        """The decisions that stand on a label, one a reviewer."""
        with self._lock:
            self._standing.update()
            return self._standing.on((item.index, item.part))

    @property
    def consensus(self) -> Consensus:
        """Decisions of all reviewers combined by majority."""
        with self._lock:
            self._standing.update()
            return self._standing.combined

    def weighted(self) -> Consensus:
        """The same by trust in each reviewer, the model being one more."""
        with self._lock:
            self._standing.update()
            return self._standing.weighted()

    @cached_property
    def pairs(self) -> list[dict[str, Any]]:
        """The most frequent pairs of given and suggested label among the suspects, with their counts."""
        items = self.items
        chosen = items.suspect
        width = max(len(items.cells), 1)
        keys, counts = np.unique(
            items.given_code[chosen].astype(np.int64) * width + items.suggested_code[chosen], return_counts=True
        )
        most = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
        return [
            {"given": items.cells[key // width], "suggested": items.cells[key % width], "count": count}
            for key, count in zip(keys[most].tolist(), counts[most].tolist(), strict=True)
        ]

    def check(self, decision: Decision) -> None:
        """Raise InputError where a decision made elsewhere is about no label of this run, or chooses one it cannot."""
        position = self.items.position(decision.index, decision.part)
        item = None if position is None else self.items.item(position)
        if item is None or decision.example != item.example or decision.before != item.given:
            raise InputError(
                f"decision {decision.number} is about row {decision.index} as this run does not have it: give "
                "decisions on the same data and audit"
            )
        self._check_label(item, decision.verdict, decision.after)

    def _check_label(self, item: Item, verdict: str, after: str) -> None:
        """Raise InputError where a verdict cannot choose that label of this item."""
        task = self.items.task
        if verdict not in self.verdicts:
            raise InputError(f"the verdict {quote(verdict)} is not known here: use {', '.join(self.verdicts)}")
        if verdict == "accept" and after != item.suggested:
            raise InputError(f"the suggestion is {quote(item.suggested)}, not {quote(after)}: reload the page")
        if verdict == "both" and after != both(item):
            raise InputError(f"both labels are {quote(both(item))}, not {quote(after)}")
        if verdict == "other" and not (_is_number(after) if task == "regression" else after in self._classes):
            kind = "number" if task == "regression" else "class of these data"
            raise InputError(f"{quote(after)} is no {kind}")

    @cached_property
    def _classes(self) -> frozenset[str]:
        return frozenset(self.items.classes)

    def _passing(self, which: Filter) -> NDArray[np.bool_]:
        """Whether each item passes, (n,)."""
        items = self.items
        passing = items.suspect.copy() if which.suspects else np.ones(len(items), dtype=bool)
        for cell, codes in ((which.given, items.given_code), (which.suggested, items.suggested_code)):
            if cell is not None:
                passing &= codes == self._code(cell)
        if which.score is not None:
            passing &= items.score <= which.score
        if which.show == "all":
            return passing
        standing = self._standing
        is_conflict = which.show == "conflicts"
        marked = np.zeros(len(items), dtype=bool)
        marked[standing.places(standing.combined.conflicts) if is_conflict else standing.decided(which.by)] = True
        return passing & ~marked if which.show == "undecided" else passing & marked

    def _code(self, cell: str) -> int:
        return self._codes.get(cell, -1)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {cell: code for code, cell in enumerate(self.items.cells)}


def both(item: Item) -> str:
    """The cell that says that both labels fit."""
    return set_cell((item.given, item.suggested))


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
