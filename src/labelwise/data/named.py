"""Named data sets: found in a local folder, in the system's packages, or downloaded and verified."""

import difflib
import gzip
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import arrays, masks, pictures, tables
from labelwise.data.download import PublicFile, download
from labelwise.data.examples import Examples, concatenate
from labelwise.data.folders import size_note
from labelwise.data.links import both_ways
from labelwise.data.rows import row_location
from labelwise.errors import InputError
from labelwise.files import atomic_write, printable

ENVIRONMENT = "LABELWISE_DATA"
DIGITS_REDRAWN = 0.4
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
CIFAR10N_LABELS = (
    "worst_label",
    "aggregate_label",
    "random_label1",
    "random_label2",
    "random_label3",
    "clean_label",
)
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_SYSTEM_FOLDERS = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
_VOID = 255
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_FASHION_URLS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


def _fashion(name: str, sha256: str, size: int) -> PublicFile:
    return PublicFile(name, tuple(base + name for base in _FASHION_URLS), sha256, size)


_FASHION_FILES = (
    _fashion(
        "train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880
    ),
    _fashion("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    _fashion(
        "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102
    ),
    _fashion("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
)
_ADULT_FILES = (
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
        tuple(file.name for file in _FASHION_FILES),
        "zalandoresearch/fashion-mnist, MIT; Debian package dataset-fashion-mnist",
        _FASHION_FILES,
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
        _ADULT_FILES,
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
_BY_NAME = {named.name: named for named in _SETS}


def list_named() -> list[NamedSet]:
    """All named sets."""
    return list(_SETS)


def is_named(spec: str) -> bool:
    """Whether a text such as ``cifar10n:worst_label`` begins with the name of a set."""
    return spec.split(":")[0] in _BY_NAME


def task_of(spec: str) -> str:
    """The task of a named set; that of one only audited is classification."""
    task = _find(spec.partition(":")[0]).task
    return "classification" if task == "audit" else task


def _find(name: str) -> NamedSet:
    if name in _BY_NAME:
        return _BY_NAME[name]
    nearest = difflib.get_close_matches(name, _BY_NAME, n=1)
    hint = f", did you mean {nearest[0]}?" if nearest else ""
    raise InputError(f"{name!r} is not a named data set{hint}: the names are {', '.join(_BY_NAME)}")


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
    found = _find(name)
    if not found.files:
        raise InputError(f"the data set {name} is {found.source}: it has no folder of its own")
    roots = [Path(data_dir)] if data_dir else []
    roots.append(default_data_dir())
    folders = [folder for root in roots for folder in (root / found.folder, root)]
    if name in _SYSTEM_FOLDERS:
        folders.append(_SYSTEM_FOLDERS[name])
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
    found = _find(name)
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


def load(
    spec: str,
    data_dir: str | Path | None = None,
    *,
    limit: int | None = None,
    image_size: int | None = None,
    seed: int = 0,
    task: str = "classification",
) -> Examples:
    """Load a named set for one of its tasks, ``NAME``, ``NAME:LABEL`` or ``NAME:LABEL:LIMIT``.

    ``limit`` keeps the first so many training rows, and at most as many test rows, evenly spaced.
    ``seed`` draws the noise of digits.
    Raises InputError for other tasks, unknown labels and missing sets.
    """
    name, _, options = spec.partition(":")
    found = _find(name)
    label, limit = _options(spec, options, limit)
    loader = (_LOADERS if task == "classification" else _TASK_LOADERS.get(task, {})).get(name)
    if loader is None:
        raise InputError(f"the data set {name} is for {found.task}, not {task}: leave out --task")
    if label and not name.startswith("cifar10n"):
        raise InputError(f"{spec!r} names a label, and {name} has only one: leave out ':{label}'")
    examples = loader(_Request(name, data_dir, label, limit, seed, image_size))
    examples = replace(examples, name=spec.replace(":", "-"), task=task)
    examples = _limited(examples, limit)
    return examples if task == "segmentation" else _at_size(examples, image_size)


class _Request(NamedTuple):
    name: str
    data_dir: str | Path | None
    label: str
    limit: int | None
    seed: int
    image_size: int | None = None

    def folder(self) -> Path:
        return path(self.name, self.data_dir)


def _options(spec: str, options: str, limit: int | None) -> tuple[str, int | None]:
    label, _, count = options.partition(":")
    if label.isdigit() and not count:
        label, count = "", label
    if count:
        if not count.isdigit():
            raise InputError(f"{spec!r} ends in {count!r}, which is not a number of rows: write NAME:LABEL:LIMIT")
        limit = int(count)
    if limit is not None and limit < 2:
        raise InputError(f"the limit of {spec!r} is {limit}: keep at least 2 rows")
    return label, limit


def _limited(examples: Examples, limit: int | None) -> Examples:
    if limit is None:
        return examples
    test = examples.is_test
    train_rows, test_rows = np.flatnonzero(~test)[:limit], np.flatnonzero(test)
    rows = np.concatenate([train_rows, test_rows[_spread(len(test_rows), limit)]])
    return examples if len(rows) == len(examples) else examples.subset(np.sort(rows))


def _spread(rows: int, limit: int | None) -> NDArray[np.int64]:
    """At most ``limit`` of ``rows`` positions, evenly spaced: a test set may be sorted by class."""
    if limit is None or limit >= rows:
        return np.arange(rows, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * rows // limit


def _at_size(examples: Examples, image_size: int | None) -> Examples:
    if examples.kind != "images":
        return examples
    channels = examples.inputs.shape[-1]
    size = pictures.check_size(image_size) if image_size is not None else examples.inputs.shape[1]
    schema = {"kind": "images", "image_size": size, "channels": channels, "classes": list(examples.classes)}
    return replace(
        examples,
        inputs=pictures.resize(examples.inputs, size, channels),
        schema=schema,
        notes=[*examples.notes, size_note(schema)],
    )


def _load_digits(request: _Request) -> Examples:
    """The embedded default: a fifth of each class is held out, 40% of the other labels are redrawn at random."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from labelwise.labels.noise import redraw_symmetric

    bunch = load_digits()
    truth = bunch.target.astype(np.int64)  # (1797,)
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    rows = np.arange(len(truth))
    # The split is the same for every seed, so that runs with different noise are scored on the same rows.
    train_rows, test_rows = train_test_split(rows, test_size=0.2, stratify=truth, random_state=0)
    train_rows = np.sort(train_rows)
    given = truth.copy()
    rng = np.random.default_rng(request.seed)
    given[train_rows] = redraw_symmetric(truth[train_rows], DIGITS_REDRAWN, 10, rng)
    split = np.full(len(truth), "train", dtype="<U5")
    split[test_rows] = "test"
    return Examples(
        name="digits",
        kind="images",
        inputs=images,
        given=given,
        classes=tuple(map(str, range(10))),
        truth=truth,
        index=rows.astype(np.int64),
        locations=row_location,
        split=split,
        notes=[f"{DIGITS_REDRAWN:.0%} of the training labels were redrawn at random over all classes"],
    )


def _load_fashion(request: _Request) -> Examples:
    data = _fashion_arrays(request.folder())
    n_train, n_test = len(data["y_train"]), len(data["y_test"])
    given = np.concatenate([data["y_train"], data["y_test"]]).astype(np.int64)
    return Examples(
        name="fashion-mnist",
        kind="images",
        inputs=np.concatenate([data["x_train"], data["x_test"]])[..., None],
        given=given,
        classes=FASHION_CLASSES,
        truth=None,
        index=np.arange(n_train + n_test, dtype=np.int64),
        locations=row_location,
        split=np.repeat(np.array(["train", "test"]), [n_train, n_test]),
    )


def _fashion_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    parts = {"x_train": 0, "y_train": 1, "x_test": 2, "y_test": 3}
    return {key: _read_idx(folder / _FASHION_FILES[place].name) for key, place in parts.items()}


def _read_idx(file: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: two zeros, type 8, the number of axes, each size as a big-endian int32, then the data."""
    try:
        with gzip.open(file) as stream:
            content = stream.read()
        axes = content[3]
        shape = struct.unpack(f">{axes}i", content[4 : 4 + 4 * axes])
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an IDX file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError, struct.error) as error:
        raise InputError(f"{printable(file)} is damaged: remove it and fetch the data set again") from error


def _cifar_labels(request: _Request) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Given (50000,), clean (50000,) and clean test labels (10000,)."""
    import pyarrow.parquet as pq

    label = request.label or CIFAR10N_LABELS[0]
    if label not in CIFAR10N_LABELS:
        raise InputError(f"{request.name} has no label {label!r}: choose one of {', '.join(CIFAR10N_LABELS)}")
    train_files, test_file = _cifar_files(request)
    columns = list(dict.fromkeys([label, "clean_label"]))
    train = [pq.read_table(file, columns=columns) for file in train_files]
    given = np.concatenate([part[label].to_numpy() for part in train]).astype(np.int64)
    clean = np.concatenate([part["clean_label"].to_numpy() for part in train]).astype(np.int64)
    test = pq.read_table(test_file, columns=["clean_label"])["clean_label"].to_numpy().astype(np.int64)
    return given, clean, test


def _cifar_files(request: _Request) -> tuple[list[Path], Path]:
    *train, test = [request.folder() / name for name in _BY_NAME["cifar10n"].files]
    return train, test


def _load_cifar(request: _Request) -> Examples:
    given, clean, test = _cifar_labels(request)
    train_rows, test_rows = np.arange(len(given))[: request.limit], _spread(len(test), request.limit)
    train_files, test_file = _cifar_files(request)
    if request.name == "cifar10n":
        parts = [_cifar_pictures(train_files, train_rows), _cifar_pictures([test_file], test_rows)]
    else:
        file = arrays.NpzFile(request.folder() / "embeddings.npz")
        parts = [file.read("train")[train_rows].astype(np.float32), file.read("test")[test_rows].astype(np.float32)]
    inputs = np.concatenate(parts)
    return Examples(
        name=request.name,
        kind="images" if inputs.ndim == 4 else "arrays",
        inputs=inputs,
        given=np.concatenate([given[train_rows], test[test_rows]]),
        classes=CIFAR10_CLASSES,
        truth=np.concatenate([clean[train_rows], test[test_rows]]),
        index=np.concatenate([train_rows, len(given) + test_rows]).astype(np.int64),
        locations=row_location,
        split=np.repeat(np.array(["train", "test"]), [len(train_rows), len(test_rows)]),
        schema={"kind": "arrays", "shape": list(inputs.shape[1:]), "classes": list(CIFAR10_CLASSES)},
    )


def _cifar_pictures(files: Sequence[Path], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pictures at ``rows`` (m,) ascending, counted over all files: uint8 (m, 32, 32, 3)."""
    import pyarrow.parquet as pq

    decoded: list[NDArray[np.uint8]] = []
    start = 0
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=4096, columns=["jpeg"]):
            chosen = rows[(rows >= start) & (rows < start + len(batch))] - start
            answer = pictures.decode(batch["jpeg"].take(chosen).to_pylist(), 32, 3)
            if answer.failures:
                raise InputError(f"{printable(file)} holds a picture that does not decode: copy the file again")
            decoded.append(answer.pixels)
            start += len(batch)
    return np.concatenate(decoded)


def _load_adult(request: _Request) -> Examples:
    file = request.folder() / "adult.parquet"
    schema, notes = tables.table_schema(file, tables.TableColumns("income", split="split"), None, None)
    examples = concatenate(list(tables.table_blocks(file, schema, 1 << 16, strict=True)))
    return replace(examples, notes=notes + examples.notes)


def _load_reuters(request: _Request) -> Examples:
    """Stories with exactly one topic, of topics with at least ten such training stories."""
    data = _reuters_arrays(request.folder())
    single = np.array([len(topics) == 1 for topics in data["topics"]])
    topic = np.array([topics[0] if len(topics) == 1 else "" for topics in data["topics"]], dtype=object)
    names, counts = np.unique(topic[single & (data["split"] == "train")], return_counts=True)
    classes = tuple(map(str, names[counts >= 10]))
    label_of = {name: label for label, name in enumerate(classes)}
    kept = np.flatnonzero([name in label_of for name in topic])
    return Examples(
        name="reuters21578",
        kind="texts",
        inputs=data["texts"][kept],
        given=np.array([label_of[topic[row]] for row in kept], dtype=np.int64),
        classes=classes,
        truth=None,
        index=kept.astype(np.int64),
        locations=row_location,
        split=data["split"][kept].astype(str),
        schema={"kind": "texts", "text": "text", "label": "label", "classes": list(classes)},
        notes=[
            f"{len(kept)} of {len(single)} stories are used: those with exactly one topic that has at least ten "
            "such training stories"
        ],
    )


def _load_reuters_topics(request: _Request) -> Examples:
    """All stories; of the topics those that at least ten training stories have."""
    data = _reuters_arrays(request.folder())
    is_train = data["split"] == "train"
    names, counts = np.unique([topic for topics in data["topics"][is_train] for topic in topics], return_counts=True)
    classes = tuple(map(str, names[counts >= 10]))
    place = {name: column for column, name in enumerate(classes)}
    given = np.zeros((len(data["topics"]), len(classes)), dtype=np.int64)
    for row, topics in enumerate(data["topics"]):
        given[row, [place[topic] for topic in topics if topic in place]] = 1
    return Examples(
        name="reuters21578",
        kind="texts",
        inputs=data["texts"],
        given=given,
        classes=classes,
        truth=None,
        index=np.arange(len(given)),
        locations=row_location,
        split=data["split"].astype(str),
        schema={"kind": "texts", "text": "text", "label": "topics", "classes": list(classes), "task": "multilabel"},
        notes=[f"{len(classes)} of {len(names)} topics are used: those of at least ten training stories"],
    )


def _load_abalone(request: _Request) -> Examples:
    file = request.folder() / "abalone.csv"
    schema, notes = tables.table_schema(file, tables.TableColumns("rings"), None, None, "regression")
    examples = concatenate(list(tables.table_blocks(file, schema, 1 << 16, strict=True)))
    return replace(examples, notes=notes + examples.notes)


def _load_camvid(request: _Request) -> Examples:
    """The frames of all three parts, those of the test part held out."""
    data = _camvid_arrays(request.folder())
    parts = ("train", "val", "test")
    images, labels = (np.concatenate([data[f"{name}_{part}"] for part in parts]) for name in ("x", "y"))
    split = np.concatenate([np.full(len(data[f"x_{part}"]), "test" if part == "test" else "train") for part in parts])
    examples = masks.examples_with_masks("camvid", images, labels, None, request.image_size)
    return replace(examples, split=split, classes=CAMVID_CLASSES)


def _load_graph(request: _Request) -> Examples:
    """All papers as nodes, with the words in them as inputs; the public test nodes are held out."""
    from scipy.sparse import csr_array

    data = _graph_arrays(request.name)(request.folder())
    count = len(data["x_indptr"]) - 1
    words = csr_array(
        (data["x_data"], data["x_indices"], data["x_indptr"]), shape=(count, int(data["x_indices"].max()) + 1)
    )
    links = csr_array(
        (np.ones(len(data["adj_indices"])), data["adj_indices"], data["adj_indptr"]), shape=(count, count)
    )
    edges, notes = both_ways(np.array(links.nonzero(), dtype=np.int64), request.name)
    split = np.full(count, "train")
    split[data["test_index"]] = "test"
    given = data["labels"].astype(np.int64)
    classes = tuple(f"field {number}" for number in range(given.max() + 1))
    return Examples(
        name=request.name,
        kind="arrays",
        inputs=words.toarray().astype(np.float32),
        given=given,
        classes=classes,
        truth=None,
        index=np.arange(count),
        locations=row_location,
        split=split,
        schema={"kind": "arrays", "task": "nodes", "classes": list(classes)},
        notes=notes,
        edges=edges,
    )


def _reuters_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "modapte.parquet")
    pairs = zip(table["title"].to_pylist(), table["body"].to_pylist(), strict=True)
    topics = np.empty(len(table), dtype=object)
    topics[:] = [tuple(cell) for cell in table["topics"].to_pylist()]
    return {
        "texts": np.array([f"{title or ''}\n{body or ''}" for title, body in pairs], dtype=object),
        "topics": topics,
        "split": np.array(table["split"].to_pylist(), dtype=str),
    }


def load_arrays(name: str, data_dir: str | Path | None = None) -> dict[str, NDArray[Any]]:
    """The raw arrays of a named set, for reproductions; nothing is noised, split or left out.

    digits: x uint8 (n, 8, 8), y. fashion-mnist: x_train uint8 (60000, 28, 28), y_train, x_test, y_test.
    cifar10n-features: x_train float32 (50000, 256), x_test, y_test and each label column. cifar10n: the same with
    pictures uint8 (n, 32, 32, 3). reuters21578: texts, topics (tuples), split. adult, abalone: a column each.
    cora, citeseer: the parts of the CSR matrices, labels and split. camvid: x_PART uint8 (n, 180, 240, 3), y_PART
    int64 (n, 180, 240) with 255 = ignore, sequence_PART for train, val, test. label-errors: SET/labels,
    SET/pred_probs and SET/predicted.
    """
    _find(name)
    if name == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return {"x": np.rint(bunch.images * (255 / 16)).astype(np.uint8), "y": bunch.target.astype(np.int64)}
    return _RAW[name](path(name, data_dir))


def _graph_arrays(name: str) -> Callable[[Path], dict[str, NDArray[Any]]]:
    def read(folder: Path) -> dict[str, NDArray[Any]]:
        file = arrays.NpzFile(folder / f"{name}.npz")
        return {key: file.read(key) for key in file.names}

    return read


def _cifar_arrays(name: str) -> Callable[[Path], dict[str, NDArray[Any]]]:
    def read(folder: Path) -> dict[str, NDArray[Any]]:
        labels = {}
        for label in CIFAR10N_LABELS:
            labels[label], _, y_test = _cifar_labels(_Request(name, folder, label, None, 0))
        if name == "cifar10n":
            *train_files, test_file = [folder / file for file in _BY_NAME[name].files]
            x_train = _cifar_pictures(train_files, np.arange(50_000))
            x_test = _cifar_pictures([test_file], np.arange(10_000))
        else:
            file = arrays.NpzFile(folder / "embeddings.npz")
            x_train, x_test = file.read("train").astype(np.float32), file.read("test").astype(np.float32)
        return {"x_train": x_train, "x_test": x_test, "y_test": y_test, **labels}

    return read


def _table_arrays(file_name: str) -> Callable[[Path], dict[str, NDArray[Any]]]:
    def read(folder: Path) -> dict[str, NDArray[Any]]:
        import pandas as pd

        file = folder / file_name
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
        return {str(name): np.asarray(frame[name]) for name in frame.columns}

    return read


def _camvid_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    found: dict[str, NDArray[Any]] = {}
    for part in ("train", "val", "test"):
        table = pq.read_table(folder / f"{part}.parquet")
        given = np.stack([pictures.read_pixels(cell) for cell in table["mask_png"].to_pylist()]).astype(np.int64)
        found[f"x_{part}"] = np.stack([pictures.read_pixels(cell) for cell in table["image_jpeg"].to_pylist()])
        found[f"y_{part}"] = np.where(given == 11, _VOID, given)
        found[f"sequence_{part}"] = np.array(table["sequence"].to_pylist(), dtype=str)
    return found


def _label_error_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    endings = {
        "original_test_labels": ("_original_labels.npy", "labels"),
        "cross_validated_predicted_probabilities": ("_pyx.npy", "pred_probs"),
        "cross_validated_predicted_labels": ("_pyx_argmax_predicted_labels.npy", "predicted"),
    }
    found = {}
    for subfolder, (ending, key) in endings.items():
        for file in sorted((folder / subfolder).glob("*" + ending)):
            name = file.name.removesuffix(ending).removesuffix("_test_set").removesuffix("_val_set")
            found[f"{name}/{key}"] = np.load(file, allow_pickle=False)
    return found


_LOADERS: dict[str, Callable[[_Request], Examples]] = {
    "digits": _load_digits,
    "fashion-mnist": _load_fashion,
    "cifar10n": _load_cifar,
    "cifar10n-features": _load_cifar,
    "reuters21578": _load_reuters,
    "adult": _load_adult,
}
_TASK_LOADERS: dict[str, dict[str, Callable[[_Request], Examples]]] = {
    "multilabel": {"reuters21578": _load_reuters_topics},
    "regression": {"abalone": _load_abalone},
    "segmentation": {"camvid": _load_camvid},
    "nodes": {"cora": _load_graph, "citeseer": _load_graph},
}
_RAW: dict[str, Callable[[Path], dict[str, NDArray[Any]]]] = {
    "fashion-mnist": _fashion_arrays,
    "cifar10n": _cifar_arrays("cifar10n"),
    "cifar10n-features": _cifar_arrays("cifar10n-features"),
    "reuters21578": _reuters_arrays,
    "adult": _table_arrays("adult.parquet"),
    "abalone": _table_arrays("abalone.csv"),
    "cora": _graph_arrays("cora"),
    "citeseer": _graph_arrays("citeseer"),
    "camvid": _camvid_arrays,
    "label-errors": _label_error_arrays,
}
