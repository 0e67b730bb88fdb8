import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from labelwise.data import catalogue, named
from labelwise.data.download import PublicFile, download
from labelwise.data.open import iter_blocks, open_data
from labelwise.errors import InputError


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    chosen = request.config.getoption("--data-dir") or os.environ.get(catalogue.ENVIRONMENT)
    if not chosen:
        pytest.skip("needs the data sets: name their folder with --data-dir")
    return Path(chosen)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(catalogue.ENVIRONMENT, str(tmp_path / "env"))
    monkeypatch.setattr(catalogue, "SYSTEM_FOLDERS", {})
    return tmp_path


def test_digits_are_the_default() -> None:
    data = open_data(None)
    train = ~data.is_test
    assert data.inputs.shape == (1797, 8, 8, 1)
    assert np.abs(data.inputs[..., 0] / 255 * 16 - load_digits().images).max() < 0.05
    assert data.truth is not None
    assert data.truth.tolist() == load_digits().target.tolist()
    assert data.is_test.sum() == 360
    assert (data.given[data.is_test] == data.truth[data.is_test]).all()
    assert np.bincount(data.truth[data.is_test]).min() >= 34
    wrong = (data.given != data.truth)[train].mean()
    assert wrong == pytest.approx(0.36, abs=0.03)  # a tenth of the redrawn labels meets its own class again
    assert open_data("digits").given.tolist() == data.given.tolist()
    other = open_data(None, seed=1)
    assert other.given.tolist() != data.given.tolist()
    assert other.is_test.tolist() == data.is_test.tolist()


def test_digits_stream_and_shrink() -> None:
    data = open_data("digits", image_size=4)
    assert data.inputs.shape == (1797, 4, 4, 1)
    blocks = list(iter_blocks("digits", open_data("digits").schema, block_rows=1000))
    assert [len(block) for block in blocks] == [1000, 797]
    assert len(open_data("digits:100")) == 200


def test_every_set_is_listed_and_missing_ones_say_what_to_do(nowhere: Path) -> None:
    names = [found.name for found in catalogue.list_named()]
    assert {"digits", "fashion-mnist", "cifar10n", "reuters21578", "adult", "cora", "citeseer", "camvid"} <= set(names)
    for name in set(names) - {"digits"}:
        with pytest.raises(InputError, match=catalogue.ENVIRONMENT) as caught:
            catalogue.path(name, nowhere)
        assert "\n" not in str(caught.value)
        assert str(nowhere) in str(caught.value)
    with pytest.raises(InputError, match="data fetch fashion-mnist"):
        open_data("fashion-mnist")
    with pytest.raises(InputError, match="no folder of its own"):
        catalogue.path("digits")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("adlut", "did you mean adult"),
        ("cora", "for nodes"),
        ("digits:worst_label", "only one"),
        ("cifar10n:worst_label:many", "not a number of rows"),
        ("digits:1", "at least 2"),
    ],
)
def test_bad_names(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        named.load(spec)


def test_unknown_name_is_a_missing_file() -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_data("adlut")


def public(tmp_path: Path, content: bytes, name: str = "a.bin", claimed: bytes | None = None) -> PublicFile:
    (tmp_path / "server").mkdir(exist_ok=True)
    (tmp_path / "server" / name).write_bytes(content)
    claimed = content if claimed is None else claimed
    urls = ((tmp_path / "server" / "absent").as_uri(), (tmp_path / "server" / name).as_uri())
    return PublicFile(name, urls, hashlib.sha256(claimed).hexdigest(), len(claimed))


def test_download_takes_the_first_place_that_works(tmp_path: Path) -> None:
    file = public(tmp_path, b"right")
    path = download(file, tmp_path / "data")
    assert path.read_bytes() == b"right"
    (tmp_path / "server" / "a.bin").unlink()
    assert download(file, tmp_path / "data") == path  # there already


@pytest.mark.parametrize(("claimed", "words"), [(b"wrong", "sha256"), (b"sho", "more than 3 bytes")])
def test_wrong_bytes_never_get_the_name(claimed: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        download(public(tmp_path, b"right", claimed=claimed), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes() + array.tobytes())


def test_fetched_fashion_mnist_loads(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    contents = []
    for file in catalogue.FASHION_FILES:
        rows = 20 if file.name.startswith("train") else 5
        shape = (rows, 28, 28) if "images" in file.name else (rows,)
        contents.append(public(nowhere, idx(rng.integers(0, 10, shape, dtype=np.uint8)), file.name))
    found = catalogue.CATALOGUE["fashion-mnist"]
    monkeypatch.setitem(catalogue.CATALOGUE, "fashion-mnist", found._replace(public=tuple(contents)))
    folder = catalogue.fetch("fashion-mnist")
    assert folder == nowhere / "env" / "fashion-mnist"
    data = named.load("fashion-mnist")
    assert (len(data), data.is_test.sum()) == (25, 5)
    assert named.load_arrays("fashion-mnist", folder)["x_test"].shape == (5, 28, 28)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bjunk")
    with pytest.raises(InputError, match="damaged"):
        named.load("fashion-mnist")


def test_sets_without_a_public_download_say_so(nowhere: Path) -> None:
    with pytest.raises(InputError, match=r"copy modapte\.parquet"):
        catalogue.fetch("reuters21578")


def test_fetched_adult_equals_the_packed_one(data_dir: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pd.read_parquet(data_dir / "tabular" / "adult.parquet")
    parts = [packed[packed["split"] == split].drop(columns="split") for split in ("train", "test")]
    train, test = (part.to_csv(index=False, header=False).replace(",", ", ") + "\n" for part in parts)
    test = "|1x3 Cross validator\n" + test.replace("K\n", "K.\n")
    files = []
    for file, text in zip(catalogue.ADULT_FILES, (train, test), strict=True):
        assert hashlib.sha256(text.encode()).hexdigest() == file.sha256
        assert len(text.encode()) == file.size
        files.append(public(nowhere, text.encode(), file.name))
    monkeypatch.setitem(catalogue.CATALOGUE, "adult", catalogue.CATALOGUE["adult"]._replace(public=tuple(files)))
    fetched = pd.read_parquet(catalogue.fetch("adult", nowhere / "mine") / "adult.parquet")
    pd.testing.assert_frame_equal(fetched, packed, check_dtype=False)


def test_fashion_mnist_files_are_the_published_content(data_dir: Path) -> None:
    try:
        folder = catalogue.path("fashion-mnist", data_dir)
    except InputError:
        pytest.skip("needs Fashion-MNIST")
    arrays = named.load_arrays("fashion-mnist", folder)
    assert {name: array.shape for name, array in arrays.items()} == {
        "x_train": (60000, 28, 28),
        "y_train": (60000,),
        "x_test": (10000, 28, 28),
        "y_test": (10000,),
    }
    assert (np.bincount(arrays["y_train"]) == 6000).all()


@pytest.mark.parametrize(("label", "wrong"), [("worst_label", 0.402), ("aggregate_label", 0.090), ("clean_label", 0)])
def test_cifar10n_noise_rates(label: str, wrong: float, data_dir: Path) -> None:
    data = named.load(f"cifar10n-features:{label}", data_dir)
    assert data.truth is not None
    assert data.inputs.shape == (60000, 256)
    assert (data.given != data.truth)[~data.is_test].mean() == pytest.approx(wrong, abs=0.001)
    assert (data.given == data.truth)[data.is_test].all()


def test_cifar10n_pictures_with_a_limit(data_dir: Path) -> None:
    data = named.load("cifar10n:aggregate_label:200", data_dir)
    assert data.name == "cifar10n-aggregate_label-200"
    assert data.inputs.shape == (400, 32, 32, 3)
    assert np.bincount(data.given[data.is_test]).tolist() == [20] * 10
    assert data.index[:3].tolist() == [0, 1, 2]
    features = named.load("cifar10n-features:aggregate_label:200", data_dir)
    assert features.given.tolist() == data.given.tolist()
    with pytest.raises(InputError, match="no label 'best'"):
        named.load("cifar10n:best", data_dir)


def test_adult(data_dir: Path) -> None:
    data = open_data("adult", data_dir=data_dir)
    assert data.classes == ("<=50K", ">50K")
    assert (len(data), data.is_test.sum(), len(data.rejected)) == (48842, 16281, 0)
    assert sum(cell is None for cell in data.inputs["workclass"]) == 2799
    block = next(iter_blocks(data_dir / "tabular" / "adult.parquet", data.schema, block_rows=100))
    assert block.given.tolist() == data.given[:100].tolist()


def test_reuters(data_dir: Path) -> None:
    data = named.load("reuters21578", data_dir)
    assert data.kind == "texts"
    assert np.bincount(data.given[~data.is_test]).min() >= 10
    assert any("12902" in note for note in data.notes)


@pytest.mark.parametrize("name", ["cora", "citeseer", "camvid", "abalone", "label-errors", "reuters21578"])
def test_raw_arrays(name: str, data_dir: Path) -> None:
    arrays = named.load_arrays(name, data_dir)
    shapes = {
        "cora": ("labels", (2708,)),
        "citeseer": ("labels", (3327,)),
        "camvid": ("y_val", (101, 180, 240)),
        "abalone": ("rings", (4177,)),
        "label-errors": ("imdb/pred_probs", (25000, 2)),
        "reuters21578": ("texts", (12902,)),
    }
    key, shape = shapes[name]
    assert arrays[key].shape == shape
    if name == "camvid":
        assert set(np.unique(arrays["y_train"])) == {*range(11), 255}


def test_import_brings_in_nothing_heavy() -> None:
    code = (
        "import sys, labelwise.data.open, labelwise.data.encode\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'pyarrow', 'PIL', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
