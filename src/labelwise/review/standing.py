"""The decisions that stand, kept up with the store as they come, and what people make of each label together."""

from __future__ import annotations

from collections.abc import Iterable

from labelwise.review.consensus import Consensus, Key, combine
from labelwise.review.decisions import Decision, DecisionStore
from labelwise.review.items import Items


class Standing:
    """Each reviewer's present decision on each label of a run, also where other processes write to the store.

    Not safe from several threads: whoever shares one guards it.
    """

    def __init__(self, store: DecisionStore, items: Items) -> None:
        self._store, self._items = store, items
        self._last = 0
        self._made: dict[Key, dict[str, Decision]] = {}
        self._place: dict[Key, int | None] = {}
        self._combined: Consensus | None = None
        self.update()

    def update(self) -> None:
        """Take in what came since: O(new decisions), or O(all) where one was taken back."""
        new = self._store.all(since=self._last)
        if not new:
            return
        self._last, self._combined = new[-1].number, None
        if any(each.undoes is not None for each in new):
            self._made, new = {}, self._store.standing()
        for each in filter(self._is_of_this_run, new):
            made = self._made.setdefault((each.index, each.part), {})
            if each.reviewer not in made or each.at > made[each.reviewer].at:
                made[each.reviewer] = each
        for key in self._made.keys() - self._place.keys():
            self._place[key] = self._items.position(*key)

    def _is_of_this_run(self, decision: Decision) -> bool:
        """Whether the row still holds what the reviewer saw: the data may have changed since."""
        place = self._items.position(decision.index, decision.part)
        return place is not None and decision.example in ("", self._items.example(place))

    def on(self, key: Key) -> list[Decision]:
        """The decisions on a label, one a reviewer."""
        return list(self._made.get(key, {}).values())

    def decided(self, by: str) -> list[int]:
        """Positions of the labels that a reviewer decided, or anybody where ``by`` is empty."""
        return self.places(key for key, made in self._made.items() if not by or by in made)

    def places(self, keys: Iterable[Key]) -> list[int]:
        """Positions of labels, without those that this run does not have."""
        return [place for key in keys if (place := self.place(key)) is not None]

    def place(self, key: Key) -> int | None:
        """The position of a label on which something was decided."""
        return self._place.get(key)

    @property
    def combined(self) -> Consensus:
        """The decisions of all reviewers, combined by majority."""
        if self._combined is None:
            self._combined = combine(self._all())
        return self._combined

    def weighted(self) -> Consensus:
        """The same by trust in each reviewer, the model being one more."""
        suspect = self._items.suspect
        doubted = {key: place is not None and bool(suspect[place]) for key, place in self._place.items()}
        return combine(self._all(), weighted=True, doubted=doubted)

    def _all(self) -> Iterable[Decision]:
        return (each for made in self._made.values() for each in made.values())
