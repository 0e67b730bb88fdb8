"""The audit of a file gives what the functions on arrays give, bit for bit, and refuses bad files by row."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwise.audit import blocks, confident_learning
from labelwise.audit.filters import FILTERS
from labelwise.audit.scores import SCORES
from labelwise.audit.streaming import audit_file
from labelwise.errors import InputError

from .examples import draw_case

Files = Callable[[np.ndarray, np.ndarray], tuple[Path, Path]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and ranges of few rows, so that small files have many."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 600)
    monkeypatch.setattr(blocks, "RANGE_ROWS", 64)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    def write(labels: np.ndarray, pred_probs: np.ndarray) -> tuple[Path, Path]:
        np.save(tmp_path / "pred_probs.npy", pred_probs)
        np.save(tmp_path / "labels.npy", labels)
        return tmp_path / "pred_probs.npy", tmp_path / "labels.npy"

    return write


@pytest.mark.parametrize("filter_by", FILTERS)
@pytest.mark.parametrize("seed", range(8))
def test_file_equals_arrays(files: Files, filter_by: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = [1, 2, 3, 4, 9, 64, 70, 130][seed]
    labels, pred_probs = draw_case(rng, num_classes, 200, ties=seed % 2 == 1, unlabelled=0.1)
    pred_probs = pred_probs.astype(rng.choice([np.float32, np.float64]))
    paths = files(labels, pred_probs)
    for minimum, fraction in ((1, 1.0), (0, 0.5), (5, 1.0)):
        found = audit_file(*paths, filter_by=filter_by, min_examples_per_class=minimum, frac_noise=fraction)
        expected = confident_learning.find_label_issues(labels, pred_probs, filter_by, fraction, minimum)
        np.testing.assert_array_equal(found.is_issue, expected)
    joint = confident_learning.confident_joint(labels, pred_probs, calibrate=False)
    np.testing.assert_array_equal(found.confident_joint, joint)
    thresholds = confident_learning.confident_thresholds(labels, pred_probs)
    assert found.thresholds.tobytes() == thresholds.tobytes()
    np.testing.assert_array_equal(found.joint, confident_learning.estimate_joint(labels, pred_probs))
    for i in np.flatnonzero(found.is_issue):
        others = pred_probs[i].copy()
        others[labels[i]] = -1
        assert found.suggested[i] == others.argmax()
        assert found.suggested_prob[i] == others.max()
    np.testing.assert_array_equal(found.suggested[~found.is_issue], labels[~found.is_issue])


@pytest.mark.parametrize("rank_by", SCORES)
def test_scores_and_ranks_equal_arrays(files: Files, rank_by: str) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(0), 6, 300, unlabelled=0.1)
    found = audit_file(*files(labels, pred_probs), rank_by=rank_by)
    np.testing.assert_array_equal(found.scores, confident_learning.label_quality_scores(labels, pred_probs, rank_by))
    order = confident_learning.find_label_issues(labels, pred_probs, rank_by=rank_by)
    np.testing.assert_array_equal(found.ranked, order)


@pytest.mark.parametrize("filter_by", ["both", "confident_learning"])
def test_number_of_threads_does_not_matter(files: Files, filter_by: str) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(1), 5, 500, ties=True)
    paths = files(labels, pred_probs)
    one = audit_file(*paths, filter_by=filter_by, num_threads=1)
    for threads in (2, 3, 7):
        many = audit_file(*paths, filter_by=filter_by, num_threads=threads)
        np.testing.assert_array_equal(many.ranked, one.ranked)
        assert many.thresholds.tobytes() == one.thresholds.tobytes()


def test_rows_that_one_read_cannot_settle_are_read_again(files: Files) -> None:
    # Class 5 has a tiny threshold: a row can reach it although five classes are likelier.
    rng = np.random.default_rng(4)
    labels, pred_probs = draw_case(rng, 6, 400)
    pred_probs[:, 5] *= 0.01
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    found = audit_file(*files(labels, pred_probs), filter_by="confident_learning")
    assert found.rows_read_again > 0
    np.testing.assert_array_equal(
        found.confident_joint, confident_learning.confident_joint(labels, pred_probs, calibrate=False)
    )


def test_cleanlab_finds_the_same_in_float32(files: Files) -> None:
    count = pytest.importorskip("cleanlab.count", reason="cleanlab is a development dependency")
    peer = pytest.importorskip("cleanlab.filter")
    labels, pred_probs = draw_case(np.random.default_rng(2), 20, 3000)
    pred_probs = pred_probs.astype(np.float32)
    found = audit_file(*files(labels, pred_probs), filter_by="confident_learning")
    joint = count.compute_confident_joint(labels, pred_probs, calibrate=False)
    np.testing.assert_array_equal(found.confident_joint, joint)
    mask = peer.find_label_issues(labels, pred_probs, filter_by="confident_learning", n_jobs=1)
    np.testing.assert_array_equal(found.is_issue, mask)
    np.testing.assert_array_equal(found.scores, pred_probs[np.arange(3000), labels])


@pytest.mark.parametrize("dtype", [np.float16, np.dtype(">f4")])
def test_other_float_types_are_read_as_float32(files: Files, dtype: np.dtype) -> None:
    labels = np.array([0, 1, 1, 0])
    pred_probs = np.array([[0.5, 0.5], [0.25, 0.75], [1, 0], [0.75, 0.25]], dtype=dtype)
    found = audit_file(*files(labels, pred_probs))
    assert found.scores.dtype == np.float32
    assert found.scores.tolist() == [0.5, 0.75, 0, 0.75]


def test_negative_zeros_are_zeros(files: Files) -> None:
    labels = np.array([0, 1, 0])
    pred_probs = np.array([[1, -0.0, -0.0, -0.0], [-0.0, 1, -0.0, -0.0], [-0.0, 1, -0.0, -0.0]])
    found = audit_file(*files(labels, pred_probs), filter_by="predicted_neq_given", rank_by="normalized_margin")
    assert found.ranked.tolist() == [2]
    assert found.scores.tolist() == [1, 1, 0]


@pytest.mark.parametrize("layout", ["list", "fixed list", "columns"])
def test_parquet_equals_npy(files: Files, tmp_path: Path, layout: str) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(3), 4, 300, unlabelled=0.1)
    pred_probs = pred_probs.astype(np.float32)
    path = tmp_path / "audit.parquet"
    names = ["a", "b", "c", "d"]
    if layout == "columns":
        table = {name: pred_probs[:, k] for k, name in enumerate(names)}
    elif layout == "list":
        table = {"pred_probs": pa.array(list(pred_probs))}
    else:
        table = {"pred_probs": pa.FixedSizeListArray.from_arrays(pa.array(pred_probs.ravel()), 4)}
    pq.write_table(pa.table({"label": labels, **table}), path, row_group_size=70)
    found = audit_file(path, pred_probs_columns=names if layout == "columns" else None, filter_by="both")
    expected = audit_file(*files(labels, pred_probs), filter_by="both")
    np.testing.assert_array_equal(found.is_issue, expected.is_issue)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.confident_joint, expected.confident_joint)


def test_bad_rows_are_named_whatever_thread_meets_them(files: Files) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(5), 3, 400)
    for value, message in ((np.nan, "column 1 is nan"), (np.inf, "column 1 is inf"), (-0.1, "below 0"), (1.5, "sums")):
        broken = pred_probs.copy()
        broken[[137, 138, 310], 1] = value
        paths = files(labels, broken)
        for threads in (1, 2, 5):
            with pytest.raises(InputError, match=rf"pred_probs.npy row 137.*{message}"):
                audit_file(*paths, num_threads=threads)


def test_rows_near_the_tolerance_are_judged_exactly(files: Files) -> None:
    labels = np.zeros(2, dtype=int)
    audit_file(*files(labels, np.array([[0.5, 0.500099], [1, 0]])))
    with pytest.raises(InputError, match="row 0 sums to"):
        audit_file(*files(labels, np.array([[0.5, 0.500101], [1, 0]])))


def test_bad_files_are_refused(files: Files, tmp_path: Path) -> None:
    labels, pred_probs = draw_case(np.random.default_rng(6), 3, 50)
    good_probs, good_labels = files(labels, pred_probs)

    def saved(name: str, array: np.ndarray) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / name

    cut = tmp_path / "cut.npy"
    cut.write_bytes(good_probs.read_bytes()[:-8])
    text = tmp_path / "text.npy"
    text.write_text("0.5,0.5")
    cases = [
        (tmp_path / "none.npy", good_labels, "does not exist"),
        (tmp_path, good_labels, "does not exist"),
        (text, good_labels, "not a readable .npy"),
        (cut, good_labels, "cut.npy"),
        (saved("flat.npy", pred_probs[:, 0]), good_labels, r"shape \(50,\)"),
        (saved("ints.npy", pred_probs.astype(int)), good_labels, "type int64"),
        (saved("fortran.npy", np.asfortranarray(pred_probs)), good_labels, "column by column"),
        (saved("empty.npy", np.zeros((0, 3))), good_labels, r"shape \(0, 3\)"),
        (good_probs, saved("short.npy", labels[:-1]), "50 rows.*49"),
        (good_probs, saved("high.npy", np.full(50, 3)), "row 0 is 3: give classes 0 to 2"),
        (saved("objects.npy", np.array([[None]])), good_labels, "not a readable"),
    ]
    for probs_path, labels_path, message in cases:
        with pytest.raises(InputError, match=message):
            audit_file(probs_path, labels_path)
    (tmp_path / "x.csv").write_text("1")
    for paths in ((tmp_path / "x.csv", good_labels), (good_probs, tmp_path / "x.csv")):
        with pytest.raises(InputError, match=r"neither \.npy nor \.parquet"):
            audit_file(*paths)


def test_bad_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"

    def write(label: list, lists: list) -> None:
        pq.write_table(pa.table({"label": label, "pred_probs": pa.array(lists, pa.list_(pa.float64()))}), path)

    write([0, 1], [[0.5, 0.5], [0.2, 0.3, 0.5]])
    with pytest.raises(InputError, match="row 1 has 3 probabilities, row 0 has 2"):
        audit_file(path)
    write([0, 1], [[0.5, 0.5], None])
    with pytest.raises(InputError, match="row 1 has no pred_probs"):
        audit_file(path)
    write([0, 1], [[0.5, 0.5], [0.5, None]])
    with pytest.raises(InputError, match="row 1, column 1 is nan"):
        audit_file(path)
    write([0, None], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(InputError, match="row 1 has no label"):
        audit_file(path)
    write([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(InputError, match="no column 'given': choose among label, pred_probs"):
        audit_file(path, labels_column="given")
    with pytest.raises(InputError, match="no column 'p'"):
        audit_file(path, pred_probs_columns="p")
    write([], [])
    with pytest.raises(InputError, match=r"no rows|is empty"):
        audit_file(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_classes(tmp_path: Path) -> None:
    """A file of 400 MB is audited within 300 MB, imports included, and without the heavy libraries."""
    rows, classes = 100_000, 1000
    pred_probs = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, (rows, classes))
    pred_probs[:] = 1 / classes
    del pred_probs
    np.save(tmp_path / "y.npy", np.arange(rows) % classes)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from labelwise.audit.streaming import audit_file\n"
        "audit_file(sys.argv[1], sys.argv[2], filter_by='confident_learning')\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
        "print(*[name for name in ('torch', 'sklearn', 'pandas') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "p.npy"), str(tmp_path / "y.npy")]
    peak, *heavy = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(peak) < 300 * 1024
    assert heavy == []
