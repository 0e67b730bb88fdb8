"""A run on labels that people decided on: what it takes over, and how it is compared with the run before."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.job.options import Options
from labelwise.job.run import Outcome, run
from labelwise.review.decisions import FILE, DecisionStore
from labelwise.review.items import Items

CLASSES = 3


def points(path: Path, *, truth: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    true = np.arange(150) % CLASSES
    X = 2.5 * rng.normal(size=(CLASSES, 6))[true] + rng.normal(size=(150, 6))
    given = np.where(rng.random(150) < 0.25, (true + 1) % CLASSES, true)
    arrays = {"X": X.astype(np.float32), "y": given} | ({"truth": true} if truth else {})
    np.savez(path, **arrays)
    return {"given": given, "true": true}


def go(source: Path, out: Path, **options: Any) -> Outcome:
    known = {"truth": "truth"} if "truth" in np.load(source) else {}
    chosen = {"epochs": 3, "folds": 2, "recipe": "label-smoothing"} | known | options
    return run(Options(source=str(source), out=str(out), **chosen))


def decide_rightly(folder: Path, true: np.ndarray, reviewer: str = "ann") -> int:
    """Look at every suspect and choose its true class."""
    items = Items.open(folder / "review.arrow")
    changed = 0
    with DecisionStore(folder / FILE) as store:
        for position in np.flatnonzero(items.suspect).tolist():
            item = items.item(position)
            right = str(true[item.index])
            verdict = "keep" if right == item.given else "accept" if right == item.suggested else "other"
            changed += verdict != "keep"
            store.add(index=item.index, verdict=verdict, before=item.given, after=right, reviewer=reviewer)
    return changed


def layer(folder: Path) -> dict[int, str]:
    with (folder / "labels.csv").open(newline="") as stream:
        return {int(row["index"]): row["given"] for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("reviewed")
    arrays = points(root / "points.npz", truth=True)
    before = go(root / "points.npz", root / "first")
    changed = decide_rightly(before.folder, arrays["true"])
    after = go(root / "points.npz", root / "second", labels_from=str(before.folder))
    return {"before": before, "after": after, "changed": changed, "root": root} | arrays


def test_a_run_takes_over_what_people_decided(reviewed: dict[str, Any]) -> None:
    before, after = reviewed["before"], reviewed["after"]
    suspects = before.metrics["suspects"]
    assert after.metrics["reviewed_decided"] == suspects > 10
    assert after.metrics["reviewed_changed"] == reviewed["changed"] > 10
    found, given, true = layer(after.folder), reviewed["given"], reviewed["true"]
    looked_at = {int(each) for each in Items.open(before.folder / "review.arrow").index[:suspects]}
    assert found == {row: str(true[row] if row in looked_at else given[row]) for row in range(150)}
    assert after.metrics["noise_rate_true"] < before.metrics["noise_rate_true"] / 2


def test_both_runs_have_the_same_parts(reviewed: dict[str, Any]) -> None:
    def parts(folder: Path) -> list[str]:
        with (folder / "predictions.csv").open(newline="") as stream:
            return [row["part"] for row in csv.DictReader(stream)]

    assert parts(reviewed["before"].folder) == parts(reviewed["after"].folder)


def test_the_report_shows_before_and_after(reviewed: dict[str, Any]) -> None:
    page = (reviewed["after"].folder / "report.html").read_text()
    assert "People&#39;s decisions" in page or "People's decisions" in page
    for outcome in (reviewed["before"], reviewed["after"]):
        for name in ("noise_rate_true", "accuracy_robust"):
            assert f"{100 * outcome.metrics[name]:.1f}%" in page
    assert f"1 person decided on {reviewed['before'].metrics['suspects']} labels" in page
    assert "People" not in (reviewed["before"].folder / "report.html").read_text()


def test_without_truth_both_models_are_scored_on_the_labels_that_people_left(tmp_path: Path) -> None:
    arrays = points(tmp_path / "points.npz", truth=False)
    before = go(tmp_path / "points.npz", tmp_path / "first")
    decide_rightly(before.folder, arrays["true"])
    after = go(tmp_path / "points.npz", tmp_path / "second", labels_from=str(before.folder))
    now = layer(after.folder)
    with (before.folder / "predictions.csv").open(newline="") as stream:
        hits = [row["predicted"] == now[int(row["index"])] for row in csv.DictReader(stream) if row["part"] == "test"]
    page = (after.folder / "report.html").read_text()
    assert f"{100 * np.mean(hits):.1f}%" in page
    assert "the same test rows" in page


def test_rows_taken_out_are_unlabelled_and_ties_change_nothing(tmp_path: Path) -> None:
    points(tmp_path / "points.npz", truth=True)
    before = go(tmp_path / "points.npz", tmp_path / "first", skip=("learn",))
    items = [Items.open(before.folder / "review.arrow").item(position) for position in range(4)]
    with DecisionStore(before.folder / FILE) as store:
        taken_out, both, tied, unsure = ({"index": each.index, "before": each.given} for each in items)
        store.add(**taken_out, verdict="exclude", after="", reviewer="ann")
        store.add(**both, verdict="both", after="0|1", reviewer="ann")
        store.add(**tied, verdict="accept", after=items[2].suggested, reviewer="ann")
        store.add(**tied, verdict="keep", after=items[2].given, reviewer="bob")
        store.add(**unsure, verdict="cannot_tell", after="", reviewer="bob")
    after = go(tmp_path / "points.npz", tmp_path / "second", labels_from=str(before.folder))
    found = layer(after.folder)
    assert [found[each.index] for each in items] == ["", "", items[2].given, items[3].given]
    expected = {"decided": 4, "changed": 0, "excluded": 2, "left": 2, "reviewers": 2, "agreement": 0.0}
    assert {name: after.metrics[f"reviewed_{name}"] for name in expected} == expected
    assert after.metrics["unlabelled"] == 2
    assert after.metrics["rows_audited"] == 148
    assert "both labels fit" in (after.folder / "report.html").read_text()


def test_a_run_that_was_divided_otherwise_is_not_compared(reviewed: dict[str, Any]) -> None:
    root = reviewed["root"]
    after = go(root / "points.npz", root / "third", labels_from=str(root / "first"), seed=1, limit=100)
    page = (after.folder / "report.html").read_text()
    assert "divided the rows otherwise" in page
    assert "decisions are about rows that this run does not have" in page
    assert "accuracy, robust recipe" not in page


def test_what_is_refused(reviewed: dict[str, Any], tmp_path: Path) -> None:
    source, first = reviewed["root"] / "points.npz", reviewed["before"].folder
    with pytest.raises(InputError, match="no decisions"):
        go(source, tmp_path / "out", labels_from=str(tmp_path))
    with pytest.raises(InputError, match="would overwrite the reviewed run"):
        go(source, first, labels_from=str(first))
    DecisionStore(tmp_path / FILE).close()
    with pytest.raises(InputError, match="nothing was decided"):
        go(source, tmp_path / "out", labels_from=str(tmp_path))
    points(tmp_path / "points.npz", truth=True)
    with np.load(tmp_path / "points.npz") as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "y": (arrays["y"] + 1) % CLASSES})
    with pytest.raises(InputError, match="people were shown"):
        go(tmp_path / "other.npz", tmp_path / "out", labels_from=str(first))
    item = Items.open(first / "review.arrow").item(0)
    (tmp_path / "b").mkdir()
    with DecisionStore(tmp_path / "b" / FILE) as store:
        store.add(index=item.index, verdict="other", before=item.given, after="unicorn", reviewer="ann")
    with pytest.raises(InputError, match="unicorn"):
        go(source, tmp_path / "out", labels_from=str(tmp_path / "b"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def other_task(tmp_path: Path, **arrays: np.ndarray) -> tuple[Outcome, Items]:
    np.savez(tmp_path / "d.npz", **arrays)
    before = run(
        Options(source=str(tmp_path / "d.npz"), out=str(tmp_path / "first"), epochs=2, folds=2, network="auto")
    )
    return before, Items.open(before.folder / "review.arrow")


def again(tmp_path: Path) -> Outcome:
    return run(
        Options(
            source=str(tmp_path / "d.npz"), out=str(tmp_path / "second"), labels_from=str(tmp_path / "first"),
            epochs=2, folds=2,
        )
    )  # fmt: skip


def test_numbers_that_people_decided_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3)).astype(np.float32)
    before, items = other_task(tmp_path, X=X, y=np.round(X[:, 0].astype(float), 3))
    first, second, third = (items.item(position) for position in range(3))
    with DecisionStore(before.folder / FILE) as store:
        store.add(index=first.index, verdict="other", before=first.given, after="17.5", reviewer="ann")
        store.add(index=second.index, verdict="accept", before=second.given, after=second.suggested, reviewer="ann")
        store.add(index=third.index, verdict="exclude", before=third.given, after="", reviewer="ann")
    found = layer(again(tmp_path).folder)
    assert float(found[first.index]) == 17.5
    assert float(found[second.index]) == float(second.suggested)
    assert found[third.index] == ""


def test_single_labels_of_sets_that_people_decided_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 5)).astype(np.float32)
    Y = (X[:, :3] > 0.3).astype(np.int64)
    Y[::9] = 1 - Y[::9]
    before, items = other_task(tmp_path, X=X, y=Y)
    item = items.item(0)
    with DecisionStore(before.folder / FILE) as store:
        store.add(
            index=item.index, part=item.part, verdict="accept", before=item.given, after=item.suggested, reviewer="ann"
        )
    found = layer(again(tmp_path).folder)
    names = items.classes
    expected = {name for name, given in zip(names, Y[item.index], strict=True) if given}
    expected ^= {item.part}
    assert set(filter(None, found[item.index].split("|"))) == expected
    others = [row for row in found if row != item.index]
    assert all(set(filter(None, found[row].split("|"))) == {names[k] for k in np.flatnonzero(Y[row])} for row in others)


def test_the_command_line_says_where_the_labels_are_from(reviewed: dict[str, Any]) -> None:
    metrics = json.loads((reviewed["after"].folder / "metrics.json").read_text())
    assert metrics["reviewed_reviewers"] == 1
    assert "--labels-from" in (reviewed["after"].folder / "report.html").read_text()
