"""Bad input at the command line: one sentence on stderr and a status that is not 0, or a row in rejected.csv."""

import csv
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bad_input import CASES, Bad, folder_of, npy, npz_of, png, raw
from command import done, flags, labelwise
from labelwise.training.checkpoint import load_checkpoint, save_checkpoint

# In Python one may name the classes or do without labels; the command has no such options.
PYTHON_ONLY = {"classes", "require_labels"}
SOURCES = {name: case for name, case in CASES.items() if not PYTHON_ONLY & set(case.options)}
REFUSED = [name for name, case in SOURCES.items() if not case.rejected]
REJECTED = [name for name, case in SOURCES.items() if case.rejected]
CHECK_ONLY = [word for step in ("audit", "learn", "trust", "report") for word in ("--skip", step)]


def read_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_source_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    case = SOURCES[name]
    ended = labelwise("run", case.build(tmp_path), "--out", tmp_path / "out", *flags(case.options))
    assert ended.status == 1
    assert not [word for word in case.words if word not in ended.sentence], ended.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", REJECTED)
def test_a_bad_row_is_listed_in_rejected_csv(name: str, tmp_path: Path) -> None:
    case = SOURCES[name]
    source, rows = enlarged(case, case.build(tmp_path))
    done("run", source, "--out", tmp_path / "out", *CHECK_ONLY, *flags(case.options))
    rejected = read_csv(tmp_path / "out" / "rejected.csv")
    assert {int(row["index"]) for row in rejected} == case.rejected.keys()
    assert not [row for row in rejected if case.rejected[int(row["index"])] not in row["reason"]], rejected
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (numbers["rows"], numbers["rejected"]) == (rows - len(rejected), len(rejected))


def enlarged(case: Bad, source: Path) -> tuple[Path, int]:
    """The source with good rows after its own, enough to divide them; and how many rows it has."""
    if source.is_dir():
        for place in range(20):
            for name in "bc":
                (source / name).mkdir(exist_ok=True)
                (source / name / f"zzz{place:02}.png").write_bytes(png(colour=(place, 99, ord(name))))
        return source, sum(not path.is_dir() or path.is_symlink() for path in source.rglob("*"))
    if source.suffix == ".csv":
        header, *lines = source.read_text(encoding="utf-8").splitlines()
        more = [lines[row] for row in kept(case, len(lines))]
        source.write_text("\n".join([header, *lines, *more]) + "\n", encoding="utf-8")
        return source, len(lines) + len(more)
    if source.suffix == ".parquet":
        table = pq.read_table(source)
        pq.write_table(pa.concat_tables([table, table.take(kept(case, len(table)))]), source)
        return source, len(table) + len(kept(case, len(table)))
    with np.load(source) as arrays:
        chosen = {name: np.concatenate([array, array[kept(case, len(array))]]) for name, array in arrays.items()}
    np.savez(source, **chosen)
    return source, len(chosen["y"])


def kept(case: Bad, rows: int) -> list[int]:
    """Good rows over and over."""
    good = [row for row in range(rows) if row not in case.rejected]
    return good * -(-60 // len(good))


# Options ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 points of two classes that are easy to tell apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    folder = tmp_path_factory.mktemp("points")
    return npz_of(X=(rng.normal(size=(60, 3)) + 4 * labels[:, None]).astype(np.float32), y=labels)(folder)


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "alpha 0": (["--alpha", "0"], ("alpha is 0",)),
    "alpha 1": (["--alpha", "1"], ("alpha is 1",)),
    "alpha NaN": (["--alpha", "nan"], ("alpha is nan",)),
    "no epochs": (["--epochs", "0"], ("epochs is 0", "at least 1")),
    "one fold": (["--folds", "1"], ("folds is 1", "at least 2")),
    "no rows": (["--limit", "0"], ("limit is 0",)),
    "too few rows": (["--limit", "20"], ("20 labelled rows are too few", "34")),
    "no processes": (["--devices", "0"], ("devices is 0",)),
    "size 0": (["--image-size", "0"], ("image size is 0",)),
    "negative seed": (["--seed", "-1"], ("seed is -1",)),
    "huge seed": (["--seed", str(2**32)], ("seed is 4294967296",)),
    "unknown step": (["--skip", "check"], ("'check'", "audit, learn")),
    "unknown filter": (["--filter", "best"], ("filter 'best'", "prune_by_class")),
    "unknown recipe": (["--recipe", "magic"], ("recipe 'magic'", "elr")),
    "unknown network": (["--network", "resnet9000"], ("'resnet9000'", "mlp")),
    "bad widths": (["--network", "mlp-wide"], ("'mlp-wide'", "mlp-256-256")),
    "network for pictures": (["--network", "cnn"], ("needs pictures", "mlp")),
    "weights for numbers": (["--weights", "absent.pth"], ("weights", "arrays")),
    "unknown accelerator": (["--accelerator", "gpu9"], ("accelerator 'gpu9'", "cpu")),
    "unknown precision": (["--precision", "8"], ("precision '8'", "32-true")),
    "alpha is a word": (["--alpha", "much"], ("--alpha", "number")),
    "no such option": (["--bogus"], ("--bogus",)),
    "option without value": (["--alpha"], ("--alpha", "argument")),
    "one word too many": (["more"], ("more",)),
    "text in arrays": (["--text", "body"], ("X only", "leave out --text")),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options_are_refused_before_anything_is_learnt(name: str, points: Path, tmp_path: Path) -> None:
    options, words = OPTIONS[name]
    ended = labelwise("run", points, "--out", tmp_path / "out", *options)
    assert not [word for word in words if word not in ended.sentence], ended.sentence
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_an_accelerator_that_is_not_there(points: Path, tmp_path: Path) -> None:
    import torch

    absent = "cuda" if not torch.cuda.is_available() else "mps"
    assert "'auto' takes what there is" in labelwise("train", points, "--accelerator", absent).sentence


COMMANDS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown command": (["rum"], ("'rum'", "'run'")),
    "unknown source": (["run", "nowhere"], ("nowhere does not exist",)),
    "label of a named set": (["run", "cifar10n:../../etc"], ("no label '../../etc'",)),
    "rows of a named set": (["run", "digits:many"], ("digits:many",)),
    "task of a named set": (["run", "cora", "--task", "regression"], ("for nodes", "leave out --task")),
    "unknown task": (["run", "digits", "--task", "magic"], ("task 'magic'", "bags")),
    "label of digits": (["run", "digits", "--label", "y"], ("named set digits", "leave out --label")),
    "split of a folder": (["run", "/usr", "--split", "part"], ("folder", "leave out --split")),
    "data and probabilities": (["audit", "d.csv", "--pred-probs", "p.npy"], ("leave out d.csv",)),
    "unknown set": (["data", "path", "../../etc"], ("named data set", "digits")),
    "set without folder": (["data", "path", "digits"], ("scikit-learn",)),
    "fetch unknown set": (["data", "fetch", "moon"], ("'moon'",)),
    "unknown claim": (["reproduce", "magic"], ("'magic'", "elr")),
    "no seeds": (["reproduce", "label-errors", "--seeds", "0"], ("seeds is 0",)),
    "claim without data": (["reproduce", "label-errors", "--data-dir", "nowhere"], ("nowhere",)),
    "no model": (["predict"], ("model",)),
    "model is nowhere": (["predict", "nowhere", "d.csv"], ("nowhere", "manifest.json")),
    "truth beside probabilities": (["audit", "--pred-probs", "p.npy", "--truth", "t"], ("--truth", "leave it out")),
    "labels without probabilities": (["audit", "--labels", "y.npy"], ("--pred-probs",)),
    "escapes in a name": (["run", "a\x1b[31m\nb.csv"], ("\\x1b[31m",)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_cannot_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABELWISE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments, words = COMMANDS[name]
    sentence = labelwise(*arguments).sentence
    assert not [word for word in words if word not in sentence], sentence
    assert not [char for char in sentence if not char.isprintable()]
    assert not list(tmp_path.iterdir())


# Rows that are good one by one, but too few of a kind --------------------------------------------------------------


def classes_of(*labels: str) -> Callable[[Path], Path]:
    return raw(("x,label\n" + "".join(f"{row % 7},{label}\n" for row, label in enumerate(labels))).encode(), "d.csv")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b"] * 16, ("32 labelled rows are too few",)),
        (["a"] * 99 + ["b"], ("nearly all", "only 1 are of 'b'")),
        (["a", "b"] * 2 + [""] * 99, ("4 labelled rows are too few",)),
    ],
)
def test_too_few_rows_to_learn_from(labels: list[str], words: tuple[str, ...], tmp_path: Path) -> None:
    sentence = labelwise("run", classes_of(*labels)(tmp_path), "--out", tmp_path / "out").sentence
    assert not [word for word in words if word not in sentence], sentence


# Probabilities and labels in files ---------------------------------------------------------------------------------

PROBS = np.random.default_rng(0).dirichlet(np.ones(3), 50)
GIVEN = PROBS.argmax(axis=1)


def changed(array: Any, place: Any, value: Any) -> Any:
    copy = np.array(array, dtype=np.result_type(array, np.asarray(value)))
    copy[place] = value
    return copy


class BadAudit(NamedTuple):
    """Content of the two files and the words of the sentence."""

    probs: Any
    labels: Any
    words: tuple[str, ...]
    suffix: str = ".npy"


AUDITS = {
    "NaN": BadAudit(changed(PROBS, (3, 1), np.nan), GIVEN, ("row 3, column 1 is nan",)),
    "infinite": BadAudit(changed(PROBS, (3, 1), np.inf), GIVEN, ("row 3, column 1 is inf",)),
    "negative": BadAudit(changed(PROBS, (3, 1), -0.5), GIVEN, ("row 3, column 1 is -0.5", "softmax")),
    "rows do not sum to 1": BadAudit(PROBS * 1.001, GIVEN, ("row 0 sums to 1.001",)),
    "different lengths": BadAudit(PROBS, GIVEN[:-1], ("50 rows", "49")),
    "label above": BadAudit(PROBS, changed(GIVEN, 7, 3), ("row 7 is 3", "0 to 2")),
    "label below": BadAudit(PROBS, changed(GIVEN, 7, -2), ("row 7 is -2",)),
    "label NaN": BadAudit(PROBS, changed(GIVEN, 7, np.nan), ("row 7 is nan",)),
    "label fractional": BadAudit(PROBS, GIVEN + 0.5, ("not a whole class number",)),
    "labels of text": BadAudit(PROBS, GIVEN.astype(str), ("not a class number",)),
    "labels as a mask": BadAudit(PROBS, GIVEN > 0, ("boolean",)),
    "labels in two columns": BadAudit(PROBS, np.stack([GIVEN, GIVEN], 1), ("(50, 2)",)),
    "no label": BadAudit(PROBS, np.full(50, -1), ("labels no row",)),
    "no row": BadAudit(PROBS[:0], GIVEN[:0], ("(0, 3)",)),
    "one axis": BadAudit(PROBS[:, 0], GIVEN, ("(50,)",)),
    "complex": BadAudit(PROBS + 0j, GIVEN, ("complex128",)),
    "columns first": BadAudit(np.asfortranarray(PROBS), GIVEN, ("ascontiguousarray",)),
    "pickled probabilities": BadAudit(np.array([{}] * 50, object), GIVEN, ("without pickled objects",)),
    "pickled labels": BadAudit(PROBS, np.array([{}] * 50, object), ("without pickled objects",)),
    "empty file": BadAudit(b"", GIVEN, ("not a readable .npy",)),
    "not an array": BadAudit(b"hello" * 9, GIVEN, ("not a readable .npy",)),
    "truncated": BadAudit(npy(PROBS)[:-9], GIVEN, ("not a readable .npy",)),
    "labels truncated": BadAudit(PROBS, npy(GIVEN)[:-9], ("not a readable .npy",)),
    "unknown type": BadAudit(PROBS, GIVEN, ("neither .npy nor .parquet",), ".txt"),
    "broken parquet": BadAudit(b"PAR1 nothing PAR1", GIVEN, ("not a readable Parquet",), ".parquet"),
    "parquet of words": BadAudit({"pred_probs": ["a"] * 50}, GIVEN, ("object",), ".parquet"),
    "parquet without numbers": BadAudit({"words": ["a"] * 50}, GIVEN, ("no column 'pred_probs'",), ".parquet"),
    "ragged parquet": BadAudit({"pred_probs": [[0.5, 0.5], [1.0]]}, np.arange(2), ("row 1 has 1",), ".parquet"),
    "null in parquet": BadAudit({"pred_probs": [[0.5, 0.5], None]}, np.arange(2), ("row 1 has no",), ".parquet"),
}


def write_content(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        path.write_bytes(npy(content, allow_pickle=True))
    return path


@pytest.mark.parametrize("name", AUDITS)
def test_bad_probabilities_and_labels(name: str, tmp_path: Path) -> None:
    case = AUDITS[name]
    probs = write_content(tmp_path / f"p{case.suffix}", case.probs)
    labels = write_content(tmp_path / "y.npy", case.labels)
    ended = labelwise("audit", "--pred-probs", probs, "--labels", labels, "--out", tmp_path / "out")
    assert not [word for word in case.words if word not in ended.sentence], ended.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--filter", "best"], ("'best'", "prune_by_class")),
        (["--labels", "absent.npy"], ("absent.npy does not exist",)),
        (["--out", "y.npy"], ("y.npy",)),
        (["--out", "y.npy/below"], ("y.npy/below",)),
    ],
)
def test_bad_options_of_an_audit(
    arguments: list[str], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_content(Path("p.npy"), PROBS)
    write_content(Path("y.npy"), GIVEN)
    ended = labelwise("audit", "--pred-probs", "p.npy", "--labels", "y.npy", *arguments)
    assert not [word for word in words if word not in ended.sentence], ended.sentence


# Saved models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(points: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    done("run", points, "--out", out, "--epochs", 1, "--recipe", "label-smoothing", "--skip", "audit")
    return out / "model"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "model"))


def tensors_of(model: Path) -> Path:
    (file,) = model.glob("*.safetensors")
    return file


def edited(**changes: Any) -> Callable[[Path], object]:
    """Change the manifest as an editor would."""

    def edit(model: Path) -> None:
        path = model / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def forged(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change tensors or manifest and make all checksums right again."""

    def forge(model: Path) -> None:
        tensors, manifest = load_checkpoint(model)
        change(tensors, manifest)
        save_checkpoint(model, tensors, manifest)

    return forge


TAMPERED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a bit flipped": (
        lambda m: tensors_of(m).write_bytes(tensors_of(m).read_bytes()[:-1] + b"\x7f"),
        ("sha256 differs",),
    ),
    "tensors cut short": (lambda m: tensors_of(m).write_bytes(tensors_of(m).read_bytes()[:99]), ("sha256 differs",)),
    "tensors missing": (lambda m: tensors_of(m).unlink(), ("not readable",)),
    "manifest missing": (lambda m: (m / "manifest.json").unlink(), ("manifest.json",)),
    "manifest cut short": (
        lambda m: (m / "manifest.json").write_bytes((m / "manifest.json").read_bytes()[:-99]),
        ("not a readable JSON",),
    ),
    "manifest of bytes": (lambda m: (m / "manifest.json").write_bytes(b"\xff\xfe\0"), ("not a readable JSON",)),
    "manifest is a list": (lambda m: (m / "manifest.json").write_text("[1]"), ("not a manifest",)),
    "temperature changed": (edited(temperature=0.01), ("changed or damaged",)),
    "classes changed": (edited(classes=["no", "yes"]), ("changed or damaged",)),
    "tensor file elsewhere": (edited(tensors="../../x.safetensors"), ("not a plain file name",)),
    "another kind": (forged(lambda t, m: m.update(kind="x")), ("not the model folder of a run",)),
    "no network": (forged(lambda t, m: m.pop("network")), ("does not describe this model",)),
    "inputs are a list": (forged(lambda t, m: m.update(inputs=[])), ("does not describe this model",)),
    "inputs from the hub": (
        forged(lambda t, m: m.update(inputs={"kind": "backbone", "name": "hf-hub:someone/something"})),
        ("no timm model",),
    ),
    "temperature is a word": (forged(lambda t, m: m.update(temperature="hot")), ("does not describe this model",)),
    "sets damaged": (forged(lambda t, m: m["conformal"].update(ranks=[3, 1])), ("damaged",)),
    "a class too many": (forged(lambda t, m: m["classes"].append("maybe")), ("2 outputs", "'maybe'")),
    "classes are numbers": (forged(lambda t, m: m.update(classes=[0, 1])), ("2 outputs",)),
    "a tensor missing": (forged(lambda t, m: t.pop(sorted(t)[-1])), ("does not describe this model",)),
    "tensors are none": (
        forged(lambda t, m: [t.update({name: value * float("nan")}) for name, value in t.items()]),
        ("nan",),
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_model_that_was_tampered_with(name: str, model: Path, points: Path, tmp_path: Path) -> None:
    tamper, words = TAMPERED[name]
    tamper(model)
    ended = labelwise("predict", model, points, "--out", tmp_path / "new.csv")
    assert not [word for word in words if word not in ended.sentence], ended.sentence
    assert not [path for path in tmp_path.iterdir() if path != model]


PREDICTIONS: dict[str, tuple[Callable[[Path], Path], list[str], tuple[str, ...]]] = {
    "other columns": (npz_of(X=np.zeros((3, 4))), [], ("shape [4]", "[3]")),
    "another kind": (npz_of(X=np.array(["a", "b"])), [], ("texts", "arrays")),
    "a table": (raw(b"x,y\n1,2\n", "d.csv"), [], ("arrays",)),
    "pictures": (folder_of(), [], ("folder", "arrays")),
    "alpha 2": (npz_of(X=np.zeros((3, 3))), ["--alpha", "2"], ("alpha is 2",)),
    "no rows at once": (npz_of(X=np.zeros((3, 3))), ["--rows-at-once", "0"], ("is 0",)),
    "out is nowhere": (npz_of(X=np.zeros((3, 3))), ["--out", "no/where.csv"], ("no/where.csv", "create it first")),
    "out is a folder": (npz_of(X=np.zeros((3, 3))), ["--out", "model"], ("model", "it is a folder")),
    "out is the source": (npz_of(X=np.zeros((3, 3))), ["--out", "d.npz"], ("overwrite", "d.npz")),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_data_that_do_not_fit_a_model(name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build, options, words = PREDICTIONS[name]
    source = build(tmp_path)
    before = source.read_bytes() if source.is_file() else b""
    ended = labelwise("predict", model, source, *options)
    assert not [word for word in words if word not in ended.sentence], ended.sentence
    assert {path.name for path in tmp_path.iterdir()} <= {"model", source.name, "outside.png"}
    assert before == (source.read_bytes() if source.is_file() else b"")


# Where results may go, and disks that are full ---------------------------------------------------------------------


def test_results_among_the_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = folder_of()(tmp_path)
    monkeypatch.chdir(pictures)
    for out in (["--out", pictures], ["--out", pictures / "a" / "new"], []):
        assert "among the data" in labelwise("run", ".", *out).sentence
    assert sorted(path.name for path in pictures.rglob("*")) == ["0.png", "0.png", "1.png", "1.png", "a", "b"]


@pytest.mark.parametrize("name", ["labels.csv", "predictions.csv", "suspects.csv"])
def test_results_never_overwrite_the_source(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_text("x,label\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(60)))
    before = source.read_bytes()
    assert "overwrite" in labelwise("run", source, "--out", tmp_path).sentence
    assert source.read_bytes() == before


@pytest.mark.parametrize("place", ["below a file", "a file", "forbidden"])
def test_a_folder_that_cannot_be_written(
    place: str, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    out = {"below a file": tmp_path / "file" / "out", "a file": tmp_path / "file", "forbidden": tmp_path / "out"}[place]
    if place == "forbidden":
        # Root may write everywhere, so the system's answer is played.
        monkeypatch.setattr(os, "mkdir", raising(PermissionError(errno.EACCES, "Permission denied", str(out))))
    assert str(out) in labelwise("train", points, "--out", out, "--epochs", 1).sentence
    assert (tmp_path / "file").read_text() == "mine"


def raising(error: OSError) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("number", [0, 1, 5, 12])
def test_a_disk_that_fills_up(number: int, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write of one file fails; freed of its want of space the run goes on from there."""
    real, left = os.fsync, [number]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    command = ["train", points, "--out", tmp_path / "out", "--epochs", 1, "--recipe", "label-smoothing"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert "no space is left" in labelwise(*command).sentence
    assert not list((tmp_path / "out").rglob("*.tmp"))
    done(*command, "--resume")
    assert not (tmp_path / "out" / ".work").exists()


# Resuming ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The command of a run that stopped at its very end."""
    from labelwise.job import run

    command = ["train", shutil.copy(points, tmp_path), "--out", tmp_path / "out", "--epochs", 1]
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_report", raising(OSError(errno.EIO, "Input/output error")))
        assert labelwise(*command).status == 1
    return command


@pytest.mark.parametrize("changes", [["--seed", 1], ["--epochs", 2], ["--recipe", "mixup"], ["--limit", 50]])
def test_resuming_with_other_options(changes: list[Any], stopped: list[Any]) -> None:
    assert "other options or data" in labelwise(*stopped, *changes, "--resume").sentence
    done(*stopped, "--resume")


def test_resuming_with_other_data(stopped: list[Any]) -> None:
    with np.load(stopped[1]) as arrays:
        np.savez(stopped[1], X=arrays["X"], y=1 - arrays["y"])
    assert "other options or data" in labelwise(*stopped, "--resume").sentence


def test_resuming_from_damaged_work(stopped: list[Any]) -> None:
    (stopped[3] / ".work" / "cross-entropy" / "manifest.json").write_text("{}")
    assert "cross-entropy" in labelwise(*stopped, "--resume").sentence


# The real thing ----------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-c", "from labelwise.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--bogus"], 2),
        (["audit", "--pred-probs", "bad.npy"], 1),
        (["data", "path", "moon"], 1),
        pytest.param(["run", "bad.npz"], 1, marks=pytest.mark.slow),
    ],
)
def test_a_process_of_its_own(arguments: list[str], status: int, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(npy(np.array([{}], object), allow_pickle=True))
    np.savez(tmp_path / "bad.npz", X=np.zeros((9, 2)), y=np.zeros(9))
    ended = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("labelwise: ")


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    """The system itself refuses the bytes: nothing half written stays."""
    probs = write_content(tmp_path / "p.npy", np.repeat(PROBS, 200, axis=0))
    labels = write_content(tmp_path / "y.npy", np.repeat((GIVEN + 1) % 3, 200))
    command = ["audit", "--pred-probs", str(probs), "--labels", str(labels), "--filter", "predicted_neq_given"]
    done(*command)  # compiles what the process under the limit could not keep
    ended = subprocess.run(
        [*COMMAND, *command, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert ended.returncode == 1
    assert "suspects.csv: the file is larger than the disk allows" in ended.stderr
    assert not list((tmp_path / "out").iterdir())


def test_there_are_at_least_60_cases() -> None:
    assert len(REFUSED) + len(REJECTED) + len(OPTIONS) + len(COMMANDS) + len(AUDITS) + len(TAMPERED) >= 60
