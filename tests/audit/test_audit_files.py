"""The audits of masks, numbers and label-sets from files, by the command: what it writes, says and refuses."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command import done, labelwise
from labelwise import audit_multilabel, audit_regression, audit_segmentation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    probs = np.moveaxis(rng.dirichlet(np.full(4, 0.3), (5, 12, 9)), 3, 1).astype(np.float32)
    masks = probs.argmax(axis=1)
    masks[2, :4], masks[1, 0] = 1, 255
    predictions = 3 * rng.standard_normal(300)
    targets = predictions + 0.3 * rng.standard_normal(300)
    targets[[5, 9]], targets[7] = 40, np.nan
    label_sets = (rng.random((200, 5)) < 0.3).astype(int)
    present = np.clip(0.8 * label_sets + 0.1 + 0.05 * rng.standard_normal(label_sets.shape), 0, 1)
    present[3, 2], label_sets[4, 1] = 1 - present[3, 2], -1
    arrays = {"probs": probs, "masks": masks, "predictions": predictions, "targets": targets, "sets": label_sets}
    for name, array in (arrays | {"present": present, "spread": np.full(300, 2.0)}).items():
        np.save(out / f"{name}.npy", array)
    return out


def audited(folder: Path, task: str, predictions: str, labels: str, *more: object) -> tuple[list[dict], dict]:
    out = folder / f"out-{task}"
    files = ("--pred-probs", folder / f"{predictions}.npy", "--labels", folder / f"{labels}.npy", "--out", out)
    said = done("audit", "--task", task, *files, *more)
    summary = json.loads((out / "metrics.json").read_text())
    assert said.splitlines() == summary["found"]
    with (out / "suspects.csv").open(newline="") as file:
        return list(csv.DictReader(file)), summary


def test_masks(folder: Path) -> None:
    rows, summary = audited(folder, "segmentation", "probs", "masks")
    masks, probs = np.load(folder / "masks.npy"), np.load(folder / "probs.npy")
    found = audit_segmentation(masks, probs)
    assert [int(row["index"]) for row in rows] == found.ranked.tolist()
    suggestions = np.load(folder / "out-segmentation" / "suggestions.npy")
    assert suggestions.dtype == np.uint8
    np.testing.assert_array_equal(suggestions, [found.suggestion(image) for image in range(5)])
    assert summary["issue_pixels"] == (suggestions != 255).sum() > 0
    assert (summary["labelled_pixels"], summary["unlabelled_pixels"]) == (5 * 12 * 9 - 9, 9)


def test_numbers(folder: Path) -> None:
    rows, summary = audited(folder, "regression", "predictions", "targets", "--spread", folder / "spread.npy")
    assert {row["index"] for row in rows} == {"5", "9"}
    assert (summary["rows"], summary["unknown"], summary["suspects"]) == (300, 1, 2)
    low, high = summary["noise_rate_interval"]
    assert low <= 2 / 299 <= high
    found = audit_regression(np.load(folder / "targets.npy"), np.load(folder / "predictions.npy"), spread=2.0)
    assert summary["threshold"] == found.threshold
    named = ("--predictions", folder / "predictions.npy", "--labels", folder / "targets.npy")
    plain = json.loads(done("audit", "--task", "regression", *named, "--json"))
    assert plain["suspects"] == 2


def test_label_sets(folder: Path) -> None:
    rows, summary = audited(folder, "multilabel", "present", "sets")
    found = audit_multilabel(np.load(folder / "sets.npy"), np.load(folder / "present.npy"))
    assert [int(row["index"]) for row in rows] == found.issues.row.tolist()
    assert (summary["suspects"], summary["missing"] + summary["wrong"]) == (len(rows), len(rows))
    assert "3" in {row["index"] for row in rows}
    assert summary["unknown"] == 1


def test_no_torch(folder: Path) -> None:
    tasks = [
        ("segmentation", "probs", "masks"),
        ("regression", "predictions", "targets"),
        ("multilabel", "present", "sets"),
    ]
    program = (
        "import sys\n"
        "from labelwise.cli import main\n"
        f"for task, predictions, labels in {tasks!r}:\n"
        "    sys.argv = ['labelwise', 'audit', '--task', task, '--pred-probs', f'{predictions}.npy',"
        " '--labels', f'{labels}.npy']\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'torchvision', 'timm', 'lightning_fabric'} & set(sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("suspect") == 3


REFUSED = {
    "task": (["--task", "ranking"], ("'ranking'", "segmentation")),
    "filter of masks": (["--task", "segmentation", "--filter", "both"], ("--filter has no effect",)),
    "filter of numbers": (["--task", "regression", "--filter", "both"], ("--filter has no effect",)),
    "filter of label-sets": (["--task", "multilabel", "--filter", "both"], ("'both'", "confident_learning")),
    "spread of classes": (["--spread", "spread.npy"], ("--spread has no effect",)),
    "column": (["--task", "regression", "--label", "y"], ("--label names a column",)),
    "shapes": (["--task", "regression"], ("targets has shape (5, 12, 9)",)),
    "absent": (["--task", "segmentation", "--labels", "absent.npy"], ("absent.npy does not exist",)),
    "table": (["--task", "segmentation", "--labels", "masks.csv"], ("masks.csv is no .npy file",)),
    "bags": (["--bag", "b"], ("--bag has no effect",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, words = REFUSED[name]
    monkeypatch.chdir(folder)
    ended = labelwise("audit", "--pred-probs", "probs.npy", "--labels", "masks.npy", "--out", "refused", *options)
    assert not [word for word in words if word not in ended.sentence], ended.sentence
    assert not (folder / "refused").exists()


def test_refuses_masks_without_labels_and_spread_without_predictions(folder: Path) -> None:
    ended = labelwise("audit", "--task", "segmentation", "--pred-probs", folder / "probs.npy")
    assert "--labels" in ended.sentence
    assert "--predictions" in labelwise("audit", "digits", "--spread", "s.npy").sentence
