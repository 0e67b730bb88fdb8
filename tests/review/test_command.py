"""``labelwise review`` without a page: decisions to a file and from one."""

import csv
from pathlib import Path

import pytest

from command import labelwise
from labelwise.review.decisions import FILE, DecisionStore
from labelwise.review.desk import Desk
from labelwise.review.items import Items
from review_folders import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "run", look="text")


def decide(folder: Path, position: int, reviewer: str = "ann") -> None:
    items = Items.open(folder / "review.arrow")
    with DecisionStore(folder / FILE) as store:
        Desk(items, store).decide(position, "accept", items.item(position).suggested, reviewer)


def test_decisions_go_to_another_copy_of_the_run(folder: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", look="text")
    decide(folder, 0)
    decide(other, 1, "bob")
    assert "1 decisions in" in labelwise("review", folder, "--export", tmp_path / "d.csv").out
    for said in ("1 new decisions", "0 new decisions"):
        assert said in labelwise("review", other, "--import", tmp_path / "d.csv").out
    with DecisionStore(other / FILE) as store:
        assert {each.reviewer for each in store.standing()} == {"ann", "bob"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("index", "999999", "is about row 999999 as this run does not have it"),
        ("example", "0123", "as this run does not have it"),
        ("before", "unicorn", "as this run does not have it"),
        ("after", "unicorn", "the suggestion is"),
    ],
)
def test_decisions_on_something_else_are_refused(
    column: str, value: str, message: str, folder: Path, tmp_path: Path
) -> None:
    decide(folder, 0)
    labelwise("review", folder, "--export", tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    with (tmp_path / "d.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, row.keys(), lineterminator="\r\n")
        writer.writeheader()
        writer.writerow(row | {column: value})
    other = make(tmp_path / "other", look="text")
    assert message in labelwise("review", other, "--import", tmp_path / "d.csv").sentence
    with DecisionStore(other / FILE) as store:
        assert store.all() == []


def test_nothing_is_made_where_there_is_no_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        assert "nothing to look at" in labelwise("review", place, "--export", tmp_path / "d.csv").sentence
    assert "kind of file" in labelwise("review", folder, "--export", tmp_path / "d.xlsx").sentence
    assert "show no page" in labelwise("review", folder, "--export", tmp_path / "d.csv", "--port", 80).sentence
    assert "the host is empty" in labelwise("review", folder, "--host", " ").sentence
    assert "no name of 1 to 100" in labelwise("review", folder, "--reviewer", "x" * 300).sentence
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (folder / FILE).exists()
