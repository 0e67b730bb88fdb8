"""The named data sets: what they are, where they are, and how one is fetched and verified."""

import difflib
import os
from pathlib import Path
from typing import NamedTuple

from labelwise.data.download import PublicFile, download
from labelwise.errors import InputError
from labelwise.files import atomic_write, printable

ENVIRONMENT = "LABELWISE_DATA"
SYSTEM_FOLDERS = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_FASHION_URLS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


def _fashion(name: str, sha256: str, size: int) -> PublicFile:
    return PublicFile(name, tuple(base + name for base in _FASHION_URLS), sha256, size)


FASHION_FILES = (
    _fashion(
        "train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880
    ),
    _fashion("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    _fashion(
        "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102
    ),
    _fashion("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
)
ADULT_FILES = (
    PublicFile(
        "adult.data",
        (f"{_UCI}/adult/adult.data",),
        "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        3_974_305,
    ),
    PublicFile(
        "adult.test",
        (f"{_UCI}/adult/adult.test",),
        "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        2_003_153,
    ),
)
_ABALONE_FILES = (
    PublicFile(
        "abalone.data",
        (f"{_UCI}/abalone/abalone.data",),
        "de37cdcdcaaa50c309d514f248f7c2302a5f1f88c168905eba23fe2fbc78449f",
        191_873,
    ),
)
_ADULT_COLUMNS = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
]
_ABALONE_COLUMNS = [
    "sex",
    "length",
    "diameter",
    "height",
    "whole_weight",
    "shucked_weight",
    "viscera_weight",
    "shell_weight",
    "rings",
]


class NamedSet(NamedTuple):
    """What a named set is: its task, its folder and files under the data folder, and where the public has it from."""

    name: str
    title: str
    task: str
    folder: str
    files: tuple[str, ...]
    source: str
    public: tuple[PublicFile, ...] = ()


_SETS = (
    NamedSet("digits", "1,797 scanned digits, 8x8, grey", "classification", "", (), "inside scikit-learn"),
    NamedSet(
        "fashion-mnist",
        "70,000 articles of clothing, 28x28, grey",
        "classification",
        "fashion-mnist",
        tuple(file.name for file in FASHION_FILES),
        "zalandoresearch/fashion-mnist, MIT; Debian package dataset-fashion-mnist",
        FASHION_FILES,
    ),
    NamedSet(
        "cifar10n",
        "60,000 photographs, 32x32, with human labels of CIFAR-10N (cifar10n:LABEL:LIMIT)",
        "classification",
        "cifar10n",
        ("train-0-of-2.parquet", "train-1-of-2.parquet", "test.parquet"),
        "Krizhevsky 2009; labels UCSC-REAL/cifar-10-100n, CC BY-NC 4.0",
    ),
    NamedSet(
        "cifar10n-features",
        "the same in 256 numbers a photograph (cifar10n-features:LABEL:LIMIT)",
        "classification",
        "cifar10n",
        ("embeddings.npz", "train-0-of-2.parquet", "train-1-of-2.parquet", "test.parquet"),
        "principal components of EfficientNet-Lite0 features of cifar10n",
    ),
    NamedSet(
        "reuters21578",
        "12,902 news stories and their topics, ModApte split; for classification, those with exactly one topic",
        "multilabel",
        "reuters21578",
        ("modapte.parquet",),
        "Lewis 1997, research use",
    ),
    NamedSet(
        "adult",
        "48,842 people of the 1994 census, income above or below 50,000 dollars",
        "classification",
        "tabular",
        ("adult.parquet",),
        "UCI Machine Learning Repository, CC BY 4.0",
        ADULT_FILES,
    ),
    NamedSet(
        "abalone",
        "4,177 shells and their number of rings",
        "regression",
        "tabular",
        ("abalone.csv",),
        "UCI Machine Learning Repository, CC BY 4.0",
        _ABALONE_FILES,
    ),
    NamedSet("cora", "2,708 papers and their citations", "nodes", "planetoid", ("cora.npz",), "kimiyoung/planetoid"),
    NamedSet(
        "citeseer", "3,327 papers and their citations", "nodes", "planetoid", ("citeseer.npz",), "kimiyoung/planetoid"
    ),
    NamedSet(
        "camvid",
        "701 road scenes with masks, 240x180",
        "segmentation",
        "camvid",
        ("train.parquet", "val.parquet", "test.parquet"),
        "Brostow et al. 2009, research use",
    ),
    NamedSet(
        "label-errors",
        "labels, predictions and human votes for ten public test sets",
        "audit",
        "label-errors",
        ("original_test_labels", "mturk"),
        "cleanlab/label-errors, Apache-2.0",
    ),
)
CATALOGUE = {named.name: named for named in _SETS}


def list_named() -> list[NamedSet]:
    """All named sets."""
    return list(_SETS)


def is_named(spec: str) -> bool:
    """Whether a text such as ``cifar10n:worst_label`` begins with the name of a set."""
    return spec.split(":")[0] in CATALOGUE


def task_of(spec: str) -> str:
    """The task of a named set; that of one only audited is classification."""
    task = find_set(spec.partition(":")[0]).task
    return "classification" if task == "audit" else task


def find_set(name: str) -> NamedSet:
    """The set of a name. Raises InputError with the nearest name where there is none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    nearest = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f", did you mean {nearest[0]}?" if nearest else ""
    raise InputError(f"{name!r} is not a named data set{hint}: the names are {', '.join(CATALOGUE)}")


def default_data_dir() -> Path:
    """Where downloads go: $LABELWISE_DATA, else labelwise/data in the user's cache."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "labelwise" / "data"


def path(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder that holds all files of a named set.

    Looks in ``data_dir``, then $LABELWISE_DATA or the user's cache, then the system's packages; the files may lie in
    the set's own folder or directly in the one given. Raises InputError with the remedy when the set is missing.
    """
    found = find_set(name)
    if not found.files:
        raise InputError(f"the data set {name} is {found.source}: it has no folder of its own")
    roots = [Path(data_dir)] if data_dir else []
    roots.append(default_data_dir())
    folders = [folder for root in roots for folder in (root / found.folder, root)]
    if name in SYSTEM_FOLDERS:
        folders.append(SYSTEM_FOLDERS[name])
    for folder in folders:
        if all((folder / file).exists() for file in found.files):
            return folder
    remedy = f"run `labelwise data fetch {name}`, or " if found.public else ""
    raise InputError(
        f"the data set {name} is not in {' nor '.join(map(printable, roots))}: {remedy}copy {', '.join(found.files)} "
        f"({found.source}) to a folder {found.folder} and name the folder above it with --data-dir or {ENVIRONMENT}"
    )


def fetch(name: str, data_dir: str | Path | None = None) -> Path:
    """Download a named set where the public has it at a fixed address; returns its folder.

    Every file is checked against its sha256 before it gets its name; a set that is there is not fetched again.
    Raises InputError when there is no public download, or it fails.
    """
    found = find_set(name)
    try:
        return path(name, data_dir)
    except InputError:
        if not found.public:
            raise
    folder = (Path(data_dir) if data_dir else default_data_dir()) / found.folder
    for file in found.public:
        download(file, folder)
    if name == "adult":
        _convert_adult(folder)
    elif name == "abalone":
        _convert_abalone(folder)
    return folder


def _convert_adult(folder: Path) -> None:
    import pandas as pd

    parts = []
    for split, skipped in (("train", 0), ("test", 1)):  # the first line of adult.test is a comment
        source = folder / f"adult.{'data' if split == 'train' else 'test'}"
        frame = pd.read_csv(source, names=_ADULT_COLUMNS, skipinitialspace=True, skiprows=skipped, na_filter=False)
        parts.append(frame.assign(income=frame["income"].str.rstrip("."), split=split))
    with atomic_write(folder / "adult.parquet") as out:
        pd.concat(parts, ignore_index=True).to_parquet(out, index=False)


def _convert_abalone(folder: Path) -> None:
    with atomic_write(folder / "abalone.csv") as file:
        file.write((",".join(_ABALONE_COLUMNS) + "\n").encode() + (folder / "abalone.data").read_bytes())
