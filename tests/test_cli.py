"""The command from end to end: every door, every file it promises, and what it must not do."""

import csv
import hashlib
import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from command import done, labelwise, result_files
from labelwise import __version__
from labelwise.audit.confident_learning import find_label_issues
from labelwise.audit.filters import FILTERS
from labelwise.data.open import open_data
from labelwise.job.model import Model
from labelwise.methods import recipes

QUICK = ("--epochs", "1", "--folds", "2", "--recipe", "label-smoothing")
HOSTILE = ("=cmd|' /C calc'!A0", "<script>alert(1)</script>")
AUDITED = {"suspects.csv", "labels.csv", "review.arrow"}
LEARNT = {"predictions.csv", "model/manifest.json"}
ALWAYS = {"rejected.csv", "metrics.json", "report.html"}
ALWAYS_MEASURED = {
    "noise_rate_estimated", "noise_rate_interval", "accuracy_baseline", "accuracy_early_stopped", "accuracy_robust",
    "coverage_promised", "set_size_mean", "rejected", "seconds",
}  # fmt: skip
MEASURED_ON_TRUTH = {
    "noise_rate_true", "corrected_share", "wrongly_changed_share", "memorised_share_baseline",
    "memorised_share_robust", "coverage",
}  # fmt: skip
MEASURED_ON_GIVEN = {
    "accuracy_baseline_on_noisy_labels", "accuracy_early_stopped_on_noisy_labels", "accuracy_robust_on_noisy_labels",
    "coverage_on_noisy_labels",
}  # fmt: skip
COLUMNS = {
    "suspects.csv": ["index", "location", "given", "suggested", "score", "why"],
    "labels.csv": ["index", "given", "corrected", "changed", "by"],
    "predictions.csv": ["index", "part", "given", "predicted", "probability", "prediction_set"],
    "rejected.csv": ["index", "location", "reason"],
}
COMMAND = [sys.executable, "-c", "from labelwise.cli import main; main()"]


# The doors ---------------------------------------------------------------------------------------------------------


class Door(NamedTuple):
    """A source, its options, the given label of every row ("" = unlabelled) and which rows must be rejected."""

    source: Path
    options: tuple[str, ...]
    given: list[str]
    rejected: set[int]


def picture(colour: int, rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    pixels = np.clip(rng.normal(colour, 30, (12, 12, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def folder_door(tmp: Path) -> Door:
    rng = np.random.default_rng(0)
    names, given = ("dark", "light <b>"), []
    for place, name in enumerate(names):
        (tmp / "photos" / name).mkdir(parents=True)
        for row in range(25):
            # One file in each folder is no picture.
            content = b"hello" if row == 7 else picture(60 + 120 * place, rng)
            (tmp / "photos" / name / f"{row:02}.png").write_bytes(content)
            given.append(name)
    return Door(tmp / "photos", (), given, {7, 32})


def table_door(tmp: Path) -> Door:
    rng = np.random.default_rng(1)
    labels = [HOSTILE[row % 2] for row in range(60)]
    rows = [
        [
            f"{row % 2 * 3 + rng.normal():.3f}" if row % 9 else "",
            ("=1+1", "@home", "-", "NA")[row % 4],
            str(pd.Timestamp("2020-01-01") + pd.Timedelta(days=int(rng.integers(0, 900))))[:10],
            labels[row],
        ]
        for row in range(60)
    ]
    rows[5][0] = "inf"
    rows[8] = ["1", "2"]
    rows[11][3] = labels[11] = ""
    with (tmp / "people.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["age", "place", "since", "churned"], *rows])
    return Door(tmp / "people.csv", ("--label", "churned"), labels, {5, 8})


def text_door(tmp: Path) -> Door:
    rng = np.random.default_rng(2)
    words = (["rain", "wind", "cloud", "storm"], ["goal", "match", "team", "score"])
    labels = ["weather" if row % 2 else "sport" for row in range(60)]
    texts = [" ".join(rng.choice(words[labels[row] == "sport"], 6)) for row in range(60)]
    texts[3] = " "
    pd.DataFrame({"body": texts, "topic": labels}).to_csv(tmp / "mails.csv", index=False)
    return Door(tmp / "mails.csv", ("--label", "topic", "--text", "body"), labels, {3})


def picture_table_door(tmp: Path) -> Door:
    rng = np.random.default_rng(3)
    labels = [("ill", "well")[row % 2] for row in range(44)]
    cells: list[bytes | None] = [picture(60 + 120 * (row % 2), rng) for row in range(44)]
    cells[2], cells[9] = None, b"\x89PNG broken"
    pq.write_table(pa.table({"jpeg": cells, "finding": labels}), tmp / "scans.parquet")
    return Door(tmp / "scans.parquet", ("--label", "finding", "--image", "jpeg"), labels, {2, 9})


def array_door(tmp: Path) -> Door:
    rng = np.random.default_rng(4)
    truth = np.arange(90) % 3
    given = np.where(rng.random(90) < 0.2, (truth + 1) % 3, truth)
    inputs = 3 * rng.normal(size=(3, 4))[truth] + rng.normal(size=(90, 4))
    given[13], inputs[17, 2] = -1, np.nan
    np.savez(tmp / "points.npz", X=inputs.astype(np.float32), y=given, truth=truth)
    return Door(tmp / "points.npz", ("--truth", "truth"), ["" if k < 0 else str(k) for k in given], {17})


DOORS: dict[str, Callable[[Path], Door]] = {
    "folder": folder_door,
    "table": table_door,
    "texts": text_door,
    "pictures in a table": picture_table_door,
    "arrays": array_door,
}


class Ran(NamedTuple):
    """A door, the folder of its run, and the bytes of the source before it."""

    door: Door
    out: Path
    before: str
    said: str


def digest(source: Path) -> str:
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module", params=DOORS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    tmp = tmp_path_factory.mktemp("door")
    door = DOORS[request.param](tmp)
    before = digest(door.source)
    said = done("run", door.source, "--out", tmp / "out", *door.options, *QUICK)
    return Ran(door, tmp / "out", before, said)


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def plain(cells: Any) -> list[str]:
    """Cells as they were before the apostrophe that keeps spreadsheets from running them."""
    return [cell[1:] if cell[:2] in ("'=", "'@", "'+", "'-") else cell for cell in cells]


def test_all_files_with_their_columns(ran: Ran) -> None:
    assert result_files(ran.out) == AUDITED | LEARNT | ALWAYS
    assert {name: list(table(ran.out / name).columns) for name in COLUMNS} == COLUMNS
    assert f"Report: {ran.out / 'report.html'}" in ran.said


def test_every_row_is_used_or_listed(ran: Ran) -> None:
    predicted = [int(index) for index in table(ran.out / "predictions.csv")["index"]]
    rejected = table(ran.out / "rejected.csv")
    assert {int(index) for index in rejected["index"]} == ran.door.rejected
    assert sorted([*predicted, *map(int, rejected["index"])]) == list(range(len(ran.door.given)))
    assert all(rejected["reason"])
    assert [int(index) for index in table(ran.out / "labels.csv")["index"]] == predicted


def test_given_labels_stay_as_they_were(ran: Ran) -> None:
    assert digest(ran.door.source) == ran.before
    for name in ("labels.csv", "predictions.csv"):
        found = table(ran.out / name)
        expected = [ran.door.given[int(index)] for index in found["index"]]
        assert plain(found["given"]) == expected
    labels = table(ran.out / "labels.csv")
    changed = labels["given"] != labels["corrected"]
    assert labels["changed"].tolist() == changed.astype(int).astype(str).tolist()
    assert labels["by"].tolist() == np.where(changed, "audit", "").tolist()
    suspects = table(ran.out / "suspects.csv")
    assert set(labels.loc[changed, "index"]) <= set(suspects["index"])
    assert suspects["score"].astype(float).is_monotonic_increasing


def test_metrics_say_what_they_were_measured_on(ran: Ran) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    numbers = json.loads((ran.out / "metrics.json").read_text(), parse_constant=refuse)
    has_truth = "--truth" in ran.door.options
    assert numbers.keys() >= ALWAYS_MEASURED | (MEASURED_ON_TRUTH if has_truth else MEASURED_ON_GIVEN)
    assert not numbers.keys() & (MEASURED_ON_GIVEN - {"coverage_on_noisy_labels"} if has_truth else MEASURED_ON_TRUTH)
    assert (numbers["accuracy_robust"] is not None) == has_truth
    assert numbers["rejected"] == len(ran.door.rejected)
    assert numbers["coverage_promised"] == 0.9
    low, high = numbers["noise_rate_interval"]
    assert 0 <= low <= numbers["noise_rate_estimated"] <= high <= 1
    assert 1 <= numbers["set_size_mean"] <= numbers["classes"]


def test_no_cell_is_a_formula_and_no_name_is_markup(ran: Ran) -> None:
    for name in COLUMNS:
        with (ran.out / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    page = (ran.out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "light <b>" not in page


def test_predict_gives_what_the_run_gave(ran: Ran, tmp_path: Path) -> None:
    done("predict", ran.out / "model", ran.door.source, "--out", tmp_path / "new.csv")
    new, old = table(tmp_path / "new.csv"), table(ran.out / "predictions.csv")
    assert new["index"].tolist() == old["index"].tolist()
    assert new["predicted"].tolist() == old["predicted"].tolist()
    assert new["prediction_set"].tolist() == old["prediction_set"].tolist()
    bars = [cell.replace("\\|", "").count("|") for cell in new["prediction_set"]]
    assert max(bars) < len(Model.load(ran.out / "model").classes)
    # In a CSV with labels, a row is not rejected for its label where labels are not needed.
    assert set(table(tmp_path / "new.rejected.csv")["index"]) == set(table(ran.out / "rejected.csv")["index"])

    model = Model.load(ran.out / "model")
    examples = open_data(ran.door.source, schema=model.schema, require_labels=False)
    probs = model.predict_proba(examples.inputs)
    written = new[[f"p({name})" for name in model.classes]].astype(float).to_numpy()
    assert np.array_equal(written, np.round(probs, 6))
    assert old["probability"].tolist() == [str(round(float(each), 6)) for each in probs.max(axis=1)]
    assert plain(new["predicted"]) == [model.classes[best] for best in probs.argmax(axis=1)]


def test_blocks_of_any_size_give_the_same_file(ran: Ran, tmp_path: Path) -> None:
    for rows in (1, 7, 4096):
        done("predict", ran.out / "model", ran.door.source, "--out", tmp_path / f"{rows}.csv", "--rows-at-once", rows)
    assert len({(tmp_path / f"{rows}.csv").read_bytes() for rows in (1, 7, 4096)}) == 1
    assert len({(tmp_path / f"{rows}.rejected.csv").read_bytes() for rows in (1, 7, 4096)}) == 1


# Steps -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return array_door(tmp_path_factory.mktemp("points"))


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("run", ("--skip", "audit"), LEARNT | ALWAYS),
        ("run", ("--skip", "learn"), AUDITED | ALWAYS),
        ("run", ("--skip", "trust"), AUDITED | LEARNT | ALWAYS),
        ("run", ("--skip", "report"), (AUDITED | LEARNT | ALWAYS) - {"report.html"}),
        ("train", (), LEARNT | ALWAYS),
        ("audit", (), AUDITED | ALWAYS),
    ],
)
def test_steps_left_out(
    command: str, options: tuple[str, ...], expected: set[str], points: Door, tmp_path: Path
) -> None:
    quick = QUICK if command != "train" else ("--epochs", "1", "--recipe", "label-smoothing")
    said = done(command, points.source, *points.options, *options, *quick, "--out", tmp_path / "out")
    assert result_files(tmp_path / "out") == expected
    assert ("report.html" in said) == ("report.html" in expected)
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert numbers.keys() >= ALWAYS_MEASURED
    assert (numbers["noise_rate_estimated"] is None) == ("suspects.csv" not in expected)
    assert (numbers["accuracy_robust"] is None) == ("predictions.csv" not in expected)


@pytest.mark.parametrize("recipe", recipes("classification"))
def test_every_recipe_trains_and_its_model_predicts_the_same(recipe: str, points: Door, tmp_path: Path) -> None:
    done("train", points.source, "--epochs", 2, "--recipe", recipe, "--out", tmp_path / "out")
    done("predict", tmp_path / "out" / "model", points.source, "--out", tmp_path / "new.csv")
    new, old = table(tmp_path / "new.csv"), table(tmp_path / "out" / "predictions.csv")
    assert new[["index", "predicted"]].equals(old[["index", "predicted"]])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["recipe"] == recipe


def test_audit_as_json(points: Door, tmp_path: Path) -> None:
    said = done("audit", points.source, *points.options, *QUICK, "--out", tmp_path / "out", "--json")
    assert json.loads(said) == json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_model_without_trust_has_no_sets(points: Door, tmp_path: Path) -> None:
    done("train", points.source, "--epochs", 1, "--recipe", "label-smoothing", "--out", tmp_path / "out")
    np.savez(tmp_path / "new.npz", X=np.zeros((3, 4), np.float32))
    done("predict", tmp_path / "out" / "model", tmp_path / "new.npz", "--out", tmp_path / "p.csv")
    assert table(tmp_path / "p.csv")["prediction_set"].tolist() == ["", "", ""]
    ended = labelwise("predict", tmp_path / "out" / "model", tmp_path / "new.npz", "--alpha", 0.2)
    assert "no prediction sets" in ended.sentence


def test_a_larger_file_in_blocks_of_any_size(tmp_path: Path) -> None:
    """More rows than the network sees at a time: batches must not follow the blocks."""
    rng = np.random.default_rng(0)
    labels = np.arange(1300) % 5
    inputs = (rng.normal(size=(5, 40))[labels] + rng.normal(size=(1300, 40))).astype(np.float32)
    np.savez(tmp_path / "d.npz", X=inputs, y=labels)
    done("train", tmp_path / "d.npz", "--epochs", 1, "--recipe", "label-smoothing", "--out", tmp_path / "out")
    inputs[::7] = np.nan
    np.savez(tmp_path / "new.npz", X=inputs)
    model = Model.load(tmp_path / "out" / "model")
    for rows in (1, 100, 511, 513, 5000):
        model.predict_to_csv(str(tmp_path / "new.npz"), tmp_path / f"{rows}.csv", block_rows=rows)
    contents = {(tmp_path / f"{rows}.csv").read_bytes() for rows in (1, 100, 511, 513, 5000)}
    assert len(contents) == 1
    assert len(table(tmp_path / "1.csv")) + len(table(tmp_path / "1.rejected.csv")) == 1300


def test_predicting_again_clears_what_a_kill_left(points: Door, tmp_path: Path) -> None:
    done("train", points.source, "--epochs", 1, "--recipe", "label-smoothing", "--out", tmp_path / "out")
    for name in (".new.csv.0123456789ab.tmp", ".new.rejected.csv.0123456789ab.tmp", ".mine.tmp"):
        (tmp_path / name).write_text("half")
    done("predict", tmp_path / "out" / "model", points.source, "--out", tmp_path / "new.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "new.csv", "new.rejected.csv", ".mine.tmp"}


# Classes and truth that are hard to have ---------------------------------------------------------------------------


@pytest.mark.parametrize("lonely", ["0 first", "m middle", "z last"])
def test_a_class_that_is_never_trained_on_keeps_its_place(lonely: str, tmp_path: Path) -> None:
    """With one row, or with none outside the test rows, a class may miss in training; the others must not move."""
    rng = np.random.default_rng(0)
    labels = ["b", "y"] * 40 + [lonely]
    x = [-5 + rng.normal() if label == "b" else 5 + rng.normal() for label in labels]
    split = ["test" if row % 8 < 2 or row == 80 else "train" for row in range(81)]
    pd.DataFrame({"x": x, "label": labels, "split": split}).to_csv(tmp_path / "d.csv", index=False)
    done(
        "run", tmp_path / "d.csv", "--out", tmp_path / "out", "--epochs", 30, "--folds", 2, "--recipe", "cross-entropy"
    )
    found = table(tmp_path / "out" / "predictions.csv")
    assert found["predicted"][:80].tolist() == labels[:80]
    assert table(tmp_path / "out" / "suspects.csv").empty


@pytest.mark.parametrize(
    ("truth", "has_accuracy", "noise_rate"),
    [
        (lambda row: "", False, None),
        (lambda row: "elsewhere", False, None),
        (lambda row: "ab"[row % 2], True, 0.0),
        (lambda row: "ba"[row % 2], True, 1.0),
        (lambda row: "ab"[row % 2] if row < 60 else "", False, 0.0),
    ],
    ids=["unknown", "not a class", "all right", "all wrong", "not of test rows"],
)
def test_truth_that_says_little(
    truth: Callable[[int], str], has_accuracy: bool, noise_rate: float | None, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = range(80)
    frame = {
        "x": [row % 2 + rng.normal() for row in rows],
        "label": ["ab"[row % 2] for row in rows],
        "truth": [truth(row) for row in rows],
        "split": ["test" if row >= 60 else "train" for row in rows],
    }
    pd.DataFrame(frame).to_csv(tmp_path / "d.csv", index=False)
    done("run", tmp_path / "d.csv", "--truth", "truth", "--out", tmp_path / "out", *QUICK)
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (numbers["accuracy_robust"] is not None) == has_accuracy
    assert ("accuracy_robust_on_noisy_labels" in numbers) != has_accuracy
    assert numbers["noise_rate_true"] == noise_rate
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("true labels are not among the classes" in page) == (truth(0) == "elsewhere")


# Probabilities of one's own ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("own")
    truth = np.arange(300) % 4
    probs = rng.dirichlet(np.ones(4), 300) + 3 * np.eye(4)[truth]
    probs /= probs.sum(axis=1, keepdims=True)
    labels = np.where(rng.random(300) < 0.15, (truth + 1) % 4, truth)
    labels[5] = -1
    np.save(folder / "p.npy", probs)
    np.save(folder / "y.npy", labels)
    pq.write_table(pa.table({"pred_probs": probs.tolist(), "label": labels}), folder / "both.parquet")
    columns = {f"class {k}": probs[:, k] for k in range(4)}
    pq.write_table(pa.table({"id": np.arange(300), **columns, "mine": labels}), folder / "columns.parquet")
    return folder, labels, probs


def test_audit_of_probabilities_needs_no_torch(own: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, labels, probs = own
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'timm', 'lightning_fabric']))\n"
        "from labelwise.cli import main\n"
        f"for name in {FILTERS!r}:\n"
        f"    sys.argv = ['labelwise', 'audit', '--pred-probs', 'p.npy', '--labels', 'y.npy', '--json',"
        " '--filter', name, '--out', name]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count('"found"') == len(FILTERS)
    for name in FILTERS:
        found = table(folder / name / "suspects.csv")
        issues = find_label_issues(labels, probs, filter_by=name)
        assert sorted(found["index"].astype(int)) == np.flatnonzero(issues).tolist()
        assert found["given"].astype(int).tolist() == labels[found["index"].astype(int)].tolist()
        summary = json.loads((folder / name / "metrics.json").read_text())
        assert (summary["suspects"], summary["unlabelled"], summary["filter"]) == (len(found), 1, name)


@pytest.mark.parametrize(
    "arguments", [("both.parquet",), ("columns.parquet", "--label", "mine"), ("columns.parquet", "--labels", "y.npy")]
)
def test_probabilities_in_parquet(
    arguments: tuple[str, ...], own: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own[0])
    expected = done("audit", "--pred-probs", "p.npy", "--labels", "y.npy")
    assert "suspect" in expected
    assert done("audit", "--pred-probs", *arguments) == expected


# The other commands ------------------------------------------------------------------------------------------------


def test_methods() -> None:
    rows = json.loads(done("methods", "--json"))
    assert {"elr", "cross-entropy"} <= {recipe for row in rows for recipe in row["recipe"]}
    assert all(row["title"] and row["task"] for row in rows)
    assert "Methods" in done("methods")


def test_named_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABELWISE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "tabular").mkdir()
    (tmp_path / "tabular" / "abalone.csv").write_text("sex\n")
    rows = {row["name"]: row for row in json.loads(done("data", "list", "--data-dir", tmp_path, "--json"))}
    assert rows["abalone"]["where"] == str(tmp_path / "tabular")
    assert rows["camvid"]["where"] == "not here"
    assert rows["digits"]["where"] == "inside scikit-learn"
    assert done("data", "path", "abalone", "--data-dir", tmp_path).strip() == str(tmp_path / "tabular")
    assert done("data", "fetch", "abalone", "--data-dir", tmp_path).strip() == str(tmp_path / "tabular")
    listed = done("data", "list")
    assert "Named data sets" in listed
    assert ":LIMIT)" in listed


def test_reproduce_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABELWISE_DATA", raising=False)
    said = done("reproduce", "label-errors", "--quick", "--seeds", 1, "--json", tmp_path / "r.json")
    assert "claim holds" in said or "claim does not hold" in said
    assert json.loads((tmp_path / "r.json").read_text())["slug"] == "label-errors"


def test_version_and_help() -> None:
    assert done("--version").strip() == __version__
    for command in ("run", "train", "audit", "predict", "methods", "reproduce", "data", "data list", "data fetch"):
        assert f"labelwise {command}" in done(*command.split(), "--help")


@pytest.mark.parametrize("program", ["from labelwise.cli import main; main()", "import labelwise"])
def test_start_is_light(program: str) -> None:
    heavy = "sys.exit(bool({'torch', 'timm', 'sklearn', 'pandas', 'numba', 'matplotlib'} & set(sys.modules)))"
    probe = f"import sys; sys.argv = ['labelwise', '--help']\ntry: exec({program!r})\nexcept SystemExit: pass\n{heavy}"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0
    assert min(seconds_of([sys.executable, "-c", program, "--help"]) for _ in range(3)) < 0.5


def seconds_of(command: list[str]) -> float:
    """Processor seconds of a command: on an idle machine what one waits for it, and the same on a busy one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, "data", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert b"Traceback" not in err
    assert b"Exception" not in err


@pytest.mark.slow
def test_two_processes_train_a_model(points: Door, tmp_path: Path) -> None:
    options = ["--epochs", "2", "--recipe", "label-smoothing", "--devices", "2", "--out", str(tmp_path / "out")]
    command = [*COMMAND, "train", str(points.source), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert result_files(tmp_path / "out") == LEARNT | ALWAYS
    done("predict", tmp_path / "out" / "model", points.source, "--out", tmp_path / "new.csv")
    new, old = table(tmp_path / "new.csv"), table(tmp_path / "out" / "predictions.csv")
    assert new["predicted"].tolist() == old["predicted"].tolist()
