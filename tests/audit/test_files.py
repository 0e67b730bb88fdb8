"""The audit from files to files: what it says of the share of wrong labels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwise.audit import blocks, files
from labelwise.audit.files import audit_files
from labelwise.audit.noise_rate import estimate_noise

from .examples import draw_case


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows, so that small files have many."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 600)


def save(folder: Path, labels: np.ndarray, pred_probs: np.ndarray) -> tuple[Path, Path]:
    np.save(folder / "p.npy", pred_probs)
    np.save(folder / "y.npy", labels)
    return folder / "p.npy", folder / "y.npy"


def draw(num_rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) of 3 classes, ``share`` of them moved to the next class, and honest probabilities (n, 3)."""
    rng = np.random.default_rng(seed)
    pred_probs = rng.dirichlet(np.full(3, 0.1), num_rows)
    truth = (pred_probs.cumsum(axis=1) < rng.random((num_rows, 1))).sum(axis=1).clip(max=2)
    return np.where(rng.random(num_rows) < share, (truth + 1) % 3, truth), pred_probs


@pytest.mark.parametrize("num_classes", [3, 101])
def test_the_noise_rate_is_that_of_the_arrays(num_classes: int, tmp_path: Path) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(0), num_classes, 600, unlabelled=0.1)
    summary = audit_files(*save(tmp_path, labels, pred_probs), out=tmp_path / "out")
    expected = estimate_noise(labels, pred_probs)
    assert summary["noise_rate_estimated"] == pytest.approx(expected.rate)
    assert summary["noise_rate_interval"] == pytest.approx([expected.low, expected.high])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == summary
    (sentence,) = [each for each in summary["found"] if "look wrong" in each]
    assert f"{expected.rate:.0%} of the labels look wrong ({expected.low:.0%} to {expected.high:.0%})." in sentence
    assert all(note in sentence for note in expected.notes)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_sample_of_the_rows_says_as_much(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, pred_probs = draw(6_000, share, seed=1)
    labels[::7] = -1
    paths = save(tmp_path, labels, pred_probs)
    monkeypatch.setattr(files, "MOST_ROWS", 2_000)
    summary = audit_files(*paths)
    low, high = summary["noise_rate_interval"]
    assert low < share < high
    assert any("on 2,000 rows drawn at random" in sentence for sentence in summary["found"])
    assert audit_files(*paths) == summary


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
@pytest.mark.parametrize("chosen", [[0], [499], [24, 25, 26], list(range(0, 500, 3)), list(range(500))])
def test_rows_read_by_blocks_are_those_asked_for(suffix: str, chosen: list[int], tmp_path: Path) -> None:
    pred_probs = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    path = tmp_path / f"p.{suffix}"
    if suffix == "npy":
        np.save(path, pred_probs)
    else:
        pq.write_table(pa.table({"pred_probs": pred_probs.tolist()}), path)
    rows = np.array(chosen)
    assert np.array_equal(blocks.read_rows(blocks.open_pred_probs(path), rows), pred_probs[rows])


def test_one_known_label_is_enough(tmp_path: Path) -> None:
    labels = np.array([1, -1, -1])
    summary = audit_files(*save(tmp_path, labels, np.full((3, 2), 0.5)))
    low, high = summary["noise_rate_interval"]
    assert 0 <= low <= summary["noise_rate_estimated"] <= high <= 1


def test_it_loads_no_heavy_library(tmp_path: Path) -> None:
    paths = save(tmp_path, *draw(300, 0.1, seed=0))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from labelwise.audit.files import audit_files\n"
        "audit_files(*map(Path, sys.argv[1:]))\n"
        "print(*[name for name in ('torch', 'sklearn', 'pandas') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script, *paths], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == []
