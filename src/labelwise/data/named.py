"""Named data sets as examples or raw arrays, read from a local folder or the system's packages."""

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import arrays, masks, pictures, tables
from labelwise.data.catalogue import CATALOGUE, FASHION_FILES, find_set, path
from labelwise.data.examples import Examples, concatenate
from labelwise.data.folders import size_note
from labelwise.data.links import both_ways
from labelwise.data.rows import row_location
from labelwise.errors import InputError
from labelwise.files import printable

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
_VOID = 255


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
    found = find_set(name)
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
    return {key: _read_idx(folder / FASHION_FILES[place].name) for key, place in parts.items()}


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
    *train, test = [request.folder() / name for name in CATALOGUE["cifar10n"].files]
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
    find_set(name)
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
            *train_files, test_file = [folder / file for file in CATALOGUE[name].files]
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
