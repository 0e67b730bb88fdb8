"""`labelwise plan` from a file to a plan, on every kind of data, and what it says to bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bad_input import png
from command import done, labelwise

PRICES = ("--price-cheap", 0.1, "--price-dear", 1, "--budget", 40)
COLUMNS = ("--label", "cheap", "--dear", "gold")


def table(folder: Path, rows: int = 300, dear: int = 60, name: str = "d.csv") -> Path:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 3))
    truth = X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=rows) > 0
    cheap = np.where(rng.random(rows) < 0.2, ~truth, truth)
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "cheap", "gold"])
        for row in range(rows):
            gold = ("no", "yes")[int(truth[row])] if row < dear else ""
            writer.writerow([*X[row].round(4), ("no", "yes")[int(cheap[row])], gold])
    return folder / name


def read(folder: Path) -> tuple[dict, list[dict[str, str]]]:  # type: ignore[type-arg]
    with (folder / "relabel.csv").open(newline="") as file:
        return json.loads((folder / "plan.json").read_text()), list(csv.DictReader(file))


@pytest.mark.parametrize("by", ["uncertainty", "doubt", "random"])
def test_a_table(by: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = done("plan", table(tmp_path), *COLUMNS, *PRICES, "--out", out, "--by", by)
    content, rows = read(out)
    best = content["plan"]["recommended"]
    assert f"Buy {best['n_dear']} dear" in said
    assert len(rows) == min(best["n_dear"], 240)
    assert all(60 <= int(row["index"]) < 300 for row in rows)  # rows without a dear label
    assert len({row["index"] for row in rows}) == len(rows)
    if by == "uncertainty":
        unsure = [float(row["uncertainty"]) for row in rows]
        assert unsure == sorted(unsure, reverse=True)
    if by == "doubt":
        assert np.mean([row["cheap_label"] != row["predicted"] for row in rows]) > 0.8


def test_no_more_dear_labels_than_rows(tmp_path: Path) -> None:
    said = done("plan", table(tmp_path), *COLUMNS, *PRICES[:4], "--budget", 1000, "--out", tmp_path / "out")
    content, rows = read(tmp_path / "out")
    assert max(each["n_dear"] for each in content["plan"]["forecasts"]) == 240
    assert len(rows) == content["plan"]["recommended"]["n_dear"]
    assert "Only 240 different rows lack a dear label" in said


def test_a_regime_is_said_where_one_is_clear(tmp_path: Path) -> None:
    said = done("plan", table(tmp_path), *COLUMNS, *PRICES[:4], "--budget", 2, "--out", tmp_path / "out")
    assert read(tmp_path / "out")[0]["plan"]["regime"] == "undecided"
    assert "no share of the budget is clearly better" in said


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done("plan", table(tmp_path), *COLUMNS, *PRICES, "--out", tmp_path / name)
    for file in ("plan.json", "relabel.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_too_few_dear_labels_are_said_and_how_many_are_needed(tmp_path: Path) -> None:
    said = done("plan", table(tmp_path, dear=29), *COLUMNS, *PRICES, "--out", tmp_path / "out")
    content, rows = read(tmp_path / "out")
    assert "No forecast" in said
    assert "11 more" in said
    assert content["plan"] is None
    assert content["dear_labels_missing"] == len(rows) == 11


def test_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 160)
    words = np.array([["good", "fine", "nice"], ["bad", "poor", "grim"]])
    texts = [f"{rng.choice(words[t])} and {rng.choice(words[t])} thing {i}" for i, t in enumerate(truth)]
    gold = [str(t) if i < 50 else None for i, t in enumerate(truth)]
    cheap = np.where(rng.random(160) < 0.15, 1 - truth, truth).astype(str)
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"body": texts, "cheap": cheap.tolist(), "gold": gold}), path)
    done("plan", path, *COLUMNS, *PRICES, "--text", "body", "--out", tmp_path / "out")
    assert read(tmp_path / "out")[0]["plan"]["now"]["accuracy"] > 0.7


def test_arrays_and_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    X = (rng.normal(size=(200, 5)) + 3 * np.eye(3, 5)[truth]).astype(np.float32)
    gold = np.where(np.arange(200) < 60, truth, -1)
    np.savez(tmp_path / "d.npz", X=X, cheap=np.where(rng.random(200) < 0.2, 0, truth), gold=gold)
    said = done("plan", tmp_path / "d.npz", *COLUMNS, *PRICES, "--out", tmp_path / "one", "--json")
    assert json.loads(said)["recommended"]["accuracy"] > 0.8
    shades = [png(colour=(int(t) * 100, int(rng.integers(99)), int(i) % 99)) for i, t in enumerate(truth)]
    kinds = {"pic": shades, "cheap": truth.tolist(), "gold": [int(t) if t >= 0 else None for t in gold]}
    pq.write_table(pa.table(kinds), tmp_path / "p.parquet")
    done("plan", tmp_path / "p.parquet", *COLUMNS, *PRICES, "--image", "pic", "--out", tmp_path / "two")
    assert read(tmp_path / "two")[0]["plan"]["now"]["accuracy"] > 0.8


def test_copies_of_a_row_do_not_leak(tmp_path: Path) -> None:
    # Coin flips, every row three times: a model that saw a copy would know the held-out label.
    rng = np.random.default_rng(0)
    rows = [[*rng.normal(size=12).round(4), int(rng.integers(2))] for _ in range(120)] * 3
    with (tmp_path / "d.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*"abcdefghijkl", "cheap", "gold"])
        writer.writerows([*row, row[-1]] for row in rows)
    done("plan", tmp_path / "d.csv", *COLUMNS, *PRICES, "--out", tmp_path / "out")
    assert read(tmp_path / "out")[0]["plan"]["now"]["accuracy"] < 0.65


BAD: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
    "no such dear column": (("--label", "cheap", "--dear", "glod", *PRICES), ("'glod'", "--dear", "'gold'")),
    "no such cheap column": (("--label", "cheep", "--dear", "gold", *PRICES), ("'cheep'", "--label")),
    "the same column": (("--label", "cheap", "--dear", "cheap", *PRICES), ("'cheap'", "twice")),
    "budget 0": ((*COLUMNS, *PRICES[:4], "--budget", 0), ("budget is 0",)),
    "budget NaN": ((*COLUMNS, *PRICES[:4], "--budget", "nan"), ("budget is nan",)),
    "budget too small": ((*COLUMNS, *PRICES[:4], "--budget", 0.05), ("buys no label",)),
    "price 0": ((*COLUMNS, "--price-cheap", 0, "--price-dear", 1, "--budget", 9), ("price cheap is 0",)),
    "infinite price": ((*COLUMNS, "--price-cheap", 1, "--price-dear", "inf", "--budget", 9), ("price dear is inf",)),
    "a budget without end": ((*COLUMNS, *PRICES[:4], "--budget", 1e15), ("more than 1,000,000,000 labels",)),
    "a price of nearly 0": (
        (*COLUMNS, "--price-cheap", 1e-300, "--price-dear", 1, "--budget", 1e300),
        ("more than 1,000,000,000 labels",),
    ),
    "a network for a table": ((*COLUMNS, *PRICES, "--network", "bogus"), ("--network", "leave it out")),
    "numbers as texts": ((*COLUMNS, *PRICES, "--text", "a"), ("--text 'a'", "number")),
    "unknown way": ((*COLUMNS, *PRICES, "--by", "luck"), ("'luck'", "doubt")),
    "no price": ((*COLUMNS, "--budget", 9), ("--price-cheap",)),
    "no dear column named": (("--label", "cheap", *PRICES), ("--dear",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path) -> None:
    arguments, words = BAD[name]
    ended = labelwise("plan", table(tmp_path), *arguments, "--out", tmp_path / "out")
    assert ended.status != 0
    assert not [word for word in words if word not in ended.sentence], ended.sentence
    assert not (tmp_path / "out").exists()


def test_dear_labels_of_other_classes_are_said(tmp_path: Path) -> None:
    source = table(tmp_path)
    lines = source.read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",maybe"
    source.write_text("\n".join(lines) + "\n")
    assert "no cheap label has" in done("plan", source, *COLUMNS, *PRICES, "--out", tmp_path / "out")


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    source = table(tmp_path, name="relabel.csv")
    assert "overwrite" in labelwise("plan", source, *COLUMNS, *PRICES, "--out", tmp_path).sentence


def test_a_folder_and_a_named_set_have_no_dear_column(tmp_path: Path) -> None:
    assert "leave out --dear" in labelwise("plan", "digits", *COLUMNS[2:], *PRICES).sentence
    assert "nowhere" in labelwise("plan", tmp_path / "nowhere", *COLUMNS, *PRICES).sentence
