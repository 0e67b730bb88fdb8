"""Which labels come next: what is known of the items, and the decisions so far, as an order of positions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelwise.audit.active_order import Doubts, active_order, doubts
from labelwise.review.items import Items


class ActiveOrder:
    """Orders the items of one run; what does not change between decisions is gathered once, when first asked for."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._known: Doubts | None = None

    def __call__(self, errors: Mapping[int, bool]) -> NDArray[np.integer]:
        """Positions (n,), first what is most likely wrong; ``errors`` are positions looked at, True where wrong."""
        if self._known is None:
            items = self._items
            self._known = doubts(
                items.given_code, items.suggested_code, items.given_prob, items.suggested_prob, items.neighbours
            )
        return active_order(self._known, list(errors), list(errors.values()))
