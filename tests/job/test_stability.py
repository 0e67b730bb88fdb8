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
from labelwise.errors import InputError
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
    for name in ("given", "corrected", "keen", "stiff"):  # six examples get another label
        np.save(files / f"{name}.npy", np.tile(np.load(files / f"{name}.npy"), 3))
    names = [files / "keen.npy", f"<b>stiff</b>={files / 'stiff.npy'}"]
    said = done(
        "stability", "--predictions", *names, "--given", files / "given.npy", "--corrected", files / "corrected.npy",
        "--out", out,
    )  # fmt: skip
    assert "<b>stiff</b> overtakes keen" in said
    assert "Of 30 examples 21 keep their label, 6 get another one and 3" in said
    assert {path.name for path in out.iterdir()} == {"stability.json", "stability.csv", "stability.html"}

    found = json.loads((out / "stability.json").read_text())
    assert [each["name"] for each in found["models"]] == ["keen", "<b>stiff</b>"]
    assert (found["verdict"], found["holds"]) == ("does not hold", False)
    assert (found["benign"], found["correctable"], found["unknown"]) == (21, 6, 3)
    keen, stiff = (each["accuracies"] for each in found["models"])
    assert (keen["original"], keen["corrected"]) == pytest.approx((1.0, 7 / 9))
    assert (stiff["original"], stiff["corrected"]) == pytest.approx((7 / 10, 8 / 9))
    # On the benign examples keen leads by 1 of 7, on the correctable ones stiff by all.
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


def test_too_few_corrections_are_told(files: Path) -> None:
    command = (
        "stability", files / "keen.npy", files / "stiff.npy", "--given", files / "given.npy",
        "--corrected", files / "corrected.npy", "--out", files / "out",
    )  # fmt: skip
    said = done(*command)
    assert "Cannot tell whether the ranking holds: 2 examples have a wrong given label" in said
    assert "overtakes" not in said
    assert "of the bootstrap draws" not in said
    found = json.loads(done(*command, "--json"))
    assert (found["verdict"], found["holds"], found["probability"]) == ("cannot tell", None, None)
    assert found["pairs"][0]["holds"] is None
    assert "Cannot tell whether the ranking holds" in (files / "out" / "stability.html").read_text()


def test_classes_that_the_benchmark_lacks_are_counted(files: Path) -> None:
    np.save(files / "wide.npy", np.array([7, 1, 2, 9, 8, 2, 8, 8, 0, 0]))
    np.save(files / "wide_probs.npy", np.eye(8)[[0, 1, 2, 0, 1, 2, 7, 1, 0, 0]])
    command = (
        "stability", files / "wide.npy", files / "wide_probs.npy", files / "keen.npy", "--given", files / "given.npy",
        "--corrected", files / "corrected.npy", "--out", files / "out",
    )  # fmt: skip
    assert "classes that no example has, and so never right: 1 of wide_probs, 5 of wide." in " ".join(
        done(*command).split()
    )
    found = json.loads(done(*command, "--json"))
    assert {each["name"]: each["outside"] for each in found["models"]} == {"wide": 5, "wide_probs": 1, "keen": 0}


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


NO_NAMES = {  # what such a file holds, and what its first line is
    "classes": (pd.DataFrame({"class": STIFF}), "0"),
    "probs": (pd.DataFrame(one_hot(STIFF)), "0.8, 0.1, 0.1"),
    "one hot": (pd.DataFrame(np.eye(3, dtype=int)[STIFF]), "1, 0, 0"),
}


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_first_line_that_is_an_example_is_refused(files: Path, name: str) -> None:
    table, line = NO_NAMES[name]
    table.round(1).to_csv(files / "stiff.csv", index=False, header=False)
    labels = {"given": files / "given.npy", "corrected": files / "corrected.npy"}
    with pytest.raises(InputError, match=f"^{files}/stiff.csv line 1 is {line}, an example"):
        study_files([str(files / "keen.npy"), str(files / "stiff.csv")], **labels)


@pytest.mark.parametrize("unnamed", ["given", "corrected"])
def test_labels_whose_first_line_is_an_example_are_refused(files: Path, unnamed: str) -> None:
    for name, labels in {"given": GIVEN, "corrected": CORRECTED}.items():
        pd.DataFrame({"class": labels[::-1]}).to_csv(files / f"{name}.csv", index=False, header=name != unnamed)
    with pytest.raises(InputError, match=f"^{files}/{unnamed}.csv line 1 is 0, an example"):
        study_files(
            [str(files / "keen.npy"), str(files / "stiff.npy")],
            files / "given.csv",
            corrected=files / "corrected.csv",
        )


def test_columns_may_be_called_by_their_class(files: Path) -> None:
    pd.DataFrame(one_hot(STIFF)).to_csv(files / "numbered.csv", index=False)
    names = [str(files / "keen.npy"), str(files / "stiff.npy"), str(files / "numbered.csv")]
    found = study_files(names, files / "given.npy", corrected=files / "corrected.npy")
    assert {each.name: each.accuracies for each in found.models}["numbered"] == found.models[1].accuracies
    assert len({each.corrected_rank for each in found.models}) == 2


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
    "classes numbered otherwise": (
        {"stiff": STIFF + 7},
        "stiff.npy row 0 is class 7, which no label has, as are 10 of",
    ),
    "most classes numbered otherwise": ({"stiff": np.where(np.arange(10) > 3, 5, STIFF)}, "stiff.npy row 4 is class 5"),
    "no corrected label": ({"corrected": np.full(10, -1)}, "none of the 10 examples has a corrected label"),
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
        (["keen.npy", "a=", "--corrected", "corrected.npy"], "a= names no file: write NAME=FILE"),
        (["keen.npy", "other.npy", "--corrected", "corrected.npy"], "other.npy does not exist"),
        (["keen.npy", "votes.json", "--corrected", "corrected.npy"], "neither .npy, .parquet nor .csv"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--draws", "0"], "--draws is 0"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--draws", "1000000000"], "from 1 to 100000"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--seed", "-1"], "seed is -1"),
        (["keen.npy", "stiff.npy", "--corrected", "corrected.npy", "--seed", str(2**32)], "seed is 4294967296"),
    ],
)
def test_bad_command_lines_are_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], word: str
) -> None:
    monkeypatch.chdir(files)
    ended = labelwise("stability", *arguments, "--given", "given.npy", "--out", "out")
    assert word in ended.sentence
    assert not (files / "out").exists()
