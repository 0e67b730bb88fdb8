"""`labelwise stability` from files to files: every form of input, every file it promises, and what it refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from command import done, labelwise
from labelwise.job.stability import apply_votes, study_files

GIVEN = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
CORRECTED = np.array([0, 1, 2, 0, 1, 2, 1, -1, 0, 0])
KEEN = GIVEN.copy()
STIFF = np.array([0, 1, 2, 0, 1, 0, 1, 1, 0, 0])
VOTES = [  # row, given, guessed, answers
    (6, 0, 1, {"given": 1, "guessed": 4, "both": 0, "neither": 0}),
    (7, 1, 0, {"given": 1, "guessed": 1, "both": 3, "neither": 0}),
    (8, 2, 0, {"given": 0, "guessed": 3, "both": 1, "neither": 1}),
    (9, 0, 2, {"given": 3, "guessed": 2, "both": 0, "neither": 0}),
]


def write_votes(path: Path, votes: list[tuple[Any, Any, Any, dict[str, int]]]) -> Path:
    keys = ("id", "given_original_label", "our_guessed_label", "mturk")
    path.write_text(json.dumps([dict(zip(keys, each, strict=True)) for each in votes]))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, values in {"given": GIVEN, "corrected": CORRECTED, "keen": KEEN, "stiff": STIFF}.items():
        np.save(tmp_path / f"{name}.npy", values)
    write_votes(tmp_path / "votes.json", VOTES)
    return tmp_path


def test_every_file_that_is_promised(files: Path) -> None:
    out = files / "out"
    names = [files / "keen.npy", f"<b>stiff</b>={files / 'stiff.npy'}"]
    said = done(
        "stability", "--predictions", *names, "--given", files / "given.npy", "--corrected", files / "corrected.npy",
        "--out", out,
    )  # fmt: skip
    assert "<b>stiff</b> overtakes keen" in said
    assert "Of 10 examples 7 keep their label, 2 get another one and 1" in said
    assert {path.name for path in out.iterdir()} == {"stability.json", "stability.csv", "stability.html"}

    found = json.loads((out / "stability.json").read_text())
    assert [each["name"] for each in found["models"]] == ["keen", "<b>stiff</b>"]
    assert (found["benign"], found["correctable"], found["unknown"]) == (7, 2, 1)
    keen, stiff = (each["accuracies"] for each in found["models"])
    assert (keen["original"], keen["corrected"]) == pytest.approx((1.0, 7 / 9))
    assert (stiff["original"], stiff["corrected"]) == pytest.approx((7 / 10, 8 / 9))
    # On the 7 benign examples keen leads by 1 of 7, on the 2 correctable ones stiff by 2 of 2.
    assert found["pairs"][0]["prevalence"] == pytest.approx((1 / 7) / (1 / 7 + 1))

    with (out / "stability.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["keen", "<b>stiff</b>"]
    assert [(row["original_rank"], row["corrected_rank"]) for row in rows] == [("1", "2"), ("2", "1")]

    page = (out / "stability.html").read_text()
    assert "<b>stiff" not in page
    assert "&lt;b&gt;stiff" in page
    assert "<script" not in page
    assert 'http-equiv="Content-Security-Policy"' in page
    assert page.count(' band"') == page.count(' line" d=') == 2


def test_json_is_what_is_written(files: Path) -> None:
    said = done(
        "stability", files / "keen.npy", files / "stiff.npy", "--given", files / "given.npy",
        "--votes", files / "votes.json", "--out", files / "out", "--json",
    )  # fmt: skip
    assert json.loads(said) == json.loads((files / "out" / "stability.json").read_text())


def test_votes_say_what_the_corrected_labels_say(files: Path) -> None:
    assert apply_votes(GIVEN, files / "votes.json").tolist() == CORRECTED.tolist()


@pytest.mark.parametrize(
    ("name", "errors", "corrected"), [("cifar10", 54, 18), ("20news", 82, 22), ("cifar100", 585, 318)]
)
def test_votes_of_the_study_change_as_many_labels_as_it_reports(
    data_dir: Path, name: str, errors: int, corrected: int
) -> None:
    folder = data_dir / "label-errors"
    given = np.load(folder / "original_test_labels" / f"{name}_test_set_original_labels.npy").astype(np.int64)
    found = apply_votes(given, folder / "mturk" / f"{name}_mturk.json")
    assert ((found != given).sum(), ((found != given) & (found >= 0)).sum()) == (errors, corrected)


def one_hot(classes: np.ndarray) -> np.ndarray:
    return np.eye(3)[classes] * 0.7 + 0.1


@pytest.mark.parametrize(
    "form", ["probs.npy", "probs.csv", "probs.parquet", "list.parquet", "classes.csv", "column.npy"]
)
def test_forms_of_predictions(files: Path, form: str) -> None:
    path = files / form
    probs = one_hot(STIFF)
    table = pd.DataFrame(probs, columns=["a", "b", "c"])
    write: dict[str, Callable[[], None]] = {
        "probs.npy": lambda: np.save(path, probs.astype(np.float32)),
        "probs.csv": lambda: table.to_csv(path, index=False),
        "probs.parquet": lambda: table.to_parquet(path),
        "list.parquet": lambda: pd.DataFrame({"pred_probs": list(probs)}).to_parquet(path),
        "classes.csv": lambda: pd.DataFrame({"class": STIFF}).to_csv(path, index=False),
        "column.npy": lambda: np.save(path, STIFF[:, None]),
    }
    write[form]()
    labels = {"given": files / "given.npy", "corrected": files / "corrected.npy"}
    expected = study_files([str(files / "keen.npy"), f"x={files / 'stiff.npy'}"], **labels)
    found = study_files([str(files / "keen.npy"), f"x={path}"], **labels)
    assert found.models == expected.models
    assert found.pairs == expected.pairs


def changed(classes: np.ndarray, row: int, value: int) -> np.ndarray:
    copy = classes.copy()
    copy[row] = value
    return copy


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a class that is missing": ({"stiff": changed(STIFF, 4, -1)}, "stiff.npy row 4 has no prediction"),
    "a class out of range": ({"stiff": changed(STIFF, 4, -2)}, "stiff.npy row 4 is -2"),
    "fractions": ({"stiff": STIFF + 0.5}, "stiff.npy row 0 is 0.5"),
    "too few rows": ({"stiff": STIFF[:9]}, "stiff.npy has 9 rows"),
    "no rows": ({"stiff": STIFF[:0]}, "stiff.npy is empty"),
    "logits": ({"stiff": one_hot(STIFF) * 5}, "stiff.npy row 0 sums to 5"),
    "nan": (
        {"stiff": np.where(np.arange(30).reshape(10, 3) == 7, np.nan, one_hot(STIFF))},
        "stiff.npy row 2, column 1",
    ),
    "a class without a column": ({"stiff": np.full((10, 2), 0.5)}, "given.npy row 2 is of a class for which"),
    "a cube": ({"stiff": np.zeros((10, 2, 2))}, "shape (10, 2, 2)"),
    "words": ({"stiff": np.array(list("abcabcabca"))}, "not a class number"),
    "no given label": ({"given": changed(GIVEN, 3, -1)}, "given.npy row 3 has no label"),
    "corrected labels of fewer": ({"corrected": CORRECTED[:8]}, "8 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_refused(files: Path, name: str) -> None:
    arrays, word = BAD[name]
    for file, array in arrays.items():
        np.save(files / f"{file}.npy", array)
    ended = labelwise(
        "stability", files / "keen.npy", files / "stiff.npy", "--given", files / "given.npy",
        "--corrected", files / "corrected.npy", "--out", files / "out",
    )  # fmt: skip
    assert ended.status == 1
    assert word in ended.sentence
    assert not (files / "out").exists()


@pytest.mark.parametrize(
    ("votes", "word"),
    [
        ([(10, 0, 1, {"given": 5})], "record 0, is about row 10 of 10"),
        ([(-1, 0, 1, {"given": 5})], "is about row -1"),
        ([VOTES[0], VOTES[0]], "record 1, is about row 6 again"),
        ([VOTES[0], (7, 2, 0, {"given": 5})], "record 1, says that row 7 is labelled 2, but it is 1"),
        ([("cat.png", 0, 1, {"given": 5})], "has id 'cat.png'"),
        ([(6, "cat", "dog", {"given": 5})], "has given_original_label 'cat'"),
        ([(6, 0, "dog", {"given": 5})], "has our_guessed_label 'dog'"),
        ([(6, 0, 1, {"given": -1})], "counts of 0 or more"),
    ],
)
def test_bad_votes_are_refused(files: Path, votes: list[Any], word: str) -> None:
    write_votes(files / "votes.json", votes)
    ended = labelwise(
        "stability", files / "keen.npy", files / "stiff.npy", "--given", files / "given.npy",
        "--votes", files / "votes.json", "--out", files / "out",
    )  # fmt: skip
    assert word in ended.sentence


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["keen.npy", "stiff.npy"], "give --corrected FILE, or --votes FILE"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--votes", "votes.json"], "needed once"),
        (["keen.npy", "--corrected", "corrected.npy"], "at least two"),
        (["--corrected", "corrected.npy"], "at least two"),
        (["keen.npy", "keen.npy", "--corrected", "corrected.npy"], "two models are called keen"),
        (["keen.npy", "=stiff.npy", "--corrected", "corrected.npy"], "names no model"),
        (["keen.npy", "other.npy", "--corrected", "corrected.npy"], "other.npy does not exist"),
        (["keen.npy", "votes.json", "--corrected", "corrected.npy"], "neither .npy, .parquet nor .csv"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--draws", "0"], "--draws is 0"),
    ],
)
def test_bad_command_lines_are_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], word: str
) -> None:
    monkeypatch.chdir(files)
    ended = labelwise("stability", *arguments, "--given", "given.npy", "--out", "out")
    assert word in ended.sentence
    assert not (files / "out").exists()
