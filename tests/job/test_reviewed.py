"""A run on labels that people decided on: what it takes over, and how it is compared with the run before."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelwise.data.examples import Examples
from labelwise.data.scenes import draw_scenes
from labelwise.errors import InputError
from labelwise.job.options import Options
from labelwise.job.prepare import prepare, settle_task
from labelwise.job.progress import Silent
from labelwise.job.run import Outcome, run
from labelwise.review.decisions import FILE, DecisionStore
from labelwise.review.desk import Desk
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


def table(folder: Path) -> dict[int, dict[str, str]]:
    """``labels.csv`` by row."""
    with (folder / "labels.csv").open(newline="") as stream:
        return {int(row["index"]): row for row in csv.DictReader(stream)}


def learnt_from(folder: Path, rows: int = 150) -> dict[int, str]:
    """The label of each row that a run used, empty where it used none."""
    items = Items.open(folder / "review.arrow")
    used = {item.index: item.given for item in map(items.item, range(len(items)))}
    return {row: used.get(row, "") for row in range(rows)}


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
    found, given, true = learnt_from(after.folder), reviewed["given"], reviewed["true"]
    looked_at = {int(each) for each in Items.open(before.folder / "review.arrow").index[:suspects]}
    assert found == {row: str(true[row] if row in looked_at else given[row]) for row in range(150)}
    assert after.metrics["noise_rate_true"] < before.metrics["noise_rate_true"] / 2
    # What came is told as it came, and who changed it.
    rows = table(after.folder)
    assert [rows[row]["given"] for row in range(150)] == given.astype(str).tolist()
    assert {row["corrected"] for row in rows.values() if row["by"] == ""} <= {"0", "1", "2"}
    by_people = {row for row, cells in rows.items() if cells["by"] == "people"}
    assert len(by_people) > 10
    assert all(rows[row]["corrected"] == str(true[row]) != rows[row]["given"] for row in by_people)
    assert all(cells["corrected"] == cells["given"] for cells in rows.values() if not cells["by"])


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
    now = learnt_from(after.folder)
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
    found = learnt_from(after.folder)
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
    assert "other settings (limit, seed)" in page
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
    with pytest.raises(InputError, match="none of the decisions"):
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


def prepared(source: Path, reviewed_run: Path, **settings: Any) -> Examples:
    """The examples that a run on people's decisions learns from."""
    options = Options(source=str(source), labels_from=str(reviewed_run), out=str(source.parent / "never"), **settings)
    return prepare(settle_task(options), (), Silent(), resume=False).examples


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
    found = learnt_from(again(tmp_path).folder, 120)
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
    used = prepared(tmp_path / "d.npz", before.folder)
    expected = Y.copy()
    expected[item.index, items.classes.index(item.part)] ^= 1
    np.testing.assert_array_equal(used.given, expected)
    np.testing.assert_array_equal(used.as_given, Y)
    row = table(again(tmp_path).folder)[item.index]
    assert set(filter(None, row["given"].split("|"))) == {items.classes[k] for k in np.flatnonzero(Y[item.index])}


def test_the_command_line_says_where_the_labels_are_from(reviewed: dict[str, Any]) -> None:
    metrics = json.loads((reviewed["after"].folder / "metrics.json").read_text())
    assert metrics["reviewed_reviewers"] == 1
    assert "--labels-from" in (reviewed["after"].folder / "report.html").read_text()


def decide(folder: Path, position: int, verdict: str, after: str | None = None) -> Any:
    """Decide as the page does, on the item at a position; returns it."""
    items = Items.open(folder / "review.arrow")
    item = items.item(position)
    chosen = {"keep": item.given, "accept": item.suggested}.get(verdict, "") if after is None else after
    with DecisionStore(folder / FILE) as store:
        Desk(items, store).decide(position, verdict, chosen, "ann")
    return item


def test_decisions_follow_rows_that_moved(tmp_path: Path) -> None:
    points(tmp_path / "points.npz", truth=False)
    first = go(tmp_path / "points.npz", tmp_path / "first", skip=("learn",)).folder
    decided = [decide(first, position, "accept") for position in range(6)]
    with np.load(tmp_path / "points.npz") as arrays:
        kept = np.delete(np.arange(150)[::-1], 20)  # turned round, one row gone
        np.savez(tmp_path / "moved.npz", X=arrays["X"][kept], y=arrays["y"][kept])
    gone = sum(item.index == 149 - 20 for item in decided)
    after = go(tmp_path / "moved.npz", tmp_path / "second", labels_from=str(first))
    found = learnt_from(after.folder, 149)
    place = {int(row): number for number, row in enumerate(kept)}
    assert after.metrics["reviewed_changed"] == 6 - gone
    for item in decided:
        if item.index in place:
            assert found[place[item.index]] == item.suggested
    changed = sum(cells["by"] == "people" for cells in table(after.folder).values())
    assert changed <= 6


def test_other_settings_are_not_credited_to_people(tmp_path: Path) -> None:
    points(tmp_path / "points.npz", truth=True)
    first = go(tmp_path / "points.npz", tmp_path / "first").folder
    decide(first, 0, "accept")
    after = go(tmp_path / "points.npz", tmp_path / "second", labels_from=str(first), epochs=9)
    page = (after.folder / "report.html").read_text()
    assert "other settings (epochs)" in page
    assert "Before and after" not in page


def test_class_names_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    arrays = points(tmp_path / "points.npz", truth=False)
    names = np.array(["-1", "=SUM(A1)", "ok"])
    with np.load(tmp_path / "points.npz") as data:
        np.savez(tmp_path / "named.npz", X=data["X"], y=names[arrays["given"]])
    first = go(tmp_path / "named.npz", tmp_path / "first").folder
    decide(first, 0, "keep")
    after = go(tmp_path / "named.npz", tmp_path / "second", labels_from=str(first))
    before = json.loads((first / "metrics.json").read_text())
    shown = f"{100 * before['accuracy_robust_on_noisy_labels']:.1f}%"
    assert f"<td>{shown}</td>" in (after.folder / "report.html").read_text().replace("<bdi>", "").replace("</bdi>", "")


def test_a_second_round_builds_on_the_first(tmp_path: Path) -> None:
    arrays = points(tmp_path / "points.npz", truth=False)
    source = tmp_path / "points.npz"
    first = go(source, tmp_path / "first", skip=("learn",)).folder
    one = decide(first, 0, "accept")
    second = go(source, tmp_path / "second", labels_from=str(first), skip=("learn",)).folder
    items = Items.open(second / "review.arrow")
    again = items.position(one.index)
    assert again is not None
    assert items.item(again).given == one.suggested
    other = str({"0", "1", "2"}.difference({one.given, one.suggested}).pop())
    decide(second, again, "other", other)
    two = decide(second, next(p for p in range(9) if items.item(p).index != one.index), "exclude")
    third = go(source, tmp_path / "third", labels_from=str(second))
    found = learnt_from(third.folder)
    assert (found[one.index], found[two.index]) == (other, "")
    assert table(third.folder)[one.index]["given"] == str(arrays["given"][one.index])


def test_no_round_overwrites_an_earlier_one(tmp_path: Path) -> None:
    points(tmp_path / "points.npz", truth=False)
    source = tmp_path / "points.npz"
    first = go(source, tmp_path / "first", skip=("learn",)).folder
    decide(first, 0, "accept")
    second = go(source, tmp_path / "second", labels_from=str(first), skip=("learn",)).folder
    decide(second, 1, "accept")
    before = (first / "metrics.json").read_bytes()
    with pytest.raises(InputError, match="would overwrite the reviewed run"):
        go(source, first, labels_from=str(second))
    assert (first / "metrics.json").read_bytes() == before
    # Where somebody brought it about by moving folders, it ends with a sentence.
    (first / "metrics.json").write_text(json.dumps(json.loads(before) | {"labels_from": str(second)}))
    with pytest.raises(InputError, match="run it again from the data"):
        go(source, tmp_path / "third", labels_from=str(second))


def test_a_label_that_was_mended_since_stays(tmp_path: Path) -> None:
    arrays = points(tmp_path / "points.npz", truth=False)
    first = go(tmp_path / "points.npz", tmp_path / "first", skip=("learn",)).folder
    mended, other = decide(first, 0, "accept"), decide(first, 1, "accept")
    given = arrays["given"].copy()
    given[mended.index] = 3 - int(mended.given) - int(mended.suggested)  # the third class
    with np.load(tmp_path / "points.npz") as data:
        np.savez(tmp_path / "points2.npz", X=data["X"], y=given)
    after = go(tmp_path / "points2.npz", tmp_path / "second", labels_from=str(first))
    found = learnt_from(after.folder)
    assert (found[mended.index], found[other.index]) == (str(given[mended.index]), other.suggested)
    assert "1 decisions were left out" in (after.folder / "report.html").read_text()


def masks(tmp_path: Path) -> tuple[Path, np.ndarray]:
    scenes = draw_scenes(40, np.random.default_rng(0), size=16, glyph_sizes=(6, 10))
    given = scenes.masks.copy()
    given[::4, 4:12, 4:12] = 1
    np.savez(tmp_path / "d.npz", X=(255 * scenes.images[..., None].clip(0, 1)).astype(np.uint8), y=given)
    return tmp_path / "d.npz", given


def test_masks_that_people_took_over_are_those_they_saw(tmp_path: Path) -> None:
    source, given = masks(tmp_path)
    settings = {"network": "unet-4-8", "epochs": 4, "folds": 2}
    first = run(Options(source=str(source), out=str(tmp_path / "first"), skip=("learn",), **settings)).folder
    item = decide(first, 0, "accept")
    seen = np.array(Image.open(first / "corrected-masks" / f"{item.index:06d}.png"))
    assert (seen != given[item.index]).any()
    used = prepared(source, first)
    np.testing.assert_array_equal(used.given[item.index], seen)
    np.testing.assert_array_equal(used.as_given, given)
    # Another audit into the same folder suggests other masks: what was accepted is not among them.
    run(Options(source=str(source), out=str(first), skip=("learn",), seed=5, **settings))
    if (np.array(Image.open(first / "corrected-masks" / f"{item.index:06d}.png")) != seen).any():
        with pytest.raises(InputError, match="none of the decisions"):
            prepared(source, first)


def test_bags_have_no_labels_to_decide_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.zeros((40, 2)), y=np.arange(40) % 2, bag=np.arange(40) // 5)
    with pytest.raises(InputError, match="--labels-from has no effect on the task bags"):
        run(Options(source=str(tmp_path / "d.npz"), bag="bag", labels_from=str(tmp_path), out=str(tmp_path / "o")))
