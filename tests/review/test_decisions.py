"""The store of decisions: nothing acknowledged is lost, nothing is changed, and files carry it whole."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from labelwise.errors import InputError
from labelwise.review.decision_files import export_decisions, import_decisions
from labelwise.review.decisions import UNDO, Decision, DecisionStore

HOSTILE = ["=1+1", "'x", "a,b\r\nc", '"q"', "<script>alert(1)</script>", "\u202eabc", "'; DROP TABLE decisions; --", ""]
WRITER = """
import sys
from labelwise.review.decisions import DecisionStore
store = DecisionStore(sys.argv[1])
for row in range(int(sys.argv[3])):
    made = store.add(index=row, verdict="keep", before="a", after="a", reviewer=sys.argv[2])
    print(made.number, flush=True)
"""


def keep(store: DecisionStore, index: int, reviewer: str = "ann", before: str = "cat") -> Decision:
    return store.add(index=index, verdict="keep", before=before, after=before, reviewer=reviewer)


def accept(store: DecisionStore, index: int, reviewer: str = "ann", after: str = "dog") -> Decision:
    return store.add(index=index, verdict="accept", before="cat", after=after, reviewer=reviewer)


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


def test_each_reviewer_has_one_decision_a_label_the_last(path: Path) -> None:
    with DecisionStore(path) as store:
        keep(store, 1)
        first = accept(store, 1, "bob")
        last = accept(store, 1)
        other = store.add(index=1, part="sun", verdict="exclude", before="cat", after="", reviewer="ann")
        assert store.standing() == [first, last, other]
        assert [each.number for each in store.all()] == [1, 2, 3, 4]
        assert store.all(since=3) == [other]
    with DecisionStore(path) as store:
        assert store.standing() == [first, last, other]


def test_what_is_sent_again_because_its_answer_was_lost_is_one_decision(path: Path) -> None:
    with DecisionStore(path) as store:
        first = keep(store, 1)
        assert keep(store, 1) == first
        assert keep(store, 1, "bob") != first
        undone = store.undo("ann")
        assert undone is not None
        assert undone.undoes == first.number
        assert [each.reviewer for each in store.standing()] == ["bob"]
        again = keep(store, 1)
        assert again.number == undone.number + 1
        accept(store, 1)
        assert keep(store, 1).number == again.number + 2


def test_an_undo_brings_back_what_the_reviewer_had_decided_before(path: Path) -> None:
    with DecisionStore(path) as store:
        first = keep(store, 1)
        second = accept(store, 1)
        others = accept(store, 1, "bob")
        undone = store.undo("ann")
        assert undone is not None
        assert (undone.undoes, undone.verdict, undone.before, undone.after) == (second.number, UNDO, "dog", "cat")
        assert store.standing() == [first, others]
        assert store.undo("ann") == replace(first, number=5, verdict=UNDO, at=store.all()[-1].at, undoes=first.number)
        assert store.undo("ann") is None
        assert store.undo("nobody") is None
        assert store.standing() == [others]
        again = keep(store, 1)
        assert store.standing() == [others, again]
        assert len(store.all()) == 6


def test_nothing_is_changed_or_removed(path: Path) -> None:
    with DecisionStore(path) as store:
        made = keep(store, 1)
    connection = sqlite3.connect(path)
    for statement in (
        "UPDATE decisions SET after = 'x'",
        "DELETE FROM decisions",
        "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
    ):
        with pytest.raises(sqlite3.DatabaseError, match="only added"):
            connection.execute(statement)
    connection.close()
    with DecisionStore(path) as store:
        assert store.all() == [made]


def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    DecisionStore(path).close()
    acknowledged = 0
    for round_ in range(3):
        process = writer(path, f"r{round_}", 100_000)
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged = max(acknowledged, int(line))
            if acknowledged >= 25 * (round_ + 1):
                break
        os.kill(process.pid, signal.SIGKILL)
        # What was printed before the kill counts too.
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.strip().isdigit())])
        process.wait()
        with DecisionStore(path) as store:
            numbers = [each.number for each in store.all()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged


def test_two_processes_decide_at_once(path: Path) -> None:
    DecisionStore(path).close()
    processes = [writer(path, name, 60) for name in ("ann", "bob")]
    acknowledged = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(acknowledged) == list(range(1, 121))
    with DecisionStore(path) as store:
        assert len(store.standing()) == 120


def test_threads_share_a_store(path: Path) -> None:
    with DecisionStore(path) as store, ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda index: keep(store, index, f"r{index % 4}"), range(80)))
        assert sorted(each.number for each in made) == list(range(1, 81))
        times = [each.at for each in sorted(made, key=lambda each: each.number) if each.reviewer == "r1"]
        assert times == sorted(set(times))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_carries_everything_to_another_store(suffix: str, tmp_path: Path, path: Path) -> None:
    file = tmp_path / f"d{suffix}"
    with DecisionStore(path) as store:
        for row, text in enumerate(HOSTILE):
            words = {"part": text, "before": text, "after": f"{text}!", "reviewer": f"r{text}", "note": text}
            store.add(index=row, verdict="other", **words)
        store.undo("r=1+1")
        assert export_decisions(store, file) == len(HOSTILE) + 1
        everything = store.all()
        assert import_decisions(store, file) == 0
    with DecisionStore(tmp_path / "other.sqlite") as other:
        own = keep(other, 99, "zoe")
        assert import_decisions(other, file) == len(everything)
        assert import_decisions(other, file) == 0
        moved = [
            replace(each, number=each.number + 1, undoes=None if each.undoes is None else each.undoes + 1)
            for each in everything
        ]
        assert other.all() == [own, *moved]
    if suffix == ".csv":
        cells = file.read_text(encoding="utf-8").replace("\r\n", ",").split(",")
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


Damage = Callable[[str], str]
DAMAGED: dict[str, Damage] = {
    "its columns": lambda text: text.replace("verdict", "word", 1),
    "its end is missing": lambda text: text[:-2],
    "line 3 is not whole": lambda text: text.replace("2,1,,accept", "two,1,,accept", 1),
    "the verdict 'maybe' is not known": lambda text: text.replace("accept", "maybe", 1),
    "keep cannot set": lambda text: text.replace("keep,cat,cat", "keep,cat,cow", 1),
    "for a time": lambda text: text.replace("+00:00", "", 1),
    "-23:00' for a time": lambda text: text.replace("+00:00", "-23:00", 1),
    "decision 2 is out of order": lambda text: re.sub(r"(accept,cat,dog,ann,)\d{4}", r"\g<1>1999", text, count=1),
    "half an undo": lambda text: text.replace(",undo,", ",keep,", 1),
    "does not take back": lambda text: text.replace(",2,\r\n", ",1,\r\n", 1),
    "out of order": lambda text: text.replace("\r\n2,", "\r\n1,", 1),
    "was changed by hand": lambda text: text.replace("accept,cat,dog", "accept,cat,cow", 1).replace(
        "undo,dog,cat", "undo,cow,cat", 1
    ),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_a_damaged_file_is_refused_whole(message: str, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    with DecisionStore(path) as store:
        keep(store, 0)
        accept(store, 1)
        store.undo("ann")
        export_decisions(store, file)
        before = store.all()
        text = file.read_bytes().decode()
        damaged = DAMAGED[message](text)
        assert damaged != text
        file.write_bytes(damaged.encode())
        with pytest.raises(InputError, match=message) as refused:
            import_decisions(store, file)
        assert "d.csv" in str(refused.value)
        assert store.all() == before


def test_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    with DecisionStore(path) as store:
        for name, content in (("a.txt", b""), ("a.parquet", b"PAR1"), ("a.csv", b"\xff\xfe\n")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=name):
                import_decisions(store, tmp_path / name)
        with pytest.raises(InputError, match="cannot be read"):
            import_decisions(store, tmp_path / "none.csv")
        with pytest.raises(InputError, match="kind of file"):
            export_decisions(store, tmp_path / "a.xlsx")


def test_stores_of_something_else_are_refused(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"this is no database at all, but some text of a certain length")
    with pytest.raises(InputError, match=r"decisions\.sqlite"):
        DecisionStore(path)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE decisions (x)")
    connection.close()
    with pytest.raises(InputError, match="something else"):
        DecisionStore(other)
    newer = tmp_path / "newer.sqlite"
    DecisionStore(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="newer labelwise"):
        DecisionStore(newer)
    with pytest.raises(InputError, match="cannot be read or written"):
        DecisionStore(tmp_path / "none" / "decisions.sqlite")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": -1}, "index is -1"),
        ({"verdict": "maybe"}, "maybe"),
        ({"reviewer": "  "}, "no name"),
        ({"reviewer": "x" * 101}, "no name"),
        ({"after": "dog"}, "keep cannot set"),
        ({"verdict": "exclude"}, "exclude cannot set"),
        ({"note": "x" * 10_001}, "the note has"),
    ],
)
def test_decisions_that_are_none_are_refused(change: dict[str, object], message: str, path: Path) -> None:
    made: dict[str, object] = {"index": 0, "verdict": "keep", "before": "cat", "after": "cat", "reviewer": "ann"}
    with DecisionStore(path) as store:
        with pytest.raises(InputError, match=message):
            store.add(**made | change)  # type: ignore[arg-type]
        assert store.all() == []


def test_many_decisions_are_read_in_a_moment(path: Path) -> None:
    with DecisionStore(path) as store:
        made = [
            Decision(row + 1, row % 30_000, "", "keep", "a", "a", f"r{row % 3}", f"2026-01-01T00:00:00.{row:06d}+00:00")
            for row in range(50_000)
        ]
        store.merge(made)
        began = time.perf_counter()
        assert len(store.standing()) == 30_000
        assert time.perf_counter() - began < 2
