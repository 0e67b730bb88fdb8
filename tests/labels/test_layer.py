"""Corrections as a layer: nothing given is touched, who and when and why are kept, everything can be taken back."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from labelwise.errors import InputError
from labelwise.labels.layer import Change, LabelLayer

GIVEN = [0, 1, 2, -1, 2, 0]
NOON = datetime(2026, 1, 2, 12, 0, 5, tzinfo=UTC)


def corrected() -> LabelLayer:
    """Three actions and one undo: rows 1 and 4 to 0, row 1 to 2, row 3 labelled, which is taken back."""
    layer = LabelLayer(GIVEN, num_classes=3)
    layer.correct([1, 4], 0, "elr", "target 0.98", NOON)
    layer.correct(1, 2, "ann", "looked", NOON + timedelta(hours=1))
    layer.correct(3, 1, "bob", "", NOON + timedelta(hours=2))
    layer.undo(who="ann", why="too small to see", when=NOON + timedelta(hours=3))
    return layer


# --- correcting


def test_given_labels_are_never_touched() -> None:
    mine = np.array(GIVEN)
    layer = LabelLayer(mine)
    layer.correct([0, 3], [2, 1], "ann")
    assert layer.given.tolist() == mine.tolist() == GIVEN
    with pytest.raises(ValueError, match="read-only"):
        layer.given[0] = 5
    mine[0] = 7  # nor do they follow the caller's array
    assert layer.given.tolist() == GIVEN
    now = layer.current()
    now[:] = 9
    assert layer.current().tolist() == [2, 1, 2, 1, 2, 0]


def test_who_what_when_and_why_are_kept() -> None:
    assert corrected().history() == (
        Change(0, 1, 1, 0, "elr", "2026-01-02T12:00:05+00:00", "target 0.98"),
        Change(0, 4, 2, 0, "elr", "2026-01-02T12:00:05+00:00", "target 0.98"),
        Change(1, 1, 0, 2, "ann", "2026-01-02T13:00:05+00:00", "looked"),
        Change(2, 3, -1, 1, "bob", "2026-01-02T14:00:05+00:00"),
        Change(3, 3, 1, -1, "ann", "2026-01-02T15:00:05+00:00", "too small to see", undoes=2),
    )


def test_times_are_kept_in_utc_and_default_to_now() -> None:
    layer = LabelLayer(GIVEN)
    layer.correct(0, 1, "ann", when=NOON.astimezone(timezone(timedelta(hours=9))))
    assert layer.history()[0].when == "2026-01-02T12:00:05+00:00"
    before = datetime.now(UTC).replace(microsecond=0)
    layer.correct(0, 1, "ann")
    assert before <= datetime.fromisoformat(layer.history()[1].when) <= datetime.now(UTC)
    with pytest.raises(InputError, match="without a time zone"):
        layer.correct(0, 2, "ann", when=datetime(2026, 1, 2))


def test_the_later_layer_holds() -> None:
    layer = LabelLayer(GIVEN)
    layer.correct([0, 1, 2], [1, 2, 0], "elr")
    layer.correct([1, 2], [0, 2], "ann")
    layer.correct(2, -1, "bob")
    assert layer.current().tolist() == [1, 0, -1, -1, 2, 0]


def test_a_confirmation_is_kept_though_nothing_changes() -> None:
    layer = LabelLayer(GIVEN)
    layer.correct(2, 2, "ann", "looked, stays")
    assert layer.current().tolist() == GIVEN
    assert layer.history()[0].before == layer.history()[0].after == 2
    assert layer.undo() == 1


def test_no_rows_are_no_action() -> None:
    layer = LabelLayer(GIVEN)
    layer.correct([], [], "ann")
    layer.correct(np.array([], dtype=np.int64), 1, "ann")
    assert layer.history() == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [0, 6]}, "row 6 is not there: give rows from 0 to 5"),
        ({"indices": [0, -1]}, "row -1 is not there"),
        ({"indices": [3, 3]}, "row 3 comes twice"),
        ({"indices": [[0, 1]]}, r"indices has shape \(1, 2\)"),
        ({"indices": np.array([True, False])}, "not a mask"),
        ({"indices": [0.0, 1.0]}, "float64"),
        ({"labels": [1, 3]}, "row 1 is 3: give classes 0 to 2"),
        ({"labels": [1, -2]}, "row 1 is -2"),
        ({"labels": [1, np.nan]}, "row 1 is nan"),
        ({"labels": [0, 1, 2]}, "2 indices but 3 labels"),
        ({"labels": []}, "2 indices but 0 labels"),
        ({"labels": ["cat", "dog"]}, "'cat'"),
        ({"labels": [[0, 1]]}, "shape"),
        ({"who": " "}, "who is empty"),
        ({"when": datetime(2026, 1, 2)}, "without a time zone"),
    ],
    ids=str,
)
def test_a_bad_correction_changes_nothing(change: dict[str, Any], message: str) -> None:
    layer = corrected()
    before, trail = layer.current(), layer.history()
    with pytest.raises(InputError, match=message):
        layer.correct(**({"indices": [0, 1], "labels": [1, 1], "who": "ann"} | change))
    assert np.array_equal(layer.current(), before)
    assert layer.history() == trail


@pytest.mark.parametrize("labels", [[], [0, 7], [0.5], ["cat"], [[0]], [0, -2]])
def test_bad_given_labels_are_refused(labels: list[Any]) -> None:
    with pytest.raises(InputError):
        LabelLayer(labels, num_classes=3)


# --- taking back


def test_undo_takes_back_whole_actions_newest_first() -> None:
    layer = corrected()
    assert layer.current().tolist() == [0, 2, 2, -1, 0, 0]
    assert layer.undo() == 1
    assert layer.current().tolist() == [0, 0, 2, -1, 0, 0]
    assert layer.undo() == 1
    assert layer.current().tolist() == GIVEN
    assert layer.undo() == 0  # an undo is not taken back
    assert [change.undoes for change in layer.history()] == [None, None, None, None, 2, 1, 0, 0]
    assert [change.who for change in layer.history()][-3:] == ["ann", "elr", "elr"]


def test_undo_of_many_is_many_undos() -> None:
    one, other = corrected(), corrected()
    assert one.undo(2, when=NOON) == 2
    assert [other.undo(when=NOON), other.undo(when=NOON)] == [1, 1]
    assert one.history() == other.history()
    assert corrected().undo(99) == 2


def test_corrections_go_on_after_an_undo() -> None:
    layer = corrected()
    layer.undo()
    layer.correct([1, 3], [1, 0], "ann")
    assert layer.current().tolist() == [0, 1, 2, 0, 0, 0]
    layer.undo(2)
    assert layer.current().tolist() == GIVEN


def test_undo_asks_for_a_number() -> None:
    for n in (0, -1):
        with pytest.raises(InputError, match="at least 1"):
            corrected().undo(n)
    with pytest.raises(InputError, match="without a time zone"):
        corrected().undo(when=datetime(2026, 1, 2))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.lists(st.integers(0, 5), min_size=1, unique=True), st.integers(-1, 2)),
        st.integers(1, 3),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@for_all(STEPS)
def test_any_trail_is_a_stack_and_survives_its_records(steps: list[Any]) -> None:
    """Against a slow oracle that keeps a copy of all labels before each action."""
    layer = LabelLayer(GIVEN, num_classes=3)
    labels, stack = list(GIVEN), []
    for step in steps:
        if isinstance(step, int):
            expected = min(step, len(stack))
            assert layer.undo(step) == expected
            for _ in range(expected):
                labels = stack.pop()
        else:
            rows, value = step
            layer.correct(rows, value, "ann")
            stack.append(list(labels))
            for row in rows:
                labels[row] = value
        assert layer.current().tolist() == labels
    again = LabelLayer.from_records(GIVEN, layer.to_records(), num_classes=3)
    assert again.history() == layer.history()
    assert again.current().tolist() == labels
    again.undo(99)
    assert again.current().tolist() == GIVEN


# --- files


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_round_trip_through_a_file(suffix: str, tmp_path: Path) -> None:
    layer, path = corrected(), tmp_path / f"trail{suffix}"
    layer.save(path)
    again = LabelLayer.load(path, GIVEN, num_classes=3)
    assert again.history() == layer.history()
    assert np.array_equal(again.current(), layer.current())
    again.correct(5, 2, "ann", when=NOON)
    again.save(path)
    assert LabelLayer.load(path, GIVEN).history() == again.history()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


FORMULAS = ("=1+1", "'=1+1", "''", "@x", "-3", "\t", "\r")
NASTY = ("", *FORMULAS, "a,b;c", 'say "no"', "two\nlines", "cr\rlf\r\n", "  padded ", "ж你 🙂")


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_any_text_survives_a_file(suffix: str, tmp_path: Path) -> None:
    layer, path = LabelLayer(GIVEN), tmp_path / f"trail{suffix}"
    for text in NASTY:
        layer.correct([0, 1], 1, f"{text}who", text)
        layer.correct(2, 1, f"by {text}", text)
    layer.save(path)
    assert LabelLayer.load(path, GIVEN).history() == layer.history()


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    layer, path = LabelLayer(GIVEN), tmp_path / "trail.csv"
    for text in NASTY:
        layer.correct(0, 1, f"{text}who", text)
    layer.save(path)
    with path.open(newline="") as file:
        cells = [row[name] for row in csv.DictReader(file) for name in ("who", "why", "when")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_an_untouched_layer_has_an_empty_trail(suffix: str, tmp_path: Path) -> None:
    LabelLayer(GIVEN).save(tmp_path / f"trail{suffix}")
    assert LabelLayer.load(tmp_path / f"trail{suffix}", GIVEN).history() == ()


def test_a_trail_belongs_to_its_labels(tmp_path: Path) -> None:
    corrected().save(tmp_path / "trail.json")
    corrected().save(tmp_path / "trail.csv")
    other = list(GIVEN)
    other[4] = 1
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=rf"{path.name}.*action 0 says that row 4 was 2, which these labels deny"):
            LabelLayer.load(path, other)
        with pytest.raises(InputError, match=r"are 4: give|row 4 is not there"):
            LabelLayer.load(path, GIVEN[:4])
    with pytest.raises(InputError, match="of 6 labels, but there are 7: give the labels"):
        LabelLayer.load(tmp_path / "trail.json", [*GIVEN, 0])


@pytest.mark.parametrize(
    "content",
    [
        *("", "\n", "{", "[]", "{}", "\x00", "\ud800", "action,index\n0,1\n"),
        *('{"rows": 6}', '{"rows": 6, "changes": 3}', '{"rows": 6, "changes": [1]}'),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_files_that_are_no_trail_are_refused(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trail{suffix}"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=path.name):
        LabelLayer.load(path, GIVEN)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_file_cut_anywhere_within_a_line_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trail{suffix}"
    corrected().save(path)
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 7):
        if suffix == ".csv" and content[:length].endswith(b"\n"):
            continue  # whole lines are a whole, shorter trail
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=path.name):
            LabelLayer.load(path, GIVEN)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv"):
        LabelLayer.load(tmp_path / "none.csv", GIVEN)
    with pytest.raises(InputError, match="nowhere"):
        corrected().save(tmp_path / "nowhere" / "trail.csv")
    for act in (corrected().save, lambda path: LabelLayer.load(path, GIVEN)):
        with pytest.raises(InputError, match=r"ends in \.csv or \.json"):
            act(tmp_path / "trail.xlsx")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder\.json"):
        corrected().save(tmp_path / "folder.json")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, {"action": -1}, "action -1 is out of order"),
        (0, {"action": 1}, "action 1 is out of order"),
        (2, {"action": 3}, "out of order"),
        (3, {"action": 0}, "out of order"),
        (1, {"index": 1}, "row 1 comes twice"),
        (1, {"index": 6}, "row 6 is not there"),
        (1, {"index": -1}, "row -1 is not there"),
        (1, {"index": "4"}, "record 1 has a number or a text that is none"),
        (1, {"index": True}, "record 1 has a number"),
        (1, {"before": 1}, "says that row 4 was 1, which these labels deny"),
        (1, {"after": 3}, "classes 0 to 2"),
        (1, {"after": 1.0}, "record 1 has a number"),
        (1, {"who": "eve"}, "no one who made it at one time"),
        (1, {"when": "2026-01-02T12:00:06+00:00"}, "no one who made it at one time"),
        (2, {"who": ""}, "no one who made it"),
        (2, {"who": None}, "record 2 has a number or a text"),
        (2, {"why": 3}, "record 2 has a number or a text"),
        (2, {"when": "yesterday"}, "'yesterday' for a time"),
        (2, {"when": "2026-01-02T12:00:05"}, "for a time with its zone"),
        (4, {"undoes": 1}, "action 3 does not take back what action 1 did"),
        (4, {"undoes": 3}, "action 3 does not take back"),
        (4, {"undoes": -1}, "action 3 does not take back"),
        (4, {"undoes": "2"}, "record 4 has a number"),
        (4, {"after": 0}, "action 3 does not take back"),
        (2, {"undoes": 0, "after": 1}, "action 1 does not take back"),
        (2, {"extra": 1}, "record 2 has not the fields"),
    ],
)
def test_forged_records_are_refused(place: int, change: dict[str, Any], message: str) -> None:
    records = corrected().to_records()
    records[place] = records[place] | change
    with pytest.raises(InputError, match=message):
        LabelLayer.from_records(GIVEN, records, num_classes=3)


def test_an_action_is_not_taken_back_twice() -> None:
    records = corrected().to_records()
    twice = [{**records[3], "action": 4}, {**records[4], "action": 5}]
    with pytest.raises(InputError, match="action 5 does not take back"):
        LabelLayer.from_records(GIVEN, records + twice)


def test_records_are_plain_and_complete() -> None:
    records = corrected().to_records()
    assert json.loads(json.dumps(records)) == records
    assert [Change(**record) for record in records] == list(corrected().history())
    assert replace(corrected().history()[0], why="") != corrected().history()[0]
    missing = [{key: value for key, value in record.items() if key != "who"} for record in records]
    for bad in (missing, ["text"], [None]):
        with pytest.raises(InputError, match="record 0 has not the fields"):
            LabelLayer.from_records(GIVEN, bad)  # type: ignore[arg-type]


# --- the triple


def test_the_triple_of_a_layer() -> None:
    found = corrected().to_corrections()
    labels = corrected().current()
    assert found.mask.tolist() == [True, True, True, False, True, True]
    assert found.weights.tolist() == [1, 1, 1, 0, 1, 1]
    for row, label in enumerate(labels):
        assert found.targets[row].tolist() == [float(k == label) for k in range(3)]
    assert found.targets.dtype == found.weights.dtype == np.float32
    assert LabelLayer([-1, -1]).to_corrections(2).targets.tolist() == [[0, 0], [0, 0]]
    assert LabelLayer([0, 1]).to_corrections(4).targets.shape == (2, 4)
    with pytest.raises(InputError, match="give the number of classes"):
        LabelLayer([0, 1]).to_corrections()
    with pytest.raises(InputError, match="row 1 is 1: give classes 0 to 0"):
        LabelLayer([0, 1]).to_corrections(1)
