"""What stands is what the store says, whoever wrote it, and keeping up costs what is new."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from labelwise.review.consensus import combine
from labelwise.review.decisions import Decision, DecisionStore
from labelwise.review.items import FILE, Items, write_items
from labelwise.review.standing import Standing
from review_folders import make


def test_it_is_what_the_store_says_after_any_decisions_and_undos(tmp_path: Path) -> None:
    items = Items.open(make(tmp_path / "run") / FILE)
    rng = np.random.default_rng(0)
    with DecisionStore(tmp_path / "decisions.sqlite") as here, DecisionStore(tmp_path / "decisions.sqlite") as there:
        standing = Standing(here, items)
        for _ in range(150):
            store, reviewer = (here, there)[rng.integers(2)], "abc"[rng.integers(3)]
            if rng.random() < 0.3:
                store.undo(reviewer)
            else:
                # Rows that are no multiple of ten are of an earlier run.
                index, verdict = int(rng.choice([0, 5, 10, 20, 390])), str(rng.choice(["keep", "exclude"]))
                after = "cat" if verdict == "keep" else ""
                store.add(index=index, verdict=verdict, before="cat", after=after, reviewer=reviewer)
            if rng.random() < 0.4:
                standing.update()
        standing.update()
        expected = [each for each in here.standing() if each.index % 10 == 0]
    keys = {(each.index, each.part) for each in expected}
    assert {each for key in keys for each in standing.on(key)} == set(expected)
    assert len(expected) > 5
    combined = combine(expected)
    assert standing.combined.kappa == pytest.approx(combined.kappa)
    assert replace(standing.combined, kappa=None) == replace(combined, kappa=None)
    for by in ("", "a", "b", "nobody"):
        rows = {each.index for each in expected if not by or each.reviewer == by}
        assert sorted(standing.decided(by)) == sorted(row // 10 for row in rows if row % 10 == 0)


def test_one_more_decision_costs_little_however_many_there_are(tmp_path: Path) -> None:
    count, began = 20_000, datetime(2026, 1, 1, tzinfo=UTC)
    with write_items(tmp_path / FILE, task="classification", classes=["cat"], name="many") as writer:
        cells = ["cat"] * count
        writer.write({"index": range(count), "given": cells, "suggested": cells, "score": np.zeros(count)})
    times = [(began + timedelta(seconds=row)).isoformat(timespec="microseconds") for row in range(count)]
    with DecisionStore(tmp_path / "decisions.sqlite") as store:
        store.merge(
            Decision(row + 1, row, "", "keep", "cat", "cat", "ann", at) for row, at in enumerate(times[: count - 1])
        )
        standing = Standing(store, Items.open(tmp_path / FILE))
        assert len(standing.decided("ann")) == count - 1
        store.add(index=count - 1, verdict="keep", before="cat", after="cat", reviewer="ann")
        start = time.process_time()
        standing.update()
        assert len(standing.decided("ann")) == count
        assert time.process_time() - start < 0.1
